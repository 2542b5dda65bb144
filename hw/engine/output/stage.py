"""The output stage: bias, requantise, pool, and send results to the stream or the buffer."""

from amaranth.hdl import Cat, Module, Mux, Signal
from amaranth.lib import data, stream, wiring
from amaranth.lib.wiring import In, Out

from ...arith.compare import above
from ...arith.delay import delay
from ...lib.component import Component
from ..accumulator import banks_layout
from ..address import step_write
from ..config import EngineConfig
from ..fields import gemm_output_layout, named, parameter_layout
from ..position import Position
from .issue import ResultIssue
from .lane import OutputLane
from .layouts import group_tag, result_beat
from .parameters import ParameterStore
from .queue import PLACES, RAW_PLACES, ResultQueue, queued_group
from .store import StoreAddress
from .sums import GroupSums

__all__ = ["OutputStage"]

_TO_LANES = 5
"""Cycles from the issue of a group to its sums."""
_FIELDS = ("raw", "bias", "store", "p_base", "zero_point", "low", "high")
_COUNTS = ("m1_count", "m2_count")


class OutputStage(Component):
    """Takes finished rows out of the accumulator banks, ``drain_lanes`` channels a cycle.

    Per tile and window of ``pool`` rows: all groups of ``drain_lanes`` channels, and for each group
    the rows of the window, of whose requantised values the maximum is emitted. A tile whose rows
    are no multiple of ``pool`` ends with a smaller window.

    Parameters
    ----------
    config : EngineConfig
        See there for ranges.

    Members
    -------
    cmd : In(stream.Signature(gemm_output_layout(config)))
        Commands.
    steps : In(step_write(act_lanes))
        Steps of the command that is being received, see `StoreAddress.STEPS`.
    param_row : In(range(param_depth))
        Row of the parameter to write.
    param_lane : In(range(drain_lanes))
        Its lane.
    param : In(parameter_layout(config))
        Parameter to write.
    param_write : In(1)
        Writes it.
    full : In(1)
        Pulses when a bank is full.
    read_valid : Out(1)
        A row is asked for.
    read_bank : Out(1)
        Bank to read.
    read_row : Out(range(acc_depth))
        Row to read.
    sums : In(banks_layout(config))
        The row in the bank's place, 3 cycles later.
    bank_freed : Out(1)
        Pulses when all of a bank has been asked for; psums for it must come 3 cycles later at the
        earliest.
    y : Out(stream.Signature(result_beat(config)))
        Results that are not stored.
    storing : Out(1)
        Elements may be stored in this cycle.
    store : Out(drain_lanes)
        Write strobes to the activation buffer.
    store_at : Out(Position)
        Where lane 0 goes.
    store_data : Out(ArrayLayout(x_bits, drain_lanes))
        Elements to store.
    outside : Out(1)
        Pulses when a store beyond the buffer was dropped.
    param_outside : Out(1)
        Pulses when parameters beyond their rows were asked for; row 0 is read in their place.
    done : Out(1)
        Pulses when a command's results are out.

    Latency
        From the read of a row to its result: 7 cycles raw, 7 + `RequantiseConfig.latency` else.
    Throughput
        One group of one row a cycle while results are taken; 3 cycles more per tile.
    Numerics
        See `Requantise`; raw results are accumulator plus bias, sign-extended to ``lane_bits``.
    """

    cmd: stream.Interface
    steps: data.View
    param_row: Signal
    param_lane: Signal
    param: data.View
    param_write: Signal
    full: Signal
    read_valid: Signal
    read_bank: Signal
    read_row: Signal
    sums: data.View
    bank_freed: Signal
    y: stream.Interface
    storing: Signal
    store: Signal
    store_at: data.View
    store_data: data.View
    outside: Signal
    param_outside: Signal
    done: Signal

    def __init__(self, config: EngineConfig):
        self._config = config
        lanes = config.drain_lanes
        super().__init__(
            {
                "cmd": In(stream.Signature(gemm_output_layout(config))),
                "steps": In(step_write(config.datapath.act_lanes)),
                "param_row": In(range(config.param_depth)),
                "param_lane": In(range(lanes)),
                "param": In(parameter_layout(config)),
                "param_write": In(1),
                "full": In(1),
                "read_valid": Out(1),
                "read_bank": Out(1),
                "read_row": Out(range(config.acc_depth)),
                "sums": In(banks_layout(config)),
                "bank_freed": Out(1),
                "y": Out(stream.Signature(result_beat(config))),
                "storing": Out(1),
                "store": Out(lanes),
                "store_at": Out(Position),
                "store_data": Out(data.ArrayLayout(config.datapath.x_bits, lanes)),
                "outside": Out(1),
                "param_outside": Out(1),
                "done": Out(1),
            }
        )

    def elaborate(self, platform):
        m = Module()
        config = self._config
        taken = self.cmd.valid & self.cmd.ready
        names = (*_FIELDS, *_COUNTS, *(f"{name}_once" for name in _COUNTS))
        gemm = {
            name: register
            for name, register in named(gemm_output_layout(config), "gemm").items()
            if name in names
        }
        with m.If(taken):
            m.d.sync += [register.eq(self.cmd.payload[name]) for name, register in gemm.items()]
        m.submodules.issue = issue = ResultIssue(config)
        wiring.connect(m, wiring.flipped(self.cmd), issue.cmd)
        m.d.comb += [
            issue.full.eq(self.full),
            self.read_valid.eq(issue.tag.valid),
            self.read_bank.eq(issue.read_bank),
            self.read_row.eq(issue.read_row),
            self.bank_freed.eq(issue.bank_freed),
            self.done.eq(issue.done),
        ]
        parameters = self._elaborate_parameters(m, gemm, issue)
        summed = data.View(group_tag(config), delay(m, issue.tag, _TO_LANES + 1, "tag", reset=True))
        # Raw results leave early: what follows in the lanes must not look like a result.
        requantised = Signal(group_tag(config))
        m.d.comb += requantised.eq(summed)
        with m.If(gemm["raw"]):
            m.d.comb += requantised.valid.eq(0)
        latency = config.lane.latency
        before_store = latency - 2 - (_TO_LANES + 1)
        early = data.View(
            group_tag(config), delay(m, requantised, before_store, "early_tag", reset=True)
        )
        late = data.View(
            group_tag(config), delay(m, early, latency - 1 - before_store, "late_tag", reset=True)
        )
        pooled = Signal(group_tag(config))
        m.d.sync += pooled.eq(late)
        leaves = Signal(group_tag(config))
        m.d.comb += leaves.eq(Mux(gemm["raw"], summed, pooled))
        lanes = self._elaborate_lanes(m, gemm, issue, parameters, late)
        self._elaborate_store(m, gemm, taken, early, leaves, lanes)
        queue = self._elaborate_queue(m, gemm, leaves, lanes)
        in_flight = Signal(range(latency + 9))
        with m.If(issue.tag.valid & ~leaves.valid):
            m.d.sync += in_flight.eq(in_flight + 1)
        with m.Elif(~issue.tag.valid & leaves.valid):
            m.d.sync += in_flight.eq(in_flight - 1)
        promised = Signal(range(2 * PLACES))
        full = [above(promised, places - 4) for places in (RAW_PLACES, PLACES)]
        room = Signal(init=1)
        m.d.sync += [
            promised.eq(queue.level + in_flight),
            room.eq(~Mux(gemm["raw"], *full)),
        ]
        m.d.comb += [issue.room.eq(room), issue.busy.eq((in_flight != 0) | queue.write)]
        return m

    def _elaborate_parameters(self, m, gemm, issue):
        """Return the parameters of the group issued five cycles ago."""
        m.submodules.parameters = parameters = ParameterStore(self._config)
        m.d.comb += [
            parameters.row.eq(self.param_row),
            parameters.lane.eq(self.param_lane),
            parameters.param.eq(self.param),
            parameters.write.eq(self.param_write),
            parameters.start.eq(self.cmd.ready),
            parameters.start_base.eq(self.cmd.payload.p_base),
            parameters.base.eq(gemm["p_base"]),
            parameters.tile_ends.eq(issue.tile_ends),
            parameters.n_ends.eq(issue.n_ends),
            parameters.group.eq(issue.tag.group),
            parameters.needed.eq(issue.tag.valid & (~gemm["raw"] | gemm["bias"])),
            self.param_outside.eq(parameters.outside),
        ]
        return parameters.parameters

    def _elaborate_lanes(self, m, gemm, issue, parameters, late):
        """Return the lanes, which requantise and pool the groups."""
        config = self._config
        m.submodules.sums = sums = GroupSums(config)
        m.d.comb += [
            sums.group.eq(delay(m, issue.tag.group, 2, "group")),
            sums.bank.eq(delay(m, issue.read_bank, 2, "bank")),
            sums.sums.eq(self.sums),
        ]
        lanes = []
        for i in range(config.drain_lanes):
            m.submodules[f"lane_{i}"] = lane = OutputLane(config)
            m.d.comb += [
                lane.total.eq(sums.chosen[i]),
                lane.param.eq(parameters[i]),
                lane.leaves_bias.eq(gemm["raw"] & ~gemm["bias"]),
                lane.zero_point.eq(gemm["zero_point"]),
                lane.low.eq(gemm["low"]),
                lane.high.eq(gemm["high"]),
                lane.valid.eq(late.valid),
                lane.window_first.eq(late.window_first),
            ]
            lanes.append(lane)
        return lanes

    def _elaborate_store(self, m, gemm, taken, early, leaves, lanes):
        """Store results in the activation buffer, but for those that would lie behind its end."""
        config = self._config
        vector = config.datapath.act_lanes
        m.submodules.addresses = addresses = StoreAddress(config)
        m.d.comb += [
            addresses.steps.eq(self.steps),
            addresses.taken.eq(taken),
            addresses.tag.eq(early),
            addresses.counts.eq(Cat(gemm[name] for name in _COUNTS)),
            addresses.once.eq(Cat(gemm[f"{name}_once"] for name in _COUNTS)),
        ]
        stores = leaves.valid & leaves.emit & gemm["store"]
        beyond = Cat(
            addresses.in_last & above(addresses.at.lane[: vector.bit_length()], vector - i - 1)
            for i in range(len(lanes))
        )
        m.d.sync += [
            self.store_at.eq(addresses.at),
            self.storing.eq(stores),
            self.store.eq(Mux(stores & addresses.fits, leaves.mask & ~beyond, 0)),
            self.outside.eq(stores & ~addresses.fits),
            *(self.store_data[i].eq(lane.best) for i, lane in enumerate(lanes)),
        ]

    def _elaborate_queue(self, m, gemm, leaves, lanes):
        """Queue results for the stream; return the queue."""
        m.submodules.queue = queue = ResultQueue(self._config)
        group = Signal(queued_group(self._config), name="result", reset_less=True)
        low = self._config.datapath.x_bits
        for i, lane in enumerate(lanes):
            value = Mux(gemm["raw"], lane.raw[:low], lane.best)
            m.d.sync += [
                group.low[i].eq(Mux(leaves.mask[i], value, 0)),
                group.high[i].eq(Mux(leaves.mask[i], lane.raw[low:], 0)),
            ]
        m.d.sync += [
            group.keep.eq(leaves.mask | ~leaves.end.replicate(len(lanes))),
            group.last.eq(leaves.end),
            group.raw.eq(gemm["raw"]),
            queue.write.eq(leaves.valid & leaves.emit & ~gemm["store"]),
        ]
        m.d.comb += queue.group.eq(group)
        wiring.connect(m, queue.y, wiring.flipped(self.y))
        return queue
