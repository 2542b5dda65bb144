"""Configuration of the pager."""

from dataclasses import dataclass

from ..config import ConfigError, check_range, plain_fields

__all__ = ["STATUSES", "PagerConfig"]

STATUSES = ("done", "out_of_blocks", "too_long", "not_allocated", "in_use", "bad_sequence",
            "bad_command")  # fmt: skip
"""How a command ended, by its number."""


@dataclass(frozen=True, kw_only=True)
class PagerConfig:
    """Parameters of a `Pager`.

    Attributes
    ----------
    sequences : int
        Sequences that share the blocks, 2 to 64.
    blocks : int
        Blocks in all, 2 to 4096.
    block_tokens : int
        Tokens of a block, a power of two from 2 to 256.
    table_blocks : int
        Blocks that a sequence may have, a power of two from 2 to 4096.
    """

    sequences: int = 8
    blocks: int = 64
    block_tokens: int = 16
    table_blocks: int = 16

    def __post_init__(self) -> None:
        plain_fields(self)
        check_range("sequences", self.sequences, 2, 64)
        check_range("blocks", self.blocks, 2, 4096)
        for field, high in (("block_tokens", 256), ("table_blocks", 4096)):
            value = getattr(self, field)
            check_range(field, value, 2, high)
            if value & (value - 1):
                raise ConfigError(f"{field} must be a power of two from 2 to {high}, not {value}")

    @property
    def sequence_bits(self) -> int:
        """Bits of a sequence's number."""
        return (self.sequences - 1).bit_length()

    @property
    def block_bits(self) -> int:
        """Bits of a block's number."""
        return (self.blocks - 1).bit_length()

    @property
    def offset_bits(self) -> int:
        """Bits of a token's place in its block."""
        return self.block_tokens.bit_length() - 1

    @property
    def logical_bits(self) -> int:
        """Bits of a block's number within its sequence."""
        return self.table_blocks.bit_length() - 1

    @property
    def most_tokens(self) -> int:
        """Tokens of the longest sequence."""
        return self.block_tokens * self.table_blocks
