"""Loaders: packets of a data stream, or a constant, into a buffer."""

from dataclasses import dataclass

from amaranth.hdl import Module, Signal
from amaranth.lib import data, stream
from amaranth.lib.wiring import In, Out

from ..arith.counts import NextCount
from ..lib.component import Component
from .config import EngineConfig

__all__ = ["Loader", "LoaderConfig", "data_beat", "load_layout", "loader_configs"]


@dataclass(frozen=True, kw_only=True)
class LoaderConfig:
    """Parameters of a `Loader`.

    Attributes
    ----------
    depth : int
        Words of the buffer.
    width : int
        Bits per word.
    fill_width : int
        Bits per element of a fill, 0 where there is none.
    fabric : str
        ``"portable"`` or ``"ecp5"``.
    """

    depth: int
    width: int
    fill_width: int = 0
    fabric: str = "portable"


def loader_configs(config: EngineConfig) -> dict[str, LoaderConfig]:
    """Return the loaders of an engine, by their command."""
    d = config.datapath
    return {
        "LOAD_X": LoaderConfig(
            depth=config.act_depth, width=d.x_bits * d.act_lanes, fill_width=d.x_bits,
            fabric=d.fabric,
        ),
        "LOAD_W": LoaderConfig(
            depth=config.weight_depth, width=d.weight_beat_bits, fabric=d.fabric
        ),
    }  # fmt: skip


def load_layout(config: LoaderConfig) -> data.StructLayout:
    """Return what a loader gets of its command; ``count_once`` says that the count is 1."""
    bits = config.depth.bit_length()
    fields = {"base": bits, "count": bits, "count_once": 1}
    fill = {"fill": 1, "value": config.fill_width} if config.fill_width else {}
    return data.StructLayout(fields | fill)


def data_beat(width: int) -> data.StructLayout:
    """One word of a data stream; ``last`` ends a packet."""
    return data.StructLayout({"data": width, "last": 1})


class Loader(Component):
    """Writes one packet per command to consecutive words of a buffer, or fills them.

    A packet shorter or longer than its command raises ``mismatch``; the words that came are
    written, the surplus is discarded, and the next command starts with the next packet.

    Parameters
    ----------
    config : LoaderConfig
        See there.

    Members
    -------
    cmd : In(stream.Signature(load_layout(config)))
        Commands.
    beats : In(stream.Signature(data_beat(config.width)))
        Words.
    write_ready : In(1)
        The buffer takes a word in this cycle.
    write : Out(1)
        Write strobe.
    write_at : Out(range(config.depth))
        Word address.
    write_data : Out(config.width)
        Word.
    fill : Out(1)
        All elements of the word are ``value`` instead.
    value : Out(config.fill_width)
        See there.
    done : Out(1)
        Pulses when a command has ended.
    mismatch : Out(1)
        Pulses when a packet's length differs from its command's count.
    starved : Out(1)
        A command waits for the stream.

    Latency
        A command taken in cycle t accepts its first word in cycle t + 1.
    Throughput
        One word a cycle; one cycle between commands.
    """

    cmd: stream.Interface
    beats: stream.Interface
    write_ready: Signal
    write: Signal
    write_at: Signal
    write_data: Signal
    fill: Signal
    value: Signal
    done: Signal
    mismatch: Signal
    starved: Signal

    def __init__(self, config: LoaderConfig):
        self._config = config
        super().__init__(
            {
                "cmd": In(stream.Signature(load_layout(config))),
                "beats": In(stream.Signature(data_beat(config.width))),
                "write_ready": In(1),
                "write": Out(1),
                "write_at": Out(range(config.depth)),
                "write_data": Out(config.width),
                "fill": Out(1),
                "value": Out(config.fill_width),
                "done": Out(1),
                "mismatch": Out(1),
                "starved": Out(1),
            }
        )

    def elaborate(self, platform):
        m = Module()
        config = self._config
        command = self.cmd.payload
        count = Signal(config.depth.bit_length(), reset_less=True)
        # One word ahead, so that a register says whether a word is the last.
        following = Signal.like(count, name="following", reset_less=True)
        at_last = Signal(reset_less=True)
        at = Signal.like(self.write_at, name="at", reset_less=True)
        m.submodules.next_at = next_at = NextCount(len(at), config.fabric)
        m.d.comb += [
            self.write_at.eq(at),
            self.write_data.eq(self.beats.payload.data),
            next_at.count.eq(at),
            next_at.loaded.eq(command.base),
            next_at.load.eq(self.cmd.ready),
        ]
        filling = Signal()
        if config.fill_width:
            value = Signal(config.fill_width, reset_less=True)
            with m.If(self.cmd.ready):
                m.d.sync += [filling.eq(command.fill), value.eq(command.value)]
            m.d.comb += [self.fill.eq(filling), self.value.eq(value)]
        # Flags are registered here: they may have a long way to go.
        m.d.sync += [self.starved.eq(0), self.mismatch.eq(0)]
        with m.FSM():
            with m.State("Idle"):
                m.d.comb += self.cmd.ready.eq(1)
                m.d.sync += [
                    at.eq(next_at.following),
                    count.eq(command.count),
                    following.eq(2),
                    at_last.eq(command.count_once),
                ]
                with m.If(self.cmd.valid):
                    m.next = "Write"
            with m.State("Write"):
                m.d.comb += self.beats.ready.eq(self.write_ready & ~filling)
                m.d.sync += self.starved.eq(self.beats.ready & ~self.beats.valid)
                last = self.beats.payload.last & ~filling
                with m.If(self.write_ready & (filling | self.beats.valid)):
                    m.d.comb += self.write.eq(1)
                    m.d.sync += [
                        at.eq(next_at.following),
                        following.eq(following + 1),
                        at_last.eq(following == count),
                    ]
                    with m.If(at_last | last):
                        m.d.comb += self.done.eq(1)
                        m.next = "Idle"
                    with m.If(~filling & (at_last != last)):
                        m.d.sync += self.mismatch.eq(1)
                        with m.If(~last):
                            m.d.comb += self.done.eq(0)
                            m.next = "Discard"
            with m.State("Discard"):
                m.d.comb += self.beats.ready.eq(1)
                with m.If(self.beats.valid & self.beats.payload.last):
                    m.d.comb += self.done.eq(1)
                    m.next = "Idle"
        return m
