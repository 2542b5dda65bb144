"""The term multiply-accumulator of the paper: exponents add, coefficients count."""

from amaranth.hdl import Cat, Module, Mux, Signal, signed
from amaranth.lib import data, memory

from ..arith.delay import delay
from ..lib.component import Component
from .config import TermConfig
from .words import data_term, pe_members, slot_and_value

__all__ = ["TmacPe"]


class TmacPe(Component):
    """Sum over pairs of terms ``±2**(a + b)``: a vector counts the pairs of every exponent sum.

    Every cycle a term of a weight meets a term of its data value: the exponents are added, and the
    coefficient of their sum goes up or down by one. Then the binary stream converter passes over
    the coefficients from the lowest: coefficient plus carry gives a bit of the result and the next
    carry; and the coefficient becomes 0.

    Parameters
    ----------
    config : TermConfig
        See there.

    Members
    -------
    feed : In(feed_layout(config))
        Data terms of a value, to store.
    slot : In(slot_layout(config))
        Weight term and the data term that it meets, or coefficient to convert.
    feed_next : Out(feed_layout(config))
        To the PE of the next column, a cycle later.
    slot_next : Out(slot_layout(config))
        To the PE of the next row, a cycle later.
    sums : Out(psum_width)
        The sum, for one cycle, else 0.

    Latency
        5 cycles from ``end`` to ``sums``.
    Throughput
        One pair of terms or one coefficient a cycle.
    Numerics
        Exact: coefficients have ``coefficient_width`` bits.
    Reference
        McDanel et al., Term Revealing, 2020. There a data stream is bit-serial; here its terms are
        in a store.
    """

    feed: data.View
    slot: data.View
    feed_next: data.View
    slot_next: data.View
    sums: Signal

    def __init__(self, config: TermConfig):
        self._config = config
        super().__init__(pe_members(config))

    def elaborate(self, platform):
        m = Module()
        config = self._config
        slot, value = slot_and_value(m, self, config)
        terms = data.View(data.ArrayLayout(data_term(config), config.data_terms), value)

        # Data term, then place in the vector and sign of the pair.
        term = Signal(data_term(config), reset_less=True)
        weight = Signal.like(slot, reset_less=True)
        place = Signal(range(config.coefficients), reset_less=True)
        negative = Signal(reset_less=True)
        counts = Signal(reset_less=True)
        converts = Signal(reset_less=True)
        m.d.sync += [
            term.eq(terms[slot.index]),
            weight.eq(slot),
            negative.eq(term.sign ^ weight.term.sign),
            counts.eq(term.present & weight.term.present & ~weight.convert & ~weight.end),
            converts.eq(weight.convert),
            place.eq(Mux(weight.convert, weight.coefficient, term.exponent + weight.term.place)),
        ]
        end = delay(m, slot.end & slot.convert, 3, "ends")
        self._elaborate_vector(m, place, negative, counts, converts, end)
        return m

    def _elaborate_vector(self, m, place, negative, counts, converts, end):
        """Count pairs of terms; convert the coefficients."""
        config = self._config
        shape = signed(config.coefficient_width)
        m.submodules.vector = vector = memory.Memory(
            shape=shape, depth=config.coefficients, init=[], attrs={"ram_style": "distributed"}
        )
        write = vector.write_port()
        read = vector.read_port(domain="comb")
        total = Signal(shape, reset_less=True)
        sum_ = Signal(shape)
        change = Signal(shape)
        m.d.comb += [
            change.eq(Mux(converts, total >> 1, Mux(negative, -1, 1))),
            read.addr.eq(place),
            sum_.eq(read.data + change),
            write.addr.eq(place),
            write.en.eq(counts | converts),
            write.data.eq(Mux(converts, 0, sum_)),
        ]
        lower = Signal(config.coefficients, reset_less=True)
        m.d.sync += total.eq(Mux(converts, sum_, 0))
        with m.If(converts):
            m.d.sync += lower.eq(Cat(lower, sum_[0])[1:])
        found = Signal(config.psum_width, reset_less=True)
        result = Cat(lower, (total >> 1).as_signed())
        m.d.sync += found.eq(Mux(end, result.as_signed(), 0))
        m.d.comb += self.sums.eq(found)
