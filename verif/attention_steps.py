"""Cycles of a decode step's parts for engines of several shapes: what bounds a step.

``python -m tilewright.verif.attention_steps`` prints the table of docs/units/attention.md, by the
cycle models of engine and attention unit, which are exact.
"""

import argparse
from collections.abc import Sequence
from typing import Any

import numpy as np

from ..hw.attention.config import ACT_BITS, AttentionConfig
from ..hw.engine.config import EngineConfig
from ..hw.systolic.config import SystolicConfig
from ..sw.cli.output import print_json, print_table
from ..sw.cycles import predict
from ..sw.mapping.matmul import plan_products
from ..sw.pack.systolic import pack_tile

__all__ = ["main", "steps"]

SHAPES = ((4, 16), (8, 16), (16, 16), (4, 32), (8, 32), (4, 64), (64, 4))


def _cycles(
    shape: tuple[int, int],
    operands: tuple[int, int],
    sizes: tuple[int, int, int],
    count: int,
    shift: int | None = None,
) -> int:
    """Return cycles of ``count`` products [m, k] @ [k, n]; operands are bits of x and of w."""
    datapath = SystolicConfig(
        rows=shape[0], cols=shape[1], x_bits=operands[0], w_bits=operands[1], k_max=2 * sizes[1]
    )
    lanes = 1 << min(*shape, 4).bit_length() - 1
    config = EngineConfig(datapath=datapath, drain_lanes=lanes)
    m, k, n = sizes
    product = np.zeros((m, k), np.int64), np.zeros((k, n), np.int64)
    plans = plan_products(config, [product] * count, pack_tile, shift=shift)
    return predict(config, plans[0].program).cycles


def steps(
    config: AttentionConfig,
    tokens: int,
    heads: int,
    queries: int,
    shapes: Sequence[tuple[int, int]] = SHAPES,
) -> list[dict[str, Any]]:
    """Return for each shape the cycles of products, softmax and mix."""
    schedule, group, count = config.schedule(), config.group, heads * config.groups
    for _ in range(heads * queries):
        end = schedule.row(0, tokens)[1] + tokens * config.groups
    widths, moving = (ACT_BITS, config.kv_bits), (config.kv_bits, ACT_BITS)
    found = []
    for shape in shapes:
        found.append({
            "rows": shape[0],
            "cols": shape[1],
            "products": _cycles(shape, widths, (queries, group, tokens), count),
            "products, keys moving": _cycles(shape, moving, (tokens, group, queries), count),
            "softmax": end,
            "mix": _cycles(shape, widths, (queries, tokens, group), count, config.out_shift),
        })
    return found


def main() -> None:
    """Print the table."""
    parser = argparse.ArgumentParser(description="Cycles of a decode step's parts.")
    parser.add_argument("--head-size", type=int, default=64)
    parser.add_argument("--tokens", type=int, default=128)
    parser.add_argument("--heads", type=int, default=3, help="KV heads")
    parser.add_argument("--queries", type=int, default=3, help="query heads that share a KV head")
    parser.add_argument("--kv-bits", type=int, default=8)
    parser.add_argument("--json", action="store_true")
    chosen = parser.parse_args()
    config = AttentionConfig(
        head_size=chosen.head_size, group=chosen.head_size, slots=max(2, chosen.tokens),
        kv_bits=chosen.kv_bits,
    )
    found = steps(config, chosen.tokens, chosen.heads, chosen.queries)
    if chosen.json:
        print_json(found)
        return
    print_table(tuple(found[0]), [tuple(row.values()) for row in found])


if __name__ == "__main__":
    main()
