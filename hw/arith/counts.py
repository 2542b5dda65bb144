"""The next value of a counter that can be loaded, in one carry chain."""

from amaranth.hdl import Const, Instance, Module, Mux, Signal, Value
from amaranth.lib.wiring import In, Out

from ..lib.component import Component

__all__ = ["NextCount", "PreviousCount"]


class NextCount(Component):
    """Computes ``loaded if load else count + 1``.

    Parameters
    ----------
    width : int
        Bits of the counter.
    fabric : str
        ``"portable"`` or ``"ecp5"``.

    Members
    -------
    count : In(width)
        Value of the counter.
    loaded : In(width)
        Value to load.
    load : In(1)
        Chooses ``loaded``.
    following : Out(width)
        Next value of the counter.

    Latency
        None, combinational.
    Numerics
        Wraps at ``width`` bits.
    Cost
        ECP5: ``width`` LUT4 in carry chain, the choice inside them. Bit 0 makes the carry by
        itself: its LUT4 is the inverted count, and its carry, where the LUT4 is 0, is ``~load``.
    """

    count: Signal
    loaded: Signal
    load: Signal
    following: Signal

    def __init__(self, width: int, fabric: str):
        self._fabric = fabric
        super().__init__(
            {
                "count": In(width),
                "loaded": In(width),
                "load": In(1),
                "following": Out(width),
            }
        )

    def elaborate(self, platform):
        m = Module()
        width = len(self.count)
        if self._fabric == "portable":
            m.d.comb += self.following.eq(Mux(self.load, self.loaded, self.count + 1))
            return m
        # LUT4 = A ? D : C, without a carry of its own; bit 0 with ~C.
        _chain(m, self, [_INVERTED] + [_PLAIN] * width)
        return m


class PreviousCount(Component):
    """Computes ``loaded if load else count - 1``.

    Parameters
    ----------
    width : int
        Bits of the counter.
    fabric : str
        ``"portable"`` or ``"ecp5"``.

    Members
    -------
    count : In(width)
        Value of the counter.
    loaded : In(width)
        Value to load.
    load : In(1)
        Chooses ``loaded``.
    following : Out(width)
        Next value of the counter.

    Latency
        None, combinational.
    Numerics
        Wraps at ``width`` bits.
    Cost
        ECP5: ``width`` LUT4 in carry chain, the choice inside them: all ones are added, so each bit
        is inverted and carries where it is one, unless ``load``.
    """

    count: Signal
    loaded: Signal
    load: Signal
    following: Signal

    def __init__(self, width: int, fabric: str):
        self._fabric = fabric
        super().__init__(
            {
                "count": In(width),
                "loaded": In(width),
                "load": In(1),
                "following": Out(width),
            }
        )

    def elaborate(self, platform):
        m = Module()
        if self._fabric == "portable":
            m.d.comb += self.following.eq(Mux(self.load, self.loaded, self.count - 1))
            return m
        _chain(m, self, [_INVERTED] * len(self.count))
        return m


_PLAIN = 0xFA50
"""LUT4 = A ? D : C; where it is 0, no carry leaves."""
_INVERTED = 0xAF05
"""LUT4 = A ? D : ~C; where it is 0, ~A is carried."""


def _chain(m: Module, counter: NextCount | PreviousCount, tables: list[int]) -> None:
    """Build a chain of carry cells, A ``load``, C the count and D what is loaded."""
    carry: Value = Const(0, 1)
    width = len(counter.count)
    for low in range(0, width, 2):
        after = Signal(name=f"carry_{low + 2}")
        unused = Signal(name=f"unused_{low + 1}")
        odd = low + 1 < width
        m.submodules[f"bits_{low}"] = Instance(
            "CCU2C",
            p_INIT0=Const(tables[low], 16), p_INIT1=Const(tables[low + 1] if odd else _PLAIN, 16),
            p_INJECT1_0="NO", p_INJECT1_1="NO",
            i_CIN=carry, o_COUT=after,
            i_A0=counter.load, i_B0=0, i_C0=counter.count[low], i_D0=counter.loaded[low],
            i_A1=counter.load, i_B1=0,
            i_C1=counter.count[low + 1] if odd else 0,
            i_D1=counter.loaded[low + 1] if odd else 0,
            o_S0=counter.following[low], o_S1=counter.following[low + 1] if odd else unused,
        )  # fmt: skip
        carry = after
