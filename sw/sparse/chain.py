"""Packed networks as chains of arrays: configuration, parameters, and a simulated run."""

from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from ...gen.errors import ToolError
from ...gen.registry import find_unit, load
from ...hw.config import ConfigError
from ...hw.packed.chain_config import OFFSETS, ChainConfig
from ..families.packed_chain import ChainParameters, pack_chain
from ..model.integer_graph import HostLayer, QuantisedGraph, QuantisedLayer
from ..model.operators import Shift
from ..runtime.beats import pack_bits, unpack_bits, words_of
from ..runtime.compiled import compile_component
from .columns import Groups, prune_conflicts, row_order

__all__ = ["Chain", "SimulatedChain", "chain_of"]

Ints = NDArray[np.int64]
Place = tuple[HostLayer | None, QuantisedLayer]
"""A 1 x 1 convolution and the shift before it."""


@dataclass(frozen=True, kw_only=True, eq=False)
class Chain:
    """A part of a network as a chain of packed arrays.

    Attributes
    ----------
    config : ChainConfig
        What the hardware is generated from.
    layers : tuple of ChainParameters
        What is loaded into it.
    inputs : array
        The channels of `source` that the chain takes, in its order.
    source, output : str
        Arrays of the network that it takes and makes.
    """

    config: ChainConfig
    layers: tuple[ChainParameters, ...]
    inputs: Ints
    source: str
    output: str

    def pixels(self, images: Ints) -> Ints:
        """Return images [n, rows, columns, channels] as the vectors that the chain takes."""
        return np.asarray(images, np.int64)[..., self.inputs].reshape(-1, len(self.inputs))

    def images(self, results: Ints) -> Ints:
        """Return the vectors that the chain gives as images."""
        c = self.config
        return np.asarray(results).reshape(-1, c.height, c.width, c.outputs)


def chain_of(
    network: QuantisedGraph,
    groups: Mapping[str, Groups],
    first: str,
    last: str,
    *,
    pe: str = "dsp",
    fabric: str = "portable",
) -> Chain:
    """Return the chain of a network's 1 x 1 convolutions from ``first`` to ``last``, with shifts.

    Each layer emits its channels in the order of the next layer's groups, and those of no group
    not at all. Layers without groups have packed columns of one channel.

    Raises
    ------
    ConfigError
        Something else lies between, or a layer has weights that its groups do not keep.
    """
    path = _path(network, first, last)
    found = [groups.get(conv.name, np.arange(conv.k)) for _, conv in path]
    for (_, conv), of in zip(path, found, strict=True):
        lost = np.count_nonzero(conv.weights != prune_conflicts(conv.weights, of))
        if lost:
            raise ConfigError(
                f"{conv.name} must have one weight per group and output; {lost} more would be lost"
            )
    orders = [row_order(of)[: np.count_nonzero(of >= 0)] for of in found]
    emitted = [*orders[1:], np.arange(path[-1][1].n)]
    layers = tuple(map(_parameters, path, orders, emitted))
    shifts = any(shift for shift, _ in path)
    codes = tuple(map(_codes, path, orders)) if shifts else ()
    source = (path[0][0] or path[0][1]).inputs[0]
    height, width = network.tensors[source].shape[:2]
    ends = [end for layer in layers for end in (layer.bias.min(), ~layer.bias.max())]
    config = ChainConfig(
        sizes=tuple(tuple(np.bincount(of[of >= 0]).tolist()) for of in found),
        outputs=len(emitted[-1]), codes=codes, height=height, width=width,
        x_bits=network.formats.x_bits, x_signed=network.formats.x_signed,
        w_bits=network.formats.w_bits, pe=pe, rounding=network.formats.rounding, fabric=fabric,
        bias_bits=max(8, int(-min(ends) - 1).bit_length() + 1),
    )  # fmt: skip
    return Chain(
        config=config, layers=layers, inputs=orders[0], source=source, output=path[-1][1].output
    )


def _path(network: QuantisedGraph, first: str, last: str) -> list[Place]:
    """Return the convolutions from one to another, each with the shift before it."""
    makers = {layer.output: layer for layer in network.layers}
    layer = next((layer for layer in network.layers if layer.name == last), None)
    path: list[Place] = []
    while isinstance(layer, QuantisedLayer) and layer.kernel == (1, 1) and layer.pool == 1:
        if layer.stride != (1, 1) or any(layer.pads) or layer.raw:
            break
        before = makers.get(layer.inputs[0])
        shift = before if isinstance(before, HostLayer) and _only_shifts(network, before) else None
        path.insert(0, (shift, layer))
        if layer.name == first:
            return path
        layer = makers.get((shift or layer).inputs[0])
    name = layer.name if layer else "the input"
    raise ConfigError(
        f"{last} must come from {first} by shifts and 1 x 1 convolutions alone, not by {name}"
    )


def _only_shifts(network: QuantisedGraph, layer: HostLayer) -> bool:
    """Return whether a layer moves channels and does nothing else, no bounds for one."""
    source = network.tensors[layer.inputs[0]]
    return isinstance(layer.node, Shift) and (layer.low, layer.high) == (source.low, source.high)


def _codes(place: Place, order: Ints) -> tuple[int, ...]:
    shift, _ = place
    if shift is None:
        return ()
    assert isinstance(shift.node, Shift)
    offsets = [tuple(shift.node.offsets[channel].tolist()) for channel in order]
    if far := set(offsets) - set(OFFSETS):
        raise ConfigError(f"{shift.name} must shift by one pixel at most, not by {min(far)}")
    return tuple(map(OFFSETS.index, offsets))


def _parameters(place: Place, order: Ints, emitted: Ints) -> ChainParameters:
    _, conv = place
    return ChainParameters(
        weights=conv.weights[np.ix_(order, emitted)], bias=conv.bias[emitted],
        mult=conv.mult[emitted], shift=conv.shift[emitted],
        zero_point=conv.zero_point, low=conv.low, high=conv.high, border=conv.pad_value,
    )  # fmt: skip


class SimulatedChain:
    """A chain as compiled RTL, its parameters loaded; inputs never starve, outputs never wait.

    Raises
    ------
    ToolError
        There is no C++ compiler or no Verilator.
    """

    def __init__(self, chain: Chain):
        self._chain = chain
        component = load(find_unit("packed_chain").component)
        self._unit = compile_component(component, chain.config, "packed_chain")
        self._load()

    def _load(self) -> None:
        words = pack_chain(self._chain.config, self._chain.layers)
        self._unit.offer("s_axis_params", {"data": words_of(words, self._chain.config.word_bits)})
        self._run("s_axis_params", len(words))
        self._is_amid = False

    def run(self, images: Ints) -> tuple[Ints, int]:
        """Return the results of images, and the cycles from their first vector to the last result.

        A run that failed or was interrupted has no effect on the next one.

        Raises
        ------
        ToolError
            The unit stopped before.
        """
        chain, config = self._chain, self._chain.config
        pixels = chain.pixels(images)
        if self._is_amid:
            self._unit = self._unit.another()
            self._load()
        self._is_amid = True
        self._unit.forget()
        self._unit.offer("s_axis_acts", {"data": pack_bits(pixels, config.x_bits)})
        self._run("m_axis_results", len(pixels))
        self._is_amid = False
        seen, taken = self._unit.seen("m_axis_results"), self._unit.seen("s_axis_acts")
        values = unpack_bits(
            seen.beats["data"], config.x_bits, config.outputs, signed=config.x_signed
        )
        return chain.images(values), int(seen.cycles[-1] - taken.cycles[0]) + 1

    def _run(self, stream: str, count: int) -> None:
        quiet = 2 * (self._chain.config.latency + self._chain.config.credits)
        if not self._unit.run(stream, count, quiet=quiet):
            raise ToolError("the simulated chain stopped before all results were out")
