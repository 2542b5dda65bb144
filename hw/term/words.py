"""What travels between PEs: data values on their way to the stores, and slots of weight terms."""

from amaranth.hdl import Module, Signal, Value
from amaranth.lib import data

from .config import TermConfig

__all__ = ["data_term", "feed_layout", "gathered", "slot_layout", "stored_slot"]


def feed_layout(config: TermConfig) -> data.StructLayout:
    """A data value, where it is stored (half, element), and whether it is."""
    return data.StructLayout(
        {"x": config.x_stored_bits, "place": config.owner_bits + 1, "write": 1}
    )


def stored_slot(config: TermConfig) -> data.StructLayout:
    """A slot as weight beats hold it: see `TermConfig.slot_bits`."""
    place = config.slot_bits - config.owner_bits - 2
    return data.StructLayout(
        {"owner": config.owner_bits, "sign": 1, "present": 1, "place": place}
    )


def slot_layout(config: TermConfig) -> data.StructLayout:
    """A slot on its way: the term, the half of the stores that it reads, whether it is the last.

    For a tMAC also which of a value's terms it meets, or which coefficient is converted.
    """
    members = {"term": stored_slot(config), "half": 1, "end": 1}
    if config.pe == "tmac":
        members |= {"index": range(config.data_terms), "convert": 1}
        members |= {"coefficient": range(config.coefficients)}
    return data.StructLayout(members)


def data_term(config: TermConfig) -> data.StructLayout:
    """A term of a data value, as a tMAC stores it."""
    return data.StructLayout({"exponent": config.x_term_bits - 2, "sign": 1, "present": 1})


def gathered(m: Module, words: list[Value], name: str) -> Value:
    """Return the OR of words of which at most one is not 0, registered after every level of four.

    Latency: one cycle per level, ⌈log4 n⌉ and at least one.
    """
    level = 0
    while level == 0 or len(words) > 1:
        after = []
        for i in range(0, len(words), 4):
            found = Signal(len(words[0]), name=f"{name}_{level}_{i // 4}", reset_less=True)
            total: Value = words[i]
            for word in words[i + 1 : i + 4]:
                total = total | word
            m.d.sync += found.eq(total)
            after.append(found)
        words, level = after, level + 1
    return words[0]
