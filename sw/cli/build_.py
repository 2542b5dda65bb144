"""`tilewright build UNIT`."""

from pathlib import Path
from typing import Annotated

import typer

from .options import ConfigFile, Json, OutputFolder, Preset, Settings, UnitName

__all__ = ["command"]


def command(
    unit: UnitName,
    preset: Preset = None,
    config: ConfigFile = None,
    set_: Settings = None,
    seeds: Annotated[
        int, typer.Option("--seeds", help="Place and route with seeds 1 to N.", min=1, max=99)
    ] = 3,
    mhz: Annotated[float, typer.Option("--mhz", help="Clock to aim for.", min=1, max=1000)] = 200.0,
    placer: Annotated[
        str, typer.Option("--placer", help="heap, or static, which suits large designs.")
    ] = "heap",
    board: Annotated[
        str | None,
        typer.Option("--board", "-b", metavar="BOARD", help="For its part, else an ECP5-85F."),
    ] = None,
    output: OutputFolder = Path("build/fpga"),
    json: Json = False,
) -> None:
    """Synthesise, place and route a unit alone, between registers; print area and clock.

    The bitstream of a whole engine behind a board's UART is made by `run JOB --board`.
    """
    from ...fpga.board import find_board
    from ...fpga.fit import check_fit
    from ...fpga.flow import PLACERS, Part
    from ...fpga.measure import measure
    from ...gen.configuration import configure, fields_of
    from ...gen.generate import module_name
    from ...gen.progress import waiting
    from ...gen.registry import find_unit, load
    from ...gen.verilog import emit
    from ...hw.config import ConfigError, check_choice
    from .output import print_json, print_table, say

    check_choice("placer", placer, PLACERS)
    if not 1 <= mhz <= 1000:  # as NaN is not, which the option lets pass
        raise ConfigError(f"mhz must be a number from 1 to 1000, not {mhz}")
    chosen = configure(unit, preset=preset, file=config, settings=set_ or ())
    part = find_board(board).part if board else Part()
    check_fit(chosen, part, board or part.name)
    name = module_name(unit)
    with waiting(f"writing the design of {unit}"):
        design = emit(load(find_unit(unit).component)(chosen), name)
    found = measure(
        design.rtlil,
        name,
        output / unit,
        part=part,
        mhz=mhz,
        seeds=range(1, seeds + 1),
        placer=placer,
        say=say,
    )
    area = found.area
    if json:
        print_json(
            {
                "unit": unit,
                "configuration": fields_of(chosen),
                "mhz": found.mhz,
                "mhz_by_seed": {seed: run.slowest for seed, run in found.routed.items()},
                "lut4_equivalents": area.lut4_equivalents,
                "area": vars(area),
            }
        )
        return
    print_table(
        ("measured", "value"),
        [
            ("clock, median of the seeds, MHz", round(found.mhz, 1)),
            ("LUT4-equivalents", area.lut4_equivalents),
            ("flip-flops", area.ff),
            ("DSPs (MULT18X18D)", area.dsp),
            ("block RAMs (DP16KD)", area.bram),
        ],
    )
