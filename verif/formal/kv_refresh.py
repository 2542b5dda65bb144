"""Proofs for the refresh scheduler: no row waits longer than its group's interval."""

from functools import partial

from amaranth.hdl import Module, Mux, Signal
from amaranth.lib import wiring
from amaranth.lib.wiring import In

from ...hw.kv.refresh import Refresher
from ...hw.kv.refresh_config import RefreshConfig
from .runner import Task
from .statements import Assert, Assume, Cover

__all__ = ["RefreshSpec", "refresh_tasks"]


class RefreshSpec(wiring.Component):
    """A marked row is refreshed in time, whatever the scores and however busy the memory.

    With ``duty``, assumed: of every ``pace`` cycles, counted from reset, at least 2 are idle; then
    the memory never has to wait. Both paces are the same then.

    Parameters
    ----------
    config : RefreshConfig
        Of the scheduler.
    paces : tuple of int
        Pace of high and of low scores.
    duty : bool
        Whether the memory is idle often enough.

    Members
    -------
    scored, high, idle : In(1)
        Any.
    scored_at, marked : In(range(rows))
        Any; ``marked`` is constant.
    """

    scored: Signal
    high: Signal
    idle: Signal
    scored_at: Signal
    marked: Signal

    def __init__(self, config: RefreshConfig, paces: tuple[int, int], duty: bool = False):
        self._config, self._paces, self._duty = config, paces, duty
        row = In(range(config.rows))
        super().__init__(
            {"scored": In(1), "high": In(1), "idle": In(1), "scored_at": row, "marked": row}
        )

    def elaborate(self, platform):
        m = Module()
        config, paces = self._config, self._paces
        m.submodules.refresher = refresher = Refresher(config)
        for name in ("scored", "high", "idle", "scored_at"):
            m.d.comb += getattr(refresher, name).eq(getattr(self, name))
        m.d.comb += [refresher.pace_high.eq(paces[0]), refresher.pace_low.eq(paces[1])]
        before, begun = Signal.like(self.marked), Signal()
        m.d.sync += [before.eq(self.marked), begun.eq(1)]
        m.d.comb += [
            Assume((self.marked < config.rows) & (self.scored_at < config.rows)),
            Assume(~begun | (self.marked == before)),
        ]
        group = refresher.groups.read_port(domain="comb")
        m.d.comb += group.addr.eq(self.marked)
        bounds = [pace * (config.rows + config.slack) for pace in paces]
        age = Signal(range(bounds[1] + 2))
        hit = refresher.refresh & (refresher.refresh_at == self.marked)
        m.d.sync += age.eq(Mux(hit, 0, Mux(age > bounds[1], age, age + 1)))
        turns = (~refresher.turn, refresher.turn)
        for walker, turn in zip((refresher.often, refresher.seldom), turns, strict=True):
            full = walker.waiting == config.slack
            m.d.comb += Assert(~full | (turn & (walker.timer == 1)))
        late = [
            self._elaborate_walker(m, walker, pace, begun)
            for walker, pace in zip((refresher.often, refresher.seldom), paces, strict=True)
        ]
        allowed = Mux(group.data, *late)
        m.d.comb += [
            Assert(~begun | (age <= allowed)),
            Assert(age < Mux(group.data, *bounds)),
            Cover(group.data & (age > paces[0] * config.rows)),
        ]
        if self._duty:
            self._elaborate_duty(m, refresher)
        return m

    def _elaborate_walker(self, m, walker, pace, begun):
        """Link a walker's state to the cycles since it visited the marked row; return these."""
        config = self._config
        limit = pace * (config.rows + config.slack)
        since = Signal(range(2 * limit))
        waiting, timer = Signal.like(walker.waiting), Signal(range(pace))
        seen = Signal()
        hit = walker.visit & (walker.row == self.marked)
        m.d.sync += since.eq(since + 1)
        with m.If(hit):
            # Where the walker stands in the cycle after the visit.
            tick = walker.timer >= pace
            m.d.sync += [
                since.eq(0),
                seen.eq(1),
                waiting.eq(walker.waiting + tick - 1),
                timer.eq(Mux(tick, 0, walker.timer)),
            ]
        # Before the first visit, as if one had been made in time.
        passed = Mux(walker.row > self.marked, walker.row - self.marked - 1,
                     walker.row + config.rows - self.marked - 1)  # fmt: skip
        start = Signal(range(limit + 1))
        m.d.comb += start.eq(pace * (config.rows - 1 - self.marked))
        with m.If(~begun):
            m.d.sync += [since.eq(start + 1), waiting.eq(0), timer.eq(0)]
        made = passed + walker.waiting - waiting
        m.d.comb += [
            Assert(walker.row < config.rows),
            Assert((walker.timer >= 1) & (walker.timer <= pace)),
            Assert(walker.waiting <= config.slack),
            Assert(~begun | (since == pace * made + walker.timer - 1 - timer)),
            Assert(~begun | (waiting <= config.slack)),
            Assert(timer < pace),
            Cover(seen & walker.late),
        ]
        return since

    def _elaborate_duty(self, m, refresher):
        """Assume two idle cycles within every pace; assert that nothing has to wait."""
        pace = self._paces[0]
        cycle, idle = Signal(range(pace)), Signal(range(pace + 1))
        m.d.sync += [
            cycle.eq(Mux(cycle == pace - 1, 0, cycle + 1)),
            idle.eq(Mux(cycle == pace - 1, 0, idle + self.idle)),
        ]
        often, seldom = refresher.often, refresher.seldom
        m.d.comb += [
            Assume((cycle != pace - 1) | (idle + self.idle >= 2)),
            Assert(~refresher.take),
            Assert((often.timer == cycle + 1) & (seldom.timer == cycle + 1)),
            Assert(often.waiting + seldom.waiting <= Mux(idle < 2, 2 - idle, 0)),
        ]


def refresh_tasks() -> list[Task]:
    """Return what is to be proved of the scheduler."""
    config = RefreshConfig(rows=3, slack=2, pace_bits=4)
    specs = {
        "refresh_fastest": partial(RefreshSpec, config, (2, 2)),
        "refresh": partial(RefreshSpec, config, (2, 5)),
    }
    found = []
    for name, spec in specs.items():
        found.append(Task(name, spec, 3, "prove"))
    wide = RefreshConfig(rows=3, slack=5, pace_bits=4)
    found.append(Task("refresh_cover", partial(RefreshSpec, wide, (2, 5)), 40, "cover"))
    found.append(Task("refresh_duty", partial(RefreshSpec, wide, (4, 4), True), 3, "prove"))
    return found
