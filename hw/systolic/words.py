"""Between lanes of the streams and the groups of columns inside an array."""

from amaranth.hdl import Value

from ..arith.dsp_product import pair_word
from .config import SystolicConfig

__all__ = ["deskewed_lanes", "weight_words"]


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


def deskewed_lanes(config: SystolicConfig) -> list[int]:
    """Return how many cycles each column must wait for the last group."""
    last = len(config.groups) - 1
    return [last - g for g, columns in enumerate(config.groups) for _ in range(columns)]
