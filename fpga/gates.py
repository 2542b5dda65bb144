"""Gate equivalents of processing elements: area where multipliers have no carry chains.

``tilewright bench gates`` prints the table; ``--json`` prints it for programs. Yosys maps
to generic gates, and a gate counts as many NANDs of two inputs as have its transistors.
"""

import re
from dataclasses import asdict, dataclass
from pathlib import Path

from amaranth.lib import wiring

from ..gen.verilog import emit
from ..hw.arith.product_config import ProductConfig
from ..hw.serial.bit_mac import BitMac
from ..hw.serial.config import SerialConfig
from ..hw.serial.digits import DigitsUnit
from ..hw.serial.planes import PlanesUnit
from ..hw.serial.tables import TablesUnit
from ..hw.systolic.pe import PeConfig, WsPe
from ..hw.term.config import TermConfig
from ..hw.term.plane import PlanePe
from ..hw.term.tmac import TmacPe
from ..sw.cli.options import Json, OutputFolder
from ..sw.cli.output import print_json, print_table
from .flow import run_wasm

__all__ = ["Gates", "gate_equivalents", "main"]

_TRANSISTORS = {
    "NOT": 2, "NAND": 4, "NOR": 4, "AOI3": 6, "OAI3": 6, "XOR": 12, "XNOR": 12, "MUX": 12,
    "DFF_P": 16,
}  # fmt: skip
"""Of each gate, as Yosys counts them."""

_SCRIPT = (
    "read_rtlil {top}.il",
    "setattr -mod -unset keep_hierarchy *",
    "synth -flatten -top {top}",
    "attrmap -remove init",
    "dfflegalize -cell $_DFF_P_ x",
    "abc -g NAND,NOR,XOR,XNOR,MUX,AOI3,OAI3",
    "opt_clean",
    "stat",
)
_PER_TERM = 8


@dataclass(frozen=True)
class Gates:
    """A processing element: its gate equivalents, and those of one product a cycle.

    Attributes
    ----------
    name : str
        What it is.
    gates : float
        All of it.
    logic : float
        Without flip-flops and memory.
    macs : float
        Products a cycle, of eight bits each; those of terms at the budget of 7 per 8 weights and
        3 per data value.
    per_mac, logic_per_mac : float
        Gates, and gates without flip-flops, by products a cycle.
    """

    name: str
    gates: float
    logic: float
    macs: float
    per_mac: float
    logic_per_mac: float


def gate_equivalents(component: wiring.Component, top: str, folder: Path) -> tuple[float, float]:
    """Return the gate equivalents of a component, and those without flip-flops."""
    folder.mkdir(parents=True, exist_ok=True)
    (folder / f"{top}.il").write_text(emit(component, top).rtlil, encoding="utf-8")
    script = "\n".join(line.format(top=top) for line in _SCRIPT)
    (folder / f"{top}.ys").write_text(script + "\n", encoding="utf-8")
    run_wasm("yosys", ["-q", "-l", f"{top}.log", "-s", f"{top}.ys"], folder, log=f"{top}.log")
    log = (folder / f"{top}.log").read_text(encoding="utf-8")
    counts = re.findall(r"(\d+)\s+\$_(\w+)_$", log[log.rindex("Printing statistics") :], re.M)
    spent = {kind: int(count) * _TRANSISTORS[kind] / _TRANSISTORS["NAND"] for count, kind in counts}
    return sum(spent.values()), sum(spent.values()) - spent.get("DFF_P", 0)


def main(output: OutputFolder = Path("build/gates"), json: Json = False) -> None:
    """Print gate equivalents of PEs, and per product and cycle."""
    product = ProductConfig(
        x_bits=8, x_signed=False, w_bits=8, w_signed=True, latency=4, fabric="portable"
    )
    plane = TermConfig(budget=7, data_terms=0)
    tmac = TermConfig(budget=7, data_terms=3, pe="tmac")
    serial = {
        pe: SerialConfig(pe=pe, x_signed=False) for pe in ("planes", "digits", "tables", "bit_mac")
    }
    rates = {pe: config.rows / config.most_passes for pe, config in serial.items()}
    cases = (
        ("parallel", WsPe(PeConfig(kind="L", product=product, psum_width=20)), 1.0),
        ("plane", PlanePe(plane), _PER_TERM / plane.batch_cycles(8)),
        ("tmac", TmacPe(tmac), _PER_TERM / tmac.batch_cycles(7)),
        ("serial_planes", PlanesUnit(serial["planes"]), rates["planes"]),
        ("serial_digits", DigitsUnit(serial["digits"]), rates["digits"]),
        ("serial_tables", TablesUnit(serial["tables"]), rates["tables"]),
        ("serial_bit_mac", BitMac(8), 1 / serial["bit_mac"].most_passes),
    )
    found = []
    for name, component, macs in cases:
        gates, logic = gate_equivalents(component, name, output)
        found.append(Gates(name, gates, logic, macs, gates / macs, logic / macs))
    if json:
        print_json([asdict(row) for row in found])
    else:
        print_table(list(asdict(found[0])), [list(asdict(row).values()) for row in found])
