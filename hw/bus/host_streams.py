"""Between the host adapter's buffers and the engine's streams."""

from typing import TYPE_CHECKING, Any

from amaranth.hdl import Cat, Module, Signal, signed
from amaranth.lib import data, memory, stream
from amaranth.lib.wiring import In, Out

from ..lib.component import Component
from .host_config import PAYLOAD_MAX, RESULT_MAX, HostConfig

__all__ = ["Feeder", "ResultCollector", "feeder_beat", "feeder_job", "host_result"]

SEGMENTS = 4


def feeder_beat(bits: int) -> data.StructLayout:
    """One beat for the engine; ``last`` ends a packet."""
    return data.StructLayout({"data": bits, "last": 1})


def host_result(config: HostConfig) -> data.StructLayout:
    """One beat of results: the numbers, a bit for each that is real, end of packet."""
    lanes = config.result_lanes
    return data.StructLayout(
        {"data": data.ArrayLayout(signed(config.result_bits), lanes), "keep": lanes, "last": 1}
    )


def feeder_job(config: HostConfig) -> data.StructLayout:
    """A payload to hand over: its bank, its bytes, its stream, whether it ends a packet."""
    return data.StructLayout(
        {
            "bank": 1,
            "length": range(PAYLOAD_MAX + 1),
            "stream": range(len(config.streams)),
            "last": 1,
        }
    )


class Feeder(Component):
    """Hands a buffered payload over to one of the streams, low byte first.

    Parameters
    ----------
    config : HostConfig
        See there; each stream adds a member of its name.

    Members
    -------
    job : In(stream.Signature(feeder_job(config)))
        What to hand over; taken when the one before is through.
    read_at : Out(11)
        Byte to read, the bank on top.
    read_data : In(8)
        That byte, a cycle later.
    <stream> : Out(stream.Signature(feeder_beat(bits)))
        Beats.

    Latency
        3 cycles and 2 per byte to the first beat.
    Throughput
        One byte every 2 cycles, 1 cycle more per beat.
    Reference
        None.
    """

    job: stream.Interface
    read_at: Signal
    read_data: Signal

    if TYPE_CHECKING:

        def __getattr__(self, name: str) -> Any:
            """Return a stream named as in the configuration."""

    def __init__(self, config: HostConfig):
        self._config = config
        super().__init__(
            {
                "job": In(stream.Signature(feeder_job(config))),
                "read_at": Out(range(2 * PAYLOAD_MAX)),
                "read_data": In(8),
            }
            | {name: Out(stream.Signature(feeder_beat(bits))) for name, bits in config.streams}
        )

    def elaborate(self, platform):
        m = Module()
        config = self._config
        sizes = config.beat_bytes
        job = Signal.like(self.job.payload)
        at = Signal(range(PAYLOAD_MAX + 1))
        beat = Signal(8 * max(sizes), reset_less=True)
        lane = Signal(range(max(sizes)))
        lane_last = Signal()
        ready = Signal()
        m.d.comb += self.read_at.eq(Cat(at[:10], job.bank))
        with m.FSM():
            with m.State("Idle"):
                m.d.comb += self.job.ready.eq(1)
                m.d.sync += [job.eq(self.job.payload), at.eq(0), lane.eq(0)]
                with m.If(self.job.valid):
                    m.next = "Read"
            with m.State("Read"):
                m.d.sync += at.eq(at + 1)
                m.next = "Take"
            with m.State("Take"):
                m.d.sync += [beat.word_select(lane, 8).eq(self.read_data), lane.eq(lane + 1)]
                m.next = "Read"
                with m.If(lane_last):
                    m.d.sync += lane.eq(0)
                    m.next = "Give"
            with m.State("Give"):
                with m.If(ready):
                    m.next = "Read"
                    with m.If(at == job.length):
                        m.next = "Idle"
                with m.Switch(job.stream):
                    for i, (name, _) in enumerate(config.streams):
                        with m.Case(i):
                            m.d.comb += getattr(self, name).valid.eq(1)
        with m.Switch(job.stream):
            for i, (name, bits) in enumerate(config.streams):
                port = getattr(self, name)
                m.d.comb += [
                    port.payload.data.eq(beat[:bits]),
                    port.payload.last.eq(job.last & (at == job.length)),
                ]
                with m.Case(i):
                    m.d.comb += [lane_last.eq(lane == sizes[i] - 1), ready.eq(port.ready)]
        return m


class ResultCollector(Component):
    """Keeps results as bytes, in segments that end with a packet or when they are full.

    A beat is the numbers, low byte first, then its ``keep`` bits padded to whole bytes. The oldest
    finished segment can be read, any number of times, until it is released.

    Parameters
    ----------
    config : HostConfig
        See there for ranges.

    Members
    -------
    results : In(stream.Signature(host_result(config)))
        Results; they wait while all segments are full.
    finished : Out(range(5))
        Finished segments.
    length : Out(range(513))
        Bytes of the oldest.
    last : Out(1)
        Whether the oldest ends a packet.
    read_at : In(range(512))
        Byte to read of the oldest.
    read_data : Out(8)
        That byte, a cycle later.
    release : In(1)
        Drop the oldest.

    Latency
        A segment is finished 2 cycles after its last byte was written.
    Throughput
        One byte a cycle, 1 cycle more per beat and per segment.
    Reference
        None.
    """

    results: stream.Interface
    finished: Signal
    length: Signal
    last: Signal
    read_at: Signal
    read_data: Signal
    release: Signal

    def __init__(self, config: HostConfig):
        self._config = config
        super().__init__(
            {
                "results": In(stream.Signature(host_result(config))),
                "finished": Out(range(SEGMENTS + 1)),
                "length": Out(range(RESULT_MAX + 1)),
                "last": Out(1),
                "read_at": In(range(RESULT_MAX)),
                "read_data": Out(8),
                "release": In(1),
            }
        )

    def elaborate(self, platform):
        m = Module()
        config = self._config
        m.submodules.store = store = memory.Memory(shape=8, depth=SEGMENTS * RESULT_MAX, init=[])
        write = store.write_port()
        read = store.read_port()
        size = config.result_bytes
        beat = Signal(8 * size, reset_less=True)
        last = Signal()
        lane = Signal(range(size))
        layout = data.StructLayout({"length": range(RESULT_MAX + 1), "last": 1})
        segments = [Signal(layout, name=f"segment_{i}") for i in range(SEGMENTS)]
        filling = Signal(range(SEGMENTS))
        oldest = Signal(range(SEGMENTS))
        fill = Signal(range(RESULT_MAX + 1))
        finish = Signal()
        ends_packet = Signal()
        room = Signal()
        m.d.comb += [
            room.eq(self.finished < SEGMENTS - 1),
            write.addr.eq(Cat(fill[:-1], filling)),
            write.data.eq(beat[:8]),
            read.addr.eq(Cat(self.read_at, oldest)),
            self.read_data.eq(read.data),
        ]
        with m.FSM():
            with m.State("Idle"):
                m.d.comb += self.results.ready.eq(1)
                payload = self.results.payload
                m.d.sync += [
                    beat.eq(Cat(payload.data.as_value(), payload.keep)),
                    last.eq(payload.last),
                    lane.eq(0),
                ]
                with m.If(self.results.valid):
                    m.next = "Write"
            with m.State("Write"):
                with m.If(fill == RESULT_MAX):
                    m.d.comb += finish.eq(room)
                with m.Else():
                    m.d.comb += write.en.eq(1)
                    m.d.sync += [fill.eq(fill + 1), beat.eq(beat >> 8), lane.eq(lane + 1)]
                    with m.If(lane == size - 1):
                        m.next = "Idle"
                        with m.If(last):
                            m.next = "Finish"
            with m.State("Finish"):
                m.d.comb += [finish.eq(room), ends_packet.eq(1)]
                with m.If(room):
                    m.next = "Idle"
        with m.If(finish):
            m.d.sync += [filling.eq(filling + 1), fill.eq(0)]
            with m.Switch(filling):
                for i, segment in enumerate(segments):
                    with m.Case(i):
                        m.d.sync += [segment.length.eq(fill), segment.last.eq(ends_packet)]
        m.d.sync += self.finished.eq(self.finished + finish - self.release)
        with m.If(self.release):
            m.d.sync += oldest.eq(oldest + 1)
        with m.Switch(oldest):
            for i, segment in enumerate(segments):
                with m.Case(i):
                    m.d.comb += [self.length.eq(segment.length), self.last.eq(segment.last)]
        return m
