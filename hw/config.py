"""What the configurations of all units share: validation with one clear sentence, modes."""

from contextlib import suppress
from dataclasses import dataclass, fields
from typing import Any, ClassVar

__all__ = [
    "ConfigError", "ModeField", "UnitConfig", "check_choice", "check_range", "check_width",
    "plain_fields",
]  # fmt: skip


class ConfigError(ValueError):
    """A configuration that cannot be built; the message names field, value and range."""


class UnitConfig:
    """What general code reads of the configuration of any unit, which extends this class.

    Those are dataclasses.
    """

    __dataclass_fields__: ClassVar[dict[str, Any]]

    @property
    def latency(self) -> int | None:
        """Cycles from an input to its output, None where there is no such number."""
        return None

    @property
    def multipliers(self) -> int:
        """Least hardware multipliers that the unit needs."""
        return 0

    @property
    def registers(self) -> int:
        """Least flip-flops that the unit needs."""
        return 0

    @property
    def memory_bits(self) -> int:
        """Least bits of memory that the unit needs."""
        return 0

    @property
    def parameter_words(self) -> int:
        """Words that the unit takes in before it computes."""
        return 0


def plain_fields(config: Any) -> None:
    """Turn what NumPy made of a configuration's fields into Python's numbers, lists into tuples.

    A NumPy integer has a width of its own, in which sums of widths and depths would wrap.
    """
    for field in fields(config):
        object.__setattr__(config, field.name, _plain(getattr(config, field.name)))


def _plain(value: Any) -> Any:
    if type(value).__module__ == "numpy":
        with suppress(AttributeError):  # types of NumPy's are none of its numbers
            value = value.tolist()
    return tuple(map(_plain, value)) if isinstance(value, list | tuple) else value


def check_range(field: str, value: object, low: int, high: int) -> int:
    """Return ``value`` as an int; raise `ConfigError` unless it is an integer in ``low..high``."""
    plain = _plain(value)
    if isinstance(plain, bool) or not isinstance(plain, int) or not low <= plain <= high:
        raise ConfigError(f"{field} must be an integer from {low} to {high}, not {value!r}")
    return plain


def check_choice(field: str, value: object, choices: tuple[object, ...]) -> Any:
    """Return the one of ``choices`` that ``value`` is, of the same type; else `ConfigError`."""
    plain = _plain(value)
    for choice in choices:
        if type(plain) is type(choice) and plain == choice:
            return choice
    legal = ", ".join(repr(choice) for choice in choices)
    raise ConfigError(f"{field} must be one of {legal}, not {value!r}")


def check_width(field: str, value: object) -> None:
    """Raise `ConfigError` unless ``value`` is an operand width: 2 to 8 bits, or 16."""
    plain = _plain(value)
    if isinstance(plain, bool) or not isinstance(plain, int) or plain not in (*range(2, 9), 16):
        raise ConfigError(f"{field} must be an integer from 2 to 8, or 16, not {value!r}")


@dataclass(frozen=True)
class ModeField:
    """A setting of a GEMM: its place in the word ``mode`` and what it means."""

    name: str
    lsb: int
    width: int
    doc: str
