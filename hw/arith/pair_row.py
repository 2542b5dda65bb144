"""A gated pair of partial products in one carry chain."""

from dataclasses import dataclass

from amaranth.hdl import Cat, Const, Instance, Module, Mux, Shape, Signal, Value
from amaranth.lib.wiring import In, Out

from ..lib.component import Component

__all__ = ["PairRow", "PairRowConfig"]


@dataclass(frozen=True, kw_only=True)
class PairRowConfig:
    """Parameters of a `PairRow`.

    Attributes
    ----------
    x_bits, x_signed : int, bool
        The multiplicand.
    negative : bool
        The upper bit of the digit is a sign, worth -2.
    fabric : str
        ``"portable"`` or ``"ecp5"``.
    """

    x_bits: int
    x_signed: bool
    negative: bool
    fabric: str

    @property
    def shape(self) -> Shape:
        """Shape of the result."""
        return Shape(self.x_bits + 2, self.x_signed or self.negative)


class PairRow(Component):
    """Product of a number and a digit of two bits: ``x * (digit[0] + 2 * digit[1])``.

    Where the digit is the uppermost of a signed number it is ``x * (digit[0] - 2 * digit[1])``.

    Parameters
    ----------
    config : PairRowConfig
        See there.

    Members
    -------
    x : In(Shape(x_bits, x_signed))
        Multiplicand.
    digit : In(2)
        Multiplier.
    p : Out(config.shape)
        Product.

    Latency
        None, combinational.
    Throughput
        One product a cycle.
    Numerics
        Exact.
    Cost
        ECP5: ``x_bits + 2`` LUT4 in carry chain. One CCU2C adds two bits, both ANDs inside its
        LUT4s. A cell's carry comes from inputs A and B alone where its sum bit is 0, so that the
        term that may be inverted has to be the one on A and B; its carry-in is 1.
    Reference
        None.
    """

    x: Signal
    digit: Signal
    p: Signal

    def __init__(self, config: PairRowConfig):
        self._config = config
        super().__init__(
            {
                "x": In(Shape(config.x_bits, config.x_signed)),
                "digit": In(2),
                "p": Out(config.shape),
            }
        )

    def elaborate(self, platform):
        m = Module()
        if self._config.fabric == "ecp5":
            self._elaborate_chain(m)
            return m
        low, high = Mux(self.digit[0], self.x, 0), Mux(self.digit[1], self.x << 1, 0)
        m.d.comb += self.p.eq(low - high if self._config.negative else low + high)
        return m

    def _elaborate_chain(self, m: Module) -> None:
        """One CCU2C per two bits: LUT4 = (A & B) ^ (C & D), inverted where A & B is negated."""
        config = self._config
        width = config.x_bits + 2
        sign = self.x[-1] if config.x_signed else Const(0, 1)
        ones = Cat(self.x, sign, sign)
        twos = Cat(Const(0, 1), self.x, sign)
        table = 0x8777 if config.negative else 0x7888
        carry: Value = Const(config.negative, 1)
        for low in range(0, width, 2):
            after, unused = Signal(name=f"carry_{low + 2}"), Signal(name=f"unused_{low + 1}")
            odd = low + 1 < width
            m.submodules[f"bits_{low}"] = Instance(
                "CCU2C",
                p_INIT0=Const(table, 16), p_INIT1=Const(table, 16),
                p_INJECT1_0="NO", p_INJECT1_1="NO",
                i_CIN=carry, o_COUT=after,
                i_A0=twos[low], i_B0=self.digit[1], i_C0=ones[low], i_D0=self.digit[0],
                i_A1=twos[low + 1] if odd else 0, i_B1=self.digit[1] if odd else 0,
                i_C1=ones[low + 1] if odd else 0, i_D1=self.digit[0] if odd else 0,
                o_S0=self.p[low], o_S1=self.p[low + 1] if odd else unused,
            )  # fmt: skip
            carry = after
