"""Signed-digit encodings of integers, by name, and how many binary places each one needs."""

from ..config import ConfigError, check_choice, check_range

__all__ = ["ENCODINGS", "RADIX_4", "check_encoding", "places"]

ENCODINGS = ("binary", "booth2", "booth4", "ent", "naf", "hese")
"""Binary, Booth of radix 2 and of radix 4, EN-T, non-adjacent form, hybrid encoding (HESE)."""

RADIX_4 = frozenset({"booth4", "ent", "naf"})
"""Encodings of which places ``2 * i`` and ``2 * i + 1`` are never both in use."""


def check_encoding(encoding: str, bits: int, is_signed: bool) -> None:
    """Raise `ConfigError` unless numbers of this kind can be encoded."""
    check_choice("encoding", encoding, ENCODINGS)
    check_range("bits", bits, 1, 32)
    if not isinstance(is_signed, bool):
        raise ConfigError(f"is_signed must be True or False, not {is_signed!r}")


def places(encoding: str, bits: int, is_signed: bool) -> int:
    """Binary places of an encoded number; the largest term is at most ``2 ** (places - 1)``.

    Signed numbers need as many as they have bits, as their largest magnitude is a power of two.
    Unsigned ones need one more where runs of ones end in the place above them.
    """
    check_encoding(encoding, bits, is_signed)
    if is_signed or encoding == "binary":
        return bits
    return bits + 1
