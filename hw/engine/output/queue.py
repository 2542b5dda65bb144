"""The queue of results, which holds no bits that repeat a sign."""

from amaranth.hdl import Cat, Module, Mux, Signal
from amaranth.lib import data, memory, stream
from amaranth.lib.wiring import In, Out

from ...lib.component import Component
from ..config import EngineConfig
from .layouts import result_beat

__all__ = ["PLACES", "RAW_PLACES", "ResultQueue", "queued_group"]

PLACES = 32
"""Places for results: more than there are stages behind the issue of a row."""
RAW_PLACES = 16
"""Places for raw results, which take fewer stages."""


def queued_group(config: EngineConfig) -> data.StructLayout:
    """A group of results: ``low`` all of a requantised one, ``high`` what a raw one has beyond."""
    lanes, low = config.drain_lanes, config.datapath.x_bits
    return data.StructLayout(
        {
            "low": data.ArrayLayout(low, lanes),
            "high": data.ArrayLayout(config.acc_width + 1 - low, lanes),
            "keep": lanes,
            "last": 1,
            "raw": 1,
        }
    )


class ResultQueue(Component):
    """First in, first out; the writer counts what is under way and so never finds it full.

    Raw results are wide and few are under way; so their upper bits have a memory of half the depth.

    Parameters
    ----------
    config : EngineConfig
        See there for ranges.

    Members
    -------
    write : In(1)
        Takes ``group``; never while ``level`` is `PLACES`, raw while it is `RAW_PLACES`.
    group : In(queued_group(config))
        Results to queue.
    level : Out(range(PLACES + 1))
        Groups queued.
    y : Out(stream.Signature(result_beat(config)))
        The results.

    Latency
        A group is seen in the cycle after it was written.
    Throughput
        One write and one read a cycle.
    """

    write: Signal
    group: data.View
    level: Signal
    y: stream.Interface

    def __init__(self, config: EngineConfig):
        self._config = config
        super().__init__(
            {
                "write": In(1),
                "group": In(queued_group(config)),
                "level": Out(range(PLACES + 1)),
                "y": Out(stream.Signature(result_beat(config))),
            }
        )

    def elaborate(self, platform):
        m = Module()
        config, y = self._config, self.y.payload
        group = Signal.like(self.group, name="oldest")
        write_at = Signal(range(PLACES))
        read_at = Signal(range(PLACES))
        taken = self.y.valid & self.y.ready
        others = ("low", "keep", "last", "raw")
        for name, depth, fields in (("all", PLACES, others), ("raw", RAW_PLACES, ("high",))):
            bits = Cat(self.group[field] for field in fields)
            m.submodules[f"memory_{name}"] = words = memory.Memory(
                shape=len(bits), depth=depth, init=[]
            )
            write = words.write_port()
            read = words.read_port(domain="comb")
            # Upper bits stay, until they are read, also where results that have none follow.
            writes = self.write & self.group.raw if name == "raw" else self.write
            m.d.comb += [
                write.en.eq(writes),
                write.addr.eq(write_at[: len(write.addr)]),
                write.data.eq(bits),
                read.addr.eq(read_at[: len(read.addr)]),
                Cat(group[field] for field in fields).eq(read.data),
            ]
        for i in range(config.drain_lanes):
            low, high = group.low[i], group.high[i]
            extension = low[-1] & config.datapath.x_signed
            upper = Mux(group.raw, high, extension.replicate(len(high)))
            m.d.comb += y.data[i].eq(Cat(low, upper).as_signed())
        m.d.comb += [y.keep.eq(group.keep), y.last.eq(group.last)]
        m.d.sync += [write_at.eq(write_at + self.write), read_at.eq(read_at + taken)]
        with m.If(self.write & ~taken):
            m.d.sync += [self.level.eq(self.level + 1), self.y.valid.eq(1)]
        with m.Elif(~self.write & taken):
            m.d.sync += [self.level.eq(self.level - 1), self.y.valid.eq(self.level != 1)]
        return m
