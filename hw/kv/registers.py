"""The cache controller's registers, for hardware, manifest and host."""

from ..bus.registers import Register, RegisterBankConfig, RegisterField
from .config import KvConfig

__all__ = ["ERRORS", "PAGE_ERRORS", "kv_registers", "register_values"]

_IDENTIFICATION = 0x54574B56
ERRORS = {
    "bad_command": "a command is unknown, or names a head that does not exist",
    "bad_policy": "a START with a policy that cannot be followed",
    "no_room": "a token was refused as a head is full, or no sequence has begun",
    "too_long": "a token was refused as positions end",
    "no_tokens": "a READ or SCORE of an empty head",
}
"""Flags of the register ``errors``, from bit 0."""
PAGE_ERRORS = {
    "out_of_blocks": "a token of a page was refused as no block is free",
    "page_too_long": "a token of a page was refused as the sequence's table ends",
    "not_allocated": "a READ, LIST, FORK or FREE of a page that no token has",
    "in_use": "a FORK onto a sequence that has tokens",
    "bad_sequence": "a sequence does not exist",
    "bad_page_command": "a command about pages is unknown",
}
"""Flags of the register ``errors`` from bit 8, in the order of `STATUSES` after ``done``."""


def _halves(
    name: str, address: int, low: tuple[str, str], high: tuple[str, str], access: str = "ro"
) -> Register:
    fields = (
        RegisterField(name=low[0], lsb=0, width=16, doc=low[1]),
        RegisterField(name=high[0], lsb=16, width=16, doc=high[1]),
    )
    return Register(name=name, address=address, access=access, fields=fields)


def _refresh_registers() -> tuple[Register, ...]:
    """Return how often memory is refreshed, and how often it was."""
    paces = ("high", "cycles between visits of high scores"), ("low", "of low scores; 0 for none")
    costs = ("upper", "energy of a refresh of upper bytes"), ("lower", "of lower bytes")
    counts = {
        "refreshed_upper": "refreshes of a row's upper bytes",
        "refreshed_lower": "refreshes of a row's lower bytes",
        "refresh_waits": "cycles in which the memory had to wait for a refresh",
    }
    return (
        _halves("pace_upper", 0x2C, *paces, access="rw"),
        _halves("pace_lower", 0x30, *paces, access="rw"),
        _halves("cost", 0x34, *costs, access="rw"),
        *(Register(name=name, address=0x38 + 4 * i, access="counter", doc=doc)
          for i, (name, doc) in enumerate(counts.items())),
        Register(name="energy", address=0x44, access="ro", doc="of all refreshes, wrapping"),
    )  # fmt: skip


def _page_registers() -> tuple[Register, ...]:
    """Return how many pages there are, and what was done with them."""
    return (
        _halves("pages", 0x48, ("sequences", "that share blocks"), ("blocks", "in all")),
        _halves("page_sizes", 0x4C, ("block_tokens", "of a block"),
                ("table_blocks", "of a sequence")),
        Register(name="free_blocks", address=0x50, access="ro", doc="blocks that no sequence has"),
        Register(name="copies", address=0x54, access="counter", doc="blocks copied when written"),
    )  # fmt: skip


def kv_registers(config: KvConfig) -> RegisterBankConfig:
    """Return the register bank of a controller; addresses are the same for all."""
    errors = tuple(
        RegisterField(name=name, lsb=i, width=1, doc=doc)
        for i, (name, doc) in enumerate(ERRORS.items())
    )
    if config.sequences:
        errors += tuple(
            RegisterField(name=name, lsb=8 + i, width=1, doc=doc)
            for i, (name, doc) in enumerate(PAGE_ERRORS.items())
        )
    busy = RegisterField(name="busy", lsb=0, width=1, doc="a command is unfinished")
    position = RegisterField(
        name="value", lsb=0, width=config.position_bits, doc="of the next token"
    )
    return RegisterBankConfig(
        address_bits=7,
        registers=(
            Register(name="id", address=0x00, access="ro", doc="0x54574B56"),
            _halves("shape", 0x04, ("heads", "KV heads"), ("slots", "slots of each head")),
            _halves("bits", 0x08, ("score_bits", "of a score"), ("weight_bits", "of a weight")),
            _halves(
                "sizes",
                0x0C,
                ("position_bits", "of a position"),
                ("inputs", "places for input vectors"),
            ),
            Register(name="status", address=0x10, access="ro", fields=(busy,)),
            Register(name="errors", address=0x14, access="w1c", fields=errors),
            Register(name="position", address=0x18, access="ro", fields=(position,)),
            Register(name="tokens", address=0x20, access="counter", doc="tokens placed"),
            Register(
                name="evictions", address=0x24, access="counter", doc="tokens evicted, in all heads"
            ),
            Register(
                name="searching",
                address=0x28,
                access="counter",
                doc="cycles in which a token waited for a victim to be found",
            ),
            *(_refresh_registers() if config.refresh_slack else ()),
            *(_page_registers() if config.sequences else ()),
        ),
    )


def register_values(config: KvConfig) -> dict[str, int]:
    """Return what the registers that describe the controller read as."""
    pages = {
        "pages": config.sequences | config.blocks << 16,
        "page_sizes": config.block_tokens | config.table_blocks << 16,
    }
    return {
        "id": _IDENTIFICATION,
        "shape": config.heads | config.slots << 16,
        "bits": config.score_bits | config.weight_bits << 16,
        "sizes": config.position_bits | config.inputs << 16,
        **(pages if config.sequences else {}),
    }
