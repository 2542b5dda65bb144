"""The cell of the ternary array, and its adder."""

from dataclasses import dataclass

from amaranth.hdl import Cat, Const, Instance, Module, Mux, Signal, Value, signed
from amaranth.lib.wiring import In, Out

from ..lib.component import Component
from ..systolic.pe import PeConfig, ws_members

__all__ = ["TernaryAdd", "TernaryAddConfig", "TernaryCell"]


@dataclass(frozen=True, kw_only=True)
class TernaryAddConfig:
    """Width of a `TernaryAdd`, and what it is made of: ``"portable"`` or ``"ecp5"``."""

    width: int
    fabric: str


class TernaryAdd(Component):
    """Sum ``old + weight * fresh`` of a weight of -1, 0 or 1, in one carry chain.

    Parameters
    ----------
    config : TernaryAddConfig
        See there.

    Members
    -------
    old, fresh : In(signed(width))
        Terms.
    weight : In(2)
        Lower bit: add. Upper bit: subtract, whatever the lower one.
    sum : Out(signed(width))
        Sum.

    Latency
        None, combinational.
    Throughput
        One sum a cycle.
    Numerics
        Wraps at ``width`` bits.
    Cost
        ECP5: ``width`` LUT4 in carry chain, the choice inside them. A carry cell's carry is what
        its LUT gives for C = D = 0 where the sum bit is 0: with C the activation and D subtracting,
        LUT4 = A ^ (D ? ~C : B & C) gives A there, the partial sum.
    Reference
        None.
    """

    old: Signal
    fresh: Signal
    weight: Signal
    sum: Signal

    def __init__(self, config: TernaryAddConfig):
        self._config = config
        shape = signed(config.width)
        super().__init__({"old": In(shape), "fresh": In(shape), "weight": In(2), "sum": Out(shape)})

    def elaborate(self, platform):
        m = Module()
        width = self._config.width
        adds, subtracts = self.weight[0], self.weight[1]
        if self._config.fabric == "portable":
            term = Mux(subtracts, ~self.fresh, Mux(adds, self.fresh, 0))
            # Twice the sum, so that the carry-in costs one bit of the same adder.
            twice = Cat(subtracts, self.old).as_signed() + Cat(subtracts, term).as_signed()
            m.d.comb += self.sum.eq(twice >> 1)
            return m
        table = Const(0xA56A, 16)
        carry: Value = subtracts
        for low in range(0, width, 2):
            after, unused = Signal(name=f"carry_{low + 2}"), Signal(name=f"unused_{low + 1}")
            odd = low + 1 < width
            m.submodules[f"bits_{low}"] = Instance(
                "CCU2C",
                p_INIT0=table, p_INIT1=table,
                p_INJECT1_0="NO", p_INJECT1_1="NO",
                i_CIN=carry, o_COUT=after,
                i_A0=self.old[low], i_B0=adds, i_C0=self.fresh[low], i_D0=subtracts,
                i_A1=self.old[low + 1] if odd else 0, i_B1=adds if odd else 0,
                i_C1=self.fresh[low + 1] if odd else 0, i_D1=subtracts if odd else 0,
                o_S0=self.sum[low], o_S1=self.sum[low + 1] if odd else unused,
            )  # fmt: skip
            carry = after
        return m


class TernaryCell(Component):
    """Weight-stationary cell: ``psums_next = psums + w * x`` with a held ``w`` of -1, 0 or 1.

    A second weight register is part of a chain down the column, as in `WsPe`.

    Parameters
    ----------
    config : PeConfig
        Operands and widths.

    Members
    -------
    x : In(x_shape)
        Activation.
    swap : In(1)
        From this activation on use the weight in the chain.
    shift : In(1)
        Move the chain.
    w : In(2)
        Chain.
    psums : In(psum_width)
        Partial sum, a cycle after ``x``; absent in the first row.
    x_next : Out(x_shape)
        Activation, a cycle later.
    swap_next, shift_next : Out(1)
        ``swap`` and ``shift``, a cycle later.
    w_next : Out(2)
        Chain.
    psums_next : Out(psum_width)
        Partial sum, a cycle later.

    Latency
        Two cycles from ``x`` to ``psums_next``.
    Throughput
        One activation a cycle.
    Numerics
        Exact, ``psum_width`` bits hold every sum of the rows so far.
    Reference
        None.
    """

    x: Signal
    swap: Signal
    shift: Signal
    w: Signal
    psums: Signal
    x_next: Signal
    swap_next: Signal
    shift_next: Signal
    w_next: Signal
    psums_next: Signal

    def __init__(self, config: PeConfig):
        self._config = config
        super().__init__(ws_members(config))

    def elaborate(self, platform):
        m = Module()
        config = self._config
        x = Signal.like(self.x, reset_less=True)
        chain = Signal(2, reset_less=True)
        weight = Signal(2, reset_less=True)
        swap = Signal(reset_less=True)
        shift = Signal(reset_less=True)
        psum = Signal(signed(config.psum_width), reset_less=True)
        m.d.sync += [x.eq(self.x), swap.eq(self.swap), shift.eq(self.shift)]
        with m.If(self.shift):
            m.d.sync += chain.eq(self.w)
        with m.If(self.swap):
            m.d.sync += weight.eq(chain)
        m.submodules.add = add = TernaryAdd(
            TernaryAddConfig(width=config.psum_width, fabric=config.product.fabric)
        )
        m.d.comb += [
            add.fresh.eq(x),
            add.weight.eq(weight),
            self.x_next.eq(x),
            self.swap_next.eq(swap),
            self.shift_next.eq(shift),
            self.w_next.eq(chain),
            self.psums_next.eq(psum),
        ]
        if not config.first:
            m.d.comb += add.old.eq(self.psums)
        m.d.sync += psum.eq(add.sum)
        return m
