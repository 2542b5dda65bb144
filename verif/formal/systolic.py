"""Proofs for the systolic arrays: primitives and shared multipliers equal plain arithmetic.

The longer circuits are built from the shorter ones, and so are the proofs: a gated pair in carry
cells equals plain arithmetic at every width, so a tree of them may be proved at narrow widths.
Pipelines hold nothing but the weight, so that a proof over ``latency`` + 2 cycles from any state,
the first of which loads a weight, covers every run.
"""

import re
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass
from functools import partial
from importlib import resources
from pathlib import Path

from amaranth.hdl import Module, Mux, Shape, Signal, signed
from amaranth.lib import wiring
from amaranth.lib.wiring import In, Out

from ...fpga.flow import run_wasm
from ...gen.errors import ToolError
from ...gen.verilog import emit
from ...hw.arith.counts import NextCount, PreviousCount
from ...hw.arith.delay import registered
from ...hw.arith.dsp_product import DspPair, DspProduct, pair_word
from ...hw.arith.gated_add import GatedAdd, GatedAddConfig
from ...hw.arith.lut_product import LutProduct
from ...hw.arith.pair_row import PairRow, PairRowConfig
from ...hw.arith.product_config import ProductConfig
from .pe import OsPeClaim, OsSumSpec, WsPeClaim, pe_config
from .runner import Task

__all__ = ["Claim", "claims", "prove", "tasks"]


@dataclass(frozen=True)
class Claim:
    """A circuit whose output ``wrong`` is never high from cycle ``after`` on.

    Attributes
    ----------
    name : str
        Unique.
    circuit : callable
        Makes it. All of its inputs are free.
    after : int
        Cycles until a result depends on nothing but inputs.
    loads : bool
        Where ``after`` is not 0: the circuit has an input ``load``, high in the first cycle.
    resets : bool
        Where ``after`` is not 0: the circuit is reset in the first cycle, as it must have been.
    """

    name: str
    circuit: Callable[[], wiring.Component]
    after: int
    loads: bool = True
    resets: bool = False


class RowClaim(wiring.Component):
    """`PairRow` of a fabric against multiplication; ``wrong`` where they differ."""

    x: Signal
    digit: Signal
    wrong: Signal

    def __init__(self, config: PairRowConfig):
        self._config = config
        shape = Shape(config.x_bits, config.x_signed)
        super().__init__({"x": In(shape), "digit": In(2), "wrong": Out(1)})

    def elaborate(self, platform):
        m = Module()
        m.submodules.row = row = PairRow(self._config)
        x, twice = self.x, self.x << 1
        negative = self._config.negative
        multiples = (0, x, -twice, -x) if negative else (0, x, twice, twice + x)
        expected = Signal(signed(self._config.x_bits + 4))
        with m.Switch(self.digit):
            for digit, multiple in enumerate(multiples):
                with m.Case(digit):
                    m.d.comb += expected.eq(multiple)
        m.d.comb += [
            row.x.eq(self.x),
            row.digit.eq(self.digit),
            self.wrong.eq(row.p != expected),
        ]
        return m


class AddClaim(wiring.Component):
    """`GatedAdd` of a fabric against addition; ``wrong`` where they differ."""

    fresh: Signal
    old: Signal
    clear: Signal
    carry: Signal
    wrong: Signal

    def __init__(self, config: GatedAddConfig):
        self._config = config
        shape = signed(config.width)
        super().__init__(
            {"fresh": In(shape), "old": In(shape), "clear": In(1), "carry": In(1), "wrong": Out(1)}
        )

    def elaborate(self, platform):
        m = Module()
        m.submodules.add = add = GatedAdd(self._config)
        total = Signal(signed(self._config.width))
        fresh = Mux(self.carry & self._config.subtracts, -self.fresh, self.fresh)
        with m.If(self.clear):
            m.d.comb += total.eq(fresh)
        with m.Else():
            m.d.comb += total.eq(fresh + self.old)
        carry = self.carry if self._config.carries and not self._config.subtracts else 0
        m.d.comb += [
            add.fresh.eq(self.fresh),
            add.old.eq(self.old),
            add.clear.eq(self.clear),
            add.carry.eq(self.carry),
            self.wrong.eq(add.sum != (total + carry)[: self._config.width].as_signed()),
        ]
        return m


class CountClaim(wiring.Component):
    """A counter's next value in carry cells against addition; ``wrong`` where they differ."""

    count: Signal
    loaded: Signal
    load: Signal
    wrong: Signal

    def __init__(self, kind: type[NextCount | PreviousCount], width: int):
        self._counter, self._step = kind(width, "ecp5"), 1 if kind is NextCount else -1
        super().__init__({"count": In(width), "loaded": In(width), "load": In(1), "wrong": Out(1)})

    def elaborate(self, platform):
        m = Module()
        m.submodules.counter = counter = self._counter
        moved = (self.count + self._step)[: len(self.count)]
        m.d.comb += [
            counter.count.eq(self.count),
            counter.loaded.eq(self.loaded),
            counter.load.eq(self.load),
            self.wrong.eq(counter.following != Mux(self.load, self.loaded, moved)),
        ]
        return m


class ProductClaim(wiring.Component):
    """A product, or a pair of them, against ``*``; ``wrong`` where they differ."""

    x: Signal
    w0: Signal
    w1: Signal
    load: Signal
    wrong: Signal

    def __init__(self, kind: type, config: ProductConfig):
        self._kind, self._config = kind, config
        super().__init__(
            {
                "x": In(config.x_shape),
                "w0": In(config.w_shape),
                "w1": In(config.w_shape),
                "load": In(1),
                "wrong": Out(1),
            }
        )

    def elaborate(self, platform):
        m = Module()
        config = self._config
        m.submodules.product = product = self._kind(config)
        m.d.comb += [product.x.eq(self.x), product.load.eq(self.load)]
        x = registered(m, self.x, config.latency, "x_then")
        expected = []
        for i, w in enumerate((self.w0, self.w1)):
            held = Signal(config.w_shape, name=f"held_{i}", reset_less=True)
            with m.If(self.load):
                m.d.sync += held.eq(w)
            then = registered(m, held, config.latency - 1, f"w{i}_then")
            expected.append(x * then)
        if self._kind is DspPair:
            upper = Signal(config.p_shape)
            m.d.comb += [
                product.w.eq(pair_word(self.w0, self.w1)),
                upper.eq(product.p1 + product.carry),
                self.wrong.eq((product.p0 != expected[0]) | (upper != expected[1])),
            ]
        else:
            m.d.comb += [product.w.eq(self.w0), self.wrong.eq(product.p != expected[0])]
        return m


def claims() -> Iterator[Claim]:
    """Yield what is claimed, from parts to wholes."""
    signs = ((False, False), (False, True), (True, False), (True, True))
    for x_signed, negative in signs:
        for x_bits in (2, 3, 8, 16):
            pair = PairRowConfig(x_bits=x_bits, x_signed=x_signed, negative=negative, fabric="ecp5")
            name = f"row_{x_bits}{'s' if x_signed else 'u'}{'n' if negative else 'p'}"
            yield Claim(name, partial(RowClaim, pair), 0)
    for width in (1, 2, 15, 16):
        for counter in (NextCount, PreviousCount):
            name = f"count_{counter.__name__}_{width}"
            yield Claim(name, partial(CountClaim, counter, width), 0)
    for width in (1, 2, 15, 32):
        for letters in ("", "c", "cs"):
            add = GatedAddConfig(
                width=width, carries="c" in letters, fabric="ecp5", subtracts="s" in letters
            )
            yield Claim(f"add_{width}{letters}", partial(AddClaim, add), 0)
    cases = [
        (LutProduct, "ecp5", 4, 4),
        (LutProduct, "ecp5", 3, 5),
        (LutProduct, "ecp5", 4, 8),
        (LutProduct, "ecp5", 3, 7),
        (LutProduct, "portable", 5, 6),
        (DspPair, "portable", 4, 4),
        (DspPair, "portable", 7, 4),
        (DspPair, "ecp5", 4, 4),
        (DspPair, "ecp5", 5, 6),
        (DspProduct, "ecp5", 6, 5),
    ]
    for kind, fabric, x_bits, w_bits in cases:
        for x_signed, w_signed in signs:
            config = ProductConfig(
                x_bits=x_bits,
                x_signed=x_signed,
                w_bits=w_bits,
                w_signed=w_signed,
                latency=4,
                fabric=fabric,
            )
            letters = ("s" if x_signed else "u") + ("s" if w_signed else "u")
            name = f"{kind.__name__.lower()}_{fabric}_{x_bits}x{w_bits}_{letters}"
            yield Claim(name, partial(ProductClaim, kind, config), config.latency)
    yield from _pe_claims()


def _pe_claims() -> Iterator[Claim]:
    """Yield what is claimed of whole PEs, of the second and the fourth row of an array."""
    signs = ((True, True), (False, True), (True, False), (False, False))
    cases = (("D", "portable", 3), ("L", "portable", 3), ("L", "ecp5", 3), ("DD", "portable", 3),
             ("DD", "ecp5", 3), ("D", "ecp5", 3))  # fmt: skip
    for (kind, fabric, bits), row in zip(cases, (1, 3) * 3, strict=True):
        for both in signs if kind == "DD" else signs[:2]:
            letters = "".join("s" if is_signed else "u" for is_signed in both)
            name = f"{kind}_{fabric}_{letters}"
            config = pe_config(kind, fabric, bits, both, row + 1)
            latency = config.product.latency
            yield Claim(f"wspe_{name}", partial(WsPeClaim, config, row), latency + 2)
            yield Claim(f"ospe_{name}", partial(OsPeClaim, config), latency + 1)


def tasks() -> list[Task]:
    """Return what is proved by induction: sums that stay in their PEs never overflow."""
    found = []
    for both in ((True, True), (False, True), (False, False)):
        config = pe_config("L", "portable", 2, both, 3)
        spec = partial(OsSumSpec, config, 3)
        depth = config.product.latency + 4
        name = "sums_" + "".join("s" if is_signed else "u" for is_signed in both)
        found.append(Task(name, spec, depth, "prove"))
        found.append(Task(f"{name}_cover", spec, depth + 4, "cover"))
    return found


def prove(wanted: Iterable[Claim], folder: Path) -> None:
    """Prove claims with Yosys' SAT solver in ``folder``, which is made if missing.

    Raises
    ------
    ToolError
        A claim is false, and named, or Yosys failed.
    """
    folder.mkdir(parents=True, exist_ok=True)
    model = resources.files("tilewright.fpga").joinpath("models/mult18x18d.v")
    (folder / "mult18x18d.v").write_text(model.read_text(encoding="utf-8"), encoding="utf-8")
    script = []
    for claim in wanted:
        text = emit(claim.circuit(), "claim").rtlil
        (folder / f"{claim.name}.il").write_text(text, encoding="utf-8")
        goal = "-set-def-inputs -prove wrong 0"
        if claim.after:
            # The first cycle loads, and its product is there `after` cycles later; one cycle more
            # covers weights that are held.
            goal += f" -seq {claim.after + 2} -prove-skip {claim.after}"
            goal += " -set-at 1 load 1" if claim.loads else ""
            goal += " -set-at 1 rst 1" if claim.resets else ""
        script += [
            f"log proving {claim.name}",
            f"read_rtlil {claim.name}.il",
            "read_verilog mult18x18d.v",
            "read_verilog -nooverwrite +/ecp5/cells_sim.v",
            "hierarchy -check -top claim",
            "proc",
            "flatten",
            "setattr -unset init w:*",  # from any state
            "opt -full",
            f"sat -verify {goal} claim",
            "design -reset",
        ]
    (folder / "prove.ys").write_text("\n".join(script) + "\n", encoding="utf-8")
    log = folder / "prove.log"
    log.unlink(missing_ok=True)
    try:
        run_wasm("yosys", ["-q", "-l", log.name, "-s", "prove.ys"], folder, log=log.name)
    except ToolError as error:
        begun = re.findall(r"^proving (\S+)$", log.read_text() if log.exists() else "", re.M)
        name = begun[-1] if begun else "the first claim"
        raise ToolError(f"{name} is not proved: {error}") from error
