"""Processing elements of the systolic arrays against their definition, and that no sum overflows.

A sum of ``row`` products lies between ``row`` times the least product and ``row`` times the
greatest. If what enters a weight-stationary PE lies there, then what leaves it is exact and lies
there for one row more: so, row by row, no partial sum of the array overflows.
"""

from amaranth.hdl import Cat, Module, Mux, Signal, Value, signed
from amaranth.lib import wiring
from amaranth.lib.wiring import In, Out

from ...hw.arith.delay import registered
from ...hw.arith.dsp_product import pair_word
from ...hw.arith.product_config import ProductConfig
from ...hw.engine.config import sum_width
from ...hw.systolic.pe import OsPe, PeConfig, WsPe
from .statements import Assert, Assume, Cover

__all__ = ["OsPeClaim", "OsSumSpec", "WsPeClaim", "pe_config", "product_range", "within"]


def product_range(config: ProductConfig) -> tuple[int, int]:
    """Return the least and the greatest product."""

    def ends(bits: int, is_signed: bool) -> tuple[int, int]:
        return (-(1 << bits - 1), (1 << bits - 1) - 1) if is_signed else (0, (1 << bits) - 1)

    x, w = ends(config.x_bits, config.x_signed), ends(config.w_bits, config.w_signed)
    products = [a * b for a in x for b in w]
    return min(products), max(products)


def within(value: Value, config: ProductConfig, count: Value | int) -> Value:
    """Return whether ``value`` can be a sum of ``count`` products."""
    low, high = product_range(config)
    return (value >= low * count) & (value <= high * count)


def pe_config(
    kind: str, fabric: str, bits: int, signs: tuple[bool, bool], products: int, latency: int = 4
) -> PeConfig:
    """Return a PE whose sums have as many bits as ``products`` products need."""
    product = ProductConfig(
        x_bits=bits,
        x_signed=signs[0],
        w_bits=bits,
        w_signed=signs[1],
        latency=latency,
        fabric=fabric,
    )
    width = sum_width(bits, signs[0], bits, signs[1], products)
    return PeConfig(kind=kind, product=product, psum_width=width)


def _word(config: PeConfig, w0: Value, w1: Value) -> Value:
    return w0 if config.columns == 1 else pair_word(w0, w1)


class WsPeClaim(wiring.Component):
    """`WsPe` of a row of the array against ``psum + x * w``; ``wrong`` where they differ.

    What enters may be anything, and then what leaves is right modulo its width; where it is a sum
    that the rows above can give, what leaves is exact.

    Parameters
    ----------
    config : PeConfig
        The PE's.
    row : int
        Rows above it.
    """

    x: Signal
    w0: Signal
    w1: Signal
    psums: Signal
    shift: Signal
    swap: Signal
    load: Signal
    wrong: Signal

    def __init__(self, config: PeConfig, row: int):
        self._config, self._row = config, row
        product = config.product
        super().__init__(
            {
                "x": In(product.x_shape),
                "w0": In(product.w_shape),
                "w1": In(product.w_shape),
                "psums": In(config.sums_bits),
                "shift": In(1),
                "swap": In(1),
                "load": In(1),
                "wrong": Out(1),
            }  # fmt: skip
        )

    def elaborate(self, platform):
        m = Module()
        config, product = self._config, self._config.product
        m.submodules.pe = pe = WsPe(config)
        shift, swap = Signal(), Signal()
        loaded = registered(m, self.load, 1, "loaded")
        m.d.comb += [
            shift.eq(self.shift | self.load),
            swap.eq(self.swap | loaded),
            pe.x.eq(self.x),
            pe.shift.eq(shift),
            pe.swap.eq(swap),
            pe.w.eq(_word(config, self.w0, self.w1)),
            pe.psums.eq(self.psums),
        ]
        x = registered(m, self.x, product.latency, "x_then")
        wrong = [pe.x_next != registered(m, self.x, 1, "x_later")]
        wrong += [
            there != registered(m, here, 1, f"{name}_later")
            for name, here, there in (("swap", swap, pe.swap_next), ("shift", shift, pe.shift_next))
        ]
        chains = []
        for i, w in enumerate((self.w0, self.w1)[: config.columns]):
            chain = Signal(product.w_shape, name=f"chain_{i}", reset_less=True)
            held = Signal(product.w_shape, name=f"held_{i}", reset_less=True)
            with m.If(shift):
                m.d.sync += chain.eq(w)
            with m.If(swap):
                m.d.sync += held.eq(chain)
            chains.append(chain)
            then = registered(m, held, product.latency - 1, f"w{i}_then")
            bits = slice(i * config.psum_width, (i + 1) * config.psum_width)
            psum = self.psums[bits].as_signed()
            exact = registered(m, psum + x * then, 1, f"exact_{i}")
            possible = registered(m, within(psum, product, self._row), 1, f"possible_{i}")
            found = pe.psums_next[bits]
            wrong.append(found != exact[: config.psum_width])
            wrong.append(possible & (found.as_signed() != exact))
        wrong.append(pe.w_next != _word(config, chains[0], chains[-1])[: config.word_bits])
        m.d.comb += self.wrong.eq(Cat(wrong).any())
        return m


class OsPeClaim(wiring.Component):
    """`OsPe` against ``sum + x * w``, modulo its width; ``wrong`` where they differ.

    Parameters
    ----------
    config : PeConfig
        The PE's.
    """

    x: Signal
    w0: Signal
    w1: Signal
    clear: Signal
    load: Signal
    wrong: Signal

    def __init__(self, config: PeConfig):
        self._config = config
        product = config.product
        super().__init__(
            {
                "x": In(product.x_shape),
                "w0": In(product.w_shape),
                "w1": In(product.w_shape),
                "clear": In(1),
                "load": In(1),
                "wrong": Out(1),
            }  # fmt: skip
        )

    def elaborate(self, platform):
        m = Module()
        config, latency = self._config, self._config.product.latency
        m.submodules.pe = pe = OsPe(config)
        clear = Signal()
        # The sums of the start are unknown until the first is cleared.
        m.d.comb += [
            clear.eq(self.clear | registered(m, self.load, latency, "started")),
            pe.x.eq(self.x),
            pe.w.eq(_word(config, self.w0, self.w1)),
            pe.clear.eq(clear),
        ]
        wrong = []
        for i, w in enumerate((self.w0, self.w1)[: config.columns]):
            product = registered(m, self.x * w, latency, f"product_{i}")
            total = Signal(config.psum_width, name=f"total_{i}", reset_less=True)
            m.d.sync += total.eq(Mux(clear, 0, total) + product)
            bits = slice(i * config.psum_width, (i + 1) * config.psum_width)
            wrong.append(pe.sums[bits] != total)
        wrong += [
            there != registered(m, here, 1, f"{name}_later")
            for name, here, there in (
                ("x", self.x, pe.x_next),
                ("w", pe.w, pe.w_next),
                ("clear", clear, pe.clear_next),
            )
        ]
        m.d.comb += self.wrong.eq(Cat(wrong).any())
        return m


class OsSumSpec(wiring.Component):
    """No sum of an `OsPe` overflows, however many sums there were before. By induction.

    Assumed: a sum starts again after at most ``products`` products.

    Parameters
    ----------
    config : PeConfig
        The PE's, of one column.
    products : int
        Products that its sums are made for.

    Members
    -------
    x : In(Shape(x_bits, x_signed))
        Anything.
    w : In(Shape(w_bits, w_signed))
        Anything.
    clear : In(1)
        Whether a sum starts with the product that arrives now.
    """

    x: Signal
    w: Signal
    clear: Signal

    def __init__(self, config: PeConfig, products: int):
        self._config, self._products = config, products
        product = config.product
        super().__init__({"x": In(product.x_shape), "w": In(product.w_shape), "clear": In(1)})

    def elaborate(self, platform):
        m = Module()
        config, product, most = self._config, self._config.product, self._products
        m.submodules.pe = pe = OsPe(config)
        count = Signal(range(most + 1), reset_less=True)
        exact = Signal(signed(config.psum_width + 4), reset_less=True)
        m.d.comb += [pe.x.eq(self.x), pe.w.eq(self.w), pe.clear.eq(self.clear)]
        # Registers start at zero, and the products of zeros are part of the first sum.
        found = registered(m, self.x * self.w, product.latency, "product")
        m.d.comb += Assume(self.clear | (count < most))
        m.d.sync += [
            count.eq(Mux(self.clear, 1, count + 1)),
            exact.eq(Mux(self.clear, 0, exact) + found),
        ]
        m.d.comb += [
            Assert(count <= most),
            Assert(within(exact, product, count)),
            Assert(pe.sums.as_signed() == exact),
            Cover((count == most) & (exact == product_range(product)[1] * most)),
        ]
        return m
