"""A sum of two numbers of which each may be complemented, or left out, in one carry chain."""

from dataclasses import dataclass

from amaranth.hdl import Const, Instance, Module, Signal, Value, signed
from amaranth.lib.wiring import In, Out

from ..lib.component import Component

__all__ = ["SignedPair", "SignedPairConfig"]


@dataclass(frozen=True, kw_only=True)
class SignedPairConfig:
    """Parameters of a `SignedPair`.

    Attributes
    ----------
    width : int
        Bits of each number.
    fabric : str
        ``"portable"`` or ``"ecp5"``.
    gates : bool
        ``not_a`` and ``not_b`` leave their number out instead of complementing it.
    """

    width: int
    fabric: str
    gates: bool = False


class SignedPair(Component):
    """Sum of two numbers, each complemented where it counts as negative, or left out.

    A complement is one less than the negative, which is left to be made up for elsewhere.

    Parameters
    ----------
    config : SignedPairConfig
        See there.

    Members
    -------
    a, b : In(signed(width)), In(signed(width))
        The numbers.
    not_a, not_b : In(1), In(1)
        Which of them to complement, or to leave out.
    sum : Out(signed(width + 1))
        Sum.

    Latency
        None, combinational.
    Throughput
        One sum a cycle.
    Numerics
        Exact.
    Cost
        ECP5: ``width + 1`` LUT4 in carry chain, the complements inside them: LUT4 = A ^ B ^ C ^ D,
        and a cell's carry is A ^ B where its sum bit is 0; likewise (A & ~B) ^ (C & ~D), A & ~B.
    Reference
        None.
    """

    a: Signal
    b: Signal
    not_a: Signal
    not_b: Signal
    sum: Signal

    def __init__(self, config: SignedPairConfig):
        self._config = config
        number = signed(config.width)
        super().__init__(
            {
                "a": In(number),
                "b": In(number),
                "not_a": In(1),
                "not_b": In(1),
                "sum": Out(signed(config.width + 1)),
            }
        )

    def elaborate(self, platform):
        m = Module()
        width = self._config.width + 1
        a = Signal(signed(width))
        b = Signal(signed(width))
        m.d.comb += [a.eq(self.a), b.eq(self.b)]
        if self._config.fabric == "portable":
            flip_a, flip_b = self.not_a.replicate(width), self.not_b.replicate(width)
            if self._config.gates:
                m.d.comb += self.sum.eq((a & ~flip_a).as_signed() + (b & ~flip_b).as_signed())
            else:
                m.d.comb += self.sum.eq((a ^ flip_a) + (b ^ flip_b))
            return m
        table = Const(0x22D2 if self._config.gates else 0x6996, 16)
        carry: Value = Const(0, 1)
        for low in range(0, width, 2):
            after, unused = Signal(name=f"carry_{low + 2}"), Signal(name=f"unused_{low + 1}")
            odd = low + 1 < width
            m.submodules[f"bits_{low}"] = Instance(
                "CCU2C",
                p_INIT0=table, p_INIT1=table,
                p_INJECT1_0="NO", p_INJECT1_1="NO",
                i_CIN=carry, o_COUT=after,
                i_A0=a[low], i_B0=self.not_a, i_C0=b[low], i_D0=self.not_b,
                i_A1=a[low + 1] if odd else 0, i_B1=self.not_a if odd else 0,
                i_C1=b[low + 1] if odd else 0, i_D1=self.not_b if odd else 0,
                o_S0=self.sum[low], o_S1=self.sum[low + 1] if odd else unused,
            )  # fmt: skip
            carry = after
        return m
