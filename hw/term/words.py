"""What travels between PEs: data values on their way to the stores, and slots of weight terms."""

from typing import Any

from amaranth.hdl import Cat, Module, Signal, Value
from amaranth.lib import data, memory
from amaranth.lib.wiring import In, Out

from ..arith.local import local_copy
from .config import TermConfig

__all__ = [
    "data_term", "feed_layout", "gathered", "pe_members", "slot_and_value", "slot_layout",
    "stored_slot",
]  # fmt: skip


def feed_layout(config: TermConfig) -> data.StructLayout:
    """A data value, where it is stored (half, element), and whether it is."""
    return data.StructLayout(
        {"x": config.x_stored_bits, "place": config.owner_bits + 1, "write": 1}
    )


def stored_slot(config: TermConfig) -> data.StructLayout:
    """A slot as weight beats hold it: see `TermConfig.slot_bits`."""
    place = config.slot_bits - config.owner_bits - 2
    return data.StructLayout({"owner": config.owner_bits, "sign": 1, "present": 1, "place": place})


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
        after: list[Value] = []
        for i in range(0, len(words), 4):
            found = Signal(len(words[0]), name=f"{name}_{level}_{i // 4}", reset_less=True)
            total: Value = words[i]
            for word in words[i + 1 : i + 4]:
                total = total | word
            m.d.sync += found.eq(total)
            after.append(found)
        words, level = after, level + 1
    return words[0]


def pe_members(config: TermConfig) -> dict[str, Any]:
    """Members of a PE of either kind: data values and slots on their way, and its sum."""
    feed, slot = feed_layout(config), slot_layout(config)
    return {
        "feed": In(feed),
        "slot": In(slot),
        "feed_next": Out(feed),
        "slot_next": Out(slot),
        "sums": Out(config.psum_width),
    }


def slot_and_value(m: Module, pe: Any, config: TermConfig) -> tuple[Any, Value]:
    """Pass data and slots on, store data; return the slot and the value stored for its owner.

    All of a slot but its term is the same in PEs of a diagonal; each keeps it for itself.
    """
    feed = Signal.like(pe.feed, name="feed", reset_less=True)
    term = Signal.like(pe.slot.term, name="term", reset_less=True)
    slot = Signal.like(pe.slot, name="slot")
    m.d.sync += [feed.eq(pe.feed), term.eq(pe.slot.term)]
    common = local_copy(m, pe.slot.as_value()[len(term.as_value()) :], "common", config.fabric)
    m.d.comb += [
        slot.as_value().eq(Cat(term, common)),
        pe.feed_next.eq(feed),
        pe.slot_next.eq(slot),
    ]
    store: memory.Memory = memory.Memory(
        shape=config.x_stored_bits, depth=2 * config.rows, init=[],
        attrs={"ram_style": "distributed"},
    )  # fmt: skip
    m.submodules.store = store
    write = store.write_port()
    read = store.read_port(domain="comb")
    m.d.comb += [
        write.addr.eq(feed.place),
        write.data.eq(feed.x),
        write.en.eq(feed.write),
        read.addr.eq(Cat(slot.term.owner, slot.half)),
    ]
    return slot, read.data
