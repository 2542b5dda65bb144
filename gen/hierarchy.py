"""A component as RTLIL in which every component is one module."""

import gc
import inspect
import re
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field, fields, is_dataclass
from itertools import groupby
from typing import Any

from amaranth.back import rtlil  # type: ignore[attr-defined]  # no stubs
from amaranth.hdl import ClockSignal, Fragment, Instance, ResetSignal, Signal, Value
from amaranth.hdl._ast import SignalDict
from amaranth.hdl._ir import PortDirection
from amaranth.lib import wiring

from ..hw.bus.axi_stream import AxiStreamTop
from ..hw.lib.component import Component, active_library, parts_of

__all__ = ["Design", "ModuleNotes", "convert", "mark_used", "summary"]

_PLACEHOLDER = "@"
_OWN_NAME = re.compile(rf"^(module |  cell )\\{_PLACEHOLDER}(\S*)", re.MULTILINE)
_PORT = re.compile(r"^  wire width \d+ (?:input|output) \d+ .*\\(\S+)$", re.MULTILINE)


@dataclass(frozen=True)
class ModuleNotes:
    """What a reader of a module wants to know and RTLIL does not say.

    Attributes
    ----------
    summary : str
        First sentence of the component's documentation.
    parameters : str
        What the component was made from.
    latency : str
        Section of that name in the component's documentation.
    ports : tuple of str
        Names in the order of the signature.
    states : dict
        Name of a state machine's register to its states' names, by value.
    """

    summary: str = ""
    parameters: str = ""
    latency: str = ""
    ports: tuple[str, ...] = ()
    states: dict[str, dict[int, str]] = field(default_factory=dict)


@dataclass
class Design:
    """RTLIL of all modules, the top one last, and notes on each that is a component."""

    rtlil: str
    notes: dict[str, ModuleNotes]


def convert(component: wiring.Component, name: str) -> Design:
    """Convert ``component`` and all components inside, to a design with the top module ``name``."""
    library = _Library(name)
    token = active_library.set(library)
    try:
        with _without_collector():
            library.convert(component, name)
    finally:
        active_library.reset(token)
    return Design("".join(library.texts.values()), library.notes)


def summary(component: object) -> str:
    """Return the first sentence of the documentation of an object's class."""
    if isinstance(component, AxiStreamTop):
        component = component.inner
    return " ".join(_documentation(component).split("\n\n")[0].split())


def _documentation(component: object) -> str:
    return inspect.cleandoc(type(component).__doc__ or "")


def _section(component: object, title: str) -> str:
    found = re.search(
        rf"^{title}\n((?:    .*\n?|\n)+)", _documentation(component) + "\n", re.MULTILINE
    )
    return " ".join(found[1].split()) if found else ""


def _parameters(component: object) -> str:
    """Return the arguments that made a component, as ``name=value, ...``."""
    if not isinstance(component, Component):
        return ""
    _, positional, named = component._made_from
    values = []
    for value in positional:
        shown = _shown(value)
        values.append(shown[shown.index("(") + 1 : -1] if is_dataclass(value) else shown)
    return ", ".join([*values, *(f"{key}={_shown(value)}" for key, value in named)])


def _shown(value: object) -> str:
    """Return a value as one would write it, what repeats in a tuple only once."""
    if is_dataclass(value) and not isinstance(value, type):
        each = (f"{item.name}={_shown(getattr(value, item.name))}" for item in fields(value))
        return f"{type(value).__name__}({', '.join(each)})"
    if isinstance(value, tuple):
        runs = [(shown, len(list(same))) for shown, same in groupby(map(_shown, value))]
        text = " + ".join(f"({shown},)" + f" * {count}" * (count > 1) for shown, count in runs)
        flat = f"({', '.join(shown for shown, _ in runs)}{',' * (len(runs) == 1)})"
        return text if any(count > 1 for _, count in runs) else flat
    return value.__name__ if isinstance(value, type) else repr(value)


@contextmanager
def _without_collector() -> Iterator[None]:
    """Hold off the search for reference cycles, which takes a third of a large elaboration."""
    running = gc.isenabled()
    gc.disable()
    try:
        yield
    finally:
        if running:
            gc.enable()


class _Library:
    """The modules of one design, each under its name, those inside another before it."""

    def __init__(self, prefix: str):
        self._prefix = prefix
        self._open: list[wiring.Component] = []
        self._inner = SignalDict()
        self._by_arguments: dict[object, str] = {}
        self._by_text: dict[str, str] = {}
        self._pins: dict[str, frozenset[str]] = {}
        self._names = {prefix}
        self.texts: dict[str, str] = {}
        self.notes: dict[str, ModuleNotes] = {}

    def place(self, component: Component, elaborate: Callable[[], Any]) -> Any:
        """Return an instance of a component's module, or its contents where it is converted."""
        if self._open and component is self._open[-1]:
            return elaborate()
        name = self._module(component)
        pins: dict[str, Value] = {}
        for pin, signal, way in _ports(component):
            if len(signal):
                pins[f"i_{pin}" if way is PortDirection.Input else f"o_{pin}"] = signal
        reset = ResetSignal() if component._reset is None else component._reset
        for pin, line in (("clk", ClockSignal()), ("rst", reset)):
            if pin in self._pins[name] and f"i_{pin}" not in pins:
                pins[f"i_{pin}"] = line
        return Instance(name, **pins)

    def _module(self, component: Component) -> str:
        key = component._made_from
        try:
            known = self._by_arguments.get(key)
        except TypeError:  # an argument that is no value, such as a component
            return self.convert(component)
        if known is None:
            known = self._by_arguments[key] = self.convert(component)
        else:
            mark_used(component)
        return known

    def convert(self, component: wiring.Component, name: str = "") -> str:
        """Convert a component; return the name of its module, perhaps that of an equal one."""
        ports = {port: (signal, way) for port, signal, way in _ports(component)}
        self._open.append(component)
        try:
            fragment = Fragment.get(component, None)
            text, signals = rtlil.convert_fragment(fragment, ports, _PLACEHOLDER, emit_src=False)
        finally:
            self._open.pop()
        own = SignalDict((signal, None) for signal, _ in ports.values())
        for signal in signals:
            if signal in self._inner:
                raise TypeError(
                    f"{type(component).__name__} uses {signal.name!r} of its part "
                    f"{self._inner[signal]}, which is not among that part's members"
                )
            if signal not in own:
                self._inner[signal] = type(component).__name__
        text = text.replace("attribute \\top 1\n", "")
        if not name and text in self._by_text:
            return self._by_text[text]
        if not name:
            base = _snake(type(component).__name__)
            name = self._unique("inner" if base == self._prefix else base)
        self._by_text[text] = name
        states: dict[str, dict[int, str]] = {}
        for signal, (*_, own) in signals.items():
            if callable(signal.decoder) and signal.name.endswith("_state"):
                states[own] = _state_names(signal)
        text = _OWN_NAME.sub(lambda found: f"{found[1]}\\{name}{_plain(found[2])}", text)
        self.texts[name] = text
        contents = text[text.index(f"module \\{name}\n") :]
        contents = contents[: contents.index("\nend\n")]
        self._pins[name] = frozenset(_PORT.findall(contents))
        inside = component.inner if isinstance(component, AxiStreamTop) else None
        self.notes[name] = ModuleNotes(
            summary(component) + (" Streams are AXI4-Stream ports." if inside else ""),
            _parameters(inside or component),
            "" if inside else _section(component, "Latency").replace("``", ""),
            tuple(ports),
            states,
        )
        return name

    def _unique(self, base: str) -> str:
        base = name = base if base.startswith(self._prefix) else f"{self._prefix}_{base}"
        number = 1
        while name in self._names:
            number += 1
            name = f"{base}_{number}"
        self._names.add(name)
        return name


def _ports(component: wiring.Component) -> Iterator[tuple[str, Signal, PortDirection]]:
    """Yield name, signal and direction of each port; a member that is constant needs none."""
    for path, member, value in component.signature.flatten(component):
        signal = Value.cast(value)
        if isinstance(signal, Signal):
            way = PortDirection.Input if member.flow == wiring.In else PortDirection.Output
            yield "__".join(map(str, path)), signal, way


def _snake(name: str) -> str:
    return re.sub(r"(?<=[a-z0-9])(?=[A-Z])", "_", name).lower()


def _plain(name: str) -> str:
    """Replace what Verilog would have to escape in the name of a module of Amaranth's library."""
    return re.sub(r"\W+", "_", name)


def _state_names(register: Signal) -> dict[int, str]:
    names = {}
    for value in range(1 << len(register)):
        with suppress(KeyError):
            names[value] = str(register.decoder(value)).rpartition("/")[0]
    return names


def mark_used(component: Component) -> None:
    """Tell Amaranth that a component and its parts were not forgotten, though not elaborated."""
    component._MustUse__used = True  # type: ignore[attr-defined]  # private to Amaranth
    for part in parts_of(component):
        part._MustUse__used = True  # type: ignore[attr-defined]  # private to Amaranth
        if isinstance(part, Component):
            mark_used(part)
