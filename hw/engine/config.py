"""Configuration of the engine: buffer depths, lanes of results, rounding, one datapath."""

from abc import ABC, abstractmethod
from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, ClassVar

from ..config import ConfigError, ModeField, UnitConfig, check_choice, check_range, plain_fields
from .requantise_config import RequantiseConfig

if TYPE_CHECKING:
    from ..lib.component import Component

__all__ = ["DEPTHS", "DatapathConfig", "DatapathTiming", "EngineConfig", "Run", "sum_width"]

DEPTHS = {
    "act_depth": (16, 32768), "weight_depth": (16, 32768), "acc_depth": (4, 4096),
    "param_depth": (4, 16384),
}  # fmt: skip
"""Smallest and largest depth of each buffer."""


Run = tuple[int, int]
"""Consecutive cycles in which beats move, one a cycle: the first cycle and how many beats."""


class DatapathTiming(ABC):
    """When a datapath takes the beats that it is offered; calls alternate, one pair a step.

    The pace may depend on the weights and on the GEMM's mode, never on the activations.

    Attributes
    ----------
    last_psum : int
        Cycle of the last psum beat of the sum that the last step closed.
    psums : tuple of Run
        All psum beats of that step.
    """

    last_psum: int = -1
    psums: tuple[Run, ...] = ()

    @abstractmethod
    def load(self, offered: int, tile: Sequence[int]) -> tuple[Run, ...]:
        """Take the next weight tile, its beats offered from a cycle on; return when."""

    @abstractmethod
    def step(
        self, offered: int, vectors: int, *, first: bool, last: bool, mode: int
    ) -> tuple[Run, ...]:
        """Take the vectors of the next step, whose tile was loaded; return when."""


class DatapathConfig(UnitConfig, ABC):
    """What the engine, the mapper and the cycle model read from a datapath's configuration.

    A family's configuration is a frozen dataclass that extends this class.

    Attributes
    ----------
    family : str
        Name of the family's folder and of its row in the registry.
    rows, cols : int
        Shape of the array: each of its ``rows * cols`` cells has a multiply-accumulate slot in
        every cycle. A weight tile has ``cols`` output channels, a psum vector as many sums.
    x_bits, w_bits : int
        Operand widths; ``x_signed`` and ``w_signed`` give their signedness.
    k_max : int
        Longest sum that the accumulators must hold.
    fabric : str
        ``"portable"`` or ``"ecp5"``: what products are made of.
    weight_order : str
        How the weights of a tile lie in its beats, in words.
    """

    family: ClassVar[str]
    weight_order: ClassVar[str]

    rows: int
    cols: int
    x_bits: int
    x_signed: bool
    w_bits: int
    w_signed: bool
    k_max: int
    fabric: str

    @abstractmethod
    def build(self) -> "Component":
        """Return the datapath itself; configurations do without Amaranth until it is called."""

    @abstractmethod
    def timing(self) -> DatapathTiming:
        """Return a fresh model that says when beats are taken and results appear."""

    @property
    @abstractmethod
    def weight_beat_bits(self) -> int:
        """Bits per weight beat."""

    @property
    @abstractmethod
    def weight_beats(self) -> int:
        """Beats per weight tile."""

    @property
    @abstractmethod
    def psum_width(self) -> int:
        """Signed bits per partial sum."""

    @property
    def registers(self) -> int:
        """Least flip-flops: a cell has four at least."""
        return 4 * self.rows * self.cols

    @property
    def act_lanes(self) -> int:
        """Elements per activation vector."""
        return self.rows

    def tile_k(self, mode: int) -> int:
        """Return how many of K a weight tile covers: the first so many elements of a vector."""
        return self.act_lanes

    @property
    def max_tile_rows(self) -> int | None:
        """Most activation vectors per step, None where only the accumulators limit it."""
        return None

    def sum_width(self, k: int) -> int:
        """Signed bits that hold every sum of ``k`` products exactly."""
        return sum_width(self.x_bits, self.x_signed, self.w_bits, self.w_signed, k)

    @property
    def mode_fields(self) -> tuple[ModeField, ...]:
        """Settings of a GEMM; in mode 0 the product is the plain one."""
        return ()

    @property
    def mode_bits(self) -> int:
        """Bits of a GEMM's ``mode`` that the datapath reads, 0 to 32."""
        return max((field.lsb + field.width for field in self.mode_fields), default=0)

    def mode_word(self, **settings: Any) -> int:
        """Return the ``mode`` of named settings, see `mode_fields`.

        Raises
        ------
        ConfigError
            There is no such setting, or its value does not fit this configuration.
        """
        fields = {field.name: field for field in self.mode_fields}
        word = 0
        for name, value in settings.items():
            if name not in fields:
                raise ConfigError(f"mode must have settings of {sorted(fields)}, not {name!r}")
            code = check_range(name, value, 0, (1 << fields[name].width) - 1)
            word |= code << fields[name].lsb
        self.operand_formats(word)
        return word

    def operand_formats(self, mode: int) -> tuple[tuple[int, bool], tuple[int, bool]]:
        """Return bits and signedness of the activations and of the weights under ``mode``.

        Raises
        ------
        ConfigError
            Operands of that many bits do not fit those of the configuration.
        """
        return (self.x_bits, self.x_signed), (self.w_bits, self.w_signed)


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
class EngineConfig(UnitConfig):
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
        if not isinstance(self.datapath, DatapathConfig):
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
        return self.datapath.sum_width(self.datapath.k_max)

    @property
    def lane(self) -> RequantiseConfig:
        """Configuration of the output stage's requantiser lanes."""
        return RequantiseConfig(
            acc_width=max(8, self.acc_width),
            out_bits=self.datapath.x_bits,
            out_signed=self.datapath.x_signed,
            rounding=self.rounding,
            fabric=self.datapath.fabric,
        )

    @property
    def multipliers(self) -> int:
        """Hardware multipliers of the datapath and of the requantiser lanes."""
        return self.datapath.multipliers + self.drain_lanes * self.lane.pieces

    @property
    def registers(self) -> int:
        """Least flip-flops: those of the datapath."""
        return self.datapath.registers

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
        """Groups of lanes per full row of results, which is also parameter rows per weight tile."""
        return -(-self.datapath.cols // self.drain_lanes)

    @property
    def bias_words(self) -> int:
        """Command words that carry one bias."""
        return -(-self.acc_width // 32)
