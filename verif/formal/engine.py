"""Proofs for the engine: whatever arrives as commands, what units are handed is in range.

The dispatcher is proved alone, with all inputs free, for one packet of the longest command. So are
the streams of the engine's parts and of its host adapter, and the register bank.
"""

from dataclasses import replace
from functools import partial
from typing import Any

from amaranth.hdl import Module, Signal
from amaranth.lib import stream, wiring
from amaranth.lib.wiring import In

from ...hw.engine.act_reader import ActReader
from ...hw.engine.command.dispatcher import Dispatcher
from ...hw.engine.commands import COMMANDS
from ...hw.engine.config import EngineConfig
from ...hw.engine.engine import Engine
from ...hw.engine.fields import word_beat
from ...hw.engine.output.store import StoreAddress
from ...hw.engine.position import Position, lane_excess
from ...hw.engine.registers import engine_registers
from ...hw.systolic.config import SystolicConfig
from . import parts
from .axi_lite import bank_tasks
from .overflow import AccumulatorSpec
from .properties import stream_assume, stream_cover
from .reset import stream_task
from .runner import Task
from .statements import Assert, Cover

__all__ = ["DispatchSpec", "stream_tasks", "tasks"]

STEPS = (*ActReader.STEPS, *StoreAddress.STEPS)
_OFFERS = ("load_x", "load_w", "gemm_acts", "gemm_weights", "gemm_output")


class DispatchSpec(wiring.Component):
    """Commands that the dispatcher hands over have only legal fields, whatever it was sent.

    Parameters
    ----------
    config : EngineConfig
        The engine.
    """

    cmd: stream.Interface
    taken: Signal
    done: Signal

    def __init__(self, config: EngineConfig):
        self._config = config
        super().__init__(
            {"cmd": In(stream.Signature(word_beat)), "taken": In(len(_OFFERS)), "done": In(5)}
        )

    def elaborate(self, platform):
        m = Module()
        config, d = self._config, self._config.datapath
        m.submodules.unit = unit = Dispatcher(config)
        wiring.connect(m, wiring.flipped(self.cmd), unit.cmd)
        stream_assume(m, self.cmd)
        # Units finish only what they were given.
        running = [Signal(4, name=f"running_{i}") for i in range(5)]
        for i, name in enumerate(_OFFERS):
            port = getattr(unit, name)
            started = port.valid & port.ready
            m.d.comb += port.ready.eq(self.taken[i])
            m.d.comb += unit.done[i].eq(self.done[i] & (running[i] != 0))
            m.d.sync += running[i].eq(running[i] + started - unit.done[i])
            stream_cover(m, port, 1)
        for name, depth in (("load_x", config.act_depth), ("load_w", config.weight_depth)):
            port = getattr(unit, name)
            base, count = port.payload.base, port.payload.count
            with m.If(port.valid):
                m.d.comb += [Assert(count != 0), Assert(base + count <= depth)]
                m.d.comb += Assert(port.payload.count_once == (count == 1))
        acts, weights, output = (
            getattr(unit, f"gemm_{name}").payload for name in ("acts", "weights", "output")
        )
        several = (acts.m_tiles != 1) | (acts.n_tiles != 1)
        with m.If(unit.gemm_acts.valid):
            for fields in (acts, weights, output):
                loops = [n for n in fields.shape().members if f"{n}_once" in fields.shape().members]
                m.d.comb += [Assert(fields[name] != 0) for name in loops]
                m.d.comb += [
                    Assert(fields[f"{name}_once"] == (fields[name] == 1)) for name in loops
                ]
            m.d.comb += [
                Assert(acts.tile_rows <= config.tile_rows_max),
                Assert(acts.last_rows <= acts.tile_rows),
                Assert((output.n_last != 0) & (output.n_last <= d.cols)),
                Assert(weights.w_base < config.weight_depth),
                Assert(output.p_base < config.param_depth),
                Assert(~((acts.accumulate | acts.keep) & several)),
                Assert(~(output.raw & ((output.pool != 1) | output.store))),
            ]
        self._claim_steps(m, unit)
        m.d.comb += Cover(unit.errors[0])
        m.d.comb += Cover(unit.errors[1])
        m.d.comb += Cover(unit.errors[2])
        with m.If(unit.param_write):
            m.d.comb += Assert(unit.param_row < config.param_depth)
            m.d.comb += Assert(unit.param_lane < config.drain_lanes)
        return m

    def _claim_steps(self, m, unit):
        """Assert that the steps of a command that is handed over are those that it had, in range.

        They lie in a bank that no word of the next command reaches before it is handed over too.
        """
        lanes = self._config.datapath.act_lanes
        words = {COMMANDS["GEMM"].field(f"{name}_vector").word for name in STEPS}
        place = Signal(range(COMMANDS["GEMM"].words + 1))
        sent = {word: Signal(24, name=f"sent_{word}") for word in words}
        with m.If(self.cmd.valid & self.cmd.ready):
            with m.If(place != COMMANDS["GEMM"].words):
                m.d.sync += place.eq(place + 1)
            with m.If(self.cmd.payload.last):
                m.d.sync += place.eq(0)
            for word, position in sent.items():
                with m.If(place == word):
                    m.d.sync += position.eq(self.cmd.payload.data)
        bank = Signal()
        with m.If(unit.gemm_acts.valid & unit.gemm_acts.ready):
            m.d.sync += bank.eq(~bank)
        for port, names in (
            (unit.act_steps, ActReader.STEPS), (unit.store_steps, StoreAddress.STEPS),
        ):  # fmt: skip
            for entry, name in enumerate(names):
                kept: Any = Signal(port.step.shape(), name=f"kept_{name}")
                with m.If(port.write & (port.entry == entry)):
                    m.d.sync += kept.eq(port.step)
                    m.d.comb += Assert(port.bank == bank)
                word = sent[COMMANDS["GEMM"].field(f"{name}_vector").word]
                position = Position(word)  # type: ignore[call-arg]  # the layout is known
                with m.If(unit.gemm_acts.valid):
                    m.d.comb += [
                        Assert(position.lane < lanes),
                        Assert(kept.lane == position.lane),
                        Assert(kept.vector == position.vector),
                        Assert(kept.excess == lane_excess(position.lane, lanes)),
                    ]


def stream_tasks() -> list[Task]:
    """Return that the engine's streams keep the rules, beyond the first result of any program.

    That nothing hangs is proved of its parts.
    """
    datapath = SystolicConfig(rows=2, cols=1, x_bits=2, w_bits=2, k_max=6)
    small = EngineConfig(
        datapath=datapath, act_depth=16, weight_depth=16, acc_depth=4, param_depth=4
    )
    return [stream_task("small", partial(Engine, small))]


def tasks() -> list[Task]:
    """Return what is to be proved: commands, parts, and registers.

    Commands are one packet of any kind and the start of the next.
    """
    config = EngineConfig(
        datapath=SystolicConfig(rows=3, cols=2),
        act_depth=24,
        weight_depth=20,
        acc_depth=6,
        param_depth=5,
        drain_lanes=2,
    )
    packet = COMMANDS["GEMM"].words + 7
    spec = partial(DispatchSpec, config)
    commands = [Task("dispatch", spec, packet), Task("dispatch_cover", spec, packet, "cover")]
    narrow = SystolicConfig(rows=2, cols=1, x_bits=2, w_bits=2, k_max=6)
    sums = partial(AccumulatorSpec, replace(config, datapath=narrow, drain_lanes=1))
    banks = bank_tasks(engine_registers(config))
    overflow = [Task("overflow", sums, 26), Task("overflow_cover", sums, 24, "cover")]
    return [*commands, *overflow, *parts.tasks(config), *banks]
