"""The weight-stationary array."""

from amaranth.hdl import Cat, Module, Mux, Signal
from amaranth.lib import stream, wiring
from amaranth.lib.wiring import In, Out

from ..arith.delay import delay, skew
from ..engine.datapath import ROW_DISTANCE, act_beat, psum_beat
from ..shared import Shared
from .config import SystolicConfig
from .row import WsRow, row_config
from .words import deskewed, weight_words, widened

__all__ = ["WeightStationary"]


class WeightStationary(wiring.Component):
    """Weight-stationary array: ``psums[c] = sum of acts[r] * w[r, c] over r``.

    Row ``r`` works ``r`` cycles behind row 0 and column group ``g`` ``g`` cycles behind group 0.
    Nothing inside ever waits: a vector that is not there is a bubble, the flags of those that are
    travel beside the array. The next tile moves into the chains row by row right behind the
    wavefront that took the current one out of them.

    Parameters
    ----------
    config : SystolicConfig
        See there for ranges.

    Members
    -------
    weights : In(stream.Signature(weight_beat_bits))
        Tiles of ``rows`` beats, the last row first.
    acts : In(stream.Signature(act_beat(config)))
        Activation vectors.
    psums : Out(stream.Signature(psum_beat(config), always_ready=True))
        One beat per vector.

    Latency
        ``config.latency`` cycles from the acceptance of a vector that has not to wait.
    Throughput
        A step of T vectors takes max(T, rows, 4) cycles; see `WsTiming`.
    Numerics
        Exact.
    Reference
        Jouppi et al., In-Datacenter Performance Analysis of a Tensor Processing Unit, ISCA 2017.
    """

    def __init__(self, config: SystolicConfig):
        self._config = config
        super().__init__(
            {
                "weights": In(stream.Signature(config.weight_beat_bits)),
                "acts": In(stream.Signature(act_beat(config))),
                "psums": Out(stream.Signature(psum_beat(config), always_ready=True)),
            }
        )

    def elaborate(self, platform):
        m = Module()
        config = self._config
        full, start = Signal(), Signal()
        shifts, words = self._elaborate_weights(m, full, start)
        acts, flags = self._elaborate_acts(m, full, start)

        swaps = Signal(config.rows, reset_less=True)
        m.d.sync += swaps.eq(Cat(start, swaps))
        words, psums, width = Cat(words), None, 0
        for r in range(config.rows):
            here = row_config(config, r)
            m.submodules[f"row_{r}"] = row = Shared(WsRow, here, "row")
            m.d.comb += [
                row.x.eq(acts[r]),
                row.swap.eq(swaps[r]),
                row.shift.eq(shifts[r]),
                row.w.eq(words),
            ]
            if r:
                m.d.comb += row.psums.eq(widened(psums, width, here.psum_width))
            words, psums, width = row.w_next, row.psums_next, here.psum_width

        beat = self.psums.payload
        m.d.comb += beat.data.as_value().eq(Cat(deskewed(m, config, psums)))
        m.d.comb += Cat(self.psums.valid, beat.first, beat.last, beat.end).eq(flags)
        return m

    def _elaborate_weights(self, m, full, start):
        """Count the tile's beats; return the enable of each row's chain and the words, skewed.

        Row ``r`` leaves the first ``r`` beats to the rows above it, which is what keeps it behind
        the wavefront of the tile before.
        """
        rows = self._config.rows
        reached = Signal(rows, init=1)
        shifts = Signal(rows, reset_less=True)
        beat = Signal(self._config.weight_beat_bits, reset_less=True)
        taken = Signal()
        m.d.comb += [
            self.weights.ready.eq(~full | start),
            taken.eq(self.weights.valid & self.weights.ready),
        ]
        m.d.sync += [beat.eq(self.weights.payload), shifts.eq(reached & taken.replicate(rows))]
        with m.If(start):
            m.d.sync += full.eq(0)
        with m.If(taken):
            m.d.sync += reached.eq(Cat(1, reached))
            with m.If(reached[-1]):
                m.d.sync += [full.eq(1), reached.eq(1)]
        return shifts, skew(m, weight_words(self._config, beat), "w_skew")

    def _elaborate_acts(self, m, full, start):
        """Hold the first vector of a step until it may start; return skewed lanes and flags.

        Readiness depends on registers alone. ``pause`` keeps vectors of the same place in
        successive steps `ROW_DISTANCE` cycles apart: ``3 - k`` cycles after vector ``k`` of a step.
        """
        config = self._config
        held = Signal(act_beat(config), reset_less=True)
        valid, opens, opening = Signal(), Signal(), Signal(init=1)
        pause, following = Signal(range(ROW_DISTANCE)), Signal(range(ROW_DISTANCE))
        may_start, moves = Signal(), Signal()
        m.d.comb += [
            may_start.eq(full & (pause == 0)),
            start.eq(valid & opens & may_start),
            moves.eq(valid & (~opens | may_start)),
            self.acts.ready.eq(~valid | ~opens | may_start),
        ]
        with m.If(self.acts.ready):
            m.d.sync += [valid.eq(self.acts.valid), held.eq(self.acts.payload), opens.eq(opening)]
            with m.If(self.acts.valid):
                m.d.sync += opening.eq(self.acts.payload.end)
        with m.If(start):
            m.d.sync += [pause.eq(ROW_DISTANCE - 1), following.eq(ROW_DISTANCE - 2)]
        with m.Elif(moves):
            m.d.sync += [pause.eq(following), following.eq(Mux(following == 0, 0, following - 1))]
        with m.Elif(pause != 0):
            m.d.sync += pause.eq(pause - 1)

        across = config.latency - 1
        flags = delay(m, Cat(held.first, held.last, held.end), across, "flags")
        valid = delay(m, moves, across, "valids", reset=True)
        lanes = [held.data[r] for r in range(config.rows)]
        return skew(m, lanes, "x_skew", first=1), Cat(valid, flags)
