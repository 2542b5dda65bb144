"""The contents of a TensorFlow Lite file as plain values; the file is untrusted input."""

import math
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from ...model.graph import ModelError
from .flatbuffer import Table, root
from .sparsity import densify

__all__ = ["IDENTIFIER", "Model", "Operator", "Tensor", "read_model"]

IDENTIFIER = b"TFL3"
"""What follows the first offset of every file."""

MAX_ELEMENTS = 1 << 24
MAX_BYTES = 1 << 30

TYPES = {0: "f4", 1: "f2", 2: "i4", 3: "u1", 4: "i8", 7: "i2", 9: "i1"}
"""Types of tensors that can be read, by their number in the schema."""

OPERATORS = {
    0: "ADD", 1: "AVERAGE_POOL_2D", 2: "CONCATENATION", 3: "CONV_2D", 4: "DEPTHWISE_CONV_2D",
    5: "DEPTH_TO_SPACE", 6: "DEQUANTIZE", 9: "FULLY_CONNECTED", 14: "LOGISTIC",
    17: "MAX_POOL_2D", 19: "RELU", 20: "RELU_N1_TO_1", 21: "RELU6", 22: "RESHAPE",
    23: "RESIZE_BILINEAR", 25: "SOFTMAX", 34: "PAD", 54: "PRELU", 114: "QUANTIZE", 124: "DENSIFY",
}  # fmt: skip
"""Names of common operators, by their number in the schema."""

_ACTIVATIONS = {0: "NONE", 1: "RELU", 2: "RELU_N1_TO_1", 3: "RELU6"}

_OPTIONS: dict[str, dict[str, tuple[int, str, int]]] = {
    "CONV_2D": {
        "padding": (0, "b", 0), "stride_w": (1, "i", 0), "stride_h": (2, "i", 0),
        "activation": (3, "b", 0), "dilation_w": (4, "i", 1), "dilation_h": (5, "i", 1),
    },
    "DEPTHWISE_CONV_2D": {
        "padding": (0, "b", 0), "stride_w": (1, "i", 0), "stride_h": (2, "i", 0),
        "activation": (4, "b", 0), "dilation_w": (5, "i", 1), "dilation_h": (6, "i", 1),
    },
    "MAX_POOL_2D": {
        "padding": (0, "b", 0), "stride_w": (1, "i", 0), "stride_h": (2, "i", 0),
        "width": (3, "i", 0), "height": (4, "i", 0), "activation": (5, "b", 0),
    },
    "ADD": {"activation": (0, "b", 0)},
    "RESIZE_BILINEAR": {"align_corners": (2, "B", 0), "half_pixel": (3, "B", 0)},
    "DEPTH_TO_SPACE": {"block": (0, "i", 0)},
}  # fmt: skip
"""Options of operators: field, type and default. Padding is 0 for the same size, 1 for none."""


@dataclass(frozen=True, kw_only=True, eq=False)
class Tensor:
    """A tensor of the file.

    Attributes
    ----------
    name : str
        Name in the file, unprintable characters replaced.
    shape : tuple of int
        Sizes, the batch first for activations.
    kind : str
        Type of its elements, ``"f4"`` for float32, or what the schema numbers it.
    value : array or None
        Contents of a constant, dense also where the file keeps it sparse; None for activations.
    sparse : bool
        Whether the file keeps it sparse.
    """

    name: str
    shape: tuple[int, ...]
    kind: str
    value: NDArray | None = field(repr=False)
    sparse: bool


@dataclass(frozen=True, kw_only=True)
class Operator:
    """An operator of the file: inputs and outputs are indices of tensors, -1 for none.

    ``options`` holds whole numbers as the schema names them; ``activation`` is ``"NONE"``,
    ``"RELU"``, ``"RELU_N1_TO_1"`` or ``"RELU6"``.
    """

    op: str
    name: str
    inputs: tuple[int, ...]
    outputs: tuple[int, ...]
    options: dict[str, int]
    activation: str


@dataclass(frozen=True, kw_only=True)
class Model:
    """The first subgraph of a file."""

    tensors: tuple[Tensor, ...]
    operators: tuple[Operator, ...]
    inputs: tuple[int, ...]
    outputs: tuple[int, ...]


def read_model(source: str | Path | bytes) -> Model:
    """Return the network in a TensorFlow Lite file, given by its path or its content.

    Raises
    ------
    ModelError
        The file cannot be read, is damaged, or holds something that this reader does not know.
    """
    if isinstance(source, bytes):
        data, where = source, "the model"
    else:
        where = str(source)
        try:
            data = Path(source).read_bytes()
        except OSError as error:
            raise ModelError(f"cannot read {where}: {error.strerror or error}") from None
    if len(data) > MAX_BYTES:
        raise ModelError(f"{where} has {len(data)} bytes; supported: up to {MAX_BYTES}")
    model = root(data, IDENTIFIER, where)
    graphs = model.tables(2, "subgraph")
    if len(graphs) != 1:
        raise ModelError(f"{where} holds {len(graphs)} subgraphs; supported: one")
    buffers = model.tables(4, "buffer")
    tensors = tuple(_tensor(table, buffers) for table in graphs[0].tables(0, "tensor"))
    codes = [_code(table) for table in model.tables(1, "operator code")]
    operators = tuple(
        _operator(table, codes, len(tensors)) for table in graphs[0].tables(3, "operator")
    )
    ends = [_indices(graphs[0], number, len(tensors), optional=False) for number in (1, 2)]
    if not operators or not ends[0] or not ends[1]:
        raise ModelError(f"{where} holds no network")
    return Model(tensors=tensors, operators=operators, inputs=ends[0], outputs=ends[1])


def _tensor(table: Table, buffers: list[Table]) -> Tensor:
    name = "".join(c if c.isprintable() else "?" for c in table.text(3)) or table.name
    shape = tuple(int(size) for size in table.array(0, "i4"))
    if any(size < 0 for size in shape) or math.prod(shape) > MAX_ELEMENTS:
        raise ModelError(
            f"tensor {name!r} has shape {list(shape)}; supported: up to {MAX_ELEMENTS:,} elements"
        )
    index = table.number(2, "I")
    if index >= len(buffers):
        raise ModelError(f"tensor {name!r} names buffer {index} of {len(buffers)}")
    content = buffers[index].array(0, "u1")
    sparsity = table.table(6, f"sparsity of {name!r}")
    kind = table.number(1, "b")
    stated = TYPES.get(kind, f"type {kind} of the schema")
    if not content.size:
        return Tensor(name=name, shape=shape, kind=stated, value=None, sparse=False)
    if kind not in TYPES:
        raise ModelError(
            f"tensor {name!r} has type {kind} of the schema; supported: {sorted(TYPES)}"
        )
    dtype = np.dtype(TYPES[kind])
    if content.size % dtype.itemsize:
        raise ModelError(f"tensor {name!r} has {content.size} bytes, not whole {dtype} values")
    values = content.view(dtype)
    if sparsity is not None:
        values = densify(sparsity, values, shape, name)
    if values.size != math.prod(shape):
        raise ModelError(f"tensor {name!r} has {values.size} values for shape {list(shape)}")
    return Tensor(
        name=name, shape=shape, kind=stated, value=values.reshape(shape),
        sparse=sparsity is not None,
    )  # fmt: skip


def _code(table: Table) -> str:
    # Codes above 127 stand in the newer field alone.
    code = max(table.number(0, "b"), table.number(3, "i"))
    return OPERATORS.get(code, f"operator {code} of the schema")


def _indices(table: Table, number: int, count: int, *, optional: bool) -> tuple[int, ...]:
    found = tuple(int(i) for i in table.array(number, "i4"))
    for index in found:
        if not (-1 if optional else 0) <= index < count:
            raise ModelError(f"{table.name} names tensor {index} of {count}")
    return found


def _operator(table: Table, codes: list[str], tensors: int) -> Operator:
    index = table.number(0, "I")
    if index >= len(codes):
        raise ModelError(f"{table.name} names operator code {index} of {len(codes)}")
    op = codes[index]
    options: dict[str, int] = {}
    stated = table.table(4, f"options of {table.name}")
    for key, (number, code, default) in _OPTIONS.get(op, {}).items():
        options[key] = stated.number(number, code, default) if stated else default
    fused = options.pop("activation", 0)
    if fused not in _ACTIVATIONS:
        raise ModelError(
            f"{table.name} ({op}) has fused activation {fused} of the schema; supported: none, "
            "RELU, RELU_N1_TO_1 and RELU6"
        )
    return Operator(
        op=op,
        name=table.name,
        inputs=_indices(table, 1, tensors, optional=True),
        outputs=_indices(table, 2, tensors, optional=False),
        options=options,
        activation=_ACTIVATIONS[fused],
    )
