"""An adder that can forget one of its terms, in one carry chain."""

from dataclasses import dataclass

from amaranth.hdl import Const, Instance, Module, Mux, Signal, Value, signed
from amaranth.lib.wiring import In, Out

from ..lib.component import Component

__all__ = ["GatedAdd", "GatedAddConfig"]


@dataclass(frozen=True, kw_only=True)
class GatedAddConfig:
    """Parameters of a `GatedAdd`.

    Attributes
    ----------
    width : int
        Bits of the sum.
    carries : bool
        Whether there is a carry-in; without, the port is ignored.
    fabric : str
        ``"portable"`` or ``"ecp5"``.
    subtracts : bool
        The carry-in subtracts the new number instead.
    """

    width: int
    carries: bool
    fabric: str
    subtracts: bool = False


class GatedAdd(Component):
    """Sum ``fresh + carry + (0 if clear else old)``, the step of an accumulator.

    Or, where it subtracts, ``(-fresh if carry else fresh) + (0 if clear else old)``.

    Parameters
    ----------
    config : GatedAddConfig
        See there.

    Members
    -------
    fresh : In(signed(width))
        Always added.
    old : In(signed(width))
        Added unless ``clear``.
    clear : In(1)
        Starts a new sum.
    carry : In(1)
        Added, or subtracting, where the configuration says so.
    sum : Out(signed(width))
        Sum.

    Latency
        None, combinational.
    Throughput
        One sum a cycle.
    Numerics
        Wraps at ``width`` bits.
    Cost
        ECP5: ``width`` LUT4 in carry chain, the gate inside them: LUT4 = A ^ (C & ~D), and a cell's
        carry is A where its sum bit is 0; with A ^ B for A where it subtracts, B the carry-in.
    Reference
        None.
    """

    fresh: Signal
    old: Signal
    clear: Signal
    carry: Signal
    sum: Signal

    def __init__(self, config: GatedAddConfig):
        self._config = config
        shape = signed(config.width)
        super().__init__(
            {
                "fresh": In(shape),
                "old": In(shape),
                "clear": In(1),
                "carry": In(1),
                "sum": Out(shape),
            }
        )

    def elaborate(self, platform):
        m = Module()
        config = self._config
        carry: Value = self.carry if config.carries else Const(0, 1)
        flip: Value = self.carry if config.subtracts else Const(0, 1)
        if config.fabric == "portable":
            fresh = self.fresh ^ flip.replicate(config.width) if config.subtracts else self.fresh
            m.d.comb += self.sum.eq(fresh + Mux(self.clear, 0, self.old) + carry)
            return m
        table = Const(0x6696 if config.subtracts else 0xAA5A, 16)
        for low in range(0, config.width, 2):
            after, unused = Signal(name=f"carry_{low + 2}"), Signal(name=f"unused_{low + 1}")
            odd = low + 1 < config.width
            m.submodules[f"bits_{low}"] = Instance(
                "CCU2C",
                p_INIT0=table, p_INIT1=table,
                p_INJECT1_0="NO", p_INJECT1_1="NO",
                i_CIN=carry, o_COUT=after,
                i_A0=self.fresh[low], i_B0=flip, i_C0=self.old[low], i_D0=self.clear,
                i_A1=self.fresh[low + 1] if odd else 0, i_B1=flip if odd else 0,
                i_C1=self.old[low + 1] if odd else 0, i_D1=self.clear if odd else 0,
                o_S0=self.sum[low], o_S1=self.sum[low + 1] if odd else unused,
            )  # fmt: skip
            carry = after
        return m
