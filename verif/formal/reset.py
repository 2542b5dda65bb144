"""What is proved of the streams of any unit, reset from any state among it."""

from collections.abc import Callable
from functools import partial, reduce
from typing import Any

from amaranth.hdl import Const, Module, ResetSignal, Value
from amaranth.lib import data, wiring
from amaranth.lib.wiring import In, Out

from .properties import (
    StreamSpec,
    member_at,
    pass_on,
    reset_first,
    stream_assume,
    stream_cover,
    streams_of,
)
from .runner import Task
from .statements import Assert

__all__ = ["ResetSpec", "reset_task", "stream_task"]

_REACH = 100
"""Cycles in which every stream must move, generously."""
_STALL = 3
"""Cycles that a proof looks beyond the last of these beats, and beyond the bound on progress."""


def stream_task(
    name: str,
    make: Callable[[], wiring.Component],
    bound: int | None = None,
    **options: Any,
) -> Task:
    """Return that a component keeps the rules of its streams and hangs no longer than ``bound``.

    It is made by ``make``, and begins with a reset in any state; ``options`` are those of
    `StreamSpec`.
    """
    made = partial(_stream_spec, make, bound=bound, **options)
    depth = (bound or 0) + _STALL
    return Task(f"streams_{name}", made, depth, covers=_REACH, warm=True)


def reset_task(name: str, make: Callable[[], wiring.Component]) -> Task:
    """Return that a component does the same after a reset in any state as after power-on."""
    return Task(f"reset_{name}", partial(ResetSpec, make), _STALL, covers=_REACH, warm=True)


def _stream_spec(make: Callable[[], wiring.Component], **options: Any) -> StreamSpec:
    return StreamSpec(make(), **options)


class ResetSpec(wiring.Component):
    """A component that was reset in any state, beside one that begins as after power-on.

    Both have the same inputs, which are free but for the rules of streams and a reset that comes
    first; registers and memories of the one, ``unit``, begin with anything, see `runner.prove`.

    Asserted from the end of the reset on: both take and offer beats in the same cycles, and agree
    on the flags of what they offer, payload fields of one bit, and on all other outputs of one bit.
    What is wider may come from memories that nothing has been written to.

    Parameters
    ----------
    make : callable
        Makes the component.

    Members
    -------
    The component's.
    """

    def __init__(self, make: Callable[[], wiring.Component]):
        # Any: the stubs do not say that components elaborate.
        self._unit: Any = make()
        self._fresh: Any = make()
        super().__init__(dict(self._unit.signature.members))

    def elaborate(self, platform):
        m = Module()
        m.submodules.unit, m.submodules.fresh = unit, fresh = self._unit, self._fresh
        pass_on(m, self, fresh)
        for path, member, value in unit.signature.flatten(unit):
            if member.flow == In and not isinstance(value, Const):
                m.d.comb += Value.cast(value).eq(Value.cast(reduce(member_at, path, self)))
        reset_first(m)
        for path, flow in streams_of(self.signature):
            port, mine, other = (reduce(member_at, path, part) for part in (self, unit, fresh))
            stream_cover(m, port, 1, ".".join(path))
            if flow == In:
                stream_assume(m, port)
            else:
                for flag, same in zip(_flags(mine.payload), _flags(other.payload), strict=True):
                    self._agree(m, flag, same, other.valid)
        for path, member, value in fresh.signature.flatten(fresh):
            mine = reduce(member_at, path, unit)
            if member.flow == Out and path[-1] != "payload":
                self._agree(m, Value.cast(mine), Value.cast(value))
        return m

    @staticmethod
    def _agree(m: Module, value: Value, other: Value, when: Value | int = 1) -> None:
        if len(value) == 1:
            agree = ResetSignal() | (when == 0) | (value == other)
            m.d.comb += Assert(agree, "a reset leaves nothing")


def _flags(payload: Value | data.View) -> list[Value]:
    """Return the fields of one bit."""
    if not isinstance(payload, data.View):
        return []
    return [payload[name] for name, field in payload.shape() if field.width == 1]
