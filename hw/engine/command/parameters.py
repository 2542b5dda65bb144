"""Reception of requantisation parameters, the body of a PARAM."""

from amaranth.hdl import Module, Signal
from amaranth.lib.data import View
from amaranth.lib.wiring import In, Out

from ...lib.component import Component
from ..config import EngineConfig
from ..fields import field_bits, parameter_layout

__all__ = ["ParameterReceiver"]


class ParameterReceiver(Component):
    """Puts the words of the parameters together, lane by lane and row by row.

    Parameters
    ----------
    config : EngineConfig
        See there for ranges.

    Members
    -------
    receiving : In(1)
        The body has begun; without, the next word is its first.
    base : In(range(param_depth + 1))
        First row; stable before ``receiving``.
    count : In(range(param_depth + 1))
        Rows; stable before ``receiving``.
    count_once : In(1)
        There is only one row; stable before ``receiving``.
    take : In(1)
        A word of the body comes.
    data : In(32)
        The word.
    ends : Out(1)
        The word that comes is the last one of the body.
    row : Out(range(param_depth))
        Row of the parameter.
    lane : Out(range(drain_lanes))
        Lane of the parameter.
    param : Out(parameter_layout(config))
        The parameter.
    write : Out(1)
        There is a parameter, a cycle after its last word.

    Latency
        1 cycle.
    Throughput
        One word a cycle.
    """

    receiving: Signal
    base: Signal
    count: Signal
    count_once: Signal
    take: Signal
    data: Signal
    ends: Signal
    row: Signal
    lane: Signal
    param: View
    write: Signal

    def __init__(self, config: EngineConfig):
        self._config = config
        bits = field_bits(config, "PARAM", "count")
        super().__init__(
            {
                "receiving": In(1),
                "base": In(bits),
                "count": In(bits),
                "count_once": In(1),
                "take": In(1),
                "data": In(32),
                "ends": Out(1),
                "row": Out(range(config.param_depth)),
                "lane": Out(range(config.drain_lanes)),
                "param": Out(parameter_layout(config)),
                "write": Out(1),
            }
        )

    def elaborate(self, platform):
        m = Module()
        config = self._config
        row = Signal.like(self.row, name="next_row", reset_less=True)
        lane = Signal.like(self.lane, name="next_lane", reset_less=True)
        word = Signal(2, reset_less=True)
        rows_left = Signal.like(self.count, name="rows_left", reset_less=True)
        last_row, last_lane, last_word = (
            Signal(name=f"last_{name}", reset_less=True) for name in ("row", "lane", "word")
        )
        param = Signal.like(self.param, name="shifted", reset_less=True)
        only_lane = config.drain_lanes == 1
        m.d.comb += [self.ends.eq(last_row & last_lane & last_word), self.param.eq(param)]
        m.d.sync += [
            self.write.eq(self.take & last_word),
            self.row.eq(row),
            self.lane.eq(lane),
        ]
        with m.If(~self.receiving):
            m.d.sync += [
                row.eq(self.base),
                rows_left.eq(self.count),
                lane.eq(0),
                word.eq(0),
                last_row.eq(self.count_once),
                last_lane.eq(only_lane),
                last_word.eq(0),
            ]
        with m.Elif(self.take):
            # Words shift in, so that the first one is where it belongs when the last one comes.
            first, following = param.bias[0], [*list(param.bias)[1:], self.data]
            m.d.sync += [param.mult.eq(first[:16]), param.shift.eq(first[16:22])]
            m.d.sync += [bias.eq(part) for bias, part in zip(param.bias, following, strict=True)]
            m.d.sync += [word.eq(word + 1), last_word.eq(word == config.bias_words - 1)]
            with m.If(last_word):
                m.d.sync += [word.eq(0), lane.eq(lane + 1)]
                m.d.sync += last_lane.eq(lane == config.drain_lanes - 2)
                with m.If(last_lane):
                    m.d.sync += [
                        lane.eq(0),
                        row.eq(row + 1),
                        rows_left.eq(rows_left - 1),
                        last_row.eq(rows_left == 2),
                        last_lane.eq(only_lane),
                    ]
        return m
