"""The reader that feeds activations from their buffer, running ahead of the datapath."""

from amaranth.hdl import Cat, Module, Mux, Signal
from amaranth.lib import data, stream, wiring
from amaranth.lib.wiring import In, Out

from ..lib.component import Component
from .address import AddressGenerator, AddressGeneratorConfig, Move, step_write
from .config import EngineConfig
from .datapath import act_beat
from .fields import gemm_acts_layout, named
from .loops import Loops
from .pipeline import ACT_GAP, QUEUE_DEPTH
from .position import Position, add_lanes, sum_positions
from .queue import Queue
from .register_slice import RegisterSlice, count_credit

__all__ = ["ActReader"]


class ActReader(Component):
    """Issues the activation vectors of every step: implicit GEMM by addresses, without a copy.

    For each output tile, tile of channels, kernel row, K tile: all rows of the tile. The position
    of a vector is that of its row (an `AddressGenerator` over five loops) plus that of its K tile.
    A tile starts only once an accumulator bank is free.

    Parameters
    ----------
    config : EngineConfig
        See there for ranges.

    Members
    -------
    cmd : In(stream.Signature(gemm_acts_layout(config)))
        Commands.
    steps : In(step_write(act_lanes))
        Steps of the command that is being received, see `STEPS`.
    read_at : Out(Position)
        To the activation buffer.
    reading : Out(1)
        The position of the cycle before is read.
    read_data : In(ArrayLayout(x_bits, act_lanes))
        From the activation buffer, ``config.read_latency`` cycles later.
    bank_freed : In(1)
        Pulses when the output stage has emptied a bank.
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
    """

    cmd: stream.Interface
    steps: data.View
    read_at: data.View
    reading: Signal
    read_data: data.View
    bank_freed: Signal
    acts: stream.Interface
    done: Signal

    LOOPS = ("m_tiles", "n_tiles", "k_rows", "k_chunks")
    STEPS = ("m0", "m1", "m2", "m3", "m4", "x", "k_chunk", "k_row")

    def __init__(self, config: EngineConfig):
        self._config = config
        self.issue = Signal()
        d = config.datapath
        super().__init__(
            {
                "cmd": In(stream.Signature(gemm_acts_layout(config))),
                "steps": In(step_write(d.act_lanes)),
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
        command = self.cmd.payload
        gemm = named(gemm_acts_layout(self._config), "gemm")
        gap = Signal(range(ACT_GAP), reset_less=True)
        names = self.LOOPS
        m.submodules.loops = loops = Loops(len(names), self._config.datapath.fabric)
        for i, name in enumerate(names):
            m.d.comb += [
                loops.start_once[i].eq(command[f"{name}_once"]),
                loops.counts[i].eq(gemm[name]),
                loops.once[i].eq(gemm[f"{name}_once"]),
            ]
        step = Signal(
            data.StructLayout({"move": Move, "first": 1, "last": 1, "k_first": 1, "k_row": 1})
        )
        # A step is taken over at most every second cycle: the loops advance in between.
        ready = Signal()
        takes = Signal()
        running = Signal()
        m.d.sync += ready.eq(0)
        with m.FSM():
            with m.State("Idle"):
                m.d.comb += self.cmd.ready.eq(1)
                m.d.comb += loops.start.eq(1)
                m.d.sync += gap.eq(ACT_GAP - 3)
                with m.If(self.cmd.valid):
                    m.d.sync += [register.eq(command[name]) for name, register in gemm.items()]
                    m.d.sync += ready.eq(1)
                    m.next = "Steps"
            with m.State("Steps"):
                m.d.sync += ready.eq(~takes)
                m.d.comb += loops.advance.eq(~ready)
                with m.If(takes & loops.last.all()):
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
        row_first = self._elaborate_rows(m, gemm, loops, step, ready, takes, running)
        self._elaborate_positions(m, gemm, step, row_first)
        self._elaborate_queue(m, Cat(step.first, step.last, self._row_last, gemm["mode"]))
        return m

    def _elaborate_rows(self, m, gemm, loops, step, ready, takes, running):
        """Issue the rows of a step while the queue has room and a bank is free."""
        issue = self.issue
        rows = Signal(range(self._config.tile_rows_max + 1), reset_less=True)
        # One row ahead, so that a register says whether a row is the last.
        following = Signal.like(rows, name="following_row", reset_less=True)
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
        with m.If(issue):
            m.d.sync += [
                following.eq(following + 1),
                row_last.eq(following == rows),
                running.eq(~row_last),
                row_first.eq(0),
                needs_bank.eq(0),
            ]
        with m.If(takes):
            final, k_first, k_last = loops.last[0], loops.first[2:].all(), loops.last[2:].all()
            m.d.sync += [
                running.eq(1),
                started.eq(1),
                row_first.eq(1),
                rows.eq(Mux(final, gemm["last_rows"], gemm["tile_rows"])),
                following.eq(2),
                row_last.eq(Mux(final, gemm["last_rows_once"], gemm["tile_rows_once"])),
                step.first.eq(k_first & ~gemm["accumulate"]),
                step.last.eq(k_last & ~gemm["keep"]),
                needs_bank.eq(k_first & ~gemm["accumulate"]),
                step.k_first.eq(k_first),
                step.k_row.eq(loops.first[3]),
                step.move.eq(Mux(loops.first[1:].all(), Move.TILE, Move.RESTART)),
            ]
            with m.If(~started):
                m.d.sync += step.move.eq(Move.START)
        claims = issue & needs_bank
        with m.If(claims & ~self.bank_freed):
            m.d.sync += [free.eq(free - 1), none_free.eq(free == 1)]
        with m.Elif(~claims & self.bank_freed & (free != 2)):
            m.d.sync += [free.eq(free + 1), none_free.eq(0)]
        return row_first

    def _elaborate_positions(self, m, gemm, step, row_first):
        """Add the position of the row and that of the K tile."""
        d, issue = self._config.datapath, self.issue
        m.submodules.addresses = addresses = AddressGenerator(
            AddressGeneratorConfig(loops=5, others=2, lanes=d.act_lanes, fabric=d.fabric)
        )
        m.d.sync += [
            addresses.move.eq(Mux(issue, Mux(row_first, step.move, Move.NEXT), Move.HOLD)),
            addresses.other.eq(step.k_row),
        ]
        m.d.comb += [
            addresses.steps.eq(self.steps),
            addresses.taken.eq(self.cmd.valid & self.cmd.ready),
        ]
        for i in range(4):
            m.d.comb += [
                addresses.counts[i].eq(gemm[f"m{i + 1}_count"]),
                addresses.once[i].eq(gemm[f"m{i + 1}_count_once"]),
            ]
        # The K tile's offset, lane and vector in step with the row's position. It moves where the
        # rows restart, so that the address generator reads the step.
        reset = Signal(4)
        moving = Signal(4)
        offset = Signal(data.StructLayout({"vector": 16, "lane": len(addresses.lane)}),
                        reset_less=True)  # fmt: skip
        step_vector = Signal(16, name="k_step_vector", reset_less=True)
        carried = Signal(reset_less=True)
        lane, carry = add_lanes(offset.lane, addresses.step, d.act_lanes)
        m.d.sync += [
            reset.eq(Cat(step.k_first, reset)),
            moving.eq(Cat(issue & row_first & ~step.k_first, moving)),
            step_vector.eq(addresses.step.vector),
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
        at = sum_positions(m, addresses, offset, d.act_lanes)
        m.d.comb += [self.read_at.vector.eq(at.vector), self.read_at.lane.eq(at.lane)]

    def _elaborate_queue(self, m, flags):
        """Queue what the buffer returns; a credit is a free place for a vector in flight."""
        ahead = 7
        latency = ahead + self._config.read_latency
        beat = act_beat(self._config.datapath)
        m.submodules.queue = queue = Queue(beat.size, QUEUE_DEPTH)
        in_flight, following = self.issue, flags
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
        m.submodules.slice = register_slice = RegisterSlice(beat)
        m.d.comb += [
            register_slice.i.payload.eq(queue.data),
            register_slice.i.valid.eq(queue.valid),
            queue.take.eq(register_slice.i.ready),
        ]
        wiring.connect(m, register_slice.o, wiring.flipped(self.acts))
        taken = register_slice.i.valid & register_slice.i.ready
        count_credit(m, self._credit, self.issue, taken)
