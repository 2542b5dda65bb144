"""Requests of the host as they come from the line."""

from amaranth.hdl import Cat, Module, Mux, Signal
from amaranth.lib import data, stream
from amaranth.lib.wiring import In, Out

from ..lib.component import Component
from .hdlc import frame_beat
from .host_config import HEADER_BYTES, PAYLOAD_MAX, Channel, HostConfig

__all__ = ["RequestReceiver", "request"]

request = data.StructLayout(
    {
        "channel": 7,
        "last": 1,
        "sequence": 8,
        "length": 16,
        "arguments": data.ArrayLayout(32, 2),
        "bad": 1,
        "long": 1,
        "short": 1,
        "whole": 1,
    }
)
"""A received frame.

``arguments`` are the first eight bytes of its payload, at the upper end if they are fewer. ``bad``:
wrong checksum; ``long``: payload above `PAYLOAD_MAX`; ``short``: its length is not the header's;
``whole``: its payload is a number of whole beats of its stream.
"""


class RequestReceiver(Component):
    """Sorts the bytes of a frame into header and buffer and presents the frame when it has ended.

    While a request waits, frames that begin are dropped.

    Parameters
    ----------
    config : HostConfig
        See there for ranges.

    Members
    -------
    i : In(stream.Signature(frame_beat, always_ready=True))
        From the deframer.
    write : Out(1)
        Write strobe to the buffer.
    write_at : Out(range(1024))
        Where in the bank.
    write_data : Out(8)
        Byte of payload.
    o : Out(stream.Signature(request))
        The request; its payload stays in the buffer until it is taken.
    dropped : Out(1)
        Pulses at the end of a frame that was dropped.

    Latency
        1 cycle from the frame's end.
    Throughput
        One byte a cycle.
    Reference
        None.
    """

    i: stream.Interface
    write: Signal
    write_at: Signal
    write_data: Signal
    o: stream.Interface
    dropped: Signal

    def __init__(self, config: HostConfig):
        self._config = config
        super().__init__(
            {
                "i": In(stream.Signature(frame_beat, always_ready=True)),
                "write": Out(1),
                "write_at": Out(range(PAYLOAD_MAX)),
                "write_data": Out(8),
                "o": Out(stream.Signature(request)),
                "dropped": Out(1),
            }
        )

    def elaborate(self, platform):
        m = Module()
        sizes = self._config.beat_bytes
        found, byte = self.o.payload, self.i.payload.data
        header = Signal(range(HEADER_BYTES + 1))
        count = Signal(range(PAYLOAD_MAX + 2))
        lane = Signal(range(max(sizes)))
        lane_last = Signal()
        dropping = Signal()
        inside = Signal()
        drops = dropping | (self.o.valid & ~inside)
        in_payload = header == HEADER_BYTES
        m.d.comb += [
            self.write_at.eq(count[:-1]),
            self.write_data.eq(byte),
            self.dropped.eq(self.i.valid & self.i.payload.end & drops),
            lane_last.eq(1),
        ]
        with m.Switch(found.channel):
            for i, size in enumerate(sizes):
                with m.Case(Channel.STREAM + i):
                    m.d.comb += lane_last.eq(lane == size - 1)
        with m.If(self.o.valid & self.o.ready):
            m.d.sync += self.o.valid.eq(0)
        with m.If(self.i.valid):
            m.d.sync += [inside.eq(~self.i.payload.end), dropping.eq(drops & ~self.i.payload.end)]
            with m.If(drops):
                pass
            with m.Elif(self.i.payload.end):
                m.d.sync += [
                    self.o.valid.eq(1),
                    found.bad.eq(self.i.payload.bad),
                    found.long.eq(count == PAYLOAD_MAX + 1),
                    found.short.eq(~in_payload | (count != found.length)),
                    found.whole.eq((lane == 0) & (count != 0)),
                    header.eq(0),
                    count.eq(0),
                    lane.eq(0),
                ]
            with m.Elif(~in_payload):
                words = Cat(found.channel, found.last, found.sequence, found.length)
                m.d.sync += [words.word_select(header, 8).eq(byte), header.eq(header + 1)]
            with m.Elif(count <= PAYLOAD_MAX):
                m.d.comb += self.write.eq(count != PAYLOAD_MAX)
                m.d.sync += [count.eq(count + 1), lane.eq(Mux(lane_last, 0, lane + 1))]
                with m.If(count < 8):
                    arguments = found.arguments.as_value()
                    m.d.sync += arguments.eq(Cat(arguments[8:], byte))
        return m
