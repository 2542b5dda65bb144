"""Area and clock of arrays against a textbook array, all measured in one run.

``tilewright bench arrays`` (or ``make bench``) prints the table; ``--json`` prints it for
programs. Every array is 8x8 INT8 on an ECP5-85F of speed grade 6, alone between registers. The
term-revealing arrays have the budgets of the Fashion-MNIST example: a loss of less than half a
point, see ``tilewright study terms``.
"""

from dataclasses import dataclass
from enum import StrEnum
from importlib import resources
from pathlib import Path
from typing import Annotated, Any

import typer

from ..gen.errors import ToolError
from ..gen.verilog import emit
from ..hw.engine.config import DatapathConfig
from ..hw.systolic.config import SystolicConfig
from ..hw.term.config import TermConfig
from ..sw.cli.options import Json, OutputFolder
from ..sw.cli.output import print_json, print_table, say
from .flow import Placer, Say
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
    config : DatapathConfig or None
        Our array; None for the textbook array.
    options : str
        For ``synth_ecp5``.
    mhz : float
        Clock that place and route aims for: above what the array reaches.
    macs : float
        Products a cycle.
    """

    name: str
    title: str
    config: DatapathConfig | None
    options: str
    mhz: float
    macs: float = SIZE**2


def _systolic(pe: str) -> SystolicConfig:
    return SystolicConfig(rows=SIZE, cols=SIZE, pe=pe, fabric="ecp5")


def _term(name: str, title: str, mhz: float, **fields: Any) -> Case:
    config = TermConfig(**{"cols": SIZE, "budget": 7, "fabric": "ecp5", **fields})
    slots = config.tile_terms + (config.pe == "plane")
    macs = config.rows**2 * config.cols / config.batch_cycles(slots)
    return Case(name, title, config, "", mhz, macs)


CASES = (
    Case("textbook_dsp", "textbook, DSPs", None, "", 200),
    Case("dsp", "tilewright, DSPs", _systolic("dsp"), "", 250),
    Case("textbook_lut", "textbook, LUTs", None, "-nodsp", 200),
    Case("lut", "tilewright, LUTs", _systolic("lut"), "", 250),
    _term("plane", "terms of weights", 290, data_terms=0),
    _term("plane_16", "terms of weights, 16 columns", 260, data_terms=0, cols=16),
    _term("plane_s3", "terms of weights, 3 of data", 290, data_terms=3),
    _term("tmac", "tMAC, 3 terms of data", 250, data_terms=3, pe="tmac"),
)


Name = StrEnum("Name", {case.name: case.name for case in CASES})  # type: ignore[misc]  # made from the table


def run(
    case: Case, folder: Path, seeds: tuple[int, ...], progress: Say, placer: str = "heap"
) -> Measurement:
    """Measure one array in ``folder``."""
    folder = folder / case.name
    if case.config is None:
        source = resources.files(__name__.rpartition(".")[0]).joinpath("baseline/ws_array.v")
        top = "ws_array"
        rtlil = rtlil_of_verilog([source.read_text(encoding="utf-8")], top, {"N": SIZE}, folder)
    else:
        top = case.config.family
        rtlil = emit(case.config.build(), top).rtlil
    return measure(
        rtlil,
        top,
        folder,
        seeds=seeds,
        mhz=case.mhz,
        options=case.options,
        placer=placer,
        say=progress,
    )


def main(
    cases: Annotated[
        list[Name] | None,  # pyright: ignore[reportInvalidTypeForm] # made from the table
        typer.Argument(help="Which; all by default."),
    ] = None,
    seeds: Annotated[
        int, typer.Option("--seeds", help="Place and route with seeds 1 to N.", min=1)
    ] = 3,
    placer: Annotated[Placer, typer.Option("--placer", help="Of nextpnr.")] = Placer.heap,
    output: OutputFolder = Path("build/bench"),
    json: Json = False,
) -> None:
    """Measure arrays of 8x8 PEs and print the table."""
    wanted = [case for case in CASES if not cases or case.name in cases]
    found = []
    for number, case in enumerate(wanted, 1):
        say(f"[{number}/{len(wanted)}] {case.title}: synthesis, place and route")
        try:
            result = run(case, output, tuple(range(1, seeds + 1)), say, str(placer))
        except (ToolError, OSError) as error:
            say(f"error: {error}")
            raise typer.Exit(1) from None
        found.append(_record(case, result))
    if json:
        print_json(found)
        return
    titles = (
        "INT8, ECP5-85F -6", "MHz", "MAC/cycle", "LUT4-eq", "LUT4", "CCU2C", "RAM 16x4", "FF",
        "DSP", "GMAC/s/kLUT4-eq",
    )  # fmt: skip
    keys = (
        "title", "mhz", "macs_per_cycle", "lut4_equivalents", "lut4", "ccu2c", "dpr16x4",
        "ff", "dsp", "gmacs_per_klut",
    )  # fmt: skip
    print_table(titles, [[record[key] for key in keys] for record in found])
    say(f"MHz: median of seeds 1 to {seeds}, {placer} placer")
    say("LUT4-eq: LUT4 + 2 CCU2C + 6 per RAM of 16x4, array alone")


def _record(case: Case, result: Measurement) -> dict:
    area = result.area
    return {
        "name": case.name,
        "title": case.title,
        "mhz": round(result.mhz, 1),
        "mhz_by_seed": {seed: round(run.slowest, 1) for seed, run in result.routed.items()},
        "macs_per_cycle": round(case.macs, 2),
        "lut4_equivalents": area.lut4_equivalents,
        "lut4_equivalents_per_mac": round(area.lut4_equivalents / case.macs, 2),
        "gmacs_per_klut": round(case.macs * result.mhz / area.lut4_equivalents, 2),
        "lut4": area.lut4,
        "ccu2c": area.ccu2c,
        "dpr16x4": area.dpr16x4,
        "ff": area.ff,
        "dsp": area.dsp,
    }
