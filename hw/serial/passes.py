"""The passes of a vector: which planes meet, cycle by cycle."""

from amaranth.hdl import Module, Mux, Signal
from amaranth.lib import data
from amaranth.lib.wiring import In, Out

from ..arith.delay import delay
from ..lib.component import Component
from .config import MODE_FIELDS, SerialConfig

__all__ = ["BitPasses", "PairPasses", "Passes", "pass_layout"]


def pass_layout(config: SerialConfig) -> data.StructLayout:
    """What a unit is told in each pass.

    ``x`` and ``w`` are bit planes, the most significant one first; ``left`` is how many passes
    follow, which is the digit plane or the bit too. ``first`` and ``last`` mark the ends of the
    passes;
    ``opens`` and ``closes`` those of a run with one plane of the weights, which ``begins`` the sum
    where it is the first such run; ``negative``: exactly one of the planes, or the bit, is a sign.
    """
    if config.pe != "planes":
        negative = {"negative": 1} if config.pe == "tables" else {}
        left = range(config.most_passes)
        return data.StructLayout({"first": 1, "last": 1, "left": left, **negative})
    planes = {"x": range(config.x_bits), "w": range(config.w_bits)}
    return data.StructLayout(
        {"last": 1, "opens": 1, "closes": 1, "begins": 1, "negative": 1, **planes}
    )


class Passes(Component):
    """Counts the passes of digit planes, or of the bits of a sum.

    Parameters
    ----------
    config : SerialConfig
        See there for ranges.

    Members
    -------
    begin : In(1)
        A frame starts; its first pass is in the next cycle.
    more : In(range(config.most_passes))
        Passes after the first one.
    now : Out(pass_layout(config))
        The pass of unit 0. ``first`` and ``last`` are low in cycles without one.
    near : Out(1)
        At most two passes follow this one; from the second pass on.

    Latency
        1 cycle.
    Throughput
        A pass a cycle.
    Numerics
        None.
    Reference
        None.
    """

    begin: Signal
    more: Signal
    now: data.View
    near: Signal

    def __init__(self, config: SerialConfig):
        self._config = config
        super().__init__(
            {
                "begin": In(1),
                "more": In(range(config.most_passes)),
                "now": Out(pass_layout(config)),
                "near": Out(1),
            }
        )

    def elaborate(self, platform):
        m = Module()
        left = Signal.like(self.more, reset_less=True)
        running = Signal()
        first = Signal(reset_less=True)
        m.d.sync += first.eq(self.begin)
        with m.If(self.begin):
            m.d.sync += [left.eq(self.more), running.eq(1)]
        with m.Elif(left == 0):
            m.d.sync += running.eq(0)
        with m.Else():
            m.d.sync += left.eq(left - 1)
        m.d.comb += [
            self.now.first.eq(first),
            self.now.last.eq(running & (left == 0)),
            self.now.left.eq(left),
        ]
        m.d.comb += self.near.eq(delay(m, left[2:] == 0, 1, "few_left"))
        return m


class BitPasses(Component):
    """Counts the bits of the activations, as many as the mode says.

    Parameters
    ----------
    config : SerialConfig
        See there for ranges.

    Members
    -------
    begin : In(1)
        A frame starts; its first pass is in the next cycle.
    mode : In(config.mode_bits)
        Of the vector that starts it.
    now : Out(pass_layout(config))
        The pass of unit 0. ``first`` and ``last`` are low in cycles without one.
    near : Out(1)
        At most two passes follow this one; from the second pass on.

    Latency
        1 cycle.
    Throughput
        A pass a cycle.
    Numerics
        None.
    Reference
        None.
    """

    begin: Signal
    mode: Signal
    now: data.View
    near: Signal

    def __init__(self, config: SerialConfig):
        self._config = config
        super().__init__(
            {
                "begin": In(1),
                "mode": In(config.mode_bits),
                "now": Out(pass_layout(config)),
                "near": Out(1),
            }
        )

    def elaborate(self, platform):
        m = Module()
        config = self._config
        mode = {f.name: self.mode[f.lsb : f.lsb + f.width] for f in config.mode_fields}
        m.submodules.passes = passes = Passes(config)
        bits = mode["x_bits"]
        negative = Signal(reset_less=True)
        with m.If(self.begin):
            m.d.sync += negative.eq(config.x_signed & ~mode["x_unsigned"])
        m.d.comb += [
            passes.begin.eq(self.begin),
            passes.more.eq(Mux(bits == 0, config.x_bits - 1, bits - 1)),
            self.near.eq(passes.near),
            self.now.eq(passes.now),
            self.now.negative.eq(passes.now.first & negative),
        ]
        return m


class PairPasses(Component):
    """Walks over pairs of bit planes, as many of each operand as the mode says.

    Parameters
    ----------
    config : SerialConfig
        See there for ranges.

    Members
    -------
    begin : In(1)
        A frame starts; its first pass is in the next cycle.
    mode : In(config.mode_bits)
        Of the vector that starts it.
    now : Out(pass_layout(config))
        The pass of unit 0. ``last`` is low in cycles without one.
    near : Out(1)
        At most two passes follow this one; from the second pass on.

    Latency
        1 cycle.
    Throughput
        A pass a cycle.
    Numerics
        None.
    Reference
        Umuroglu, Rasnayake, Sjalander, BISMO, FPL 2018; here with two accumulators instead of an
        order of pairs by weight.
    """

    begin: Signal
    mode: Signal
    now: data.View
    near: Signal

    def __init__(self, config: SerialConfig):
        self._config = config
        super().__init__(
            {
                "begin": In(1),
                "mode": In(config.mode_bits),
                "now": Out(pass_layout(config)),
                "near": Out(1),
            }
        )

    def elaborate(self, platform):
        m = Module()
        now = self.now
        mode = {f.name: self.mode[f.lsb : f.lsb + f.width] for f in MODE_FIELDS}
        signs, tops = {}, {}
        for name, full, is_signed in (
            ("x", self._config.x_bits, self._config.x_signed),
            ("w", self._config.w_bits, self._config.w_signed),
        ):  # fmt: skip
            top = Signal(range(full), name=f"{name}_top", reset_less=True)
            bits = mode[f"{name}_bits"]
            sign = Signal(name=f"{name}_is_signed", reset_less=True)
            wanted = Signal(range(full), name=f"{name}_wanted")
            m.d.comb += wanted.eq(Mux(bits == 0, full - 1, bits - 1))
            with m.If(self.begin):
                m.d.sync += [top.eq(wanted), sign.eq(is_signed & ~mode[f"{name}_unsigned"])]
            signs[name], tops[name] = sign, (top, wanted)

        x = Signal(range(self._config.x_bits), reset_less=True)
        w = Signal(range(self._config.w_bits), reset_less=True)
        running = Signal()
        x_end = Signal()
        w_end = Signal()
        m.d.comb += [x_end.eq(x == 0), w_end.eq(w == 0)]
        with m.If(self.begin):
            m.d.sync += [x.eq(tops["x"][1]), w.eq(tops["w"][1]), running.eq(1)]
        with m.Elif(~x_end):
            m.d.sync += x.eq(x - 1)
        with m.Elif(~w_end):
            m.d.sync += [x.eq(tops["x"][0]), w.eq(w - 1)]
        with m.Else():
            m.d.sync += running.eq(0)
        x_top = Signal()
        w_top = Signal()
        m.d.comb += [x_top.eq(x == tops["x"][0]), w_top.eq(w == tops["w"][0])]
        m.d.comb += [
            now.x.eq(x),
            now.w.eq(w),
            now.last.eq(running & x_end & w_end),
            now.opens.eq(x_top),
            now.closes.eq(x_end),
            now.begins.eq(w_top),
            now.negative.eq((x_top & signs["x"]) ^ (w_top & signs["w"])),
        ]
        of_one, of_two, of_three = (tops["x"][0] == i for i in range(3))
        near = (
            (w_end & (x[2:] == 0))
            | ((w == 1) & (of_one | of_two | (of_three & x_end)))
            | ((w >> 1 == 1) & of_one)
        )
        m.d.comb += self.near.eq(delay(m, near, 1, "few_left"))
        return m
