"""Configuration of the arrays for N:M structured sparsity."""

from dataclasses import dataclass
from typing import TYPE_CHECKING, ClassVar

from ..config import ConfigError, ModeField, check_choice, check_range, plain_fields
from ..packed.select_config import SelectConfig

if TYPE_CHECKING:
    from .array import NmArray

__all__ = ["NmConfig"]


@dataclass(frozen=True, kw_only=True)
class NmConfig(SelectConfig):
    """Parameters of an `NmArray`.

    Attributes
    ----------
    rows, cols : int
        Shape of the array, 1 to 256 each: weights along K of a tile, a multiple of ``n``, and
        output channels.
    x_bits, w_bits : int
        Width of activations and of weights, 2 to 8, or 16.
    x_signed, w_signed : bool
        Two's complement if true, unsigned otherwise.
    k_max : int
        Longest sum that accumulators are made for, counted before packing, 1 to 2**24.
    pe : str
        What multiplies: ``"dsp"``, ``"lut"``, or ``"bit_mac"`` for bit-serial cells.
    vectors : int
        Activation vectors in flight that share a weight where cells are bit-serial, 1 to 16.
    fabric : str
        ``"portable"``: plain arithmetic. ``"ecp5"``: primitives of the Lattice ECP5, equal bit for
        bit and cycle for cycle.
    n, m : int
        Of each ``m`` consecutive channels an output has weights for at most ``n``; ``m`` from 1 to
        16, ``n`` from 1 to ``m``; ``rows / n * m`` at most 256.
    """

    family: ClassVar[str] = "nm"
    weight_order: ClassVar[str] = (
        "column 0 in the least significant bits; beat j is for row rows - 1 - j, or j where cells "
        "are bit-serial; a column's word is the weight and above it its channel's place in the "
        "group, less the row's own place among the n"
    )

    rows: int = 8
    n: int = 2
    m: int = 4

    def __post_init__(self) -> None:
        plain_fields(self)
        check_range("m", self.m, 1, 16)
        check_range("n", self.n, 1, self.m)
        check_range("rows", self.rows, 1, 256)
        if self.rows % self.n:
            raise ConfigError(f"rows must be a multiple of n={self.n}, not {self.rows}")
        super().__post_init__()

    def build(self) -> "NmArray":
        """Return the array."""
        from .array import NmArray

        return NmArray(self)

    @property
    def share(self) -> int:
        """Rows that serve a group together."""
        return self.n

    @property
    def spans(self) -> tuple[int, ...]:
        """Channels that a group may have: as many as rows serve it (dense), or ``m``."""
        return (self.n, self.m) if self.n < self.m else (self.m,)

    @property
    def mode_fields(self) -> tuple[ModeField, ...]:
        """Settings of a GEMM."""
        if not self.mode_bits:
            return ()
        return (ModeField("sparse", 0, 1, f"0: dense weights, 1: {self.n} of each {self.m}"),)

    def mode_word(self, **settings: int) -> int:
        """Return the ``mode`` of ``sparse=``: 0 for dense weights, 1 for N:M.

        Raises
        ------
        ConfigError
            There is no such setting, or it is neither 0 nor 1.
        """
        if unknown := set(settings) - {"sparse"}:
            raise ConfigError(f"mode must have settings of ['sparse'], not {min(unknown)!r}")
        return check_choice("sparse", settings.get("sparse", 0), (0, 1))
