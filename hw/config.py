"""What the configurations of all families share: validation with one clear sentence, modes."""

from dataclasses import dataclass

__all__ = ["ConfigError", "ModeField", "check_choice", "check_range", "check_width"]


class ConfigError(ValueError):
    """A configuration that cannot be built; the message names field, value and range."""


def check_range(field: str, value: object, low: int, high: int) -> None:
    """Raise `ConfigError` unless ``value`` is an integer in ``low..high``."""
    if isinstance(value, bool) or not isinstance(value, int) or not low <= value <= high:
        raise ConfigError(f"{field} must be an integer from {low} to {high}, not {value!r}")


def check_choice(field: str, value: object, choices: tuple[object, ...]) -> None:
    """Raise `ConfigError` unless ``value`` is one of ``choices`` (of the same type)."""
    if not any(value == choice and type(value) is type(choice) for choice in choices):
        legal = ", ".join(repr(choice) for choice in choices)
        raise ConfigError(f"{field} must be one of {legal}, not {value!r}")


def check_width(field: str, value: object) -> None:
    """Raise `ConfigError` unless ``value`` is an operand width: 2 to 8 bits, or 16."""
    if isinstance(value, bool) or not isinstance(value, int) or value not in (*range(2, 9), 16):
        raise ConfigError(f"{field} must be an integer from 2 to 8, or 16, not {value!r}")


@dataclass(frozen=True)
class ModeField:
    """A setting of a GEMM: its place in the word ``mode`` and what it means."""

    name: str
    lsb: int
    width: int
    doc: str
