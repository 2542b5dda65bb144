"""`tilewright run JOB`."""

from pathlib import Path
from typing import Annotated

import typer

from .options import Json, Settings

__all__ = ["command"]


def command(
    job: Annotated[
        Path, typer.Argument(metavar="JOB", help="Folder with a job.toml, or such a file.")
    ],
    datapath: Annotated[
        str | None, typer.Option("--datapath", "-d", help="Run on this family.", metavar="UNIT")
    ] = None,
    set_: Settings = None,
    images: Annotated[
        int | None, typer.Option("--images", help="How many test images; all by default.", min=1)
    ] = None,
    json: Json = False,
) -> None:
    """Quantise a network and run it on the compiled RTL, every output checked."""
    from dataclasses import asdict

    from ..job import read_job, run_job
    from .output import print_json, print_table, progress_bar, say

    chosen = read_job(job, datapath=datapath, settings=tuple(set_ or ()))
    with progress_bar("images on the RTL") as move:
        result = run_job(chosen, images=images, say=say, progress=move)
    if json:
        print_json(asdict(result))
    else:
        print_table(
            ("layer", "operator", "M x K x N", "MACs", "cycles", "utilisation"),
            [
                (y.name, y.op, " x ".join(map(str, y.shape)), y.macs, y.cycles, y.utilisation)
                for y in result.layers
            ],
        )
        say()
        print_table(
            ("measured", "value"),
            [
                ("test images", result.images),
                ("accuracy, float", result.float_accuracy),
                ("accuracy, golden model", result.golden_accuracy),
                ("accuracy, RTL", result.rtl_accuracy),
                ("outputs of RTL and golden model equal", result.equal),
                ("cycles", result.cycles),
                ("cycles predicted", result.predicted_cycles),
                ("utilisation", result.utilisation),
                ("seconds of simulation", round(result.seconds, 1)),
            ],
        )
    if not (result.equal and result.cycles == result.predicted_cycles):
        say("\nthe RTL and its models disagree")
        raise typer.Exit(1)
