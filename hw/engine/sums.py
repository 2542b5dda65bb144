"""Which sums of an accumulator's row the drain takes: two ways."""

from functools import reduce
from operator import or_

from amaranth.hdl import Module, Mux, Signal, Value, signed
from amaranth.lib import data

from .config import EngineConfig

__all__ = ["MOST_GROUPS", "chosen_sums", "strobed_sums"]

MOST_GROUPS = 4
"""Groups of columns that one register's multiplexer chooses from without being the slowest path."""


def chosen_sums(
    m: Module, config: EngineConfig, sums: data.View, group: Value, bank: Value
) -> list[Signal]:
    """Return the sums of a group, ``drain_lanes`` of them, 2 cycles after ``group``.

    ``bank`` comes a cycle after ``group``.
    """
    lanes = config.drain_lanes
    found = []
    for i in range(lanes):
        shape = signed(config.acc_width)
        chosen = [Signal(shape, name=f"sum_{i}_{b}", reset_less=True) for b in range(2)]
        for b in range(2):
            with m.Switch(group):
                for g in range(-(-(config.datapath.cols - i) // lanes)):
                    with m.Case(g):
                        m.d.sync += chosen[b].eq(sums[b][g * lanes + i])
        total = Signal(shape, name=f"sum_{i}", reset_less=True)
        m.d.sync += total.eq(Mux(bank, chosen[1], chosen[0]))
        found.append(total)
    return found


def strobed_sums(
    m: Module, config: EngineConfig, sums: data.View, group: Value, bank: Value
) -> list[Signal]:
    """Return the same 3 cycles after ``group`` and ``bank``, of which the first makes strobes."""
    lanes = config.drain_lanes
    strobes = [Signal(config.groups, name=f"strobes_{b}", reset_less=True) for b in range(2)]
    m.d.sync += [strobes[b].eq(Mux(bank == b, 1 << group, 0)) for b in range(2)]
    found = []
    for i in range(lanes):
        columns = range(i, config.datapath.cols, lanes)
        parts = []
        for b in range(2):
            chosen = [Mux(strobes[b][g], sums[b][column], 0) for g, column in enumerate(columns)]
            for first in range(0, len(chosen), MOST_GROUPS):
                name = f"sum_{i}_{b}_{first}"
                part = Signal(config.acc_width, name=name, reset_less=True)
                m.d.sync += part.eq(reduce(or_, chosen[first : first + MOST_GROUPS]))
                parts.append(part)
        total = Signal(signed(config.acc_width), name=f"sum_{i}", reset_less=True)
        m.d.sync += total.eq(reduce(or_, parts))
        found.append(total)
    return found
