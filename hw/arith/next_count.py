"""The next value of a counter that can be loaded, in one carry chain."""

from amaranth.hdl import Const, Instance, Module, Mux, Signal, Value
from amaranth.lib.wiring import In, Out

from ..lib.component import Component

__all__ = ["NextCount"]


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
        carry: Value = Const(0, 1)
        for low in range(0, width, 2):
            after, unused = Signal(name=f"carry_{low + 2}"), Signal(name=f"unused_{low + 1}")
            odd = low + 1 < width
            # LUT4 = A ? D : C, without a carry of its own.
            m.submodules[f"bits_{low}"] = Instance(
                "CCU2C",
                p_INIT0=Const(0xFA50 if low else 0xAF05, 16), p_INIT1=Const(0xFA50, 16),
                p_INJECT1_0="NO", p_INJECT1_1="NO",
                i_CIN=carry, o_COUT=after,
                i_A0=self.load, i_B0=0, i_C0=self.count[low], i_D0=self.loaded[low],
                i_A1=self.load, i_B1=0,
                i_C1=self.count[low + 1] if odd else 0, i_D1=self.loaded[low + 1] if odd else 0,
                o_S0=self.following[low], o_S1=self.following[low + 1] if odd else unused,
            )  # fmt: skip
            carry = after
        return m
