"""Proofs for datapaths of any family: the contract of `hw.engine.datapath`, sums left out."""

from collections.abc import Callable
from functools import partial
from typing import Any

from amaranth.hdl import Cat, Mux, ResetSignal, Signal, Value
from amaranth.lib import data, stream, wiring
from amaranth.lib.wiring import In

from ...hw.config import ConfigError
from .properties import StreamSpec, bounded_response, constant, moved
from .runner import Task
from .statements import Assert, Assume

__all__ = ["DatapathSpec", "datapath_bound", "flow_task"]

_COUNT = 6
"""Bits of counters, which no proof is long enough to wrap twice."""


def datapath_bound(config: Any) -> int:
    """Return cycles in which a partial sum comes that nothing outside keeps back.

    So many pass from the first beat of a tile to the sum of the first vector, for any weights; the
    step before may be as long.
    """
    most = 0
    for word in (0, (1 << config.weight_beat_bits) - 1):
        timing = config.timing()
        timing.load(0, [word] * config.weight_beats)
        timing.step(0, 1, first=True, last=True, mode=0)
        most = max(most, timing.last_psum)
    return most + config.weight_beats


def _legal_modes(config: Any) -> list[int]:
    legal = []
    for mode in range(1 << config.mode_bits):
        try:
            config.operand_formats(mode)
        except ConfigError:
            continue
        legal.append(mode)
    return legal


def flow_task(name: str, make: Callable[[], wiring.Component], config: Any) -> Task:
    """Return that a datapath, reset in any state, keeps the contract."""
    return Task(f"flow_{name}", partial(_spec, make, config), datapath_bound(config) + 3,
                covers=100, warm=True)  # fmt: skip


def _spec(make: Callable[[], wiring.Component], config: Any) -> "DatapathSpec":
    return DatapathSpec(make(), config)


class DatapathSpec(StreamSpec):
    """A datapath gives one partial sum per vector, in order, with its flags, and in time.

    For those that emit sums of every step. Assumed, as the engine sees to it: the vectors of a step
    have the same flags and a legal mode.

    Asserted: partial sums come for vectors that were taken, and only when the tile of their step
    is in; with the flags of their vector; and within the bound, once the step is complete. Nothing
    hangs, see `StreamSpec`.

    Parameters
    ----------
    component : wiring.Component
        The datapath.
    config : DatapathConfig
        Its configuration.

    Members
    -------
    The datapath's, and ``mark : In(6)``, constant: the number of the vector that is followed.
    """

    weights: stream.Interface
    acts: stream.Interface
    psums: stream.Interface
    mark: Signal

    def __init__(self, component: wiring.Component, config: Any):
        self._config, self._limit = config, datapath_bound(config)
        super().__init__(component, bound=self._limit, marks={"mark": In(_COUNT)})

    def elaborate(self, platform):
        m = super().elaborate(platform)
        config, beat = self._config, self.acts.payload
        taken, given = moved(self.acts), self.psums.valid & ~ResetSignal()
        flags = Cat(beat.first, beat.last, *([beat.mode] if config.mode_bits else []))
        open_, held = Signal(), Signal(len(flags))
        with m.If(taken):
            m.d.sync += [open_.eq(~beat.end), held.eq(flags)]
        m.d.comb += Assume(~(self.acts.valid & open_) | (flags == held), "flags of a step agree")
        if config.mode_bits:
            legal = Cat(beat.mode == mode for mode in _legal_modes(config)).any()
            m.d.comb += Assume(~self.acts.valid | legal, "the mode is legal")
        begins = taken & ~open_
        tiles, begun = self._count_tiles(m), self._count(m, "begun", begins)
        came = self._count(m, "came", taken)
        went = self._count(m, "went", given)
        m.d.comb += Assert(~given | (came != went), "a partial sum has its vector")

        # What is known of one vector of any number.
        mark = constant(m, self.mark)
        marked = Signal(data.StructLayout({"first": 1, "last": 1, "end": 1, "step": _COUNT}))
        with m.If(taken & (came == mark)):
            m.d.sync += [
                marked.end.eq(beat.end),
                marked.first.eq(beat.first),
                marked.last.eq(beat.last),
                marked.step.eq(begun + begins),
            ]
        found = self.psums.payload
        with m.If(given & (went == mark)):
            m.d.comb += [
                *(Assert(found[name] == marked[name], f"{name} stays with its row")
                  for name in ("first", "last", "end")),
                Assert(~(tiles - marked.step)[_COUNT - 1], "a step waits for its tile"),
            ]  # fmt: skip
        complete = ~open_ & ~(tiles - begun)[_COUNT - 1]
        bounded_response(m, complete & (came != went), given, self._limit)
        return m

    @staticmethod
    def _count(m, name: str, event: Value) -> Signal:
        count = Signal(_COUNT, name=name)
        m.d.sync += count.eq(count + event)
        return count

    def _count_tiles(self, m) -> Signal:
        """Return how many weight tiles were taken."""
        left = Signal(range(self._config.weight_beats), init=self._config.weight_beats - 1)
        taken = moved(self.weights)
        with m.If(taken):
            m.d.sync += left.eq(Mux(left == 0, self._config.weight_beats - 1, left - 1))
        return self._count(m, "tiles", taken & (left == 0))
