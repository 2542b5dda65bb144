"""Draw which tokens of a text a cache keeps over time, under four policies; see README.md.

Every token is a line from the step in which it comes to the one in which it is evicted.
"""

import argparse
from dataclasses import replace
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from tilewright.hw.kv.config import policy
from tilewright.sw import zoo
from tilewright.sw.llm.gguf_file import read_decoder, read_tokenizer
from tilewright.sw.llm.scaling import calibrate
from tilewright.verif.golden.decode import Cache, CachedAttention, Step

POLICIES = {"window": "window", "sinks": "sinks + window", "h2o": "H2O", "aerp": "AERP"}
SIDE, GAP, TOP = 300, 30, 24
"""Pixels of a panel, between panels, and above them."""


def lifetimes(block: int, head: int, tokens: int, budget: int) -> NDArray[np.int64]:
    """Return the step in which each token is evicted, [policies, tokens]; ``tokens`` for never."""
    decoder = read_decoder(zoo.located("smollm2"))
    words = read_tokenizer(zoo.located("smollm2")).encode(zoo.text("news"))
    decoder = replace(decoder, layers=decoder.layers[: block + 1])
    ends = np.full((len(POLICIES), tokens), tokens)

    def watch(step: Step) -> None:
        if step.block == block:
            gone = step.placed.evicted[:, head]
            rows = np.nonzero(gone >= 0)[0]
            ends[rows, gone[rows]] = step.token

    attend = CachedAttention(
        decoder.dimensions,
        tuple(Cache(policy=policy(name, budget)) for name in POLICIES),
        calibrate(decoder, words[None, 20_000:20_256]),
        watch=watch,
    )
    decoder.states(np.repeat(words[None, :tokens], len(POLICIES), 0), attend)
    return ends


def drawing(ends: NDArray[np.int64]) -> str:
    """Return the picture as SVG: steps to the right, tokens downwards."""
    count, tokens = ends.shape
    scale = SIDE / tokens
    width, height = count * (SIDE + GAP), TOP + SIDE + 10
    font = 'font-family="sans-serif" font-size="14"'
    parts = [
        f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {width} {height}" {font}>',
        f'<rect width="{width}" height="{height}" fill="white"/>',
    ]
    for i, (title, row) in enumerate(zip(POLICIES.values(), ends.tolist(), strict=True)):
        left = i * (SIDE + GAP) + 10
        lines = "".join(f"M{token} {token}H{end}" for token, end in enumerate(row) if end > token)
        parts += [
            f'<text x="{left}" y="16">{title}</text>',
            f'<g transform="translate({left} {TOP}) scale({scale:.4f})">',
            f'<rect width="{tokens}" height="{tokens}" fill="#f2f2f2"/>',
            f'<path d="{lines}" stroke="#1f5f99" stroke-width="1" fill="none"/></g>',
        ]
    return "\n".join([*parts, "</svg>"]) + "\n"


def main() -> None:
    """Run a few blocks of the model and draw what one head of the last keeps."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--block", type=int, default=4)
    parser.add_argument("--head", type=int, default=0)
    parser.add_argument("--tokens", type=int, default=400)
    parser.add_argument("--budget", type=int, default=64)
    parser.add_argument("--out", type=Path, default=Path("build/smollm2/survivors.svg"))
    options = parser.parse_args()
    ends = lifetimes(options.block, options.head, options.tokens, options.budget)
    options.out.parent.mkdir(parents=True, exist_ok=True)
    options.out.write_text(drawing(ends), encoding="utf-8")
    print(options.out)


if __name__ == "__main__":
    main()
