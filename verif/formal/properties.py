"""The rules of streams as assumptions, assertions and covers, for any stream of any unit."""

from amaranth.hdl import Assert, Assume, Const, Cover, Module, Mux, Signal, Value
from amaranth.lib import stream, wiring
from amaranth.lib.wiring import In

__all__ = [
    "StreamSpec",
    "bounded_response",
    "moved",
    "pass_on",
    "stream_assert",
    "stream_assume",
    "stream_cover",
    "streams_of",
    "transfers",
]


def moved(port: stream.Interface) -> Value:
    """Return whether a beat moves in this cycle."""
    return Value.cast(port.valid) & Value.cast(port.ready)


def _waiting(m: Module, port: stream.Interface) -> Value:
    """Return that what was offered in the last cycle is still offered, if it was not taken."""
    payload = Value.cast(port.payload).as_unsigned()
    stalled, before = Signal(), Signal(len(payload))
    m.d.sync += [stalled.eq(Value.cast(port.valid) & ~Value.cast(port.ready)), before.eq(payload)]
    return ~stalled | (port.valid & (payload == before))


def stream_assume(m: Module, port: stream.Interface) -> None:
    """Assume that whoever offers beats on ``port`` holds them until they are taken."""
    m.d.comb += Assume(_waiting(m, port), "the beat holds until it is taken")


def stream_assert(m: Module, port: stream.Interface) -> None:
    """Assert that ``port`` holds what it offers until it is taken."""
    m.d.comb += Assert(_waiting(m, port), "the beat holds until it is taken")


def transfers(m: Module, port: stream.Interface, width: int = 8) -> Signal:
    """Return a counter of the beats that have moved before this cycle; it wraps."""
    count = Signal(width)
    m.d.sync += count.eq(count + moved(port))
    return count


def stream_cover(m: Module, port: stream.Interface, count: int = 2) -> None:
    """Cover that ``count`` beats move; without it assumptions may have left nothing to check."""
    moved_before = transfers(m, port, (count + 1).bit_length())
    m.d.comb += Cover(moved_before == count, "beats move")


def bounded_response(m: Module, request: Value, response: Value, bound: int) -> None:
    """Assert that ``response`` comes within ``bound`` cycles in which ``request`` is high."""
    waited = Signal(range(bound + 2))
    m.d.sync += waited.eq(Mux(response | ~request, 0, waited + 1))
    m.d.comb += Assert(waited <= bound, "the response comes in time")


def streams_of(signature: wiring.Signature, path: tuple[str, ...] = ()):
    """Yield path and flow of every stream in a signature, at any depth."""
    for name, member in signature.members.items():
        if member.is_port:
            continue
        if isinstance(member.signature, stream.Signature):
            yield (*path, name), member.flow
        else:
            yield from streams_of(member.signature, (*path, name))


def pass_on(m: Module, outer: wiring.Component, unit: wiring.Component) -> None:
    """Connect the members of ``unit`` to those of a component that has the same."""
    pairs = zip(unit.signature.flatten(unit), outer.signature.flatten(outer), strict=True)
    for (_, member, inner), (_, _, own) in pairs:
        inner, own = Value.cast(inner), Value.cast(own)
        target, source = (inner, own) if member.flow == In else (own, inner)
        if not isinstance(target, Const):  # ready of a stream that is always ready
            m.d.comb += target.eq(source)


class StreamSpec(wiring.Component):
    """A component whose output streams must keep the rules while all of its inputs are free.

    Assumed: input streams keep the rules too. Every output stream moves at least one beat in some
    run, or the cover fails.

    Parameters
    ----------
    component : wiring.Component
        Not yet elaborated.
    covers : int
        Beats that each output stream must be able to move.

    Members
    -------
    The component's.
    """

    def __init__(self, component: wiring.Component, covers: int = 1):
        self._component = component
        self._covers = covers
        super().__init__(dict(component.signature.members))

    def elaborate(self, platform):
        m = Module()
        m.submodules.unit = self._component
        pass_on(m, self, self._component)
        for path, flow in streams_of(self.signature):
            port = self
            for part in path:
                port = getattr(port, part)
            if flow == In:
                stream_assume(m, port)
            else:
                stream_assert(m, port)
                stream_cover(m, port, self._covers)
        return m
