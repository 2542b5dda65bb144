"""From scores, a maximum and a reciprocal to weights and factors."""

from amaranth.hdl import Module, Mux, Signal, signed
from amaranth.lib.wiring import In, Out

from ..arith.delay import delay, registered
from ..lib.component import Component
from .config import ACT_BITS, AttentionConfig
from .score import Powers

__all__ = ["Normalise"]


class Normalise(Component):
    """Computes a slot's weight, a power times a reciprocal, and its product with a scale.

    Parameters
    ----------
    config : AttentionConfig
        See there for ranges.

    Members
    -------
    score : In(signed(score_width))
        The slot's score.
    top : In(signed(whole_bits))
        Whole part of the row's largest score.
    extra : In(range(guard_bits + 1))
        Bits of the row's sum beyond the fewest.
    reciprocal : In(reciprocal_bits)
        Of the row's sum.
    scale : In(16)
        Scale of a group of values.
    weight : Out(weight_bits)
        The slot's weight.
    factor : Out(16)
        The weight times the scale.

    Attributes
    ----------
    product : Signal
        Power times reciprocal, without the bits that no rounding sees.

    Latency
        ``LATENCY`` = 8 cycles.
    Throughput
        One slot and group a cycle.
    Numerics
        The product of power and reciprocal is exact; it rounds half up to a weight, and the
        weight's with the scale half up to a factor.
    Reference
        verif.golden.attention.softmax and .factors.
    """

    score: Signal
    top: Signal
    extra: Signal
    reciprocal: Signal
    scale: Signal
    weight: Signal
    factor: Signal

    LATENCY = 8

    def __init__(self, config: AttentionConfig):
        self._config = config
        self.product = Signal(config.weight_bits + 2, reset_less=True)
        super().__init__(
            {
                "score": In(signed(config.score_width)),
                "top": In(signed(config.whole_bits)),
                "extra": In(range(config.guard_bits + 1)),
                "reciprocal": In(config.reciprocal_bits),
                "scale": In(ACT_BITS),
                "weight": Out(config.weight_bits),
                "factor": Out(ACT_BITS),
            }
        )

    def elaborate(self, platform):
        m = Module()
        config = self._config
        bits = config.weight_bits
        m.submodules.powers = powers = Powers(config)
        # What comes from a memory gets a register before anything is made of it.
        score = registered(m, self.score, 1, "score")
        top = registered(m, self.top, 1, "top")
        m.d.comb += powers.fraction.eq(score[: config.fraction_bits])
        below = Signal(config.whole_bits)
        m.d.sync += below.eq(top - score[config.fraction_bits :].as_signed())
        extra = delay(m, self.extra, 2, "extra")
        reciprocal = delay(m, self.reciprocal, 2, "reciprocal")
        power = registered(m, powers.power, 1, "power")
        reciprocal = registered(m, reciprocal, 1, "reciprocal_again")
        # A weight is zero well before the power has moved by twice its bits.
        near = (bits + 2).bit_length()
        far = below[:near] + extra
        beyond = below[near:].any() | (far > bits + 2)
        cut = registered(m, Mux(beyond, bits + 2, far)[:5], 1, "cut")
        product = self.product
        m.d.sync += product.eq((power * reciprocal)[bits - 1 :])
        cut = registered(m, cut, 1, "cut_again")
        # One bit below the weight decides the rounding.
        moved = registered(m, product >> cut, 1, "moved")
        rounded = (moved + 1)[1:]
        weight = Signal(bits)
        m.d.sync += weight.eq(Mux(rounded[bits:].any(), (1 << bits) - 1, rounded))
        # Here too, no rounding sees what is below half of a factor's lowest bit.
        scaled = (weight * delay(m, self.scale, 6, "scale"))[bits - 1 :]
        scaled = registered(m, scaled, 1, "scaled")
        m.d.sync += [
            self.weight.eq(registered(m, weight, 1, "weight_again")),
            self.factor.eq((scaled + 1) >> 1),
        ]
        return m
