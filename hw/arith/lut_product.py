"""A product from LUTs: gated pairs in carry chains, then a tree of adders."""

from amaranth.hdl import Cat, Module, Signal
from amaranth.lib.wiring import In, Out

from ..lib.component import Component
from .delay import registered
from .pair_row import PairRow, PairRowConfig
from .product_config import ProductConfig

__all__ = ["LutProduct"]


class LutProduct(Component):
    """Product ``x * w`` with a held ``w``, from LUTs.

    ``x`` is registered in every cycle and ``w`` where ``load`` is high; each two bits of ``w`` gate
    one carry chain (`PairRow`), and a tree adds the chains, a register after each step.

    Parameters
    ----------
    config : ProductConfig
        Latency at least ``2 + clog2(ceil(w_bits / 2))``.

    Members
    -------
    x : In(config.x_shape)
        Activation.
    w : In(config.w_shape)
        Weight.
    load : In(1)
        Take ``w`` for this product and those that follow.
    p : Out(config.p_shape)
        Product.

    Latency
        ``config.latency`` cycles.
    Throughput
        One product a cycle.
    Numerics
        Exact.
    Cost
        ECP5, 8 bits by 8: 72 LUT4 in carry chains.
    Reference
        None.
    """

    x: Signal
    w: Signal
    load: Signal
    p: Signal

    def __init__(self, config: ProductConfig):
        self._config = config
        super().__init__(
            {
                "x": In(config.x_shape),
                "w": In(config.w_shape),
                "load": In(1),
                "p": Out(config.p_shape),
            }
        )

    def elaborate(self, platform):
        m = Module()
        config = self._config
        x = Signal(config.x_shape, reset_less=True)
        w = Signal(config.w_shape, reset_less=True)
        m.d.sync += x.eq(self.x)
        with m.If(self.load):
            m.d.sync += w.eq(self.w)

        rows = []
        for low in range(0, config.w_bits, 2):
            top = low + 2 >= config.w_bits
            lone = low + 1 == config.w_bits
            digit = Cat(w[low], (w[low] if config.w_signed else 0) if lone else w[low + 1])
            row = PairRow(
                PairRowConfig(
                    x_bits=config.x_bits,
                    x_signed=config.x_signed,
                    negative=top and config.w_signed,
                    fabric=config.fabric,
                )
            )
            m.submodules[f"row_{low}"] = row
            m.d.comb += [row.x.eq(x), row.digit.eq(digit)]
            rows.append(registered(m, row.p, 1, f"term_{low}"))

        weight, used, level = 2, 2, 0
        while len(rows) > 1:
            sums = []
            for i in range(0, len(rows) - 1, 2):
                low, high = rows[i], rows[i + 1]
                rest = low[weight:].as_signed() if low.shape().signed else low[weight:]
                wide = Cat(low[:weight], rest + high)
                bits = min(len(high) + weight, config.p_shape.width)
                total = wide[:bits].as_signed() if high.shape().signed else wide[:bits]
                sums.append(registered(m, total, 1, f"sum_{level}_{i // 2}"))
            if len(rows) % 2:
                sums.append(registered(m, rows[-1], 1, f"sum_{level}_{len(rows) // 2}"))
            rows = sums
            weight, used, level = 2 * weight, used + 1, level + 1
        m.d.comb += self.p.eq(registered(m, rows[0], config.latency - used, "padded"))
        return m
