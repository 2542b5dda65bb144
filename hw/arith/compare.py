"""Comparisons with constants, as gates: a carry chain would be larger."""

from amaranth.hdl import Const, Value

__all__ = ["above"]


def above(value: Value, limit: int) -> Value:
    """Return ``value > limit`` for an unsigned value, limit not negative."""
    if limit >> len(value):
        return Const(0, 1)
    result: Value = Const(0, 1)
    for i in range(len(value)):
        result = value[i] & result if limit >> i & 1 else value[i] | result
    return result
