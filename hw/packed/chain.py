"""A chain of column-combining arrays, one for each layer of a network."""

from amaranth.hdl import Cat, Module, Mux, Shape, Signal
from amaranth.lib import data, stream, wiring
from amaranth.lib.wiring import In, Out

from ..engine.credit_fifo import CreditFifo
from ..engine.queue import BlockQueue
from ..lib.component import Component
from .chain_config import ChainConfig
from .chain_layer import ChainLayer
from .chain_loader import ChainLoader

__all__ = ["PackedChain", "chain_pixel", "chain_result"]


def chain_pixel(config: ChainConfig) -> data.StructLayout:
    """One vector of activations: the channels of a pixel, in the order of the first layer."""
    element = Shape(config.x_bits, config.x_signed)
    return data.StructLayout({"data": data.ArrayLayout(element, config.inputs)})


def chain_result(config: ChainConfig) -> data.StructLayout:
    """The channels of a pixel that the last layer emits, and whether it ends an image."""
    element = Shape(config.x_bits, config.x_signed)
    return data.StructLayout({"data": data.ArrayLayout(element, config.outputs), "end": 1})


class PackedChain(Component):
    """Chain of column-combining arrays: every layer of a network of 1 x 1 or shift convolutions.

    An array for each layer holds all of the layer's weights. A layer begins when the one before it
    emits its first pixel, so that the latency is the sum of what the layers take to fill.

    After reset, and whenever words are offered between two images, the parameters of all layers
    are loaded; an image that has begun is finished first. Inside nothing waits: a vector is taken
    where the queue of results has a place for it.

    Parameters
    ----------
    config : ChainConfig
        See there for ranges.

    Members
    -------
    params : In(stream.Signature(word_bits))
        Parameter words: of each layer its settings, its output channels from 0 on, and its cells,
        the last packed column first, each from output 0 on; see `chain_words`.
    acts : In(stream.Signature(chain_pixel(config)))
        Pixels of images, row by row; packed column by packed column of the first layer.
    results : Out(stream.Signature(chain_result(config)))
        Pixels in the same order, ``end`` on the last one of an image.

    Latency
        ``config.latency`` cycles from a vector to its result; `ChainTiming` says it for any gaps.
    Throughput
        One vector a cycle.
    Numerics
        Sums are exact; as `RequantiseLane` after each layer. Outside of an image there is
        ``border``, which is the zero of the layer's input.
    Cost
        A cell per packed weight, a requantiser per channel, and for a shift up to two lines of its
        channels.
    Reference
        Kung, McDanel, Zhang, Packing Sparse Convolutional Neural Networks for Efficient Systolic
        Array Implementations: Column Combining Under Joint Optimization, ASPLOS 2019.
    """

    params: stream.Interface
    acts: stream.Interface
    results: stream.Interface

    def __init__(self, config: ChainConfig):
        self._config = config
        super().__init__(
            {
                "params": In(stream.Signature(config.word_bits)),
                "acts": In(stream.Signature(chain_pixel(config))),
                "results": Out(stream.Signature(chain_result(config))),
            }
        )

    def elaborate(self, platform):
        m = Module()
        config = self._config
        m.submodules.loader = loader = ChainLoader(config)
        wiring.connect(m, wiring.flipped(self.params), loader.i)
        m.submodules.outlet = outlet = CreditFifo(chain_result(config), config.credits, BlockQueue)
        wiring.connect(m, outlet.o, wiring.flipped(self.results))
        taken = Signal()
        m.d.comb += [taken.eq(self.acts.valid & self.acts.ready), outlet.start.eq(taken)]
        self._control(m, loader, outlet, taken)

        valid = Signal()
        values = Signal(len(self.acts.payload.as_value()), reset_less=True)
        m.d.sync += [valid.eq(taken), values.eq(self.acts.payload)]
        for i, layer_config in enumerate(config.layers):
            m.submodules[f"layer_{i}"] = layer = ChainLayer(layer_config)
            m.d.comb += [
                layer.word.eq(loader.word),
                layer.settings.eq(loader.settings[i]),
                layer.channel.eq(loader.channel[i]),
                layer.cell.eq(loader.cell[i]),
                layer.row.eq(loader.row[i]),
                layer.i_valid.eq(valid),
                layer.i_data.eq(values),
            ]
            valid, values = layer.o_valid, layer.o_data

        _, last = self._count(m, valid, "result")
        m.d.comb += [outlet.write.eq(valid), outlet.data.as_value().eq(Cat(values, last))]
        return m

    def _control(self, m: Module, loader: ChainLoader, outlet: CreditFifo, taken: Signal) -> None:
        """Say when words and when vectors may come."""
        loading = Signal(init=1)
        running = Signal()
        first, last = self._count(m, taken, "pixel")
        m.d.comb += [loader.enable.eq(loading), self.acts.ready.eq(running & outlet.room)]
        with m.If(loading):
            m.d.sync += [loading.eq(~loader.done), running.eq(loader.done)]
        with m.Elif(running):
            m.d.sync += running.eq(~(self.params.valid & Mux(taken, last, first)))
        with m.Else():
            m.d.sync += loading.eq(outlet.free == self._config.credits)

    def _count(self, m: Module, moves: Signal, name: str) -> tuple[Signal, Signal]:
        """Count the pixels of an image; return whether the next one is its first, or its last."""
        pixels = self._config.pixels
        count = Signal(range(pixels), name=f"{name}_count")
        first, last = Signal(name=f"{name}_first"), Signal(name=f"{name}_last")
        m.d.comb += [first.eq(count == 0), last.eq(count == pixels - 1)]
        with m.If(moves):
            m.d.sync += count.eq(Mux(last, 0, count + 1))
        return first, last
