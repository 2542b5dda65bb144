"""Encoders: a binary number as signed digits, in every encoding through one interface."""

from dataclasses import dataclass

from amaranth.hdl import Cat, Const, Module, Mux, Shape, Signal, Value
from amaranth.lib.wiring import In, Out

from ..lib.component import Component
from .encoding import check_encoding, places

__all__ = ["Recode", "RecodeConfig"]


@dataclass(frozen=True, kw_only=True)
class RecodeConfig:
    """Parameters of a `Recode`.

    Attributes
    ----------
    encoding : str
        One of `ENCODINGS`.
    bits : int
        Width of the number, 1 to 32.
    is_signed : bool
        Two's complement or unsigned.
    """

    encoding: str
    bits: int
    is_signed: bool

    def __post_init__(self) -> None:
        check_encoding(self.encoding, self.bits, self.is_signed)

    @property
    def places(self) -> int:
        """Binary places of ``plus`` and ``minus``."""
        return places(self.encoding, self.bits, self.is_signed)


class Recode(Component):
    """Signed digits of a number: ``value = plus - minus``, no place in both.

    Booth's digits are those of the two's complement number. All other encodings are of the
    magnitude, and a negative number swaps ``plus`` and ``minus``. A digit 2 of radix 4 stands in
    the upper one of its two places.

    Parameters
    ----------
    config : RecodeConfig
        See there.

    Members
    -------
    value : In(Shape(bits, is_signed))
        Number.
    plus : Out(places)
        Places with the digit 1.
    minus : Out(places)
        Places with the digit -1.

    Latency
        None, combinational.
    Throughput
        One number a cycle.
    Numerics
        Exact for every value.
    Reference
        McDanel, Zhang, Kung, Liu, Term Revealing: Furthering Quantization at Run Time on
        Quantized DNNs, 2020 (HESE); Zhang et al., arXiv 2503.06342 (EN-T).
    """

    value: Signal
    plus: Signal
    minus: Signal

    def __init__(self, config: RecodeConfig):
        self._config = config
        super().__init__(
            {
                "value": In(Shape(config.bits, config.is_signed)),
                "plus": Out(config.places),
                "minus": Out(config.places),
            }
        )

    def elaborate(self, platform):
        m = Module()
        config = self._config
        if config.encoding in ("booth2", "booth4"):
            wide = Signal(Shape(config.bits + (not config.is_signed), True))
            m.d.comb += wide.eq(self.value)
            masks = {"booth2": _booth2, "booth4": _booth4}[config.encoding](wide)
            m.d.comb += [self.plus.eq(masks[0]), self.minus.eq(masks[1])]
            return m
        magnitude = Signal(config.bits + 2)
        m.d.comb += magnitude.eq(self.value)
        negative: Value | int = 0
        if config.is_signed:
            negative = self.value[-1]
            with m.If(negative):
                m.d.comb += magnitude.eq(-self.value)
        encoder = {"binary": _binary, "ent": _ent, "naf": _naf, "hese": _hese}[config.encoding]
        plus, minus = encoder(magnitude)
        m.d.comb += [
            self.plus.eq(Mux(negative, minus, plus)),
            self.minus.eq(Mux(negative, plus, minus)),
        ]
        return m


def _binary(n: Value) -> tuple[Value, Value]:
    return n, Const(0, 1)


def _booth2(n: Value) -> tuple[Value, Value]:
    """Digit i is bit i - 1 less bit i."""
    return (n << 1) & ~n, n & ~(n << 1)


def _booth4(n: Value) -> tuple[Value, Value]:
    """Digit i is bit 2 i - 1 plus bit 2 i less twice bit 2 i + 1."""
    bits = [Const(0, 1), *n, n[-1]]
    plus, minus = [], []
    for low in range(0, len(n), 2):
        before, one, two = bits[low : low + 3]
        odd, even = before ^ one, (before == one) & (one != two)
        plus += [odd & ~two, even & ~two]
        minus += [odd & two, even & two]
    return Cat(plus), Cat(minus)


def _ent(n: Value) -> tuple[Value, Value]:
    """Digit 3 becomes -1 and a carry, and so does 2 with a carry: digits -1, 0, 1 and 2."""
    zero = Const(0, 1)
    bits = [*n, zero]
    carry: Value = zero
    plus, minus = [], []
    for low in range(0, len(n), 2):
        one, two = bits[low : low + 2]
        after = two & (one | carry)
        plus += [(one ^ carry) & ~two, (two & ~one & ~carry) | (~two & one & carry)]
        minus += [two & (one ^ carry), zero]
        carry = after
    return Cat(plus), Cat(minus)


def _naf(n: Value) -> tuple[Value, Value]:
    """Bits of 3 n and n that differ, from place 1 on, are the digits of n."""
    triple = n + (n << 1)
    return (triple & ~n)[1:], (n & ~triple)[1:]


def _hese(n: Value) -> tuple[Value, Value]:
    """A run of ones is a difference of two powers, and a single one stays."""
    low, above = n & ~(n << 1), (n << 1) & ~n
    single = low & ~(n >> 1)
    return (above & ~(single << 1)) | single, low & ~single
