"""The cache controller's registers, for hardware, manifest and host."""

from ..bus.registers import Register, RegisterBankConfig, RegisterField
from .config import KvConfig

__all__ = ["ERRORS", "kv_registers", "register_values"]

_IDENTIFICATION = 0x54574B56
ERRORS = {
    "bad_command": "a command is unknown, or names a head that does not exist",
    "bad_policy": "a START with a policy that cannot be followed",
    "no_room": "a token was refused as a head is full, or no sequence has begun",
    "too_long": "a token was refused as positions end",
    "no_tokens": "a READ or SCORE of an empty head",
}
"""Flags of the register ``errors``, from bit 0."""


def _halves(name: str, address: int, low: tuple[str, str], high: tuple[str, str]) -> Register:
    fields = (
        RegisterField(name=low[0], lsb=0, width=16, doc=low[1]),
        RegisterField(name=high[0], lsb=16, width=16, doc=high[1]),
    )
    return Register(name=name, address=address, access="ro", fields=fields)


def kv_registers(config: KvConfig) -> RegisterBankConfig:
    """Return the register bank of a controller; addresses are the same for all."""
    errors = tuple(
        RegisterField(name=name, lsb=i, width=1, doc=doc)
        for i, (name, doc) in enumerate(ERRORS.items())
    )
    busy = RegisterField(name="busy", lsb=0, width=1, doc="a command is unfinished")
    position = RegisterField(
        name="value", lsb=0, width=config.position_bits, doc="of the next token"
    )
    return RegisterBankConfig(
        address_bits=6,
        registers=(
            Register(name="id", address=0x00, access="ro", doc="0x54574B56"),
            _halves("shape", 0x04, ("heads", "KV heads"), ("slots", "slots of each head")),
            _halves("bits", 0x08, ("score_bits", "of a score"), ("weight_bits", "of a weight")),
            _halves("sizes", 0x0C, ("position_bits", "of a position"),
                    ("inputs", "places for input vectors")),
            Register(name="status", address=0x10, access="ro", fields=(busy,)),
            Register(name="errors", address=0x14, access="w1c", fields=errors),
            Register(name="position", address=0x18, access="ro", fields=(position,)),
            Register(name="tokens", address=0x20, access="counter", doc="tokens placed"),
            Register(name="evictions", address=0x24, access="counter",
                     doc="tokens evicted, in all heads"),
            Register(name="searching", address=0x28, access="counter",
                     doc="cycles in which a token waited for a victim to be found"),
        ),
    )


def register_values(config: KvConfig) -> dict[str, int]:
    """Return what the registers that describe the controller read as."""
    return {
        "id": _IDENTIFICATION,
        "shape": config.heads | config.slots << 16,
        "bits": config.score_bits | config.weight_bits << 16,
        "sizes": config.position_bits | config.inputs << 16,
    }
