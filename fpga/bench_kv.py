"""Area of the cache controller against its slots, and the clock that it reaches.

``python -m tilewright.fpga.bench_kv`` prints the table; ``--json`` prints it for programs. A
controller of 8 heads and 8-bit scores, registers included, is synthesised for every number of slots
and placed and routed, between registers on an ECP5-85F of speed grade 6, where ``--route`` says.
"""

import argparse
import statistics
import sys
from dataclasses import dataclass
from pathlib import Path

from ..gen.errors import ToolError
from ..gen.verilog import emit
from ..hw.config import ConfigError
from ..hw.kv.config import KvConfig
from ..hw.kv.controller import KvController
from ..sw.cli.output import print_json, print_table, say
from .flow import PLACERS, synthesise
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


def main(arguments: list[str] | None = None) -> int:
    """Measure the controllers that were asked for and print the table."""
    parser = argparse.ArgumentParser(prog="tilewright.fpga.bench_kv", description=__doc__)
    parser.add_argument("slots", nargs="*", type=int, metavar="SLOTS", help="of each head")
    parser.add_argument("--heads", type=int, default=8)
    parser.add_argument("--route", nargs="*", type=int, default=[], metavar="SLOTS",
                        help="controllers to place and route too")  # fmt: skip
    parser.add_argument("--seeds", type=int, default=3, help="place and route with seeds 1 to N")
    parser.add_argument("--placer", choices=PLACERS, default="heap")
    parser.add_argument("--mhz", type=float, default=150, help="clock to aim for")
    parser.add_argument("--json", action="store_true", help="print JSON to standard output")
    parser.add_argument("-o", "--output", type=Path, default=Path("build/bench_kv"))
    chosen = parser.parse_args(arguments)
    if chosen.seeds < 1:
        parser.error(f"--seeds must be at least 1, not {chosen.seeds}")
    rows = []
    for slots in sorted({*(chosen.slots or SLOTS), *chosen.route}):
        say(f"{chosen.heads} heads of {slots} slots")
        try:
            config = KvConfig(heads=chosen.heads, slots=slots)
            seeds = chosen.seeds if slots in chosen.route else 0
            folder = chosen.output / f"{chosen.heads}x{slots}"
            rows.append(row_of(config, folder, seeds, chosen.placer, chosen.mhz))
        except (ConfigError, ToolError, OSError) as error:
            say(f"error: {error}")
            return 1
    if chosen.json:
        print_json([vars(row) for row in rows])
        return 0
    titles = ("slots", "LUT4", "CCU2C", "DPR16X4", "FF", "block RAM", "MHz")
    table = []
    for r in rows:
        clock = f"{statistics.median(r.mhz)} ({min(r.mhz)} to {max(r.mhz)})" if r.mhz else ""
        table.append([r.slots, r.lut4, r.ccu2c, r.dpr16x4, r.ff, r.bram, clock])
    print_table(titles, table)
    return 0


if __name__ == "__main__":
    sys.exit(main())
