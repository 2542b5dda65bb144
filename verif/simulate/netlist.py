"""The netlist of a unit after synthesis for the ECP5, with the behaviour of its cells."""

import json
from dataclasses import dataclass
from importlib import resources
from pathlib import Path

from ...fpga.flow import Say, run_wasm, synthesise

__all__ = ["Netlist", "simulated_netlist"]

_MODELS = ("mult18x18d.v", "block_ram.v")


@dataclass(frozen=True)
class Netlist:
    """LUTs, carry cells, flip-flops, multipliers and block RAMs, written out as what they do.

    Attributes
    ----------
    rtlil, verilog : str
        The same netlist, for compiled simulation and for other simulators.
    cells : int
        How many cells it has.
    """

    rtlil: str
    verilog: str
    cells: int


def simulated_netlist(rtlil: str, top: str, folder: Path, *, say: Say | None = None) -> Netlist:
    """Synthesise a design as for a bitstream, and return its netlist to be simulated.

    Parameters
    ----------
    rtlil, top : str
        The design.
    folder : Path
        For all files; made if missing, not under ``/tmp``.
    say : callable, optional
        Progress.

    Raises
    ------
    ToolError
        Synthesis fails.
    """
    synthesise(rtlil, top, folder, say=say)
    cells = json.loads((folder / f"{top}.json").read_text())["modules"][top]["cells"]
    for name in _MODELS:
        text = resources.files("tilewright.fpga").joinpath(f"models/{name}").read_text("utf-8")
        (folder / name).write_text(text, encoding="utf-8")
    script = (
        f"read_json {top}.json",
        *(f"read_verilog {name}" for name in _MODELS),
        "read_verilog -nooverwrite +/ecp5/cells_sim.v",
        f"hierarchy -check -top {top}",
        "proc",
        "flatten",
        "opt -full",
        "clean -purge",
        # Benches find streams by names, which those of wires inside must not resemble.
        "rename -hide w:* x:* %d",
        f"write_rtlil {top}.netlist.il",
        f"write_verilog -noattr {top}.netlist.v",
    )
    (folder / "netlist.ys").write_text("\n".join(script) + "\n", encoding="utf-8")
    arguments = ["-q", "-l", "netlist.log", "-s", "netlist.ys"]
    run_wasm("yosys", arguments, folder, log="netlist.log", say=say)
    rtlil, verilog = (
        (folder / f"{top}.netlist.{suffix}").read_text(encoding="utf-8") for suffix in ("il", "v")
    )
    return Netlist(rtlil, verilog, cells=len(cells))
