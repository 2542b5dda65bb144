"""Configuration of the memory of keys and values."""

from dataclasses import dataclass

from ..config import ConfigError, check_range, plain_fields

__all__ = ["MemoryConfig"]


@dataclass(frozen=True, kw_only=True)
class MemoryConfig:
    """Parameters of a `BlockMemory` or `WishboneMemory`.

    Attributes
    ----------
    words : int
        Words, 2 to 2**28.
    data_bits : int
        Bits of a word, a power of two from 8 to 512.
    outstanding : int
        Requests that may be unanswered, a power of two from 4 to 256: at least the memory's
        latency and 3 more keep one word a cycle going.
    """

    words: int = 4096
    data_bits: int = 64
    outstanding: int = 16

    def __post_init__(self) -> None:
        plain_fields(self)
        check_range("words", self.words, 2, 1 << 28)
        for field, low, high in (("data_bits", 8, 512), ("outstanding", 4, 256)):
            value = getattr(self, field)
            check_range(field, value, low, high)
            if value & (value - 1):
                raise ConfigError(
                    f"{field} must be a power of two from {low} to {high}, not {value}"
                )

    @property
    def address_bits(self) -> int:
        """Bits of a word's number."""
        return (self.words - 1).bit_length()
