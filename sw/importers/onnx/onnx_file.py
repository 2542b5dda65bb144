"""Import of float and QDQ models from ONNX files, which are treated as untrusted input."""

import dataclasses
import heapq
import math
from pathlib import Path

import numpy as np

from ....gen.errors import ToolError

try:
    import onnx
    from google.protobuf.message import DecodeError
    from onnx import numpy_helper
except ImportError:
    raise ToolError(
        "reading ONNX files needs the package onnx: pip install 'tilewright[onnx]'"
    ) from None

from ...model.graph import Graph, ModelError
from .builder import Builder
from .folding import MAX_ELEMENTS, Constant, OnnxNode
from .translation import HANDLERS, check_known, translate

__all__ = ["load", "supported"]

OLDEST_OPSET = 7


def supported() -> tuple[str, ...]:
    """Return the operators that `load` takes, in alphabetical order."""
    return tuple(sorted(HANDLERS))


def load(path: str | Path) -> Graph:
    """Return the network in an ONNX file, folded and with static shapes.

    Float models and models in QDQ form are taken; integers and scales of the latter are kept in
    `Tensor.quantisation` and in the ``steps`` of weights.

    Raises
    ------
    ModelError
        The file cannot be read or holds something that the engine cannot run.
    """
    path = Path(path)
    model = _parse(path)
    graph = model.graph
    builder = Builder(graph.name or path.stem)
    needed = _needed(path, graph)
    nodes = _with_own_names([_read_node(graph.node[index], index) for index in needed])
    for node, index in zip(nodes, needed, strict=True):
        _check_operator(node, graph.node[index])
    for name in (name for node in nodes for name in node.inputs if name):
        builder.uses[name] = builder.uses.get(name, 0) + 1
    output = graph.output[0].name
    builder.uses[output] = builder.uses.get(output, 0) + 1
    for initializer in graph.initializer:
        if initializer.name in builder.uses:
            where = f"initializer {initializer.name!r}"
            builder.constants[initializer.name] = Constant(_array(initializer, where))
    _read_input(path, graph, builder)
    _check_model(path, model, needed)
    for node in nodes:
        translate(builder, node)
    return builder.finish(output)


def _parse(path: Path) -> onnx.ModelProto:
    """Return the file as a message of the right kind, without following external data."""
    try:
        content = path.read_bytes()
    except OSError as error:
        raise ModelError(f"cannot read {path}: {error.strerror or error}") from None
    model = onnx.ModelProto()
    try:
        model.ParseFromString(content)
    except DecodeError:
        raise ModelError(f"{path} is truncated or is not an ONNX file") from None
    versions = {item.domain: item.version for item in model.opset_import}
    opset = versions.get("", versions.get("ai.onnx", 0))
    if not model.graph.node or not model.graph.output or not opset:
        raise ModelError(f"{path} holds no network: it is truncated, empty or not an ONNX file")
    newest = onnx.defs.onnx_opset_version()
    if not OLDEST_OPSET <= opset <= newest:
        raise ModelError(
            f"{path} uses operator set {opset}; supported: {OLDEST_OPSET} to {newest}, "
            "which onnx.version_converter can reach"
        )
    return model


def _needed(path: Path, graph: onnx.GraphProto) -> list[int]:
    """Return the nodes that the output depends on, each after those whose results it reads."""
    if len(graph.output) != 1:
        names = ", ".join(output.name for output in graph.output)
        raise ModelError(f"{path} has {len(graph.output)} outputs ({names}); supported: one")
    given = {value.name for value in (*graph.input, *graph.initializer)}
    makers: dict[str, int] = {}
    for index, node in enumerate(graph.node):
        for name in filter(None, node.output):
            if name in makers or name in given:
                raise ModelError(f"{path} is not a valid ONNX model: value {name!r} is made twice")
            makers[name] = index
    sources: dict[int, set[int]] = {}
    found = [makers[graph.output[0].name]] if graph.output[0].name in makers else []
    while found:
        index = found.pop()
        if index in sources:
            continue
        for name in filter(None, graph.node[index].input):
            if name not in makers and name not in given:
                raise _read_node(graph.node[index], index).fail(
                    f"its input {name!r} is made by no layer and is no input or constant of the "
                    "model"
                )
        sources[index] = {makers[name] for name in graph.node[index].input if name in makers}
        found += sources[index]
    return _sorted(path, graph, sources)


def _sorted(path: Path, graph: onnx.GraphProto, sources: dict[int, set[int]]) -> list[int]:
    """Return the nodes, each after its sources and else in the order of the file."""
    users: dict[int, list[int]] = {index: [] for index in sources}
    for index, before in sources.items():
        for source in before:
            users[source].append(index)
    missing = {index: len(before) for index, before in sources.items()}
    ready = [index for index, count in missing.items() if not count]
    heapq.heapify(ready)
    result = []
    while ready:
        result.append(heapq.heappop(ready))
        for user in users[result[-1]]:
            missing[user] -= 1
            if not missing[user]:
                heapq.heappush(ready, user)
    stuck = set(sources).difference(result)
    if stuck:
        circle = [min(stuck)]
        while circle[-1] not in circle[:-1]:
            circle.append(min(sources[circle[-1]] & stuck))
        circle = circle[circle.index(circle[-1]) + 1 :]
        names = ", ".join(repr(_read_node(graph.node[i], i).name) for i in sorted(circle))
        raise ModelError(f"{path} has layers that wait for each other's results: {names}")
    return result


def _with_own_names(nodes: list[OnnxNode]) -> list[OnnxNode]:
    """Return the nodes with names that differ; files may give one name to several."""
    taken: set[str] = set()
    result = []
    for node in nodes:
        name = node.name
        while name in taken:
            name = f"{name}:{node.outputs[0]}"
        taken.add(name)
        result.append(dataclasses.replace(node, name=name))
    return result


def _check_operator(node: OnnxNode, proto: onnx.NodeProto) -> None:
    """Refuse an operator that can neither run nor be folded."""
    domains = ["", "ai.onnx"]
    if node.op in ("QuantizeLinear", "DequantizeLinear"):
        domains.append("com.microsoft")
    if proto.domain not in domains:
        raise node.fail(f"operators of the domain {proto.domain!r} are not supported")
    check_known(node)


def _check_model(path: Path, model: onnx.ModelProto, needed: list[int]) -> None:
    """Let the reference checker judge structure and attributes of the nodes that are needed."""
    nodes = [model.graph.node[index] for index in needed]
    del model.graph.node[:]
    model.graph.node.extend(nodes)  # sorted, as the checker wants them
    for tensor in model.graph.initializer:
        _check_tensor(tensor, f"initializer {tensor.name!r}")
    for value in model.graph.output:
        value.type.tensor_type.shape.SetInParent()  # the checker asks for it, we do not
    try:
        onnx.checker.check_model(model)
    except (onnx.checker.ValidationError, ValueError) as error:
        reason = str(error).strip().splitlines()
        raise ModelError(
            f"{path} is not a valid ONNX model: {reason[0] if reason else 'unknown reason'}"
        ) from None


def _check_tensor(tensor: onnx.TensorProto, where: str) -> None:

    if tensor.data_location == onnx.TensorProto.EXTERNAL or tensor.external_data:
        raise ModelError(
            f"{where} keeps its data in another file, which is not supported; save the model as "
            "one file (onnx.save without save_as_external_data)"
        )
    if any(size < 0 for size in tensor.dims) or math.prod(tensor.dims) > MAX_ELEMENTS:
        raise ModelError(
            f"{where} has shape {list(tensor.dims)}; supported: up to {MAX_ELEMENTS:,} elements"
        )


def _array(tensor: onnx.TensorProto, where: str) -> np.ndarray:
    """Return a tensor of the file as an array."""
    _check_tensor(tensor, where)
    try:
        return numpy_helper.to_array(tensor)
    except (ValueError, TypeError, KeyError) as error:
        raise ModelError(f"{where} does not hold what its shape says ({error})") from None


def _read_node(proto: onnx.NodeProto, index: int) -> OnnxNode:
    """Return a node as plain values."""

    name = proto.name or (proto.output[0] if proto.output else "") or f"node {index}"
    attributes: dict[str, object] = {}
    for attribute in proto.attribute:
        if attribute.type == onnx.AttributeProto.TENSOR:
            where = f"layer {name!r}, operator {proto.op_type}: attribute {attribute.name}"
            attributes[attribute.name] = _array(attribute.t, where)
            continue
        value = onnx.helper.get_attribute_value(attribute)
        if isinstance(value, bytes):
            value = value.decode("utf-8", "replace")
        elif not isinstance(value, int | float):
            value = list(value) if hasattr(value, "__iter__") else value
        attributes[attribute.name] = value
    return OnnxNode(
        name=name,
        op=proto.op_type,
        inputs=tuple(proto.input),
        outputs=tuple(proto.output),
        attributes=attributes,
    )


def _read_input(path: Path, graph: onnx.GraphProto, builder: Builder) -> None:
    """Find the one real input and give its shape to the builder."""

    inputs = [
        value
        for value in graph.input
        if value.name in builder.uses and value.name not in builder.constants
    ]
    if not inputs:
        raise ModelError(
            f"{path}: the output {graph.output[0].name!r} depends on no input, so there is nothing "
            "to compute"
        )
    if len(inputs) != 1:
        names = ", ".join(value.name for value in inputs)
        raise ModelError(f"{path} needs {len(inputs)} inputs ({names}); supported: one")
    value = inputs[0]
    kind = value.type.tensor_type
    if not value.type.HasField("tensor_type") or kind.elem_type != onnx.TensorProto.FLOAT:
        raise ModelError(
            f"input {value.name!r} is not a float32 tensor; supported: float32, also in QDQ form"
        )
    if not kind.HasField("shape"):
        raise ModelError(f"input {value.name!r} has no shape; supported: a fixed shape")
    shape = []
    for position, dim in enumerate(kind.shape.dim):
        if dim.WhichOneof("value") != "dim_value" or dim.dim_value < 1:
            called = f" {dim.dim_param!r}" if dim.dim_param else ""
            raise ModelError(
                f"input {value.name!r} has a dynamic dimension{called} at position {position}; "
                "supported: fixed shapes, so export with a batch of 1 or run "
                "onnxruntime.tools.make_dynamic_shape_fixed"
            )
        shape.append(dim.dim_value)
    if len(shape) not in (2, 4) or math.prod(shape) > MAX_ELEMENTS:
        raise ModelError(
            f"input {value.name!r} has shape {shape}; supported: [batch, features] or [batch, "
            f"channels, height, width] of up to {MAX_ELEMENTS:,} elements"
        )
    builder.start(value.name, shape)
