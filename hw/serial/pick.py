"""The sum of the unit that has ended."""

from amaranth.hdl import Module, Mux, Signal, Value, signed

from .config import SerialConfig

__all__ = ["picked"]


def picked(m: Module, config: SerialConfig, sums: list[Value], unit: Value) -> Value:
    """Return the sum of that unit, a cycle later, chosen by a tree."""
    values = list(sums)
    for bit in range((len(values) - 1).bit_length()):
        pairs = [values[i : i + 2] for i in range(0, len(values), 2)]
        values = [Mux(unit[bit], pair[1], pair[0]) if pair[1:] else pair[0] for pair in pairs]
    sum_ = Signal(signed(config.psum_width), name="picked", reset_less=True)
    m.d.sync += sum_.eq(values[0])
    return sum_
