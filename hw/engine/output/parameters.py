"""Requantisation parameters of the channels, one memory for each lane."""

from amaranth.hdl import Cat, Module, Mux, Signal
from amaranth.lib import data
from amaranth.lib.wiring import In, Out

from ...lib.component import Component
from ..buffer import Buffer
from ..config import EngineConfig
from ..fields import field_bits, parameter_layout

__all__ = ["ParameterStore"]


class ParameterStore(Component):
    """Holds the parameters of all channels, a row for each group, and reads those of a group.

    Parameters
    ----------
    config : EngineConfig
        See there for ranges.

    Members
    -------
    row : In(range(param_depth))
        Row of the parameter to write.
    lane : In(range(drain_lanes))
        Its lane.
    param : In(parameter_layout(config))
        Parameter to write.
    write : In(1)
        Write strobe.
    start : In(1)
        A command begins: go to the row ``base``.
    start_base : In(range(param_depth))
        The row, in the cycle of ``start``.
    base : In(range(param_depth))
        The row, stable from then on.
    tile_ends : In(1)
        A tile ends: go to the rows of the next tile of channels.
    n_ends : In(1)
        It was the last tile of channels: go back to ``base``.
    group : In(range(groups))
        Group of the tile whose parameters are read.
    needed : In(1)
        They are needed.
    parameters : Out(ArrayLayout(parameter_layout(config), drain_lanes))
        The parameters, 5 cycles after ``group``.
    outside : Out(1)
        Pulses when needed parameters lay beyond the rows; row 0 is read in their place.

    Latency
        5 cycles.
    Throughput
        One group a cycle.
    """

    row: Signal
    lane: Signal
    param: data.View
    write: Signal
    start: Signal
    start_base: Signal
    base: Signal
    tile_ends: Signal
    n_ends: Signal
    group: Signal
    needed: Signal
    parameters: data.View
    outside: Signal

    def __init__(self, config: EngineConfig):
        self._config = config
        layout = parameter_layout(config)
        base = field_bits(config, "GEMM", "p_base")
        super().__init__(
            {
                "row": In(range(config.param_depth)),
                "lane": In(range(config.drain_lanes)),
                "param": In(layout),
                "write": In(1),
                "start": In(1),
                "start_base": In(base),
                "base": In(base),
                "tile_ends": In(1),
                "n_ends": In(1),
                "group": In(range(config.groups)),
                "needed": In(1),
                "parameters": Out(data.ArrayLayout(layout, config.drain_lanes)),
                "outside": Out(1),
            }
        )

    def elaborate(self, platform):
        m = Module()
        config = self._config
        first = Signal(16, reset_less=True)
        wanted = Signal(16, reset_less=True)
        needed = Signal()
        address = Signal(range(config.param_depth), reset_less=True)
        read_at = Signal.like(address, name="read_at", reset_less=True)
        beyond = wanted >= config.param_depth
        with m.If(self.start):
            m.d.sync += first.eq(self.start_base)
        with m.Elif(self.tile_ends):
            m.d.sync += first.eq(Mux(self.n_ends, self.base, first + config.groups))
        m.d.sync += [
            wanted.eq(first + self.group),
            needed.eq(self.needed),
            address.eq(Mux(beyond, 0, wanted)),
            read_at.eq(address),
            self.outside.eq(needed & beyond),
        ]
        row = Signal.like(self.row, name="row_held", reset_less=True)
        param = Signal.like(self.param, name="param_held", reset_less=True)
        writes = Signal(config.drain_lanes)
        m.d.sync += [
            row.eq(self.row),
            param.eq(self.param),
            writes.eq(Cat(self.write & (self.lane == i) for i in range(config.drain_lanes))),
        ]
        for i in range(config.drain_lanes):
            m.submodules[f"lane_{i}"] = store = Buffer(param.shape().size, config.param_depth)
            m.d.comb += [
                store.write_at.eq(row),
                store.write_data.eq(param),
                store.write.eq(writes[i]),
                store.read_at.eq(read_at),
                self.parameters[i].as_value().eq(store.read_data),
            ]
        return m
