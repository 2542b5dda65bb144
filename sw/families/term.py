"""Term-revealing arrays: the terms of a weight tile in the order in which they are computed."""

from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

from ...hw.engine.config import EngineConfig
from ...hw.term.config import TermConfig
from ..lower.layers import k_tiles
from ..model.integer_graph import QuantisedGraph
from ..quantise.budgets import search_budgets, with_budgets
from ..quantise.digits import masks
from ..quantise.terms import reveal
from .base import Family

__all__ = ["Term", "schedule", "slot_counts"]

Ints = NDArray[np.int64]

Slot = tuple[int, int, int, int]
"""Owner, whether the term is negative, whether there is one, and the place: see `TermConfig`."""

_IDLE: Slot = (0, 0, 0, 0)


def schedule(config: TermConfig, weights: Ints) -> list[Slot]:
    """Return the slots of one column of a tile, whose budget is applied already.

    ``"plane"``: exponents rise, within one the owners do; a slot without a term stands for an
    exponent that is left out, up to the highest that there is, and the last slot is always empty.
    ``"tmac"``: the same terms, each with its exponent.
    """
    plus, minus = (mask.tolist() for mask in masks(weights, config.encoding))
    slots: list[Slot] = []
    for exponent in range(config.w_places):
        terms = [
            (owner, minus[owner] >> exponent & 1, 1)
            for owner in range(config.rows)
            if (plus[owner] | minus[owner]) >> exponent & 1
        ]
        if config.pe == "tmac":
            slots += [(*term, exponent) for term in terms]
        elif slots:
            slots += [(*term, int(i == 0)) for i, term in enumerate(terms or [_IDLE[:3]])]
        else:
            slots += [(*term, 0) for term in terms]
    return [*slots, _IDLE] if config.pe == "plane" else slots


def slot_counts(config: TermConfig, tile: Ints) -> Ints:
    """Return the slots of every column of a tile whose budget is applied already."""
    plus, minus = masks(np.asarray(tile, np.int64), config.encoding)
    places = np.arange(config.w_places)[:, None, None]
    counts = ((plus | minus) >> places & 1).sum(1)
    if config.pe == "tmac":
        return counts.sum(0)
    begun = np.cumsum(counts, axis=0) > 0
    return np.maximum(counts, begun).sum(0) + 1


def _word(config: TermConfig, slot: Slot) -> int:
    owner, sign, present, place = slot
    return owner | (sign | present << 1 | place << 2) << config.owner_bits


class Term(Family):
    """Term-revealing arrays.

    A tile's beats are slots of every column, column 0 in the least significant bits, and above them
    whether the slots are in use. Shorter columns start with empty slots.
    """

    config: TermConfig
    lossy = True

    def pack(self, tile: Ints, mode: int = 0) -> list[int]:
        """Return the beats of a weight tile, the budget of every group applied.

        The mode may ask for other groups and budgets than the configuration.
        """
        config = self.config
        # Revealing rounds up to the next power of two, 128 of 8 bits, which is one term like any.
        most = 1 << config.w_bits - config.w_signed
        tile = np.asarray(tile, np.int64)
        self.checked(np.where(tile == most, most - 1, tile), mode)
        kept = reveal(tile, config.encoding, *config.weight_limit(mode))
        columns = [schedule(config, column) for column in kept.T]
        used = max(config.shortest, *map(len, columns))
        padded = [[_IDLE] * (used - len(column)) + column for column in columns]
        beats = []
        for slots in zip(*padded, strict=True):
            words = [_word(config, slot) for slot in slots]
            beat = sum(word << config.slot_bits * i for i, word in enumerate(words))
            beats.append(beat | 1 << config.weight_beat_bits - 1)
        return beats + [0] * (config.weight_beats - used)

    def unpack(self, beats: Sequence[int], mode: int = 0) -> Ints:
        """Return the weight tile of its beats: what the array multiplies by."""
        config = self.config
        tile = np.zeros((config.rows, config.cols), np.int64)
        bits, mask = config.slot_bits, (1 << config.slot_bits) - 1
        for column in range(config.cols):
            words = [beat >> bits * column & mask for beat in beats]
            places = [word >> config.owner_bits + 2 for word in words]
            exponents = places
            if config.pe == "plane":
                exponents = (config.w_places - 1 - sum(places) + np.cumsum(places)).tolist()
            for word, exponent in zip(words, exponents, strict=True):
                owner, flags = word & (1 << config.owner_bits) - 1, word >> config.owner_bits
                if flags & 2:
                    tile[owner, column] += (-1 if flags & 1 else 1) << exponent
        return tile

    def prepare(self, network: QuantisedGraph, inputs: Ints) -> QuantisedGraph:
        """Return ``network`` with revealed weights, see `search_budgets`."""
        tiles = k_tiles(EngineConfig(datapath=self.config), network)
        found = search_budgets(self.config, network, tiles, inputs, slot_counts)
        return with_budgets(network, found)

    def lut4_equivalents(self) -> float:
        """Count PEs, and a row's encoder where data values become terms."""
        config = self.config
        if config.pe == "tmac":
            return 150 * config.rows + 97 * config.rows * config.cols
        memories = -(-config.tile_terms // 16)
        encoders = 73 * config.rows * (config.data_terms > 0)
        return 180 + encoders + (17 + 30 * memories) * config.rows * config.cols
