"""The requantiser: from an accumulator to an activation, one result a cycle."""

from amaranth.hdl import Cat, Const, EnableInserter, Module, Mux, Shape, Signal, signed
from amaranth.lib import data, stream
from amaranth.lib.wiring import In, Out

from ..arith.delay import registered
from ..arith.dsp_product import DSP_LATENCY, multiply_ecp5
from ..arith.gated_add import GatedAdd, GatedAddConfig
from ..lib.component import Component
from ..lib.fifo import Fifo
from .requantise_config import MULT_BITS, PIECE_BITS, SHIFT_BITS, RequantiseConfig

__all__ = ["Requantise", "RequantiseLane", "requantise_beat"]


class RequantiseLane(Component):
    """Computes clamp(round((acc + bias) * mult / 2**shift) + zero_point, lo, hi), pipelined.

    Every register moves only in cycles with ``advance``, so that lanes side by side stay in step;
    which results are real is for the surroundings to remember. Zero point and clamps are read late,
    because they are mostly constants: whoever changes them delays them.

    Parameters
    ----------
    config : RequantiseConfig
        See there for ranges.

    Members
    -------
    advance : In(1)
        Clock enable of all registers.
    acc : In(signed(acc_width))
        Accumulator.
    bias : In(signed(acc_width))
        Added to it without overflow.
    clear : In(1)
        Leaves the bias out.
    mult : In(unsigned(16))
        Multiplier.
    shift : In(unsigned(6))
        Right shift, 0 to 63; 0 leaves nothing to round.
    zero_point : In(signed(clamp_bits))
        Added after rounding; read ``zero_point_delay`` enabled cycles after ``acc``.
    lo : In(signed(clamp_bits))
        Lower clamp, at most ``hi``; read ``clamp_delay`` enabled cycles after ``acc``.
    hi : In(signed(clamp_bits))
        Upper clamp; read with ``lo``. Both lie in the range of ``value``.
    biased : Out(signed(acc_width + 1))
        Accumulator plus bias, an enabled cycle later.
    value : Out(Shape(out_bits, out_signed))
        Result.

    Latency
        ``config.latency`` enabled cycles, 13 to 15.
    Throughput
        One result per enabled cycle.
    Numerics
        Sum and product exact; rounding half to even or half away from zero, of the exact quotient;
        the clamps see the exact sum with the zero point. No intermediate overflow.
    Cost
        One multiplier per 18 bits of ``acc_width + 1``; see docs/units/requantise.md.
    Reference
        Jacob et al., Quantization and Training of Neural Networks for Efficient
        Integer-Arithmetic-Only Inference, CVPR 2018, section 2.2; the multiplier has 16 bits here
        instead of 32, and rounding is exact where gemmlowp rounds twice.
    """

    advance: Signal
    acc: Signal
    bias: Signal
    clear: Signal
    mult: Signal
    shift: Signal
    zero_point: Signal
    lo: Signal
    hi: Signal
    biased: Signal
    value: Signal

    def __init__(self, config: RequantiseConfig):
        self._config = config
        clamp = signed(config.clamp_bits)
        super().__init__(
            {
                "advance": In(1),
                "acc": In(signed(config.acc_width)),
                "bias": In(signed(config.acc_width)),
                "clear": In(1),
                "mult": In(MULT_BITS),
                "shift": In(SHIFT_BITS),
                "zero_point": In(clamp),
                "lo": In(clamp),
                "hi": In(clamp),
                "biased": Out(signed(config.acc_width + 1)),
                "value": Out(Shape(config.out_bits, config.out_signed)),
            }
        )

    def elaborate(self, platform):
        m = Module()
        config = self._config
        product = self._sum(m, self._products(m))
        # Saturated to this many bits, a quotient still ends beyond every clamp it was beyond.
        width = config.out_bits + 2
        # The zero below the product becomes the bit that decides the rounding.
        bits, sign = Cat(Const(0, 1), product[:-1]), product[-1]
        over = sticky = Const(0, 1)
        shift = registered(m, self.shift, config.zero_point_delay - 4, "shift")
        for by, keep in ((16, width + 15), (4, width + 3), (1, width)):
            moved, lost_above, lost_below = self._shift(bits, sign, shift[-2:], by, keep)
            bits = registered(m, moved, 1, f"shifted_{by}")
            over = registered(m, over | lost_above, 1, f"over_{by}")
            sticky = registered(m, sticky | lost_below, 1, f"sticky_{by}")
            sign = registered(m, sign, 1, f"sign_{by}")
            shift = registered(m, shift[:-2], 1, f"shift_below_{by}")
        half, quotient = bits[0], bits[1:]
        up = quotient[0] if config.rounding == "half_even" else ~sign
        clipped = Cat(Mux(over, (~sign).replicate(len(quotient)), quotient), sign)
        clipped = registered(m, clipped, 1, "clipped")
        increment = registered(m, half & (sticky | up), 1, "increment")
        # A one below one side carries the increment, below the other, into the only adder.
        total = Cat(Const(1, 1), clipped).as_signed() + Cat(increment, self.zero_point).as_signed()
        total = registered(m, total[1:], 1, "total")
        lo, hi = registered(m, self.lo, 1, "lo_held"), registered(m, self.hi, 1, "hi_held")
        below = registered(m, total.as_signed() < self.lo, 1, "below")
        above = registered(m, total.as_signed() > self.hi, 1, "above")
        total = registered(m, total, 1, "total_compared")
        m.d.sync += self.value.eq(Mux(above, hi, Mux(below, lo, total)))
        return EnableInserter(self.advance)(m)

    def _products(self, m):
        """Return the products of the multiplier with each piece of accumulator plus bias."""
        config = self._config
        # Multipliers may lie far away: a register to set out from and one on the way.
        m.submodules.add = add = GatedAdd(
            GatedAddConfig(width=config.acc_width + 1, carries=False, fabric=config.fabric)
        )
        m.d.comb += [add.fresh.eq(self.acc), add.old.eq(self.bias), add.clear.eq(self.clear)]
        m.d.sync += self.biased.eq(add.sum)
        biased = registered(m, self.biased, 1, "biased")
        mult = registered(m, self.mult, 2, "mult")
        products = []
        for i in range(config.pieces):
            piece = biased[i * PIECE_BITS : (i + 1) * PIECE_BITS]
            if i == config.pieces - 1:
                piece = piece.as_signed()
            if config.fabric == "ecp5":
                product = Signal(len(piece) + MULT_BITS, name=f"product_{i}")
                enable = self.advance
                multiply_ecp5(
                    m, piece, mult, enable, product, enable=enable, name=f"multiplier_{i}"
                )
            else:
                factor = registered(m, piece, 1, f"piece_{i}")
                product = factor * registered(m, mult, 1, f"mult_{i}_held")
                product = registered(
                    m, product[: len(piece) + MULT_BITS], DSP_LATENCY - 1, f"product_{i}"
                )
            products.append(registered(m, product, 1, f"returned_{i}"))
        return products

    def _sum(self, m, products):
        """Return the sum of the products, each where its piece came from; the last is signed."""
        spacing, level = PIECE_BITS, 0
        while len(products) > 1:
            sums = []
            for i in range(0, len(products), 2):
                value, *above = products[i : i + 2]
                for high in above:
                    if i + 2 == len(products):
                        high = high.as_signed()
                    carried = (value[spacing:] + high)[: len(high)]
                    value = Cat(value[:spacing], carried)
                sums.append(registered(m, value, 1, f"sum_{level}_{i // 2}"))
            products, spacing, level = sums, 2 * spacing, level + 1
        return products[0]

    def _shift(self, bits, sign, select, by, keep):
        """Return ``bits >> select * by`` cut to ``keep`` bits, and whether that lost any.

        Lost above are bits that differ from the sign, lost below are ones.
        """
        keep = min(keep, len(bits))
        extended = Cat(bits, sign.replicate(3 * by))
        differs = bits ^ sign.replicate(len(bits))
        moved, above, below = [], [], []
        for i in range(4):
            moved.append(extended[i * by : i * by + keep])
            above.append(differs[i * by + keep :].any())
            below.append(bits[: i * by].any())

        def choose(ways):
            low, high = (Mux(select[0], ways[i + 1], ways[i]) for i in (0, 2))
            return Mux(select[1], high, low)

        return choose(moved), choose(above), choose(below)


def requantise_beat(config: RequantiseConfig) -> data.StructLayout:
    """One accumulator with all that its requantisation needs."""
    clamp = signed(config.clamp_bits)
    return data.StructLayout(
        {
            "acc": signed(config.acc_width),
            "bias": signed(config.acc_width),
            "mult": MULT_BITS,
            "shift": SHIFT_BITS,
            "zero_point": clamp,
            "lo": clamp,
            "hi": clamp,
        }
    )


class Requantise(Component):
    """Computes clamp(round((acc + bias) * mult / 2**shift) + zero_point, lo, hi) on a stream.

    A `RequantiseLane` between streams: the pipeline moves as a whole, into two places that keep
    ``o.ready`` out of its logic.

    Parameters
    ----------
    config : RequantiseConfig
        See there for ranges.

    Members
    -------
    i : In(stream.Signature(requantise_beat(config)))
        Accumulators with their parameters; ``lo`` at most ``hi``, both in the range of a result.
    o : Out(stream.Signature(Shape(out_bits, out_signed)))
        Results, in order.

    Latency
        From the transfer of a beat to ``o.valid``: ``config.latency + 1`` cycles.
    Throughput
        One beat a cycle while ``o.ready``.
    Numerics
        As `RequantiseLane`.
    Reference
        As `RequantiseLane`.
    """

    i: stream.Interface
    o: stream.Interface

    def __init__(self, config: RequantiseConfig):
        self._config = config
        super().__init__(
            {
                "i": In(stream.Signature(requantise_beat(config))),
                "o": Out(stream.Signature(Shape(config.out_bits, config.out_signed))),
            }
        )

    def elaborate(self, platform):
        m = Module()
        config = self._config
        m.submodules.lane = lane = RequantiseLane(config)
        m.submodules.output = output = Fifo(config.out_bits, 2, buffered=False)
        advance = output.w_rdy
        beat = self.i.payload
        valid = Signal(config.latency)
        late = {"zero_point": config.zero_point_delay}
        late |= {"lo": config.clamp_delay, "hi": config.clamp_delay}
        for name in lane.signature.members:
            if name in beat.shape().members:
                value = beat[name]
                for i in range(late.get(name, 0)):
                    delayed = Signal.like(value, name=f"{name}_{i + 1}", reset_less=True)
                    with m.If(advance):
                        m.d.sync += delayed.eq(value)
                    value = delayed
                m.d.comb += getattr(lane, name).eq(value)
        with m.If(advance):
            m.d.sync += valid.eq(Cat(self.i.valid, valid[:-1]))
        m.d.comb += [
            lane.advance.eq(advance),
            self.i.ready.eq(advance),
            output.w_data.eq(lane.value),
            output.w_en.eq(valid[-1]),
            self.o.payload.eq(output.r_data),
            self.o.valid.eq(output.r_rdy),
            output.r_en.eq(self.o.ready),
        ]
        return m
