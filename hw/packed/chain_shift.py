"""Shift of a shift convolution on a stream of pixels: each channel by a pixel of its own."""

from amaranth.hdl import Cat, Const, Module, Mux, Signal, Value
from amaranth.lib.wiring import In, Out

from ..engine.buffer import buffer_memory
from ..lib.component import Component
from .chain_config import OFFSETS, PixelShiftConfig

__all__ = ["PixelShift"]


class PixelShift(Component):
    """Moves each channel by its own pixel: ``o[r, c] = i[r + row, c + column]`` of its code.

    Pixels come in row by row, image after image. A result waits until the pixels that it needs
    have come; those at the end of an image are pushed out by the next one, or by empty steps while
    none has begun, so that nothing of an image stays inside. A channel keeps as many pixels as its
    code needs.

    Parameters
    ----------
    config : PixelShiftConfig
        See there.

    Members
    -------
    i_valid : In(1)
        A pixel comes.
    i_data : In(len(codes) * x_bits)
        Its channels.
    border : In(x_bits)
        What is outside of an image.
    o_valid : Out(1)
        A result goes.
    o_data : Out(len(codes) * x_bits)
        Its channels.

    Latency
        A cycle, and ``config.ahead`` steps.
    Throughput
        One pixel a cycle.
    Numerics
        None.
    Reference
        Wu et al., Shift: A Zero FLOP, Zero Parameter Alternative to Spatial Convolutions, CVPR
        2018; the authors' FPGA design of column combining, j_shifter, with its codes 0 to 4.
    """

    i_valid: Signal
    i_data: Signal
    border: Signal
    o_valid: Signal
    o_data: Signal

    def __init__(self, config: PixelShiftConfig):
        self._config = config
        bits = len(config.codes) * config.x_bits
        super().__init__(
            {
                "i_valid": In(1),
                "i_data": In(bits),
                "border": In(config.x_bits),
                "o_valid": Out(1),
                "o_data": Out(bits),
            }
        )

    def elaborate(self, platform):
        m = Module()
        config = self._config
        step, gives = self._steps(m)
        at = Signal(range(max(2, *map(config.delay, config.codes))))
        with m.If(step):
            m.d.sync += at.eq(at + 1)
        outside = self._outside(m, gives)
        m.d.sync += self.o_valid.eq(gives)
        for code in sorted(set(config.codes)):
            channels = [c for c, other in enumerate(config.codes) if other == code]
            newest = Cat(self.i_data.word_select(c, config.x_bits) for c in channels)
            pixel = self._past(m, newest, config.delay(code), step, at, f"past_{code}")
            for i, c in enumerate(channels):
                value = pixel.word_select(i, config.x_bits)
                after = self.o_data.word_select(c, config.x_bits)
                m.d.sync += after.eq(Mux(outside[code], self.border, value))
        return m

    def _steps(self, m: Module) -> tuple[Value, Value]:
        """Return when the lines move by a pixel, and whether a result goes then."""
        config = self._config
        if not config.ahead:
            return self.i_valid, self.i_valid
        step = Signal()
        gives = Signal()
        came = Signal(range(config.pixels))
        inside = Signal(range(config.ahead + 1))
        real = Signal(config.ahead)
        with m.If(self.i_valid):
            m.d.sync += came.eq(Mux(came == config.pixels - 1, 0, came + 1))
        with m.If(step):
            m.d.sync += real.eq(Cat(self.i_valid, real))
        m.d.sync += inside.eq(inside + self.i_valid - gives)
        m.d.comb += [
            step.eq(self.i_valid | ((came == 0) & (inside != 0))),
            gives.eq(step & real[-1]),
        ]
        return step, gives

    def _outside(self, m: Module, gives: Value) -> list[Value]:
        """Return for each code whether its pixel of the result that goes is outside."""
        config = self._config
        row = Signal(range(config.height))
        column = Signal(range(config.width))
        ends = Signal()
        m.d.comb += ends.eq(column == config.width - 1)
        with m.If(gives):
            m.d.sync += column.eq(Mux(ends, 0, column + 1))
            with m.If(ends):
                m.d.sync += row.eq(Mux(row == config.height - 1, 0, row + 1))
        below = {0: Const(0, 1), -1: row == 0, 1: row == config.height - 1}
        beside = {0: Const(0, 1), -1: column == 0, 1: ends}
        return [below[down] | beside[right] for down, right in OFFSETS]

    def _past(
        self, m: Module, newest: Value, delay: int, step: Value, at: Signal, name: str
    ) -> Value:
        """Return what ``newest`` was ``delay`` steps ago."""
        if delay == 0:
            return newest
        if delay == 1:
            before = Signal(len(newest), name=name, reset_less=True)
            with m.If(step):
                m.d.sync += before.eq(newest)
            return before
        # What is read now is there at the next step, and was written delay - 1 steps ago.
        bits = (delay - 1).bit_length()
        m.submodules[name] = line = buffer_memory(len(newest), 1 << bits)
        write = line.write_port()
        read = line.read_port()
        m.d.comb += [
            write.en.eq(step),
            write.addr.eq(at),
            write.data.eq(newest),
            read.en.eq(step),
            read.addr.eq(at + (1 - delay) % (1 << bits)),
        ]
        return read.data
