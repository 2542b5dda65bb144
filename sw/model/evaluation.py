"""The network as the model states it, in floats."""

from collections.abc import Iterator

import numpy as np
from numpy.typing import NDArray

from .graph import Floats, Graph, ModelError, Node, Quantisation, from_model, to_model

__all__ = ["evaluate", "evaluate_node"]


def evaluate(graph: Graph, x: NDArray[np.floating]) -> Iterator[tuple[str, Floats]]:
    """Yield each tensor's name and float values for inputs ``x`` [n, ...], in order of execution.

    Inputs and values are in the model's layout. Where the model states integers, values are rounded
    and saturate, since the saturation may stand for a ReLU.
    """
    shape = graph.model_shape(graph.input)
    x = np.asarray(x, np.float32)
    if x.shape[1:] != shape:
        expected = ", ".join(str(size) for size in shape)
        raise ModelError(
            f"input {graph.input!r} must have shape [n, {expected}], not {list(x.shape)}"
        )
    x = _on_grid(x, graph.tensors[graph.input].quantisation)
    values = {graph.input: np.ascontiguousarray(from_model(graph.layout, x))}
    yield graph.input, x
    uses = {name: len(graph.consumers(name)) for name in graph.tensors}
    for node in graph.nodes:
        result = evaluate_node(graph, node, [values[name] for name in node.inputs])
        values[node.output] = result
        for name in set(node.inputs):
            uses[name] -= 1
            if not uses[name]:
                del values[name]
        yield node.output, to_model(graph.layout, result)


def evaluate_node(graph: Graph, node: Node, inputs: list[Floats]) -> Floats:
    """Return the values of a node's output, channels last as those of its inputs."""
    result = node.real(inputs, graph.layout).astype(np.float32, copy=False)
    return _on_grid(result, graph.tensors[node.output].quantisation)


def _on_grid(x: Floats, said: Quantisation | None) -> Floats:
    """Return what is left of the values once they are the integers that the model states."""
    if said is None:
        return x
    scale = np.float32(said.scale)
    low, high = said.low - said.zero_point, said.high - said.zero_point
    return np.clip(np.rint(x / scale), np.float32(low), np.float32(high)) * scale
