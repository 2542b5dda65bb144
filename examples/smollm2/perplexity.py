"""Measure SmolLM2's perplexity on news with caches of few tokens; see README.md in this folder.

Keys, values and attention are integers, as the hardware computes them; which tokens stay is decided
by the golden model of the cache controller.
"""

import argparse
import json
import re
import time
from pathlib import Path

import numpy as np

from tilewright.hw.kv.config import policy
from tilewright.sw import zoo
from tilewright.sw.llm.decoder import FullAttention
from tilewright.sw.llm.gguf_file import read_decoder, read_tokenizer
from tilewright.sw.llm.scaling import calibrate
from tilewright.verif.golden.decode import Cache, CachedAttention

CALIBRATION = slice(20_000, 20_512)
"""Tokens that units and channels are chosen with; they are not among those that are scored."""

RATES = (2e-4, 3e-3, 8e-4, 4e-3)
"""Lost bits under 2DRP: in proportion to the paper's intervals, their mean the paper's 2e-3."""

HIGH = 32
"""Score from which a token counts as a high one: two whole weights."""

UNIFORM = (2e-3,) * 4
"""As many lost bits everywhere."""


def formats(tokens: int) -> dict[str, Cache]:
    """Return caches that keep all tokens, by the bits of their elements; softmax is in floats."""
    full = policy("full", tokens)
    return {
        "full, 8 bits": Cache(policy=full),
        "full, 4 bits": Cache(policy=full, kv_bits=4),
        "full, 4 bits, groups of 16, even channels": Cache(
            policy=full, kv_bits=4, group=16, turned="read", channels=True
        ),
    }


def budgets(budget: int) -> dict[str, Cache]:
    """Return caches of a budget, keys and values of 8 bits all.

    ``H2O`` is as published: sums of weights that never decay, in 16 bits, since those of 8 would
    all be at their end after a while. All others follow `policy`.
    """
    sums = {"shift": 6, "decay": 0}
    plain, again = (policy("aerp", budget, theta=theta, threshold=HIGH) for theta in (0, 1))
    return {
        "window": Cache(policy=policy("window", budget)),
        "sinks + window": Cache(policy=policy("sinks", budget)),
        "H2O": Cache(policy=policy("h2o", budget, **sums), score_bits=16),
        "H2O, 8-bit scores": Cache(policy=policy("h2o", budget)),
        "AERP": Cache(policy=plain),
        "AERP, 4 pinned": Cache(policy=policy("aerp", budget, theta=0, sinks=4)),
        "AERP, recomputed": Cache(policy=again),
        "AERP, 2DRP": Cache(policy=plain, rates=RATES),
        **{
            f"AERP, recomputed, 2DRP, inputs as {name} scores": Cache(
                policy=again, rates=RATES, inputs=name
            )
            for name in ("low", "high")
        },
        "AERP, uniform faults": Cache(policy=plain, rates=UNIFORM),
    }


def main() -> None:
    """Score the text once for every cache and print a row each."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--tokens", type=int, default=1024)
    parser.add_argument("--budgets", type=int, nargs="*", default=[64, 128, 256])
    parser.add_argument("--renumbered", action="store_true", help="sinks with cache positions too")
    parser.add_argument("--only", default="", help="caches whose names match this")
    parser.add_argument("--out", type=Path, default=Path("build/smollm2/perplexity.json"))
    options = parser.parse_args()

    path = zoo.located("smollm2")
    decoder, words = read_decoder(path), read_tokenizer(path).encode(zoo.text("news"))
    text, other = words[None, : options.tokens], words[None, CALIBRATION]
    rows: list[dict[str, object]] = []

    def report(name: str, budget: int, losses: np.ndarray) -> None:
        later = float(np.exp(losses[len(losses) // 2 :].mean()))
        rows.append({"cache": name, "budget": budget, "all": float(np.exp(losses.mean())),
                     "second half": later})  # fmt: skip
        options.out.parent.mkdir(parents=True, exist_ok=True)
        options.out.write_text(json.dumps(rows, indent=1))
        print(f"{budget:5} {name:30} {rows[-1]['all']:8.3f} {later:8.3f}", flush=True)

    units = calibrate(decoder, other)

    def score(caches: dict[str, Cache], budget: int, *, all_kept: bool = False) -> None:
        caches = {name: cache for name, cache in caches.items() if re.search(options.only, name)}
        if not caches:
            return
        begun, kept = time.time(), tuple(caches.values())
        attend = CachedAttention(decoder.dimensions, kept, units)
        batch = np.repeat(text, len(caches), 0)
        states = decoder.states(batch, attend.stored if all_kept else attend)
        losses = decoder.losses(batch, states)
        for name, row in zip(caches, losses, strict=True):
            report(name, budget, row)
        print(f"({time.time() - begun:.0f} s)", flush=True)

    if re.search(options.only, "full, float"):
        states = decoder.states(text, FullAttention(decoder.dimensions))
        report("full, float", options.tokens, decoder.losses(text, states)[0])
    score(formats(options.tokens), options.tokens, all_kept=True)
    for budget in options.budgets:
        score(budgets(budget), budget)
    for budget in options.budgets if options.renumbered else ():
        score({"sinks + window, renumbered": Cache(policy=policy("sinks", budget), turned="cache")},
              budget)  # fmt: skip


if __name__ == "__main__":
    main()
