"""Which parameter word of a chain is for whom."""

from amaranth.hdl import Cat, Module, Signal
from amaranth.lib import stream
from amaranth.lib.wiring import In, Out

from ..lib.component import Component
from .chain_config import ChainConfig

__all__ = ["ChainLoader"]


class ChainLoader(Component):
    """Hands the parameter words of all layers on, one after the other, and says what each is.

    Parameters
    ----------
    config : ChainConfig
        See there.

    Members
    -------
    i : In(stream.Signature(word_bits))
        Parameter words: of each layer its settings, its channels and its cells.
    enable : In(1)
        Words may come.
    done : Out(1)
        The last word of all comes.
    word : Out(word_bits)
        The word, a cycle later.
    settings : Out(len(layers))
        It is the settings of this layer.
    channel : Out(len(layers))
        It is one of its channels.
    cell : Out(len(layers))
        It is one of its cells.
    row : Out(len(layers))
        And the last one of a row.

    Latency
        A cycle.
    Throughput
        One word a cycle.
    Numerics
        None.
    Reference
        None.
    """

    i: stream.Interface
    enable: Signal
    done: Signal
    word: Signal
    settings: Signal
    channel: Signal
    cell: Signal
    row: Signal

    def __init__(self, config: ChainConfig):
        self._parts = [part for layer in config.layers for part in layer.parts]
        layers = len(config.layers)
        super().__init__(
            {
                "i": In(stream.Signature(config.word_bits)),
                "enable": In(1),
                "done": Out(1),
                "word": Out(config.word_bits),
                "settings": Out(layers),
                "channel": Out(layers),
                "cell": Out(layers),
                "row": Out(layers),
            }
        )

    def elaborate(self, platform):
        m = Module()
        taken = Signal()
        last_word = Signal()
        last_row = Signal()
        part = Signal(len(self._parts), init=1)
        word = Signal(range(max(words for words, _ in self._parts)))
        row = Signal(range(max(rows for _, rows in self._parts)))
        m.d.comb += [
            self.i.ready.eq(self.enable),
            taken.eq(self.i.valid & self.enable),
            last_word.eq(self._at(part, word, [words for words, _ in self._parts])),
            last_row.eq(self._at(part, row, [rows for _, rows in self._parts])),
            self.done.eq(taken & part[-1] & last_word & last_row),
        ]
        with m.If(taken):
            m.d.sync += word.eq(word + 1)
            with m.If(last_word):
                m.d.sync += [word.eq(0), row.eq(row + 1)]
                with m.If(last_row):
                    m.d.sync += [row.eq(0), part.eq(part.rotate_left(1))]
        m.d.sync += self.word.eq(self.i.payload)
        for first, strobes in enumerate((self.settings, self.channel, self.cell)):
            m.d.sync += strobes.eq(part[first::3] & taken.replicate(len(strobes)))
        cells = part[2::3]
        m.d.sync += self.row.eq(cells & (taken & last_word).replicate(len(cells)))
        return m

    @staticmethod
    def _at(part, count, counts):
        """Return whether ``count`` is at the last of those of the part."""
        return Cat(here & (count == n - 1) for here, n in zip(part, counts, strict=True)).any()
