"""Configuration of the engine: buffer depths, drain width and rounding around one datapath."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, Protocol

from ..config import ConfigError, check_choice, check_range, plain_fields
from .requantise_config import RequantiseConfig

__all__ = ["DEPTHS", "DatapathConfig", "DatapathTiming", "EngineConfig", "sum_width"]

DEPTHS = {
    "act_depth": (16, 32768), "weight_depth": (16, 32768), "acc_depth": (4, 4096),
    "param_depth": (4, 16384),
}  # fmt: skip
"""Smallest and largest depth of each buffer."""


class DatapathConfig(Protocol):
    """What the engine, the mapper and the cycle model read from a datapath's configuration.

    Attributes
    ----------
    family : str
        Name of the family's folder and of its row in the registry.
    component : str
        ``module:class`` of the component, the module relative to the package's ``hw``.
    act_lanes : int
        Elements per activation vector. A weight tile covers this many of K, or where the
        configuration has a method ``tile_k(mode)``, the first so many of them.
    cols : int
        Output channels per weight tile, partial sums per psum vector.
    x_bits, w_bits : int
        Operand widths; ``x_signed`` and ``w_signed`` give their signedness.
    k_max : int
        Longest sum that the accumulators must hold.
    weight_beat_bits, weight_beats : int
        Bits per weight beat and beats per weight tile.
    psum_width : int
        Signed bits per partial sum.
    max_tile_rows : int or None
        Most activation vectors per step, None where only the accumulators limit it.
    mode_bits : int
        Bits of a GEMM's ``mode`` that the datapath reads, 0 to 32; mode 0 is the plain product.
    fabric : str
        ``"portable"`` or ``"ecp5"``: what products are made of.
    """

    family: str
    component: str
    rows: int
    cols: int
    act_lanes: int
    x_bits: int
    x_signed: bool
    w_bits: int
    w_signed: bool
    k_max: int
    weight_beat_bits: int
    weight_beats: int
    psum_width: int
    max_tile_rows: int | None
    mode_bits: int
    fabric: str

    def timing(self) -> "DatapathTiming":
        """Return a fresh model of the datapath's pace."""

    def mode_word(self, **settings: Any) -> int:
        """Return the ``mode`` of named settings; only where ``mode_bits`` is not 0."""

    def operand_formats(self, mode: int) -> tuple[tuple[int, bool], tuple[int, bool]]:
        """Return bits and signedness of x and of w under ``mode``; only where there are modes."""


class DatapathTiming(Protocol):
    """When a datapath takes the beats that it is offered; calls alternate, one pair a step.

    The pace may depend on the weights and on the GEMM's mode, never on the activations.

    Attributes
    ----------
    last_psum : int
        Cycle of the last psum beat of the sum that the last step closed.
    """

    last_psum: int

    def load(self, offered: int, tile: Sequence[int]) -> tuple[tuple[int, int], ...]:
        """Return when the beats of the next weight tile, offered from a cycle on, are taken.

        Each pair is a cycle and how many beats are taken from then on, one a cycle.
        """

    def step(
        self, offered: int, vectors: int, *, first: bool, last: bool, mode: int
    ) -> tuple[tuple[int, int], ...]:
        """Return when the vectors of the next step are taken, in the same form."""


BLOCK_RAM = ((512, 36), (1024, 18), (2048, 9), (4096, 4), (8192, 2))
"""Depth and width of the shapes that a block of RAM takes (18 kbit, ECP5)."""


def block_width(depth: int) -> int:
    """Bits that one block of RAM holds of each of ``depth`` words."""
    return next((width for limit, width in BLOCK_RAM if depth <= limit), 1)


def sum_width(x_bits: int, x_signed: bool, w_bits: int, w_signed: bool, k: int) -> int:
    """Signed bits that hold every sum of ``k`` products exactly."""
    def ends(bits: int, is_signed: bool) -> tuple[int, int]:
        return (-(1 << bits - 1), (1 << bits - 1) - 1) if is_signed else (0, (1 << bits) - 1)

    products = [x * w for x in ends(x_bits, x_signed) for w in ends(w_bits, w_signed)]
    high, low = max(products) * k, min(products) * k
    return max(high.bit_length(), (-low - 1).bit_length() if low < 0 else 0) + 1


@dataclass(frozen=True, kw_only=True)
class EngineConfig:
    """Parameters of an `Engine`.

    Attributes
    ----------
    datapath : DatapathConfig
        Configuration of the datapath inside.
    act_depth : int
        Activation buffer, in vectors of ``datapath.act_lanes`` elements, 16 to 32768.
    weight_depth : int
        Weight buffer, in weight beats, 16 to 32768.
    acc_depth : int
        Rows per accumulator bank, 4 to 4096; there are two banks.
    param_depth : int
        Rows of requantisation parameters, ``drain_lanes`` channels each, 4 to 16384.
    drain_lanes : int
        Results requantised per cycle, a power of two, at most ``cols`` and ``act_lanes``.
    rounding : str
        ``"half_even"`` or ``"half_away"`` (from zero).
    """

    datapath: DatapathConfig
    act_depth: int = 4096
    weight_depth: int = 4096
    acc_depth: int = 512
    param_depth: int = 256
    drain_lanes: int = 1
    rounding: str = "half_even"

    def __post_init__(self) -> None:
        plain_fields(self)
        if isinstance(self.datapath, type) or not hasattr(self.datapath, "family"):
            raise ConfigError(
                f"datapath must be the configuration of a datapath family, not {self.datapath!r}"
            )
        for name, (low, high) in DEPTHS.items():
            check_range(name, getattr(self, name), low, high)
        check_choice("rounding", self.rounding, ("half_even", "half_away"))
        limit = min(self.datapath.cols, self.datapath.act_lanes)
        legal = tuple(1 << i for i in range(limit.bit_length()))
        check_choice("drain_lanes", self.drain_lanes, legal)
        if self.weight_depth < self.datapath.weight_beats:
            raise ConfigError(
                f"weight_depth must be at least the {self.datapath.weight_beats} beats of one "
                f"weight tile, not {self.weight_depth}"
            )

    @property
    def acc_width(self) -> int:
        """Signed bits per accumulator: exact for sums of up to ``datapath.k_max`` products."""
        d = self.datapath
        return sum_width(d.x_bits, d.x_signed, d.w_bits, d.w_signed, d.k_max)

    @property
    def lane(self) -> RequantiseConfig:
        """Configuration of the drain's requantiser lanes."""
        return RequantiseConfig(
            acc_width=max(8, self.acc_width),
            out_bits=self.datapath.x_bits,
            out_signed=self.datapath.x_signed,
            rounding=self.rounding,
            fabric=self.datapath.fabric,
        )

    @property
    def lane_bits(self) -> int:
        """Bits per lane of the result stream: 32 or 64, room for accumulator plus bias."""
        return 32 if self.acc_width < 32 else 64

    @property
    def tile_rows_max(self) -> int:
        """Most rows per output tile."""
        return min(self.acc_depth, self.datapath.max_tile_rows or self.acc_depth)

    @property
    def rotation(self) -> tuple[int, ...]:
        """How many bits of an activation's lane each stage of the buffer's rotation decides.

        The way from block RAMs is long, so of many bits the first stage takes two.
        """
        bits = max(1, (self.datapath.act_lanes - 1).bit_length())
        first = min(2, bits - bits // 2)
        rest = bits - first
        return (first, rest) if bits <= 5 else (first, rest - rest // 2, rest // 2)

    @property
    def read_latency(self) -> int:
        """Cycles from an address of the activation buffer to its data."""
        return 4 + len(self.rotation)

    @property
    def weight_spans(self) -> tuple[tuple[int, int], ...]:
        """First bit and end of the parts of a weight beat that lie in neighbouring blocks of RAM.

        Addresses and writes pass from part to part through registers, a cycle each, so there are
        at most four: the queue behind the buffer covers no more.
        """
        bits, width = self.datapath.weight_beat_bits, block_width(self.weight_depth)
        blocks = -(-bits // width)
        step = max(12, -(-blocks // 4)) * width
        return tuple((first, min(first + step, bits)) for first in range(0, bits, step))

    @property
    def groups(self) -> int:
        """Drain groups per full row of results, which is also parameter rows per weight tile."""
        return -(-self.datapath.cols // self.drain_lanes)

    @property
    def bias_words(self) -> int:
        """Command words that carry one bias."""
        return -(-self.acc_width // 32)
