"""The reader that feeds weights from their buffer, running ahead of the datapath."""

from amaranth.hdl import Cat, Module, Signal
from amaranth.lib import stream
from amaranth.lib.wiring import In, Out

from ..lib.component import Component
from .buffer import Buffer
from .config import EngineConfig
from .dispatch import command_layout
from .loops import Loops
from .pipeline import QUEUE_DEPTH, TILE_CYCLES
from .position import field
from .queue import Queue
from .relay import count_credit, relay, relay_in_turns

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
    Numerics
        None.
    Reference
        None.
    """

    def __init__(self, config: EngineConfig):
        self._config = config
        self.issue = Signal()
        bits = config.datapath.weight_beat_bits
        super().__init__(
            {
                "cmd": In(stream.Signature(command_layout("GEMM"))),
                "write": In(1),
                "write_at": In(16),
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
        words = Signal(command_layout("GEMM"), reset_less=True)
        loops = Loops(m, words, ("m_tiles", "n_tiles", "k_rows", "k_chunks"))
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
        m.d.sync += [
            hold.eq(hold >> 1), advances.eq(issue & beat_last),
            reads.eq(issue), rewinds.eq(beat_last & wraps),
            wraps.eq(loops.last("n_tiles")), ends.eq(loops.last("m_tiles")),
        ]
        with m.If(advances):
            loops.advance()
        # The address moves a cycle after the issue: it is near the buffer, which may be far away.
        last, past = Signal(name="at_last_address"), Signal(name="past_the_end")
        m.d.sync += self.outside.eq(reads & past)

        def go_to(base):
            return [address.eq(base), last.eq(base == config.weight_depth - 1), past.eq(0)]

        with m.If(reads):
            m.d.sync += [address.eq(address + 1), last.eq(address == config.weight_depth - 2)]
            with m.If(last):
                m.d.sync += [address.eq(0), past.eq(1)]
            with m.If(rewinds):
                m.d.sync += go_to(field(words, "GEMM", "w_base"))
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
                    m.d.sync += go_to(field(self.cmd.payload, "GEMM", "w_base"))
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
        relayed = relay if len(queues) == 1 else relay_in_turns
        leaves = [relayed(m, *ends) for ends in zip(queues, pieces, strict=True)]
        count_credit(m, credit, issue, leaves[0])
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
