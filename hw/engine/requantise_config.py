"""Configuration of the requantiser: widths, rounding, and what its multipliers are made of."""

from dataclasses import dataclass

from ..config import UnitConfig, check_choice, check_range, check_width, plain_fields

__all__ = ["MULT_BITS", "PIECE_BITS", "SHIFT_BITS", "RequantiseConfig"]

MULT_BITS = 16
"""Bits of the unsigned multiplier."""
SHIFT_BITS = 6
"""Bits of the right shift: 0 to 63, all of them exact."""
PIECE_BITS = 18
"""Operand bits of one hardware multiplier; a wider sum is multiplied in pieces."""


@dataclass(frozen=True, kw_only=True)
class RequantiseConfig(UnitConfig):
    """Parameters of a `RequantiseLane` and of `Requantise`.

    Attributes
    ----------
    acc_width : int
        Signed bits of accumulator and bias, 8 to 64.
    out_bits : int
        Bits of a result, 2 to 8, or 16.
    out_signed : bool
        Whether results are signed.
    rounding : str
        ``"half_even"`` or ``"half_away"`` (from zero).
    fabric : str
        ``"portable"`` for plain products, ``"ecp5"`` for MULT18X18D with its own registers.
    """

    acc_width: int = 32
    out_bits: int = 8
    out_signed: bool = True
    rounding: str = "half_even"
    fabric: str = "portable"

    def __post_init__(self) -> None:
        plain_fields(self)
        check_range("acc_width", self.acc_width, 8, 64)
        check_width("out_bits", self.out_bits)
        check_choice("out_signed", self.out_signed, (False, True))
        check_choice("rounding", self.rounding, ("half_even", "half_away"))
        check_choice("fabric", self.fabric, ("portable", "ecp5"))

    @property
    def clamp_bits(self) -> int:
        """Signed bits of zero point and clamps: every value of the output type fits."""
        return self.out_bits + 1

    @property
    def out_range(self) -> tuple[int, int]:
        """Lowest and highest result."""
        if self.out_signed:
            return -(1 << self.out_bits - 1), (1 << self.out_bits - 1) - 1
        return 0, (1 << self.out_bits) - 1

    @property
    def product_width(self) -> int:
        """Signed bits of accumulator plus bias times multiplier."""
        return self.acc_width + 1 + MULT_BITS

    @property
    def pieces(self) -> int:
        """Hardware multipliers per lane."""
        return -(-(self.acc_width + 1) // PIECE_BITS)

    @property
    def zero_point_delay(self) -> int:
        """Enabled cycles after the accumulator at which a lane reads its zero point."""
        return 10 + (self.pieces - 1).bit_length()

    @property
    def clamp_delay(self) -> int:
        """Enabled cycles after the accumulator at which a lane reads its clamps."""
        return self.zero_point_delay + 1

    @property
    def latency(self) -> int:
        """Enabled cycles from the accumulator to its result."""
        return self.clamp_delay + 2
