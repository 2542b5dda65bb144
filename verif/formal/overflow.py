"""No accumulator of the engine overflows: sums of up to ``k_max`` products come back exact."""

from amaranth.hdl import Module, Signal, signed
from amaranth.lib import data, wiring
from amaranth.lib.wiring import In

from ...hw.arith.product_config import ProductConfig
from ...hw.engine.accumulator import Accumulator
from ...hw.engine.config import EngineConfig
from ...hw.engine.datapath import ROW_DISTANCE, psum_beat
from .pe import within
from .statements import Assert, Assume, Cover

__all__ = ["AccumulatorSpec"]


class AccumulatorSpec(wiring.Component):
    """Sums over K tiles, read from their bank, equal the exact sums.

    Assumed, as datapath and reader see to it: a partial sum is one that ``act_lanes`` products can
    give; a sum starts anew after ``k_max`` products and after it was closed; partial sums of one
    row keep their distance.

    Parameters
    ----------
    config : EngineConfig
        Of a datapath with one column; steps of one row are looked at.

    Members
    -------
    beat : In(psum_beat(config.datapath))
        A partial sum, all steps having one row.
    valid : In(1)
        Whether it is there.
    """

    beat: data.View
    valid: Signal

    def __init__(self, config: EngineConfig):
        self._config = config
        super().__init__({"beat": In(psum_beat(config.datapath)), "valid": In(1)})

    def elaborate(self, platform):
        m = Module()
        config, d = self._config, self._config.datapath
        m.submodules.unit = unit = Accumulator(config)
        product = ProductConfig(
            x_bits=d.x_bits,
            x_signed=d.x_signed,
            w_bits=d.w_bits,
            w_signed=d.w_signed,
            latency=4,
            fabric="portable",
        )
        tiles = d.k_max // d.act_lanes
        beat, psum = self.beat, self.beat.data[0]
        rest = Signal(range(ROW_DISTANCE))
        steps = Signal(range(tiles + 1))
        exact = Signal(signed(config.acc_width + 4))
        closed = Signal.like(exact)
        bank = Signal()
        m.d.comb += [
            unit.psums.payload.eq(beat),
            unit.psums.valid.eq(self.valid),
            Assume(beat.end),
            Assume(~self.valid | (rest == 0)),
            Assume(~self.valid | beat.first | ((steps != 0) & (steps < tiles))),
            Assume(within(psum, product, d.act_lanes)),
        ]
        with m.If(rest != 0):
            m.d.sync += rest.eq(rest - 1)
        total = Signal.like(exact)
        m.d.comb += total.eq(psum)
        with m.If(~beat.first):
            m.d.comb += total.eq(exact + psum)
        with m.If(self.valid):
            m.d.sync += [rest.eq(ROW_DISTANCE - 1), exact.eq(total), steps.eq(steps + 1)]
            with m.If(beat.first):
                m.d.sync += steps.eq(1)
            with m.If(beat.last):
                m.d.sync += [closed.eq(total), steps.eq(0)]
        # The next sum cannot be closed before this one was read: 4 + 1 + 3 cycles, at most.
        since = Signal(range(10))
        m.d.comb += Assume(~self.valid | ~beat.last | (since == 0))
        with m.If(self.valid & beat.last):
            m.d.sync += since.eq(9)
        with m.Elif(since != 0):
            m.d.sync += since.eq(since - 1)
        asked = Signal(4)
        m.d.comb += [unit.read_valid.eq(unit.full), unit.read_bank.eq(bank), unit.read_row.eq(0)]
        m.d.sync += asked.eq(asked << 1 | unit.full)
        with m.If(asked[2]):
            m.d.comb += [
                Assert(unit.sums[bank][0] == closed),
                Cover(closed == 4 * tiles * d.act_lanes),
            ]
            m.d.sync += bank.eq(~bank)
        return m
