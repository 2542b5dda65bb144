"""Loops of a GEMM over tiles, as its readers walk over them."""

from amaranth.hdl import Cat, Signal

from .position import field

__all__ = ["Loops"]


class Loops:
    """Counters of a GEMM's loops over tiles, outermost first.

    Each counts what is left and has flags for its first and its last iteration, so that the carry
    from loop to loop runs through flags only.
    """

    def __init__(self, m, words, names):
        self._m, self._words, self._names = m, words, names
        def registers(bits, part):
            return [Signal(bits, name=f"{name}_{part}", reset_less=True) for name in names]

        self._left = registers(16, "left")
        self._at_first = registers(1, "first")
        self._at_last = registers(1, "last")
        # Whether all loops inside are in their last iteration, a cycle late.
        self._inner_last = registers(1, "inner_last")
        for i, inner_last in enumerate(self._inner_last):
            m.d.sync += inner_last.eq(Cat(self._at_last[i + 1 :]).all())

    def load(self, words):
        """Set all loops to their first iteration."""
        for name, left, first, last in zip(
            self._names, self._left, self._at_first, self._at_last, strict=True
        ):
            count = field(words, "GEMM", name)
            self._m.d.sync += [left.eq(count - 1), first.eq(1), last.eq(count == 1)]

    def first(self, name):
        """Return whether loop ``name`` and all loops inside are in their first iteration."""
        return Cat(self._at_first[self._names.index(name) :]).all()

    def last(self, name):
        """Return whether loop ``name`` and all loops inside are in their last iteration."""
        return Cat(self._at_last[self._names.index(name) :]).all()

    def at_last(self, name):
        """Return whether loop ``name`` itself is in its last iteration."""
        return self._at_last[self._names.index(name)]

    def advance(self):
        """Go to the next iteration of the innermost loop, at most every second cycle."""
        m = self._m
        for i, name in enumerate(self._names):
            count = field(self._words, "GEMM", name)
            left, last = self._left[i], self._at_last[i]
            with m.If(self._inner_last[i]):
                m.d.sync += [left.eq(left - 1), last.eq(left == 1), self._at_first[i].eq(0)]
                if i:  # the outermost loop is never begun again
                    with m.If(last):
                        m.d.sync += [left.eq(count - 1), last.eq(count == 1)]
                        m.d.sync += self._at_first[i].eq(1)
