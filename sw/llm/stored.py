"""Keys and values as a cache keeps them."""

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

__all__ = ["Stored"]


@dataclass(frozen=True)
class Stored:
    """Keys or values as the cache keeps them.

    Attributes
    ----------
    codes : array [..., head_size]
        Signed codes of ``kv_bits``.
    scales : array [..., groups]
        Unsigned scale of each group; an element is ``code * scale / 2**(kv_bits - 1)``.
    """

    codes: NDArray[np.int64]
    scales: NDArray[np.int64]
