"""The processing elements of both dataflows."""

from dataclasses import dataclass
from typing import Protocol

from amaranth.hdl import Cat, Const, Module, Shape, Signal, Value, signed
from amaranth.lib import wiring
from amaranth.lib.wiring import In, Out

from ..arith.dsp_product import DspPair, DspProduct
from ..arith.gated_add import GatedAdd, GatedAddConfig
from ..arith.lut_product import LutProduct
from ..arith.product_config import ProductConfig
from ..lib.component import Component

__all__ = ["OsPe", "PeConfig", "WsPe", "os_members", "ws_members"]


@dataclass(frozen=True, kw_only=True)
class PeConfig:
    """Parameters of a PE.

    Attributes
    ----------
    kind : str
        ``"D"`` and ``"L"``: one column, product from a DSP or from LUTs; ``"DD"``: two columns that
        share a DSP.
    product : ProductConfig
        Operands, latency and fabric.
    psum_width : int
        Bits of the partial sums or of the accumulators.
    first : bool
        There are no partial sums to add to (first row of a weight-stationary array).
    """

    kind: str
    product: ProductConfig
    psum_width: int
    first: bool = False

    @property
    def columns(self) -> int:
        """Columns of the array that the PE serves."""
        return len(self.kind)

    @property
    def x_shape(self) -> Shape:
        """Shape of what the PE takes of the activations, and passes on."""
        return self.product.x_shape

    @property
    def word_bits(self) -> int:
        """Bits of its weights on their way."""
        return self.product.w_bits if self.columns == 1 else 2 * self.product.w_bits + 1

    @property
    def sums_bits(self) -> int:
        """Bits of the sums of all its columns."""
        return self.psum_width * self.columns


class Sizes(Protocol):
    """Widths of a cell, or of several side by side."""

    @property
    def x_shape(self) -> Shape: ...

    @property
    def word_bits(self) -> int: ...

    @property
    def sums_bits(self) -> int: ...

    @property
    def first(self) -> bool: ...


def ws_members(sizes: Sizes) -> dict[str, wiring.Member]:
    """Return the members of a weight-stationary cell, which `WsPe` explains."""
    members = {
        "x": In(sizes.x_shape),
        "swap": In(1),
        "shift": In(1),
        "w": In(sizes.word_bits),
        "x_next": Out(sizes.x_shape),
        "swap_next": Out(1),
        "shift_next": Out(1),
        "w_next": Out(sizes.word_bits),
        "psums_next": Out(sizes.sums_bits),
    }
    return members if sizes.first else members | {"psums": In(sizes.sums_bits)}


def os_members(sizes: Sizes) -> dict[str, wiring.Member]:
    """Return the members of an output-stationary cell, which `OsPe` explains."""
    return {
        "x": In(sizes.x_shape),
        "clear": In(1),
        "w": In(sizes.word_bits),
        "x_next": Out(sizes.x_shape),
        "clear_next": Out(1),
        "w_next": Out(sizes.word_bits),
        "sums": Out(sizes.sums_bits),
    }


def _products(
    m: Module, config: PeConfig, x: Value, w: Value, load: Value
) -> list[tuple[Value, Value | None]]:
    """Add the multiplier; return product and carry of each column."""
    kinds: dict[str, type[DspProduct | LutProduct | DspPair]] = {
        "D": DspProduct, "L": LutProduct, "DD": DspPair,
    }  # fmt: skip
    product = kinds[config.kind](config.product)
    m.submodules.product = product
    m.d.comb += [product.x.eq(x), product.w.eq(w), product.load.eq(load)]
    if isinstance(product, DspPair):
        carry = product.carry if config.product.p_shape.signed else None
        return [(product.p0, None), (product.p1, carry)]
    return [(product.p, None)]


class WsPe(Component):
    """Weight-stationary PE: ``psums_out = psums_in + x * w`` with a held ``w``.

    A second weight register is part of a chain down the column, which moves where ``shift`` is
    high; the weight in it comes into use with the activation that ``swap`` travels with.

    Parameters
    ----------
    config : PeConfig
        See there.

    Members
    -------
    x : In(Shape(x_bits, x_signed))
        Activation.
    swap : In(1)
        From this activation on use the weight in the chain.
    shift : In(1)
        Move the chain.
    w : In(word_bits)
        Chain.
    psums : In(sums_bits)
        Partial sums, ``product.latency`` cycles after ``x``; absent in the first row.
    x_next : Out(Shape(x_bits, x_signed))
        Activation, a cycle later.
    swap_next : Out(1)
        ``swap``, a cycle later.
    shift_next : Out(1)
        ``shift``, a cycle later.
    w_next : Out(word_bits)
        Chain.
    psums_next : Out(sums_bits)
        Partial sums, a cycle later.

    Latency
        ``product.latency`` + 1 cycles from ``x`` to ``psums_next``.
    Throughput
        One product per column a cycle.
    Numerics
        Exact, ``psum_width`` bits hold every sum of the rows so far.
    Reference
        Jouppi et al., In-Datacenter Performance Analysis of a Tensor Processing Unit, ISCA 2017.
    """

    x: Signal
    swap: Signal
    shift: Signal
    w: Signal
    x_next: Signal
    swap_next: Signal
    shift_next: Signal
    w_next: Signal
    psums_next: Signal
    psums: Signal

    def __init__(self, config: PeConfig):
        self._config = config
        super().__init__(ws_members(config))

    def elaborate(self, platform):
        m = Module()
        x = Signal.like(self.x, reset_less=True)
        w = Signal.like(self.w, reset_less=True)
        swap = Signal(reset_less=True)
        shift = Signal(reset_less=True)
        m.d.sync += [x.eq(self.x), swap.eq(self.swap), shift.eq(self.shift)]
        with m.If(self.shift):
            m.d.sync += w.eq(self.w)
        m.d.comb += [
            self.x_next.eq(x),
            self.swap_next.eq(swap),
            self.shift_next.eq(shift),
            self.w_next.eq(w),
        ]
        config = self._config
        for i, (product, carry) in enumerate(_products(m, config, *self._operands(m, x, w, swap))):
            bits = slice(i * config.psum_width, (i + 1) * config.psum_width)
            psum = None if config.first else self.psums[bits].as_signed()
            total = Signal(config.psum_width, name=f"psum_{i}", reset_less=True)
            m.d.sync += total.eq(_add(psum, product, carry))
            m.d.comb += self.psums_next[bits].eq(total)
        return m

    def _operands(self, m: Module, x: Value, w: Value, swap: Value) -> tuple[Value, Value, Value]:
        """Return what is multiplied, and where the weight is taken, given what is passed on."""
        return self.x, w, self.swap


def _add(psum: Value | None, product: Value, carry: Value | None) -> Value:
    """Return the sum with a carry-in that costs one bit of the same adder."""
    if psum is None:
        return product if carry is None else product + carry
    if carry is None:
        return psum + product
    return (Cat(carry, psum).as_signed() + Cat(Const(1, 1), product).as_signed()) >> 1


class OsPe(Component):
    """Output-stationary PE: ``sums = (0 if clear else sums) + x * w``.

    Parameters
    ----------
    config : PeConfig
        See there.

    Members
    -------
    x : In(Shape(x_bits, x_signed))
        Activation.
    clear : In(1)
        Starts a sum; comes with the activation's product, ``product.latency`` cycles after ``x``.
    w : In(word_bits)
        Weight.
    x_next : Out(Shape(x_bits, x_signed))
        Activation, a cycle later.
    clear_next : Out(1)
        ``clear``, a cycle later.
    w_next : Out(word_bits)
        Weight, a cycle later.
    sums : Out(sums_bits)
        Accumulators.

    Latency
        ``product.latency`` + 1 cycles from ``x`` to ``sums``.
    Throughput
        One product per column a cycle.
    Numerics
        Exact for sums of up to ``k_max`` products.
    Reference
        None.
    """

    x: Signal
    clear: Signal
    w: Signal
    x_next: Signal
    clear_next: Signal
    w_next: Signal
    sums: Signal

    def __init__(self, config: PeConfig):
        self._config = config
        super().__init__(os_members(config))

    def elaborate(self, platform):
        m = Module()
        x = Signal.like(self.x, reset_less=True)
        w = Signal.like(self.w, reset_less=True)
        clear = Signal(reset_less=True)
        m.d.sync += [x.eq(self.x), w.eq(self.w), clear.eq(self.clear)]
        m.d.comb += [self.x_next.eq(x), self.w_next.eq(w), self.clear_next.eq(clear)]
        config = self._config
        for i, (product, carry) in enumerate(_products(m, config, self.x, self.w, Const(1, 1))):
            bits = slice(i * config.psum_width, (i + 1) * config.psum_width)
            total = Signal(signed(config.psum_width), name=f"sum_{i}", reset_less=True)
            m.submodules[f"add_{i}"] = add = GatedAdd(
                GatedAddConfig(
                    width=config.psum_width,
                    carries=carry is not None,
                    fabric=config.product.fabric,
                )
            )
            m.d.comb += [
                add.fresh.eq(product),
                add.old.eq(total),
                add.clear.eq(self.clear),
                add.carry.eq(carry if carry is not None else 0),
                self.sums[bits].eq(total),
            ]
            m.d.sync += total.eq(add.sum)
        return m
