"""Area of the engine's components: what stands around the array, and the array.

``tilewright bench frame`` prints a table for each engine; ``--json`` prints it for programs. Each
component is mapped to the ECP5 by itself: synthesis keeps the engine's components apart and
dissolves what is inside each, so a row is what a component needs alone. The engine mapped as a
whole needs a little less, since logic is shared across components: ``whole`` is that, and ``frame``
is ``whole`` without the array's row.
"""

import re
from collections.abc import Iterator
from dataclasses import asdict, dataclass
from pathlib import Path

import typer

from ..gen.errors import ToolError
from ..gen.files import read_json
from ..gen.verilog import emit
from ..hw.engine.config import EngineConfig
from ..hw.engine.engine import Engine
from ..hw.systolic.config import SystolicConfig
from ..sw.cli.options import Json, OutputFolder
from ..sw.cli.output import print_json, print_table, say, show
from .block_ram import absorb_output_registers
from .flow import Area, run_wasm, synthesise

__all__ = ["ENGINES", "Part", "main", "parts_of_engine"]

ENGINES = {
    "12x12": EngineConfig(
        datapath=SystolicConfig(rows=12, cols=12, k_max=1024, fabric="ecp5"),
        weight_depth=8192,
        drain_lanes=4,
    ),
    "4x4": EngineConfig(datapath=SystolicConfig(rows=4, cols=4, fabric="ecp5")),
}
"""Engines to measure: that of ``examples/lenet5`` with four lanes, and a small one with one."""
_ARRAY = "datapath"
_DISSOLVED = ("inner", "core")
"""Components whose parts stand in the table."""
_INSTANCE = re.compile(r"^  cell (\\\S+) \\(\S+)$", re.MULTILINE)
_MODULE = re.compile(r"^module (\\\S+)\n(.*?)^end$", re.MULTILINE | re.DOTALL)


@dataclass(frozen=True)
class Part:
    """A component of an engine and what it needs.

    Attributes
    ----------
    name : str
        Name of the instance.
    area : Area
        Of the component with all inside.
    """

    name: str
    area: Area


def parts_of_engine(
    config: EngineConfig, folder: Path, dissolved: tuple[str, ...] = _DISSOLVED
) -> list[Part]:
    """Return what each component of an engine needs, what the whole engine does and its frame.

    Parameters
    ----------
    config : EngineConfig
        The engine.
    folder : Path
        For files of the tools.
    dissolved : tuple of str
        Instances of which the parts are kept apart.
    """
    rtlil = emit(Engine(config), "engine").rtlil
    folder.mkdir(parents=True, exist_ok=True)
    modules = dict(_MODULE.findall(rtlil))
    instances = dict(_instances(modules, "\\engine", dissolved))
    for module in {*instances.values()}:
        head = f"module {module}\n"
        rtlil = rtlil.replace(head, f"attribute \\keep_hierarchy 1\n{head}")
    (folder / "apart.rtl.il").write_text(rtlil, encoding="utf-8")
    script = (
        "read_rtlil apart.rtl.il",
        "rename -hide w:*[[]*",
        "synth_ecp5 -top engine -nowidelut",
        "write_json apart.json",
    )
    (folder / "apart.ys").write_text("\n".join(script) + "\n", encoding="utf-8")
    run_wasm("yosys", ["-q", "-l", "apart.log", "-s", "apart.ys"], folder, log="apart.log")
    netlist = read_json(folder / "apart.json")
    areas = {name: _area(netlist, name) for name in netlist["modules"]}
    parts = [Part(name, areas[module[1:]]) for name, module in instances.items()]
    array = next(part.area for part in parts if part.name == _ARRAY)
    whole = synthesise(emit(Engine(config), "engine").rtlil, "engine", folder)
    rest = {name: count - getattr(array, name) for name, count in asdict(whole).items()}
    return [
        *parts, Part("between", areas["engine"]), Part("whole", whole),
        Part("frame", Area(**rest)),
    ]  # fmt: skip


def _instances(modules, module, dissolved) -> Iterator[tuple[str, str]]:
    """Yield name and module of the components whose parts are not looked at."""
    for kind, name in _INSTANCE.findall(modules[module]):
        if name in dissolved:
            yield from _instances(modules, kind, dissolved)
        elif kind in modules:
            yield name, kind


def _area(netlist: dict, module: str) -> Area:
    """Count the cells of a module, without those of kept modules inside."""
    absorb_output_registers(netlist, module)
    cells: dict[str, int] = {}
    for cell in netlist["modules"][module]["cells"].values():
        cells[cell["type"]] = cells.get(cell["type"], 0) + 1
    return Area.of_cells(cells)


def main(output: OutputFolder = Path("build/frame"), json: Json = False) -> None:
    """Measure the components of the engine and print a table for each engine."""
    found = {}
    for number, (name, config) in enumerate(ENGINES.items()):
        say(f"[{number + 1}/{len(ENGINES)}] {name}: synthesis")
        try:
            found[name] = parts_of_engine(config, output / str(number))
        except (ToolError, OSError) as error:
            say(f"error: {error}")
            raise typer.Exit(1) from None
    records = {
        name: {
            part.name: {"lut4_equivalents": part.area.lut4_equivalents} | asdict(part.area)
            for part in parts
        }
        for name, parts in found.items()
    }
    if json:
        print_json(records)
        return
    titles = ("LUT4-eq", "LUT4", "CCU2C", "RAM 16x4", "FF", "DSP", "block RAM")
    for name, rows in records.items():
        print_table((name, *titles), [[part, *row.values()] for part, row in rows.items()])
        show()
    say("LUT4-eq: LUT4 + 2 CCU2C + 6 per RAM of 16x4")
