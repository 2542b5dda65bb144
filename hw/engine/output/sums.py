"""Choice of the sums of a group from the rows that the accumulator banks read."""

from functools import reduce
from operator import or_

from amaranth.hdl import Module, Mux, Signal, signed
from amaranth.lib import data
from amaranth.lib.wiring import In, Out

from ...lib.component import Component
from ..accumulator import banks_layout
from ..config import EngineConfig

__all__ = ["GroupSums"]

_MOST_TERMS = 16
"""Registers whose OR is taken in a cycle: two levels of LUT4s."""


class GroupSums(Component):
    """Chooses ``drain_lanes`` sums of a row: each sum into a register that is 0 unless it is meant.

    The zero is the register's own reset, so that a choice costs no more than the OR behind.

    Parameters
    ----------
    config : EngineConfig
        See there for ranges.

    Members
    -------
    group : In(range(groups))
        Group of the row.
    bank : In(1)
        Bank of the row.
    sums : In(banks_layout(config))
        The rows of both banks, a cycle after ``group`` and ``bank``.
    chosen : Out(ArrayLayout(signed(acc_width), drain_lanes))
        The sums, 3 cycles after ``group`` and ``bank``.

    Latency
        3 cycles from ``group``, 2 from ``sums``.
    Throughput
        One group a cycle.
    """

    group: Signal
    bank: Signal
    sums: data.View
    chosen: data.View

    def __init__(self, config: EngineConfig):
        self._config = config
        super().__init__(
            {
                "group": In(range(config.groups)),
                "bank": In(1),
                "sums": In(banks_layout(config)),
                "chosen": Out(data.ArrayLayout(signed(config.acc_width), config.drain_lanes)),
            }
        )

    def elaborate(self, platform):
        m = Module()
        config = self._config
        lanes = config.drain_lanes
        strobes = [Signal(config.groups, name=f"strobes_{b}", reset_less=True) for b in range(2)]
        m.d.sync += [strobes[b].eq(Mux(self.bank == b, 1 << self.group, 0)) for b in range(2)]
        share = -(-2 * config.groups // _MOST_TERMS)
        for i in range(lanes):
            candidates = [
                (strobes[b][group], self.sums[b][column])
                for group, column in enumerate(range(i, config.datapath.cols, lanes))
                for b in range(2)
            ]
            terms = []
            for first in range(0, len(candidates), share):
                term = Signal(
                    config.acc_width, name=f"lane_{i}_term_{first // share}", reset_less=True
                )
                meant = [Mux(strobe, total, 0) for strobe, total in candidates[first:][:share]]
                m.d.sync += term.eq(reduce(or_, meant))
                terms.append(term)
            m.d.sync += self.chosen[i].eq(reduce(or_, terms))
        return m
