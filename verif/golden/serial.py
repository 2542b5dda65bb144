"""Golden model of the serial arrays."""

import numpy as np
from numpy.typing import NDArray

from ...hw.serial.config import SerialConfig
from .systolic import exact_product

__all__ = ["serial"]


def serial(
    config: SerialConfig, x: NDArray[np.int64], w: NDArray[np.int64], mode: int = 0
) -> NDArray[np.int64]:
    """Serial array: ``psums = acts @ weights``, some bits or digits of the operands a cycle.

    Parameters and result: ``x`` (rows, k) and ``w`` (k, cols), integers of the format that ``mode``
    asks for; returns (rows, cols).
    Exactness: bit-exact with `SerialArray` for every configuration and mode; a value that does not
    fit the format is an error.
    Order: result rows in the order of the rows of ``x``.
    Independent check: test_serial_golden compares with sums over pairs of bit planes, over digits,
    and with the bit by bit rules of the serial-parallel MAC.
    Reference: the definition of a matrix product; all these arrays compute it without loss.
    """
    formats = config.operand_formats(mode)
    for name, values, (bits, is_signed) in zip("xw", (x, w), formats, strict=True):
        low, high = (-(1 << bits - 1), 1 << bits - 1) if is_signed else (0, 1 << bits)
        values = np.asarray(values)
        if values.size and not (low <= values.min() and values.max() < high):
            raise ValueError(
                f"{name} must be from {low} to {high - 1}, not {values.min()} to {values.max()}"
            )
    return exact_product(np.asarray(x, dtype=np.int64), np.asarray(w, dtype=np.int64))
