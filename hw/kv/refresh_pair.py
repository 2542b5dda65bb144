"""Refresh of a cache's memory: a scheduler for the upper bytes and one for the lower."""

from amaranth.hdl import Module, Mux, Signal
from amaranth.lib import data
from amaranth.lib.wiring import In, Out

from ..lib.component import Component
from .config import KvConfig
from .refresh import Refresher

__all__ = ["COSTS", "HALVES", "PACES", "RefreshPair", "refresh_word"]

HALVES = ("upper", "lower")
"""Bytes of a word that are refreshed apart."""
PACES = data.StructLayout({"high": 16, "low": 16})
"""Cycles between two visits for high and for low scores; 0 for none, 1 counts as 2."""
COSTS = data.StructLayout({"upper": 16, "lower": 16})
"""Energy of a refresh, in any unit."""


def refresh_word(config: KvConfig) -> data.StructLayout:
    """Return what a cache tells its memory: rows to refresh in this cycle, in both halves.

    With ``take`` the memory must not be used in this cycle; it was not idle.
    """
    row = (config.rows - 1).bit_length()
    return data.StructLayout(
        {"upper": 1, "lower": 1, "take": 1, "upper_row": row, "lower_row": row}
    )


class RefreshPair(Component):
    """Schedules the four classes of refresh: high or low scores, upper or lower bytes.

    Parameters
    ----------
    config : KvConfig
        Of the controller; ``refresh_slack`` at least 2.

    Members
    -------
    pace_upper, pace_lower : In(PACES)
        How often; constant while rows wait.
    cost : In(COSTS)
        Energy of a refresh.
    threshold : In(16)
        Scores of at least this much are high.
    scored : In(1)
        A row has a new score.
    scored_at : In(range(rows))
        Which.
    score : In(score_bits)
        It.
    idle : In(1)
        The memory is not in use in this cycle.
    refresh : Out(refresh_word(config))
        What is refreshed.
    energy : Out(32)
        Of all refreshes since reset.

    Latency
        A score counts 2 cycles after it came.
    Throughput
        A refresh of each half a cycle.
    Numerics
        The energy wraps at ``2**32``.
    Reference
        Kelle, MICRO 2025, section 4.2 (2DRP).
    """

    pace_upper: data.View
    pace_lower: data.View
    cost: data.View
    threshold: Signal
    scored: Signal
    scored_at: Signal
    score: Signal
    idle: Signal
    refresh: data.View
    energy: Signal

    def __init__(self, config: KvConfig):
        self._config = config
        assert config.refresh is not None, "a cache without refresh has no pair"
        self.halves = {half: Refresher(config.refresh) for half in HALVES}
        super().__init__(
            {
                "pace_upper": In(PACES),
                "pace_lower": In(PACES),
                "cost": In(COSTS),
                "threshold": In(16),
                "scored": In(1),
                "scored_at": In(range(config.rows)),
                "score": In(config.score_bits),
                "idle": In(1),
                "refresh": Out(refresh_word(config)),
                "energy": Out(32),
            }
        )

    def elaborate(self, platform):
        m = Module()
        scored = Signal()
        scored_at = Signal.like(self.scored_at)
        high = Signal()
        m.d.sync += [
            scored.eq(self.scored),
            scored_at.eq(self.scored_at),
            high.eq(self.score >= self.threshold),
        ]
        spent = []
        for half, refresher in self.halves.items():
            m.submodules[half] = refresher
            paces = getattr(self, f"pace_{half}")
            for group in ("high", "low"):
                pace = Signal(16, name=f"{half}_{group}")
                m.d.sync += pace.eq(Mux(paces[group] == 1, 2, paces[group]))
                m.d.comb += getattr(refresher, f"pace_{group}").eq(pace)
            m.d.comb += [
                refresher.scored.eq(scored),
                refresher.scored_at.eq(scored_at),
                refresher.high.eq(high),
                refresher.idle.eq(self.idle),
                self.refresh[half].eq(refresher.refresh),
                self.refresh[f"{half}_row"].eq(refresher.refresh_at),
            ]
            cost = Signal(16, name=f"{half}_cost")
            m.d.sync += cost.eq(Mux(refresher.refresh, self.cost[half], 0))
            spent.append(cost)
        m.d.comb += self.refresh.take.eq(self.halves["upper"].take | self.halves["lower"].take)
        m.d.sync += self.energy.eq(self.energy + (spent[0] + spent[1]))
        return m
