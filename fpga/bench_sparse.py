"""Clock and throughput of engines for sparse weights beside the dense one, all routed in one run.

``tilewright bench sparse`` prints the table; ``--json`` prints it for programs. Each
engine stands between registers on an ECP5-85F of speed grade 6, its multipliers made from DSPs.
Throughput counts the products of a dense network; for packed columns they are as many times those
of the array as the columns before packing are those after it, which ``--ratio`` says: by default
what the published rule gives for the face detector of ``examples/face``.
"""

from dataclasses import asdict, dataclass
from enum import StrEnum
from pathlib import Path
from typing import Annotated

import typer

from ..gen.errors import ToolError
from ..gen.verilog import emit
from ..hw.engine.config import DatapathConfig, EngineConfig
from ..hw.engine.engine import Engine
from ..hw.nm.config import NmConfig
from ..hw.packed.config import PackedConfig
from ..hw.systolic.config import SystolicConfig
from ..sw.cli.options import Json, OutputFolder
from ..sw.cli.output import print_json, print_table, say
from .flow import Placer
from .measure import measure

__all__ = ["DATAPATHS", "Row", "main"]

DATAPATHS: dict[str, DatapathConfig] = {
    "systolic": SystolicConfig(rows=12, cols=12, k_max=1024, fabric="ecp5"),
    "packed": PackedConfig(rows=4, cols=36, alpha=8, k_max=1024, fabric="ecp5"),
    "nm": NmConfig(rows=12, cols=12, n=2, m=4, k_max=1024, fabric="ecp5"),
}
"""Arrays of 144 products a cycle, by family."""

Family = StrEnum("Family", {name: name for name in DATAPATHS})  # type: ignore[misc]  # made from the table

FACE = 4568 / 1100
"""Columns before and after packing: examples/face, alpha 8, gamma 0.5, dense columns first."""


@dataclass(frozen=True)
class Row:
    """One engine.

    Attributes
    ----------
    name : str
        Family of its datapath.
    mhz, mhz_low, mhz_high : float
        Clock: median, least and most over the seeds.
    lut4_equivalents, ff, dsp, ram : int
        Area of the engine.
    gmacs, dense_gmacs : float
        Products of the array a second, in thousand millions, and products of the dense network.
    """

    name: str
    mhz: float
    mhz_low: float
    mhz_high: float
    lut4_equivalents: int
    ff: int
    dsp: int
    ram: int
    gmacs: float
    dense_gmacs: float


def row_of(name: str, folder: Path, seeds: int, placer: str, aim: float, ratio: float) -> Row:
    """Measure one engine."""
    d = DATAPATHS[name]
    config = EngineConfig(datapath=d, act_depth=2048, weight_depth=2048, drain_lanes=4)
    rtlil = emit(Engine(config), "engine").rtlil
    found = measure(
        rtlil, "engine", folder / name, mhz=aim, seeds=range(1, seeds + 1), placer=placer, say=say
    )
    clocks = [run.slowest for run in found.routed.values()]
    denser = {"packed": ratio, "nm": d.act_lanes / d.rows}.get(name, 1.0)
    gmacs = d.rows * d.cols * found.mhz / 1000
    area = found.area
    return Row(
        name=name,
        mhz=round(found.mhz, 1),
        mhz_low=round(min(clocks), 1),
        mhz_high=round(max(clocks), 1),
        lut4_equivalents=area.lut4_equivalents,
        ff=area.ff,
        dsp=area.dsp,
        ram=area.bram,
        gmacs=round(gmacs, 2),
        dense_gmacs=round(gmacs * denser, 2),
    )


def main(
    families: Annotated[
        list[Family] | None,  # pyright: ignore[reportInvalidTypeForm] # made from the table
        typer.Argument(help="Which; all by default."),
    ] = None,
    seeds: Annotated[
        int, typer.Option("--seeds", help="Place and route with seeds 1 to N.", min=1)
    ] = 3,
    placer: Annotated[Placer, typer.Option("--placer", help="Of nextpnr.")] = Placer.static,
    mhz: Annotated[float, typer.Option("--mhz", help="Clock to aim for.", min=1)] = 150,
    ratio: Annotated[
        float, typer.Option("--ratio", help="Columns before packing over those after.", min=1)
    ] = FACE,
    output: OutputFolder = Path("build/bench_sparse"),
    json: Json = False,
) -> None:
    """Measure engines for dense and sparse weights and print the table."""
    rows = []
    for name in families or DATAPATHS:
        say(f"{name}: synthesis, place and route")
        try:
            rows.append(row_of(str(name), output, seeds, str(placer), mhz, ratio))
        except (ToolError, OSError) as error:
            say(f"error: {error}")
            raise typer.Exit(1) from None
    if json:
        print_json([asdict(row) for row in rows])
    else:
        titles = ("engine", "MHz", "LUT4-eq", "FF", "DSP", "block RAM", "GMAC/s", "dense GMAC/s")
        print_table(
            titles,
            [
                [r.name, f"{r.mhz} ({r.mhz_low} to {r.mhz_high})", r.lut4_equivalents, r.ff, r.dsp,
                 r.ram, r.gmacs, r.dense_gmacs]
                for r in rows
            ],
        )  # fmt: skip
