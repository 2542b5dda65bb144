"""Proofs for the serial arrays: encoders keep values, serial and looked-up products are products.

The claims are proved like those of the systolic arrays, with Yosys' SAT solver. A serial number is
watched from the cycle of its first bit to that of its last; a new one may begin at any time.
"""

from collections.abc import Iterator
from functools import partial

from amaranth.hdl import Cat, Module, Mux, Shape, Signal, signed
from amaranth.lib import wiring
from amaranth.lib.wiring import In, Out

from ...hw.arith.delay import delay
from ...hw.arith.encoding import ENCODINGS
from ...hw.arith.recode import Recode, RecodeConfig
from ...hw.arith.signed_pair import SignedPair, SignedPairConfig
from ...hw.serial.bit_mac import BitMac
from ...hw.serial.config import SerialConfig
from ...hw.serial.tables import TablesLoader
from .systolic import Claim

__all__ = ["claims"]


class RecodeClaim(wiring.Component):
    """Digits of a number against the number; ``wrong`` where they differ or a place is in both."""

    value: Signal
    wrong: Signal

    def __init__(self, config: RecodeConfig):
        self._config = config
        super().__init__({"value": In(Shape(config.bits, config.is_signed)), "wrong": Out(1)})

    def elaborate(self, platform):
        m = Module()
        m.submodules.recode = recode = Recode(self._config)
        m.d.comb += [
            recode.value.eq(self.value),
            self.wrong.eq(
                (recode.plus - recode.minus != self.value) | (recode.plus & recode.minus).any()
            ),
        ]
        return m


class PairClaim(wiring.Component):
    """`SignedPair` of a fabric against addition; ``wrong`` where they differ."""

    a: Signal
    b: Signal
    not_a: Signal
    not_b: Signal
    wrong: Signal

    def __init__(self, config: SignedPairConfig):
        self._config = config
        number = signed(config.width)
        super().__init__(
            {"a": In(number), "b": In(number), "not_a": In(1), "not_b": In(1), "wrong": Out(1)}
        )

    def elaborate(self, platform):
        m = Module()
        m.submodules.pair = pair = SignedPair(self._config)
        total = 0
        for number, other in ((self.a, self.not_a), (self.b, self.not_b)):
            total += Mux(other, 0 if self._config.gates else ~number, number)
        m.d.comb += [
            pair.a.eq(self.a),
            pair.b.eq(self.b),
            pair.not_a.eq(self.not_a),
            pair.not_b.eq(self.not_b),
            self.wrong.eq(pair.sum != total),
        ]
        return m


class BitMacClaim(wiring.Component):
    """`BitMac` against ``sum + x * w``; ``wrong`` where the last bit of a word makes it differ.

    Parameters
    ----------
    x_bits, w_bits : int
        Of the factors, both signed.
    length : int
        Of the sums.
    """

    x: Signal
    w: Signal
    sum: Signal
    load: Signal
    wrong: Signal

    def __init__(self, x_bits: int, w_bits: int, length: int):
        self._length, self._w_bits = length, w_bits
        super().__init__(
            {
                "x": In(signed(x_bits)),
                "w": In(signed(w_bits)),
                "sum": In(signed(length)),
                "load": In(1),
                "wrong": Out(1),
            }
        )

    def elaborate(self, platform):
        m = Module()
        length = self._length
        m.submodules.mac = mac = BitMac(self._w_bits)
        x, old = Signal(signed(length)), Signal(length)
        w, expected = Signal(signed(self._w_bits)), Signal(signed(length))
        word, age = Signal(length), Signal(range(length + 2))
        with m.If(self.load):
            m.d.sync += [x.eq(self.x), old.eq(self.sum), w.eq(self.w), age.eq(0)]
            m.d.sync += expected.eq(self.sum + self.x * self.w)
        with m.Else():
            m.d.sync += [x.eq(x >> 1), old.eq(old >> 1), age.eq(Mux(age > length, age, age + 1))]
        complete = Cat(word[1:], mac.sum_next)
        m.d.sync += word.eq(complete)
        m.d.comb += [
            mac.x.eq(x[0]),
            mac.sum.eq(old[0]),
            mac.first.eq(age == 0),
            mac.w.eq(Cat(abs(w)[: self._w_bits], w < 0)),
            # Bit i leaves the MAC i + 1 cycles after the first one came.
            self.wrong.eq((age == length) & (complete != expected.as_unsigned())),
        ]
        return m


class EntryClaim(wiring.Component):
    """Entries of the `TablesLoader` against the sums that they stand for; ``wrong`` if one differs.

    The beat that ``load`` brings is followed through the 16 entries of its only table, which come
    three cycles after their index.
    """

    beat: Signal
    load: Signal
    wrong: Signal

    def __init__(self, config: SerialConfig):
        self._config = config
        super().__init__({"beat": In(config.weight_beat_bits), "load": In(1), "wrong": Out(1)})

    def elaborate(self, platform):
        m = Module()
        config = self._config
        m.submodules.loader = loader = TablesLoader(config)
        held = Signal.like(self.beat)
        with m.If(loader.weights.ready & self.load):
            m.d.sync += held.eq(self.beat)
        before = delay(m, held, 3, "held_then")
        total = 0
        shape = Shape(config.w_bits, config.w_signed)
        for k in range(config.rows):
            weight = Signal(shape, name=f"weight_{k}")
            m.d.comb += weight.eq(before[config.w_bits * k : config.w_bits * (k + 1)])
            total += Mux(loader.tile.index[k], weight, 0)
        m.d.comb += [
            loader.weights.valid.eq(self.load),
            loader.weights.payload.eq(self.beat),
            loader.closed.eq(loader.loaded),
            loader.opened.eq(loader.loaded),
            self.wrong.eq(loader.write.any() & (loader.tile.entries[0] != total)),
        ]
        return m


def claims() -> Iterator[Claim]:
    """Yield what is claimed, from parts to wholes."""
    for encoding in ENCODINGS:
        for is_signed in (False, True):
            config = RecodeConfig(encoding=encoding, bits=8, is_signed=is_signed)
            name = f"recode_{encoding}_{'s' if is_signed else 'u'}"
            yield Claim(name, partial(RecodeClaim, config), 0)
    for fabric in ("portable", "ecp5"):
        for gates in (False, True):
            for width in (1, 4, 9):
                pair = SignedPairConfig(width=width, fabric=fabric, gates=gates)
                name = f"pair_{fabric}_{width}{'g' if gates else 'c'}"
                yield Claim(name, partial(PairClaim, pair), 0)
    for x_bits, w_bits, length in ((1, 8, 9), (3, 3, 8), (4, 4, 8), (4, 3, 6), (8, 2, 12)):
        name = f"bitmac_{x_bits}x{w_bits}_{length}"
        yield Claim(name, partial(BitMacClaim, x_bits, w_bits, length), length + 1)
    for rows, is_signed in ((1, True), (3, False), (4, True)):
        table = SerialConfig(
            pe="tables", rows=rows, cols=2, vectors=1, w_bits=3, w_signed=is_signed, fabric="ecp5"
        )
        name = f"entry_{rows}{'s' if is_signed else 'u'}"
        yield Claim(name, partial(EntryClaim, table), 20, loads=False, resets=True)
