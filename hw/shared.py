"""Submodules that are elaborated once and instantiated many times."""

from collections.abc import Callable
from contextvars import ContextVar
from typing import Protocol

from amaranth.hdl import ClockSignal, Instance, Module, ResetInserter, ResetSignal, Value
from amaranth.lib import wiring
from amaranth.lib.wiring import flipped

__all__ = ["Library", "Shared", "active_library"]


class Library(Protocol):
    """Collects the modules that a design shares while it is being emitted."""

    def add(
        self, name: str, key: object, build: Callable[[], wiring.Component]
    ) -> tuple[str, set[str]]:
        """Emit ``build()`` unless ``key`` is known; return its module name and its port names."""


active_library: ContextVar[Library | None] = ContextVar("active_library", default=None)

_signatures: dict[tuple[type, object], wiring.Signature] = {}


class Shared(wiring.Component):
    """An instance of ``component(config)`` whose module is emitted only once.

    With a library active (Verilog emission) this elaborates to an instance of the shared module;
    without one (simulation in Python) it elaborates to the component itself.

    Parameters
    ----------
    component : type
        A `wiring.Component` whose constructor takes ``config`` and nothing else.
    config : object
        Hashable; equal configurations share one module.
    name : str
        Module name; a number is appended where configurations differ.
    reset : Value, optional
        What resets it instead of the clock domain's reset, which it must include.
    """

    def __init__(
        self,
        component: Callable[..., wiring.Component],
        config: object,
        name: str,
        reset: Value | None = None,
    ):
        self._build = lambda: component(config)
        self._key = (component, config)
        self._name = name
        self._reset = reset
        if self._key not in _signatures:
            probe = self._build()
            probe._MustUse__used = True  # only its signature is wanted
            _signatures[self._key] = probe.signature
        super().__init__(_signatures[self._key])

    def elaborate(self, platform):
        library = active_library.get()
        if library is None:
            m = Module()
            inner = self._build()
            m.submodules.inner = inner if self._reset is None else ResetInserter(self._reset)(inner)
            wiring.connect(m, flipped(self), inner)
            return m
        name, ports = library.add(self._name, self._key, self._build)
        arguments = {}
        for path, member, value in self.signature.flatten(self):
            port = "__".join(str(part) for part in path)
            arguments[("i_" if member.flow == wiring.In else "o_") + port] = value
        if "clk" in ports:
            arguments["i_clk"] = ClockSignal()
        if "rst" in ports:
            arguments["i_rst"] = ResetSignal() if self._reset is None else self._reset
        return Instance(name, **arguments)
