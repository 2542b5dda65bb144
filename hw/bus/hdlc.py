"""Frames on a byte line as in RFC 1662: flags, escapes, FCS-16."""

from typing import Any

from amaranth.hdl import Cat, Module, Mux, Signal
from amaranth.lib import data, stream
from amaranth.lib.crc.catalog import CRC16_IBM_SDLC
from amaranth.lib.wiring import In, Out

from ..lib.component import Component
from .host_config import ESCAPE, ESCAPE_XOR, FLAG
from .uart import received_byte

__all__ = ["Deframer", "Framer", "frame_beat", "framed_byte"]

frame_beat = data.StructLayout({"data": 8, "end": 1, "bad": 1})
"""A byte of a frame, or with ``end`` the frame's end, which carries no byte but ``bad``."""
framed_byte = data.StructLayout({"data": 8, "last": 1})
"""A byte to be framed; ``last`` ends the frame."""


def _crc() -> Any:  # the type stubs have no CRC
    return CRC16_IBM_SDLC(data_width=8).create()


class Deframer(Component):
    """Finds frames in bytes from a line, removes escapes and checks and removes the FCS.

    Whatever stands between two flags is a frame, nothing at all is none. A frame is ``bad`` if its
    FCS is wrong, if it is too short for one, if a byte had no stop bit, or if it ends in an escape.
    Its bytes are given as they come, so that only its end tells whether they are worth anything.

    Members
    -------
    i : In(stream.Signature(received_byte, always_ready=True))
        Bytes from the line.
    o : Out(stream.Signature(frame_beat, always_ready=True))
        Bytes without FCS, and an end per frame.

    Latency
        1 cycle; a byte of the frame waits for the two that follow, which may be the FCS.
    Throughput
        One byte a cycle.
    Reference
        RFC 1662, PPP in HDLC-like Framing, sections 3.1, 4 and C.2.
    """

    i: stream.Interface
    o: stream.Interface

    def __init__(self):
        super().__init__(
            {
                "i": In(stream.Signature(received_byte, always_ready=True)),
                "o": Out(stream.Signature(frame_beat, always_ready=True)),
            }
        )

    def elaborate(self, platform):
        m = Module()
        m.submodules.crc = crc = _crc()
        byte = self.i.payload.data
        flag = Signal()
        plain = Signal(8)
        started = Signal()
        escaped = Signal()
        broken = Signal()
        held = Signal(16)
        held_count = Signal(range(3))
        m.d.comb += [
            flag.eq(byte == FLAG),
            plain.eq(Mux(escaped, byte ^ ESCAPE_XOR, byte)),
            crc.data.eq(plain),
            crc.start.eq(flag & self.i.valid),
            crc.valid.eq(self.i.valid & ~flag & (escaped | (byte != ESCAPE))),
        ]
        m.d.sync += self.o.valid.eq(0)
        with m.If(self.i.valid):
            m.d.sync += [
                started.eq(~flag),
                escaped.eq(~flag & ~escaped & (byte == ESCAPE)),
                broken.eq(~flag & (broken | self.i.payload.error)),
            ]
            with m.If(flag):
                complete = crc.match_detected & (held_count == 2) & ~escaped
                m.d.sync += [
                    held_count.eq(0),
                    self.o.valid.eq(started),
                    self.o.payload.end.eq(1),
                    self.o.payload.bad.eq(~complete | broken | self.i.payload.error),
                ]
        with m.If(crc.valid):
            m.d.sync += [
                held.eq(Cat(held[8:], plain)),
                self.o.valid.eq(held_count == 2),
                self.o.payload.data.eq(held[:8]),
                self.o.payload.end.eq(0),
                self.o.payload.bad.eq(0),
            ]
            with m.If(held_count != 2):
                m.d.sync += held_count.eq(held_count + 1)
        return m


class Framer(Component):
    """Makes frames of packets: a flag before and after, escapes, FCS.

    Members
    -------
    i : In(stream.Signature(framed_byte))
        Packets of at least one byte.
    o : Out(stream.Signature(8))
        Bytes for the line.

    Latency
        A byte is given in the cycle after its transfer.
    Throughput
        One byte every 3 cycles, 4 with an escape; flags and FCS are 4 bytes more per packet.
    Reference
        RFC 1662, PPP in HDLC-like Framing, sections 3.1, 4 and C.2.
    """

    i: stream.Interface
    o: stream.Interface

    def __init__(self):
        super().__init__({"i": In(stream.Signature(framed_byte)), "o": Out(stream.Signature(8))})

    def elaborate(self, platform):
        m = Module()
        m.submodules.crc = crc = _crc()
        byte = Signal(8)
        last = Signal()
        fcs_left = Signal(range(3))
        escape = (byte == FLAG) | (byte == ESCAPE)
        m.d.comb += crc.data.eq(self.i.payload.data)
        with m.FSM():
            with m.State("Idle"):
                m.d.comb += crc.start.eq(1)
                m.d.sync += fcs_left.eq(2)
                with m.If(self.i.valid):
                    m.next = "Open"
            with m.State("Open"):
                m.d.comb += [self.o.valid.eq(1), self.o.payload.eq(FLAG)]
                with m.If(self.o.ready):
                    m.next = "Take"
            with m.State("Take"):
                m.d.comb += [self.i.ready.eq(1), crc.valid.eq(self.i.valid)]
                m.d.sync += [byte.eq(self.i.payload.data), last.eq(self.i.payload.last)]
                with m.If(self.i.valid):
                    m.next = "Send"
            with m.State("Send"):
                m.d.comb += [self.o.valid.eq(1), self.o.payload.eq(Mux(escape, ESCAPE, byte))]
                with m.If(self.o.ready):
                    m.next = "Next"
                    with m.If(escape):
                        m.next = "Escaped"
            with m.State("Escaped"):
                m.d.comb += [self.o.valid.eq(1), self.o.payload.eq(byte ^ ESCAPE_XOR)]
                with m.If(self.o.ready):
                    m.next = "Next"
            with m.State("Next"):
                m.next = "Take"
                with m.If(last):
                    m.d.sync += [byte.eq(Mux(fcs_left == 2, crc.crc[:8], crc.crc[8:]))]
                    m.d.sync += fcs_left.eq(fcs_left - 1)
                    m.next = "Send"
                    with m.If(fcs_left == 0):
                        m.next = "Close"
            with m.State("Close"):
                m.d.comb += [self.o.valid.eq(1), self.o.payload.eq(FLAG)]
                with m.If(self.o.ready):
                    m.next = "Idle"
        return m
