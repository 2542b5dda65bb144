"""Products from DSP blocks: one a multiplier, and two that share one."""

from amaranth.hdl import Cat, ClockSignal, Const, Instance, Module, Shape, Signal, Value
from amaranth.lib.wiring import In, Out

from ..lib.component import Component
from .delay import registered
from .product_config import ProductConfig

__all__ = ["DSP_LATENCY", "DspPair", "DspProduct", "multiply_ecp5", "pair_word"]

DSP_LATENCY = 3
"""The registers inside a DSP: operands, partial products, product."""


def _multiply(m: Module, x: Value, w: Value, load: Value, config: ProductConfig) -> Value:
    """Return ``x * w`` after `DSP_LATENCY` registers, ``w`` taken where ``load`` is high."""
    shape = Shape(len(x) + len(w), x.shape().signed or w.shape().signed)
    product = Signal(shape, reset_less=True)
    if config.fabric == "ecp5":
        multiply_ecp5(m, x, w, load, product)
        return product
    x_held = Signal(x.shape(), reset_less=True)
    w_held = Signal(w.shape(), reset_less=True)
    partial = Signal(shape, reset_less=True)
    m.d.sync += [x_held.eq(x), partial.eq(x_held * w_held), product.eq(partial)]
    with m.If(load):
        m.d.sync += w_held.eq(w)
    return product


def multiply_ecp5(
    m: Module,
    x: Value,
    w: Value,
    load: Value,
    product: Signal,
    *,
    enable: Value | int = 1,
    name: str = "dsp",
) -> None:
    """Place one MULT18X18D, operands and product at the upper end of its ports.

    ``enable`` is the clock enable of all its registers but that of ``w``, which has ``load``.
    """
    everything = Signal(36)
    a, b = Cat(Const(0, 18 - len(x)), x), Cat(Const(0, 18 - len(w)), w)
    ports: dict[str, Value | int] = {f"i_A{i}": a[i] for i in range(18)}
    ports |= {f"i_B{i}": b[i] for i in range(18)}
    ports |= {f"o_P{i}": everything[i] for i in range(36)}
    ports |= {f"i_{name}{i}": 0 for name in ("CLK", "CE", "RST") for i in range(4)}
    ports |= {"i_CLK0": ClockSignal(), "i_CE0": enable, "i_CE1": load}
    ports |= {"i_SOURCEA": 0, "i_SOURCEB": 0}
    m.submodules[name] = Instance(
        "MULT18X18D",
        p_REG_INPUTA_CLK="CLK0", p_REG_INPUTA_CE="CE0", p_REG_INPUTA_RST="RST0",
        p_REG_INPUTB_CLK="CLK0", p_REG_INPUTB_CE="CE1", p_REG_INPUTB_RST="RST0",
        p_REG_INPUTC_CLK="NONE",
        p_REG_PIPELINE_CLK="CLK0", p_REG_PIPELINE_CE="CE0", p_REG_PIPELINE_RST="RST0",
        p_REG_OUTPUT_CLK="CLK0", p_REG_OUTPUT_CE="CE0", p_REG_OUTPUT_RST="RST0",
        p_CLK0_DIV="ENABLED", p_SOURCEB_MODE="B_SHIFT", p_MULT_BYPASS="DISABLED",
        p_RESETMODE="SYNC", p_GSR="DISABLED",
        i_SIGNEDA=int(x.shape().signed), i_SIGNEDB=int(w.shape().signed),
        **ports,
    )  # fmt: skip
    m.d.comb += product.eq(everything[36 - len(product) :])


class DspProduct(Component):
    """Product ``x * w`` with a held ``w``, from one DSP multiplier.

    ``x`` is registered in every cycle and ``w`` where ``load`` is high.

    Parameters
    ----------
    config : ProductConfig
        Latency at least `DSP_LATENCY`; what is more is made of registers behind the DSP.

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
        ECP5: one MULT18X18D with its own operand, pipeline and product registers.
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
        product = _multiply(m, self.x, self.w, self.load, self._config)
        m.d.comb += self.p.eq(registered(m, product, self._config.latency - DSP_LATENCY, "moved"))
        return m


def pair_word(low: Value, high: Value) -> Value:
    """Return two weights as `DspPair` wants them: ``low``, then ``high`` less ``low``'s borrow.

    The sum ``high * 2**s + low`` needs bit ``w_bits - 1`` of ``low`` repeated up to bit ``s``, and
    one taken from ``high`` where that bit says that ``low`` is negative.
    """
    borrow = low[-1] if low.shape().signed else Const(0, 1)
    return Cat(low, (high - borrow)[: len(high) + 1])


class DspPair(Component):
    """Two products ``x * w0`` and ``x * w1`` with held weights, from one DSP multiplier.

    The multiplier forms ``x * (w1 * 2**s + w0)``, ``s = x_bits + w_bits``. The lower ``s`` bits are
    ``x * w0``; the upper ones are ``x * w1``, less one where ``x * w0`` is negative, which is left
    to the adder that follows as a carry-in.

    Parameters
    ----------
    config : ProductConfig
        ``x_bits + 2 * w_bits`` at most 17; latency at least `DSP_LATENCY`.

    Members
    -------
    x : In(config.x_shape)
        Activation.
    w : In(2 * w_bits + 1)
        Both weights, see `pair_word`.
    load : In(1)
        Take ``w`` for this product and those that follow.
    p0 : Out(config.p_shape)
        Product with ``w0``.
    p1 : Out(config.p_shape)
        Product with ``w1``, less ``carry``.
    carry : Out(1)
        To be added to ``p1``.

    Latency
        ``config.latency`` cycles.
    Throughput
        Two products a cycle.
    Numerics
        Exact: ``s`` bits hold every product, and one less than every ``x * w1`` that can come with
        a negative ``x * w0``.
    Cost
        ECP5: one MULT18X18D with its own registers.
    Reference
        Fu et al., Deep Learning with INT8 Optimization on Xilinx Devices, WP486, 2017.
    """

    x: Signal
    w: Signal
    load: Signal
    p0: Signal
    p1: Signal
    carry: Signal

    def __init__(self, config: ProductConfig):
        self._config = config
        super().__init__(
            {
                "x": In(config.x_shape),
                "w": In(2 * config.w_bits + 1),
                "load": In(1),
                "p0": Out(config.p_shape),
                "p1": Out(config.p_shape),
                "carry": Out(1),
            }
        )

    def elaborate(self, platform):
        m = Module()
        config = self._config
        bits = config.w_bits
        split = config.x_bits + bits
        sign = self.w[bits - 1] if config.w_signed else Const(0, 1)
        both = Signal(Shape(split + bits + 1, True))
        m.d.comb += both.eq(Cat(self.w[:bits], sign.replicate(config.x_bits), self.w[bits:]))
        product = _multiply(m, self.x, both, self.load, config)
        product = registered(m, product, config.latency - DSP_LATENCY, "moved")
        m.d.comb += [
            self.p0.eq(product[:split]),
            self.p1.eq(product[split : 2 * split]),
            self.carry.eq(product[split - 1] if config.p_shape.signed else 0),
        ]
        return m
