"""The reader that feeds activations from their buffer, running ahead of the datapath."""

from amaranth.hdl import Cat, Module, Mux, Signal
from amaranth.lib import data, stream
from amaranth.lib.wiring import In, Out

from ..lib.component import Component
from .config import EngineConfig
from .datapath import act_beat
from .dispatch import command_layout
from .loops import Loops
from .pipeline import ACT_GAP, QUEUE_DEPTH
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
from .relay import count_credit, relay

__all__ = ["ActReader"]


class ActReader(Component):
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
    reading : Out(1)
        The position of the cycle before is read.
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
        One vector a cycle; `ACT_GAP` = 6 cycles between commands.
    Numerics
        Vectors wrap modulo 65536; what lies beyond the buffer is the buffer's business.
    Reference
        None.
    """

    def __init__(self, config: EngineConfig):
        self._config = config
        self.issue = Signal()
        d = config.datapath
        super().__init__(
            {
                "cmd": In(stream.Signature(command_layout("GEMM"))),
                "read_at": Out(Position),
                "reading": Out(1),
                "read_data": In(data.ArrayLayout(d.x_bits, d.act_lanes)),
                "bank_freed": In(1),
                "acts": Out(stream.Signature(act_beat(d))),
                "done": Out(1),
            }
        )

    def elaborate(self, platform):
        m = Module()
        words = Signal(command_layout("GEMM"), reset_less=True)
        gap = Signal(range(ACT_GAP), reset_less=True)
        loops = Loops(m, words, ("m_tiles", "n_tiles", "k_rows", "k_chunks"))
        step = Signal(
            data.StructLayout(
                {"walk": Walk, "first": 1, "last": 1, "k_first": 1, "k_row": 1}
            )
        )
        # A step is taken over at most every second cycle: the loops advance in between.
        ready = Signal()
        takes = Signal()
        running = Signal()
        issue = self.issue
        m.d.sync += ready.eq(0)
        with m.FSM():
            with m.State("Idle"):
                m.d.comb += self.cmd.ready.eq(1)
                loops.load(self.cmd.payload)
                m.d.sync += gap.eq(ACT_GAP - 3)
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
        m.submodules.walker = walker = Walker(5, lanes)
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
        shape = position_within(lanes)
        step = Signal(shape, reset_less=True)
        offset = Signal(shape, reset_less=True)
        select = Signal(2, reset_less=True)
        moving = Signal(4)
        next_row, next_chunk = position(words, "k_row"), position(words, "k_chunk")
        excess = Signal.like(lane_excess(next_row.lane, lanes), name="excess", reset_less=True)
        row_excess, chunk_excess = (lane_excess(p.lane, lanes) for p in (next_row, next_chunk))
        step_vector = Signal(16, reset_less=True)
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
        ahead = 7
        latency = ahead + self._config.read_latency
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
            if i == ahead:
                m.d.comb += self.reading.eq(in_flight)
        arriving = Signal(beat)
        m.d.comb += [
            arriving.data.eq(self.read_data),
            arriving.as_value()[self.read_data.shape().size :].eq(following),
            queue.write_data.eq(arriving),
            queue.write.eq(in_flight),
        ]
        taken = relay(m, queue, self.acts)
        count_credit(m, self._credit, issue, taken)
