"""Area of the cache controller against its slots, and the clock that it reaches.

``tilewright bench kv`` prints the table; ``--json`` prints it for programs. A
controller of 8 heads and 8-bit scores, registers included, is synthesised for every number of slots
and placed and routed, between registers on an ECP5-85F of speed grade 6, where ``--route`` says.
"""

import statistics
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated

import typer

from ..gen.errors import ToolError
from ..gen.verilog import emit
from ..hw.config import ConfigError
from ..hw.kv.config import KvConfig
from ..hw.kv.controller import KvController
from ..sw.cli.options import Json, OutputFolder
from ..sw.cli.output import print_json, print_table, say
from .flow import Placer, synthesise
from .measure import measure

__all__ = ["SLOTS", "Row", "main"]

SLOTS = (64, 128, 256, 512, 1024)
"""Slots of each head."""


@dataclass(frozen=True)
class Row:
    """One controller.

    Attributes
    ----------
    slots : int
        Of each head.
    lut4, ccu2c, dpr16x4, ff, bram : int
        Area.
    mhz : list of float
        Clock with every seed; empty where it was not routed.
    """

    slots: int
    lut4: int
    ccu2c: int
    dpr16x4: int
    ff: int
    bram: int
    mhz: list[float]


def row_of(config: KvConfig, folder: Path, seeds: int, placer: str, aim: float) -> Row:
    """Measure one controller; with 0 seeds its area only."""
    rtlil = emit(KvController(config), "kv").rtlil
    clocks = []
    if seeds:
        found = measure(
            rtlil, "kv", folder, mhz=aim, seeds=range(1, seeds + 1), placer=placer, say=say
        )
        area = found.area
        clocks = [round(run.slowest, 1) for run in found.routed.values()]
    else:
        area = synthesise(rtlil, "kv", folder, say=say)
    return Row(config.slots, area.lut4, area.ccu2c, area.dpr16x4, area.ff, area.bram, clocks)


def main(
    slots: Annotated[list[int] | None, typer.Argument(help="Of each head.")] = None,
    heads: Annotated[int, typer.Option("--heads", help="KV heads.")] = 8,
    route: Annotated[
        list[int] | None, typer.Option("--route", help="Place and route this one too; repeatable.")
    ] = None,
    seeds: Annotated[
        int, typer.Option("--seeds", help="Place and route with seeds 1 to N.", min=1)
    ] = 3,
    placer: Annotated[Placer, typer.Option("--placer", help="Of nextpnr.")] = Placer.heap,
    mhz: Annotated[float, typer.Option("--mhz", help="Clock to aim for.")] = 150.0,
    output: OutputFolder = Path("build/bench_kv"),
    json: Json = False,
) -> None:
    """Measure cache controllers and print the table."""
    rows = []
    for count in sorted({*(slots or SLOTS), *(route or ())}):
        say(f"{heads} heads of {count} slots")
        try:
            config = KvConfig(heads=heads, slots=count)
            routed = seeds if count in (route or ()) else 0
            rows.append(row_of(config, output / f"{heads}x{count}", routed, str(placer), mhz))
        except (ConfigError, ToolError, OSError) as error:
            say(f"error: {error}")
            raise typer.Exit(1) from None
    if json:
        print_json([vars(row) for row in rows])
        return
    titles = ("slots", "LUT4", "CCU2C", "DPR16X4", "FF", "block RAM", "MHz")
    table = []
    for r in rows:
        clock = f"{statistics.median(r.mhz)} ({min(r.mhz)} to {max(r.mhz)})" if r.mhz else ""
        table.append([r.slots, r.lut4, r.ccu2c, r.dpr16x4, r.ff, r.bram, clock])
    print_table(titles, table)
