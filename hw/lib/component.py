"""The base of all components: each becomes one Verilog module."""

import functools
from collections.abc import Callable
from contextvars import ContextVar
from typing import TYPE_CHECKING, Any, Protocol

from amaranth.hdl import Elaboratable, ResetInserter, Value
from amaranth.lib import wiring

__all__ = ["Component", "Library", "active_library"]


class Library(Protocol):
    """Collects the modules of a design while it is being emitted."""

    def place(self, component: "Component", elaborate: Callable[[], Any]) -> Any:
        """Return an instance of a component's module, or what it elaborates to."""


active_library: ContextVar[Library | None] = ContextVar("active_library", default=None)


class Component(wiring.Component):
    """A component that is a module of its own, with its declared ports, where it is emitted.

    Components of one class that were made with equal arguments are one module. So nothing that a
    component holds may be changed from outside, and no signal that is not among its members may be
    read or driven from outside.

    With a library active (emission) a submodule elaborates to an instance of its module; without
    one (simulation in Python, proofs) it elaborates to its contents.
    """

    _made_from: tuple[Any, ...]
    _reset: Value | None

    def __new__(cls, *args, **kwargs):
        self = super().__new__(cls)
        self._made_from = (cls, args, tuple(sorted(kwargs.items())))
        self._reset = None
        return self

    if TYPE_CHECKING:

        def elaborate(self, platform: Any) -> Any:
            """Return the contents."""

    def reset_by(self, reset: Value) -> None:
        """Reset this by ``reset`` instead of its clock domain's reset, which it must include."""
        self._reset = reset

    def __init_subclass__(cls, **kwargs):
        super().__init_subclass__(**kwargs)
        if "elaborate" in vars(cls):
            cls.elaborate = _placed(cls.elaborate)


def _placed(elaborate):
    @functools.wraps(elaborate)
    def placed(self, platform):
        library = active_library.get()
        if library is None:
            contents = elaborate(self, platform)
            return contents if self._reset is None else ResetInserter(self._reset)(contents)
        return library.place(self, lambda: elaborate(self, platform))

    return placed


def parts_of(component: Component) -> list[Elaboratable]:
    """Return the elaboratables that a component made in its constructor."""
    parts = []
    for value in vars(component).values():
        values = value if isinstance(value, list | tuple) else [value]
        parts += [part for part in values if isinstance(part, Elaboratable)]
    return parts
