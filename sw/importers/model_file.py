"""Import of a model file of any format, told by its content."""

from pathlib import Path

from ..model.graph import Graph, ModelError
from .tflite.tflite_file import IDENTIFIER, read_model
from .tflite.tflite_graph import build_graph

__all__ = ["load_model"]


def load_model(path: str | Path) -> Graph:
    """Return the network in a TensorFlow Lite or ONNX file.

    Raises
    ------
    ModelError
        The file cannot be read or holds something that is not supported.
    ToolError
        It is no TensorFlow Lite file, and the package that reads ONNX files is missing.
    """
    path = Path(path)
    try:
        with path.open("rb") as file:
            start = file.read(8)
    except OSError as error:
        raise ModelError(f"cannot read {path}: {error.strerror or error}") from None
    if start[4:] == IDENTIFIER:
        return build_graph(read_model(path), path.stem)
    from .onnx.onnx_file import load

    return load(path)
