"""The reciprocal of a row's sum, a bit a cycle."""

from amaranth.hdl import Module, Mux, Signal
from amaranth.lib.wiring import In, Out

from ..lib.component import Component
from .config import AttentionConfig

__all__ = ["Reciprocal"]


class Reciprocal(Component):
    """Computes a sum's bits beyond the fewest, and the reciprocal of its leading bits.

    Parameters
    ----------
    config : AttentionConfig
        See there for ranges.

    Members
    -------
    start : In(1)
        Takes ``total``; not before ``done`` of the one before.
    total : In(sum_width)
        A sum of powers, ``2**(weight_bits + guard_bits - 1)`` at least.
    done : Out(1)
        The results are there; they stay until the next are.
    reciprocal : Out(reciprocal_bits)
        ``2**(2 * reciprocal_bits - 1)`` by the leading bits, cut, and all ones where that is too
        long.
    extra : Out(range(guard_bits + 1))
        Bits of the sum beyond ``weight_bits + guard_bits``.

    Latency
        ``config.reciprocal_cycles`` from ``start`` to ``done``.
    Throughput
        One sum in as many cycles.
    Numerics
        The sum's bits below ``reciprocal_bits`` are cut; so is the quotient.
    Reference
        Restoring division.
    """

    start: Signal
    total: Signal
    done: Signal
    reciprocal: Signal
    extra: Signal

    def __init__(self, config: AttentionConfig):
        self._config = config
        super().__init__(
            {
                "start": In(1),
                "total": In(config.sum_width),
                "done": Out(1),
                "reciprocal": Out(config.reciprocal_bits),
                "extra": Out(range(config.guard_bits + 1)),
            }
        )

    def elaborate(self, platform):
        m = Module()
        config = self._config
        bits, guard = config.reciprocal_bits, config.guard_bits
        total = Signal(config.sum_width)
        step = Signal(range(guard + bits + 1))
        running = Signal()
        shifting = Signal()
        remainder = Signal(bits + 1)
        mantissa = total[-bits:]
        doubled = remainder << 1
        fits = Signal()
        m.d.comb += [shifting.eq(step < guard), fits.eq(doubled >= mantissa)]
        m.d.sync += self.done.eq(0)
        with m.If(self.start):
            m.d.sync += [
                total.eq(self.total),
                step.eq(0),
                running.eq(1),
                self.extra.eq(guard),
                remainder.eq(1 << bits - 1),
            ]
        with m.Elif(running):
            m.d.sync += step.eq(step + 1)
            with m.If(shifting):
                with m.If(~total[-1]):
                    m.d.sync += [total.eq(total << 1), self.extra.eq(self.extra - 1)]
            with m.Else():
                m.d.sync += [
                    remainder.eq(Mux(fits, doubled - mantissa, doubled)),
                    self.reciprocal.eq((self.reciprocal << 1) | fits),
                ]
            with m.If(step == guard + bits - 1):
                m.d.sync += [running.eq(0), self.done.eq(1)]
        return m
