"""`tilewright compare JOB`."""

from dataclasses import asdict
from pathlib import Path
from typing import Annotated

import typer

from .options import BoardClock, Datapaths, Images, JobPath, Json, OutputFolder, Settings

__all__ = ["command"]


def command(
    job: JobPath,
    datapath: Datapaths = None,
    set_: Settings = None,
    images: Images = None,
    board: Annotated[
        str | None,
        typer.Option(
            "--board", "-b", metavar="BOARD", help="What to build for, ulx3s-85f if not said."
        ),
    ] = None,
    no_build: Annotated[bool, typer.Option("--no-build", help="Accuracy and cycles only.")] = False,
    mhz: BoardClock = None,
    output: OutputFolder = Path("build/compare"),
    json: Json = False,
) -> None:
    """Run the same network on several datapaths and show what each needs and gives.

    Each datapath leaves the record of its run in a folder of its own, so that `report` can show it.
    A bitstream that was made from the same design before is kept.
    """
    from ...gen.files import check_writable
    from ...hw.config import ConfigError
    from ..job import families_of, prepare_job, read_job, run_prepared
    from ..report.comparison import COMPARISON_TITLES, Compared, comparison_rows, write_comparison
    from ..report.html import check_packages
    from ..report.record import BuildRecord, write_record
    from ..runtime.library import check_tools
    from .output import print_json, print_table, progress_bar, say, show

    if no_build and (board is not None or mhz is not None):
        raise ConfigError("--no-build builds for no board; leave --board and --mhz out")
    board, mhz = board or "ulx3s-85f", 50 if mhz is None else mhz
    check_tools()
    check_packages()
    check_writable(output)
    names = tuple(dict.fromkeys(datapath or families_of(job)))
    jobs = {name: read_job(job, datapath=name, settings=tuple(set_ or ())) for name in names}
    if not no_build:
        from ...fpga.board import check_clock, find_board
        from ...fpga.fit import check_fit
        from ...fpga.flow import check_tools

        check_tools()
        check_clock(mhz, board)
        for chosen in jobs.values():
            check_fit(chosen.engine, find_board(board).part, board)
    prepared = {}
    for name, chosen in jobs.items():
        say(f"{name}:")
        prepared[name] = prepare_job(chosen, images=images, say=say)
    found = []
    for name, chosen in jobs.items():
        say(f"{name}:")
        with progress_bar(f"images on {name}") as move:
            result = run_prepared(prepared.pop(name), say=say, progress=move)
        record = None
        if not no_build:
            from ...fpga.board import build_board

            folder = output / name
            built = build_board(chosen.engine, board, folder / "board", mhz=mhz, say=say)
            record = BuildRecord.of(built, folder)
        write_record(output / name, chosen.name, chosen.engine, result, record)
        found.append(Compared(datapath=name, result=result, build=record))
    page = write_comparison(output / "compare.html", next(iter(jobs.values())).name, found)
    if json:
        print_json([asdict(one) for one in found])
    else:
        say()
        print_table(COMPARISON_TITLES, comparison_rows(found))
        show(f"\ntable and picture: {page}")
    wrong = [
        one.datapath
        for one in found
        if not one.result.equal or one.result.cycles != one.result.predicted_cycles
    ]
    if wrong:
        say(f"the RTL and its models disagree on {', '.join(wrong)}")
        raise typer.Exit(1)
