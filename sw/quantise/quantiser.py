"""From a float or QDQ network to the integer layers of the engine."""

import dataclasses
import math
from dataclasses import dataclass, field
from typing import Any

import numpy as np
from numpy.typing import NDArray

from ...hw.config import check_choice
from ..model.graph import Graph, ModelError, Node, Quantisation, model_shape
from ..model.integer_graph import (
    Formats,
    HostLayer,
    QuantisedGraph,
    QuantisedLayer,
    QuantisedTensor,
)
from ..model.operators import Add, Clip, Convolution, MaxPool, Product, Requantise, Reshape
from .branches import MOVES, with_own_sources
from .calibrate import METHODS, activation_scale, observe
from .heads import Head, integer_head
from .host_layers import HOST_MOVES, host_layer
from .scaling import multiplier
from .ties import with_exact_ties

__all__ = ["quantise"]


def quantise(
    graph: Graph,
    formats: Formats,
    images: NDArray[np.floating] | None = None,
    *,
    calibration: str = "mse",
    percentile: float = 99.99,
    raw_output: bool = True,
    layer_by_layer: bool = False,
) -> QuantisedGraph:
    """Return ``graph`` in integers for an engine of ``formats``.

    Weights are symmetric with one scale per output channel, rounded to nearest, halves to even.
    Activations have one scale and zero point per tensor, from the model where it states them
    (QDQ), else chosen over ``images``.

    Parameters
    ----------
    graph : Graph
        From `tilewright.sw.importers`.
    formats : Formats
        Widths, signedness and rounding of the engine.
    images : array [n, ...], optional
        Sample inputs in the model's shape; a QDQ model that states everything needs none.
    calibration : str
        ``"minmax"``, ``"percentile"`` or ``"mse"``; see `calibrate.METHODS`.
    percentile : float
        Share of values, in percent, that ``"percentile"`` keeps below the upper and above the
        lower end of the range, 50 to 100.
    raw_output : bool
        Whether the last layer, if it has no activation or pool, emits its exact sums.
    layer_by_layer : bool
        Whether an engine has the products only and the host everything else, so that any operator
        runs; the engine else has all layers and keeps the activations. Implies no raw output.

    Raises
    ------
    ModelError
        The engine cannot compute a layer in these formats; the message names it.
    """
    check_choice("calibration", calibration, METHODS)
    if not 50 < percentile <= 100:
        raise ValueError(f"percentile must be above 50 and at most 100, not {percentile!r}")
    graph = with_own_sources(graph)
    stated = _stated(graph)
    chains = _chains(graph, stated, layer_by_layer)
    if not chains:
        raise ModelError(f"model {graph.name!r} has no layer to compute")
    roots = _roots(graph, chains)
    last = chains[-1]
    is_output = [last.output] == [roots[name] for name in graph.outputs]
    raw = raw_output and is_output and not layer_by_layer
    raw = raw and last.quantisation is None and not last.clips and last.pool is None
    wanted = [graph.input] if stated.get(graph.input) is None else []
    wanted += [
        chain.output
        for chain in chains
        if chain.quantisation is None and not chain.inherits and not (raw and chain is last)
    ]
    if wanted and images is None:
        raise ModelError(
            f"tensor {wanted[0]!r} has no scale in the model; calibration needs sample inputs"
        )
    seen = {}
    if images is not None and wanted:
        seen = observe(graph, images, wanted, counting=calibration != "minmax")
    tensors: dict[str, QuantisedTensor] = {}

    def tensor(name: str, shape: tuple[int, ...], said: Quantisation | None) -> None:
        if said is None:
            scale, zero = activation_scale(seen[name], formats, calibration, percentile)
            low, high = formats.x_low, formats.x_high
        else:
            scale, zero, low, high = _translate(name, said, formats)
        tensors[name] = QuantisedTensor(
            name=name, shape=shape, scale=scale, zero_point=zero, low=low, high=high
        )

    tensor(graph.input, _input_shape(graph), stated.get(graph.input))
    layers: list[QuantisedLayer | HostLayer] = []
    for chain in chains:
        inputs = [tensors[roots[name]] for name in chain.inputs]
        head = None
        if not chain.is_hosts:
            head = integer_head(graph, chain.node, inputs, formats, calibration, chain.title)
        shape = head.output_shape if head else _host_shape(graph, chain, inputs)
        if raw and chain is last and head:
            layers.append(_raw(chain, head, inputs))
            bound = 1 << formats.acc_width
            tensors[chain.output] = QuantisedTensor(
                name=chain.output, shape=shape, scale=1.0, zero_point=0, low=-bound, high=bound - 1
            )
            continue
        chain.check_pool(graph, shape)
        if chain.inherits and chain.quantisation is None:
            tensors[chain.output] = dataclasses.replace(inputs[0], name=chain.output, shape=shape)
        else:
            tensor(chain.output, shape, chain.quantisation)
        output = tensors[chain.output]
        made: tuple[QuantisedLayer | HostLayer, ...]
        if head:
            made = _requantised(chain, head, inputs, output, formats)
        else:
            made = (_on_host(chain, inputs, output, formats, calibration),)
        for part in made:
            tensors[part.output] = dataclasses.replace(
                output, name=part.output, shape=part.output_shape,
                low=made[-1].low, high=made[-1].high,
            )  # fmt: skip
        layers += made
    return QuantisedGraph(
        name=graph.name,
        formats=formats,
        tensors=tensors,
        layers=tuple(layers),
        input=graph.input,
        outputs=tuple(roots[name] for name in graph.outputs),
        layout=graph.layout,
        input_shape=graph.model_shape(graph.input),
        output_shapes=tuple(map(graph.model_shape, graph.outputs)),
    )


@dataclass
class _Chain:
    """Nodes that one layer computes: a head, or only a copy, then clips and at most one pool.

    A layer of the host has any operator as its head, and no pool behind it.
    """

    node: Node | None
    inputs: tuple[str, ...]
    output: str
    is_hosts: bool
    quantisation: Quantisation | None = None
    clips: list[Clip] = field(default_factory=list)
    pool: MaxPool | None = None
    parts: list[Node] = field(default_factory=list)

    def take(self, node: Node, said: Quantisation | None) -> None:
        """Let the layer compute ``node`` too; ``said`` is what the model says of its output."""
        self.parts.append(node)
        self.output = node.output
        self.quantisation = said or self.quantisation
        if isinstance(node, Clip):
            self.clips.append(node)
        elif isinstance(node, MaxPool) and not self.is_hosts:
            self.pool = node

    @property
    def name(self) -> str:
        """Name of the layer."""
        return self.parts[0].name

    @property
    def op(self) -> str:
        """Operators of the layer."""
        return "+".join(part.op for part in self.parts)

    @property
    def title(self) -> str:
        """How messages call the layer."""
        return f"layer {self.name!r}, operator {self.parts[0].op}"

    @property
    def inherits(self) -> bool:
        """Whether the output may keep the scale of the input: its values are all among it."""
        moves = isinstance(self.node, HOST_MOVES) if self.is_hosts else self.node is None
        return moves and all(map(_keeps_grid, self.clips))

    def check_pool(self, graph: Graph, shape: tuple[int, ...]) -> None:
        """Refuse a pool of another shape than that of the layer's sums: of flattened images."""
        said = self.pool and graph.tensors[self.pool.inputs[0]].shape
        if self.pool is not None and said != shape:
            raise ModelError(
                f"layer {self.pool.name!r}, operator {self.pool.op}: windows over a flattened "
                "input are not supported; supported: a pool before the flattening"
            )


def _keeps_grid(clip: Clip) -> bool:
    """Return whether every scale holds the bounds; other bounds may lie between or beyond steps."""
    return all(bound == 0 or math.isinf(bound) for bound in (clip.low, clip.high))


def _stated(graph: Graph) -> dict[str, Quantisation | None]:
    """Return what the model says of each tensor's integers, carried back through reshapes."""
    stated = {name: tensor.quantisation for name, tensor in graph.tensors.items()}
    for node in reversed(graph.nodes):
        source = node.inputs[0]
        alone = len(graph.consumers(source)) == 1 and source not in graph.outputs
        if isinstance(node, Reshape) and stated[source] is None and alone:
            stated[source] = stated[node.output]
    return stated


def _chains(
    graph: Graph, stated: dict[str, Quantisation | None], layer_by_layer: bool
) -> list[_Chain]:
    """Group the nodes into layers; a reshape is none unless it changes the scale.

    A host has reshapes as layers where values keep the order that they have in the graph.
    """
    chains: list[_Chain] = []
    taken: set[str] = set()
    reshaping = layer_by_layer and graph.layout == "nhwc"
    for node in graph.nodes:
        same = stated[node.output] in (None, stated[node.inputs[0]])
        if node.output in taken or (isinstance(node, Reshape) and same and not reshaping):
            continue
        hosts = layer_by_layer and not isinstance(node, Convolution | Product)
        first = _unshaped(node) if hosts and isinstance(node, Reshape) and not reshaping else node
        copies = isinstance(node, MOVES) and not hosts
        chain = _Chain(
            node=None if copies else first, inputs=node.inputs, output=node.inputs[0],
            is_hosts=hosts,
        )  # fmt: skip
        following: Node | None = node
        while following is not None:
            chain.take(following, stated[following.output])
            taken.add(following.output)
            following = _follower(graph, chain, stated, pools=not layer_by_layer)
        chains.append(chain)
    return chains


def _follower(
    graph: Graph, chain: _Chain, stated: dict[str, Quantisation | None], *, pools: bool
) -> Node | None:
    """Return the clip or pool that the chain's layer can take in, if one follows."""
    users = graph.consumers(chain.output)
    if len(users) != 1 or chain.output in graph.outputs:
        return None
    user = users[0]
    said = stated[user.output]
    if chain.quantisation is not None and said not in (None, chain.quantisation):
        return None
    if isinstance(user, Requantise):
        return user
    if isinstance(user, Clip):
        exact = chain.quantisation is None or said is not None or _keeps_grid(user)
        return user if exact else None
    if isinstance(user, MaxPool) and pools and chain.pool is None and not any(user.pads):
        return user
    return None


def _unshaped(node: Reshape) -> Requantise:
    """Return what is left of a reshape where values keep their places."""
    return Requantise(name=node.name, op=node.op, inputs=node.inputs, output=node.output)


def _host_shape(graph: Graph, chain: _Chain, inputs: list[QuantisedTensor]) -> tuple[int, ...]:
    """Return the shape of what the host makes; inputs may be images that the model flattened."""
    assert chain.node is not None
    shapes = [tensor.shape for tensor in inputs]
    if isinstance(chain.node, Add | Clip | Requantise):
        if len(set(shapes)) > 1:
            raise ModelError(f"{chain.title}: its inputs differ in shape once flattened")
        return shapes[0]
    said = [graph.tensors[name].shape for name in chain.inputs]
    if shapes != list(map(_image_shape, said)):
        raise ModelError(
            f"{chain.title}: a flattened input is not supported; supported: the layer before the "
            "flattening"
        )
    return _image_shape(chain.node.shape(*said))


def _roots(graph: Graph, chains: list[_Chain]) -> dict[str, str]:
    """Return for each tensor the one that holds its values, reshapes looked through."""
    computed = {chain.output for chain in chains}
    roots = {name: name for name in graph.tensors}
    for node in graph.nodes:
        if isinstance(node, Reshape) and node.output not in computed:
            roots[node.output] = roots[node.inputs[0]]
    return roots


def _image_shape(shape: tuple[int, ...]) -> tuple[int, ...]:
    """Return the shape of a tensor, that of a vector as an image of one pixel."""
    return (1, 1, *shape) if len(shape) == 1 else shape


def _input_shape(graph: Graph) -> tuple[int, ...]:
    """Return height, width and channels of the input; a vector may be reshaped to one channel."""
    shape = graph.tensors[graph.input].shape
    if len(shape) == 3:
        return shape
    found = {
        graph.tensors[node.output].shape
        for node in graph.consumers(graph.input)
        if isinstance(node, Reshape) and graph.tensors[node.output].shape[2:] == (1,)
    }
    if len(found) > 1:
        shapes = sorted(model_shape(graph.layout, image) for image in found)
        raise ModelError(f"input {graph.input!r} is reshaped to {shapes}; supported: one shape")
    return next(iter(found), _image_shape(shape))


def _translate(name: str, said: Quantisation, formats: Formats) -> tuple[float, int, int, int]:
    """Return scale, zero point and range of a stated tensor in the engine's format.

    Unsigned integers on a signed engine, or the other way round, move by a constant; that
    changes no value.
    """
    moves = (0, formats.x_low - said.low)
    for move in moves:
        low, high = said.low + move, said.high + move
        if formats.x_low <= low and high <= formats.x_high:
            return said.scale, said.zero_point + move, low, high
    raise ModelError(
        f"tensor {name!r} has integers from {said.low} to {said.high} in the model, which "
        f"x_bits = {formats.x_bits} does not hold"
    )


def _raw(chain: _Chain, head: Head, inputs: list[QuantisedTensor]) -> QuantisedLayer:
    n = len(head.bias)
    shape: Any = inputs[0].shape  # of three sizes, as heads have
    return QuantisedLayer(
        name=chain.name,
        op=chain.op,
        inputs=tuple(tensor.name for tensor in inputs),
        output=chain.output,
        input_shape=shape,
        weights=head.weights,
        bias=head.bias,
        mult=np.full(n, 1 << 15),
        shift=np.full(n, 15),
        kernel=head.kernel,
        stride=head.stride,
        pads=head.pads,
        pad_value=inputs[0].zero_point,
        zero_point=0,
        low=0,
        high=0,
        raw=True,
        raw_scale=head.unit,
    )


def _requantised(
    chain: _Chain,
    head: Head,
    inputs: list[QuantisedTensor],
    output: QuantisedTensor,
    formats: Formats,
) -> tuple[QuantisedLayer, ...]:
    """Return the layer whose clips are clamps and whose pool is the engine's.

    There are two where one alone would round ties wrong.
    """
    factors = head.unit / output.scale
    try:
        mult, shift = multiplier(factors)
    except ValueError as error:
        raise ModelError(f"{chain.title}: {error}, so its output scale is unusable") from None
    low, high = _bounds(chain, output, formats)
    pads, pool_kernel, pool_stride = head.pads, (1, 1), (1, 1)
    if chain.pool is not None:
        pool_kernel, pool_stride = chain.pool.kernel, chain.pool.stride
        if any(chain.pool.pads):
            if inputs[0].low < inputs[0].zero_point:
                raise ModelError(
                    f"{chain.title}: pads {list(chain.pool.pads)} would win over negative inputs, "
                    "since the engine pads with 0; supported: padding after Relu, or pads 0"
                )
            pads = chain.pool.pads
    shape: Any = inputs[0].shape  # of three sizes, as heads have
    layer = QuantisedLayer(
        name=chain.name,
        op=chain.op,
        inputs=tuple(tensor.name for tensor in inputs),
        output=chain.output,
        input_shape=shape,
        weights=head.weights,
        bias=head.bias,
        mult=mult,
        shift=shift,
        kernel=head.kernel,
        stride=head.stride,
        pads=pads,
        pad_value=inputs[0].zero_point,
        pool_kernel=pool_kernel,
        pool_stride=pool_stride,
        zero_point=output.zero_point,
        low=low,
        high=high,
        raw_scale=head.unit,
    )
    return with_exact_ties(layer, factors, head.largest, formats)


def _on_host(
    chain: _Chain,
    inputs: list[QuantisedTensor],
    output: QuantisedTensor,
    formats: Formats,
    method: str,
) -> HostLayer:
    """Return the layer that the host computes, whose clips are clamps."""
    assert chain.node is not None
    low, high = _bounds(chain, output, formats)
    moves = chain.inherits and chain.quantisation is None
    return host_layer(
        chain.node, inputs, output, formats, method, chain.title,
        moves=moves, name=chain.name, op=chain.op, low=low, high=high,
    )  # fmt: skip


def _bounds(chain: _Chain, output: QuantisedTensor, formats: Formats) -> tuple[int, int]:
    """Return the range of a layer's results: that of its tensor, narrowed by its clips."""
    low, high = output.low, output.high
    stated = chain.quantisation is not None
    limits = (output.low, output.high) if stated else (formats.x_low, formats.x_high)
    for clip in chain.clips:
        bounds = [_clamp(bound, output, limits) for bound in (clip.low, clip.high)]
        low, high = (min(max(end, bounds[0]), bounds[1]) for end in (low, high))
    return low, high


def _clamp(bound: float, output: QuantisedTensor, limits: tuple[int, int]) -> int:
    """Return the integer of a bound, within the limits."""
    if math.isinf(bound):
        return limits[bound > 0]
    q = round(bound / output.scale) + output.zero_point
    return min(max(q, limits[0]), limits[1])
