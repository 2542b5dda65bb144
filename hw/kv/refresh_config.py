"""Configuration of the refresh scheduler."""

from dataclasses import dataclass

from ..config import ConfigError, check_range, plain_fields

__all__ = ["RefreshConfig"]


@dataclass(frozen=True, kw_only=True)
class RefreshConfig:
    """Parameters of a `Refresher`: one half, upper or lower bytes, of all rows of a cache.

    Attributes
    ----------
    rows : int
        Rows, 2 to 65536.
    slack : int
        Visits of rows that may be due before the memory is made to wait, 2 to 255.
    pace_bits : int
        Bits of the cycles between two visits, 2 to 24.
    """

    rows: int = 128
    slack: int = 15
    pace_bits: int = 16

    def __post_init__(self) -> None:
        plain_fields(self)
        check_range("rows", self.rows, 2, 65536)
        check_range("slack", self.slack, 2, 255)
        check_range("pace_bits", self.pace_bits, 2, 24)

    def pace(self, interval: int) -> int:
        """Return the cycles between two visits so that no row waits longer than ``interval``.

        Raises
        ------
        ConfigError
            The interval is too short for so many rows, or too long for ``pace_bits``.
        """
        pace = interval // (self.rows + self.slack)
        if not 2 <= pace < 1 << self.pace_bits:
            low, high = (p * (self.rows + self.slack) for p in (2, 1 << self.pace_bits))
            raise ConfigError(
                f"interval must be an integer from {low} to {high - 1} cycles, not {interval}"
            )
        return pace

    def longest(self, pace: int) -> int:
        """Return the most cycles between two refreshes of a row."""
        return pace * (self.rows + self.slack)
