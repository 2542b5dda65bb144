"""Loaders: packets of a data stream, or a constant, into a buffer."""

from dataclasses import dataclass

from amaranth.hdl import Cat, Module, Mux, Signal
from amaranth.lib import data, stream
from amaranth.lib.wiring import In, Out

from ..lib.component import Component
from .dispatch import command_layout
from .position import field

__all__ = ["Loader", "LoaderConfig", "data_beat"]


@dataclass(frozen=True, kw_only=True)
class LoaderConfig:
    """Parameters of a `Loader`: command it serves, bits per word, bits per element of a fill."""

    command: str
    width: int
    fill_width: int = 0


def data_beat(width: int) -> data.StructLayout:
    """One word of a data stream; ``last`` ends a packet."""
    return data.StructLayout({"data": width, "last": 1})


class Loader(Component):
    """Writes one packet per command to consecutive words of a buffer.

    A packet shorter or longer than its command raises ``mismatch``; the words that came are
    written, the surplus is discarded, and the next command starts with the next packet.

    Parameters
    ----------
    config : LoaderConfig
        See there.

    Members
    -------
    cmd : In(stream.Signature(command_layout(config.command)))
        Commands.
    beats : In(stream.Signature(data_beat(config.width)))
        Words.
    write_ready : In(1)
        The buffer takes a word in this cycle.
    write : Out(1)
        Write strobe.
    write_at : Out(16)
        Word address.
    write_data : Out(config.width)
        Word.
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
    Numerics
        None.
    Reference
        None.
    """

    def __init__(self, config: LoaderConfig):
        self._config = config
        super().__init__(
            {
                "cmd": In(stream.Signature(command_layout(config.command))),
                "beats": In(stream.Signature(data_beat(config.width))),
                "write_ready": In(1),
                "write": Out(1),
                "write_at": Out(16),
                "write_data": Out(config.width),
                "done": Out(1),
                "mismatch": Out(1),
                "starved": Out(1),
            }
        )

    def elaborate(self, platform):
        m = Module()
        config = self._config
        left = Signal(16)
        at = Signal(16)
        filling = Signal()
        value = Signal(max(1, config.fill_width))
        m.d.comb += [
            self.write_at.eq(at),
            self.write_data.eq(
                Mux(filling, Cat(value for _ in range(config.width // config.fill_width)),
                    self.beats.payload.data)
                if config.fill_width else self.beats.payload.data
            ),
        ]
        # Flags are registered here: they may have a long way to go.
        m.d.sync += [self.starved.eq(0), self.mismatch.eq(0)]
        with m.FSM():
            with m.State("Idle"):
                m.d.comb += self.cmd.ready.eq(1)
                words = self.cmd.payload
                m.d.sync += [
                    at.eq(field(words, config.command, "base")),
                    left.eq(field(words, config.command, "count")),
                ]
                if config.fill_width:
                    m.d.sync += [
                        filling.eq(field(words, config.command, "fill")),
                        value.eq(field(words, config.command, "value")),
                    ]
                with m.If(self.cmd.valid):
                    m.next = "Write"
            with m.State("Write"):
                m.d.comb += self.beats.ready.eq(self.write_ready & ~filling)
                m.d.sync += self.starved.eq(self.beats.ready & ~self.beats.valid)
                last = self.beats.payload.last & ~filling
                with m.If(self.write_ready & (filling | self.beats.valid)):
                    m.d.comb += self.write.eq(1)
                    m.d.sync += [at.eq(at + 1), left.eq(left - 1)]
                    with m.If((left == 1) | last):
                        m.d.comb += self.done.eq(1)
                        m.next = "Idle"
                    with m.If(~filling & ((left == 1) != last)):
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
