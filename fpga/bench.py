"""Area and clock of the systolic arrays against a textbook array, all measured in one run.

``python -m tilewright.fpga.bench`` (or ``make bench``) prints the table; ``--json`` prints it for
programs. Every array is 8x8 INT8, weight-stationary, on an ECP5-85F of speed grade 6.
"""

import argparse
import sys
from dataclasses import dataclass
from importlib import resources
from pathlib import Path

from ..gen.errors import ToolError
from ..gen.verilog import emit
from ..hw.systolic.array import SystolicArray
from ..hw.systolic.config import SystolicConfig
from ..sw.cli.output import print_json, print_table, say
from .flow import Say
from .measure import Measurement, measure, rtlil_of_verilog

__all__ = ["CASES", "Case", "main", "run"]

SIZE = 8


@dataclass(frozen=True)
class Case:
    """One array to measure.

    Attributes
    ----------
    name, title : str
        For folders and for people.
    pe : str or None
        Kind of our PEs; None for the textbook array.
    options : str
        For ``synth_ecp5``.
    mhz : float
        Clock that place and route aims for: above what the array reaches.
    """

    name: str
    title: str
    pe: str | None
    options: str
    mhz: float


CASES = (
    Case("textbook_dsp", "textbook, DSPs", None, "", 200),
    Case("dsp", "tilewright, DSPs", "dsp", "", 250),
    Case("textbook_lut", "textbook, LUTs", None, "-nodsp", 200),
    Case("lut", "tilewright, LUTs", "lut", "", 250),
)


def run(case: Case, folder: Path, seeds: tuple[int, ...], progress: Say) -> Measurement:
    """Measure one array in ``folder``."""
    folder = folder / case.name
    if case.pe is None:
        source = resources.files(__package__).joinpath("baseline/ws_array.v")
        top = "ws_array"
        rtlil = rtlil_of_verilog([source.read_text(encoding="utf-8")], top, {"N": SIZE}, folder)
    else:
        top = "systolic"
        config = SystolicConfig(rows=SIZE, cols=SIZE, pe=case.pe, fabric="ecp5")
        rtlil = emit(SystolicArray(config), top).rtlil
    return measure(
        rtlil, top, folder, seeds=seeds, mhz=case.mhz, options=case.options, say=progress
    )


def main(arguments: list[str] | None = None) -> int:
    """Measure the arrays that were asked for and print the table."""
    parser = argparse.ArgumentParser(prog="tilewright.fpga.bench", description=__doc__)
    names = [case.name for case in CASES]
    parser.add_argument("cases", nargs="*", metavar="CASE", help=f"of {', '.join(names)}")
    parser.add_argument("--seeds", type=int, default=3, help="place and route with seeds 1 to N")
    parser.add_argument("--json", action="store_true", help="print JSON to standard output")
    parser.add_argument("-o", "--output", type=Path, default=Path("build/bench"))
    chosen = parser.parse_args(arguments)
    unknown = [name for name in chosen.cases if name not in names]
    if unknown:
        parser.error(f"there is no case {unknown[0]!r} (cases: {', '.join(names)})")
    if chosen.seeds < 1:
        parser.error(f"--seeds must be at least 1, not {chosen.seeds}")
    cases = [case for case in CASES if not chosen.cases or case.name in chosen.cases]
    found = []
    for number, case in enumerate(cases, 1):
        say(f"[{number}/{len(cases)}] {case.title}: synthesis, place and route")
        try:
            result = run(case, chosen.output, tuple(range(1, chosen.seeds + 1)), say)
        except (ToolError, OSError) as error:
            say(f"error: {error}")
            return 1
        except KeyboardInterrupt:
            say("interrupted")
            return 130
        found.append(_record(case, result))
    if chosen.json:
        print_json(found)
    else:
        titles = ("8x8 INT8, ECP5-85F -6", "MHz", "LUT4-eq/PE", "LUT4", "CCU2C", "FF", "DSP")
        keys = ("title", "mhz", "lut4_equivalents_per_pe", "lut4", "ccu2c", "ff", "dsp")
        print_table(titles, [[record[key] for key in keys] for record in found])
        say(f"MHz: median of seeds 1 to {chosen.seeds}. LUT4-eq: LUT4 + 2 CCU2C, array alone.")
    return 0


def _record(case: Case, result: Measurement) -> dict:
    area = result.area
    return {
        "name": case.name,
        "title": case.title,
        "mhz": round(result.mhz, 1),
        "mhz_by_seed": {seed: round(run.slowest, 1) for seed, run in result.routed.items()},
        "lut4_equivalents_per_pe": round(area.lut4_equivalents / SIZE**2, 2),
        "lut4": area.lut4,
        "ccu2c": area.ccu2c,
        "ff": area.ff,
        "dsp": area.dsp,
    }


if __name__ == "__main__":
    sys.exit(main())
