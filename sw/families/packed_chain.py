"""Parameters of a chain of packed arrays, and the words in which they are loaded."""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from ...hw.config import ConfigError, ModeField
from ...hw.packed.chain_config import ChainConfig, ChainLayerConfig

__all__ = ["ChainParameters", "pack_chain"]

Ints = NDArray[np.int64]


@dataclass(frozen=True, kw_only=True, eq=False)
class ChainParameters:
    """What a layer of a chain computes with.

    Attributes
    ----------
    weights : array [K, N]
        Channels in the order of the packed columns. Of each packed column and output only the
        largest magnitude is used, of equal ones the first channel's.
    bias, mult, shift : array [N]
        Of each output channel, see `RequantiseLane`.
    zero_point, low, high : int
        Added after rounding, and the clamps, which are also the activation function.
    border : int
        What a shift brings in from outside of an image: the zero of the layer's input.
    """

    weights: Ints
    bias: Ints
    mult: Ints
    shift: Ints
    zero_point: int
    low: int
    high: int
    border: int = 0


def pack_chain(config: ChainConfig, layers: Sequence[ChainParameters]) -> list[int]:
    """Return the parameter words of a chain: of each layer settings, channels and cells.

    Raises
    ------
    ConfigError
        A shape or a number does not fit the chain.
    """
    if len(layers) != len(config.sizes):
        raise ConfigError(f"layers must be {len(config.sizes)}, not {len(layers)}")
    return [
        word
        for layer, given in zip(config.layers, layers, strict=True)
        for word in _words(layer, given)
    ]


def _words(layer: ChainLayerConfig, given: ChainParameters) -> Iterator[int]:
    array = layer.array
    shape = (array.act_lanes, array.cols)
    if np.shape(given.weights) != shape:
        raise ConfigError(f"weights must have the shape {shape}, not {np.shape(given.weights)}")
    low, high = layer.lane.out_range
    if not low <= given.low <= given.high <= high:
        told = f"low and high must rise within {low} to {high}, not"
        raise ConfigError(f"{told} {given.low} and {given.high}")
    yield _word(
        layer.settings_fields, (given.zero_point, given.low, given.high, given.border),
        {"zero_point": True, "lo": True, "hi": True, "border": array.x_signed},
    )  # fmt: skip
    for channel in zip(given.bias, given.mult, given.shift, strict=True):
        yield _word(layer.channel_fields, channel, {"bias": True})
    edges = np.cumsum([0, *array.sizes])
    for first, last in reversed(list(zip(edges, edges[1:], strict=False))):
        group = np.asarray(given.weights, np.int64)[first:last]
        places = np.abs(group).argmax(axis=0)
        for column, place in enumerate(places):
            cell = (group[place, column], place)
            yield _word(layer.cell_fields, cell, {"weight": array.w_signed})


def _word(fields: tuple[ModeField, ...], values: tuple, signed: dict[str, bool]) -> int:
    word = 0
    for field, value in zip(fields, map(int, values), strict=True):
        low = -(1 << field.width - 1) if signed.get(field.name) else 0
        if not low <= value < low + (1 << field.width):
            top = low + (1 << field.width) - 1
            raise ConfigError(f"{field.name} must be an integer from {low} to {top}, not {value}")
        word |= (value & (1 << field.width) - 1) << field.lsb
    return word
