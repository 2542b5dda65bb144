"""Small ONNX models for tests, and what onnxruntime makes of them."""

import tempfile
from collections.abc import Sequence
from pathlib import Path

import numpy as np
import onnx
import onnxruntime
from numpy.typing import NDArray
from onnx import TensorProto, helper, numpy_helper

from ..sw.importers.onnx.onnx_file import load
from ..sw.model.graph import Graph


def model(
    nodes: Sequence[onnx.NodeProto],
    constants: dict[str, NDArray],
    x_shape: Sequence[int | str | None],
    *,
    opset: int = 17,
    output: str = "y",
) -> onnx.ModelProto:
    """Return a model from ``x`` of ``x_shape`` to ``y``."""
    graph = helper.make_graph(
        nodes,
        "tiny",
        [helper.make_tensor_value_info("x", TensorProto.FLOAT, x_shape)],
        [helper.make_tensor_value_info(output, TensorProto.FLOAT, None)],
        [numpy_helper.from_array(value, name) for name, value in constants.items()],
    )
    result = helper.make_model(graph, opset_imports=[helper.make_opsetid("", opset)])
    result.ir_version = 8
    return result


def load_bytes(content: bytes) -> Graph:
    """Import a model from the content of its file."""
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "model.onnx"
        path.write_bytes(content)
        return load(path)


def load_model(proto: onnx.ModelProto) -> Graph:
    """Import a model."""
    return load_bytes(proto.SerializeToString())


def reference(
    proto: onnx.ModelProto,
    x: NDArray[np.float32],
    outputs: Sequence[str] | None = None,
    *,
    literal: bool = False,
) -> list[NDArray]:
    """Return what onnxruntime computes for each row of ``x`` as a batch of one.

    ``literal`` keeps it from rewriting the graph: its rewrites of QDQ models round elsewhere and
    even bring float weights to 8 bits.
    """
    options = onnxruntime.SessionOptions()
    if literal:
        options.graph_optimization_level = onnxruntime.GraphOptimizationLevel.ORT_DISABLE_ALL
    options.intra_op_num_threads = 1
    options.log_severity_level = 3
    session = onnxruntime.InferenceSession(
        proto.SerializeToString(), options, providers=["CPUExecutionProvider"]
    )
    name = session.get_inputs()[0].name
    rows = [session.run(outputs, {name: row[None]}) for row in x]
    return [np.concatenate(parts) for parts in zip(*rows, strict=True)]
