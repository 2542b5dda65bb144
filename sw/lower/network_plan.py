"""A quantised network as engine commands: all activations of a batch stay in the engine."""

import math
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from ...hw.engine.config import EngineConfig
from ..families.base import family_of
from ..model.integer_graph import HostLayer, QuantisedGraph
from .layers import (
    LoweredLayer,
    MappingError,
    Pads,
    check_layer,
    lower_layer,
    remedy,
    stored_pads,
)
from .program import Program, ProgramBuilder

__all__ = ["NetworkPlan", "plan_network"]

Integers = NDArray[np.int64]


@dataclass
class _Tensor:
    """Where a batch of one activation tensor lives: padded NHWC, images on vector boundaries."""

    shape: tuple[int, int, int]
    pads: tuple[int, int, int, int]
    fill: int
    first: int
    last: int
    vectors: int = 0
    base: int = 0

    @property
    def padded(self) -> tuple[int, int, int]:
        h, w, c = self.shape
        top, left, bottom, right = self.pads
        return h + top + bottom, w + left + right, c


def plan_network(
    config: EngineConfig, graph: QuantisedGraph, *, batch: int | None = None
) -> "NetworkPlan":
    """Plan ``graph`` for batches of up to ``batch`` images (default: as many as fit, at most 64).

    Convolutions run as implicit matrix products: the engine walks over the padded activations, so
    nothing is copied or expanded, and runs of kernel columns and channels fill K tiles without
    gaps. A shift convolution, written as a kernel of which each channel has one position, takes one
    K tile for each position. Only the network's input may be unfolded by the host, its kernel rows
    side by side as channels, where that saves K tiles.

    Raises
    ------
    MappingError
        The formats differ from the engine's, or a layer, its weights or its sums do not fit.
    """
    d = config.datapath
    formats = graph.formats
    for name, ours, theirs in (
        ("x_bits", d.x_bits, formats.x_bits),
        ("x_signed", d.x_signed, formats.x_signed),
        ("w_bits", d.w_bits, formats.w_bits),
        ("w_signed", d.w_signed, True),
        ("rounding", config.rounding, formats.rounding),
        ("acc_width", max(8, config.acc_width), formats.acc_width),
    ):
        if ours != theirs:
            raise MappingError(
                f"the network is quantised for {name}={theirs!r}, the engine has {ours!r}"
            )
    for layer in graph.layers:
        if isinstance(layer, HostLayer):
            raise MappingError(
                f"layer {layer.name!r} ({layer.op}) is quantised for the host, which has no part "
                "here; quantise without layer_by_layer"
            )
    pads = stored_pads(graph)
    layers = [lower_layer(config, graph, layer, pads) for layer in graph.engine_layers]
    for item in layers:
        check_layer(config, item)
    sizes = [batch] if batch else [64, 48, 32, 24, 16, 12, 8, 6, 4, 3, 2, 1]
    vectors = 0
    for size in sizes:
        tensors, vectors = _allocate(config, graph, layers, pads, size)
        if vectors <= config.act_depth:
            return NetworkPlan(config, graph, layers, tensors, size)
    smaller = "fewer images" if sizes[-1] > 1 else "smaller images or longer vectors"
    raise MappingError(
        f"the activations of {sizes[-1]} image(s) need {vectors} vectors and do not fit the "
        f"activation buffer of {config.act_depth} vectors; " + remedy("act_depth", vectors, smaller)
    )


def _allocate(
    config: EngineConfig,
    graph: QuantisedGraph,
    layers: list[LoweredLayer],
    pads: dict[str, Pads],
    batch: int,
) -> tuple[dict[str, _Tensor], int]:
    """Place all tensors, first fit by lifetime; return them and how many vectors they need."""
    lanes = config.datapath.act_lanes
    tensors: dict[str, _Tensor] = {}
    for index, item in enumerate(layers):
        layer = item.layer
        for name in item.inputs:
            border = (0, 0, 0, 0) if item.unfolded else pads[name]
            shape = layer.input_shape
            if item.unfolded:
                width = shape[1] + layer.pads[1] + layer.pads[3]
                shape = (layer.conv_shape[0], width, shape[2] * layer.kernel[0])
            tensor = tensors.setdefault(name, _Tensor(shape, border, layer.pad_value, -1, index))
            tensor.last = max(tensor.last, index)
            tensor.pads = border
            if any(layer.pads):
                tensor.fill = layer.pad_value
        tensors.setdefault(layer.output, _Tensor(layer.output_shape, (0, 0, 0, 0), 0, index, index))
        tensors[layer.output].first = index
    if not layers[-1].layer.output == graph.output:
        raise MappingError(f"the last layer does not write the output {graph.output!r}")
    del tensors[graph.output]
    placed: list[_Tensor] = []
    for tensor in sorted(tensors.values(), key=lambda t: t.first):
        tensor.vectors = -(-math.prod(tensor.padded) // lanes)
        size = batch * tensor.vectors
        alive = sorted(
            (t for t in placed if t.last >= tensor.first and t.first <= tensor.last),
            key=lambda t: t.base,
        )
        base = 0
        for other in alive:
            if base + size <= other.base:
                break
            base = max(base, other.base + batch * other.vectors)
        tensor.base = base
        placed.append(tensor)
    return tensors, max(t.base + batch * t.vectors for t in placed)


class NetworkPlan:
    """A network mapped onto one engine: makes programs for images and reads their results.

    Attributes
    ----------
    batch : int
        Images per pass over the layers.
    layers : tuple of str
        Names of the layers in order; every batch runs one or more GEMMs for each.
    """

    def __init__(
        self,
        config: EngineConfig,
        graph: QuantisedGraph,
        layers: list[LoweredLayer],
        tensors: dict[str, _Tensor],
        batch: int,
    ):
        self.config, self.graph, self.batch = config, graph, batch
        self.layers = tuple(item.layer.name for item in layers)
        self._layers, self._tensors = layers, tensors
        self._place_constants()

    def _place_constants(self) -> None:
        """Keep all weights and parameters in the engine if they fit, else load layer by layer."""
        config = self.config
        beats = rows = 0
        self._beats: list[list[list[int]]] = []
        for item in self._layers:
            tiles = self._weight_tiles(item)
            self._beats.append(tiles)
            item.w_base, item.p_base = beats, rows
            item.groups = [(0, len(tiles))]
            beats += sum(map(len, tiles))
            rows += len(tiles) * config.groups
        self.weights_resident = beats <= config.weight_depth
        self.parameters_resident = rows <= config.param_depth
        for item, tiles in zip(self._layers, self._beats, strict=True):
            if not self.weights_resident:
                item.w_base = 0
                fit = config.weight_depth // len(tiles[0])
                item.groups = [
                    (first, min(fit, len(tiles) - first)) for first in range(0, len(tiles), fit)
                ]
            if not self.parameters_resident:
                item.p_base = 0

    def _weight_tiles(self, item: LoweredLayer) -> list[list[int]]:
        """Return the weight beats of each tile of channels, all its K tiles in order."""
        d = self.config.datapath
        k_tiles, n = item.k_tiles(d), item.layer.n
        family = family_of(d)
        padded: Any = np.zeros((*k_tiles.shape, -(-n // d.cols) * d.cols), np.int64)
        padded[..., :n] = np.where(k_tiles[..., None] < 0, 0, item.layer.weights[k_tiles])
        return [
            [
                beat
                for tile in padded
                for beat in family.pack(tile[:, c : c + d.cols], item.layer.mode)
            ]
            for c in range(0, padded.shape[2], d.cols)
        ]

    # -- programs

    def program(self, images: Integers) -> Program:
        """Return the program that runs ``images`` (integers, NHWC), batch by batch."""
        return self._emit(images)[0]

    def gemm_layers(self, images: int) -> list[int]:
        """Return for each GEMM of a program for so many images the index of its layer."""
        per_batch = [i for i, item in enumerate(self._layers) for _ in item.groups]
        return per_batch * -(-images // self.batch)

    def _emit(self, images: Integers) -> tuple[Program, int]:
        builder = ProgramBuilder(self.config)
        last_gemm: int | None = None
        last_store: int | None = None
        w_load = None
        if self.weights_resident:
            w_load = builder.load_w(0, [b for tiles in self._beats for t in tiles for b in t])
        if self.parameters_resident:
            for item in self._layers:
                self._parameters(builder, item, None)
        for first in range(0, len(images), self.batch):
            part = images[first : first + self.batch]
            tensor = self._tensors[self.graph.input]
            vectors = self._input_vectors(part, tensor)
            x_load = builder.load_x(tensor.base, vectors, reads=last_gemm, results=last_store)
            for index, item in enumerate(self._layers):
                if not self.parameters_resident:
                    self._parameters(builder, item, last_gemm)
                target = self._tensors.get(item.layer.output)
                if target is not None and any(target.pads):
                    x_load = builder.fill_x(
                        target.base,
                        len(part) * target.vectors,
                        target.fill,
                        reads=last_gemm,
                        results=last_gemm,
                    )
                previous = last_gemm
                for n_first, n_tiles in item.groups:
                    if not self.weights_resident:
                        tiles = self._beats[index][n_first : n_first + n_tiles]
                        w_load = builder.load_w(0, [b for t in tiles for b in t], reads=last_gemm)
                    last_gemm = self._gemm(
                        builder,
                        item,
                        len(part),
                        n_first,
                        n_tiles,
                        x=x_load,
                        w=w_load,
                        results=previous,
                    )
                    if target is not None:
                        last_store = last_gemm
        builder.program.macs = self.graph.macs * len(images)
        return builder.program, builder.gemms

    def _parameters(self, builder: ProgramBuilder, item: LoweredLayer, results: int | None) -> None:
        layer = item.layer
        builder.parameters(item.p_base, layer.bias, layer.mult, layer.shift, results=results)

    def _input_vectors(self, images: Integers, tensor: _Tensor) -> Integers:
        """Pad, unfold where planned, and cut images into vectors."""
        lanes = self.config.datapath.act_lanes
        item = next(i for i in self._layers if self.graph.input in i.inputs)
        layer = item.layer
        pads = layer.pads if item.unfolded else tensor.pads
        top, left, bottom, right = pads
        padded = np.pad(
            images, ((0, 0), (top, bottom), (left, right), (0, 0)), constant_values=tensor.fill
        )
        if item.unfolded:
            step, rows = layer.stride[0], layer.conv_shape[0]
            span = (rows - 1) * step + 1
            slices = [padded[:, k : k + span : step] for k in range(layer.kernel[0])]
            padded = np.concatenate(slices, axis=3)
        flat = padded.reshape(len(images), -1)
        vectors = np.zeros((len(images), tensor.vectors * lanes), np.int64)
        vectors[:, : flat.shape[1]] = flat
        return vectors.reshape(-1, lanes)

    def _position(self, name: str, elements: int) -> dict[str, int]:
        lanes = self.config.datapath.act_lanes
        return {f"{name}_vector": (elements // lanes) & 0xFFFF, f"{name}_lane": elements % lanes}

    def _walk(self, name: str, counts: list[int], strides: list[int]) -> dict[str, int]:
        """Return the jumps of nested loops whose strides are in elements."""
        fields: dict[str, int] = {}
        for i, stride in enumerate(strides):
            inner = sum(
                (count - 1) * s for count, s in zip(counts[i + 1 :], strides[i + 1 :], strict=True)
            )
            fields |= self._position(f"{name}{i}", stride - inner)
        return fields

    def _gemm(
        self,
        builder: ProgramBuilder,
        item: LoweredLayer,
        images: int,
        n_first: int,
        n_tiles: int,
        *,
        x: int,
        w: int | None,
        results: int | None,
    ) -> int:
        config, d, layer = self.config, self.config.datapath, item.layer
        lanes = d.act_lanes
        source = self._tensors[item.inputs[0]]
        _, width, c = source.padded
        top, left = (0, 0) if item.unfolded else layer.pads[:2]
        origin = (source.pads[0] - top) * width * c + (source.pads[1] - left) * c
        sh, sw = item.stride
        ph, pw = layer.pool_stride
        oh, ow, n = layer.output_shape
        counts = [images, oh, ow, *layer.pool_kernel]
        row, column = sh * width * c, sw * c
        strides = [source.vectors * lanes, ph * row, pw * column, row, column]
        chunks, step, next_row = item.k_chunks(d), item.step(d), width * c
        if item.part:
            step, next_row = c + item.further, next_row + layer.kernel[1] * item.further
        if len(item.inputs) == 2:
            next_row = (self._tensors[item.inputs[1]].base - source.base) * lanes
        rows = images * layer.rows
        tile = min(config.tile_rows_max - config.tile_rows_max % layer.pool, rows)
        m_tiles = -(-rows // tile)
        target = self._tensors.get(layer.output)
        channels = min(n - n_first * d.cols, n_tiles * d.cols)
        stores: dict[str, int] = {"store": 0}
        beats = 0
        if target is not None:
            _, out_width, _ = target.padded
            start = target.base * lanes + (target.pads[0] * out_width + target.pads[1]) * n
            stores = {"store": 1} | self._position("y", start + n_first * d.cols)
            stores |= self._walk("y", counts[:3], [target.vectors * lanes, out_width * n, n])
        else:
            groups = -(-channels // d.cols) - 1
            per_row = groups * config.groups
            per_row += -(-(channels - groups * d.cols) // config.drain_lanes)
            beats = rows // layer.pool * per_row
        per_tile = item.kernel_rows * chunks * d.weight_beats
        return builder.gemm(
            beats=beats,
            x=x,
            w=w,
            results=results,
            raw=int(layer.raw),
            bias=1,
            **self._position("x", source.base * lanes + origin),
            w_base=item.w_base + (n_first * per_tile if self.weights_resident else 0),
            n_tiles=n_tiles,
            k_chunks=chunks,
            k_rows=item.kernel_rows,
            **self._position("k_chunk", step),
            **self._position("k_row", next_row - (chunks - 1) * step),
            tile_rows=tile,
            m_tiles=m_tiles,
            last_rows=rows - (m_tiles - 1) * tile,
            n_last=channels - (n_tiles - 1) * d.cols,
            **{f"m{i}_count": count for i, count in enumerate(counts)},
            **self._walk("m", counts, strides),
            pool=layer.pool,
            **stores,
            p_base=item.p_base + n_first * config.groups,
            zero_point=layer.zero_point,
            low=layer.low,
            high=layer.high,
            mode=layer.mode,
        )

    # -- results

    def decode(self, lanes: Integers, images: int) -> Integers:
        """Return the last layer's integers [n, h, w, c] from all result beats."""
        config, d = self.config, self.config.datapath
        item = self._layers[-1]
        layer = item.layer
        h, w, n = layer.output_shape
        outputs = np.zeros((images, h * w, n), np.int64)
        at = 0
        tile = config.tile_rows_max - config.tile_rows_max % layer.pool
        for first in range(0, images, self.batch):
            count = min(self.batch, images - first)
            batch = outputs[first : first + count].reshape(count * h * w, n)
            for n_first, n_tiles in item.groups:
                rows = count * layer.rows
                step = min(tile, rows)
                for row in range(0, rows, step):
                    begin, end = row // layer.pool, min(row + step, rows) // layer.pool
                    for t in range(n_first, n_first + n_tiles):
                        channels = min(n - t * d.cols, d.cols)
                        groups = -(-channels // config.drain_lanes)
                        size = (end - begin) * groups
                        block = lanes[at : at + size].reshape(end - begin, -1)
                        batch[begin:end, t * d.cols : t * d.cols + channels] = block[:, :channels]
                        at += size
        return outputs.reshape(images, h, w, n)
