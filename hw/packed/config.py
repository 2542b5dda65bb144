"""Configuration of the column-combining arrays."""

from dataclasses import dataclass
from typing import TYPE_CHECKING, ClassVar

from ..config import ConfigError, ModeField, check_choice, check_range, plain_fields
from .select_config import SelectConfig

if TYPE_CHECKING:
    from .array import PackedArray

__all__ = ["PackedConfig"]


@dataclass(frozen=True, kw_only=True)
class PackedConfig(SelectConfig):
    """Parameters of a `PackedArray`.

    Attributes
    ----------
    rows, cols : int
        Shape of the array, 1 to 256 each: packed columns of a weight tile, and output channels.
    x_bits, w_bits : int
        Width of activations and of weights, 2 to 8, or 16.
    x_signed, w_signed : bool
        Two's complement if true, unsigned otherwise.
    k_max : int
        Longest sum that accumulators are made for, counted in channels before packing, 1 to 2**24.
    pe : str
        What multiplies: ``"dsp"``, ``"lut"``, or ``"bit_mac"`` for bit-serial cells.
    vectors : int
        Activation vectors in flight that share a weight where cells are bit-serial, 1 to 16.
    fabric : str
        ``"portable"``: plain arithmetic. ``"ecp5"``: primitives of the Lattice ECP5, equal bit for
        bit and cycle for cycle.
    alpha : int
        Most channels that a packed column combines, 1 to 16; ``rows * alpha`` at most 256.
    """

    family: ClassVar[str] = "packed"
    weight_order: ClassVar[str] = (
        "column 0 in the least significant bits; beat j is for packed column rows - 1 - j, or j "
        "where cells are bit-serial; a column's word is the weight and above it the channel's "
        "place in its packed column"
    )

    alpha: int = 8

    def __post_init__(self) -> None:
        plain_fields(self)
        check_range("alpha", self.alpha, 1, 16)
        super().__post_init__()

    def build(self) -> "PackedArray":
        """Return the array."""
        from .array import PackedArray

        return PackedArray(self)

    @property
    def share(self) -> int:
        """Rows that serve a group together."""
        return 1

    @property
    def spans(self) -> tuple[int, ...]:
        """Channels that a packed column may have: the powers of two below alpha, and alpha."""
        return (*(1 << i for i in range((self.alpha - 1).bit_length())), self.alpha)

    @property
    def mode_fields(self) -> tuple[ModeField, ...]:
        """Settings of a GEMM."""
        if not self.mode_bits:
            return ()
        codes = ", ".join(f"{code} for {span}" for code, span in enumerate(self.spans))
        doc = f"channels of each packed column: {codes}"
        return (ModeField("channels", 0, self.mode_bits, doc),)

    def mode_word(self, **settings: int) -> int:
        """Return the ``mode`` of ``channels=``, how many a packed column has: one of `spans`.

        Raises
        ------
        ConfigError
            There is no such setting, or packed columns cannot have so many channels.
        """
        if unknown := set(settings) - {"channels"}:
            raise ConfigError(f"mode must have settings of ['channels'], not {min(unknown)!r}")
        channels = check_choice("channels", settings.get("channels", 1), self.spans)
        return self.spans.index(channels)
