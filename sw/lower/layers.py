"""Layers as matrix products of the engine: how the sum of each runs over its input."""

from dataclasses import dataclass, field

import numpy as np
from numpy.typing import NDArray

from ...hw.engine.config import DEPTHS, DatapathConfig, EngineConfig
from ..model.integer_graph import QuantisedGraph, QuantisedLayer
from .parts import parts

__all__ = [
    "LoweredLayer",
    "MappingError",
    "Pads",
    "check_layer",
    "k_tiles",
    "lower_layer",
    "remedy",
    "stored_pads",
]

Integers = NDArray[np.int64]
Pads = tuple[int, int, int, int]
"""Border of a tensor: top, left, bottom, right."""


class MappingError(ValueError):
    """A network that does not fit the engine; the message names the layer and what to enlarge."""


@dataclass
class LoweredLayer:
    """One layer's fixed GEMM fields and where its weights and parameters are.

    ``part`` is not 0 where each kernel position has few channels with weights, none of them more
    than so many apart: a K tile is one position's, and starts ``further`` channels after the one
    of the position before.
    """

    layer: QuantisedLayer
    inputs: tuple[str, ...]
    order: Integers
    kernel_rows: int
    run: int
    stride: tuple[int, int]
    unfolded: bool = False
    part: int = 0
    further: int = 0
    groups: list[tuple[int, int]] = field(default_factory=list)
    w_base: int = 0
    p_base: int = 0

    def k_chunks(self, d: DatapathConfig) -> int:
        """K tiles per kernel row."""
        return -(-self.run // self.step(d))

    def step(self, d: DatapathConfig) -> int:
        """Entries of K in a K tile."""
        return self.part or d.tile_k(self.layer.mode)

    def k_tiles(self, d: DatapathConfig) -> Integers:
        """Return which of the layer's K each lane of each K tile holds, -1 for padding."""
        step, chunks = self.step(d), self.k_chunks(d)
        rows = np.full((self.kernel_rows, chunks * step), -1)
        rows[:, : self.run] = self.order.reshape(self.kernel_rows, self.run)
        tiles = np.full((self.kernel_rows * chunks, d.act_lanes), -1)
        tiles[:, :step] = rows.reshape(-1, step)
        return tiles


def k_tiles(config: EngineConfig, graph: QuantisedGraph) -> list[Integers]:
    """Return for each layer [tiles, act_lanes] which K each lane of a K tile holds, or -1."""
    pads = stored_pads(graph)
    layers = (lower_layer(config, graph, layer, pads) for layer in graph.engine_layers)
    return [item.k_tiles(config.datapath) for item in layers]


def stored_pads(graph: QuantisedGraph) -> dict[str, Pads]:
    """Return the border of each tensor: what its users need, the same for tensors that add."""
    pads: dict[str, Pads] = {}
    for _ in graph.engine_layers:
        before = dict(pads)
        for layer in graph.engine_layers:
            known = [pads.get(name, (0, 0, 0, 0)) for name in layer.inputs]
            widest = tuple(max(sides) for sides in zip(*known, layer.pads, strict=True))
            pads |= dict.fromkeys(layer.inputs, widest)  # type: ignore[arg-type]
        if pads == before:
            break
    return pads


def lower_layer(
    config: EngineConfig, graph: QuantisedGraph, layer: QuantisedLayer, pads: dict[str, Pads]
) -> LoweredLayer:
    """Choose how a layer's K runs over its input."""
    lanes = config.datapath.tile_k(layer.mode)
    kh, kw = layer.kernel
    c = layer.input_shape[2]
    order = np.arange(layer.k)
    users = [other for other in graph.engine_layers if graph.input in other.inputs]
    if len(layer.inputs) == 2:
        return LoweredLayer(layer, layer.inputs, order, 2, c, layer.stride)
    further, part, channels = parts(layer)
    if part <= lanes and kw < -(-kw * c // lanes):
        return LoweredLayer(
            layer, layer.inputs, channels, kh, kw * part, layer.stride, part=part, further=further
        )
    _, left, _, right = pads[layer.inputs[0]]
    if kw == layer.input_shape[1] + left + right:
        # Full rows are contiguous: the whole kernel is one run.
        return LoweredLayer(layer, layer.inputs, order, 1, kh * kw * c, layer.stride)
    unfolded = -(-kh * kw * c // lanes)
    if layer.inputs[0] == graph.input and len(users) == 1 and unfolded < kh * -(-kw * c // lanes):
        order = order.reshape(kh, kw, c).transpose(1, 0, 2).reshape(-1)
        stride = (1, layer.stride[1])
        return LoweredLayer(layer, layer.inputs, order, 1, kh * kw * c, stride, unfolded=True)
    return LoweredLayer(layer, layer.inputs, order, kh, kw * c, layer.stride)


def check_layer(config: EngineConfig, item: LoweredLayer) -> None:
    """Raise `MappingError` where a layer does not fit the engine's buffers or sums."""
    layer, d = item.layer, config.datapath
    products = np.count_nonzero(item.order >= 0)
    if products > d.k_max:
        raise MappingError(
            f"layer {layer.name!r} sums {products} products, more than k_max={d.k_max}; "
            "enlarge k_max"
        )
    if layer.pool > config.tile_rows_max:
        fixed = d.max_tile_rows is not None and layer.pool > d.max_tile_rows
        raise MappingError(
            f"layer {layer.name!r} pools {layer.pool} values, more than the "
            f"{config.tile_rows_max} rows of an output tile; "
            + ("take smaller pools" if fixed else remedy("acc_depth", layer.pool, "smaller pools"))
        )
    per_tile = item.kernel_rows * item.k_chunks(d) * d.weight_beats
    if per_tile > config.weight_depth:
        raise MappingError(
            f"layer {layer.name!r} needs {per_tile} weight beats for one tile of channels, more "
            f"than weight_depth={config.weight_depth}; "
            + remedy("weight_depth", per_tile, "fewer input channels or smaller kernels")
        )
    n_tiles = -(-layer.n // d.cols)
    if n_tiles * config.groups > config.param_depth:
        raise MappingError(
            f"layer {layer.name!r} needs {n_tiles * config.groups} parameter rows, more than "
            f"param_depth={config.param_depth}; "
            + remedy("param_depth", n_tiles * config.groups, "fewer channels")
        )


def remedy(field: str, needed: int, instead: str) -> str:
    """Return what to do where a buffer must hold ``needed`` words."""
    most = DEPTHS[field][1]
    if needed <= most:
        return f"enlarge {field} to {needed}"
    return f"{field} goes up to {most}, so take {instead}"
