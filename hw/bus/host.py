"""The host adapter: an engine's streams and registers behind a byte line or a UART."""

from typing import TYPE_CHECKING, Any

from amaranth.hdl import Cat, Module, ResetSignal, Signal
from amaranth.lib import memory, stream, wiring
from amaranth.lib.wiring import In, Out

from ..lib.component import Component
from .axi_lite import AxiLite, AxiLiteInterface
from .hdlc import Deframer, Framer
from .host_config import PAYLOAD_MAX, HostConfig, UartConfig
from .host_execute import Executor, Replier
from .host_requests import RequestReceiver
from .host_streams import Feeder, ResultCollector, feeder_beat, host_result
from .uart import UartReceiver, UartTransmitter, received_byte

__all__ = ["HostCore", "UartHost"]


class HostCore(Component):
    """Executes the requests of a host, one at a time, and answers each with one reply.

    A frame is acted on only when it is complete and its checksum and lengths are right; every other
    one is refused with a reply that says why, counted, and forgotten. A stream payload stays in one
    bank of the buffer until the engine has taken it, while the other bank receives: the adapter
    goes on answering, and a host that polls results meanwhile cannot deadlock with the engine.
    A host that begins has the engine reset, and meets nothing that one before it left behind.
    See `tilewright.hw.bus.host_config` for the frames.

    Parameters
    ----------
    config : HostConfig
        See there; each stream adds a member of its name.

    Members
    -------
    i : In(stream.Signature(received_byte, always_ready=True))
        Bytes from the line.
    o : Out(stream.Signature(8))
        Bytes for the line.
    <stream> : Out(stream.Signature(feeder_beat(bits)))
        Beats for the engine.
    results : In(stream.Signature(host_result(config)))
        Results of the engine.
    registers : Out(AxiLite(address_bits))
        Its registers.
    reset : Out(1)
        Resets the engine.

    Latency
        A reply begins within 8 cycles of the end of its request; that of a register access when the
        register has answered.
    Throughput
        Set by the line; inside, 2 cycles per byte and direction.
    Reference
        RFC 1662, PPP in HDLC-like Framing.
    """

    i: stream.Interface
    o: stream.Interface
    results: stream.Interface
    registers: AxiLiteInterface
    reset: Signal

    if TYPE_CHECKING:

        def __getattr__(self, name: str) -> Any:
            """Return a stream named as in the configuration."""

    def __init__(self, config: HostConfig):
        self._config = config
        super().__init__(
            {
                "i": In(stream.Signature(received_byte, always_ready=True)),
                "o": Out(stream.Signature(8)),
                "results": In(stream.Signature(host_result(config))),
                "registers": Out(AxiLite(config.address_bits)),
                "reset": Out(1),
            }
            | {name: Out(stream.Signature(feeder_beat(bits))) for name, bits in config.streams}
        )

    def elaborate(self, platform):
        m = Module()
        config = self._config
        m.submodules.deframer = deframer = Deframer()
        m.submodules.receiver = receiver = RequestReceiver(config)
        feeder, collector = Feeder(config), ResultCollector(config)
        m.submodules.feeder = feeder
        m.submodules.collector = collector
        for part in (feeder, collector):
            part.reset_by(ResetSignal() | self.reset)
        m.submodules.framer = framer = Framer()
        m.submodules.buffer = buffer = memory.Memory(shape=8, depth=2 * PAYLOAD_MAX, init=[])
        wiring.connect(m, wiring.flipped(self.i), deframer.i)
        wiring.connect(m, deframer.o, receiver.i)
        wiring.connect(m, framer.o, wiring.flipped(self.o))
        wiring.connect(m, wiring.flipped(self.results), collector.results)
        for name, _ in config.streams:
            wiring.connect(m, getattr(feeder, name), wiring.flipped(getattr(self, name)))
        bank = Signal()
        write = buffer.write_port()
        read = buffer.read_port()
        m.d.comb += [
            write.addr.eq(Cat(receiver.write_at, bank)),
            write.data.eq(receiver.write_data),
            write.en.eq(receiver.write),
            read.addr.eq(feeder.read_at),
            feeder.read_data.eq(read.data),
        ]
        m.submodules.executor = executor = Executor(config)
        m.submodules.replier = replier = Replier(config)
        wiring.connect(m, receiver.o, executor.requests)
        wiring.connect(m, executor.registers, wiring.flipped(self.registers))
        wiring.connect(m, executor.replies, replier.replies)
        wiring.connect(m, replier.o, framer.i)
        found = receiver.o.payload
        m.d.comb += [
            self.reset.eq(executor.reset),
            feeder.job.payload.bank.eq(bank),
            feeder.job.payload.length.eq(found.length),
            feeder.job.payload.stream.eq(found.channel),
            feeder.job.payload.last.eq(found.last),
            feeder.job.valid.eq(executor.feed),
            executor.feeder_ready.eq(feeder.job.ready),
            executor.dropped.eq(receiver.dropped),
            executor.finished.eq(collector.finished),
            executor.length.eq(collector.length),
            executor.last.eq(collector.last),
            collector.release.eq(executor.release),
            collector.read_at.eq(replier.read_at),
            replier.read_data.eq(collector.read_data),
            replier.flags.eq(Cat(~feeder.job.ready, executor.waiting)),
            replier.refused.eq(executor.refused),
        ]
        with m.If(executor.feed):
            m.d.sync += bank.eq(~bank)
        with m.If(self.i.valid & self.i.payload.error & (replier.unstopped != 0xFFFF)):
            m.d.sync += replier.unstopped.eq(replier.unstopped + 1)
        return m


class UartHost(Component):
    """A `HostCore` on a serial line.

    Parameters
    ----------
    config : HostConfig
        See there; each stream adds a member of its name.
    uart : UartConfig
        The line.

    Members
    -------
    rx : In(1)
        From the host, idle high.
    tx : Out(1)
        To the host, idle high.
    <stream> : Out(stream.Signature(feeder_beat(bits)))
        Beats for the engine.
    results : In(stream.Signature(host_result(config)))
        Results of the engine.
    registers : Out(AxiLite(address_bits))
        Its registers.
    reset : Out(1)
        Resets the engine.

    Latency
        As `HostCore`, and the line's.
    Throughput
        One byte per 10 bits in each direction.
    Reference
        RFC 1662, PPP in HDLC-like Framing.
    """

    rx: Signal
    tx: Signal
    results: stream.Interface
    registers: AxiLiteInterface
    reset: Signal

    if TYPE_CHECKING:

        def __getattr__(self, name: str) -> Any:
            """Return a stream named as in the configuration."""

    def __init__(self, config: HostConfig, uart: UartConfig):
        self._config, self._uart = config, uart
        super().__init__(
            {
                "rx": In(1, init=1),  # type: ignore[call-arg]  # stubs lack it
                "tx": Out(1, init=1),  # type: ignore[call-arg]  # stubs lack it
                "results": In(stream.Signature(host_result(config))),
                "registers": Out(AxiLite(config.address_bits)),
                "reset": Out(1),
            }
            | {name: Out(stream.Signature(feeder_beat(bits))) for name, bits in config.streams}
        )

    def elaborate(self, platform):
        m = Module()
        m.submodules.receiver = receiver = UartReceiver(self._uart)
        m.submodules.transmitter = transmitter = UartTransmitter(self._uart)
        m.submodules.core = core = HostCore(self._config)
        wiring.connect(m, receiver.o, core.i)
        wiring.connect(m, core.o, transmitter.i)
        m.d.comb += [
            receiver.rx.eq(self.rx),
            self.tx.eq(transmitter.tx),
            self.reset.eq(core.reset),
        ]
        wiring.connect(m, wiring.flipped(self.results), core.results)
        for name in ("registers", *(name for name, _ in self._config.streams)):
            wiring.connect(m, getattr(core, name), wiring.flipped(getattr(self, name)))
        return m
