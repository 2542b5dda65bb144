"""A lane of the output stage: from the sum of a channel to its result."""

from amaranth.hdl import Module, Shape, Signal, signed
from amaranth.lib import data
from amaranth.lib.wiring import In, Out

from ...lib.component import Component
from ..config import EngineConfig
from ..fields import parameter_layout
from ..requantise import RequantiseLane

__all__ = ["OutputLane"]


class OutputLane(Component):
    """Adds the bias to a sum, requantises it, and keeps the maximum over a window of rows.

    Parameters
    ----------
    config : EngineConfig
        See there for ranges.

    Members
    -------
    total : In(signed(acc_width))
        Sum of a channel.
    param : In(parameter_layout(config))
        The channel's parameters.
    leaves_bias : In(1)
        Leaves the bias out, as raw results can.
    zero_point, low, high : In(Shape(x_bits, x_signed))
        Zero point and clamps; stable.
    valid : In(1)
        There is a result to pool; ``config.lane.latency`` cycles after ``total``.
    window_first : In(1)
        It begins a window; with ``valid``.
    raw : Out(signed(acc_width + 1))
        The sum, with its bias or without, a cycle later.
    best : Out(Shape(x_bits, x_signed))
        Maximum of the window so far, a cycle after ``valid``.

    Latency
        1 cycle raw, ``config.lane.latency`` + 1 else.
    Throughput
        One sum a cycle.
    Numerics
        See `RequantiseLane`.
    """

    total: Signal
    param: data.View
    leaves_bias: Signal
    zero_point: Signal
    low: Signal
    high: Signal
    valid: Signal
    window_first: Signal
    raw: Signal
    best: Signal

    def __init__(self, config: EngineConfig):
        self._config = config
        shape = Shape(config.datapath.x_bits, config.datapath.x_signed)
        super().__init__(
            {
                "total": In(signed(config.acc_width)),
                "param": In(parameter_layout(config)),
                "leaves_bias": In(1),
                "zero_point": In(shape),
                "low": In(shape),
                "high": In(shape),
                "valid": In(1),
                "window_first": In(1),
                "raw": Out(signed(config.acc_width + 1)),
                "best": Out(shape),
            }
        )

    def elaborate(self, platform):
        m = Module()
        config, best = self._config, self.best
        m.submodules.requantise = requantise = RequantiseLane(config.lane)
        # The sign of a difference is ready sooner than a comparison.
        keeps = ~self.valid | (~self.window_first & (requantise.value - best)[-1])
        m.d.comb += [
            requantise.advance.eq(1),
            requantise.acc.eq(self.total),
            requantise.bias.eq(self.param.bias.as_value().as_signed()),
            requantise.mult.eq(self.param.mult),
            requantise.shift.eq(self.param.shift),
            requantise.zero_point.eq(self.zero_point),
            requantise.lo.eq(self.low),
            requantise.hi.eq(self.high),
            requantise.clear.eq(self.leaves_bias),
            self.raw.eq(requantise.biased),
        ]
        with m.If(~keeps):
            m.d.sync += best.eq(requantise.value)
        return m
