"""Configuration of the arrays for ternary weights."""

from dataclasses import dataclass
from typing import TYPE_CHECKING, ClassVar

from ..config import check_choice, check_range, check_width, plain_fields
from ..engine.config import DatapathConfig
from ..systolic.config import WsTiming

if TYPE_CHECKING:
    from .array import TernaryArray

__all__ = ["TernaryConfig"]


@dataclass(frozen=True, kw_only=True)
class TernaryConfig(DatapathConfig):
    """Parameters of a `TernaryArray`.

    Attributes
    ----------
    rows, cols : int
        Shape of the array, 1 to 256 each. An activation vector has ``rows`` elements.
    x_bits : int
        Width of activations, 2 to 8, or 16.
    x_signed : bool
        Two's complement if true, unsigned otherwise.
    k_max : int
        Longest sum that accumulators are made for, 1 to 2**24.
    fabric : str
        ``"portable"``: plain arithmetic. ``"ecp5"``: carry cells of the Lattice ECP5, equal bit for
        bit and cycle for cycle.
    """

    family: ClassVar[str] = "ternary"
    weight_order: ClassVar[str] = (
        "column 0 in the least significant bits; beat j holds row rows - 1 - j; of a weight the "
        "lower bit is high where it is not 0, the upper one where it is -1"
    )
    w_bits: ClassVar[int] = 2  # type: ignore[misc]
    w_signed: ClassVar[bool] = True  # type: ignore[misc]

    rows: int = 8
    cols: int = 8
    x_bits: int = 8
    x_signed: bool = True
    k_max: int = 65536
    fabric: str = "portable"

    def __post_init__(self) -> None:
        plain_fields(self)
        check_range("rows", self.rows, 1, 256)
        check_range("cols", self.cols, 1, 256)
        check_width("x_bits", self.x_bits)
        check_choice("x_signed", self.x_signed, (True, False))
        check_range("k_max", self.k_max, 1, 1 << 24)
        check_choice("fabric", self.fabric, ("portable", "ecp5"))

    def build(self) -> "TernaryArray":
        """Return the array."""
        from .array import TernaryArray

        return TernaryArray(self)

    @property
    def groups(self) -> tuple[int, ...]:
        """Columns that work in step: each by itself."""
        return (1,) * self.cols

    @property
    def weight_beat_bits(self) -> int:
        """Bits per weight beat: one weight for every column."""
        return self.cols * self.w_bits

    @property
    def weight_beats(self) -> int:
        """Beats per weight tile."""
        return self.rows

    def sum_width(self, k: int) -> int:
        """Signed bits that hold every sum of ``k`` activations, added or subtracted."""
        most = 1 << self.x_bits - 1 if self.x_signed else (1 << self.x_bits) - 1
        return (k * most).bit_length() + 1

    @property
    def psum_width(self) -> int:
        """Signed bits per partial sum."""
        return self.sum_width(self.rows)

    @property
    def latency(self) -> int:
        """Cycles from the acceptance of a vector to its psum beat, nothing being waited for."""
        return self.rows + self.cols + 2

    def timing(self) -> WsTiming:
        """Return the model that says when beats are taken and results appear."""
        return WsTiming(self.rows, self.latency)
