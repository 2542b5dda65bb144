"""Kernels whose positions have few channels each, such as those of shift convolutions."""

import math
from typing import Any

import numpy as np
from numpy.typing import NDArray

from ..model.integer_graph import QuantisedLayer

__all__ = ["parts"]


def parts(layer: QuantisedLayer) -> tuple[int, int, NDArray[np.int64]]:
    """Return where each kernel position's channels with weights lie, if K tiles take them alone.

    That is worth while for shift convolutions, a shift of each channel and a 1 x 1 convolution in
    one: each channel has one position, and the channels of a position stand side by side. Returns
    how much further each position's tile starts, its width, and the K that it holds, -1 for none.
    """
    positions = math.prod(layer.kernel)
    used: Any = layer.weights.reshape(positions, -1, layer.n).any(axis=2)
    at, channels = np.nonzero(used)
    further = int((channels[at > 0] // at[at > 0]).min(initial=used.shape[1]))
    part = int((channels - at * further).max(initial=0)) + 1
    wanted = np.arange(positions)[:, None] * further + np.arange(part)
    held = (wanted < used.shape[1]) & np.take_along_axis(
        used, np.minimum(wanted, used.shape[1] - 1), axis=1
    )
    ks = np.arange(positions)[:, None] * used.shape[1] + wanted
    return further, part, np.where(held, ks, -1).reshape(-1)
