"""Addresses of results that go back to the activation buffer."""

from amaranth.hdl import Cat, Module, Mux, Signal
from amaranth.lib import data
from amaranth.lib.wiring import In, Out

from ...arith.delay import delay
from ...lib.component import Component
from ..address import AddressGenerator, AddressGeneratorConfig, Move, step_write
from ..config import EngineConfig
from ..position import Position, Step, add_lanes, sum_positions
from .layouts import group_tag

__all__ = ["StoreAddress"]


class StoreAddress(Component):
    """Computes where each group of results goes: the position of its row plus that of its channels.

    Parameters
    ----------
    config : EngineConfig
        See there for ranges.

    Members
    -------
    steps : In(step_write(act_lanes))
        Steps of the command that is being received, see `STEPS`.
    taken : In(1)
        A command begins.
    tag : In(group_tag(config))
        A group.
    counts : In(ArrayLayout(16, 2))
        Iterations of row loops 1 and 2; stable.
    once : In(2)
        Whether they have one iteration only; stable.
    at : Out(Position)
        Where the first lane of the group goes, 8 cycles later.
    fits : Out(1)
        The position lies in the buffer.
    in_last : Out(1)
        It lies in the buffer's last vector.

    Latency
        8 cycles.
    Throughput
        One group a cycle.
    """

    steps: data.View
    taken: Signal
    tag: data.View
    counts: data.View
    once: Signal
    at: data.View
    fits: Signal
    in_last: Signal

    LATENCY = 8
    STEPS = ("y0", "y1", "y2", "y")

    def __init__(self, config: EngineConfig):
        self._config = config
        super().__init__(
            {
                "steps": In(step_write(config.datapath.act_lanes)),
                "taken": In(1),
                "tag": In(group_tag(config)),
                "counts": In(data.ArrayLayout(16, 2)),
                "once": In(2),
                "at": Out(Position),
                "fits": Out(1),
                "in_last": Out(1),
            }
        )

    def elaborate(self, platform):
        m = Module()
        tag, d, depth = self.tag, self._config.datapath, self._config.act_depth
        m.submodules.addresses = addresses = AddressGenerator(
            AddressGeneratorConfig(loops=3, others=0, lanes=d.act_lanes, fabric=d.fabric)
        )
        begins = tag.valid & tag.window_first
        started = Signal()
        with m.If(self.taken):
            m.d.sync += started.eq(0)
        with m.If(begins):
            m.d.sync += started.eq(1)
        tile = Mux(started, Mux(tag.n_first, Move.TILE, Move.RESTART), Move.START)
        m.d.sync += addresses.move.eq(Mux(
            begins & tag.group_first, Mux(tag.tile_first, tile, Move.NEXT), Move.HOLD
        ))  # fmt: skip
        m.d.comb += [
            addresses.steps.eq(self.steps),
            addresses.taken.eq(self.taken),
            addresses.counts.eq(self.counts),
            addresses.once.eq(self.once),
        ]
        at = sum_positions(m, addresses, self._elaborate_offset(m, begins), d.act_lanes)
        m.d.sync += [
            self.at.vector.eq(at.vector),
            self.at.lane.eq(at.lane),
            self.fits.eq(at.vector < depth),
            self.in_last.eq(at.vector == depth - 1),
        ]
        return m

    def _elaborate_offset(self, m, begins):
        """Return the position of the group's channels, 4 cycles later, its vector 5.

        A tile of channels begins where the last group of the one before ended, and each of its
        windows where it began.
        """
        config, tag = self._config, self.tag
        lanes, width = config.datapath.act_lanes, config.drain_lanes
        returns = tag.group_first & ~tag.tile_first
        flags = data.StructLayout({"moves": 1, "resets": 1, "returns": 1, "begins_tile": 1})
        now = Signal(flags, name="offset_flags")
        later = Signal(flags, name="offset_flags_later")
        m.d.comb += now.as_value().eq(delay(m, Cat(
            begins, tag.group_first & tag.tile_first & tag.n_first, returns, tag.tile_first,
        ), 3, "offset_delay", reset=True))  # fmt: skip
        m.d.sync += later.eq(now)
        last = config.datapath.cols - (config.groups - 1) * width
        step = Signal(Step(lanes))
        count = Mux(now.begins_tile, last % lanes, width % lanes)
        m.d.comb += [step.lane.eq(count), step.excess.eq(count - lanes)]
        offset, start = (
            Signal(data.StructLayout({"vector": 16, "lane": len(step.lane)}), name=name,
                   reset_less=True)
            for name in ("offset", "tile_offset")
        )  # fmt: skip
        carried = Signal(reset_less=True)
        lane, carry = add_lanes(offset.lane, step, lanes)
        m.d.sync += carried.eq(carry | Mux(now.begins_tile, last == lanes, width == lanes))
        for name, at, moved in (
            ("lane", now, lane),
            ("vector", later, offset.vector + carried),
        ):
            with m.If(at.moves):
                m.d.sync += offset[name].eq(Mux(at.resets, 0, Mux(at.returns, start[name], moved)))
                with m.If(at.begins_tile):
                    m.d.sync += start[name].eq(Mux(at.resets, 0, moved))
        return offset
