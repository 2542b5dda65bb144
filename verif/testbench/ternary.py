"""Bench of the arrays for ternary weights: the tests of every datapath."""

from tilewright.verif.testbench.datapath import (
    back_to_back,
    matches_golden,
    mixed_lengths,
    one_side_first,
    reset_mid_stream,
    smoke,
)

__all__ = [
    "back_to_back",
    "matches_golden",
    "mixed_lengths",
    "one_side_first",
    "reset_mid_stream",
    "smoke",
]
