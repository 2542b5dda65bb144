"""Proofs for the engine's parts: each alone keeps the rules of its streams, its inputs free."""

from collections.abc import Callable
from functools import partial

from amaranth.lib import wiring

from ...hw.bus.hdlc import Framer
from ...hw.bus.host_config import HostConfig
from ...hw.bus.host_execute import Executor, Replier
from ...hw.bus.host_requests import RequestReceiver
from ...hw.bus.host_streams import Feeder
from ...hw.engine.act_reader import ActReader
from ...hw.engine.config import EngineConfig
from ...hw.engine.dispatch import Dispatcher
from ...hw.engine.drain import Drain
from ...hw.engine.weight_reader import WeightReader
from .properties import StreamSpec
from .runner import Task

__all__ = ["tasks"]


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
    found = []
    for name, (part, depth, reach) in parts.items():
        spec = partial(_spec, part)
        found.append(Task(f"part_{name}", spec, depth))
        found.append(Task(f"part_{name}_cover", spec, reach, "cover"))
    return found
