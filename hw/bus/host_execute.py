"""What the host adapter does with a request, and how it answers."""

from amaranth.hdl import Cat, Const, Module, Mux, Signal
from amaranth.lib import data, enum, stream
from amaranth.lib.wiring import In, Out

from ..lib.component import Component
from .axi_lite import AxiLite, AxiLiteInterface, Response
from .hdlc import framed_byte
from .host_config import COUNTER_BYTES, HEADER_BYTES, RESULT_MAX, Channel, HostConfig, Status
from .host_requests import request
from .host_streams import SEGMENTS

__all__ = ["Body", "Executor", "Replier", "reply_job"]


class Body(enum.Enum, shape=2):
    """What follows the status byte of a reply."""

    NOTHING = 0
    DATA = 1
    RESULT = 2
    DESCRIPTION = 3


reply_job = data.StructLayout(
    {
        "channel": 8,
        "sequence": 8,
        "status": 4,
        "body": Body,
        "length": range(RESULT_MAX + 1),
        "data": 32,
    }
)
"""A reply to send; ``length`` is that of the body."""


class Executor(Component):
    """Refuses, repeats or executes one request at a time, and has each answered.

    Parameters
    ----------
    config : HostConfig
        See there for ranges.

    Members
    -------
    requests : In(stream.Signature(request))
        From the receiver.
    dropped : In(1)
        A frame was dropped.
    feed : Out(1)
        Takes the request's payload over to the feeder.
    feeder_ready : In(1)
        The feeder is free.
    finished : In(range(5))
        Finished segments of results.
    length : In(range(513))
        Bytes of the oldest.
    last : In(1)
        Whether it ends a packet.
    release : Out(1)
        Drops it.
    registers : Out(AxiLite(address_bits))
        Registers of the engine.
    replies : Out(stream.Signature(reply_job))
        To the replier.
    reset : Out(1)
        Resets the feeder, the collector and what is behind them.
    waiting : Out(1)
        Results wait that were not delivered yet.
    refused : Out(16)
        Requests refused, staying at 65535.

    Latency
        2 cycles; for a register the time that it takes.
    Throughput
        One request at a time.
    Reference
        None.
    """

    requests: stream.Interface
    dropped: Signal
    feed: Signal
    feeder_ready: Signal
    finished: Signal
    length: Signal
    last: Signal
    release: Signal
    registers: AxiLiteInterface
    replies: stream.Interface
    reset: Signal
    waiting: Signal
    refused: Signal

    def __init__(self, config: HostConfig):
        self._config = config
        super().__init__(
            {
                "requests": In(stream.Signature(request)),
                "dropped": In(1),
                "feed": Out(1),
                "feeder_ready": In(1),
                "finished": In(range(SEGMENTS + 1)),
                "length": In(range(RESULT_MAX + 1)),
                "last": In(1),
                "release": Out(1),
                "registers": Out(AxiLite(config.address_bits)),
                "replies": Out(stream.Signature(reply_job)),
                "reset": Out(1),
                "waiting": Out(1),
                "refused": Out(16),
            }
        )

    def elaborate(self, platform):
        m = Module()
        found, reply = self.requests.payload, self.replies.payload
        before = Signal(reply_job)
        known = Signal()
        delivered = Signal()
        executes = Signal()
        executed = Signal()
        missed = Signal()
        counts = Signal()
        verdict, is_stream = self._elaborate_verdict(m)
        begins = (found.channel == Channel.STATUS) | (found.channel == Channel.RESET)
        repeats = known & (verdict == Status.OK) & (found.sequence == before.sequence)
        repeats &= found.channel == before.channel[:7]
        m.d.sync += self.reset.eq(0)
        m.d.comb += [
            self.waiting.eq(self.finished > delivered),
            self.release.eq(executes & delivered),
            self.feed.eq(executes & is_stream),
        ]
        with m.If(self.dropped):
            m.d.sync += missed.eq(1)
        with m.If(executes):
            m.d.sync += [delivered.eq(0), known.eq(~begins)]
        with m.FSM():
            with m.State("Idle"):
                m.d.sync += [
                    reply.eq(Cat(found.channel, Const(0, 1), found.sequence)),
                    executed.eq(0),
                ]
                with m.If(self.requests.valid):
                    m.next = "Reply"
                    with m.If(verdict != Status.OK):
                        m.d.comb += counts.eq(1)
                        m.d.sync += reply.status.eq(verdict)
                    with m.Elif(repeats):
                        m.d.sync += reply.eq(before)
                    with m.Elif(is_stream & ~self.feeder_ready):
                        m.d.sync += reply.status.eq(Status.BUSY)
                    with m.Else():
                        m.d.comb += executes.eq(1)
                        m.d.sync += executed.eq(1)
                        with m.If(~is_stream):
                            m.next = "Execute"
                with m.Elif(missed):
                    m.d.comb += counts.eq(1)
                    m.d.sync += [missed.eq(0), reply.status.eq(Status.OVERRUN)]
                    m.next = "Missed"
            self._elaborate_channels(m, delivered)
            with m.State("Reply"):
                m.d.comb += self.requests.ready.eq(1)
                m.next = "Answer"
            with m.State("Missed"):
                m.next = "Answer"
            with m.State("Answer"):
                m.d.comb += self.replies.valid.eq(1)
                with m.If(self.replies.ready):
                    m.next = "Idle"
                    with m.If(executed):
                        m.d.sync += before.eq(reply)
        with m.If(counts & (self.refused != 0xFFFF)):
            m.d.sync += self.refused.eq(self.refused + 1)
        return m

    def _elaborate_verdict(self, m):
        """Return what is wrong with the request, and whether it is for a stream."""
        found = self.requests.payload
        verdict = Signal(4)
        is_stream = Signal()
        with m.If(found.bad):
            m.d.comb += verdict.eq(Status.BAD_FRAME)
        with m.Elif(found.long):
            m.d.comb += verdict.eq(Status.OVERRUN)
        with m.Elif(found.short):
            m.d.comb += verdict.eq(Status.BAD_LENGTH)
        with m.Else(), m.Switch(found.channel):
            for channel, length in (
                (Channel.STATUS, 0),
                (Channel.READ, 4),
                (Channel.WRITE, 8),
                (Channel.RESULT, 0),
                (Channel.RESET, 4),
            ):
                with m.Case(channel):
                    m.d.comb += verdict.eq(Mux(found.length == length, 0, Status.BAD_LENGTH))
            with m.Case(*(Channel.STREAM + i for i in range(len(self._config.streams)))):
                m.d.comb += [verdict.eq(Mux(found.whole, 0, Status.BAD_LENGTH)), is_stream.eq(1)]
            with m.Default():
                m.d.comb += verdict.eq(Status.BAD_CHANNEL)
        return verdict, is_stream

    def _elaborate_channels(self, m, delivered):
        """Add the states that execute a request other than a stream payload."""
        found, reply, bus = self.requests.payload, self.replies.payload, self.registers
        with m.State("Execute"):
            m.next = "Reply"
            with m.Switch(found.channel):
                with m.Case(Channel.STATUS):
                    size = len(self._config.description) + COUNTER_BYTES
                    m.d.sync += [reply.body.eq(Body.DESCRIPTION), reply.length.eq(size)]
                with m.Case(Channel.RESULT):
                    with m.If(self.finished != 0):
                        m.d.sync += [
                            delivered.eq(1),
                            reply.channel[7].eq(self.last),
                            reply.body.eq(Body.RESULT),
                            reply.length.eq(self.length),
                        ]
                with m.Case(Channel.RESET):
                    echo = found.arguments[1]
                    m.d.sync += [reply.body.eq(Body.DATA), reply.length.eq(4), reply.data.eq(echo)]
                    m.d.sync += self.reset.eq(1)
                with m.Case(Channel.READ):
                    address = found.arguments[1]
                    m.d.sync += bus.araddr.eq(address)
                    with m.If(address >> self._config.address_bits == 0):
                        m.d.sync += bus.arvalid.eq(1)
                        m.next = "Read"
                    with m.Else():
                        m.d.sync += reply.status.eq(Status.BUS_ERROR)
                with m.Case(Channel.WRITE):
                    address = found.arguments[0]
                    m.d.sync += [
                        bus.awaddr.eq(address),
                        bus.wdata.eq(found.arguments[1]),
                        bus.wstrb.eq(0b1111),
                    ]
                    with m.If(address >> self._config.address_bits == 0):
                        m.d.sync += [bus.awvalid.eq(1), bus.wvalid.eq(1)]
                        m.next = "Write"
                    with m.Else():
                        m.d.sync += reply.status.eq(Status.BUS_ERROR)
        with m.State("Read"):
            m.d.comb += bus.rready.eq(1)
            with m.If(bus.arready):
                m.d.sync += bus.arvalid.eq(0)
            with m.If(bus.rvalid):
                m.d.sync += [reply.body.eq(Body.DATA), reply.length.eq(4), reply.data.eq(bus.rdata)]
                with m.If(bus.rresp != Response.OKAY):
                    m.d.sync += reply.status.eq(Status.BUS_ERROR)
                m.next = "Reply"
        with m.State("Write"):
            m.d.comb += bus.bready.eq(1)
            with m.If(bus.awready):
                m.d.sync += bus.awvalid.eq(0)
            with m.If(bus.wready):
                m.d.sync += bus.wvalid.eq(0)
            with m.If(bus.bvalid):
                with m.If(bus.bresp != Response.OKAY):
                    m.d.sync += reply.status.eq(Status.BUS_ERROR)
                m.next = "Reply"


class Replier(Component):
    """Sends a reply's header, status byte and body to the framer.

    Parameters
    ----------
    config : HostConfig
        See there for ranges.

    Members
    -------
    replies : In(stream.Signature(reply_job))
        Replies, taken when their last byte is.
    flags : In(2)
        ``PENDING`` and ``WAITING`` for the status byte.
    refused : In(16)
        For the description.
    unstopped : In(16)
        For the description.
    read_at : Out(range(512))
        Byte of the results to read.
    read_data : In(8)
        That byte, a cycle later.
    o : Out(stream.Signature(framed_byte))
        To the framer.

    Latency
        3 cycles to the first byte.
    Throughput
        One byte every 3 cycles.
    Reference
        None.
    """

    replies: stream.Interface
    flags: Signal
    refused: Signal
    unstopped: Signal
    read_at: Signal
    read_data: Signal
    o: stream.Interface

    def __init__(self, config: HostConfig):
        self._config = config
        super().__init__(
            {
                "replies": In(stream.Signature(reply_job)),
                "flags": In(2),
                "refused": In(16),
                "unstopped": In(16),
                "read_at": Out(range(RESULT_MAX)),
                "read_data": In(8),
                "o": Out(stream.Signature(framed_byte)),
            }
        )

    def elaborate(self, platform):
        m = Module()
        job = self.replies.payload
        head_bytes = HEADER_BYTES + 1
        at = Signal(range(head_bytes + RESULT_MAX))
        byte = Signal(8)
        in_body = Signal(range(RESULT_MAX))
        length = Signal(16)
        m.d.comb += [
            in_body.eq(at - head_bytes),
            length.eq(job.length + 1),
            self.read_at.eq(in_body),
        ]
        head = Cat(job.channel, job.sequence, length, job.status, self.flags, Const(0, 2))
        text = int.from_bytes(self._config.description, "little")
        size = len(self._config.description)
        description = Cat(Const(text, 8 * size), self.refused, self.unstopped)
        with m.If(at < head_bytes):
            m.d.comb += byte.eq(head.word_select(at[:3], 8))
        with m.Else(), m.Switch(job.body):
            with m.Case(Body.DATA):
                m.d.comb += byte.eq(job.data.word_select(in_body[:2], 8))
            with m.Case(Body.RESULT):
                m.d.comb += byte.eq(self.read_data)
            with m.Case(Body.DESCRIPTION):
                select = in_body[: (size + COUNTER_BYTES - 1).bit_length()]
                m.d.comb += byte.eq(description.word_select(select, 8))
        with m.FSM():
            with m.State("Idle"):
                m.d.sync += at.eq(0)
                with m.If(self.replies.valid):
                    m.next = "Read"
            with m.State("Read"):
                m.next = "Take"
            with m.State("Take"):
                m.d.sync += self.o.payload.data.eq(byte)
                m.d.sync += self.o.payload.last.eq(at == job.length + HEADER_BYTES)
                m.next = "Send"
            with m.State("Send"):
                m.d.comb += self.o.valid.eq(1)
                with m.If(self.o.ready):
                    m.d.sync += at.eq(at + 1)
                    m.next = "Read"
                    with m.If(self.o.payload.last):
                        m.next = "Done"
            with m.State("Done"):
                m.d.comb += self.replies.ready.eq(1)
                m.next = "Idle"
        return m
