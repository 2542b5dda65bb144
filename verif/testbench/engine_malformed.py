"""Commands that must be dropped, and products that go past the end of a buffer."""

import numpy as np

from ...hw.engine.commands import COMMANDS, encode
from ...hw.engine.config import EngineConfig

__all__ = ["CLAMPS", "change", "legal", "malformed", "no_results", "past_ends", "signed"]

CLAMPS = ("zero_point", "low", "high")
"""Fields of a GEMM that hold a result."""


def signed(value: int) -> int:
    return value - 65536 if value >= 32768 else value


def legal(config: EngineConfig) -> dict[str, tuple[int, int]]:
    """Return the least and greatest legal value of each field of a GEMM that is checked."""
    d, top = config.datapath, 0xFFFF
    legal = {
        "w_base": (0, config.weight_depth - 1), "p_base": (0, config.param_depth - 1),
        "n_last": (1, d.cols), "pool": (1, top),
    }  # fmt: skip
    legal |= dict.fromkeys(("tile_rows", "last_rows"), (1, config.tile_rows_max))
    legal |= dict.fromkeys(("n_tiles", "k_chunks", "k_rows", "m_tiles"), (1, top))
    for field in COMMANDS["GEMM"].fields:
        if field.name.endswith("_lane"):
            legal[field.name] = 0, d.act_lanes - 1
        elif field.name.endswith("_count"):
            legal[field.name] = 1, top
    return legal


def malformed(
    rng: np.random.Generator, config: EngineConfig, good: list[int], kept: int
) -> tuple[str, list[int]]:
    """Return why a command must be dropped, and the command: most are near misses of ``good``.

    ``kept`` is of how many rows sums are kept at that point.
    """
    lengths = [
        ("opcode", [int(rng.choice([0, 5, 6, 7, 12, 20, 36, 68, 132, int(rng.integers(5, 256))]))]
         + [int(rng.integers(1 << 32)) for _ in range(int(rng.integers(4)))]),
        ("length", good[: int(rng.integers(1, len(good)))]),
        ("length", [*good, *(int(v) for v in rng.integers(0, 1 << 32, rng.integers(1, 4)))]),
        ("length", encode("LOAD_X", count=1)[: int(rng.integers(1, 3))]),
        ("length", [*encode("LOAD_W", count=1), 4]),
        ("length", encode("PARAM", base=0, count=1)),
        ("length", [*encode("LOAD_X", fill=1, count=1), 0]),
    ]  # fmt: skip
    spans = []
    for name, depth in (("LOAD_X", config.act_depth), ("LOAD_W", config.weight_depth),
                        ("PARAM", config.param_depth)):  # fmt: skip
        base = int(rng.integers(depth))
        over = depth - base + int(rng.choice((1, 1 << int(rng.integers(6, 14)))))
        far = min(depth << int(rng.integers(0, 3)), 65535)
        extra = [0] * int(rng.integers(1, 6)) if name == "PARAM" else []
        for wrong in ((base, 0), (base, over), (signed(far), 1), (-1, -1)):
            words = encode(name, extra, base=wrong[0], count=signed(wrong[1] & 0xFFFF))
            spans.append((f"{name} span", words))
    ranges = []
    tile_rows = good[6] & 0xFFFF
    for name, (first, last) in legal(config).items():
        most = (1 << COMMANDS["GEMM"].field(name).width) - 1
        if first:
            ranges.append((name, first - 1))
        if last < most:
            ranges.append((name, int(rng.integers(last + 1, min(last + 100, most) + 1))))
            ranges.append((name, min(last + 1 << int(rng.integers(0, 8)), most)))
    ranges += [("last_rows", tile_rows + 1), ("last_rows", tile_rows | 1 << 12)]
    ranges.append(("accumulate", 0 if kept else 1))
    ranges += [(name, signed(value)) for name in CLAMPS for value in no_results(config)]
    flags = [
        ("flags", change(good, raw=1, store=0, pool=2)),
        ("flags", change(good, raw=1, store=1, pool=1)),
        ("flags", change(good, keep=1, raw=0, accumulate=int(kept > 0), m_tiles=2)),
        ("flags", change(good, keep=1, raw=0, accumulate=int(kept > 0), m_tiles=1, n_tiles=2)),
        ("flags", change(good, accumulate=1, keep=0, n_tiles=1, m_tiles=2)),
        ("flags", change(good, low=1, high=0)),
    ]
    if 0 < kept < config.tile_rows_max:
        more = {"tile_rows": kept + 1, "last_rows": kept + 1}
        flags.append(("flags", change(good, accumulate=1, keep=0, n_tiles=1, m_tiles=1, **more)))
    if rng.random() < 0.45:
        name, value = ranges[int(rng.integers(len(ranges)))]
        return "field", change(good, **{name: value})
    others = (lengths, spans, flags)[int(rng.integers(3))]
    why, words = others[int(rng.integers(len(others)))]
    return why.split()[-1], words


def no_results(config: EngineConfig) -> list[int]:
    """Return halves of words that hold no result of the engine: one of each kind of bits above."""
    least, most = config.lane.out_range
    legal = {value & 0xFFFF for value in range(least, most + 1)}
    bits = config.datapath.x_bits
    found = {most + 1, least - 1 & 0xFFFF, *(1 << bit for bit in range(bits, 16))}
    found |= {0xFFFF & ~(1 << bit) for bit in range(bits, 16)}
    return sorted(value for value in found - legal if value < 1 << 16)


def change(words: list[int], **values: int) -> list[int]:
    """Return a GEMM's words with some fields replaced."""
    changed = list(words)
    for name, value in values.items():
        field = COMMANDS["GEMM"].field(name)
        mask = (1 << field.width) - 1
        changed[field.word] &= ~(mask << field.lsb)
        changed[field.word] |= (value & mask) << field.lsb
    return changed


def past_ends(config: EngineConfig) -> list[dict[str, int]]:
    """Return fields that make a GEMM read or store past the end of a buffer, or up to it."""
    depth, lanes = config.act_depth, config.datapath.act_lanes
    single = {"m_tiles": 1, "n_tiles": 1, "k_rows": 1, "k_chunks": 1, "last_rows": 1}
    single |= {f"m{i}_{part}": 0 for i in range(5) for part in ("vector", "lane")}
    single |= {"x_vector": 0, "w_base": 0}
    raw = {"raw": 1, "bias": 0, "store": 0, "pool": 1}
    requantised = {"raw": 0, "store": 0}
    found: list[dict[str, int]] = []
    for vector in (depth - 1, depth, depth + 1, *(1 << bit for bit in range(4, 16)), 0xFFFF):
        second = {"tile_rows": 2, "last_rows": 2, "m4_count": 2, "m4_vector": vector}
        found += [
            single | raw | {"x_vector": vector, "x_lane": lanes - 1},
            single | raw | {"k_row_vector": vector, "k_rows": 2},
            single | raw | second,
            single | {"raw": 0, "store": 1, "y_vector": vector, "y_lane": lanes - 1},
        ]
    beats, tile = config.weight_depth, config.datapath.weight_beats
    for base in (beats - 1, beats - tile, beats - tile + 1, beats - 2 * tile):
        for k_rows, m_tiles in ((1, 1), (2, 1), (2, 2)):
            counts = {"k_rows": k_rows, "m_tiles": m_tiles, "w_base": max(0, base)}
            found.append(single | raw | counts | {"k_row_vector": 0})
    rows, groups = config.param_depth, config.groups
    for base in sorted({rows - 1, rows - groups, min(rows - 1, rows - groups + 1)}):
        for n_tiles in (1, 2):
            counts = {"p_base": base, "n_tiles": n_tiles, "n_last": config.datapath.cols}
            found += [single | kind | counts for kind in (raw, raw | {"bias": 1}, requantised)]
    return found
