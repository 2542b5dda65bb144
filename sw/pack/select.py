"""Weight tiles of arrays whose cells select: the largest weights of each group and their places."""

import dataclasses

import numpy as np
from numpy.typing import NDArray

from ...hw.engine.config import EngineConfig
from ...hw.packed.select_config import SelectConfig
from ..mapping.network import k_tiles
from ..model.integer_graph import QuantisedGraph
from .by_mode import useful_products
from .operand import Operand, checked_tile

__all__ = ["kept_places", "pack_tile", "plain_operand", "prepare", "unpack_tile"]

Ints = NDArray[np.int64]


def kept_places(groups: Ints, keep: int) -> Ints:
    """Return which ``keep`` channels of each group and output stay, [G, keep, N], rising.

    ``groups`` [G, span, N]; the largest magnitudes stay, of equal ones those of the first channels.
    """
    order = np.argsort(-np.abs(groups), axis=1, kind="stable")
    return np.sort(order[:, :keep], axis=1)


def plain_operand(config: SelectConfig, w: Ints, mode: int = 0) -> Operand:
    """Return weights [K, N] as an operand, which the array computes with in their order.

    Raises
    ------
    ValueError
        Some output has more weights in a group than cells: nothing is pruned unasked.
    """
    k, n = w.shape
    span, share = config.span(mode), config.share
    groups = np.zeros((-(-k // span), span, n), w.dtype)
    groups.reshape(-1, n)[:k] = w
    places = kept_places(groups, share)
    lost = groups.copy()
    np.put_along_axis(lost, places, 0, axis=1)
    if lost.any():
        energy = (lost.astype(float) ** 2).sum() / (w.astype(float) ** 2).sum()
        count, total = np.count_nonzero(lost), np.count_nonzero(w)
        raise ValueError(
            f"w must have at most {share} of each {span} channels for an output: {count} of its "
            f"{total} weights, {energy:.1%} of their energy, would be lost; if they may be, prune "
            "them first, with prune_conflicts or prune_nm of tilewright.sw.sparse"
        )
    return Operand(w, None, k, useful_products(config, w, mode))


def pack_tile(config: SelectConfig, tile: Ints, mode: int = 0) -> list[int]:
    """Return the beats of a weight tile; of each group and output only the largest weights stay.

    Parameters
    ----------
    config : SelectConfig
        The array.
    tile : ndarray
        (act_lanes, cols), channels along K, values in the range of the weights; 0 from channel
        ``config.tile_k(mode)`` on, which the mode does not reach.
    mode : int
        That of the GEMM: how many channels a group has.

    Returns
    -------
    list of int
        ``rows`` beats, the last row first (bit-serial: the first), column 0 in the least
        significant bits; of each column the weight and above it the line that its cell selects.
    """
    tile = checked_tile(config, tile, mode)
    if tile[config.tile_k(mode) :].any():
        raise ValueError(f"tile must be 0 from channel {config.tile_k(mode)} on in mode {mode}")
    groups = tile[: config.tile_k(mode)].reshape(-1, config.span(mode), config.cols)
    places = kept_places(groups, config.share)
    weights = np.take_along_axis(groups, places, axis=1) & (1 << config.w_bits) - 1
    lines = places - np.arange(config.share)[:, None]
    words = (weights | lines << config.w_bits).reshape(config.rows, config.cols)
    if config.pe != "bit_mac":
        words = words[::-1]
    bits = words[:, :, None] >> np.arange(config.word_bits) & 1
    packed = np.packbits(
        bits.astype(np.uint8).reshape(config.rows, -1), axis=1, bitorder="little"
    )
    return [int.from_bytes(row.tobytes(), "little") for row in packed]


def unpack_tile(config: SelectConfig, beats: list[int], mode: int = 0) -> Ints:
    """Return the weight tile (act_lanes, cols) of its beats: the inverse of `pack_tile`.

    Beats from elsewhere may hold what `pack_tile` never writes, and mean what the array computes:
    a place beyond the last line is the last line, a line that the mode's groups do not have counts
    for nothing, and rows that select the same channel add up.
    """
    bits, mask = config.word_bits, (1 << config.word_bits) - 1
    rows = beats if config.pe == "bit_mac" else reversed(beats)
    words = [[beat >> bits * c & mask for c in range(config.cols)] for beat in rows]
    words = np.array(words, np.int64).reshape(-1, config.share, config.cols)
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


def prepare(
    config: SelectConfig, network: QuantisedGraph, _: list[Ints], inputs: Ints
) -> QuantisedGraph:
    """Return ``network`` with the mode of each layer that has the largest groups and loses nothing.

    Neither the tiles of the modes as they were nor calibration inputs matter.
    """
    modes = [0] * len(network.layers)
    for code in range(1, len(config.spans)):
        layers = tuple(dataclasses.replace(layer, mode=code) for layer in network.layers)
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
        for layer, mode in zip(network.layers, modes, strict=True)
    )
    return dataclasses.replace(network, layers=layers)
