"""Tensors of which a model states the integers for some readers only."""

from collections import Counter
from dataclasses import replace

from ..model.graph import Graph, Node
from ..model.operators import Clip, MaxPool, Requantise, Reshape

__all__ = ["MOVES", "with_own_sources"]

MOVES = (Clip, MaxPool, Requantise, Reshape)
"""Nodes without sums of their own: the layer that makes their input can compute them too."""


def with_own_sources(graph: Graph) -> Graph:
    """Return the graph in which a tensor with stated integers shares its sums with no other.

    A model may state integers on one branch of a tensor, or different ones on two. The branch gets
    a copy of the nodes that make the tensor, from the sums on, since its values would round twice
    if they came from integers that were chosen for other readers.
    """
    makers = {node.output: node for node in graph.nodes}
    readers = Counter(name for node in graph.nodes for name in set(node.inputs))
    readers.update(graph.outputs)
    tensors = dict(graph.tensors)
    nodes: dict[str, Node] = {}
    for node in graph.nodes:
        path = [node]
        while isinstance(path[-1], MOVES) and tensors[node.output].quantisation is not None:
            source = path[-1].inputs[0]
            if source not in makers or tensors[source].quantisation is not None:
                break
            path.append(makers[source])
        shared = next((i for i in range(1, len(path)) if readers[path[i].output] > 1), None)
        if shared is not None:
            for part in path[1:shared]:
                del nodes[part.output], tensors[part.output]
            readers[path[shared].output] -= 1
            readers.update(set(path[-1].inputs))
            inputs = path[-1].inputs
            for part in path[:0:-1]:
                output = f"{part.output}:{node.output}"
                nodes[output] = makers[output] = replace(
                    part, name=f"{part.name}:{node.output}", inputs=inputs, output=output
                )
                tensors[output] = replace(graph.tensors[part.output], name=output)
                readers[output] = 1
                inputs = (output,)
            node = replace(node, inputs=inputs)
        nodes[node.output] = makers[node.output] = node
    return replace(graph, tensors=tensors, nodes=tuple(nodes.values()))
