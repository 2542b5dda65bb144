"""Proofs for the engine's parts: each alone keeps the rules of its streams, its inputs free."""

from collections.abc import Callable
from functools import partial

from amaranth.hdl import Assert, Module, Signal
from amaranth.lib import data, stream, wiring
from amaranth.lib.wiring import In

from ...hw.bus.hdlc import Framer
from ...hw.bus.host_config import HostConfig
from ...hw.bus.host_execute import Executor, Replier
from ...hw.bus.host_requests import RequestReceiver
from ...hw.bus.host_streams import Feeder
from ...hw.engine.act_reader import ActReader
from ...hw.engine.config import EngineConfig
from ...hw.engine.dispatch import Dispatcher
from ...hw.engine.drain import Drain
from ...hw.engine.relay import relay, relay_in_turns
from ...hw.engine.weight_reader import WeightReader
from .properties import StreamSpec
from .runner import Task

__all__ = ["tasks"]


class RelaySpec(wiring.Component):
    """Both relays behind one queue take from it alike, and offer the same at the same time."""

    def __init__(self):
        super().__init__({"queue": In(data.StructLayout({"data": 3, "valid": 1})), "ready": In(1)})

    def elaborate(self, platform):
        m = Module()
        streams, takes = [], []
        for i, relayed in enumerate((relay, relay_in_turns)):
            queue = Signal(data.StructLayout({"data": 3, "valid": 1, "take": 1}), name=f"queue_{i}")
            out = stream.Signature(3).create(path=(f"out_{i}",))
            m.d.comb += [
                queue.data.eq(self.queue.data), queue.valid.eq(self.queue.valid),
                out.ready.eq(self.ready),
            ]
            relayed(m, queue, out)
            streams.append(out)
            takes.append(queue.take)
        one, other = streams
        m.d.comb += [Assert(takes[0] == takes[1]), Assert(one.valid == other.valid)]
        with m.If(one.valid):
            m.d.comb += Assert(one.payload == other.payload)
        return m


def _spec(part: Callable[[], wiring.Component]) -> StreamSpec:
    return StreamSpec(part())


def tasks(config: EngineConfig) -> list[Task]:
    """Return what is to be proved of the parts of an engine and of its host adapter."""
    host = HostConfig(streams=(("cmd", 32), ("x", 16)))
    # Cycles looked at, and cycles until every output has moved a beat.
    parts = {
        "dispatcher": (partial(Dispatcher, config), 12, 32),
        "act_reader": (partial(ActReader, config), 12, 22),
        "weight_reader": (partial(WeightReader, config), 12, 12),
        "drain": (partial(Drain, config), 12, 40),
        "framer": (Framer, 14, 8),
        "replier": (partial(Replier, host), 12, 12),
        "receiver": (partial(RequestReceiver, host), 14, 24),
        "feeder": (partial(Feeder, host), 14, 24),
        "executor": (partial(Executor, host), 12, 24),
    }
    found = [Task("relays", RelaySpec, 16)]
    for name, (part, depth, reach) in parts.items():
        spec = partial(_spec, part)
        found.append(Task(f"part_{name}", spec, depth))
        found.append(Task(f"part_{name}_cover", spec, reach, "cover"))
    return found
