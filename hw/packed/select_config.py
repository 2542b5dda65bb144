"""What arrays of selecting cells have in common: lines, widths, modes and time."""

from abc import abstractmethod
from dataclasses import dataclass

from ..config import ConfigError, check_choice, check_range, check_width, plain_fields
from ..engine.config import DatapathConfig
from ..serial.config import SerialConfig, SerialTiming
from ..systolic.config import WsTiming

__all__ = ["SelectConfig", "SelectSerialConfig", "select_stages"]

MAX_LANES = 256
"""Most elements of an activation vector: a position in the engine's buffer has 8 bits for them."""


def select_stages(bits: int) -> int:
    """Return the cycles in which a choice of ``bits`` bits is made: two bits in each."""
    return (bits + 1) // 2


@dataclass(frozen=True, kw_only=True)
class SelectConfig(DatapathConfig):
    """Parameters of a `SelectArray`, a weight-stationary array of cells that select.

    Channels stand in groups side by side, and ``share`` rows serve a group together. A family says
    how many rows that are, and in its ``spans`` how many channels a group may have.

    Attributes
    ----------
    rows, cols : int
        Shape of the array, 1 to 256 each.
    x_bits, w_bits : int
        Width of activations and of weights, 2 to 8, or 16.
    x_signed, w_signed : bool
        Two's complement if true, unsigned otherwise.
    k_max : int
        Longest sum that accumulators are made for, 1 to 2**24.
    pe : str
        What multiplies: ``"dsp"``, ``"lut"``, or ``"bit_mac"`` for bit-serial cells.
    vectors : int
        Activation vectors in flight that share a weight where cells are bit-serial, 1 to 16.
    fabric : str
        ``"portable"`` or ``"ecp5"``.
    """

    rows: int = 4
    cols: int = 8
    x_bits: int = 8
    w_bits: int = 8
    x_signed: bool = True
    w_signed: bool = True
    k_max: int = 65536
    pe: str = "dsp"
    vectors: int = 4
    fabric: str = "portable"

    def __post_init__(self) -> None:
        plain_fields(self)
        check_range("rows", self.rows, 1, 256)
        check_range("cols", self.cols, 1, 256)
        check_width("x_bits", self.x_bits)
        check_width("w_bits", self.w_bits)
        check_choice("x_signed", self.x_signed, (True, False))
        check_choice("w_signed", self.w_signed, (True, False))
        check_range("k_max", self.k_max, 1, 1 << 24)
        check_choice("pe", self.pe, ("dsp", "lut", "bit_mac"))
        check_range("vectors", self.vectors, 1, 16)
        check_choice("fabric", self.fabric, ("portable", "ecp5"))
        if self.act_lanes > MAX_LANES:
            most = MAX_LANES // self.spans[-1] * self.share
            raise ConfigError(
                f"rows must be at most {most} with {self.spans[-1]} channels for each "
                f"{self.share}, not {self.rows}"
            )

    # -- what a family decides

    @property
    @abstractmethod
    def share(self) -> int:
        """Rows that serve a group together."""

    @property
    @abstractmethod
    def spans(self) -> tuple[int, ...]:
        """Channels that a group may have, one entry per mode, rising."""

    # -- groups and lines

    @property
    def lines(self) -> int:
        """Input lines of a cell.

        The rows of a group take their channels in rising order, so that the first ones and the last
        ones of the group are out of reach for some: ``span - share + 1`` are left to each.
        """
        return self.spans[-1] - self.share + 1

    @property
    def index_bits(self) -> int:
        """Bits of a cell's choice."""
        return (self.lines - 1).bit_length()

    @property
    def act_lanes(self) -> int:
        """Elements per activation vector."""
        return self.rows // self.share * self.spans[-1]

    def span(self, mode: int) -> int:
        """Return the channels of a group under ``mode``; modes beyond the last one are the last."""
        mode &= (1 << self.mode_bits) - 1
        return self.spans[min(mode, len(self.spans) - 1)]

    def tile_k(self, mode: int) -> int:
        """Return how many of K a weight tile covers: the elements of a vector that are read."""
        return self.rows // self.share * self.span(mode)

    @property
    def mode_bits(self) -> int:
        """Bits of a GEMM's ``mode`` that are read."""
        return (len(self.spans) - 1).bit_length()

    # -- widths

    @property
    def word_bits(self) -> int:
        """Bits of a cell's weight and choice."""
        return self.w_bits + self.index_bits

    @property
    def weight_beat_bits(self) -> int:
        """Bits per weight beat: weight and choice for every column."""
        return self.cols * self.word_bits

    @property
    def weight_beats(self) -> int:
        """Beats per weight tile."""
        return self.rows

    @property
    def groups(self) -> tuple[int, ...]:
        """Columns that work in step: each by itself, as no two select alike."""
        return (1,) * self.cols

    @property
    def multipliers(self) -> int:
        """DSP multipliers used."""
        return self.rows * self.cols if self.pe == "dsp" else 0

    @property
    def psum_width(self) -> int:
        """Signed bits per partial sum, enough for sums of ``rows`` products."""
        return self.sum_width(self.rows)

    # -- time

    @property
    def serial(self) -> "SelectSerialConfig":
        """The array of bit-serial cells."""
        return SelectSerialConfig(
            pe="bit_mac",
            rows=self.rows,
            cols=self.cols,
            vectors=self.vectors,
            x_bits=self.x_bits,
            w_bits=self.w_bits,
            x_signed=self.x_signed,
            w_signed=self.w_signed,
            k_max=self.k_max,
            fabric=self.fabric,
            select=self,
        )

    @property
    def pe_latency(self) -> int:
        """Cycles from the lines of a cell to its product: to select, and those of the kind.

        A bit-serial cell gives a bit of its sum a cycle after those that it is made from.
        """
        if self.pe == "bit_mac":
            return 0
        digits = -(-self.w_bits // 2)
        return self.select_latency + (4 if self.pe == "dsp" else 2 + (digits - 1).bit_length())

    @property
    def select_latency(self) -> int:
        """Cycles from the lines of a word-parallel cell to the one that it selects."""
        return 1 + select_stages(self.index_bits)

    @property
    def latency(self) -> int:
        """Cycles from the acceptance of a vector to its psum beat, nothing being waited for."""
        if self.pe == "bit_mac":
            return self.serial.latency + self.psum_width
        return self.rows + self.cols + self.pe_latency + 1

    @property
    def ii(self) -> int:
        """Fewest cycles from one step to the next."""
        return self.serial.ii if self.pe == "bit_mac" else max(self.rows, 4)

    def timing(self) -> WsTiming | SerialTiming:
        """Return the model that says when beats are taken and results appear."""
        if self.pe == "bit_mac":
            return SerialTiming(self.serial)
        return WsTiming(self.rows, self.latency)


@dataclass(frozen=True, kw_only=True)
class SelectSerialConfig(SerialConfig):
    """Parameters of a `SelectSerialArray`: those of a serial array, and what its cells select.

    Attributes
    ----------
    select : SelectConfig
        Lines, groups and modes.
    """

    select: SelectConfig

    @property
    def lines(self) -> int:  # type: ignore[override]
        """Input lines of a cell."""
        return self.select.lines

    @property
    def index_bits(self) -> int:  # type: ignore[override]
        """Bits of a cell's choice."""
        return self.select.index_bits

    @property
    def act_lanes(self) -> int:
        """Elements per activation vector."""
        return self.select.act_lanes

    @property
    def weight_beat_bits(self) -> int:
        """Bits per weight beat: weight and choice for every column."""
        return self.select.weight_beat_bits

    @property
    def mode_bits(self) -> int:
        """Bits of a GEMM's ``mode`` that are read."""
        return self.select.mode_bits

    def passes(self, mode: int, digits: int) -> int:
        """Return the passes of a vector: the bits of a sum."""
        return self.psum_width
