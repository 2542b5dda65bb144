"""UART, 8N1: a receiver that votes over three samples per bit, and a transmitter."""

from amaranth.hdl import Cat, Module, Signal
from amaranth.lib import data, stream
from amaranth.lib.cdc import FFSynchronizer
from amaranth.lib.wiring import In, Out

from ..lib.component import Component
from .host_config import UartConfig

__all__ = ["UartReceiver", "UartTransmitter", "received_byte"]

received_byte = data.StructLayout({"data": 8, "error": 1})
"""A byte from the line; ``error`` where its stop bit was missing."""


class UartReceiver(Component):
    """Takes bytes off a serial line.

    A byte starts with a falling edge whose bit is still low at its middle. Each bit is the majority
    of three samples around its middle. A byte without stop bit is given with ``error``; the next
    starts only after the line was high.

    Parameters
    ----------
    config : UartConfig
        See there for ranges.

    Members
    -------
    rx : In(1)
        The line, idle high; need not be synchronous to the clock.
    o : Out(stream.Signature(received_byte, always_ready=True))
        Bytes as they come; they cannot wait.

    Latency
        A byte is given within 4 cycles of its stop bit's third sample.
    Throughput
        One byte per 10 bits.
    Reference
        None.
    """

    rx: Signal
    o: stream.Interface

    def __init__(self, config: UartConfig):
        self._config = config
        super().__init__(
            {
                "rx": In(1, init=1),  # type: ignore[call-arg]  # stubs lack it
                "o": Out(stream.Signature(received_byte, always_ready=True)),
            }
        )

    def elaborate(self, platform):
        m = Module()
        divisor = self._config.divisor
        line = Signal(init=1)
        before = Signal(init=1)
        m.submodules.synchronizer = FFSynchronizer(self.rx, line, init=1)
        m.d.sync += before.eq(line)
        # The edge was up to a cycle before it was seen.
        middle, apart = (divisor - 1) // 2, max(divisor // 16, 1)
        timer = Signal(range(divisor))
        index = Signal(range(10))
        byte = Signal(8)
        samples = Signal(2)
        vote = Signal()
        m.d.comb += vote.eq((samples[0] & samples[1]) | (samples.any() & line))
        m.d.sync += self.o.valid.eq(0)
        with m.FSM():
            with m.State("Idle"):
                m.d.sync += [timer.eq(1), index.eq(0)]
                with m.If(before & ~line):
                    m.next = "Bits"
            with m.State("Bits"):
                m.d.sync += timer.eq(timer + 1)
                with m.If(timer == divisor - 1):
                    m.d.sync += timer.eq(0)
                with m.If((timer == middle - apart) | (timer == middle)):
                    m.d.sync += samples.eq(Cat(line, samples[0]))
                with m.If(timer == middle + apart):
                    m.d.sync += [byte.eq(Cat(byte[1:], vote)), index.eq(index + 1)]
                    with m.If((index == 0) & vote):
                        m.next = "Idle"
                    with m.If(index == 9):
                        m.d.sync += self.o.valid.eq(1)
                        m.d.sync += [self.o.payload.data.eq(byte), self.o.payload.error.eq(~vote)]
                        m.next = "Idle"
        return m


class UartTransmitter(Component):
    """Puts bytes on a serial line.

    Parameters
    ----------
    config : UartConfig
        See there for ranges.

    Members
    -------
    i : In(stream.Signature(8))
        Bytes to send, least significant bit first.
    tx : Out(1)
        The line, idle high.

    Latency
        The start bit follows the transfer of the byte by 1 cycle.
    Throughput
        One byte per 10 bits.
    Reference
        None.
    """

    i: stream.Interface
    tx: Signal

    def __init__(self, config: UartConfig):
        self._config = config
        super().__init__(
            {
                "i": In(stream.Signature(8)),
                "tx": Out(1, init=1),  # type: ignore[call-arg]  # stubs lack it
            }
        )

    def elaborate(self, platform):
        m = Module()
        divisor = self._config.divisor
        timer = Signal(range(divisor))
        left = Signal(range(11))
        bits = Signal(9)
        m.d.comb += self.i.ready.eq(left == 0)
        with m.If(self.i.ready):
            with m.If(self.i.valid):
                m.d.sync += [
                    self.tx.eq(0),
                    bits.eq(Cat(self.i.payload, 1)),
                    left.eq(10),
                    timer.eq(divisor - 1),
                ]
        with m.Elif(timer == 0):
            m.d.sync += [left.eq(left - 1), timer.eq(divisor - 1)]
            m.d.sync += [self.tx.eq(bits[0]), bits.eq(Cat(bits[1:], 1))]
        with m.Else():
            m.d.sync += timer.eq(timer - 1)
        return m
