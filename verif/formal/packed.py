"""Proofs for arrays of cells that select: each cell's sum, and what reaches its lines.

Lines are proved at every place of an array and in every mode. The word-parallel cell is proved at
narrow widths, over runs that load it twice and more; its products have proofs of their own, see
`verif.formal.systolic`. The bit-serial cell is a multiplexer, which is proved at all sizes, in
front of a MAC that `verif.formal.serial` proves.
"""

from collections.abc import Iterator
from functools import partial

from amaranth.hdl import Array, Cat, Const, Module, Mux, Shape, Signal, unsigned
from amaranth.lib import data, wiring
from amaranth.lib.wiring import In, Out

from ...hw.arith.delay import registered
from ...hw.arith.product_config import ProductConfig
from ...hw.arith.select import selected
from ...hw.packed.cell import SelectCell, SelectCellConfig
from ...hw.packed.config import PackedConfig
from ...hw.packed.select_array import row_lines
from ...hw.packed.select_config import SelectConfig
from .systolic import Claim

__all__ = ["CellClaim", "LinesClaim", "SelectedClaim", "claims"]


class SelectedClaim(wiring.Component):
    """`selected` against shifting all values down; ``wrong`` where they differ."""

    values: Signal
    index: Signal
    wrong: Signal

    def __init__(self, count: int):
        self._count = count
        super().__init__({"values": In(2 * count), "index": In(4), "wrong": Out(1)})

    def elaborate(self, platform):
        m = Module()
        values = [self.values[2 * i : 2 * i + 2] for i in range(self._count)]
        last = self._count - 1
        place = Mux(self.index > last, last, self.index)
        expected = (self.values >> 2 * place)[:2]
        m.d.comb += self.wrong.eq(selected(m, values, self.index, "chosen") != expected)
        return m


class CellClaim(wiring.Component):
    """`SelectCell` against a product of what is selected; ``wrong`` where their sums differ.

    Assumed: it is not loaded again within four cycles.
    """

    x: Signal
    w: Signal
    load: Signal
    psums: Signal
    wrong: Signal

    def __init__(self, config: SelectCellConfig):
        self._config = config
        super().__init__(
            {
                "x": In(config.x_shape),
                "w": In(config.word_bits),
                "load": In(1),
                "psums": In(config.psum_width),
                "wrong": Out(1),
            }
        )

    def elaborate(self, platform):
        m = Module()
        config, product = self._config, self._config.product
        m.submodules.cell = cell = SelectCell(config)
        swap = Signal(reset_less=True)
        coming = Signal(config.word_bits, reset_less=True)
        held = Signal(config.word_bits, reset_less=True)
        x = Signal.like(self.x, reset_less=True)
        # An array leaves a cell some cycles to select before it loads it again.
        recent = Signal(4, reset_less=True)
        apart = Signal(reset_less=True)
        m.d.sync += [
            recent.eq(Cat(self.load, recent)),
            apart.eq(apart & ~(self.load & recent.any())),
            swap.eq(self.load),
            x.eq(self.x),
        ]
        with m.If(self.load):
            m.d.sync += coming.eq(self.w)
        with m.If(swap):
            m.d.sync += held.eq(coming)
        bits, last = product.x_bits, config.lines - 1
        lines = Array(x[bits * i : bits * (i + 1)] for i in range(config.lines))
        index = held[product.w_bits :]
        chosen, weight = Signal(product.x_shape), Signal(product.w_shape)
        total = Signal(config.psum_width, reset_less=True)
        m.d.comb += [
            chosen.eq(lines[Mux(index > last, last, index)] if last else lines[0]),
            weight.eq(held[: product.w_bits]),
            cell.x.eq(self.x),
            cell.w.eq(self.w),
            cell.shift.eq(self.load),
            cell.swap.eq(swap),
            self.wrong.eq(apart & (cell.psums_next != total)),
        ]
        then = registered(m, chosen * weight, product.latency + config.stages, "then")
        m.d.sync += total.eq(then if config.first else then + self.psums.as_signed())
        if not config.first:
            m.d.comb += cell.psums.eq(self.psums)
        return m


class LinesClaim(wiring.Component):
    """What `row_lines` gives each row against the channels of its group; ``wrong`` if it differs.

    The lines that a mode leaves unused may hold anything.
    """

    acts: Signal
    mode: Signal
    wrong: Signal

    def __init__(self, config: SelectConfig):
        self._config = config
        super().__init__(
            {
                "acts": In(unsigned(config.act_lanes * config.x_bits)),
                "mode": In(config.mode_bits),
                "wrong": Out(1),
            }
        )

    def elaborate(self, platform):
        m = Module()
        config = self._config
        lanes = data.ArrayLayout(Shape(config.x_bits), config.act_lanes)
        layout = data.StructLayout({"data": lanes, "mode": config.mode_bits})
        rows = row_lines(m, config, data.View(layout, Cat(self.acts, self.mode)))
        found = Const(0, 1)
        for code in range(1 << config.mode_bits):
            span, bits = config.span(code), config.x_bits
            for r, lines in enumerate(rows):
                group, first = divmod(r, config.share)
                reach = (span - config.share + 1) * bits
                begin = (group * span + first) * bits
                differs = lines[:reach] != self.acts[begin : begin + reach]
                found = found | ((self.mode == code) & differs)
        m.d.comb += self.wrong.eq(found)
        return m


def claims() -> Iterator[Claim]:
    """Yield what is claimed of column combining."""
    for count in range(1, 17):
        yield Claim(f"selected_{count}", partial(SelectedClaim, count), 0)
    for alpha in (1, 2, 3, 5, 8, 16):
        packed = PackedConfig(rows=3, cols=1, alpha=alpha, x_bits=2)
        yield Claim(f"lines_{alpha}", partial(LinesClaim, packed), 0)
    for lines, kind, fabric, first in (
        (1, "D", "portable", False),
        (3, "D", "portable", True),
        (3, "D", "ecp5", False),
        (4, "L", "ecp5", False),
        (6, "D", "ecp5", False),
    ):
        for is_signed in (False, True):
            product = ProductConfig(
                x_bits=3, x_signed=is_signed, w_bits=3, w_signed=True, latency=4, fabric=fabric
            )
            config = SelectCellConfig(
                kind=kind, product=product, psum_width=8, first=first, lines=lines
            )
            name = f"cell_{kind}{lines}_{fabric}_{'s' if is_signed else 'u'}"
            yield Claim(name, partial(CellClaim, config), product.latency + config.stages + 8)
