"""Agents for streams: a source, a sink and a monitor that knows the rules.

They write after the rising edge and read at the falling edge, where combinational logic has
settled in every simulator. Beats are dictionaries from payload suffix to number, ``data`` and
``last`` for AXI4-Stream, ``payload`` for a stream by Amaranth's names; `Codec` translates them to
and from the fields of the unit's own payload.
"""

from collections import deque
from collections.abc import Callable, Iterable, Iterator, Mapping
from random import Random
from typing import Any

import cocotb
from amaranth.hdl import Const, Shape
from amaranth.lib import data
from cocotb.triggers import FallingEdge, RisingEdge
from cocotb.types import LogicArray

from ...hw.bus.axi_stream import AxiStreamPort
from .clock import now

__all__ = ["PATTERNS", "Codec", "Monitor", "Sink", "Source", "pattern"]

Beat = dict[str, int]


def _never(rng: Random) -> Iterator[int]:
    while True:
        yield 0


def _half(rng: Random) -> Iterator[int]:
    while True:
        yield rng.random() < 0.5


def _mostly(rng: Random) -> Iterator[int]:
    while True:
        yield rng.random() < 0.8


def _bursts(rng: Random) -> Iterator[int]:
    while True:
        for pausing in (0, 1):
            yield from [pausing] * rng.randint(1, 12)


def _pulses(rng: Random) -> Iterator[int]:
    while True:
        yield from [1] * rng.choice((1, 1, 2, 5))
        yield 0


def _late(rng: Random) -> Iterator[int]:
    yield from [1] * 40
    yield from _never(rng)


PATTERNS: dict[str, Callable[[Random], Iterator[int]]] = {
    "never": _never,
    "half": _half,
    "mostly": _mostly,
    "bursts": _bursts,
    "pulses": _pulses,
    "late": _late,
}
"""When an agent pauses, a 1 for each cycle in which it does."""


def pattern(name: str, rng: Random) -> Iterator[int]:
    """Return an endless iterator of pauses by the name of its pattern."""
    return PATTERNS[name](rng)


class _Wires:
    """The ports of one stream of the design under test."""

    def __init__(self, dut, name: str):
        present = {handle._name for handle in dut}
        axi = f"{name}_tvalid" in present
        prefix = f"{name}_t" if axi else f"{name}__"
        if f"{prefix}valid" not in present:
            raise AttributeError(f"{dut._name} has no stream {name!r}")
        self.name = name
        self.valid = getattr(dut, f"{prefix}valid")
        self.ready = getattr(dut, f"{prefix}ready") if f"{prefix}ready" in present else None
        self.payload = {
            port.removeprefix(prefix): getattr(dut, port)
            for port in sorted(present)
            if port.startswith(prefix) and port not in (f"{prefix}valid", f"{prefix}ready")
        }

    def is_ready(self) -> bool:
        return self.ready is None or _bit(self.ready, f"ready of {self.name}")


def _bit(handle, what: str) -> bool:
    value = handle.value
    assert value.is_resolvable, f"{what} is {value} in cycle {now()}"
    return bool(int(value))


class Source:
    """Sends beats into an input stream; its payload is X while it has nothing to offer.

    Parameters
    ----------
    dut
        The design, with ``clk`` and ``rst``.
    name : str
        Its stream.
    gaps : iterator of int
        Whether it pauses, one number for each cycle in which it might begin a beat.
    """

    def __init__(self, dut, name: str, gaps: Iterable[int] = ()):
        self._dut = dut
        self._wires = _Wires(dut, name)
        self._gaps = iter(gaps)
        self._queue: deque[Mapping[str, int]] = deque()
        self._hide()
        cocotb.start_soon(self._run())

    def send(self, *beats: Mapping[str, int] | int) -> None:
        """Queue beats; a number stands for the payload where that is one port."""
        for beat in beats:
            if not isinstance(beat, Mapping):
                (only,) = self._wires.payload
                beat = {only: beat}
            self._queue.append(beat)

    @property
    def pending(self) -> int:
        """Beats that are not taken yet."""
        return len(self._queue)

    def drop(self) -> None:
        """Forget the beats that are not taken yet; only while the unit is in reset."""
        self._queue.clear()

    def _hide(self) -> None:
        self._wires.valid.value = 0
        for handle in self._wires.payload.values():
            handle.value = LogicArray("X" * len(handle))

    async def _run(self) -> None:
        showing = False
        while True:
            await FallingEdge(self._dut.clk)
            in_reset = _bit(self._dut.rst, "rst")
            if showing and not in_reset and self._wires.is_ready():
                self._queue.popleft()
                showing = False
            await RisingEdge(self._dut.clk)
            if in_reset:
                showing = False
            if not showing and self._queue and not in_reset and not next(self._gaps, 0):
                showing = True
                self._wires.valid.value = 1
                for suffix, handle in self._wires.payload.items():
                    handle.value = self._queue[0][suffix]
            elif not showing:
                self._hide()


class Sink:
    """Takes beats from an output stream; what they are is the `Monitor`'s business.

    Parameters
    ----------
    dut
        The design.
    name : str
        Its stream.
    stalls : iterator of int
        Whether it pauses, one number for each cycle.
    """

    def __init__(self, dut, name: str, stalls: Iterable[int] = ()):
        self._dut = dut
        self._wires = _Wires(dut, name)
        self._stalls = iter(stalls)
        if self._wires.ready is not None:
            self._wires.ready.value = 0
            cocotb.start_soon(self._run(self._wires.ready))

    async def _run(self, ready: Any) -> None:
        while True:
            await RisingEdge(self._dut.clk)
            ready.value = not next(self._stalls, 0)


class Monitor:
    """Watches a stream, input or output, and fails the test where a rule is broken.

    The rules: valid and ready are never X; the payload is not X while valid; what waits for ready
    stays. Reset ends a wait.

    Parameters
    ----------
    dut
        The design.
    name : str
        Its stream.
    callback : callable, optional
        Called with every beat in the cycle in which it moves.

    Attributes
    ----------
    beats : list of dict
        What has moved.
    cycles : list of int
        When, as `now` counts.
    stalled, starved : int
        Cycles in which a beat waited for ready, and ready for a beat.
    """

    def __init__(self, dut, name: str, callback: Callable[[Beat], None] | None = None):
        self.name = name
        self.beats: list[Beat] = []
        self.cycles: list[int] = []
        self.stalled = self.starved = 0
        self._dut = dut
        self._wires = _Wires(dut, name)
        self._callback = callback
        cocotb.start_soon(self._run())

    async def until(self, count: int) -> None:
        """Wait until ``count`` beats have moved; returns at a falling edge."""
        while len(self.beats) < count:
            await FallingEdge(self._dut.clk)

    async def _run(self) -> None:
        waiting: Beat | None = None
        while True:
            await FallingEdge(self._dut.clk)
            if _bit(self._dut.rst, "rst"):
                waiting = None
                continue
            valid = _bit(self._wires.valid, f"valid of {self.name}")
            ready = self._wires.is_ready()
            if not valid:
                assert waiting is None, f"{self.name} took back {waiting} in cycle {now()}"
                self.starved += ready
                continue
            beat = self._beat()
            assert waiting in (None, beat), (
                f"{self.name} changed {waiting} to {beat} in cycle {now()}"
            )
            waiting = None if ready else beat
            if ready:
                self.beats.append(beat)
                self.cycles.append(now())
                if self._callback:
                    self._callback(beat)
            else:
                self.stalled += 1

    def _beat(self) -> Beat:
        beat = {}
        for suffix, handle in self._wires.payload.items():
            value = handle.value
            assert value.is_resolvable, f"{suffix} of {self.name} is {value} in cycle {now()}"
            beat[suffix] = int(value)
        return beat


class Codec:
    """Translates between the fields of a payload and the beats of its AXI4-Stream port.

    Parameters
    ----------
    port : AxiStreamPort
        From `AxiStreamTop.axi_streams`.
    """

    def __init__(self, port: AxiStreamPort):
        self._port = port

    def encode(self, value: Any) -> Beat:
        """Return the beat of a payload: a mapping of its fields, or the value of a plain shape."""
        port = self._port
        beat: Beat = {}
        if isinstance(value, Mapping):
            value = dict(value)
        if port.last is not None:
            beat["last"] = int(value.pop(port.last))
        if port.keep_bytes:
            keep = int(value.pop("keep"))
            ones = (1 << port.keep_bytes) - 1
            width = Shape.cast(port.payload).width // (8 * port.keep_bytes)
            beat["keep"] = sum(ones << i * port.keep_bytes for i in range(width) if keep >> i & 1)
        beat["data"] = _to_bits(port.payload, value)
        return {name: beat[name] for name in beat if f"t{name}" in port.signals}

    def decode(self, beat: Mapping[str, int]) -> Any:
        """Return what `encode` takes, with nested layouts as dictionaries and lists."""
        port = self._port
        value = _from_bits(port.payload, beat.get("data", 0))
        if port.last is not None:
            value[port.last] = beat["last"]
        if port.keep_bytes:
            keep = beat["keep"]
            width = Shape.cast(port.payload).width // (8 * port.keep_bytes)
            value["keep"] = sum((keep >> i * port.keep_bytes & 1) << i for i in range(width))
        return value


def _to_bits(shape: Any, value: Any) -> int:
    """Return ``value`` as the bits of ``shape``; what does not fit is an error."""
    try:
        layout = data.Layout.cast(shape)
    except TypeError:
        plain = Shape.cast(shape)
        low = -(1 << plain.width - 1) if plain.signed and plain.width else 0
        value = int(value)
        if not low <= value < low + (1 << plain.width):
            raise ValueError(f"{value} does not fit into {plain!r}") from None
        return value & (1 << plain.width) - 1
    pairs = value.items() if isinstance(value, Mapping) else enumerate(value)
    bits, seen = 0, set()
    for name, part in pairs:
        field = layout[name]
        bits |= _to_bits(field.shape, part) << field.offset
        seen.add(name)
    missing = [name for name, _ in layout if name not in seen]
    if missing:
        raise ValueError(f"the beat lacks {', '.join(map(str, missing))}")
    return bits


def _from_bits(shape: Any, bits: int) -> Any:
    try:
        layout = data.Layout.cast(shape)
    except TypeError:
        return Const(bits, Shape.cast(shape)).value
    parts = {
        name: _from_bits(field.shape, bits >> field.offset & (1 << field.width) - 1)
        for name, field in layout
    }
    return list(parts.values()) if isinstance(layout, data.ArrayLayout) else parts
