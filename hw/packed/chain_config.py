"""Configuration and exact timing of chains of column-combining arrays."""

from collections import deque
from collections.abc import Iterable, Sequence
from dataclasses import dataclass

from ..config import (
    ConfigError,
    ModeField,
    UnitConfig,
    check_choice,
    check_range,
    check_width,
    plain_fields,
)
from ..engine.requantise_config import MULT_BITS, SHIFT_BITS, RequantiseConfig
from .config import PackedConfig

__all__ = [
    "OFFSETS",
    "ChainArrayConfig",
    "ChainConfig",
    "ChainLayerConfig",
    "ChainTiming",
    "PixelShiftConfig",
    "chain_words",
]

OFFSETS = ((0, 0), (1, 0), (-1, 0), (0, 1), (0, -1), (1, 1), (1, -1), (-1, 1), (-1, -1))
"""Rows and columns from a pixel to the one that it takes its value from, by shift code.

The picture stays, moves up, down, left, right, up-left, up-right, down-left, down-right.
"""
QUEUE_LATENCY = 2
"""Cycles of the queue of results, from its input to its output."""


@dataclass(frozen=True, kw_only=True)
class ChainArrayConfig(PackedConfig):
    """Parameters of a `ChainArray`: those of a packed array of ``len(sizes)`` rows.

    Attributes
    ----------
    sizes : tuple of int
        Channels of each packed column, side by side in this order.
    """

    sizes: tuple[int, ...]

    @property
    def act_lanes(self) -> int:
        """Elements per activation vector: the channels."""
        return sum(self.sizes)

    @property
    def mode_bits(self) -> int:
        """Bits of a mode: packed columns are as they are."""
        return 0


@dataclass(frozen=True, kw_only=True)
class PixelShiftConfig:
    """Parameters of a `PixelShift`.

    Attributes
    ----------
    codes : tuple of int
        Of each channel, an index of `OFFSETS`.
    height, width : int
        Pixels of an image.
    x_bits : int
        Bits of a pixel's channel.
    """

    codes: tuple[int, ...]
    height: int
    width: int
    x_bits: int

    def reach(self, code: int) -> int:
        """Pixels by which a channel looks ahead in the order of the stream, or back."""
        row, column = OFFSETS[code]
        return row * self.width + column

    @property
    def ahead(self) -> int:
        """Pixels after a pixel that must have come before its result can go."""
        return max(0, *map(self.reach, self.codes))

    def delay(self, code: int) -> int:
        """Pixels from the newest back to the one that a channel takes."""
        return self.ahead - self.reach(code)

    @property
    def pixels(self) -> int:
        """Pixels of an image."""
        return self.height * self.width


@dataclass(frozen=True, kw_only=True)
class ChainLayerConfig:
    """Parameters of a `ChainLayer`.

    Attributes
    ----------
    array : ChainArrayConfig
        The array.
    lane : RequantiseConfig
        What makes activations from its sums, one for each output channel.
    shift : PixelShiftConfig or None
        What moves the channels before, if anything does.
    """

    array: ChainArrayConfig
    lane: RequantiseConfig
    shift: PixelShiftConfig | None

    @property
    def latency(self) -> int:
        """Cycles from a vector to its result, where one comes every cycle."""
        before = self.shift.ahead + 1 if self.shift else 0
        return before + self.array.latency + self.lane.latency

    @property
    def settings_fields(self) -> tuple[ModeField, ...]:
        """Word of settings."""
        clamp = self.lane.clamp_bits
        return _fields(
            ("zero_point", clamp, "added after rounding"),
            ("lo", clamp, "lower clamp"),
            ("hi", clamp, "upper clamp"),
            ("border", self.array.x_bits, "what a shift brings in from outside the image"),
        )

    @property
    def channel_fields(self) -> tuple[ModeField, ...]:
        """Word of an output channel."""
        return _fields(
            ("bias", self.lane.acc_width, "added to the sum"),
            ("mult", MULT_BITS, "multiplier"),
            ("shift", SHIFT_BITS, "right shift"),
        )

    @property
    def cell_fields(self) -> tuple[ModeField, ...]:
        """Word of a cell."""
        return _fields(
            ("weight", self.array.w_bits, "weight"),
            ("place", self.array.index_bits, "channel of the packed column that it is for"),
        )

    @property
    def word_bits(self) -> int:
        """Bits of the longest word."""
        kinds = (self.settings_fields, self.channel_fields, self.cell_fields)
        return max(fields[-1].lsb + fields[-1].width for fields in kinds)

    @property
    def parts(self) -> tuple[tuple[int, int], ...]:
        """Words of a row and rows of its settings, of its channels and of its cells."""
        return (1, 1), (self.array.cols, 1), (self.array.cols, self.array.rows)


def _are_lists(value: object) -> bool:
    return isinstance(value, tuple) and all(isinstance(item, tuple) for item in value)


def _fields(*fields: tuple[str, int, str]) -> tuple[ModeField, ...]:
    found, lsb = [], 0
    for name, width, doc in fields:
        found.append(ModeField(name, lsb, width, doc))
        lsb += width
    return tuple(found)


@dataclass(frozen=True, kw_only=True)
class ChainConfig(UnitConfig):
    """Parameters of a `PackedChain`.

    Attributes
    ----------
    sizes : tuple of tuple of int
        Of each layer the channels of each packed column, 1 to 16; together 1 to 256 channels, in
        this order. A layer emits as many channels as the next one has.
    outputs : int
        Channels that the last layer emits, 1 to 256.
    codes : tuple of tuple of int
        Of each layer the shift code of each channel, 0 to 8, an index of `OFFSETS`; empty for a
        layer without a shift, and empty if no layer has one.
    height, width : int
        Pixels of an image, 1 to 256 each; `pixels` vectors are an image.
    x_bits, w_bits : int
        Width of activations and of weights, 2 to 8, or 16.
    x_signed : bool
        Whether activations are two's complement; weights always are.
    bias_bits : int
        Bits of a bias, 8 to 48.
    pe : str
        What multiplies weights: ``"dsp"`` or ``"lut"``.
    rounding : str
        ``"half_even"`` or ``"half_away"`` (from zero).
    fabric : str
        ``"portable"``: plain arithmetic. ``"ecp5"``: primitives of the Lattice ECP5, equal bit for
        bit and cycle for cycle.
    """

    sizes: tuple[tuple[int, ...], ...] = ((4, 4), (4, 4, 2))
    outputs: int = 6
    codes: tuple[tuple[int, ...], ...] = ((), (0, 1, 2, 3, 4, 5, 6, 7, 8, 0))
    height: int = 6
    width: int = 5
    x_bits: int = 8
    w_bits: int = 8
    x_signed: bool = True
    bias_bits: int = 24
    pe: str = "dsp"
    rounding: str = "half_even"
    fabric: str = "portable"

    def __post_init__(self) -> None:
        plain_fields(self)
        if not _are_lists(self.sizes) or not self.sizes or not all(self.sizes):
            raise ConfigError(f"sizes must be one list or more, none empty, not {self.sizes!r}")
        for size in (size for layer in self.sizes for size in layer):
            check_range("sizes", size, 1, 16)
        for layer in self.sizes:
            check_range("sum of a layer's sizes", sum(layer), 1, 256)
        check_range("outputs", self.outputs, 1, 256)
        self._check_codes()
        check_range("height", self.height, 1, 256)
        check_range("width", self.width, 1, 256)
        check_width("x_bits", self.x_bits)
        check_width("w_bits", self.w_bits)
        check_choice("x_signed", self.x_signed, (True, False))
        check_range("bias_bits", self.bias_bits, 8, 48)
        check_choice("pe", self.pe, ("dsp", "lut"))
        check_choice("rounding", self.rounding, ("half_even", "half_away"))
        check_choice("fabric", self.fabric, ("portable", "ecp5"))

    def _check_codes(self) -> None:
        if not _are_lists(self.codes) or len(self.codes) not in (0, len(self.sizes)):
            raise ConfigError(
                f"codes must be {len(self.sizes)} lists, one per layer, or none, not {self.codes!r}"
            )
        for sizes, codes in zip(self.sizes, self.codes, strict=False):
            if codes and len(codes) != sum(sizes):
                raise ConfigError(
                    f"codes of a layer of {sum(sizes)} channels must be as many, or none, not "
                    f"{len(codes)}"
                )
            for code in codes:
                check_range("codes", code, 0, len(OFFSETS) - 1)

    @property
    def layers(self) -> tuple[ChainLayerConfig, ...]:
        """The layers."""
        channels = [sum(sizes) for sizes in self.sizes]
        codes = self.codes or ((),) * len(self.sizes)
        return tuple(map(self._layer, self.sizes, [*channels[1:], self.outputs], codes))

    def _layer(self, sizes: tuple[int, ...], cols: int, codes: tuple[int, ...]) -> ChainLayerConfig:
        array = ChainArrayConfig(
            sizes=sizes, rows=len(sizes), cols=cols, alpha=max(sizes), x_bits=self.x_bits,
            w_bits=self.w_bits, x_signed=self.x_signed, pe=self.pe, fabric=self.fabric,
        )  # fmt: skip
        lane = RequantiseConfig(
            acc_width=max(self.bias_bits, array.psum_width), out_bits=self.x_bits,
            out_signed=self.x_signed, rounding=self.rounding, fabric=self.fabric,
        )  # fmt: skip
        shift = PixelShiftConfig(
            codes=codes, height=self.height, width=self.width, x_bits=self.x_bits
        )
        return ChainLayerConfig(array=array, lane=lane, shift=shift if codes else None)

    @property
    def inputs(self) -> int:
        """Channels of the first layer."""
        return sum(self.sizes[0])

    @property
    def pixels(self) -> int:
        """Vectors of an image."""
        return self.height * self.width

    @property
    def word_bits(self) -> int:
        """Bits of a parameter word."""
        return max(layer.word_bits for layer in self.layers)

    @property
    def parameter_words(self) -> int:
        """Parameter words of all layers."""
        return sum(words * rows for layer in self.layers for words, rows in layer.parts)

    @property
    def cells(self) -> int:
        """Cells of all arrays."""
        return sum(layer.array.rows * layer.array.cols for layer in self.layers)

    @property
    def multipliers(self) -> int:
        """DSP multipliers used, those of the requantisers among them."""
        lanes = sum(layer.lane.pieces * layer.array.cols for layer in self.layers)
        return lanes + (self.cells if self.pe == "dsp" else 0)

    @property
    def latency(self) -> int:
        """Cycles from a vector to its result, where a vector comes and a result goes every cycle.

        It is the sum of what the layers take to fill, never of what they take for an image.
        """
        return 1 + sum(layer.latency for layer in self.layers) + QUEUE_LATENCY

    @property
    def credits(self) -> int:
        """Vectors inside at most, for each of which the queue of results has a place."""
        return self.latency + 1

    def cycles(self, images: int) -> int:
        """Cycles from the first vector of some images to their last result, both counted.

        Nothing is waited for outside.
        """
        return images * self.pixels + self.latency

    def timing(self) -> "ChainTiming":
        """Return the model that says when results appear."""
        return ChainTiming(self)


class ChainTiming:
    """When a chain gives results, for vectors taken at any time and results taken at once.

    With t the cycle in which a vector reaches a layer, its result leaves the layer in t + array +
    requantiser. A shift adds 1, and the cycles until `ahead` more steps are made: a step is a
    vector that arrives, or after the last one of an image, while the next image has not begun, a
    cycle.

    Parameters
    ----------
    config : ChainConfig
        The chain's.
    """

    def __init__(self, config: ChainConfig):
        self._config = config

    def results(self, taken: Sequence[int]) -> list[int]:
        """Return the cycles of the results of vectors that are taken in these cycles."""
        times = [cycle + 1 for cycle in taken]
        for layer in self._config.layers:
            if layer.shift:
                times = list(_shifted(times, layer.shift.ahead, self._config.pixels))
            fixed = layer.array.latency + layer.lane.latency
            times = [cycle + fixed for cycle in times]
        return [cycle + QUEUE_LATENCY for cycle in times]


def _shifted(arrivals: Sequence[int], ahead: int, pixels: int) -> Iterable[int]:
    """Yield when the results of a shift appear, for vectors that arrive in these cycles."""
    line = deque([False] * ahead)
    step = 0
    for i in range(len(arrivals) + 1):
        if i % pixels == 0:
            end = arrivals[i] if i < len(arrivals) else None
            while any(line) and (end is None or step < end):
                line.append(False)
                if line.popleft():
                    yield step + 1
                step += 1
        if i < len(arrivals):
            line.append(True)
            if line.popleft():
                yield arrivals[i] + 1
            step = arrivals[i] + 1


def chain_words(config: ChainConfig) -> list[dict[str, object]]:
    """Return the parameter words of each layer, in their order, and their fields."""
    return [
        {
            "settings": {"words": 1, "fields": layer.settings_fields},
            "channels": {"words": layer.array.cols, "fields": layer.channel_fields},
            "cells": {"words": layer.array.rows * layer.array.cols, "fields": layer.cell_fields},
        }
        for layer in config.layers
    ]
