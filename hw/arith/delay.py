"""Delay lines: one, and a triangle of them."""

from collections.abc import Sequence

from amaranth.hdl import Cat, Module, Signal, Value
from amaranth.lib import data

__all__ = ["delay", "registered", "skew"]


def delay(
    m: Module, value: Value | data.View, cycles: int, name: str, *, reset: bool = False
) -> Value:
    """Return ``value`` as it was ``cycles`` cycles ago.

    Parameters
    ----------
    m : Module
        Where the registers go, as one signal ``name``.
    value : Value
        Taken bit by bit, so the result is unsigned.
    cycles : int
        0 or more.
    reset : bool
        Clear the line on reset, as the validity of something needs; data do without.
    """
    if cycles == 0:
        return Value.cast(value).as_unsigned()
    bits = len(Value.cast(value))
    line = Signal(bits * cycles, name=name, reset_less=not reset)
    m.d.sync += line.eq(Cat(value, line))
    return line[-bits:]


def skew(
    m: Module, lanes: Sequence[Value], name: str, *, first: int = 0, step: int = 1
) -> list[Value]:
    """Return the lanes, lane ``i`` delayed by ``first + step * i`` cycles."""
    return [delay(m, lane, first + step * i, f"{name}_{i}") for i, lane in enumerate(lanes)]


def registered(m: Module, value: Value, cycles: int, name: str) -> Value:
    """Return a number as it was ``cycles`` cycles ago, its shape kept."""
    for i in range(cycles):
        after = Signal(value.shape(), name=f"{name}_{i}", reset_less=True)
        m.d.sync += after.eq(value)
        value = after
    return value
