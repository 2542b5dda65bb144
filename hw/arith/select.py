"""Choosing one of several values by its number."""

from collections.abc import Sequence

from amaranth.hdl import Module, Signal, Value

__all__ = ["selected"]


def selected(m: Module, values: Sequence[Value], index: Value, name: str) -> Value:
    """Return the value that ``index`` names, the last one where there are not so many.

    Parameters
    ----------
    m : Module
        Where the multiplexer goes.
    values : sequence of Value
        All of the same width, taken bit by bit.
    index : Value
        Not looked at where there is only one.
    name : str
        Of the result.
    """
    chosen = Signal(len(values[0]), name=name)
    m.d.comb += chosen.eq(values[-1])
    if len(values) > 1:
        with m.Switch(index):
            for i, value in enumerate(values[:-1]):
                with m.Case(i):
                    m.d.comb += chosen.eq(value)
    return chosen
