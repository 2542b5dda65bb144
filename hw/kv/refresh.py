"""Refresh of a memory that forgets: two-dimensional, by score and by byte."""

from amaranth.hdl import Module, Mux, Signal
from amaranth.lib import memory
from amaranth.lib.wiring import In, Out

from ..lib.component import Component
from .refresh_config import RefreshConfig

__all__ = ["Refresher", "Walker"]


class Walker(Component):
    """Comes due for one row after another, at an even pace.

    Parameters
    ----------
    config : RefreshConfig
        See there for ranges.

    Members
    -------
    pace : In(pace_bits)
        Cycles between two visits, at least 2; 0 for none.
    row : Out(range(rows))
        The next row to visit.
    due : Out(1)
        It is time.
    late : Out(1)
        One more visit may come due only once this one is made.
    visit : In(1)
        It is visited.

    Latency
        1 cycle.
    Throughput
        A visit a cycle.
    Numerics
        None.
    Reference
        Kelle, MICRO 2025, section 5: an interval counter for each score group.
    """

    pace: Signal
    row: Signal
    due: Signal
    late: Signal
    visit: Signal

    def __init__(self, config: RefreshConfig):
        self._config = config
        # Counts from 1: what is compared then comes from a register.
        self.timer = Signal(config.pace_bits, init=1)
        self.waiting = Signal(range(config.slack + 1))
        super().__init__(
            {
                "pace": In(config.pace_bits),
                "row": Out(range(config.rows)),
                "due": Out(1),
                "late": Out(1),
                "visit": In(1),
            }
        )

    def elaborate(self, platform):
        m = Module()
        config, waiting = self._config, self.waiting
        tick = Signal()
        m.d.comb += [
            tick.eq((self.pace != 0) & (self.timer >= self.pace)),
            self.due.eq(waiting != 0),
            self.late.eq(waiting >= config.slack - 1),
        ]
        m.d.sync += [
            self.timer.eq(Mux(tick, 1, self.timer + 1)),
            waiting.eq(waiting + tick - self.visit),
        ]
        with m.If(self.visit):
            m.d.sync += self.row.eq(Mux(self.row == config.rows - 1, 0, self.row + 1))
        return m


class Refresher(Component):
    """Refreshes the rows of tokens with high scores often and the others seldom, while idle.

    One walker visits rows at the pace of high scores, one at that of low scores; a visit refreshes
    a row that is in its group. A row changes its group only when the first walker comes by, and is
    refreshed then: so no row ever waits longer than its group's interval. Visits wait for idle
    cycles; only when one more would be too late, ``take`` makes the memory wait for a cycle.

    Parameters
    ----------
    config : RefreshConfig
        See there for ranges.

    Members
    -------
    pace_high, pace_low : In(pace_bits)
        Cycles between two visits, at least 2: `RefreshConfig.pace` of each interval; 0 for none.
    scored : In(1)
        A row has a new score.
    scored_at : In(range(rows))
        Which.
    high : In(1)
        The score is high.
    idle : In(1)
        The memory is not in use in this cycle.
    refresh : Out(1)
        A row is refreshed in this cycle.
    refresh_at : Out(range(rows))
        Which.
    take : Out(1)
        The memory must not be used in this cycle, idle or not.

    Latency
        A row whose score changed is in its new group within the interval of high scores.
    Throughput
        A refresh a cycle.
    Numerics
        A row is refreshed at least every ``pace * (rows + slack)`` cycles of its group.
    Reference
        Kelle, MICRO 2025, section 4.2 (2DRP) and 5; there two controllers, one for upper and one
        for lower bytes, as here. What happens to rows that change their group is left open there.
    """

    pace_high: Signal
    pace_low: Signal
    scored: Signal
    scored_at: Signal
    high: Signal
    idle: Signal
    refresh: Signal
    refresh_at: Signal
    take: Signal

    def __init__(self, config: RefreshConfig):
        self._config = config
        self.often, self.seldom = Walker(config), Walker(config)
        self.turn = Signal()
        self.groups: memory.Memory = memory.Memory(shape=1, depth=config.rows, init=[])
        row = range(config.rows)
        super().__init__(
            {
                "pace_high": In(config.pace_bits),
                "pace_low": In(config.pace_bits),
                "scored": In(1),
                "scored_at": In(row),
                "high": In(1),
                "idle": In(1),
                "refresh": Out(1),
                "refresh_at": Out(row),
                "take": Out(1),
            }
        )

    def elaborate(self, platform):
        m = Module()
        often, seldom = self.often, self.seldom
        m.submodules.often, m.submodules.seldom = often, seldom
        m.submodules.groups = self.groups
        m.submodules.scores = scores = memory.Memory(shape=1, depth=self._config.rows, init=[])
        # Each walker looks up its own row, before it is known whose turn it is.
        group = self.groups.read_port(domain="comb")
        regroup = self.groups.write_port()
        other_group = self.groups.read_port(domain="comb")
        score = scores.read_port(domain="comb")
        scored = scores.write_port()
        first = Signal()
        needed = Signal()
        may = Signal()
        m.d.comb += [
            often.pace.eq(self.pace_high),
            seldom.pace.eq(self.pace_low),
            scored.en.eq(self.scored),
            scored.addr.eq(self.scored_at),
            scored.data.eq(self.high),
            # What is late goes first, of two in turn; else the frequent one.
            first.eq(often.due & Mux(seldom.late, often.late & ~self.turn, 1)),
            self.refresh_at.eq(Mux(first, often.row, seldom.row)),
            group.addr.eq(often.row),
            score.addr.eq(often.row),
            other_group.addr.eq(seldom.row),
            needed.eq(Mux(first, group.data | score.data, ~other_group.data)),
            may.eq(self.idle | ~needed | often.late | seldom.late),
            often.visit.eq(first & may),
            seldom.visit.eq(~first & seldom.due & may),
            self.refresh.eq((often.visit | seldom.visit) & needed),
            self.take.eq(self.refresh & ~self.idle),
            regroup.en.eq(often.visit),
            regroup.addr.eq(often.row),
            regroup.data.eq(score.data),
        ]
        with m.If(often.visit | seldom.visit):
            m.d.sync += self.turn.eq(often.visit)
        return m
