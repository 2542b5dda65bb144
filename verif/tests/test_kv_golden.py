"""The golden KV cache against lists of tokens in plain Python, and against known facts."""

import random

import numpy as np
import pytest

from tilewright.hw.config import ConfigError
from tilewright.hw.kv.config import POLICIES, KvConfig, Policy, policy
from tilewright.verif.golden.kv import GoldenKv, retention_faults
from tilewright.verif.tests.seeds import seeds


class Head:
    """One head as a list of slots, each a dictionary or None."""

    def __init__(self, config: KvConfig, rule: Policy):
        self.config, self.rule = config, rule
        self.slots = [None] * rule.budget
        self.victim = None

    def candidates(self, position: int) -> list[int]:
        """List what may leave, the first to leave first."""
        rule = self.rule
        free = [n for n, token in enumerate(self.slots) if token["position"] >= rule.sinks]
        if rule.evict == "oldest":
            return sorted(free, key=lambda n: self.slots[n]["position"])
        free = [n for n in free if position - self.slots[n]["position"] >= rule.window]
        return sorted(free, key=lambda n: self.slots[n]["score"])  # stable: then the lowest

    def place(self, token: dict) -> tuple[int, dict | None]:
        """Store a token; return its slot and what was there."""
        if None in self.slots:
            slot = self.slots.index(None)
        elif self.rule.evict == "oldest" or self.victim is None:
            slot = self.candidates(token["position"])[0]
        else:
            slot = self.victim
        old, self.slots[slot], self.victim = self.slots[slot], token, None
        return slot, old

    def score(self, weights: list[int], position: int, final: bool) -> None:
        """Add weights, token by token; perhaps choose a victim."""
        rule, config = self.rule, self.config
        dither = 0
        if rule.dither and rule.shift:
            digits = f"{position % 2**config.weight_bits:0{config.weight_bits}b}"[-rule.shift :]
            dither = int(digits[::-1], 2)
        for token, weight in zip(self.slots, weights, strict=False):
            if token:
                if final and rule.decay and position % 2**rule.decay == 0:
                    token["score"] //= 2
                gained = (weight + dither) // 2**rule.shift
                token["score"] = min(token["score"] + gained, 2**config.score_bits - 1)
        if final and None not in self.slots:
            self.victim = next(iter(self.candidates(position)), None)


def random_policy(config: KvConfig, rng: random.Random) -> Policy:
    """Draw a policy that a controller can follow."""
    budget = rng.randint(2, config.slots)
    sinks = rng.randrange(budget)
    evict = rng.choice(("oldest", "score", "score", "never"))
    return Policy(
        evict=evict,
        budget=budget,
        sinks=sinks,
        window=rng.randint(0, budget - sinks),
        shift=rng.randrange(config.weight_bits + 1),
        dither=rng.random() < 0.5,
        decay=rng.randrange(5),
        theta=rng.randrange(config.heads + 2),
        threshold=rng.randrange(config.score_max + 2),
    )


@pytest.mark.parametrize("seed", seeds(30))
def test_golden_is_a_list_of_tokens(seed):
    rng = random.Random(seed)
    config = KvConfig(
        heads=rng.randint(1, 4),
        slots=rng.randint(2, 9),
        score_bits=rng.randint(2, 9),
        weight_bits=rng.randint(1, 9),
        position_bits=rng.randint(4, 9),
        inputs=rng.choice((0, 3, 20)),
    )
    rules = [random_policy(config, rng) for _ in range(3)]
    golden = GoldenKv(config, rules)
    models = [[Head(config, rule) for _ in range(config.heads)] for rule in rules]
    position = [0] * len(rules)
    free = [list(range(config.inputs)) for _ in rules]
    for _ in range(150):
        keep = [rng.random() < 0.9 for _ in range(config.heads)]
        placed = golden.place(keep)
        for i, (rule, heads) in enumerate(zip(rules, models, strict=True)):
            full = any(k and None not in h.slots for k, h in zip(keep, heads, strict=True))
            refused = position[i] == 2**config.position_bits - 1 or (rule.evict == "never" and full)
            assert placed.refused[i] == refused
            if refused:
                assert (placed.slot[i] == -1).all()
                continue
            token = {"position": position[i], "input": None, "kept": sum(keep)}
            if rule.theta and sum(keep) >= rule.theta and free[i]:
                token["input"] = free[i].pop(0)
            assert placed.input[i] == (-1 if token["input"] is None else token["input"])
            for h, head in enumerate(heads):
                if not keep[h]:
                    assert placed.slot[i, h] == -1
                    continue
                slot, old = head.place({"score": 0, "position": position[i], "token": token})
                assert placed.slot[i, h] == slot
                assert placed.evicted[i, h] == (old["position"] if old else -1)
                dropped = old["token"]["input"] if old else None
                assert placed.dropped[i, h] == (-1 if dropped is None else dropped)
                if old:
                    old["token"]["kept"] -= 1
                    last = dropped is not None and not old["token"]["kept"]
                    assert placed.freed[i, h] == last
                    if not old["token"]["kept"] and old["token"]["input"] is not None:
                        free[i].append(old["token"]["input"])
            position[i] += 1
        for final in (False, True)[rng.randrange(2) :]:
            weights = [
                [[rng.randrange(2**config.weight_bits) for _ in range(config.slots)] for _ in row]
                for row in models
            ]
            heads = [rng.random() < 0.8 for _ in range(config.heads)]
            golden.score(weights, final=final, heads=heads)
            for i, row in enumerate(models):
                for h, head in enumerate(row):
                    if heads[h]:
                        head.score(weights[i][h], position[i], final)
        check_same(golden, models)


def check_same(golden: GoldenKv, models: list[list[Head]]) -> None:
    """Compare all slots, and what is stored."""
    for i, row in enumerate(models):
        pairs, inputs = 0, set()
        for h, head in enumerate(row):
            for slot, token in enumerate(head.slots):
                if token is None:
                    assert golden.positions[i, h, slot] == -1
                    continue
                assert golden.positions[i, h, slot] == token["position"]
                assert golden.scores[i, h, slot] == token["score"]
                assert golden.high()[i, h, slot] == (token["score"] >= head.rule.threshold)
                if token["token"]["input"] is None:
                    pairs += 1
                else:
                    inputs.add(token["token"]["input"])
        assert golden.words(10, 7)[i] == 20 * pairs + 7 * len(inputs)


def test_named_policies_keep_what_their_papers_say():
    config = KvConfig(heads=1, slots=16, inputs=16)
    names = ("window", "sinks", "h2o", "aerp")
    golden = GoldenKv(config, [policy(name, 16) for name in names])
    rng = np.random.default_rng(1)
    for t in range(100):
        golden.place()
        weights = rng.integers(1, 100, (4, 1, 16))
        weights[golden.positions == 7] = 60000  # a heavy hitter
        weights[golden.positions == t] = 0
        golden.score(weights)
    kept = [set(row[0]) for row in golden.positions.tolist()]
    assert kept[0] == set(range(84, 100))
    assert kept[1] == {0, 1, 2, 3, *range(88, 100)}
    assert kept[2] >= {7, *range(92, 100)}
    assert kept[3] >= {*range(10), *range(95, 100)}
    assert (golden.inputs[3] >= 0).all(), "every token is in the only head"


@pytest.mark.parametrize("name", ["h2o", "aerp"])
def test_narrow_scores_keep_what_attention_needs(name):
    """Most attention on the first token, some on all: sums that never decay would lose it."""
    lost = {}
    for decay in ({}, {"shift": 6, "decay": 0}):
        golden = GoldenKv(KvConfig(heads=1, slots=64), policy(name, 64, sinks=0, **decay))
        for _ in range(1500):
            golden.place()
            weights = np.full((1, 1, 64), 65536 // 64)
            weights[golden.positions == 0] = 40000
            golden.score(weights)
        lost[bool(decay)] = 0 not in golden.positions
        saturated = (golden.scores[0, 0] == golden.config.score_max).sum()
        assert (saturated > 10) == bool(decay)
    assert lost == {False: False, True: True}


def test_scores_count_sixteenths_of_a_weight():
    assert [policy("h2o", 8, weight_bits=bits).shift for bits in (16, 8, 3)] == [12, 4, 0]
    assert policy("aerp", 100).decay == 6


def test_a_full_cache_refuses_and_stays():
    golden = GoldenKv(KvConfig(heads=2, slots=4, position_bits=4), policy("full", 3))
    for _ in range(3):
        assert not golden.place().refused
    assert golden.place([False, True]).refused
    assert golden.position.tolist() == [3]
    for _ in range(12):
        assert not golden.place(False).refused
    assert golden.place(False).refused, "positions end at 15"


def test_dither_loses_nothing():
    config = KvConfig(heads=1, slots=2, score_bits=16)
    golden = GoldenKv(config, Policy(evict="never", budget=2, shift=8, dither=True))
    golden.place()
    for _ in range(256):
        golden.score([[[3, 0]]])
        golden.place(False)
    assert golden.scores[0, 0, 0] == 3


def test_policies_that_cannot_be_followed():
    config = KvConfig(heads=1, slots=8)
    with pytest.raises(ConfigError, match="budget must be an integer from 1 to 8, not 9"):
        GoldenKv(config, policy("h2o", 9))
    with pytest.raises(ConfigError, match=r"sinks must be below budget = 4, .* not 4"):
        Policy(evict="oldest", budget=4, sinks=4).check(config)
    with pytest.raises(ConfigError, match=r"sinks \+ window .* budget = 4, .* not 2 \+ 3"):
        Policy(evict="score", budget=4, sinks=2, window=3).check(config)
    with pytest.raises(ConfigError, match="policy must be one of 'full', .* not 'lru'"):
        policy("lru", 4)
    assert set(POLICIES) == {"full", "window", "sinks", "h2o", "aerp"}


def test_faults_come_at_the_stated_rates():
    rng = np.random.default_rng(2)
    words = rng.integers(-32768, 32768, 40000)
    high = np.arange(40000) < 20000
    rates = (0.01, 0.05, 0.1, 0.3)
    turned = (retention_faults(words, high, rates, rng) ^ words) & 0xFFFF
    shares = [
        np.mean([(turned[rows] >> bit & 1).mean() for bit in bits])
        for rows in (high, ~high)
        for bits in (range(8, 16), range(8))
    ]
    assert shares == pytest.approx(rates, rel=0.1)
    assert (retention_faults(words, high, (0, 0, 0, 0), rng) == words).all()
    assert abs(retention_faults(words % 8, False, (1, 1, 1, 1), rng, bits=4)).max() <= 8
