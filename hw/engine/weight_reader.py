"""The reader that feeds weights from their buffer, running ahead of the datapath."""

from amaranth.hdl import Cat, Module, Mux, Signal
from amaranth.lib import stream
from amaranth.lib.wiring import In, Out

from ..arith.counts import NextCount
from ..lib.component import Component
from .buffer import Buffer
from .config import EngineConfig
from .fields import gemm_weights_layout, named
from .loops import Loops
from .pipeline import QUEUE_DEPTH, TILE_CYCLES
from .queue import Queue
from .register_slice import AlternatingSlice, RegisterSlice, count_credit

__all__ = ["WeightReader"]

_PIECE = 200
"""Most bits of a beat that one set of flags and addresses moves."""


class WeightReader(Component):
    """Holds the weight buffer and issues its tiles in the order of the steps.

    Parameters
    ----------
    config : EngineConfig
        See there for ranges.

    Members
    -------
    cmd : In(stream.Signature(gemm_weights_layout(config)))
        Commands.
    write : In(1)
        Write a beat to the buffer.
    write_at : In(range(weight_depth))
        Its address.
    write_data : In(weight_beat_bits)
        The beat.
    weights : Out(stream.Signature(weight_beat_bits))
        To the datapath.
    outside : Out(1)
        Pulses when a beat past the end of the buffer was read: those from address 0 on.
    done : Out(1)
        Pulses when a command reads no more.

    Latency
        The first beat of a command taken in cycle t is offered in cycle t + 5 + p, in cycle t + 6
        + p where a tile is a single beat; p is the number of ``config.weight_spans``.
    Throughput
        One beat a cycle, but at most one tile every `TILE_CYCLES` = 3 cycles; one cycle between
        commands.
    """

    cmd: stream.Interface
    write: Signal
    write_at: Signal
    write_data: Signal
    weights: stream.Interface
    outside: Signal
    done: Signal

    def __init__(self, config: EngineConfig):
        self._config = config
        self.issue = Signal()
        bits = config.datapath.weight_beat_bits
        super().__init__(
            {
                "cmd": In(stream.Signature(gemm_weights_layout(config))),
                "write": In(1),
                "write_at": In(range(config.weight_depth)),
                "write_data": In(bits),
                "weights": Out(stream.Signature(bits)),
                "outside": Out(1),
                "done": Out(1),
            }
        )

    def elaborate(self, platform):
        m = Module()
        config = self._config
        beats = config.datapath.weight_beats
        command = self.cmd.payload
        gemm = named(gemm_weights_layout(config), "gemm")
        names = ("m_tiles", "n_tiles", "k_rows", "k_chunks")
        m.submodules.loops = loops = Loops(len(names), config.datapath.fabric)
        for i, name in enumerate(names):
            m.d.comb += [
                loops.start_once[i].eq(command[f"{name}_once"]),
                loops.counts[i].eq(gemm[name]),
                loops.once[i].eq(gemm[f"{name}_once"]),
            ]
        address = Signal(range(config.weight_depth), reset_less=True)
        beat_left = Signal(range(beats), reset_less=True)
        beat_last = Signal(reset_less=True)
        credit = Signal(init=1)
        issue = self.issue
        # The loops advance a cycle after the last beat of a tile, and their flags follow another
        # cycle later; where tiles are shorter than that, beats wait.
        hold = Signal(TILE_CYCLES, reset_less=True)
        pause = (1 << max(0, TILE_CYCLES - beats)) - 1
        advances = Signal(reset_less=True)
        reads = Signal()
        rewinds = Signal(reset_less=True)
        wraps = Signal(reset_less=True)
        ends = Signal(reset_less=True)
        begins = Signal()
        m.d.sync += [
            hold.eq(hold >> 1),
            advances.eq(issue & beat_last),
            reads.eq(issue),
            rewinds.eq(beat_last & wraps),
            wraps.eq(loops.last[1:].all()),
            ends.eq(loops.last.all()),
        ]
        m.d.comb += loops.advance.eq(advances)
        # The address moves a cycle after the issue: it is near the buffer, which may be far away.
        last, past = Signal(name="at_last_address"), Signal(name="past_the_end")
        m.d.sync += self.outside.eq(reads & past)

        goes_back = begins | (reads & rewinds)
        base = gemm["w_base"]
        m.submodules.next_address = next_address = NextCount(len(address), config.datapath.fabric)
        m.d.comb += [
            next_address.count.eq(address),
            next_address.loaded.eq(base),
            next_address.load.eq(goes_back),
        ]
        with m.If(begins | reads):
            m.d.sync += [
                address.eq(Mux(last & ~goes_back, 0, next_address.following)),
                last.eq(
                    Mux(
                        goes_back,
                        base == config.weight_depth - 1,
                        address == config.weight_depth - 2,
                    )
                ),
                past.eq(~goes_back & (past | last)),
            ]
        with m.FSM():
            with m.State("Idle"):
                m.d.comb += self.cmd.ready.eq(1)
                m.d.sync += [
                    *(register.eq(command[name]) for name, register in gemm.items()),
                    beat_left.eq(beats - 1),
                    beat_last.eq(beats == 1),
                    hold.eq(pause >> 1),
                ]
                m.d.comb += loops.start.eq(1)
                m.d.sync += begins.eq(self.cmd.valid)
                with m.If(self.cmd.valid):
                    m.next = "Run"
            with m.State("Run"):
                m.d.sync += begins.eq(0)
                m.d.comb += issue.eq(credit & ~hold[0])
                with m.If(issue):
                    m.d.sync += [beat_left.eq(beat_left - 1), beat_last.eq(beat_left == 1)]
                    with m.If(beat_last):
                        m.d.sync += [beat_left.eq(beats - 1), beat_last.eq(beats == 1)]
                        m.d.sync += hold.eq(pause)
                        with m.If(ends):
                            m.d.comb += self.done.eq(1)
                            m.next = "Idle"
        in_flight = Signal(1 + len(config.weight_spans))
        m.d.sync += in_flight.eq(Cat(reads, in_flight))
        taken = self._elaborate_queues(m, self._elaborate_buffer(m, address), in_flight[-1])
        count_credit(m, credit, issue, taken)
        return m

    def _elaborate_queues(self, m, beat, arrives):
        """Queue the beats that arrive; return whether one leaves the queue.

        The pieces of a beat move alike, but each by flags and addresses of its own: one register
        does not reach all bits of a wide beat in a cycle.
        """
        bits = len(self.weights.payload)
        width = -(-bits // -(-bits // _PIECE))
        slices = []
        for i, first in enumerate(range(0, bits, width)):
            piece = beat[first : min(first + width, bits)]
            m.submodules[f"queue_{i}"] = queue = Queue(len(piece), QUEUE_DEPTH)
            kind = RegisterSlice if width == bits else AlternatingSlice
            m.submodules[f"slice_{i}"] = register_slice = kind(len(piece))
            m.d.comb += [
                queue.write_data.eq(piece),
                queue.write.eq(arrives),
                register_slice.i.payload.eq(queue.data),
                register_slice.i.valid.eq(queue.valid),
                queue.take.eq(register_slice.i.ready),
                register_slice.o.ready.eq(self.weights.ready),
            ]
            slices.append(register_slice)
        m.d.comb += [
            self.weights.payload.eq(Cat(piece.o.payload for piece in slices)),
            self.weights.valid.eq(slices[0].o.valid),
        ]
        return slices[0].i.valid & slices[0].i.ready

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
                passed_address = Signal(range(depth), name=f"address_{i}", reset_less=True)
                m.d.sync += passed_address.eq(address)
                address = passed_address
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
