"""The engine with its registers: what a system-on-chip instantiates."""

from amaranth.hdl import Module
from amaranth.lib import stream, wiring
from amaranth.lib.wiring import In, Out

from ..bus.axi_lite import AxiLite, AxiLiteInterface, RegisterBank
from ..lib.component import Component
from .config import EngineConfig
from .core import EngineCore
from .fields import word_beat
from .loader import data_beat
from .output.layouts import result_beat
from .registers import engine_registers, register_values

__all__ = ["Engine"]


class Engine(Component):
    """Runs quantised matrix products and convolutions on one datapath, under AXI.

    Commands, activations, weights and results are streams; identification, configuration, status,
    error flags and counters are registers. A malformed command sets a flag and is dropped.

    Parameters
    ----------
    config : EngineConfig
        See there for ranges.

    Members
    -------
    s_axi : In(AxiLite(8))
        Registers, see `engine_registers`.
    cmd : In(stream.Signature(word_beat))
        Command packets of 32-bit words, see `COMMANDS`.
    x : In(stream.Signature(data_beat(x_bits * act_lanes)))
        Activation vectors, lane 0 in the least significant bits; one packet per ``LOAD_X``.
    w : In(stream.Signature(data_beat(weight_beat_bits)))
        Weight beats; one packet per ``LOAD_W``.
    y : Out(stream.Signature(result_beat(config)))
        Results; one packet per ``GEMM`` that does not store.

    Latency
        Exact cycle counts: `tilewright.sw.cycles`.
    Throughput
        One activation vector a cycle as long as the datapath takes it.
    Numerics
        Sums exact up to ``k_max`` products; requantisation as in `Requantise`.
    Reference
        Jouppi et al., In-Datacenter Performance Analysis of a Tensor Processing Unit, ISCA 2017:
        weight and accumulator buffers around the array.
    """

    s_axi: AxiLiteInterface
    cmd: stream.Interface
    x: stream.Interface
    w: stream.Interface
    y: stream.Interface

    def __init__(self, config: EngineConfig):
        self._config = config
        d = config.datapath
        super().__init__(
            {
                "s_axi": In(AxiLite(8)),
                "cmd": In(stream.Signature(word_beat)),
                "x": In(stream.Signature(data_beat(d.x_bits * d.act_lanes))),
                "w": In(stream.Signature(data_beat(d.weight_beat_bits))),
                "y": Out(stream.Signature(result_beat(config))),
            }
        )

    def elaborate(self, platform):
        m = Module()
        m.submodules.core = core = EngineCore(self._config)
        m.submodules.registers = bank = RegisterBank(engine_registers(self._config))
        wiring.connect(m, wiring.flipped(self.s_axi), bank.s_axi)
        for name in ("cmd", "x", "w"):
            wiring.connect(m, wiring.flipped(getattr(self, name)), getattr(core, name))
        wiring.connect(m, core.y, wiring.flipped(self.y))
        for name, value in register_values(self._config).items():
            m.d.comb += getattr(bank, name).eq(value)
        status = core.status
        m.d.comb += [
            bank.status.eq(status.busy),
            bank.errors.eq(status.errors),
            bank.cycles.eq(status.busy),
            bank.x_starved.eq(status.x_starved),
            bank.w_starved.eq(status.w_starved),
            bank.acts_stalled.eq(status.acts_stalled),
            bank.y_stalled.eq(status.y_stalled),
        ]
        return m
