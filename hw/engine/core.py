"""The engine without its bus edges: buffers, readers, one datapath, accumulators and output."""

from typing import Any

from amaranth.hdl import Cat, Module
from amaranth.lib import data, stream, wiring
from amaranth.lib.wiring import In, Out

from ..lib.component import Component
from .accumulator import Accumulator
from .act_buffer import ActBuffer
from .act_reader import ActReader
from .command.dispatcher import Dispatcher
from .commands import ERRORS
from .config import EngineConfig
from .fields import word_beat
from .loader import Loader, data_beat, loader_configs
from .output.layouts import result_beat
from .output.stage import OutputStage
from .weight_reader import WeightReader

__all__ = ["EngineCore", "status_layout"]

status_layout = data.StructLayout(
    {
        "busy": 1,
        "errors": len(ERRORS),
        "x_starved": 1,
        "w_starved": 1,
        "acts_stalled": 1,
        "y_stalled": 1,
    }
)
"""What the engine tells its registers every cycle; ``errors`` are pulses, see `ERRORS`."""


class EngineCore(Component):
    """Runs GEMM and convolution commands on one datapath.

    Loads, operand reads and results run side by side; a command's ``wait_*`` fields order them
    where they share a buffer.

    Parameters
    ----------
    config : EngineConfig
        See there for ranges.

    Members
    -------
    cmd : In(stream.Signature(word_beat))
        Command packets, see `COMMANDS`.
    x : In(stream.Signature(data_beat(x_bits * act_lanes)))
        Activation vectors, lane 0 in the least significant bits; one packet per ``LOAD_X``.
    w : In(stream.Signature(data_beat(weight_beat_bits)))
        Weight beats; one packet per ``LOAD_W``.
    y : Out(stream.Signature(result_beat(config)))
        Results; one packet per ``GEMM`` that does not store.
    status : Out(status_layout)
        For counters and flags.

    Latency
        Exact cycle counts: `tilewright.sw.cycles`.
    Throughput
        One activation vector a cycle as long as the datapath takes it.
    Numerics
        Sums exact up to ``k_max`` products; requantisation as in `Requantise`.
    Reference
        Weight and accumulator buffers around the array as in the TPU (Jouppi et al., In-Datacenter
        Performance Analysis of a Tensor Processing Unit, ISCA 2017).
    """

    cmd: stream.Interface
    x: stream.Interface
    w: stream.Interface
    y: stream.Interface
    status: data.View

    def __init__(self, config: EngineConfig):
        self._config = config
        d = config.datapath
        super().__init__(
            {
                "cmd": In(stream.Signature(word_beat)),
                "x": In(stream.Signature(data_beat(d.x_bits * d.act_lanes))),
                "w": In(stream.Signature(data_beat(d.weight_beat_bits))),
                "y": Out(stream.Signature(result_beat(config))),
                "status": Out(status_layout),
            }
        )

    def elaborate(self, platform):
        m = Module()
        config = self._config
        d = config.datapath
        loads = loader_configs(config)
        m.submodules.dispatcher = dispatcher = Dispatcher(config)
        m.submodules.load_x = load_x = Loader(loads["LOAD_X"])
        m.submodules.load_w = load_w = Loader(loads["LOAD_W"])
        m.submodules.act_buffer = act_buffer = ActBuffer(config)
        m.submodules.act_reader = act_reader = ActReader(config)
        m.submodules.weight_reader = weight_reader = WeightReader(config)
        datapath: Any = d.build()  # a component with the streams of the contract
        m.submodules.datapath = datapath
        m.submodules.accumulator = accumulator = Accumulator(config)
        m.submodules.output = output = OutputStage(config)

        wiring.connect(m, wiring.flipped(self.cmd), dispatcher.cmd)
        wiring.connect(m, wiring.flipped(self.x), load_x.beats)
        wiring.connect(m, wiring.flipped(self.w), load_w.beats)
        wiring.connect(m, dispatcher.load_x, load_x.cmd)
        wiring.connect(m, dispatcher.load_w, load_w.cmd)
        wiring.connect(m, dispatcher.gemm_acts, act_reader.cmd)
        wiring.connect(m, dispatcher.gemm_weights, weight_reader.cmd)
        wiring.connect(m, dispatcher.gemm_output, output.cmd)
        wiring.connect(m, act_reader.acts, datapath.acts)
        wiring.connect(m, weight_reader.weights, datapath.weights)
        wiring.connect(m, datapath.psums, accumulator.psums)
        m.d.comb += [
            act_reader.steps.eq(dispatcher.act_steps),
            output.steps.eq(dispatcher.store_steps),
            load_x.write_ready.eq(act_buffer.load_ready),
            act_buffer.load.eq(load_x.write),
            act_buffer.load_at.eq(load_x.write_at),
            act_buffer.load_data.eq(load_x.write_data),
            act_buffer.load_fill.eq(load_x.fill),
            act_buffer.load_value.eq(load_x.value),
            load_w.write_ready.eq(1),
            weight_reader.write.eq(load_w.write),
            weight_reader.write_at.eq(load_w.write_at),
            weight_reader.write_data.eq(load_w.write_data),
            act_buffer.read_at.eq(act_reader.read_at),
            act_reader.read_data.eq(act_buffer.read_data),
            act_reader.bank_freed.eq(output.bank_freed),
            act_buffer.storing.eq(output.storing),
            act_buffer.store.eq(output.store),
            act_buffer.store_at.eq(output.store_at),
            act_buffer.store_data.eq(output.store_data),
            output.full.eq(accumulator.full),
            accumulator.read_valid.eq(output.read_valid),
            accumulator.read_bank.eq(output.read_bank),
            accumulator.read_row.eq(output.read_row),
            output.sums.eq(accumulator.sums),
            output.param_row.eq(dispatcher.param_row),
            output.param_lane.eq(dispatcher.param_lane),
            output.param.eq(dispatcher.param),
            output.param_write.eq(dispatcher.param_write),
            dispatcher.done.eq(
                Cat(load_x.done, load_w.done, act_reader.done, weight_reader.done, output.done)
            ),
        ]
        wiring.connect(m, output.y, wiring.flipped(self.y))
        m.d.sync += [
            self.status.busy.eq(dispatcher.busy | self.y.valid),
            self.status.errors.eq(
                Cat(
                    dispatcher.errors,
                    load_x.mismatch,
                    load_w.mismatch,
                    output.outside,
                    (act_reader.reading & act_buffer.outside)
                    | weight_reader.outside
                    | output.param_outside,
                )
            ),
            self.status.x_starved.eq(load_x.starved),
            self.status.w_starved.eq(load_w.starved),
            self.status.acts_stalled.eq(datapath.acts.valid & ~datapath.acts.ready),
            self.status.y_stalled.eq(self.y.valid & ~self.y.ready),
        ]
        return m
