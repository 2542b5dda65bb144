"""What `scaffold` writes: a family that multiplies inside the engine, its bench, proof and page."""

__all__ = ["FILES", "ROW"]

ROW = """\
    "@name@": Unit(
        summary="One column that multiplies a vector at once",
        config="hw.@name@.config:@Class@Config",
        component="hw.@name@.array:@Class@Array",
        presets={"default": {}, "tiny": {"rows": 3, "x_bits": 4, "w_bits": 4}},
        family="sw.families.@name@:@Class@",
        golden="verif.golden.@name@:@name@",
        testbench="verif.testbench.@name@",
        formal="verif.formal.@name@",
        docs="docs/units/@name@.md",
        paper="none yet",
        maturity="V1",
        cycles="T + 3 cycles for a step of T vectors",
        mutation=Mutation(preset="tiny", judge="verif.mutate.datapath:DatapathJudge"),
    ),
"""
"""The row of the registry; ``@name@`` and ``@Class@`` stand for the family's name."""

FILES = {
    "hw/@name@/__init__.py": '"""One column that multiplies a vector at once."""\n',
    "hw/@name@/config.py": '''\
"""Configuration and exact timing of @name@."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, ClassVar

from ..config import check_choice, check_range, check_width, plain_fields
from ..engine.config import DatapathConfig, DatapathTiming, Run

if TYPE_CHECKING:
    from .array import @Class@Array

__all__ = ["@Class@Config", "@Class@Timing"]


@dataclass(frozen=True, kw_only=True)
class @Class@Config(DatapathConfig):
    """Parameters of a `@Class@Array`.

    Attributes
    ----------
    rows : int
        Elements of an activation vector, 1 to 256; so many products make a sum.
    x_bits, w_bits : int
        Width of activations and of weights, 2 to 8, or 16.
    x_signed, w_signed : bool
        Two's complement if true, unsigned otherwise.
    k_max : int
        Longest sum that accumulators are made for, 1 to 2**24.
    fabric : str
        ``"portable"`` or ``"ecp5"``, which the engine's requantiser is made for.
    """

    family: ClassVar[str] = "@name@"
    weight_order: ClassVar[str] = "one beat, row 0 in the least significant bits"
    cols: ClassVar[int] = 1  # type: ignore[misc]
    weight_beats: ClassVar[int] = 1  # type: ignore[misc]

    rows: int = 8
    x_bits: int = 8
    w_bits: int = 8
    x_signed: bool = True
    w_signed: bool = True
    k_max: int = 65536
    fabric: str = "portable"

    def __post_init__(self) -> None:
        plain_fields(self)
        check_range("rows", self.rows, 1, 256)
        check_width("x_bits", self.x_bits)
        check_width("w_bits", self.w_bits)
        check_choice("x_signed", self.x_signed, (True, False))
        check_choice("w_signed", self.w_signed, (True, False))
        check_range("k_max", self.k_max, 1, 1 << 24)
        check_choice("fabric", self.fabric, ("portable", "ecp5"))

    def build(self) -> "@Class@Array":
        """Return the array."""
        from .array import @Class@Array

        return @Class@Array(self)

    @property
    def weight_beat_bits(self) -> int:
        """Bits per weight beat: a whole tile."""
        return self.rows * self.w_bits

    @property
    def psum_width(self) -> int:
        """Signed bits per partial sum."""
        return self.sum_width(self.rows)

    @property
    def levels(self) -> int:
        """Levels of the adder tree."""
        return (self.rows - 1).bit_length()

    @property
    def latency(self) -> int:
        """Cycles from the acceptance of a vector to its psum beat."""
        return 1 + self.levels

    def timing(self) -> "@Class@Timing":
        """Return the model that says when beats are taken and results appear."""
        return @Class@Timing(self)


class @Class@Timing(DatapathTiming):
    """When the array takes beats, for tiles and steps offered without gaps.

    With e the cycle in which the last vector of the step before is taken::

        tile's beat    in cycle a = max(offered, e + 3)
        vectors        one a cycle from max(offered, a + 1)
        psum beat      latency cycles after its vector
    """

    def __init__(self, config: @Class@Config):
        self._latency = config.latency
        self._free = self._loaded = 0

    def load(self, offered: int, tile: Sequence[int]) -> tuple[Run, ...]:
        """Take the next tile, offered from a cycle on; return when it is taken."""
        self._loaded = max(offered, self._free)
        return ((self._loaded, 1),)

    def step(
        self, offered: int, vectors: int, *, first: bool, last: bool, mode: int = 0
    ) -> tuple[Run, ...]:
        """Take the vectors of the next step, whose tile was loaded; return when they are taken."""
        start = max(offered, self._loaded + 1)
        self._free = start + vectors + 2
        self.psums = ((start + self._latency, vectors),)
        self.last_psum = start + vectors - 1 + self._latency
        return ((start, vectors),)
''',
    "hw/@name@/array.py": '''\
"""One column that multiplies a vector at once and adds its products in a tree."""

from itertools import zip_longest

from amaranth.hdl import Cat, Const, Module, Shape, Signal, signed
from amaranth.lib import data, stream
from amaranth.lib.wiring import In, Out

from ..arith.delay import delay
from ..engine.datapath import act_beat, psum_beat
from ..lib.component import Component
from .config import @Class@Config

__all__ = ["@Class@Array"]


class @Class@Array(Component):
    """One column: ``psums[0] = sum of acts[r] * w[r] over r``.

    Parameters
    ----------
    config : @Class@Config
        See there for ranges.

    Members
    -------
    weights : In(stream.Signature(weight_beat_bits))
        Tiles of one beat, row 0 in the least significant bits.
    acts : In(stream.Signature(act_beat(config)))
        Activation vectors, ``end`` on the last of a step.
    psums : Out(stream.Signature(psum_beat(config), always_ready=True))
        One beat per vector.

    Latency
        ``config.latency`` cycles from the acceptance of a vector.
    Throughput
        A step of T vectors takes T + 3 cycles; see `@Class@Timing`.
    Numerics
        Exact.
    Reference
        None yet.
    """

    weights: stream.Interface
    acts: stream.Interface
    psums: stream.Interface

    def __init__(self, config: @Class@Config):
        self._config = config
        super().__init__(
            {
                "weights": In(stream.Signature(config.weight_beat_bits)),
                "acts": In(stream.Signature(act_beat(config))),
                "psums": Out(stream.Signature(psum_beat(config), always_ready=True)),
            }
        )

    def elaborate(self, platform):
        m = Module()
        config = self._config
        weight = Shape(config.w_bits, config.w_signed)
        weights = Signal(data.ArrayLayout(weight, config.rows), reset_less=True)
        beat = self.acts.payload
        taken = Signal()
        m.d.comb += taken.eq(self.acts.valid & self.acts.ready)
        # The pause keeps sums of the same row `ROW_DISTANCE` cycles apart.
        with m.FSM():
            with m.State("load"):
                m.d.comb += self.weights.ready.eq(1)
                m.d.sync += weights.eq(self.weights.payload)
                with m.If(self.weights.valid):
                    m.next = "multiply"
            with m.State("multiply"):
                m.d.comb += self.acts.ready.eq(1)
                with m.If(taken & beat.end):
                    m.next = "pause"
            with m.State("pause"):
                m.next = "resume"
            with m.State("resume"):
                m.next = "load"

        terms = []
        for r in range(config.rows):
            product = Signal(signed(config.psum_width), name=f"product_{r}", reset_less=True)
            m.d.sync += product.eq(beat.data[r] * weights[r])
            terms.append(product)
        for level in range(config.levels):
            sums = []
            for i, (a, b) in enumerate(zip_longest(terms[::2], terms[1::2], fillvalue=Const(0))):
                total = Signal(signed(config.psum_width), name=f"sum_{level}_{i}", reset_less=True)
                m.d.sync += total.eq(a + b)
                sums.append(total)
            terms = sums

        psum = self.psums.payload
        flags = delay(m, Cat(beat.first, beat.last, beat.end), config.latency, "flags")
        m.d.comb += [
            psum.data[0].eq(terms[0]),
            Cat(psum.first, psum.last, psum.end).eq(flags),
            self.psums.valid.eq(delay(m, taken, config.latency, "valids", reset=True)),
        ]
        return m
''',
    "sw/families/@name@.py": '''\
"""Family @name@: one column that multiplies a vector at once."""

from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

from ...hw.@name@.config import @Class@Config
from .base import Family
from .systolic import pack_rows, unpack_rows

__all__ = ["@Class@"]

Ints = NDArray[np.int64]


class @Class@(Family):
    """One column; a tile is one beat, row 0 in the least significant bits."""

    config: @Class@Config

    def pack(self, tile: Ints, mode: int = 0) -> list[int]:
        """Return the beat of a weight tile."""
        return pack_rows(self.checked(tile, mode).T, self.config.w_bits)

    def unpack(self, beats: Sequence[int], mode: int = 0) -> Ints:
        """Return the weight tile of its beat."""
        config = self.config
        return unpack_rows(beats, config.w_bits, config.rows, config.w_signed).T

    def lut4_equivalents(self) -> float:
        """Count products from LUTs and the tree, roughly; fit this to your own synthesis."""
        config = self.config
        tree = (config.rows - 1) * config.psum_width
        return 2.2 * config.rows * config.x_bits * config.w_bits + tree
''',
    "verif/golden/@name@.py": '''\
"""Golden model of @name@."""

import numpy as np
from numpy.typing import NDArray

from ...hw.@name@.config import @Class@Config
from .systolic import exact_product

__all__ = ["@name@"]


def @name@(
    config: @Class@Config, x: NDArray[np.int64], w: NDArray[np.int64], mode: int = 0
) -> NDArray[np.int64]:
    """One column that multiplies a vector at once: ``psums = acts @ w``.

    Parameters / Returns: ``x`` [M, K] and ``w`` [K, 1] in the configured ranges; returns [M, 1].
    Exactness: int64, no rounding. Order: rows as given.
    Independent check: test_@name@ compares with sums in Python.
    """
    return exact_product(x, w)
''',
    "verif/testbench/@name@.py": '''\
"""Bench of @name@: the tests of every datapath."""

from tilewright.verif.testbench.datapath import (
    back_to_back,
    matches_golden,
    mixed_lengths,
    one_side_first,
    reset_mid_stream,
    smoke,
)

__all__ = [
    "back_to_back",
    "matches_golden",
    "mixed_lengths",
    "one_side_first",
    "reset_mid_stream",
    "smoke",
]
''',
    "verif/formal/@name@.py": '''\
"""Properties of @name@ besides the rules of streams."""

from functools import partial

from amaranth.hdl import Assert, Module, Shape, Signal, signed
from amaranth.lib import data, wiring

@imports@
from .runner import Task

__all__ = ["tasks"]


class _SumSpec(wiring.Component):
    """Every psum is the sum of the products of its vector and the last tile; inputs are free."""

    def __init__(self, config: @Class@Config):
        self._config = config
        self._dut = @Class@Array(config)
        super().__init__(self._dut.signature)

    def elaborate(self, platform):
        m = Module()
        config = self._config
        m.submodules.dut = dut = self._dut
        wiring.connect(m, wiring.flipped(self.weights), dut.weights)
        wiring.connect(m, wiring.flipped(self.acts), dut.acts)
        wiring.connect(m, dut.psums, wiring.flipped(self.psums))
        tile = Signal(data.ArrayLayout(Shape(config.w_bits, config.w_signed), config.rows))
        with m.If(dut.weights.valid & dut.weights.ready):
            m.d.sync += tile.eq(dut.weights.payload)
        total = Signal(signed(config.psum_width))
        lanes = dut.acts.payload.data
        m.d.comb += total.eq(sum(lanes[r] * tile[r] for r in range(config.rows)))
        taken = delay(m, dut.acts.valid & dut.acts.ready, config.latency, "taken", reset=True)
        expected = registered(m, total, config.latency, "expected")
        m.d.comb += Assert(dut.psums.valid == taken)
        with m.If(dut.psums.valid):
            m.d.comb += Assert(dut.psums.payload.data[0] == expected)
        return m


def tasks() -> list[Task]:
    """Return what is to be proved."""
    config = @Class@Config(rows=3, x_bits=3, w_bits=3)
    return [Task("sums", partial(_SumSpec, config), 10)]
''',
    "verif/tests/test_@name@.py": '''\
"""@Class@: golden model, bench and products on the compiled engine."""

import numpy as np
import pytest

from tilewright.gen.configuration import configure
from tilewright.hw.@name@.config import @Class@Config
from tilewright.sw.engine import Engine
from tilewright.verif.golden.@name@ import @name@
from tilewright.verif.simulate.runner import run_unit


def test_golden_equals_sums_in_python():
    rng = np.random.default_rng(1)
    x, w = rng.integers(-128, 128, (5, 8)), rng.integers(-128, 128, (8, 1))
    sums = [[sum(int(a) * int(b) for a, b in zip(row, w[:, 0], strict=True))] for row in x]
    assert @name@(@Class@Config(), x, w).tolist() == sums


def test_bench(tmp_path):
    config = configure("@name@", preset="tiny")
    result = run_unit("@name@", config, tmp_path)
    assert result.passed, result.failures


@pytest.mark.parametrize(("m", "k", "n"), [(1, 1, 1), (5, 3, 2), (7, 20, 3)])
def test_products_on_the_engine(m, k, n):
    rng = np.random.default_rng(2)
    engine = Engine("@name@", rows=3, acc_depth=16)
    x, w = rng.integers(-128, 128, (m, k)), rng.integers(-128, 128, (k, n))
    y, stats = engine.matmul(x, w)
    assert (y == x @ w).all()
    assert stats.cycles == stats.predicted_cycles
''',
    "docs/units/@name@.md": """\
# @name@

One column that multiplies a vector at once: a starting point.

```text
 acts 0 ──►(×)─┐
 acts 1 ──►(×)─┴►(+)─┐
 acts 2 ──►(×)─┐     ├►(+)──► psums 0
 acts 3 ──►(×)─┴►(+)─┘
            ▲ weights, one beat a tile
```

```{parameters} @name@
```

## Numerics

Products and sums are exact; a partial sum has `psum_width` bits.

## Timing

A step of T vectors takes T + 3 cycles; a sum comes `latency` cycles after its vector.

## Measured

Not yet: `tilewright build @name@` gives area and clock.

## What the paper leaves open

Write here what it is, and what you chose.
""",
}
"""Files by path, both with ``@name@``, ``@Class@`` and ``@imports@`` to be filled in."""
