"""Configuration of how keys and values are stored."""

from dataclasses import dataclass

from ..config import ConfigError, UnitConfig, check_choice, check_range, plain_fields
from .memory_config import MemoryConfig

__all__ = ["ELEMENT_BITS", "MEMORIES", "StorageConfig"]

ELEMENT_BITS = 16
"""Bits of an element before it is stored, and of a scale."""
MEMORIES = ("block", "wishbone")
"""Where rows are: in block RAM, or in a memory behind Wishbone."""


@dataclass(frozen=True, kw_only=True)
class StorageConfig(UnitConfig):
    """Parameters of a `KvStorage`.

    A row holds a head's keys or values of one token: first the scales of its groups, 16 bits each,
    from the lowest bit of word 0 on, then from the next word on its codes, each ``kv_bits``. With
    16 bits the elements are kept as they are and no scales are stored.

    Attributes
    ----------
    head_size : int
        Elements of a row, 32 to 256.
    group : int
        Elements that share a scale, a divisor of ``head_size``, 8 at least; 0 for all of a row.
    kv_bits : int
        Bits of a stored element: 4, 8 or 16.
    data_bits : int
        Bits of a word of memory, a power of two from 16 to 512; a word's codes must be of one
        group.
    rows : int
        Rows, 2 to 65536: for keys and values apart twice as many as tokens that heads keep.
    memory : str
        ``"block"`` or ``"wishbone"``, see `MEMORIES`.
    outstanding : int
        Words that may be asked for and not yet there, see `MemoryConfig`.
    """

    head_size: int = 64
    group: int = 0
    kv_bits: int = 8
    data_bits: int = 64
    rows: int = 256
    memory: str = "block"
    outstanding: int = 16

    def __post_init__(self) -> None:
        plain_fields(self)
        check_range("head_size", self.head_size, 32, 256)
        check_choice("kv_bits", self.kv_bits, (4, 8, 16))
        check_range("group", self.group, 0, self.head_size)
        if self.group and (self.group < 8 or self.head_size % self.group):
            raise ConfigError(
                f"group must be 0 or a divisor of head_size = {self.head_size} from 8, "
                f"not {self.group}"
            )
        MemoryConfig(data_bits=self.data_bits, outstanding=self.outstanding)
        check_range("data_bits", self.data_bits, ELEMENT_BITS, 512)
        if self.elements % self.lanes:
            raise ConfigError(
                f"data_bits / kv_bits must divide the {self.elements} elements of a group, "
                f"not {self.lanes}"
            )
        check_range("rows", self.rows, 2, 65536)
        check_choice("memory", self.memory, MEMORIES)

    @property
    def elements(self) -> int:
        """Elements that share a scale."""
        return self.group or self.head_size

    @property
    def lanes(self) -> int:
        """Codes in a word."""
        return self.data_bits // self.kv_bits

    @property
    def highest(self) -> int:
        """Largest code."""
        return (1 << self.kv_bits - 1) - 1

    @property
    def scale_words(self) -> int:
        """Words of a row before its codes."""
        if self.kv_bits == ELEMENT_BITS:
            return 0
        return -(-self.head_size // self.elements * ELEMENT_BITS // self.data_bits)

    @property
    def code_words(self) -> int:
        """Words of a row's codes."""
        return self.head_size // self.lanes

    @property
    def row_words(self) -> int:
        """Words from one row to the next: a power of two."""
        return 1 << (self.scale_words + self.code_words - 1).bit_length()

    @property
    def words(self) -> MemoryConfig:
        """Of the memory."""
        return MemoryConfig(
            words=self.rows * self.row_words,
            data_bits=self.data_bits,
            outstanding=self.outstanding,
        )

    @property
    def memory_bits(self) -> int:
        """Bits of memory inside that rows take."""
        return self.words.words * self.data_bits if self.memory == "block" else 0

    @property
    def write_cycles(self) -> int:
        """Cycles from one row that is written to the next, where nothing waits."""
        return self.head_size + self.scale_words + 2

    @property
    def read_cycles(self) -> int:
        """Cycles from one row that is read to the next, where nothing waits."""
        return self.scale_words + self.code_words + 1
