"""Programs as beats of the engine's streams, and result beats as numbers."""

import numpy as np
from numpy.typing import NDArray

from ...hw.engine.config import EngineConfig
from ..families.operand import Values
from ..lower.program import Program

__all__ = ["input_beats", "pack_bits", "unpack_bits", "words_of"]


def words_of(values: list[int], bits: int) -> NDArray[np.uint64]:
    """Return integers of ``bits`` bits as rows of 64-bit words, the least significant first."""
    words = -(-bits // 64)
    size = words * 8
    mask = (1 << bits) - 1
    raw = b"".join((value & mask).to_bytes(size, "little") for value in values)
    return np.frombuffer(raw, "<u8").reshape(-1, words)


def pack_bits(values: NDArray[np.int64], bits: int) -> NDArray[np.uint64]:
    """Pack rows of integers, each in ``bits`` bits of two's complement, into 64-bit words."""
    rows, count = values.shape
    words = -(-count * bits // 64)
    flat = np.zeros((rows, words * 64 // 8), np.uint8)
    if bits in (8, 16, 32, 64):
        narrow = np.ascontiguousarray(values.astype(f"<i{bits // 8}")).view(np.uint8)
        flat[:, : count * bits // 8] = narrow.reshape(rows, count * bits // 8)
        return flat.view("<u8")
    unpacked = np.zeros((rows, words * 64), np.uint8)
    bit = (values[:, :, None] >> np.arange(bits)) & 1
    unpacked[:, : count * bits] = bit.reshape(rows, count * bits)
    return np.packbits(unpacked, axis=1, bitorder="little").view("<u8")


def unpack_bits(
    words: NDArray[np.uint64], bits: int, count: int, *, signed: bool = True
) -> NDArray[np.int64]:
    """Unpack rows of ``count`` integers of ``bits`` bits from 64-bit words."""
    rows = len(words)
    flat = np.ascontiguousarray(words).view(np.uint8).reshape(rows, -1)
    if bits in (8, 16, 32, 64):
        kind = f"<{'i' if signed else 'u'}{bits // 8}"
        used = np.ascontiguousarray(flat[:, : count * bits // 8])
        return used.view(kind).astype(np.int64)
    unpacked = np.unpackbits(flat, axis=1, bitorder="little", count=count * bits)
    weights = np.left_shift(np.int64(1), np.arange(bits, dtype=np.int64))
    if signed:
        weights[-1] = -weights[-1]
    return unpacked.reshape(rows, count, bits).astype(np.int64) @ weights


def input_beats(
    config: EngineConfig, program: Program
) -> dict[str, tuple[NDArray[np.uint64], NDArray[np.uint64]]]:
    """Return for each input stream its data words and its end-of-packet bits.

    Raises
    ------
    ValueError
        An activation or a weight beat does not fit its bits.
    """
    d = config.datapath
    x = np.concatenate([np.zeros((0, d.act_lanes), np.int64), *program.x_packets])
    Values.of(d.x_bits, d.x_signed).check("x", x)
    beats = [beat for packet in program.w_packets for beat in packet]
    if any(beat >> d.weight_beat_bits for beat in beats):
        raise ValueError(f"weight beats must have {d.weight_beat_bits} bits, but some have more")
    return {
        "cmd": (
            np.array([w for packet in program.commands for w in packet], np.uint64).reshape(-1, 1),
            _ends([len(packet) for packet in program.commands]),
        ),
        "x": (
            pack_bits(x, d.x_bits),
            _ends([len(packet) for packet in program.x_packets]),
        ),
        "w": (
            words_of(beats, d.weight_beat_bits),
            _ends([len(packet) for packet in program.w_packets]),
        ),
    }


def _ends(lengths: list[int]) -> NDArray[np.uint64]:
    ends = np.zeros(sum(lengths), np.uint64)
    ends[np.cumsum(np.array(lengths, np.int64)) - 1] = 1
    return ends
