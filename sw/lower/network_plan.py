"""A quantised network as engine commands: all activations of a batch stay in the engine."""

import math
from dataclasses import dataclass, field
from typing import Any

import numpy as np
from numpy.typing import NDArray

from ...hw.engine.config import DEPTHS, DatapathConfig, EngineConfig
from ..families.base import family_of
from ..model.integer_graph import HostLayer, QuantisedGraph, QuantisedLayer
from .parts import parts
from .program import Program, ProgramBuilder

__all__ = ["MappingError", "NetworkPlan", "k_tiles", "plan_network"]

Integers = NDArray[np.int64]


class MappingError(ValueError):
    """A network that does not fit the engine; the message names the layer and what to enlarge."""


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


@dataclass
class _Layer:
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
    pads = _stored_pads(graph)
    layers = [_lower(config, graph, layer, pads) for layer in graph.engine_layers]
    for item in layers:
        _check(config, item)
    sizes = [batch] if batch else [64, 48, 32, 24, 16, 12, 8, 6, 4, 3, 2, 1]
    vectors = 0
    for size in sizes:
        tensors, vectors = _allocate(config, graph, layers, pads, size)
        if vectors <= config.act_depth:
            return NetworkPlan(config, graph, layers, tensors, size)
    smaller = "fewer images" if sizes[-1] > 1 else "smaller images or longer vectors"
    raise MappingError(
        f"the activations of {sizes[-1]} image(s) need {vectors} vectors and do not fit the "
        f"activation buffer of {config.act_depth} vectors; "
        + _remedy("act_depth", vectors, smaller)
    )


def _remedy(field: str, needed: int, instead: str) -> str:
    """Return what to do where a buffer must hold ``needed`` words."""
    most = DEPTHS[field][1]
    if needed <= most:
        return f"enlarge {field} to {needed}"
    return f"{field} goes up to {most}, so take {instead}"


def k_tiles(config: EngineConfig, graph: QuantisedGraph) -> list[Integers]:
    """Return for each layer [tiles, act_lanes] which K each lane of a K tile holds, or -1."""
    pads = _stored_pads(graph)
    layers = (_lower(config, graph, layer, pads) for layer in graph.engine_layers)
    return [item.k_tiles(config.datapath) for item in layers]


_Pads = tuple[int, int, int, int]


def _stored_pads(graph: QuantisedGraph) -> dict[str, _Pads]:
    """Return the border of each tensor: what its users need, the same for tensors that add."""
    pads: dict[str, _Pads] = {}
    for _ in graph.engine_layers:
        before = dict(pads)
        for layer in graph.engine_layers:
            known = [pads.get(name, (0, 0, 0, 0)) for name in layer.inputs]
            widest = tuple(max(sides) for sides in zip(*known, layer.pads, strict=True))
            pads |= dict.fromkeys(layer.inputs, widest)  # type: ignore[arg-type]
        if pads == before:
            break
    return pads


def _lower(
    config: EngineConfig, graph: QuantisedGraph, layer: QuantisedLayer, pads: dict[str, _Pads]
) -> _Layer:
    """Choose how a layer's K runs over its input."""
    lanes = config.datapath.tile_k(layer.mode)
    kh, kw = layer.kernel
    c = layer.input_shape[2]
    order = np.arange(layer.k)
    users = [other for other in graph.engine_layers if graph.input in other.inputs]
    if len(layer.inputs) == 2:
        return _Layer(layer, layer.inputs, order, 2, c, layer.stride)
    further, part, channels = parts(layer)
    if part <= lanes and kw < -(-kw * c // lanes):
        return _Layer(
            layer, layer.inputs, channels, kh, kw * part, layer.stride, part=part, further=further
        )
    _, left, _, right = pads[layer.inputs[0]]
    if kw == layer.input_shape[1] + left + right:
        # Full rows are contiguous: the whole kernel is one run.
        return _Layer(layer, layer.inputs, order, 1, kh * kw * c, layer.stride)
    unfolded = -(-kh * kw * c // lanes)
    if layer.inputs[0] == graph.input and len(users) == 1 and unfolded < kh * -(-kw * c // lanes):
        order = order.reshape(kh, kw, c).transpose(1, 0, 2).reshape(-1)
        stride = (1, layer.stride[1])
        return _Layer(layer, layer.inputs, order, 1, kh * kw * c, stride, unfolded=True)
    return _Layer(layer, layer.inputs, order, kh, kw * c, layer.stride)


def _check(config: EngineConfig, item: _Layer) -> None:
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
            + ("take smaller pools" if fixed else _remedy("acc_depth", layer.pool, "smaller pools"))
        )
    per_tile = item.kernel_rows * item.k_chunks(d) * d.weight_beats
    if per_tile > config.weight_depth:
        raise MappingError(
            f"layer {layer.name!r} needs {per_tile} weight beats for one tile of channels, more "
            f"than weight_depth={config.weight_depth}; "
            + _remedy("weight_depth", per_tile, "fewer input channels or smaller kernels")
        )
    n_tiles = -(-layer.n // d.cols)
    if n_tiles * config.groups > config.param_depth:
        raise MappingError(
            f"layer {layer.name!r} needs {n_tiles * config.groups} parameter rows, more than "
            f"param_depth={config.param_depth}; "
            + _remedy("param_depth", n_tiles * config.groups, "fewer channels")
        )


def _allocate(
    config: EngineConfig,
    graph: QuantisedGraph,
    layers: list[_Layer],
    pads: dict[str, _Pads],
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
        layers: list[_Layer],
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

    def _weight_tiles(self, item: _Layer) -> list[list[int]]:
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

    def _parameters(self, builder: ProgramBuilder, item: _Layer, results: int | None) -> None:
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
        item: _Layer,
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
