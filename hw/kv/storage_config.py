"""Configuration of how keys and values are stored."""

from dataclasses import dataclass

from amaranth.hdl import Shape, signed
from amaranth.lib import data

from ..config import ConfigError, check_choice, check_range
from .memory_config import MemoryConfig

__all__ = ["StorageConfig", "code_beat", "codes_beat"]

ELEMENT_BITS = 16


@dataclass(frozen=True, kw_only=True)
class StorageConfig:
    """Parameters of a `Quantiser`, a `RowWriter` and a `RowReader`.

    A row holds a head's keys or values of one token: first the scales of its groups, 16 bits each,
    from the lowest bit of word 0 on, then from the next word on its codes, each ``kv_bits``. With
    16 bits the elements are kept as they are and no scales are stored.

    Attributes
    ----------
    head_size : int
        Elements of a row, 8 to 256.
    group : int
        Elements that share a scale, a divisor of ``head_size``, 8 at least; 0 for all of a row.
    kv_bits : int
        Bits of a stored element: 4, 8 or 16.
    data_bits : int
        Bits of a word of memory, a power of two from 16 to 512; a word's codes must be of one
        group.
    """

    head_size: int = 64
    group: int = 0
    kv_bits: int = 8
    data_bits: int = 64

    def __post_init__(self) -> None:
        check_range("head_size", self.head_size, 8, 256)
        check_choice("kv_bits", self.kv_bits, (4, 8, 16))
        check_range("group", self.group, 0, self.head_size)
        if self.group and (self.group < 8 or self.head_size % self.group):
            raise ConfigError(
                f"group must be 0 or a divisor of head_size = {self.head_size} from 8, "
                f"not {self.group}"
            )
        MemoryConfig(data_bits=self.data_bits)
        check_range("data_bits", self.data_bits, ELEMENT_BITS, 512)
        if self.elements % self.lanes:
            raise ConfigError(
                f"data_bits / kv_bits must divide the {self.elements} elements of a group, "
                f"not {self.lanes}"
            )

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


def code_beat(config: StorageConfig) -> data.StructLayout:
    """Return an element as it is stored; ``last`` of its group."""
    return data.StructLayout({"code": signed(config.kv_bits), "scale": ELEMENT_BITS, "last": 1})


def codes_beat(config: StorageConfig) -> data.StructLayout:
    """Return a word of codes with their group's scale; ``failed`` if memory had none of them."""
    code: Shape = signed(config.kv_bits)
    return data.StructLayout(
        {
            "codes": data.ArrayLayout(code, config.lanes),
            "scale": ELEMENT_BITS,
            "failed": 1,
            "last": 1,
        }
    )
