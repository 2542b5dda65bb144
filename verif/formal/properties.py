"""The rules of streams as assumptions, assertions and covers, for any stream of any unit."""

from collections.abc import Mapping
from functools import reduce
from operator import and_, or_
from typing import Any

from amaranth.hdl import Const, Module, Mux, ResetSignal, Signal, Value
from amaranth.lib import stream, wiring
from amaranth.lib.wiring import In

from .statements import Assert, Assume, Cover

__all__ = [
    "StreamSpec",
    "bounded_response",
    "constant",
    "member_at",
    "moved",
    "pass_on",
    "reset_first",
    "stream_assert",
    "stream_assume",
    "stream_cover",
    "streams_of",
    "transfers",
]


def constant(m: Module, value: Value) -> Value:
    """Assume that an input never changes; return it."""
    before, begun = Signal.like(value), Signal()
    m.d.sync += [before.eq(value), begun.eq(1)]
    m.d.comb += Assume(~begun | (value == before))
    return value


def moved(port: stream.Interface) -> Value:
    """Return whether a beat moves in this cycle."""
    return Value.cast(port.valid) & Value.cast(port.ready)


def _waiting(m: Module, port: stream.Interface, bits: int | None = None) -> Value:
    """Return that what was offered in the last cycle is still offered, if it was not taken."""
    payload = Value.cast(port.payload)[:bits].as_unsigned()
    stalled, before = Signal(), Signal(len(payload))
    m.d.sync += [stalled.eq(Value.cast(port.valid) & ~Value.cast(port.ready)), before.eq(payload)]
    return ~stalled | (port.valid & (payload == before))


def stream_assume(m: Module, port: stream.Interface) -> None:
    """Assume that whoever offers beats on ``port`` holds them until they are taken."""
    m.d.comb += Assume(_waiting(m, port), "the beat holds until it is taken")


def stream_assert(m: Module, port: stream.Interface, bits: int | None = None) -> None:
    """Assert that ``port`` holds what it offers until it is taken, or so many of its low bits."""
    m.d.comb += Assert(_waiting(m, port, bits), "the beat holds until it is taken")


def transfers(m: Module, port: stream.Interface, width: int = 8) -> Signal:
    """Return a counter of the beats that have moved before this cycle; it wraps."""
    count = Signal(width)
    m.d.sync += count.eq(count + moved(port))
    return count


def stream_cover(m: Module, port: stream.Interface, count: int = 2, name: str = "stream") -> None:
    """Cover that ``count`` beats move, and one that had to wait, unless none ever has to.

    Without these, assumptions or a depth too small may have left nothing to check.
    """
    moved_before = transfers(m, port, (count + 1).bit_length())
    m.d.comb += Cover(moved_before == count, f"{name}: beats move")
    if not isinstance(port.ready, Const):
        waited = Signal()
        m.d.sync += waited.eq(port.valid & ~port.ready)
        m.d.comb += Cover(waited & moved(port), f"{name}: a beat that waited moves")


def reset_first(m: Module) -> None:
    """Assume a reset in the first cycle and none later: for proofs from any state."""
    first = Signal(init=1, reset_less=True)
    m.d.sync += first.eq(0)
    m.d.comb += Assume(ResetSignal() == first, "a reset comes first")


def bounded_response(m: Module, request: Value, response: Value, bound: int) -> None:
    """Assert that ``response`` comes within ``bound`` cycles in which ``request`` is high."""
    waited = Signal(range(bound + 2))
    m.d.sync += waited.eq(Mux(response | ~request, 0, waited + 1))
    m.d.comb += Assert(waited <= bound, "the response comes in time")


def streams_of(signature: Any, path: tuple[str, ...] = ()):
    """Yield path and flow of every stream in a signature, at any depth."""
    for name, member in signature.members.items():
        if member.is_port:
            continue
        if isinstance(member.signature, stream.Signature):
            yield (*path, name), member.flow
        else:
            yield from streams_of(member.signature, (*path, name))


def member_at(part: Any, key: str | int) -> Any:
    """Return a member by name or, of several, by number; `functools.reduce` walks a path."""
    return part[key] if isinstance(key, int) else getattr(part, key)


def pass_on(m: Module, outer: wiring.Component, unit: wiring.Component) -> None:
    """Connect the members of ``unit`` to those of a component that has the same, and others."""
    for path, member, inner in unit.signature.flatten(unit):
        inner, own = Value.cast(inner), Value.cast(reduce(member_at, path, outer))
        target, source = (inner, own) if member.flow == In else (own, inner)
        if not isinstance(target, Const):  # ready of a stream that is always ready
            m.d.comb += target.eq(source)


class StreamSpec(wiring.Component):
    """A component whose output streams must keep the rules while all of its inputs are free.

    Assumed: input streams keep the rules too, and a reset comes first. Every stream, inputs as
    outputs, moves a beat in some run, and one that had to wait, or a cover fails; so no output
    waits to be taken before it offers. Asserted with ``bound``: nothing hangs.

    Parameters
    ----------
    component : wiring.Component
        Not yet elaborated.
    covers : int
        Beats that each stream must be able to move.
    bound : int, optional
        While every input stream offers a beat, so many cycles in a row at most have neither a beat
        taken nor one offered, whether or not anyone takes it.
    helps : dict, optional
        What inputs that are no streams, by their path with dots, must be in those cycles.
    works : tuple of str
        Outputs that are no streams and show that a unit which neither takes nor offers is at work.
    marks : dict, optional
        Inputs besides the component's, for what else is asserted.
    bits : int, optional
        Only so many low bits of what waits are held to stay, where all take the solver too long.

    Attributes
    ----------
    covers, bound
        As given.

    Members
    -------
    The component's.
    """

    def __init__(
        self,
        component: wiring.Component,
        covers: int = 1,
        bound: int | None = None,
        helps: Mapping[str, int] | None = None,
        works: tuple[str, ...] = (),
        marks: Mapping[str, wiring.Member] | None = None,
        bits: int | None = None,
    ):
        self._component: Any = component  # the stubs do not say that it elaborates
        self._bits = bits
        self.covers, self.bound = covers, bound
        self._helps, self._works = helps or {}, works
        super().__init__(dict(component.signature.members) | dict(marks or {}))

    def elaborate(self, platform):
        m = Module()
        m.submodules.unit = self._component
        pass_on(m, self, self._component)
        reset_first(m)
        offers, answers = [Const(1)], []
        for path, flow in streams_of(self.signature):
            port = reduce(member_at, path, self)
            if flow == In:
                stream_assume(m, port)
            else:
                stream_assert(m, port, self._bits)
            stream_cover(m, port, self.covers, ".".join(map(str, path)))
            if flow == In:
                offers.append(port.valid)
            answers.append(port.ready if flow == In else port.valid)
        if self.bound is not None:
            for name, value in self._helps.items():
                offers.append(reduce(member_at, name.split("."), self) == value)
            answers += [reduce(member_at, name.split("."), self) for name in self._works]
            bounded_response(m, reduce(and_, offers), reduce(or_, answers), self.bound)
        return m
