"""Arrays whose cells select: the largest weights of each group of channels and their places."""

import dataclasses
from collections.abc import Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from ...hw.engine.config import EngineConfig
from ...hw.packed.select_config import SelectConfig
from ..lower.layers import k_tiles
from ..model.integer_graph import QuantisedGraph
from .base import Family
from .operand import Operand
from .serial import bit_mac_luts
from .systolic import pack_rows, parallel_luts

__all__ = ["Select", "kept_places"]

Ints = NDArray[np.int64]


def kept_places(groups: Ints, keep: int) -> Ints:
    """Return which ``keep`` channels of each group and output stay, [G, keep, N], rising.

    ``groups`` [G, span, N]; the largest magnitudes stay, of equal ones those of the first channels.
    """
    order = np.argsort(-np.abs(groups), axis=1, kind="stable")
    return np.sort(order[:, :keep], axis=1)


class Select(Family):
    """What families of arrays whose cells select have in common.

    A tile has ``rows`` beats, the last row first (bit-serial: the first), column 0 in the least
    significant bits; of each column the weight and above it the line that its cell selects.
    """

    config: SelectConfig
    lossy = True

    def pack(self, tile: Ints, mode: int = 0) -> list[int]:
        """Return the beats of a weight tile; of each group and output the largest weights stay.

        ``mode`` says how many channels a group has; the tile is 0 from channel ``tile_k`` on.
        """
        tile, config = self.checked(tile, mode), self.config
        if tile[config.tile_k(mode) :].any():
            raise ValueError(f"tile must be 0 from channel {config.tile_k(mode)} on in mode {mode}")
        groups = tile[: config.tile_k(mode)].reshape(-1, config.span(mode), config.cols)
        places = kept_places(groups, config.share)
        weights = np.take_along_axis(groups, places, axis=1) & (1 << config.w_bits) - 1
        lines = places - np.arange(config.share)[:, None]
        words = (weights | lines << config.w_bits).reshape(config.rows, config.cols)
        return pack_rows(words if config.pe == "bit_mac" else words[::-1], config.word_bits)

    def unpack(self, beats: Sequence[int], mode: int = 0) -> Ints:
        """Return the weight tile (act_lanes, cols) of its beats.

        Beats from elsewhere may hold what `pack` never writes, and mean what the array computes:
        a place beyond the last line is the last line, a line that the mode's groups do not have
        counts for nothing, and rows that select the same channel add up.
        """
        config = self.config
        bits, mask = config.word_bits, (1 << config.word_bits) - 1
        rows = beats if config.pe == "bit_mac" else reversed(beats)
        cells = [[beat >> bits * c & mask for c in range(config.cols)] for beat in rows]
        words = np.array(cells, np.int64).reshape(-1, config.share, config.cols)
        weights = words & (1 << config.w_bits) - 1
        if config.w_signed:
            weights -= weights >> config.w_bits - 1 << config.w_bits
        span = config.span(mode)
        lines = np.minimum(words >> config.w_bits, config.lines - 1)
        places = lines + np.arange(config.share)[:, None]
        tile = np.zeros((config.act_lanes, config.cols), np.int64)
        channels = places + span * np.arange(len(words))[:, None, None]
        columns = np.broadcast_to(np.arange(config.cols), channels.shape)
        inside = lines <= span - config.share
        np.add.at(tile, (channels[inside], columns[inside]), weights[inside])
        return tile

    def operand(self, w: Any, mode: int = 0) -> Operand:
        """Return weights [K, N] as an operand, which the array computes with in their order.

        Raises
        ------
        ValueError
            Some output has more weights in a group than cells: nothing is pruned unasked.
        """
        k, n = w.shape
        span, share = self.config.span(mode), self.config.share
        groups: Ints = np.zeros((-(-k // span), span, n), w.dtype)
        groups.reshape(-1, n)[:k] = w
        places = kept_places(groups, share)
        lost = groups.copy()
        np.put_along_axis(lost, places, 0, axis=1)
        if lost.any():
            energy = (lost.astype(float) ** 2).sum() / (w.astype(float) ** 2).sum()
            count, total = np.count_nonzero(lost), np.count_nonzero(w)
            raise ValueError(
                f"w must have at most {share} of each {span} channels for an output: {count} of "
                f"its {total} weights, {energy:.1%} of their energy, would be lost; if they may "
                "be, prune them first, with prune_conflicts or prune_nm of tilewright.sw.sparse"
            )
        return Operand(w, None, k, self.useful(w, mode))

    def useful(self, weights: Ints, mode: int = 0) -> int:
        """Return how many products with ``weights`` are useful: those with a weight, if selected.

        A tile that covers no more of K than there are rows of cells selects nothing.
        """
        selects = self.config.tile_k(mode) > self.config.rows
        return int(np.count_nonzero(weights)) if selects else weights.size

    def prepare(self, network: QuantisedGraph, inputs: Ints) -> QuantisedGraph:
        """Return ``network``, each layer in the mode of the largest groups that loses nothing."""
        config = self.config
        modes = [0] * len(network.layers)
        for code in range(1, len(config.spans)):
            layers = tuple(dataclasses.replace(layer, mode=code) for layer in network.engine_layers)
            candidate = dataclasses.replace(network, layers=layers)
            tiles = k_tiles(EngineConfig(datapath=config), candidate)
            for i, (layer, lanes) in enumerate(zip(layers, tiles, strict=True)):
                held = lanes[:, : config.tile_k(code), None]
                weights = np.where(held < 0, 0, layer.weights[held[..., 0]])
                groups = weights.reshape(-1, config.span(code), layer.n)
                if (np.count_nonzero(groups, axis=1) <= config.share).all():
                    modes[i] = code
        layers = tuple(
            dataclasses.replace(layer, mode=mode)
            for layer, mode in zip(network.engine_layers, modes, strict=True)
        )
        return dataclasses.replace(network, layers=layers)

    def lut4_equivalents(self) -> float:
        """Count an array that does not select, and a multiplexer of the groups' channels."""
        config = self.config
        cells = config.rows * config.cols
        if config.pe == "bit_mac":
            array = bit_mac_luts(config.serial)
        else:
            sums = (config.rows - 1) * config.cols * config.psum_width
            array = parallel_luts(config, sums, (config.pe == "lut") * cells)
        return array + 1.15 * cells * config.x_bits * (config.spans[-1] - 1)
