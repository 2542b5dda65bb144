"""Proofs for the engine's parts: each alone keeps the rules of its streams, its inputs free."""

from collections.abc import Callable
from functools import partial
from typing import Any

from amaranth.hdl import Module, Signal
from amaranth.lib import stream, wiring
from amaranth.lib.wiring import In

from ...hw.bus.hdlc import Deframer, Framer
from ...hw.bus.host_config import HostConfig, UartConfig
from ...hw.bus.host_execute import Executor, Replier
from ...hw.bus.host_requests import RequestReceiver
from ...hw.bus.host_streams import Feeder, ResultCollector
from ...hw.bus.uart import UartReceiver, UartTransmitter
from ...hw.engine.act_reader import ActReader
from ...hw.engine.command.dispatcher import Dispatcher
from ...hw.engine.config import EngineConfig
from ...hw.engine.loader import Loader, LoaderConfig
from ...hw.engine.output.stage import OutputStage
from ...hw.engine.register_slice import AlternatingSlice, RegisterSlice
from ...hw.engine.weight_reader import WeightReader
from .reset import reset_task, stream_task
from .runner import Task
from .statements import Assert

__all__ = ["tasks"]


class SlicesSpec(wiring.Component):
    """Both register slices take beats alike, and offer the same at the same time."""

    i: stream.Interface
    ready: Signal

    def __init__(self):
        beats = stream.Signature(3)
        super().__init__({"i": In(beats), "ready": In(1)})

    def elaborate(self, platform):
        m = Module()
        m.submodules.plain = one = RegisterSlice(3)
        m.submodules.alternating = other = AlternatingSlice(3)
        for part in (one, other):
            m.d.comb += [
                part.i.payload.eq(self.i.payload),
                part.i.valid.eq(self.i.valid),
                part.o.ready.eq(self.ready),
            ]
        m.d.comb += [
            self.i.ready.eq(one.i.ready),
            Assert(one.i.ready == other.i.ready),
            Assert(one.o.valid == other.o.valid),
        ]
        with m.If(one.o.valid):
            m.d.comb += Assert(one.o.payload == other.o.payload)
        return m


_ANSWERS = {f"registers.{name}": 1 for name in ("awready", "wready", "bvalid", "arready", "rvalid")}
"""Registers that answer at once."""
_HARD_RESETS = ("dispatcher", "act_reader", "output", "uart_receiver")
"""Two of these take the solver too long; a receiver goes on seeing the line during a reset."""


def tasks(config: EngineConfig) -> list[Task]:
    """Return what is to be proved of the parts of an engine and of its host adapter.

    Streams keep the rules, nothing hangs, and a reset leaves nothing. Receivers that take a byte in
    every cycle have no bound, nor has the output stage, which is silent while it stores results,
    nor the dispatcher, which waits for others.
    """
    host, line = HostConfig(streams=(("cmd", 32), ("x", 16))), UartConfig(clock_hz=8_000_000)
    load = LoaderConfig(depth=64, width=8, fill_width=4)
    # What makes it, most cycles without a beat taken or offered, and what `StreamSpec` has to know.
    parts: dict[str, tuple[Callable[[], wiring.Component], int | None, dict[str, Any]]] = {
        "dispatcher": (partial(Dispatcher, config), None, {}),
        "loader": (partial(Loader, load), 6, {"helps": {"write_ready": 1}, "works": ("write",)}),
        "act_reader": (partial(ActReader, config), 24, {"helps": {"bank_freed": 1}}),
        "weight_reader": (partial(WeightReader, config), 16, {}),
        "output": (partial(OutputStage, config), None, {}),
        "uart_receiver": (partial(UartReceiver, line), None, {}),
        "uart_transmitter": (partial(UartTransmitter, line), 88, {}),
        "deframer": (Deframer, None, {}),
        "framer": (Framer, 6, {}),
        "receiver": (partial(RequestReceiver, host), None, {}),
        "executor": (partial(Executor, host), 12, {"helps": {"feeder_ready": 1, **_ANSWERS}}),
        "feeder": (partial(Feeder, host), 12, {}),
        "collector": (partial(ResultCollector, host), 8, {"helps": {"finished": 0}}),
        "replier": (partial(Replier, host), 6, {}),
    }
    found = [Task("slices", SlicesSpec, 16)]
    for name, (make, bound, options) in parts.items():
        found.append(stream_task(name, make, bound, **options))
        if name not in _HARD_RESETS:
            found.append(reset_task(name, make))
    return found
