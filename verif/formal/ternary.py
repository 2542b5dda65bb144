"""Proofs for the ternary arrays: adder and cell, at every value."""

from collections.abc import Iterator
from functools import partial

from amaranth.hdl import Module, Mux, Signal, signed
from amaranth.lib import wiring
from amaranth.lib.wiring import In, Out

from ...hw.arith.product_config import ProductConfig
from ...hw.systolic.pe import PeConfig
from ...hw.ternary.cell import TernaryAdd, TernaryAddConfig, TernaryCell
from .systolic import Claim

__all__ = ["claims"]


class AddClaim(wiring.Component):
    """A `TernaryAdd` against subtraction, addition and nothing; ``wrong`` if the sum differs."""

    old: Signal
    fresh: Signal
    weight: Signal
    wrong: Signal

    def __init__(self, config: TernaryAddConfig):
        self._config = config
        shape = signed(config.width)
        super().__init__({"old": In(shape), "fresh": In(shape), "weight": In(2), "wrong": Out(1)})

    def elaborate(self, platform):
        m = Module()
        m.submodules.add = add = TernaryAdd(self._config)
        expected = Signal(signed(self._config.width))
        term = Mux(self.weight[1], -self.fresh, Mux(self.weight[0], self.fresh, 0))
        m.d.comb += [
            add.old.eq(self.old),
            add.fresh.eq(self.fresh),
            add.weight.eq(self.weight),
            expected.eq(self.old + term),
            self.wrong.eq(add.sum != expected),
        ]
        return m


class CellClaim(wiring.Component):
    """A cell against products; ``wrong`` if a sum differs after ``load`` brought a weight."""

    x: Signal
    w: Signal
    shift: Signal
    load: Signal
    psums: Signal
    wrong: Signal

    def __init__(self, config: PeConfig):
        self._config = config
        super().__init__({
            "x": In(config.x_shape), "w": In(2), "shift": In(1), "load": In(1),
            "psums": In(signed(config.psum_width)), "wrong": Out(1),
        })  # fmt: skip

    def elaborate(self, platform):
        m = Module()
        config = self._config
        m.submodules.cell = cell = TernaryCell(config)
        x = Signal(config.x_shape, reset_less=True)
        weight = Signal(signed(2), reset_less=True)
        expected = Signal(signed(config.psum_width), reset_less=True)
        product = Mux(weight < 0, -x, Mux(weight > 0, x, 0))
        swap = Signal(reset_less=True)
        m.d.sync += [x.eq(self.x), swap.eq(self.load)]
        with m.If(swap):
            m.d.sync += weight.eq(cell.w_next)
        m.d.sync += expected.eq((0 if config.first else self.psums) + product)
        m.d.comb += [
            cell.x.eq(self.x),
            cell.w.eq(self.w),
            cell.shift.eq(self.shift | self.load),
            cell.swap.eq(swap),
            self.wrong.eq(cell.psums_next.as_signed() != expected),
        ]
        if not config.first:
            m.d.comb += cell.psums.eq(self.psums)
        return m


def claims() -> Iterator[Claim]:
    """Yield what is claimed, from parts to wholes."""
    for fabric in ("portable", "ecp5"):
        for width in (1, 2, 9, 12):
            add = TernaryAddConfig(width=width, fabric=fabric)
            yield Claim(f"add_{fabric}_{width}", partial(AddClaim, add), 0)
        for first, is_signed in ((True, False), (False, True)):
            product = ProductConfig(
                x_bits=8, x_signed=is_signed, w_bits=2, w_signed=True, latency=1, fabric=fabric
            )
            cell = PeConfig(kind="L", product=product, psum_width=9 if first else 12, first=first)
            name = f"cell_{fabric}_{'first' if first else 'other'}"
            yield Claim(name, partial(CellClaim, cell), 3)
