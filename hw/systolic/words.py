"""Between lanes of the streams and the groups of columns inside an array."""

from amaranth.hdl import Cat, Module, Value

from ..arith.delay import delay
from ..arith.dsp_product import pair_word
from .config import SystolicConfig

__all__ = ["deskewed", "weight_words", "widened"]


def weight_words(config: SystolicConfig, beat: Value) -> list[Value]:
    """Return the word of each group of columns: a weight, or a pair made ready for one DSP."""
    bits = config.w_bits
    weights = [beat[bits * c : bits * (c + 1)] for c in range(config.cols)]
    if config.w_signed:
        weights = [weight.as_signed() for weight in weights]
    words, col = [], 0
    for columns in config.groups:
        pair = columns == 2
        words.append(pair_word(weights[col], weights[col + 1]) if pair else weights[col])
        col += columns
    return words


def deskewed(m: Module, config: SystolicConfig, sums: Value) -> list[Value]:
    """Return each column's sum as late as that of the last group."""
    width = config.psum_width
    waits = [
        len(config.groups) - 1 - group
        for group, columns in enumerate(config.groups)
        for _ in range(columns)
    ]
    return [
        delay(m, sums[width * c : width * (c + 1)], wait, f"deskew_{c}")
        for c, wait in enumerate(waits)
    ]


def widened(sums: Value, width: int, to: int) -> Value:
    """Return packed signed sums of ``width`` bits with ``to`` bits each."""
    if width == to:
        return sums
    lanes = [sums[i : i + width] for i in range(0, len(sums), width)]
    return Cat(Cat(lane, lane[-1].replicate(to - width)) for lane in lanes)
