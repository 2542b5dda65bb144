"""Cycles of a decode step's parts for engines of several shapes: what bounds a step.

``tilewright study attention`` prints the table of docs/units/attention.md, by the
cycle models of engine and attention unit, which are exact.
"""

from collections.abc import Sequence
from typing import Annotated, Any

import numpy as np
import typer

from ..hw.attention.config import ACT_BITS, AttentionConfig
from ..hw.engine.config import EngineConfig
from ..hw.systolic.config import SystolicConfig
from ..sw.cli.options import Json
from ..sw.cli.output import print_json, print_table
from ..sw.cycles import predict
from ..sw.lower.matmul import plan_products

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
    plans = plan_products(config, [product] * count, shift=shift)
    return predict(config, plans[0].program).cycles


def steps(
    config: AttentionConfig,
    tokens: int,
    heads: int,
    queries: int,
    shapes: Sequence[tuple[int, int]] = SHAPES,
) -> list[dict[str, Any]]:
    """Return for each shape the cycles of products, softmax and weighted sum."""
    schedule, group, count = config.schedule(), config.group, heads * config.groups
    end = 0
    for _ in range(heads * queries):
        end = schedule.row(0, tokens)[1] + tokens * config.groups
    widths, moving = (ACT_BITS, config.kv_bits), (config.kv_bits, ACT_BITS)
    found = []
    for shape in shapes:
        found.append(
            {
                "rows": shape[0],
                "cols": shape[1],
                "products": _cycles(shape, widths, (queries, group, tokens), count),
                "products, keys moving": _cycles(shape, moving, (tokens, group, queries), count),
                "softmax": end,
                "weighted sum": _cycles(
                    shape, widths, (queries, tokens, group), count, config.out_shift
                ),
            }
        )
    return found


def main(
    head_size: Annotated[int, typer.Option("--head-size", help="Elements of a key.")] = 64,
    tokens: Annotated[int, typer.Option("--tokens", help="Tokens in the cache.", min=1)] = 128,
    heads: Annotated[int, typer.Option("--heads", help="KV heads.", min=1)] = 3,
    queries: Annotated[
        int, typer.Option("--queries", help="Query heads that share a KV head.", min=1)
    ] = 3,
    kv_bits: Annotated[int, typer.Option("--kv-bits", help="Of keys and values.")] = 8,
    json: Json = False,
) -> None:
    """Count the cycles of a decode step's parts for engines of several shapes."""
    config = AttentionConfig(
        head_size=head_size, group=head_size, slots=max(2, tokens), kv_bits=kv_bits
    )
    found = steps(config, tokens, heads, queries)
    if json:
        print_json(found)
        return
    print_table(tuple(found[0]), [tuple(row.values()) for row in found])
