"""Proofs for the engine: whatever arrives as commands, what units are handed is in range.

The dispatcher is proved alone, with all inputs free, for one packet of the longest command. So are
the streams of the engine's parts and of its host adapter, and the register bank.
"""

from dataclasses import replace
from functools import partial

from amaranth.hdl import Assert, Cover, Module, Signal
from amaranth.lib import stream, wiring
from amaranth.lib.wiring import In

from ...hw.engine.commands import COMMANDS
from ...hw.engine.config import EngineConfig
from ...hw.engine.dispatch import Dispatcher, word_beat
from ...hw.engine.engine import Engine
from ...hw.engine.position import field
from ...hw.engine.registers import engine_registers
from ...hw.systolic.config import SystolicConfig
from . import parts
from .axi_lite import bank_tasks
from .overflow import AccumulatorSpec
from .properties import stream_assume, stream_cover
from .reset import stream_task
from .runner import Task

__all__ = ["DispatchSpec", "stream_tasks", "tasks"]

_OFFERS = ("load_x", "load_w", "gemm_acts", "gemm_weights", "gemm_drain")


class DispatchSpec(wiring.Component):
    """Commands that the dispatcher hands over have only legal fields, whatever it was sent.

    Parameters
    ----------
    config : EngineConfig
        The engine.
    """

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
            port, command = getattr(unit, name), name.upper()
            base, count = (field(port.payload, command, part) for part in ("base", "count"))
            with m.If(port.valid):
                m.d.comb += [Assert(count != 0), Assert(base + count <= depth)]
        words = unit.gemm_acts.payload

        def get(name):
            return field(words, "GEMM", name)

        positive = ("n_tiles", "k_chunks", "k_rows", "tile_rows", "m_tiles", "last_rows", "n_last",
                    "pool", *(f"m{i}_count" for i in range(5)))
        lanes = [f.name for f in COMMANDS["GEMM"].fields if f.name.endswith("_lane")]
        several = (get("m_tiles") != 1) | (get("n_tiles") != 1)
        with m.If(unit.gemm_acts.valid):
            m.d.comb += [Assert(get(name) != 0) for name in positive]
            m.d.comb += [Assert(get(name) < d.act_lanes) for name in lanes]
            m.d.comb += [
                Assert(get("tile_rows") <= config.tile_rows_max),
                Assert(get("last_rows") <= get("tile_rows")),
                Assert(get("n_last") <= d.cols),
                Assert(get("w_base") < config.weight_depth),
                Assert(get("p_base") < config.param_depth),
                Assert(~((get("accumulate") | get("keep")) & several)),
                Assert(~(get("raw") & ((get("pool") != 1) | get("store")))),
            ]
        m.d.comb += Cover(unit.errors[0])
        m.d.comb += Cover(unit.errors[1])
        m.d.comb += Cover(unit.errors[2])
        with m.If(unit.param_write):
            m.d.comb += Assert(unit.param_row < config.param_depth)
            m.d.comb += Assert(unit.param_lane < config.drain_lanes)
        return m


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
        datapath=SystolicConfig(rows=3, cols=2), act_depth=24, weight_depth=20, acc_depth=6,
        param_depth=5, drain_lanes=2,
    )
    packet = COMMANDS["GEMM"].words + 7
    spec = partial(DispatchSpec, config)
    commands = [Task("dispatch", spec, packet), Task("dispatch_cover", spec, packet, "cover")]
    narrow = SystolicConfig(rows=2, cols=1, x_bits=2, w_bits=2, k_max=6)
    sums = partial(AccumulatorSpec, replace(config, datapath=narrow, drain_lanes=1))
    banks = bank_tasks(engine_registers(config))
    overflow = [Task("overflow", sums, 26), Task("overflow_cover", sums, 24, "cover")]
    return [*commands, *overflow, *parts.tasks(config), *banks]
