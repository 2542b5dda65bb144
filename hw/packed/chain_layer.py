"""A layer of a chain: shift, array, requantiser, and the registers that hold its parameters."""

from amaranth.hdl import Cat, Module, Shape, Signal, signed
from amaranth.lib import data
from amaranth.lib.wiring import In, Out

from ..arith.delay import delay
from ..config import ModeField
from ..engine.requantise import RequantiseLane
from ..lib.component import Component
from .chain_array import ChainArray
from .chain_config import ChainLayerConfig
from .chain_shift import PixelShift

__all__ = ["ChainLayer"]


def _layout(fields: tuple[ModeField, ...], *numbers: str) -> data.StructLayout:
    """Return the layout of a word; some fields are signed numbers."""
    return data.StructLayout(
        {f.name: signed(f.width) if f.name in numbers else Shape(f.width) for f in fields}
    )


class ChainLayer(Component):
    """One layer: ``clamp(round((shifted(i) @ w + bias) * mult / 2**shift) + zero_point, lo, hi)``.

    Nothing waits: a vector goes through, or a bubble. Parameters come as words while no vector is
    under way, channels and rows of cells through shift registers.

    Parameters
    ----------
    config : ChainLayerConfig
        See there.

    Members
    -------
    word : In(config.word_bits)
        A parameter word.
    settings : In(1)
        It is that of the settings.
    channel : In(1)
        It is an output channel's, from channel 0 on.
    cell : In(1)
        It is a cell's, the last row first, each from channel 0 on.
    row : In(1)
        And that of the last cell of a row.
    i_valid : In(1)
        A vector comes.
    i_data : In(act_lanes * x_bits)
        Its channels.
    o_valid : Out(1)
        A result goes.
    o_data : Out(cols * x_bits)
        Its channels.

    Latency
        ``config.latency`` cycles where a vector comes every cycle.
    Throughput
        One vector a cycle.
    Numerics
        As `RequantiseLane`; sums are exact.
    Reference
        Kung, McDanel, Zhang, Packing Sparse Convolutional Neural Networks for Efficient Systolic
        Array Implementations, ASPLOS 2019.
    """

    word: Signal
    settings: Signal
    channel: Signal
    cell: Signal
    row: Signal
    i_valid: Signal
    i_data: Signal
    o_valid: Signal
    o_data: Signal

    def __init__(self, config: ChainLayerConfig):
        self._config = config
        array = config.array
        super().__init__(
            {
                "word": In(config.word_bits),
                "settings": In(1),
                "channel": In(1),
                "cell": In(1),
                "row": In(1),
                "i_valid": In(1),
                "i_data": In(array.act_lanes * array.x_bits),
                "o_valid": Out(1),
                "o_data": Out(array.cols * array.x_bits),
            }
        )

    def elaborate(self, platform):
        m = Module()
        config = self._config
        m.submodules.array = array = ChainArray(config.array)
        settings = Signal(
            _layout(config.settings_fields, "zero_point", "lo", "hi"), reset_less=True
        )
        one = _layout(config.channel_fields, "bias")
        channels = Signal(data.ArrayLayout(one, config.array.cols), reset_less=True)
        beat = Signal(config.array.weight_beat_bits, reset_less=True)
        for register, word_bits, moves in (
            (settings.as_value(), len(settings.as_value()), self.settings),
            (channels.as_value(), one.size, self.channel),
            (beat, config.array.word_bits, self.cell),
        ):
            with m.If(moves):
                m.d.sync += register.eq(Cat(register, self.word[:word_bits]) >> word_bits)
        m.d.sync += array.weights.valid.eq(self.row)
        m.d.comb += array.weights.payload.eq(beat)

        valid, values = self.i_valid, self.i_data
        if config.shift:
            m.submodules.pixel_shift = shift = PixelShift(config.shift)
            m.d.comb += [
                shift.i_valid.eq(valid),
                shift.i_data.eq(values),
                shift.border.eq(settings.border),
            ]
            valid, values = shift.o_valid, shift.o_data
        m.d.comb += [
            array.acts.valid.eq(valid),
            array.acts.payload.data.as_value().eq(values),
        ]

        x_bits = config.array.x_bits
        for c in range(config.array.cols):
            m.submodules[f"lane_{c}"] = lane = RequantiseLane(config.lane)
            m.d.comb += [
                lane.advance.eq(1),
                lane.acc.eq(array.psums.payload.data[c]),
                lane.bias.eq(channels[c].bias),
                lane.mult.eq(channels[c].mult),
                lane.shift.eq(channels[c].shift),
                lane.zero_point.eq(settings.zero_point),
                lane.lo.eq(settings.lo),
                lane.hi.eq(settings.hi),
                self.o_data.word_select(c, x_bits).eq(lane.value),
            ]
        valids = delay(m, array.psums.valid, config.lane.latency, "valids", reset=True)
        m.d.comb += self.o_valid.eq(valids)
        return m
