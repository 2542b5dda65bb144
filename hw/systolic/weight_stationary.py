"""The weight-stationary array."""

from amaranth.hdl import Cat, Const, Module, Signal, Value
from amaranth.lib import stream
from amaranth.lib.data import View
from amaranth.lib.wiring import In, Out

from ..arith.delay import delay, skew
from ..engine.config import DatapathConfig
from ..engine.datapath import act_beat, psum_beat
from ..lib.component import Component
from .config import SystolicConfig
from .row import RowConfig, WsRow, row_config
from .words import deskewed, weight_words, widened
from .ws_rim import WsRim

__all__ = ["WeightStationary"]


class WeightStationary(Component):
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

    weights: stream.Interface
    acts: stream.Interface
    psums: stream.Interface

    _config: SystolicConfig

    def __init__(self, config: DatapathConfig):
        self._config = config  # type: ignore[assignment]  # subclasses have their own
        super().__init__(
            {
                "weights": In(stream.Signature(config.weight_beat_bits)),
                "acts": In(stream.Signature(act_beat(config))),
                "psums": Out(stream.Signature(psum_beat(config), always_ready=True)),
            }
        )

    def _rim(self) -> WsRim:
        """Return what says when beats are taken."""
        return WsRim(self._config.rows)

    def _row(self, row: int) -> RowConfig:
        """Return the configuration of a row."""
        return row_config(self._config, row)

    def _words(self, beat: Value) -> list[Value]:
        """Return the word of each group of columns in a weight beat."""
        return weight_words(self._config, beat)

    def _lanes(self, m: Module, held: View) -> list[Value]:
        """Return what each row takes of the vector held at the rim."""
        return [held.data[r] for r in range(self._config.rows)]

    def elaborate(self, platform):
        m = Module()
        config = self._config
        rim = m.submodules.rim = self._rim()
        m.d.comb += [
            self.weights.ready.eq(rim.weights_ready),
            rim.weights_valid.eq(self.weights.valid),
            self.acts.ready.eq(rim.acts_ready),
            rim.acts_valid.eq(self.acts.valid),
            rim.acts_end.eq(self.acts.payload.end),
        ]
        beat = Signal(config.weight_beat_bits, reset_less=True)
        held = Signal(act_beat(config), reset_less=True)
        m.d.sync += beat.eq(self.weights.payload)
        with m.If(rim.acts_ready):
            m.d.sync += held.eq(self.acts.payload)

        words = Cat(skew(m, self._words(beat), "w_skew"))
        acts = skew(m, self._lanes(m, held), "x_skew", first=1)
        swaps = Signal(config.rows, reset_less=True)
        m.d.sync += swaps.eq(Cat(rim.start, swaps))
        psums: Value = Const(0, 0)  # the first row takes none
        width = 0
        for r in range(config.rows):
            here = self._row(r)
            m.submodules[f"row_{r}"] = row = WsRow(here)
            m.d.comb += [
                row.x.eq(acts[r]),
                row.swap.eq(swaps[r]),
                row.shift.eq(rim.shifts[r]),
                row.w.eq(words),
            ]
            if r:
                m.d.comb += row.psums.eq(widened(psums, width, here.psum_width))
            words, psums, width = row.w_next, row.psums_next, here.psum_width

        psum = self.psums.payload
        across = config.latency - 1
        flags = delay(m, Cat(held.first, held.last, held.end), across, "flags")
        m.d.comb += [
            psum.data.as_value().eq(Cat(deskewed(m, config, psums))),
            Cat(psum.first, psum.last, psum.end).eq(flags),
            self.psums.valid.eq(delay(m, rim.moves, across, "valids", reset=True)),
        ]
        return m
