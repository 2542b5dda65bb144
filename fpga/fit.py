"""Whether a design can fit a part, said before its synthesis begins."""

import re
from collections import Counter
from functools import cache

from ..hw.config import ConfigError, UnitConfig
from ..hw.engine.config import EngineConfig
from .flow import Part

__all__ = ["check_fit", "check_size", "count_cells"]

_MODULE = re.compile(r"^module \\(\S+)\n(.*?)^end$", re.MULTILINE | re.DOTALL)
_CELL = re.compile(r"^  cell (\S+) \S+\n((?:    .*\n)*)", re.MULTILINE)
_MEMORY = re.compile(r"^  memory width (\d+) size (\d+)", re.MULTILINE)
_WIDTH = re.compile(r"parameter \\WIDTH (\d+)")
_CONSTANT = re.compile(r"connect \\[AB] \d+'")
_SLACK = 1.5
"""Synthesis leaves flip-flops out that are equal or unused, about one in six."""
_BLOCK_BITS = 18432
_LUT_RAM_BITS = 64 / 6
"""Bits of distributed RAM for each LUT4-equivalent."""


def check_fit(config: UnitConfig, part: Part, where: str) -> None:
    """Refuse a configuration that needs more than its part has, before it is elaborated.

    Parameters
    ----------
    config
        Of an engine or of another unit.
    part : Part
        The part.
    where : str
        What the message calls it.

    Raises
    ------
    ConfigError
        It needs more multipliers, flip-flops or memory.
    """
    dsps = config.multipliers
    if dsps > part.capacity["DSPs"]:
        raise ConfigError(
            f"the design needs {dsps:,} DSPs, but {where} has {part.capacity['DSPs']}; make the "
            "array smaller, or make its cells from LUTs (pe)"
        )
    _check_memory(config.memory_bits, part, where)
    _check_registers(config.registers, "at least", part, where)
    if not isinstance(config, EngineConfig):
        return
    datapath = config.datapath
    bits = {
        "act_depth": config.act_depth * datapath.act_lanes * datapath.x_bits,
        "weight_depth": config.weight_depth * datapath.weight_beat_bits,
        "acc_depth": 2 * config.acc_depth * datapath.cols * config.acc_width,
    }
    blocks = -(-sum(bits.values()) // _BLOCK_BITS)
    if blocks > part.capacity["block RAMs"]:
        largest = max(bits, key=lambda name: bits[name])
        raise ConfigError(
            f"the buffers need at least {blocks} block RAMs, but {where} has "
            f"{part.capacity['block RAMs']}; make {largest} smaller"
        )


def check_size(rtlil: str, top: str, part: Part, where: str) -> None:
    """Refuse a design that no synthesis could make small enough.

    Parameters
    ----------
    rtlil, top : str
        The design and its top module.
    part, where
        As `check_fit` has them.

    Raises
    ------
    ConfigError
        There is too much of something; the message says of what.
    """
    cells = count_cells(rtlil, top)
    dsps = cells["multipliers"]
    if dsps > part.capacity["DSPs"]:
        raise ConfigError(
            f"the design needs {dsps:,} DSPs, but {where} has {part.capacity['DSPs']}; make it "
            "smaller"
        )
    least = int(cells["registers"] / _SLACK)
    _check_registers(least, "about", part, where)
    _check_memory(cells["memory"], part, where)


def _check_memory(bits: int, part: Part, where: str) -> None:
    """Refuse more bits than block RAMs and LUTs hold together."""
    blocks = part.capacity["block RAMs"] * _BLOCK_BITS
    there = int(blocks + part.capacity["LUT4-equivalents"] * _LUT_RAM_BITS)
    if bits > there:
        raise ConfigError(
            f"the design needs {bits:,} bits of memory, but {where} has {there:,}; make its "
            "buffers smaller"
        )


def _check_registers(count: int, word: str, part: Part, where: str) -> None:
    there = part.capacity["flip-flops"]
    if count > there:
        raise ConfigError(
            f"the design needs {word} {count:,} flip-flops, but {where} has {there:,}; make the "
            "array smaller"
        )


def count_cells(rtlil: str, top: str) -> Counter[str]:
    """Return the multipliers, registers and bits of memory of a design, before synthesis.

    Parameters
    ----------
    rtlil, top : str
        The design and its top module; modules that are not there count nothing.
    """
    modules = {name: _count_own(body) for name, body in _MODULE.findall(rtlil)}

    @cache
    def total(name: str) -> Counter[str]:
        found: Counter[str] = Counter()
        for kind, number in modules.get(name, {}).items():
            inside = total(kind[1:]) if kind.startswith("\\") else {kind: 1}
            for inner, count in inside.items():
                found[inner] += number * count
        return found

    return total(top)


def _count_own(body: str) -> Counter[str]:
    """Count what stands in a module itself; cells of modules under their names."""
    found: Counter[str] = Counter()
    for kind, text in _CELL.findall(body):
        if kind.startswith("$") and "dff" in kind:
            width = _WIDTH.search(text)
            assert width is not None, "every such cell has a width"
            found["registers"] += int(width[1])
        elif kind == r"\MULT18X18D" or (kind == "$mul" and not _CONSTANT.search(text)):
            found["multipliers"] += 1
        elif kind.startswith("\\"):
            found[kind] += 1
    for width, size in _MEMORY.findall(body):
        found["memory"] += int(width) * int(size)
    return found
