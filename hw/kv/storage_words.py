"""What the streams of the storage and of its memory carry."""

from amaranth.hdl import signed
from amaranth.lib import data

from .memory_config import MemoryConfig
from .storage_config import ELEMENT_BITS, StorageConfig

__all__ = ["code_beat", "codes_beat", "request_word", "word_beat"]


def request_word(config: MemoryConfig) -> data.StructLayout:
    """Return a request: read a word, or ``write`` it."""
    return data.StructLayout({"write": 1, "address": config.address_bits, "data": config.data_bits})


def word_beat(config: MemoryConfig) -> data.StructLayout:
    """Return a word that was read; 0 and ``failed`` where the memory has none."""
    return data.StructLayout({"data": config.data_bits, "failed": 1})


def code_beat(config: StorageConfig) -> data.StructLayout:
    """Return an element as it is stored; ``last`` of its group."""
    return data.StructLayout({"code": signed(config.kv_bits), "scale": ELEMENT_BITS, "last": 1})


def codes_beat(config: StorageConfig) -> data.StructLayout:
    """Return a word of codes with their group's scale; ``failed`` if memory had none of them."""
    codes = data.ArrayLayout(signed(config.kv_bits), config.lanes)
    return data.StructLayout({"codes": codes, "scale": ELEMENT_BITS, "failed": 1, "last": 1})
