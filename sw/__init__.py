"""Quantiser, importers, lowering, cycle model and runtime."""

from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from .engine import Engine, Stats

__all__ = ["Engine", "Stats"]


def __getattr__(name: str) -> Any:
    """Import what is asked for only then, so that the command line starts at once."""
    if name in __all__:
        from . import engine

        return getattr(engine, name)
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
