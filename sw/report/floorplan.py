"""Where place and route put the cells of a design."""

import json
import re
from dataclasses import dataclass
from pathlib import Path

from ...gen.errors import ToolError

__all__ = ["Placed", "read_floorplan"]

_BEL = re.compile(r"X(\d+)/Y(\d+)/(\S+)")
_PARTS = {
    "datapath": "datapath",
    "act_buffer": "buffers and readers",
    "act_reader": "buffers and readers",
    "weight_reader": "buffers and readers",
    "accumulator": "accumulators",
    "output": "output stage",
    "load_x": "loaders",
    "load_w": "loaders",
    "dispatcher": "control",
    "registers": "control",
    "host": "serial host",
}
_KINDS = {
    "TRELLIS_COMB": "LUTs",
    "TRELLIS_SLICE": "LUTs",
    "TRELLIS_RAMW": "distributed RAM",
    "TRELLIS_FF": "flip-flops",
    "MULT18X18D": "DSPs",
    "ALU54B": "DSPs",
    "DP16KD": "block RAMs",
}


@dataclass(frozen=True)
class Placed:
    """One cell: its place on the part, what it is, and which part of the engine it belongs to."""

    x: int
    y: int
    kind: str
    part: str


def read_floorplan(path: Path) -> list[Placed]:
    """Return the placed cells of a design that nextpnr wrote with ``--write``.

    Raises
    ------
    ToolError
        The file cannot be read, or holds no placed design.
    """
    try:
        modules = json.loads(path.read_text(encoding="utf-8"))["modules"]
        cells = [cell for module in modules.values() for cell in module["cells"].items()]
        placed = [found for name, cell in cells if (found := _placed(name, cell))]
    except OSError as error:
        raise ToolError(f"the floorplan {path} cannot be read: {error.strerror}") from None
    except (ValueError, KeyError, TypeError, AttributeError):
        raise ToolError(f"the floorplan {path} is not a design written by nextpnr") from None
    if not placed:
        raise ToolError(f"the floorplan {path} has no placed cells")
    return placed


def _placed(name: str, cell: dict) -> Placed | None:
    bel = _BEL.match(cell["attributes"].get("NEXTPNR_BEL", ""))
    if bel is None:
        return None
    kind = _KINDS.get(cell["type"], "other")
    return Placed(int(bel[1]), int(bel[2]), kind, _part(name))


def _part(name: str) -> str:
    """Return the part of the engine that a cell's hierarchical name lies in."""
    for word in re.split(r"[.$/]", name):
        if word in _PARTS:
            return _PARTS[word]
    return "other"
