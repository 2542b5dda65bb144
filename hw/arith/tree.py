"""Sums of many numbers: a tree of adders with a register after each level."""

from collections.abc import Sequence

from amaranth.hdl import Cat, Module, Signal, Value

from .delay import registered

__all__ = ["chain_sum", "count_tree", "sum_tree"]


def sum_tree(m: Module, values: Sequence[Value], name: str, *, rows: int = 0) -> Value:
    """Return the exact sum of the numbers after ``clog2(len(values))`` cycles.

    With ``rows`` it takes as long as that many numbers would.
    """
    values, level = list(values), 0
    while len(values) > 1 or 1 << level < rows:
        sums = []
        for i in range(0, len(values) - 1, 2):
            total = _add(values[i], values[i + 1])
            sums.append(registered(m, total, 1, f"{name}_{level}_{i // 2}"))
        if len(values) % 2:
            sums.append(registered(m, values[-1], 1, f"{name}_{level}_{len(values) // 2}"))
        values, level = sums, level + 1
    return values[0]


def count_tree(
    m: Module, bits: Sequence[tuple[Value, Value]], name: str, *, rows: int = 0
) -> Value:
    """Return how many pairs are both set, after ``max(1, clog2(len(bits)))`` cycles.

    With ``rows`` it takes as long as that many pairs would.
    """
    counts: list[Value] = []
    for i in range(0, len(bits) - 1, 2):
        (a, b), (c, d) = bits[i : i + 2]
        pair = Signal(2, name=f"{name}_pair_{i // 2}", reset_less=True)
        m.d.sync += pair.eq(Cat((a & b) ^ (c & d), a & b & c & d))
        counts.append(pair)
    if len(bits) % 2:
        a, b = bits[-1]
        counts.append(registered(m, a & b, 1, f"{name}_pair_{len(bits) // 2}"))
    return sum_tree(m, counts, name, rows=-(-rows // 2))


def chain_sum(m: Module, values: Sequence[Value], name: str) -> Value:
    """Return the exact sum of numbers of which each comes a cycle after the one before.

    It is there ``len(values)`` cycles after the first one, or at once where there is but one.
    """
    total = values[0]
    for i, value in enumerate(values[1:]):
        if i == 0:
            total = registered(m, total, 1, f"{name}_begin")
        total = registered(m, _add(total, value), 1, f"{name}_{i}")
    return total


def _add(a: Value, b: Value) -> Value:
    """Return the sum; of two bits each from LUTs, as a carry chain would take more of them."""
    if len(a) == len(b) == 2 and not a.shape().signed:
        carry = a[0] & b[0]
        return Cat(a[0] ^ b[0], a[1] ^ b[1] ^ carry, (a[1] & b[1]) | ((a[1] ^ b[1]) & carry))
    return a + b
