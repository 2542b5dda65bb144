"""`tilewright run JOB`."""

from collections.abc import Iterator
from concurrent.futures import Future
from contextlib import contextmanager
from dataclasses import asdict, replace
from pathlib import Path
from typing import Annotated

import typer

from .options import BoardClock, Images, JobPath, Json, Settings

__all__ = ["command"]


def command(
    job: JobPath,
    datapath: Annotated[
        str | None, typer.Option("--datapath", "-d", help="Run on this family.", metavar="UNIT")
    ] = None,
    set_: Settings = None,
    images: Images = None,
    board: Annotated[
        str | None,
        typer.Option(
            "--board",
            "-b",
            metavar="BOARD",
            help="Also write and check the Verilog, build the board's bitstream, and report.",
        ),
    ] = None,
    mhz: BoardClock = None,
    output: Annotated[
        Path, typer.Option("--output", "-o", help="Folder for the record and what --board makes.")
    ] = Path("build/run"),
    json: Json = False,
) -> None:
    """Quantise a network and run it on the compiled RTL, every output checked."""
    from ...gen.files import check_writable
    from ...hw.config import ConfigError
    from ..job import prepare_job, read_job, run_prepared
    from ..report.data import LAYER_TITLES, layer_rows, results_rows
    from ..report.record import BuildRecord, write_record
    from ..runtime.library import check_tools
    from .output import print_json, print_table, progress_bar, say, show

    if mhz is not None and not board:
        raise ConfigError(f"--mhz {mhz} is for a board; name it with --board")
    mhz = 50 if mhz is None else mhz
    check_tools()
    check_writable(output)
    chosen = read_job(job, datapath=datapath, settings=tuple(set_ or ()))
    if board:
        _check_build(chosen, board, mhz)
    ready = prepare_job(chosen, images=images, say=say)
    with _building(chosen, board, mhz, output, say) as started:
        if board:
            _check_verilog(chosen, output, say)
        with progress_bar("images on the RTL") as move:
            result = run_prepared(ready, say=say, progress=move)
        agrees = result.equal and result.cycles == result.predicted_cycles
        build = started.result() if started and agrees else None
    record = BuildRecord.of(build, output) if build else None
    write_record(output, chosen.name, chosen.engine, result, record)
    report = _report(chosen, output) if build else None
    if json:
        print_json(asdict(result) | {"build": asdict(record) if record else None})
    else:
        say()
        print_table(LAYER_TITLES, layer_rows(result))
        show()
        print_table(("measured", "value"), results_rows(result, build))
    if not agrees:
        say("\nthe RTL and its models disagree")
        raise typer.Exit(1)
    if build:
        if not json:
            show(f"\nbitstream {build.bitstream}\nreport    {report}")
        if not (build.met and build.identical):
            say("the bitstream misses its clock or differs from its netlist")
            raise typer.Exit(1)


def _check_build(job, board: str, mhz: int) -> None:
    """Refuse at once what would fail after minutes."""
    from ...fpga.board import check_clock, find_board
    from ...fpga.fit import check_fit
    from ...fpga.flow import check_tools
    from ...verif.simulate.runner import check_simulator
    from ..report.html import check_packages

    check_clock(mhz, board)
    check_fit(job.engine, find_board(board).part, board)
    check_simulator("icarus")
    check_tools()
    check_packages()


@contextmanager
def _building(job, board: str | None, mhz: int, output: Path, say) -> Iterator[Future | None]:
    """Build the bitstream meanwhile; where one of both fails, the other ends and files go."""
    if board is None:
        yield None
        return
    from ...fpga.board import build_design, design_board
    from ...gen.beside import beside
    from ...gen.files import undone_on_failure

    say(f"Building the bitstream for {board} at {mhz} MHz meanwhile")
    design = design_board(job.engine, board, mhz=mhz)
    with (
        undone_on_failure(*(output / name for name in ("rtl", "icarus", "board"))),
        beside(lambda: build_design(design, output / "board", say=say)) as started,
    ):
        yield started


def _check_verilog(job, output: Path, say) -> None:
    """Write the engine's files, and run the cocotb bench of its datapath on Icarus."""
    from ...gen.errors import ToolError
    from ...gen.generate import generate
    from ...verif.simulate.runner import run_unit

    say("Writing the engine's Verilog")
    for path in generate("engine", job.engine, output / "rtl"):
        say(f"  {path}  {path.stat().st_size:,} bytes")
    family = job.engine.datapath.family
    say(f"Checking the {family} datapath with cocotb on Icarus")
    portable = replace(job.engine.datapath, fabric="portable")
    found = run_unit(
        family, portable, output / "icarus", tests=("smoke", "mixed_lengths", "reset_mid_stream")
    )
    say(f"  {found}")
    if not found.ok:
        raise ToolError(str(found))


def _report(job, output: Path) -> Path:
    from ..report.html import write_report
    from ..report.record import WAVEFORM, read_record
    from ..runtime.record import record_tile
    from ..runtime.simulated import SimulatedEngine

    record_tile(SimulatedEngine(job.engine), output / WAVEFORM)
    return write_report(output / "report.html", read_record(output))
