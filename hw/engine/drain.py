"""The drain: bias, requantise, pool, and send results to the stream or back to the buffer."""

from amaranth.hdl import Cat, Const, Module, Mux, Shape, Signal, signed
from amaranth.lib import data, stream, wiring
from amaranth.lib.wiring import In, Out

from .buffer import buffer_memory
from .config import EngineConfig
from .dispatch import command_layout, parameter_layout
from .position import Position, Walk, Walker, add_positions, field, lane_excess, position
from .requantise import RequantiseLane

__all__ = ["Drain", "result_beat"]


def result_beat(config: EngineConfig) -> data.StructLayout:
    """One beat of results: ``drain_lanes`` numbers, a bit for each that is real, end of GEMM."""
    lanes = config.drain_lanes
    return data.StructLayout(
        {"data": data.ArrayLayout(signed(config.lane_bits), lanes), "keep": lanes, "last": 1}
    )


class Drain(wiring.Component):
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
    read : Out(1)
        Clock enable of the bank's read side.
    read_valid : Out(1)
        A row is asked for.
    read_bank : Out(1)
        Bank to read.
    read_row : Out(range(acc_depth))
        Row to read.
    sums : In(ArrayLayout(signed(acc_width), cols))
        The row, 2 enabled cycles later.
    bank_freed : Out(1)
        Pulses when a bank has been read.
    y : Out(stream.Signature(result_beat(config)))
        Results that are not stored.
    store : Out(drain_lanes)
        Write strobes to the activation buffer.
    store_at : Out(Position)
        Where lane 0 goes.
    store_data : Out(ArrayLayout(x_bits, drain_lanes))
        Elements to store.
    outside : Out(1)
        Pulses when a store beyond the buffer was dropped.
    done : Out(1)
        Pulses when a command's results are out.

    Latency
        From the read of a row to its result: 5 cycles raw, 5 + `RequantiseConfig.latency` else.
    Throughput
        One group of one row a cycle while ``y.ready``; 2 cycles more per tile.
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
                "read": Out(1),
                "read_valid": Out(1),
                "read_bank": Out(1),
                "read_row": Out(range(config.acc_depth)),
                "sums": In(data.ArrayLayout(signed(config.acc_width), d.cols)),
                "bank_freed": Out(1),
                "y": Out(stream.Signature(result_beat(config))),
                "store": Out(config.drain_lanes),
                "store_at": Out(Position),
                "store_data": Out(data.ArrayLayout(d.x_bits, config.drain_lanes)),
                "outside": Out(1),
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
        words = Signal(command_layout("GEMM"))
        tag = Signal(self._tag)
        issue, starts_tile, busy = Signal(), Signal(), Signal()
        m.d.comb += self.read.eq(~self.y.valid | self.y.ready)
        waiting = Signal(range(3))
        taken = Signal()
        m.d.sync += waiting.eq(waiting + self.full - taken)
        # A bank is free once its last row has left the registers behind the memory.
        empties, emptied = Signal(), Signal(2)
        with m.If(self.read):
            m.d.sync += emptied.eq(Cat(empties, emptied[0]))
        m.d.comb += [self.bank_freed.eq(self.read & emptied[1]), self.read_valid.eq(issue)]
        self._tile_ends = empties
        first_n, ends_tile, ends = self._elaborate_issue(m, words, tag, issue, starts_tile)
        with m.FSM():
            with m.State("Idle"):
                m.d.comb += self.cmd.ready.eq(1)
                with m.If(self.cmd.valid):
                    m.d.sync += words.eq(self.cmd.payload)
                    m.next = "Tile"
                    with m.If(field(self.cmd.payload, "GEMM", "keep")):
                        m.next = "Done"
            with m.State("Tile"):
                with m.If(waiting != 0):
                    m.d.comb += taken.eq(1)
                    m.next = "Rows"
            with m.State("Rows"):
                m.d.comb += issue.eq(1)
                with m.If(self.read & ends_tile):
                    m.d.comb += empties.eq(1)
                    m.d.sync += self.read_bank.eq(~self.read_bank)
                    m.next = "Tile"
                    with m.If(ends):
                        m.next = "Flush"
            with m.State("Flush"):
                with m.If(~busy & self.read):
                    m.next = "Done"
            with m.State("Done"):
                m.d.comb += self.done.eq(1)
                m.next = "Idle"
        at = self._elaborate_positions(m, words, tag, issue, starts_tile, first_n)
        self._elaborate_lanes(m, words, tag, issue, at, busy)
        return m

    def _elaborate_issue(self, m, words, tag, issue, starts_tile):
        """Count tiles, windows, groups and rows; return flags that the others need.

        What a tile needs is worked out before its first row, and every counter has a flag for its
        last value, so that little is left to decide from row to row.
        """
        config = self._config
        payload = self.cmd.payload

        def get(name):
            return field(words, "GEMM", name)

        m_left, n_left, first_n = Signal(16), Signal(16), Signal()
        self._last_n = last_n = Signal()
        last_m = Signal()
        group, last_group = Signal(range(config.groups)), Signal(range(config.groups))
        last_mask = Signal(config.drain_lanes)
        row = data.StructLayout({"at": self.read_row.shape(), "left": 16, "last": 1})
        here, window = Signal(row), Signal(row, name="window")
        pool_left, pool_last = Signal(16), Signal()
        tile_new, row_first, group_first = Signal(), Signal(), Signal()
        self._group_first = group_first
        group_last = group == last_group
        window_last = pool_last | here.last
        ends_tile = window_last & here.last & group_last
        with m.If(self.cmd.ready):
            m.d.sync += [
                m_left.eq(field(payload, "GEMM", "m_tiles") - 1),
                n_left.eq(field(payload, "GEMM", "n_tiles") - 1),
                first_n.eq(1),
            ]
        self._elaborate_tile(m, words, issue, (m_left, n_left, last_m, last_group, last_mask),
                             (here, window))
        with m.If(~issue):
            m.d.sync += [
                group.eq(0), pool_left.eq(get("pool") - 1), pool_last.eq(get("pool") == 1),
                tile_new.eq(1), row_first.eq(1), group_first.eq(1),
            ]
        following = Signal(row)
        m.d.comb += [
            following.at.eq(here.at + 1), following.left.eq(here.left - 1),
            following.last.eq(here.left == 1), self.read_row.eq(here.at),
        ]
        with m.If(issue & self.read):
            m.d.sync += [tile_new.eq(0), row_first.eq(window_last), here.eq(following)]
            m.d.sync += [pool_left.eq(pool_left - 1), pool_last.eq(pool_left == 1)]
            with m.If(window_last):
                m.d.sync += [pool_left.eq(get("pool") - 1), pool_last.eq(get("pool") == 1)]
                m.d.sync += group_first.eq(group_last)
                with m.If(group_last):
                    m.d.sync += [group.eq(0), window.eq(following)]
                with m.Else():
                    m.d.sync += [group.eq(group + 1), here.eq(window)]
            with m.If(ends_tile):
                m.d.sync += [n_left.eq(n_left - 1), first_n.eq(0)]
                with m.If(last_n):
                    m.d.sync += [n_left.eq(get("n_tiles") - 1), first_n.eq(1)]
                    m.d.sync += m_left.eq(m_left - 1)
        m.d.comb += [
            tag.valid.eq(issue),
            tag.emit.eq(window_last),
            tag.window_first.eq(row_first),
            tag.end.eq(ends_tile & last_m & last_n),
            tag.group.eq(group),
            tag.mask.eq(last_mask | ~group_last.replicate(config.drain_lanes)),
            starts_tile.eq(tile_new),
        ]
        return first_n, ends_tile, last_m & last_n

    def _elaborate_tile(self, m, words, issue, tile, rows):
        """Between two tiles: set rows, groups and flags of the one that follows."""
        config = self._config
        m_left, n_left, last_m, last_group, last_mask = tile
        last_n = self._last_n
        channels = Mux(n_left == 0, field(words, "GEMM", "n_last"), config.datapath.cols)
        final = m_left == 0
        lanes_log2 = (config.drain_lanes - 1).bit_length()
        with m.If(~issue):
            m.d.sync += [
                last_m.eq(final),
                last_n.eq(n_left == 0),
                last_group.eq((channels - 1) >> lanes_log2),
                last_mask.eq(Cat(
                    ((channels - 1) & (config.drain_lanes - 1)) >= i
                    for i in range(config.drain_lanes)
                )),
            ]
            for row in rows:
                m.d.sync += row.at.eq(0)
                for flag, name in ((~final, "tile_rows"), (final, "last_rows")):
                    count = field(words, "GEMM", name)
                    with m.If(flag):
                        m.d.sync += [row.left.eq(count - 1), row.last.eq(count == 1)]

    def _elaborate_positions(self, m, words, tag, issue, starts_tile, first_n):
        """Return where the group issued five enabled cycles ago goes."""
        config = self._config
        lanes = config.datapath.act_lanes
        m.submodules.walker = walker = Walker(3, lanes)
        started = Signal()
        m.d.comb += [walker.advance.eq(self.read), walker.base.eq(position(words, "y"))]
        for i in range(3):
            m.d.comb += [
                walker.counts[i].eq(field(words, "GEMM", f"m{i}_count")),
                walker.steps[i].eq(position(words, f"y{i}")),
            ]
        moves = issue & tag.window_first & self._group_first
        with m.If(self.cmd.ready):
            m.d.sync += started.eq(0)
        with m.If(moves):
            with m.If(self.read):
                m.d.sync += started.eq(1)
            with m.If(~starts_tile):
                m.d.comb += walker.op.eq(Walk.NEXT)
            with m.Elif(~started):
                m.d.comb += walker.op.eq(Walk.START)
            with m.Elif(first_n):
                m.d.comb += walker.op.eq(Walk.TILE)
            with m.Else():
                m.d.comb += walker.op.eq(Walk.RESTART)

        def elements(count):
            return Position(Const((count // lanes) | (count % lanes) << 16, 24))

        tile_offset, offset, at = Signal(Position), Signal(Position), Signal(Position)
        base, offset_there = Signal(Position), Signal(Position)
        excess = Signal.like(lane_excess(offset, lanes), name="excess")
        tile = [Signal(2, name="tile_1")]
        window = [Signal(2, name=f"window_{i}") for i in (1, 2)]
        with m.If(self.read):
            m.d.sync += [
                tile[0].eq(Cat(issue & starts_tile, first_n)),
                window[0].eq(Cat(issue & tag.window_first, self._group_first)),
                window[1].eq(window[0]),
                base.eq(walker.at),
                offset_there.eq(offset),
                excess.eq(lane_excess(offset, lanes)),
                at.eq(add_positions(base, offset_there, lanes, excess)),
            ]
            with m.If(tile[0] == 0b11):
                m.d.sync += tile_offset.eq(0)
            with m.Elif(tile[0] == 0b01):
                following = add_positions(tile_offset, elements(config.datapath.cols), lanes)
                m.d.sync += tile_offset.eq(following)
            with m.If(window[1] == 0b11):
                m.d.sync += offset.eq(tile_offset)
            with m.Elif(window[1] == 0b01):
                following = add_positions(offset, elements(config.drain_lanes), lanes)
                m.d.sync += offset.eq(following)
        return at

    def _delay(self, m, value, cycles, name):
        """Return ``value`` as it was ``cycles`` enabled cycles ago."""
        for i in range(cycles):
            delayed = Signal.like(value, name=f"{name}_{i + 1}")
            with m.If(self.read):
                m.d.sync += delayed.eq(value)
            value = delayed
        return value

    def _elaborate_lanes(self, m, words, tag, issue, at, busy):
        """Requantise and pool ``drain_lanes`` channels; fill the output registers."""
        config = self._config
        parameters = self._elaborate_parameters(m, words, tag)
        raw, stores, has_bias = (field(words, "GEMM", n) for n in ("raw", "store", "bias"))
        latency = config.lane.latency
        raw_tag = self._delay(m, tag, 4, "raw_tag")
        # Raw results leave early: what follows in the lanes must not look like a result.
        requantised_tag = Signal(self._tag)
        m.d.comb += requantised_tag.eq(raw_tag)
        with m.If(raw):
            m.d.comb += requantised_tag.valid.eq(0)
        lane_tag = self._delay(m, requantised_tag, latency - 1, "lane_tag")
        pooled_tag = self._delay(m, lane_tag, 1, "pooled_tag")
        store_at = self._delay(m, at, latency - 1, "store_at")
        shape = Shape(config.datapath.x_bits, config.datapath.x_signed)
        sums = self._select_group(m, self._delay(m, tag.group, 2, "group"))
        out_tag = Signal(self._tag)
        m.d.comb += out_tag.eq(Mux(raw, raw_tag, pooled_tag))
        for i in range(config.drain_lanes):
            lane = m.submodules[f"lane_{i}"] = RequantiseLane(config.lane)
            clamps = [field(words, "GEMM", name) for name in ("zero_point", "low", "high")]
            m.d.comb += [
                lane.advance.eq(self.read),
                lane.acc.eq(sums[i]),
                lane.bias.eq(parameters[i].bias.as_value().as_signed()),
                lane.mult.eq(parameters[i].mult),
                lane.shift.eq(parameters[i].shift),
            ]
            for port, bits in zip((lane.zero_point, lane.lo, lane.hi), clamps, strict=True):
                m.d.comb += port.eq(bits.as_signed() if config.datapath.x_signed else bits)
            best = Signal(shape, name=f"best_{i}")
            # The sign of a difference is ready sooner than a comparison.
            keeps = ~lane_tag.window_first & (lane.value - best)[-1]
            biased = Signal(signed(config.acc_width + 1), name=f"biased_{i}")
            with m.If(self.read):
                m.d.sync += best.eq(Mux(keeps, best, lane.value))
                m.d.sync += biased.eq(lane.acc + Mux(has_bias, lane.bias, 0))
                m.d.sync += self.y.payload.data[i].eq(Mux(raw, biased, best))
                m.d.sync += self.store_data[i].eq(best)
        emits = out_tag.valid & out_tag.emit
        inside = store_at.vector < config.act_depth
        m.d.sync += [self.store.eq(0), self.outside.eq(0)]
        with m.If(self.read):
            m.d.sync += [
                self.y.valid.eq(emits & ~stores),
                self.y.payload.keep.eq(out_tag.mask),
                self.y.payload.last.eq(out_tag.end),
                self.store_at.eq(store_at),
            ]
            with m.If(emits & stores):
                lanes = config.datapath.act_lanes
                at_end = store_at.vector == config.act_depth - 1
                beyond = Cat(
                    at_end & (store_at.lane >= lanes - i) for i in range(config.drain_lanes)
                )
                m.d.sync += [
                    self.store.eq(Mux(inside, out_tag.mask & ~beyond, 0)), self.outside.eq(~inside)
                ]
        in_flight = Signal(range(latency + 9))
        finishes = self.read & Mux(raw, raw_tag.valid, pooled_tag.valid)
        m.d.sync += in_flight.eq(in_flight + (self.read & issue) - finishes)
        m.d.comb += busy.eq((in_flight != 0) | self.y.valid)

    def _elaborate_parameters(self, m, words, tag):
        """Return the parameters of the group issued three enabled cycles ago."""
        config = self._config
        layout = parameter_layout(config)
        base, address = Signal(16), Signal(range(config.param_depth))
        with m.If(self.cmd.ready):
            m.d.sync += base.eq(field(self.cmd.payload, "GEMM", "p_base"))
        with m.Elif(self._tile_ends):
            following = Mux(self._last_n, field(words, "GEMM", "p_base"), base + config.groups)
            m.d.sync += base.eq(following)
        parameters = []
        for i in range(config.drain_lanes):
            store = buffer_memory(layout, config.param_depth)
            m.submodules[f"parameters_{i}"] = store
            write, read = store.write_port(), store.read_port()
            m.d.comb += [
                write.addr.eq(self.param_row),
                write.data.eq(self.param),
                write.en.eq(self.param_write & (self.param_lane == i)),
                read.addr.eq(address),
                read.en.eq(self.read),
            ]
            held = Signal(layout, name=f"parameter_{i}")
            with m.If(self.read):
                m.d.sync += held.eq(read.data)
            parameters.append(held)
        with m.If(self.read):
            m.d.sync += address.eq(base + tag.group)
        return parameters

    def _select_group(self, m, group):
        """Register the sums of group ``group``, ``drain_lanes`` of them."""
        config = self._config
        lanes = config.drain_lanes
        selected = [Signal(signed(config.acc_width), name=f"sum_{i}") for i in range(lanes)]
        with m.If(self.read), m.Switch(group):
            for g in range(config.groups):
                with m.Case(g):
                    for i in range(min(lanes, config.datapath.cols - g * lanes)):
                        m.d.sync += selected[i].eq(self.sums[g * lanes + i])
        return selected
