"""`tilewright explore JOB`."""

from dataclasses import asdict
from pathlib import Path
from typing import Annotated

import typer

from .options import Datapaths, Images, JobPath, Json, OutputFolder, Settings

__all__ = ["command"]

_SIZES = ("datapath.rows=4,8,12,16", "datapath.cols=4,8,12,16")
_TITLES = (
    "candidate", "accuracy", "cycles per image", "peak MACs", "LUT4-eq", "DSP", "unbeaten",
    "refused",
)  # fmt: skip


def command(
    job: JobPath,
    datapath: Datapaths = None,
    sweep: Annotated[
        list[str] | None,
        typer.Option(
            "--sweep",
            metavar="KEY=VALUE,VALUE",
            help=f"Values of a field to try; may be repeated. Without: {' '.join(_SIZES)}.",
        ),
    ] = None,
    set_: Settings = None,
    trials: Annotated[
        int | None,
        typer.Option("--trials", "-n", min=1, help="Stop once so many are done; all by default."),
    ] = None,
    images: Images = None,
    synthesise: Annotated[
        bool, typer.Option("--synthesise", help="Also find LUTs and DSPs of each, in minutes.")
    ] = False,
    output: OutputFolder = Path("build/explore"),
    json: Json = False,
) -> None:
    """Try a network on datapaths of many sizes: accuracy, cycles and cost of each.

    Accuracy and cycles come from the exact models. The sweep keeps a journal in DIR: the same
    command goes on where it was stopped, and run several times at once, on machines that share the
    folder, it divides the work.
    """
    from ...gen.files import check_writable
    from ..explore import Space, explore, read_choices
    from ..job import families_of
    from ..report.html import check_packages
    from .output import print_json, print_table, say, show

    check_packages()
    check_writable(output)
    choices = read_choices(sweep or _SIZES)
    space = Space(datapaths=tuple(dict.fromkeys(datapath or families_of(job))), choices=choices)
    found = explore(
        job,
        space,
        output,
        trials=trials,
        images=images,
        settings=tuple(set_ or ()),
        area=_synthesis(output, say) if synthesise else _estimate,
        say=say,
    )
    page = _write(job, found, output)
    if json:
        print_json([asdict(one) for one in found])
        return
    say()
    print_table(_TITLES, _rows(found))
    show(f"\nLUTs and DSPs are {_way(found)}\ntable and picture: {page}")


def _estimate(config) -> dict[str, int]:
    from ...fpga.estimate import estimate_area

    return estimate_area(config) | {"estimated": True}


def _synthesis(output: Path, say):
    """Return what synthesises an engine, each in a folder of its own."""
    from hashlib import sha256

    from ...fpga.flow import synthesise
    from ...gen.files import undone_on_failure
    from ...gen.verilog import emit
    from ...hw.engine.engine import Engine

    def synthesised(config) -> dict[str, int]:
        folder = output / "synthesis" / sha256(repr(config).encode()).hexdigest()[:12]
        with undone_on_failure(folder):
            cells = synthesise(emit(Engine(config), "engine").rtlil, "engine", folder, say=say)
        return {"lut4_equivalents": cells.lut4_equivalents, "dsps": cells.dsp}

    return synthesised


def _way(found) -> str:
    return "estimated" if any(one.estimated for one in found) else "found by synthesis"


def _rows(found) -> list[tuple]:
    """Return the candidates as a table, the unbeaten first, then by cycles."""
    ordered = sorted(found, key=lambda one: (bool(one.refused), not one.best, one.cycles))
    return [
        (
            " ".join(
                value if key == "datapath" else f"{key.rpartition('.')[2]}={value}"
                for key, value in one.point.items()
            ),
            *(
                (None,) * 5
                if one.refused
                else (
                    f"{one.accuracy:.2%}",
                    round(one.cycles),
                    one.peak,
                    one.lut4_equivalents,
                    one.dsps,
                )
            ),
            one.best,
            one.refused,
        )
        for one in ordered
    ]


def _write(job: Path, found, output: Path) -> Path:
    from ...fpga.flow import Part
    from ..report.figures import draw_trade
    from ..report.html import write_table

    usable = [one for one in found if not one.refused]
    text = (
        f"{len(found)} candidates; {len(found) - len(usable)} of them were refused. Unbeaten is "
        "one that no other equals in accuracy, cycles, LUTs and DSPs and betters in any. LUTs and "
        f"DSPs are {_way(found)}."
    )
    capacity = Part().capacity

    def share(one) -> float:
        return 100 * max(
            one.lut4_equivalents / capacity["LUT4-equivalents"], one.dsps / capacity["DSPs"]
        )

    def pictures():
        points = [(share(one), one.cycles, one.point["datapath"], one.best) for one in usable]
        titles = (f"% of the LUTs or the DSPs of an {Part().name}", "cycles per image")
        return [("Cycles against cost", text, draw_trade(points, titles))]

    rows = [["-" if cell is None else cell for cell in row] for row in _rows(found)]
    name = f"{job.resolve().name}: sizes and datapaths"
    return write_table(output / "explore.html", name, text, _TITLES, rows, pictures)
