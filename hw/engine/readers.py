"""Readers that feed the datapath from the buffers, each running ahead on its own."""

from amaranth.hdl import Cat, Module, Mux, Signal, Value
from amaranth.lib import data, stream, wiring
from amaranth.lib.wiring import In, Out

from .buffer import Buffer
from .config import EngineConfig
from .datapath import act_beat
from .dispatch import command_layout
from .position import (
    Position,
    Walk,
    Walker,
    add_lanes,
    field,
    lane_excess,
    position,
    position_within,
    sum_positions,
)
from .queue import Queue

__all__ = ["ActReader", "WeightReader"]

QUEUE_DEPTH = 16
"""Beats in flight or queued in front of the datapath; more than either reader's latency."""

_PIECE = 200
"""Most bits of a beat that one set of flags and addresses moves."""


class _Loops:
    """Counters of a GEMM's loops over tiles, outermost first.

    Each counts what is left and has flags for its first and its last iteration, so that the carry
    from loop to loop runs through flags only.
    """

    def __init__(self, m, words, names):
        self._m, self._words, self._names = m, words, names
        def registers(bits, part):
            return [Signal(bits, name=f"{name}_{part}", reset_less=True) for name in names]

        self._left = registers(16, "left")
        self._at_first = registers(1, "first")
        self._at_last = registers(1, "last")
        # Whether all loops inside are in their last iteration, a cycle late.
        self._inner_last = registers(1, "inner_last")
        for i, inner_last in enumerate(self._inner_last):
            m.d.sync += inner_last.eq(Cat(self._at_last[i + 1 :]).all())

    def load(self, words):
        """Set all loops to their first iteration."""
        for name, left, first, last in zip(
            self._names, self._left, self._at_first, self._at_last, strict=True
        ):
            count = field(words, "GEMM", name)
            self._m.d.sync += [left.eq(count - 1), first.eq(1), last.eq(count == 1)]

    def first(self, name):
        """Return whether loop ``name`` and all loops inside are in their first iteration."""
        return Cat(self._at_first[self._names.index(name) :]).all()

    def last(self, name):
        """Return whether loop ``name`` and all loops inside are in their last iteration."""
        return Cat(self._at_last[self._names.index(name) :]).all()

    def at_last(self, name):
        """Return whether loop ``name`` itself is in its last iteration."""
        return self._at_last[self._names.index(name)]

    def advance(self):
        """Go to the next iteration of the innermost loop, at most every second cycle."""
        m = self._m
        for i, name in enumerate(self._names):
            count = field(self._words, "GEMM", name)
            left, last = self._left[i], self._at_last[i]
            with m.If(self._inner_last[i]):
                m.d.sync += [left.eq(left - 1), last.eq(left == 1), self._at_first[i].eq(0)]
                if i:  # the outermost loop is never begun again
                    with m.If(last):
                        m.d.sync += [left.eq(count - 1), last.eq(count == 1)]
                        m.d.sync += self._at_first[i].eq(1)


class ActReader(wiring.Component):
    """Issues the activation vectors of every step: implicit GEMM by walking over the buffer.

    For each output tile, tile of channels, kernel row, K tile: all rows of the tile. The position
    of a vector is that of its row (a `Walker` over five loops) plus that of its K tile. A tile
    starts only once an accumulator bank is free.

    Parameters
    ----------
    config : EngineConfig
        See there for ranges.

    Members
    -------
    cmd : In(stream.Signature(command_layout("GEMM")))
        Commands.
    read_at : Out(Position)
        To the activation buffer.
    read_data : In(ArrayLayout(x_bits, act_lanes))
        From the activation buffer, ``config.read_latency`` cycles later.
    bank_freed : In(1)
        Pulses when the drain has emptied a bank.
    acts : Out(stream.Signature(act_beat(config.datapath)))
        To the datapath.
    done : Out(1)
        Pulses when a command reads no more.

    Latency
        The first vector of a command taken in cycle t is offered in cycle
        t + 11 + ``config.read_latency``.
    Throughput
        One vector a cycle; `GAP` = 6 cycles between commands.
    Numerics
        Positions wrap modulo the least power of two that is the buffer's depth or more.
    Reference
        None.
    """

    GAP = 6

    def __init__(self, config: EngineConfig):
        self._config = config
        d = config.datapath
        super().__init__(
            {
                "cmd": In(stream.Signature(command_layout("GEMM"))),
                "read_at": Out(Position),
                "read_data": In(data.ArrayLayout(d.x_bits, d.act_lanes)),
                "bank_freed": In(1),
                "acts": Out(stream.Signature(act_beat(d))),
                "done": Out(1),
            }
        )

    def elaborate(self, platform):
        m = Module()
        words = Signal(command_layout("GEMM"), reset_less=True)
        gap = Signal(range(self.GAP), reset_less=True)
        loops = _Loops(m, words, ("m_tiles", "n_tiles", "k_rows", "k_chunks"))
        step = Signal(
            data.StructLayout(
                {"walk": Walk, "first": 1, "last": 1, "k_first": 1, "k_row": 1}
            )
        )
        # A step is taken over at most every second cycle: the loops advance in between.
        ready = Signal()
        takes = Signal()
        running = Signal()
        issue = Signal()
        m.d.sync += ready.eq(0)
        with m.FSM():
            with m.State("Idle"):
                m.d.comb += self.cmd.ready.eq(1)
                loops.load(self.cmd.payload)
                m.d.sync += gap.eq(self.GAP - 3)
                with m.If(self.cmd.valid):
                    m.d.sync += [words.eq(self.cmd.payload), ready.eq(1)]
                    m.next = "Steps"
            with m.State("Steps"):
                m.d.sync += ready.eq(~takes)
                with m.If(~ready):
                    loops.advance()
                with m.If(takes & loops.last("m_tiles")):
                    m.d.sync += ready.eq(0)
                    m.next = "Last"
            with m.State("Last"):
                with m.If(~running):
                    m.next = "Settle"
            with m.State("Settle"):
                m.d.sync += gap.eq(gap - 1)
                with m.If(gap == 0):
                    m.d.comb += self.done.eq(1)
                    m.next = "Idle"
        row_first = self._elaborate_rows(m, words, loops, step, ready, takes, running, issue)
        self._elaborate_positions(m, words, step, row_first, issue)
        mode = field(words, "GEMM", "mode")[: self._config.datapath.mode_bits]
        self._elaborate_queue(m, issue, Cat(step.first, step.last, self._row_last, mode))
        return m

    def _elaborate_rows(self, m, words, loops, step, ready, takes, running, issue):
        """Issue the rows of a step while the queue has room and a bank is free."""
        accumulate, keep = (field(words, "GEMM", name) for name in ("accumulate", "keep"))
        row_left = Signal(range(max(2, self._config.tile_rows_max)), reset_less=True)
        single = Signal(2, reset_less=True)
        row_first = Signal(reset_less=True)
        needs_bank = Signal(reset_less=True)
        started = Signal()
        self._row_last = row_last = Signal()
        self._credit = credit = Signal(init=1)
        free = Signal(2, init=2)
        none_free = Signal()
        m.d.comb += issue.eq(running & credit & ~(needs_bank & none_free))
        m.d.comb += takes.eq(ready & (~running | (issue & row_last)))
        with m.If(self.cmd.ready):
            m.d.sync += started.eq(0)
            m.d.sync += single.eq(Cat(
                field(self.cmd.payload, "GEMM", name) == 1 for name in ("tile_rows", "last_rows")
            ))
        with m.If(issue):
            m.d.sync += [
                row_left.eq(row_left - 1), row_last.eq(row_left == 1), running.eq(~row_last),
                row_first.eq(0), needs_bank.eq(0),
            ]
        with m.If(takes):
            final, k_first = loops.at_last("m_tiles"), loops.first("k_rows")
            rows = [field(words, "GEMM", name) for name in ("tile_rows", "last_rows")]
            m.d.sync += [
                running.eq(1), started.eq(1), row_first.eq(1),
                row_left.eq(Mux(final, *rows[::-1]) - 1),
                row_last.eq(Mux(final, single[1], single[0])),
                step.first.eq(k_first & ~accumulate),
                step.last.eq(loops.last("k_rows") & ~keep),
                needs_bank.eq(k_first & ~accumulate),
                step.k_first.eq(k_first),
                step.k_row.eq(loops.first("k_chunks")),
                step.walk.eq(Mux(loops.first("n_tiles"), Walk.TILE, Walk.RESTART)),
            ]
            with m.If(~started):
                m.d.sync += step.walk.eq(Walk.START)
        claims = issue & needs_bank
        with m.If(claims & ~self.bank_freed):
            m.d.sync += [free.eq(free - 1), none_free.eq(free == 1)]
        with m.Elif(~claims & self.bank_freed & (free != 2)):
            m.d.sync += [free.eq(free + 1), none_free.eq(0)]
        return row_first

    def _elaborate_positions(self, m, words, place, row_first, issue):
        """Add the position of the row and that of the K tile."""
        lanes = self._config.datapath.act_lanes
        # Of a vector only the bits that address the buffer.
        vector_bits = (self._config.act_depth - 1).bit_length()
        m.submodules.walker = walker = Walker(5, lanes, vector_bits)
        m.d.sync += walker.op.eq(Walk.HOLD)
        with m.If(issue):
            m.d.sync += walker.op.eq(Mux(row_first, place.walk, Walk.NEXT))
        m.d.comb += walker.base.eq(position(words, "x"))
        for i in range(5):
            m.d.comb += [
                walker.counts[i].eq(field(words, "GEMM", f"m{i}_count")),
                walker.steps[i].eq(position(words, f"m{i}")),
            ]
        # The K tile's offset, lane and vector in step with the walker's.
        reset = Signal(4)
        shape = position_within(vector_bits, lanes)
        step = Signal(shape, reset_less=True)
        offset = Signal(shape, reset_less=True)
        select = Signal(2, reset_less=True)
        moving = Signal(4)
        next_row, next_chunk = position(words, "k_row"), position(words, "k_chunk")
        excess = Signal.like(lane_excess(next_row.lane, lanes), name="excess", reset_less=True)
        row_excess, chunk_excess = (lane_excess(p.lane, lanes) for p in (next_row, next_chunk))
        step_vector = Signal(vector_bits, reset_less=True)
        carried = Signal(reset_less=True)
        lane, carry = add_lanes(offset.lane, step.lane, lanes, excess)
        m.d.sync += [
            reset.eq(Cat(place.k_first, reset)),
            moving.eq(Cat(issue & row_first & ~place.k_first, moving)),
            select.eq(Cat(place.k_row, select)),
            step.vector.eq(Mux(select[1], next_row.vector, next_chunk.vector)),
            step.lane.eq(Mux(select[1], next_row.lane, next_chunk.lane)),
            excess.eq(Mux(select[1], row_excess, chunk_excess)),
            step_vector.eq(step.vector),
            carried.eq(carry),
        ]
        with m.If(reset[2]):
            m.d.sync += offset.lane.eq(0)
        with m.Elif(moving[2]):
            m.d.sync += offset.lane.eq(lane)
        with m.If(reset[3]):
            m.d.sync += offset.vector.eq(0)
        with m.Elif(moving[3]):
            m.d.sync += offset.vector.eq(offset.vector + step_vector + carried)
        at = sum_positions(m, walker, offset, lanes)
        m.d.comb += [self.read_at.vector.eq(at.vector), self.read_at.lane.eq(at.lane)]

    def _elaborate_queue(self, m, issue, flags):
        """Queue what the buffer returns; a credit is a free place for a vector in flight."""
        latency = 7 + self._config.read_latency
        beat = act_beat(self._config.datapath)
        m.submodules.queue = queue = Queue(beat.size, QUEUE_DEPTH)
        in_flight, following = issue, flags
        for i in range(latency):
            delayed = (
                Signal(name=f"in_flight_{i}"),
                Signal.like(flags, name=f"flags_{i}", reset_less=True),
            )
            m.d.sync += [delayed[0].eq(in_flight), delayed[1].eq(following)]
            in_flight, following = delayed
        arriving = Signal(beat)
        m.d.comb += [
            arriving.data.eq(self.read_data),
            arriving.as_value()[self.read_data.shape().size :].eq(following),
            queue.write_data.eq(arriving),
            queue.write.eq(in_flight),
        ]
        taken = _relay(m, queue, self.acts)
        _count_credit(m, self._credit, issue, taken)


def _relay(m, queue, out):
    """Put two registers between a queue and a stream far away; return whether a beat leaves it.

    Nothing but registers drives the stream, and what takes beats from the queue is a register too.
    """
    payload = Value.cast(out.payload)
    spare = Signal.like(payload, name="spare", reset_less=True)
    spare_full = Signal()
    taken = Signal()
    m.d.comb += [taken.eq(queue.valid & ~spare_full), queue.take.eq(~spare_full)]
    with m.If(~spare_full):
        m.d.sync += spare.eq(queue.data)
    with m.If(out.ready | ~out.valid):
        m.d.sync += [
            payload.eq(Mux(spare_full, spare, queue.data)),
            out.valid.eq(spare_full | queue.valid), spare_full.eq(0),
        ]
    with m.Elif(taken):
        m.d.sync += spare_full.eq(1)
    return taken


def _count_credit(m, credit, issue, taken):
    """Keep ``credit`` high while fewer than `QUEUE_DEPTH` beats are in flight or queued."""
    held = Signal(range(QUEUE_DEPTH + 1))
    # The number after this cycle is compared without waiting for it.
    with m.If(issue & ~taken):
        m.d.sync += [held.eq(held + 1), credit.eq(held < QUEUE_DEPTH - 1)]
    with m.Elif(~issue & taken):
        m.d.sync += [held.eq(held - 1), credit.eq(1)]


class WeightReader(wiring.Component):
    """Holds the weight buffer and issues its tiles in the order of the steps.

    Parameters
    ----------
    config : EngineConfig
        See there for ranges.

    Members
    -------
    cmd : In(stream.Signature(command_layout("GEMM")))
        Commands.
    write : In(1)
        Write a beat to the buffer.
    write_at : In(16)
        Its address.
    write_data : In(weight_beat_bits)
        The beat.
    weights : Out(stream.Signature(weight_beat_bits))
        To the datapath.
    done : Out(1)
        Pulses when a command reads no more.

    Latency
        The first beat of a command taken in cycle t is offered in cycle t + 5 + p, in cycle t + 6
        + p where a tile is a single beat; p is the number of ``config.weight_spans``.
    Throughput
        One beat a cycle, but at most one tile every `TILE_CYCLES` = 3 cycles; one cycle between
        commands.
    Numerics
        None.
    Reference
        None.
    """

    TILE_CYCLES = 3

    def __init__(self, config: EngineConfig):
        self._config = config
        bits = config.datapath.weight_beat_bits
        super().__init__(
            {
                "cmd": In(stream.Signature(command_layout("GEMM"))),
                "write": In(1),
                "write_at": In(16),
                "write_data": In(bits),
                "weights": Out(stream.Signature(bits)),
                "done": Out(1),
            }
        )

    def elaborate(self, platform):
        m = Module()
        config = self._config
        beats = config.datapath.weight_beats
        words = Signal(command_layout("GEMM"), reset_less=True)
        loops = _Loops(m, words, ("m_tiles", "n_tiles", "k_rows", "k_chunks"))
        address = Signal(range(config.weight_depth), reset_less=True)
        beat_left = Signal(range(beats), reset_less=True)
        beat_last = Signal(reset_less=True)
        credit = Signal(init=1)
        issue = Signal()
        # The loops advance a cycle after the last beat of a tile, and their flags follow another
        # cycle later; where tiles are shorter than that, beats wait.
        hold = Signal(self.TILE_CYCLES, reset_less=True)
        pause = (1 << max(0, self.TILE_CYCLES - beats)) - 1
        advances = Signal(reset_less=True)
        reads = Signal()
        rewinds = Signal(reset_less=True)
        wraps = Signal(reset_less=True)
        ends = Signal(reset_less=True)
        m.d.sync += [
            hold.eq(hold >> 1), advances.eq(issue & beat_last),
            reads.eq(issue), rewinds.eq(beat_last & wraps),
            wraps.eq(loops.last("n_tiles")), ends.eq(loops.last("m_tiles")),
        ]
        with m.If(advances):
            loops.advance()
        # The address moves a cycle after the issue: it is near the buffer, which may be far away.
        with m.If(reads):
            m.d.sync += address.eq(address + 1)
            with m.If(rewinds):
                m.d.sync += address.eq(field(words, "GEMM", "w_base"))
        with m.FSM():
            with m.State("Idle"):
                m.d.comb += self.cmd.ready.eq(1)
                m.d.sync += [
                    words.eq(self.cmd.payload),
                    beat_left.eq(beats - 1),
                    beat_last.eq(beats == 1),
                    hold.eq(pause >> 1),
                ]
                loops.load(self.cmd.payload)
                with m.If(self.cmd.valid):
                    m.d.sync += address.eq(field(self.cmd.payload, "GEMM", "w_base"))
                    m.next = "Run"
            with m.State("Run"):
                m.d.comb += issue.eq(credit & ~hold[0])
                with m.If(issue):
                    m.d.sync += [beat_left.eq(beat_left - 1), beat_last.eq(beat_left == 1)]
                    with m.If(beat_last):
                        m.d.sync += [beat_left.eq(beats - 1), beat_last.eq(beats == 1)]
                        m.d.sync += hold.eq(pause)
                        with m.If(ends):
                            m.d.comb += self.done.eq(1)
                            m.next = "Idle"
        queues, pieces = self._elaborate_queues(m)
        in_flight = Signal(1 + len(config.weight_spans))
        m.d.sync += in_flight.eq(Cat(reads, in_flight))
        beat, first = self._elaborate_buffer(m, address), 0
        for queue in queues:
            last = first + len(queue.write_data)
            m.d.comb += [queue.write_data.eq(beat[first:last]), queue.write.eq(in_flight[-1])]
            first = last
        leaves = [_relay(m, *ends) for ends in zip(queues, pieces, strict=True)]
        _count_credit(m, credit, issue, leaves[0])
        return m

    def _elaborate_queues(self, m):
        """Return queues for the pieces of a beat, and a stream for each.

        Pieces move alike, but each by flags and addresses of its own: one register does not reach
        all bits of a wide beat in a cycle.
        """
        bits = len(self.weights.payload)
        width = -(-bits // -(-bits // _PIECE))
        widths = [min(width, bits - first) for first in range(0, bits, width)]
        if len(widths) == 1:
            m.submodules.queue = queue = Queue(bits, QUEUE_DEPTH)
            return [queue], [self.weights]
        queues, pieces = [], []
        for i, width in enumerate(widths):
            m.submodules[f"queue_{i}"] = queue = Queue(width, QUEUE_DEPTH)
            queues.append(queue)
            pieces.append(stream.Signature(width).create(path=(f"piece_{i}",)))
        m.d.comb += [
            self.weights.payload.eq(Cat(piece.payload for piece in pieces)),
            self.weights.valid.eq(pieces[0].valid),
            *(piece.ready.eq(self.weights.ready) for piece in pieces),
        ]
        return queues, pieces

    def _elaborate_buffer(self, m, address):
        """Return the beat at ``address``, which comes 1 cycle and 1 a part of the buffer later.

        The blocks of the buffer lie far apart: writes and addresses go to each part through
        registers beside it, and what the parts before it returned waits meanwhile.
        """
        depth = self._config.weight_depth
        write, at, word, found = self.write, self.write_at, self.write_data, []
        for i, (first, last) in enumerate(self._config.weight_spans):
            passed = Signal(name=f"write_{i}")
            passed_at = Signal(range(depth), name=f"write_at_{i}", reset_less=True)
            left = Signal(len(self.write_data) - first, name=f"write_data_{i}", reset_less=True)
            m.d.sync += [passed.eq(write), passed_at.eq(at), left.eq(word[-len(left) :])]
            write, at, word = passed, passed_at, left
            if i:
                here = Signal(range(depth), name=f"address_{i}", reset_less=True)
                m.d.sync += here.eq(address)
                address = here
                waiting = [
                    Signal(len(part), name=f"found_{j}_{i}", reset_less=True)
                    for j, part in enumerate(found)
                ]
                m.d.sync += [later.eq(part) for later, part in zip(waiting, found, strict=True)]
                found = waiting
            m.submodules[f"buffer_{i}"] = buffer = Buffer(last - first, depth)
            m.d.comb += [
                buffer.write.eq(write),
                buffer.write_at.eq(at),
                buffer.write_data.eq(word[: last - first]),
                buffer.read_at.eq(address),
            ]
            found.append(buffer.read_data)
        return Cat(found)
