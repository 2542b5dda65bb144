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
            "--sweep", metavar="KEY=VALUE,VALUE",
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
    from ..explore import Space, explore, read_choices
    from ..job import families_of
    from .output import print_json, print_table, say, show

    choices = read_choices(sweep or _SIZES)
    space = Space(datapaths=tuple(dict.fromkeys(datapath or families_of(job))), choices=choices)
    found = explore(
        job, space, output, trials=trials, images=images, settings=tuple(set_ or ()),
        area=_area(output, say) if synthesise else None, say=say,
    )
    page = _write(job, found, output)
    if json:
        print_json([asdict(one) for one in found])
        return
    say()
    print_table(_TITLES, _rows(found))
    show(f"\ntable and picture: {page}")


def _area(output: Path, say):
    """Return what synthesises an engine, each in a folder of its own."""
    from hashlib import sha256

    from ...fpga.flow import synthesise
    from ...gen.verilog import emit
    from ...hw.engine.engine import Engine

    def area(config) -> dict[str, int]:
        folder = output / "synthesis" / sha256(repr(config).encode()).hexdigest()[:12]
        cells = synthesise(emit(Engine(config), "engine").rtlil, "engine", folder, say=say)
        return {"lut4_equivalents": cells.lut4_equivalents, "dsps": cells.dsp}

    return area


def _rows(found) -> list[tuple]:
    """Return the candidates as a table, the unbeaten first, then by cycles."""
    ordered = sorted(found, key=lambda one: (bool(one.refused), not one.best, one.cycles))
    return [
        (
            " ".join(
                value if key == "datapath" else f"{key.rpartition('.')[2]}={value}"
                for key, value in one.point.items()
            ),
            *((None,) * 5 if one.refused else (
                f"{one.accuracy:.2%}", round(one.cycles), one.peak, one.lut4_equivalents, one.dsps
            )),
            one.best,
            one.refused,
        )
        for one in ordered
    ]


def _write(job: Path, found, output: Path) -> Path:
    from ..report.figures import draw_trade
    from ..report.html import write_table

    usable = [one for one in found if not one.refused]
    synthesised = any(one.lut4_equivalents is not None for one in usable)
    cost = "LUT4-equivalents" if synthesised else "multiply-accumulates per cycle at best"
    text = (
        f"{len(found)} candidates; {len(found) - len(usable)} of them were refused. Unbeaten is "
        "one that no other equals in accuracy, cycles and cost and betters in any."
    )

    def pictures():
        points = [
            (one.lut4_equivalents or one.peak, one.cycles, one.point["datapath"], one.best)
            for one in usable
        ]
        return [("Cycles against cost", text, draw_trade(points, (cost, "cycles per image")))]

    rows = [["-" if cell is None else cell for cell in row] for row in _rows(found)]
    name = f"{job.resolve().name}: sizes and datapaths"
    return write_table(output / "explore.html", name, text, _TITLES, rows, pictures)
