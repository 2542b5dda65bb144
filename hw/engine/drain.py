"""The drain: bias, requantise, pool, and send results to the stream or back to the buffer."""

from amaranth.hdl import Cat, Const, Module, Mux, Shape, Signal, Value, signed
from amaranth.lib import data, stream
from amaranth.lib.wiring import In, Out

from ..arith.gated_add import GatedAdd, GatedAddConfig
from ..lib.component import Component
from .accumulator import banks_layout
from .buffer import Buffer
from .config import EngineConfig
from .dispatch import command_layout, parameter_layout
from .position import Position, Walk, Walker, add_lanes, field, position, sum_positions
from .queue import Queue
from .requantise import RequantiseLane
from .sums import MOST_GROUPS, chosen_sums, strobed_sums

__all__ = ["Drain", "result_beat"]

_QUEUE = 32
"""Places for results: more than there are stages behind the issue of a row."""


def result_beat(config: EngineConfig) -> data.StructLayout:
    """One beat of results: ``drain_lanes`` numbers, a bit for each that counts, end of GEMM.

    Who writes packets to memory expects beats that are full but for the last one: a row whose
    channels do not fill its last beat is filled up with zeros, of which only those that would end
    the packet are left out of ``keep``.
    """
    lanes = config.drain_lanes
    return data.StructLayout(
        {"data": data.ArrayLayout(signed(config.lane_bits), lanes), "keep": lanes, "last": 1}
    )


class Drain(Component):
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
    cmd : In(stream.Signature(command_layout("GEMM")))
        Commands.
    param_row : In(16)
        Row of the parameter to write.
    param_lane : In(8)
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
    Reference
        None.
    """

    def __init__(self, config: EngineConfig):
        self._config = config
        d = config.datapath
        super().__init__(
            {
                "cmd": In(stream.Signature(command_layout("GEMM"))),
                "param_row": In(16),
                "param_lane": In(8),
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
                "store": Out(config.drain_lanes),
                "store_at": Out(Position),
                "store_data": Out(data.ArrayLayout(d.x_bits, config.drain_lanes)),
                "outside": Out(1),
                "param_outside": Out(1),
                "done": Out(1),
            }
        )
        self._tag = data.StructLayout(
            {
                "valid": 1,
                "emit": 1,
                "window_first": 1,
                "end": 1,
                "group": range(config.groups),
                "mask": config.drain_lanes,
            }
        )

    def elaborate(self, platform):
        m = Module()
        words = Signal(command_layout("GEMM"), reset_less=True)
        tag = Signal(self._tag)
        active = Signal()
        issue = Signal()
        starts_tile = Signal()
        # Rows are asked for only while the output queue has room for all that is under way.
        room = Signal(init=1)
        busy = Signal()
        m.d.comb += [issue.eq(active & room), self.read_valid.eq(issue)]
        waiting = Signal(range(3))
        taken = Signal()
        m.d.sync += waiting.eq(waiting + self.full - taken)
        self._tile_ends = empties = Signal()
        m.d.sync += self.bank_freed.eq(empties)
        first_n, ends_tile, ends = self._elaborate_issue(
            m, words, tag, active, issue, starts_tile
        )
        with m.FSM():
            with m.State("Idle"):
                m.d.comb += self.cmd.ready.eq(1)
                with m.If(self.cmd.valid):
                    m.d.sync += words.eq(self.cmd.payload)
                    m.next = "Next"
                    with m.If(field(self.cmd.payload, "GEMM", "keep")):
                        m.next = "Done"
            with m.State("Next"):
                m.next = "Tile"
            with m.State("Tile"):
                with m.If(waiting != 0):
                    m.d.comb += taken.eq(1)
                    m.d.sync += active.eq(1)
                    m.next = "Rows"
            with m.State("Rows"):
                with m.If(issue & ends_tile):
                    m.d.comb += empties.eq(1)
                    m.d.sync += [self.read_bank.eq(~self.read_bank), active.eq(0)]
                    m.next = "Next"
                    with m.If(ends):
                        m.next = "Flush"
            with m.State("Flush"):
                with m.If(~busy):
                    m.next = "Done"
            with m.State("Done"):
                m.d.comb += self.done.eq(1)
                m.next = "Idle"
        at = self._elaborate_positions(m, words, tag, active, issue, starts_tile, first_n)
        in_flight = self._elaborate_lanes(m, words, tag, issue, at, busy)
        m.submodules.output = output = Queue(self.y.payload.shape().size, _QUEUE)
        promised = Signal(range(2 * _QUEUE))
        m.d.sync += [promised.eq(output.level + in_flight), room.eq(promised < _QUEUE - 3)]
        m.d.comb += [
            output.write_data.eq(self._result),
            output.write.eq(self._result_valid),
            Value.cast(self.y.payload).eq(output.data),
            self.y.valid.eq(output.valid),
            output.take.eq(self.y.ready),
        ]
        return m

    def _elaborate_issue(self, m, words, tag, active, issue, starts_tile):
        """Count tiles, windows, groups and rows; return flags that the others need.

        What a tile needs is worked out before its first row, and every counter has a flag for its
        last value, so that little is left to decide from row to row.
        """
        config = self._config
        payload = self.cmd.payload

        def get(name):
            return field(words, "GEMM", name)

        m_left = Signal(16, reset_less=True)
        n_left = Signal(16, reset_less=True)
        last_m = Signal()
        first_n = Signal()
        tile_ended = Signal()
        m.d.sync += tile_ended.eq(self._tile_ends)
        self._last_n = last_n = Signal()
        n_ends = Signal()
        last_tile = Signal()
        group = Signal(range(config.groups))
        last_group = Signal(range(config.groups))
        last_mask = Signal(config.drain_lanes)
        row = data.StructLayout({"at": self.read_row.shape(), "left": 16, "last": 1})
        here = Signal(row, reset_less=True)
        window = Signal(row, name="window", reset_less=True)
        pool_left = Signal(16, reset_less=True)
        pool_last = Signal()
        tile_new = Signal()
        row_first = Signal()
        group_first = Signal()
        self._group_first = group_first
        group_last = Signal()
        only_group = Signal()
        window_last = pool_last | here.last
        ends_tile = window_last & here.last & group_last
        with m.If(self.cmd.ready):
            m.d.sync += [
                m_left.eq(field(payload, "GEMM", "m_tiles") - 1),
                last_m.eq(field(payload, "GEMM", "m_tiles") == 1),
                n_left.eq(field(payload, "GEMM", "n_tiles") - 1),
                n_ends.eq(field(payload, "GEMM", "n_tiles") == 1),
                first_n.eq(1),
            ]
        flags = (last_group, last_mask, group_last, only_group)
        self._elaborate_tile(m, words, active, (last_m, n_ends, last_tile), flags, (here, window))
        with m.If(~active):
            m.d.sync += [
                group.eq(0), pool_left.eq(get("pool") - 1), pool_last.eq(get("pool") == 1),
                tile_new.eq(1), row_first.eq(1), group_first.eq(1),
            ]
        following = Signal(row)
        m.d.comb += [
            following.at.eq(here.at + 1), following.left.eq(here.left - 1),
            following.last.eq(here.left == 1), self.read_row.eq(here.at),
        ]
        with m.If(issue):
            m.d.sync += [tile_new.eq(0), row_first.eq(window_last), here.eq(following)]
            m.d.sync += [pool_left.eq(pool_left - 1), pool_last.eq(pool_left == 1)]
            with m.If(window_last):
                m.d.sync += [pool_left.eq(get("pool") - 1), pool_last.eq(get("pool") == 1)]
                m.d.sync += group_first.eq(group_last)
                with m.If(group_last):
                    m.d.sync += [group.eq(0), group_last.eq(only_group), window.eq(following)]
                with m.Else():
                    m.d.sync += [group.eq(group + 1), here.eq(window)]
                    m.d.sync += group_last.eq(group + 1 == last_group)
        with m.If(tile_ended):
            m.d.sync += [n_left.eq(n_left - 1), n_ends.eq(n_left == 1), first_n.eq(0)]
            with m.If(last_n):
                m.d.sync += [n_left.eq(get("n_tiles") - 1), n_ends.eq(get("n_tiles") == 1)]
                m.d.sync += [first_n.eq(1), m_left.eq(m_left - 1), last_m.eq(m_left == 1)]
        m.d.comb += [
            tag.valid.eq(issue),
            tag.emit.eq(window_last),
            tag.window_first.eq(row_first),
            tag.end.eq(ends_tile & last_tile),
            tag.group.eq(group),
            tag.mask.eq(last_mask | ~group_last.replicate(config.drain_lanes)),
            starts_tile.eq(tile_new),
        ]
        return first_n, ends_tile, last_tile

    def _elaborate_tile(self, m, words, active, tile, flags, rows):
        """Between two tiles: set rows, groups and flags of the one that follows."""
        config = self._config
        last_m, n_ends, last_tile = tile
        bits = len(flags[0])
        last_n = self._last_n
        lanes = config.drain_lanes

        def last_of(channels):
            """Return the last group of so many channels, its lanes, twice whether it is first."""
            last = channels - 1
            mask = Cat((last & lanes - 1) >= i for i in range(lanes))
            group = Value.cast(last >> (lanes - 1).bit_length())[:bits]
            return Cat(group, mask, (group == 0).replicate(2))

        of_last_tile = Signal(bits + lanes + 2)
        of_others = last_of(Const(config.datapath.cols, 16))
        m.d.sync += of_last_tile.eq(last_of(field(words, "GEMM", "n_last")))
        counts = []
        for name in ("tile_rows", "last_rows"):
            count = field(words, "GEMM", name)
            left, single = Signal(16, name=f"{name}_left"), Signal(name=f"{name}_single")
            m.d.sync += [left.eq(count - 1), single.eq(count == 1)]
            counts.append(Cat(left, single))
        with m.If(~active):
            m.d.sync += [
                last_tile.eq(last_m & n_ends),
                last_n.eq(n_ends),
                Cat(flags).eq(Mux(n_ends, of_last_tile, of_others)),
            ]
            for row in rows:
                m.d.sync += [row.at.eq(0), Cat(row.left, row.last).eq(Mux(last_m, *counts[::-1]))]

    def _elaborate_positions(self, m, words, tag, active, issue, starts_tile, first_n):
        """Return where the group issued seven cycles ago goes."""
        config = self._config
        lanes = config.datapath.act_lanes
        m.submodules.walker = walker = Walker(3, lanes)
        started = Signal()
        m.d.comb += walker.base.eq(position(words, "y"))
        for i in range(3):
            m.d.comb += [
                walker.counts[i].eq(field(words, "GEMM", f"m{i}_count")),
                walker.steps[i].eq(position(words, f"y{i}")),
            ]
        moves = issue & tag.window_first & self._group_first
        upcoming = Signal(Walk, reset_less=True)
        with m.If(self.cmd.ready):
            m.d.sync += started.eq(0)
        with m.If(~active):
            m.d.sync += upcoming.eq(
                Mux(started, Mux(first_n, Walk.TILE, Walk.RESTART), Walk.START)
            )
        with m.If(moves):
            m.d.sync += [started.eq(1), upcoming.eq(Walk.NEXT)]
        m.d.sync += walker.op.eq(Mux(moves, upcoming, Walk.HOLD))

        tile = self._delay(m, Cat(issue & starts_tile, first_n), 2, "tile")
        window = self._delay(
            m, Cat(issue & tag.window_first, self._group_first), 3, "window"
        )
        tile_offset = Signal(Position, reset_less=True)
        offset = Signal(Position, reset_less=True)
        self._elaborate_offset(m, tile_offset, tile, config.datapath.cols, Position(Const(0, 24)))
        self._elaborate_offset(m, offset, window, config.drain_lanes, tile_offset)
        return sum_positions(m, walker, offset, lanes)

    def _elaborate_offset(self, m, offset, begins, count, start):
        """Add ``count`` elements to ``offset``, the vector a cycle after the lane, or restart.

        ``begins``: whether one begins, and whether it is the first.
        """
        lanes = self._config.datapath.act_lanes
        lane, carry = add_lanes(offset.lane, Const(count % lanes, 8), lanes)
        later = Signal(2)
        carried = Signal()
        m.d.sync += [later.eq(begins), carried.eq(carry)]
        with m.If(begins == 0b11):
            m.d.sync += offset.lane.eq(start.lane)
        with m.Elif(begins == 0b01):
            m.d.sync += offset.lane.eq(lane)
        with m.If(later == 0b11):
            m.d.sync += offset.vector.eq(start.vector)
        with m.Elif(later == 0b01):
            m.d.sync += offset.vector.eq(offset.vector + count // lanes + carried)

    def _delay(self, m, value, cycles, name):
        """Return ``value`` as it was ``cycles`` cycles ago."""
        for i in range(cycles):
            delayed = Signal.like(value, name=f"{name}_{i + 1}")
            m.d.sync += delayed.eq(value)
            value = delayed
        return value

    def _elaborate_lanes(self, m, words, tag, issue, at, busy):
        """Requantise and pool ``drain_lanes`` channels; return how many groups are under way."""
        config = self._config
        parameters = self._elaborate_parameters(m, words, tag)
        raw, stores, has_bias = (field(words, "GEMM", n) for n in ("raw", "store", "bias"))
        latency = config.lane.latency
        raw_tag = self._delay(m, tag, 6, "raw_tag")
        # Raw results leave early: what follows in the lanes must not look like a result.
        requantised_tag = Signal(self._tag)
        m.d.comb += requantised_tag.eq(raw_tag)
        with m.If(raw):
            m.d.comb += requantised_tag.valid.eq(0)
        lane_tag = self._delay(m, requantised_tag, latency - 1, "lane_tag")
        pooled_tag = self._delay(m, lane_tag, 1, "pooled_tag")
        before = self._delay(m, at, latency - 2, "before_store_at")
        store_at = Signal.like(at, name="store_at_1", reset_less=True)
        fits = Signal(reset_less=True)
        at_end = Signal(reset_less=True)
        m.d.sync += [
            store_at.eq(before),
            fits.eq(before.vector < config.act_depth),
            at_end.eq(before.vector == config.act_depth - 1),
        ]
        shape = Shape(config.datapath.x_bits, config.datapath.x_signed)
        many = config.groups > MOST_GROUPS
        group = self._delay(m, tag.group, 2 if many else 3, "group")
        bank = self._delay(m, self.read_bank, 2 if many else 4, "bank")
        sums = (strobed_sums if many else chosen_sums)(m, config, self.sums, group, bank)
        out_tag = Signal(self._tag)
        m.d.comb += out_tag.eq(Mux(raw, raw_tag, pooled_tag))
        self._result = result = Signal(result_beat(config))
        self._result_valid = result_valid = Signal()
        adder = GatedAddConfig(
            width=config.acc_width + 1, carries=False, fabric=config.lane.fabric
        )
        for i in range(config.drain_lanes):
            lane = m.submodules[f"lane_{i}"] = RequantiseLane(config.lane)
            clamps = [field(words, "GEMM", name) for name in ("zero_point", "low", "high")]
            m.d.comb += [
                lane.advance.eq(1),
                lane.acc.eq(sums[i]),
                lane.bias.eq(parameters[i].bias.as_value().as_signed()),
                lane.mult.eq(parameters[i].mult),
                lane.shift.eq(parameters[i].shift),
            ]
            for port, bits in zip((lane.zero_point, lane.lo, lane.hi), clamps, strict=True):
                m.d.comb += port.eq(bits.as_signed() if config.datapath.x_signed else bits)
            m.submodules[f"add_{i}"] = add = GatedAdd(adder)
            m.d.comb += [
                add.fresh.eq(lane.acc), add.old.eq(lane.bias), add.clear.eq(~has_bias),
            ]
            best = Signal(shape, name=f"best_{i}")
            # The sign of a difference is ready sooner than a comparison.
            keeps = ~lane_tag.valid | (~lane_tag.window_first & (lane.value - best)[-1])
            biased = Signal(signed(config.acc_width + 1), name=f"biased_{i}", reset_less=True)
            m.d.sync += [
                best.eq(Mux(keeps, best, lane.value)),
                biased.eq(add.sum),
                result.data[i].eq(Mux(out_tag.mask[i], Mux(raw, biased, best), 0)),
                self.store_data[i].eq(best),
            ]
        emits = out_tag.valid & out_tag.emit
        lanes = config.datapath.act_lanes
        beyond = Cat(at_end & (store_at.lane >= lanes - i) for i in range(config.drain_lanes))
        m.d.sync += [
            result_valid.eq(emits & ~stores),
            result.keep.eq(out_tag.mask | ~out_tag.end.replicate(config.drain_lanes)),
            result.last.eq(out_tag.end),
            self.store_at.vector.eq(store_at.vector), self.store_at.lane.eq(store_at.lane),
            self.storing.eq(emits & stores),
            self.store.eq(Mux(emits & stores & fits, out_tag.mask & ~beyond, 0)),
            self.outside.eq(emits & stores & ~fits),
        ]
        in_flight = Signal(range(latency + 9))
        m.d.sync += in_flight.eq(in_flight + issue - Mux(raw, raw_tag.valid, pooled_tag.valid))
        m.d.comb += busy.eq((in_flight != 0) | result_valid)
        return in_flight

    def _elaborate_parameters(self, m, words, tag):
        """Return the parameters of the group issued five cycles ago."""
        config = self._config
        layout = parameter_layout(config)
        base = Signal(16, reset_less=True)
        wanted = Signal(16, reset_less=True)
        address = Signal(range(config.param_depth), reset_less=True)
        asked = Signal()
        beyond = wanted >= config.param_depth
        raw, has_bias = (field(words, "GEMM", name) for name in ("raw", "bias"))
        with m.If(self.cmd.ready):
            m.d.sync += base.eq(field(self.cmd.payload, "GEMM", "p_base"))
        with m.Elif(self._tile_ends):
            following = Mux(self._last_n, field(words, "GEMM", "p_base"), base + config.groups)
            m.d.sync += base.eq(following)
        m.d.sync += [
            wanted.eq(base + tag.group), address.eq(Mux(beyond, 0, wanted)), asked.eq(tag.valid),
            self.param_outside.eq(asked & beyond & (~raw | has_bias)),
        ]
        read_at = self._delay(m, address, 1, "address")
        row = Signal.like(self.param_row, reset_less=True)
        record = Signal(layout, reset_less=True)
        writes = Signal(config.drain_lanes)
        m.d.sync += [
            row.eq(self.param_row),
            record.eq(self.param),
            writes.eq(Cat(
                self.param_write & (self.param_lane == i) for i in range(config.drain_lanes)
            )),
        ]
        parameters = []
        for i in range(config.drain_lanes):
            store = m.submodules[f"parameters_{i}"] = Buffer(layout.size, config.param_depth)
            m.d.comb += [
                store.write_at.eq(row),
                store.write_data.eq(record),
                store.write.eq(writes[i]),
                store.read_at.eq(read_at),
            ]
            parameters.append(data.View(layout, store.read_data))
        return parameters
