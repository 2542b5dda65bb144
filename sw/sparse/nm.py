"""N:M sparsity: of every M consecutive channels an output keeps weights for at most N."""

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from .columns import Weights, as_matrix, magnitude
from .packer import Search, whole_squares

__all__ = [
    "ORDERED_CODES",
    "PackedNm",
    "pack_nm",
    "permute_channels",
    "prune_nm",
    "read_metadata",
    "unpack_nm",
    "write_metadata",
]

MAX_M = 64
"""Widest group that is taken."""

ORDERED_CODES = tuple(low | high << 2 for high in range(4) for low in range(high))
"""Metadata of 2:4 that PTX takes for ordered pairs: 0100, 1000, 1001, 1100, 1101, 1110."""


@dataclass(frozen=True, kw_only=True, eq=False)
class PackedNm:
    """Weights [K, N] of which every group of ``m`` channels keeps ``n`` for each output.

    Attributes
    ----------
    values : array [groups, n, N]
        Kept weights; zeros fill up where an output has fewer.
    places : array [groups, n, N]
        Channel of each within its group, 0..m-1, rising.
    m : int
        Channels of a group; those beyond K hold zeros.
    channels : int
        K.
    """

    values: Weights
    places: NDArray[np.int64]
    m: int
    channels: int

    def __post_init__(self) -> None:
        values, places = np.asarray(self.values), np.asarray(self.places)
        if values.ndim != 3 or places.shape != values.shape:
            raise ValueError("values and places must have the shape [groups, n, N]")
        if places.size and not 0 <= places.min() <= places.max() < self.m:
            raise ValueError(
                f"places must lie in 0..{self.m - 1}, in groups of m={self.m} channels, but hold "
                f"{places.min()}..{places.max()}"
            )
        if (np.diff(places, axis=1) <= 0).any():
            raise ValueError("places must rise within a group: each channel has one weight")
        held = np.arange(len(values))[:, None, None] * self.m + places
        beyond = (held >= self.channels) & (values != 0)
        if len(values) * self.m < self.channels or beyond.any():
            raise ValueError(
                f"groups must hold all {self.channels} channels, and no weights of others"
            )

    @property
    def place_bits(self) -> int:
        """Bits of metadata for each kept weight."""
        return (self.m - 1).bit_length()


def prune_nm(weights: Weights, n: int, m: int) -> Weights:
    """Return ``weights`` [K, N] with the ``n`` largest magnitudes of each ``m`` channels kept.

    Groups are consecutive along K, the last may be shorter. Of equal magnitudes those of the first
    channels stay.
    """
    weights, groups = _groups(weights, n, m)
    places = _largest(groups, n)
    kept = np.zeros_like(groups)
    np.put_along_axis(kept, places, np.take_along_axis(groups, places, axis=1), axis=1)
    return kept.reshape(-1, weights.shape[1])[: len(weights)]


def pack_nm(weights: Weights, n: int, m: int) -> PackedNm:
    """Return the kept weights and places of N:M sparse ``weights`` [K, N].

    An output with fewer than ``n`` weights in a group has zeros at the first free channels.

    Raises
    ------
    ValueError
        Some output has more than ``n`` weights in a group.
    """
    weights, groups = _groups(weights, n, m)
    counts = np.count_nonzero(groups, axis=1)
    if counts.max(initial=0) > n:
        group, output = np.argwhere(counts > n)[0]
        raise ValueError(
            f"weights must have at most {n} of {m} channels, but output {output} has "
            f"{counts[group, output]} in channels {group * m}..{group * m + m - 1}"
        )
    places = _largest(groups, n)
    values = np.take_along_axis(groups, places, axis=1)
    return PackedNm(values=values, places=places, m=m, channels=len(weights))


def unpack_nm(packed: PackedNm) -> Weights:
    """Return the weights [K, N]: the inverse of `pack_nm`."""
    count, _, outputs = packed.values.shape
    groups = np.zeros((count, packed.m, outputs), packed.values.dtype)
    np.put_along_axis(groups, packed.places, packed.values, axis=1)
    return groups.reshape(-1, outputs)[: packed.channels]


def permute_channels(weights: Weights, n: int, m: int) -> NDArray[np.int64]:
    """Return an order of the channels in which `prune_nm` keeps more energy.

    Channels of different groups change places, best gain first, as long as the sum of the squares
    kept grows. ``weights[order]`` is what to prune; the layer before, its outputs in the same
    order, makes up for it. A last group shorter than ``m`` stays the last.
    """
    weights, groups = _groups(weights, n, m)
    padded = groups.reshape(-1, weights.shape[1])
    whole = len(weights) // m * m
    labels = np.repeat(np.arange(whole // m), m)
    if not len(labels):
        return np.arange(len(weights))
    search = Search(whole_squares(padded[:whole]), labels, whole // m, m, keep=n)
    order = np.argsort(search.run(), kind="stable")
    return np.concatenate([order, np.arange(whole, len(weights))])


def write_metadata(packed: PackedNm) -> NDArray[np.uint8]:
    """Return the four bits of each 2:4 group and output, [groups, N].

    The channel of the first kept weight stands in the low two bits, that of the second above, as
    the PTX ISA describes the operand of sparse matrix products; only `ORDERED_CODES` arise.
    """
    if packed.m != 4 or packed.values.shape[1] != 2:
        raise ValueError(
            f"metadata must be of 2:4 weights, not {packed.values.shape[1]}:{packed.m}"
        )
    return (packed.places[:, 0] | packed.places[:, 1] << 2).astype(np.uint8)


def read_metadata(codes: NDArray[np.integer]) -> NDArray[np.int64]:
    """Return the places [groups, 2, N] that 2:4 metadata [groups, N] stands for.

    Raises
    ------
    ValueError
        A code names a channel twice, or its second channel before its first.
    """
    codes = np.asarray(codes)
    wrong = codes[~np.isin(codes, ORDERED_CODES)]
    if wrong.size:
        legal = ", ".join(f"{code:04b}" for code in ORDERED_CODES)
        raise ValueError(f"metadata must be one of {legal}, not {int(wrong[0]):04b}")
    codes = codes.astype(np.int64)
    return np.stack([codes & 3, codes >> 2], axis=1)


def _largest(groups: Weights, n: int) -> NDArray[np.int64]:
    """Return the places of the ``n`` largest magnitudes of each group, rising."""
    order = np.argsort(-magnitude(groups), axis=1, kind="stable")
    return np.sort(order[:, :n], axis=1)


def _groups(weights: Weights, n: int, m: int) -> tuple[Weights, Weights]:
    """Return the weights and, zeros added, their groups [groups, m, N]."""
    weights = as_matrix(weights)
    if not 1 <= m <= MAX_M:
        raise ValueError(f"m must be from 1 to {MAX_M}, not {m!r}")
    if not 1 <= n <= m:
        raise ValueError(f"n must be from 1 to m={m}, not {n!r}")
    padding = np.zeros((-len(weights) % m, weights.shape[1]), weights.dtype)
    return weights, np.concatenate([weights, padding]).reshape(-1, m, weights.shape[1])
