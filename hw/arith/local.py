"""Registers that stay where they are written: copies of a signal, each near what it drives."""

from amaranth.hdl import Cat, ClockSignal, Instance, Module, Signal, Value
from amaranth.lib import data

__all__ = ["local_copy"]


def local_copy(m: Module, value: Value | data.View, name: str, fabric: str) -> Value:
    """Return ``value`` a cycle later, from a register that synthesis does not share.

    Equal registers are merged into one, and then a signal that many places need crosses the chip
    from there. On the ECP5 a flip-flop that is placed by name is left alone.

    Parameters
    ----------
    m : Module
        Where the register goes.
    value : Value
        Taken bit by bit, so the result is unsigned.
    name : str
        Of the register.
    fabric : str
        ``"portable"`` for a plain register, ``"ecp5"`` for TRELLIS_FF.
    """
    copy = Signal(len(Value.cast(value)), name=name, reset_less=True)
    if fabric == "portable":
        m.d.sync += copy.eq(value)
        return copy
    for i, bit in enumerate(Value.cast(value)):
        m.submodules[f"{name}_{i}"] = Instance(
            "TRELLIS_FF",
            p_GSR="DISABLED", p_CEMUX="1", p_CLKMUX="CLK", p_LSRMUX="LSR", p_REGSET="RESET",
            i_CLK=ClockSignal(), i_LSR=0, i_CE=1, i_DI=bit, o_Q=copy[i],
        )  # fmt: skip
    return Cat(copy)
