"""The quantised network: integer layers over NHWC tensors, of the engine and of the host."""

import math
from collections.abc import Mapping
from dataclasses import dataclass, field

import numpy as np
from numpy.typing import NDArray

from ...hw.config import ConfigError, check_choice, check_range, check_width
from ...hw.engine.config import EngineConfig
from .graph import Layout, ModelError, Node, from_model, model_shape, to_model

__all__ = ["Formats", "HostLayer", "QuantisedGraph", "QuantisedLayer", "QuantisedTensor"]

Integers = NDArray[np.int64]


@dataclass(frozen=True, kw_only=True)
class Formats:
    """Number formats of the engine that a network is quantised for.

    Attributes
    ----------
    x_bits : int
        Width of every activation, 2 to 8, or 16.
    x_signed : bool
        Whether activations are two's complement.
    w_bits : int
        Width of the weights, which are signed, 2 to 8, or 16.
    acc_width : int
        Signed bits per accumulator and per bias, 2 to 64.
    rounding : str
        ``"half_even"`` or ``"half_away"`` (from zero).
    """

    x_bits: int = 8
    x_signed: bool = True
    w_bits: int = 8
    acc_width: int = 32
    rounding: str = "half_even"

    def __post_init__(self) -> None:
        check_width("x_bits", self.x_bits)
        check_choice("x_signed", self.x_signed, (False, True))
        check_width("w_bits", self.w_bits)
        check_range("acc_width", self.acc_width, 2, 64)
        check_choice("rounding", self.rounding, ("half_even", "half_away"))

    @classmethod
    def of(cls, config: EngineConfig) -> "Formats":
        """Return the formats of an engine.

        Raises
        ------
        ConfigError
            The engine's weights are unsigned; those of networks are symmetric around 0.
        """
        d = config.datapath
        if not d.w_signed:
            raise ConfigError("w_signed must be true to run networks, not False")
        return cls(
            x_bits=d.x_bits,
            x_signed=d.x_signed,
            w_bits=d.w_bits,
            acc_width=max(8, config.acc_width),
            rounding=config.rounding,
        )

    @property
    def x_low(self) -> int:
        """Smallest activation."""
        return -(1 << self.x_bits - 1) if self.x_signed else 0

    @property
    def x_high(self) -> int:
        """Largest activation."""
        return (1 << self.x_bits - (1 if self.x_signed else 0)) - 1

    @property
    def w_low(self) -> int:
        """Smallest weight that the hardware holds."""
        return -(1 << self.w_bits - 1)

    @property
    def w_high(self) -> int:
        """Largest weight; the quantiser uses ``-w_high..w_high``."""
        return (1 << self.w_bits - 1) - 1


@dataclass(frozen=True, kw_only=True)
class QuantisedTensor:
    """An activation tensor of integers ``q`` that stand for ``scale * (q - zero_point)``.

    Attributes
    ----------
    name : str
        Name in the model.
    shape : tuple of int
        Height, width, channels of one image; a vector is ``(1, 1, channels)``. What the host
        reshapes may have other sizes.
    scale : float
        Step between neighbouring values.
    zero_point : int
        Integer that stands for zero.
    low, high : int
        Range that the integers keep to, within the engine's format.
    """

    name: str
    shape: tuple[int, ...]
    scale: float
    zero_point: int
    low: int
    high: int

    def quantise(self, values: NDArray[np.floating]) -> Integers:
        """Return the nearest integers to real ``values``, halves to even, saturated."""
        q = np.rint(np.asarray(values, np.float64) / self.scale) + self.zero_point
        return np.clip(q, self.low, self.high).astype(np.int64)

    def dequantise(self, q: NDArray[np.integer]) -> NDArray[np.float64]:
        """Return the real values that integers ``q`` stand for."""
        return (np.asarray(q, np.float64) - self.zero_point) * self.scale


@dataclass(frozen=True, kw_only=True, eq=False)
class QuantisedLayer:
    """One pass over the engine: a convolution as matrix product, then requantise, then max-pool.

    The sum over K runs in the order (kernel row, kernel column, input, channel) over the NHWC
    activations; a fully connected layer is a convolution whose kernel covers its whole input.
    Two inputs, of one shape and with a 1 x 1 kernel, stand side by side in K. Zero points of the
    inputs are folded into ``bias``; positions outside the input read as ``pad_value``.

    Attributes
    ----------
    name : str
        Name of the model's layer.
    op : str
        Operators of the model that this layer computes, joined by ``+``.
    inputs : tuple of str
        One tensor, or two for an addition.
    output : str
        Tensor that this layer writes.
    input_shape : tuple of int
        Height, width and channels of each input.
    weights : array [K, N]
        Signed weights.
    bias : array [N]
        Added to the sum.
    mult, shift : array [N]
        Requantisation of each channel: times ``mult`` (16 bits unsigned), divided by
        ``2**shift``, 1 to 47, and rounded. Channels of a raw layer carry 32768 and 15.
    kernel, stride : tuple of int
        Height and width.
    pads : tuple of int
        Rows above, columns left, rows below, columns right.
    pad_value : int
        Zero point of the input.
    pool_kernel, pool_stride : tuple of int
        Max-pool over the requantised values, 1 x 1 for none; no padding, partial windows dropped.
    zero_point, low, high : int
        Output zero point, added after rounding, and the clamp that follows.
    raw : bool
        Whether sums plus bias leave unchanged: no requantisation, clamp or pool.
    raw_scale : array [N]
        Real value of one unit of each raw result.
    mode : int
        Settings of the datapath for this layer, see its family.
    """

    name: str
    op: str
    inputs: tuple[str, ...]
    output: str
    input_shape: tuple[int, int, int]
    weights: Integers = field(repr=False)
    bias: Integers = field(repr=False)
    mult: Integers = field(repr=False)
    shift: Integers = field(repr=False)
    kernel: tuple[int, int]
    stride: tuple[int, int] = (1, 1)
    pads: tuple[int, int, int, int] = (0, 0, 0, 0)
    pad_value: int = 0
    pool_kernel: tuple[int, int] = (1, 1)
    pool_stride: tuple[int, int] = (1, 1)
    zero_point: int
    low: int
    high: int
    raw: bool = False
    raw_scale: NDArray[np.float64] = field(repr=False)
    mode: int = 0

    @property
    def k(self) -> int:
        """Length of each sum."""
        return int(self.weights.shape[0])

    @property
    def n(self) -> int:
        """Output channels."""
        return int(self.weights.shape[1])

    @property
    def conv_shape(self) -> tuple[int, int]:
        """Height and width before pooling."""
        h, w, _ = self.input_shape
        top, left, bottom, right = self.pads
        return (
            (h + top + bottom - self.kernel[0]) // self.stride[0] + 1,
            (w + left + right - self.kernel[1]) // self.stride[1] + 1,
        )

    @property
    def output_shape(self) -> tuple[int, int, int]:
        """Height, width and channels after pooling."""
        h, w = self.conv_shape
        return (
            (h - self.pool_kernel[0]) // self.pool_stride[0] + 1,
            (w - self.pool_kernel[1]) // self.pool_stride[1] + 1,
            self.n,
        )

    @property
    def is_gemm(self) -> bool:
        """Whether one sum covers the whole input: a fully connected layer."""
        return self.kernel == self.input_shape[:2] and not any(self.pads)

    @property
    def pool(self) -> int:
        """Values per pooling window."""
        return math.prod(self.pool_kernel)

    @property
    def rows(self) -> int:
        """Rows of the matrix product: windows times positions per window."""
        return math.prod(self.output_shape[:2]) * self.pool

    @property
    def macs(self) -> int:
        """Multiply-accumulates that the layer needs, positions outside any window not counted."""
        return self.rows * self.k * self.n


@dataclass(frozen=True, kw_only=True, eq=False)
class HostLayer:
    """An operator that the host computes in integers between the products of an engine.

    The inputs, less their zero points and times their ``factors``, go through ``node.compute``; the
    result is ``clamp(round((sum + bias) * mult / 2**shift / node.divisor) + zero_point)``.

    Attributes
    ----------
    name, op, inputs, output
        As of `QuantisedLayer`.
    node : Node
        The operator, its weights as integers.
    output_shape : tuple of int
        Of one image.
    input_zeros, factors : tuple of int
        For each input: its zero point; what brings it to the scale of the sum.
    bias, mult, shift : array [N] or [1]
        Requantisation. What only moves has 0, 1 and 0.
    zero_point, low, high : int
        As of `QuantisedLayer`.
    """

    name: str
    op: str
    inputs: tuple[str, ...]
    output: str
    node: Node
    output_shape: tuple[int, ...]
    input_zeros: tuple[int, ...]
    factors: tuple[int, ...]
    bias: Integers = field(repr=False)
    mult: Integers = field(repr=False)
    shift: Integers = field(repr=False)
    zero_point: int
    low: int
    high: int


@dataclass(frozen=True, kw_only=True, eq=False)
class QuantisedGraph:
    """A network of integer layers in the order of execution.

    Attributes
    ----------
    name : str
        Name of the model.
    formats : Formats
        What the engine must be built for.
    tensors : dict
        Every activation tensor by name.
    layers : tuple of QuantisedLayer or HostLayer
        In an order that computes each tensor before its use.
    input, outputs : str, tuple of str
        Names of the tensors that enter and leave.
    layout : str
        Order of images in the model: ``"nchw"`` or ``"nhwc"``.
    input_shape, output_shapes : tuple
        Shapes of the model's input and outputs without the batch, in its layout.
    """

    name: str
    formats: Formats
    tensors: dict[str, QuantisedTensor]
    layers: tuple[QuantisedLayer | HostLayer, ...]
    input: str
    outputs: tuple[str, ...]
    layout: Layout
    input_shape: tuple[int, ...]
    output_shapes: tuple[tuple[int, ...], ...]

    @property
    def output(self) -> str:
        """The one output; `ModelError` where there are several."""
        if len(self.outputs) != 1:
            names = ", ".join(self.outputs)
            raise ModelError(f"model {self.name!r} has several outputs ({names}); supported: one")
        return self.outputs[0]

    @property
    def engine_layers(self) -> tuple[QuantisedLayer, ...]:
        """The layers that an engine computes."""
        return tuple(layer for layer in self.layers if isinstance(layer, QuantisedLayer))

    def quantise_input(self, values: NDArray[np.floating]) -> Integers:
        """Return integers [n, h, w, c] for real inputs [n, ...] in the model's shape."""
        tensor = self.tensors[self.input]
        images = np.asarray(values)
        if images.shape[1:] != self.input_shape or not np.isfinite(images).all():
            expected = ", ".join(str(size) for size in self.input_shape)
            raise ValueError(
                f"input {self.input!r} must be finite and have shape [n, {expected}], not "
                f"{list(images.shape)}"
            )
        images = images.reshape(-1, *model_shape(self.layout, tensor.shape))
        return tensor.quantise(from_model(self.layout, images))

    def dequantise(self, values: Mapping[str, NDArray[np.integer]]) -> dict[str, NDArray]:
        """Return real outputs in the model's shape and layout for the integers of all tensors."""
        result = {}
        for name, shape in zip(self.outputs, self.output_shapes, strict=True):
            real = self.tensors[name].dequantise(values[name])
            last = self.layers[-1]
            if isinstance(last, QuantisedLayer) and last.raw and last.output == name:
                real = np.asarray(values[name], np.float64) * last.raw_scale
            result[name] = to_model(self.layout, real).reshape(-1, *shape)
        return result

    def dequantise_output(self, q: NDArray[np.integer]) -> NDArray[np.float64]:
        """Return real outputs in the model's shape for the last layer's integers [n, h, w, c]."""
        return self.dequantise({self.output: q})[self.output]

    @property
    def macs(self) -> int:
        """Multiply-accumulates per image on the engine."""
        return sum(layer.macs for layer in self.engine_layers)
