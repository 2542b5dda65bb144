"""Bench of the systolic array: the tests of every datapath."""

from .datapath import (
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
