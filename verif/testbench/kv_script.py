"""Random commands for a cache controller, and what the golden model makes of them."""

import random
from collections import Counter
from dataclasses import dataclass, field
from typing import Any

import numpy as np

from ...hw.config import ConfigError
from ...hw.kv.config import EVICT, KvConfig, Policy
from ...hw.kv.pager_config import STATUSES
from ...hw.kv.registers import ERRORS, register_values
from ...hw.kv.timing import KvTiming
from ..golden.kv import GoldenKv, Placement
from .kv_pages import PageScript

__all__ = ["Script", "random_policy"]

Beat = dict[str, Any]


def random_policy(config: KvConfig, rng: random.Random, evict: str | None = None) -> Policy:
    """Draw a policy that a controller can follow."""
    budget = rng.choice((config.slots, rng.randint(1, config.slots)))
    sinks = rng.choice((0, rng.randrange(budget)))
    return Policy(
        evict=evict or rng.choice(EVICT),
        budget=budget,
        sinks=sinks,
        window=rng.randint(0, budget - sinks),
        shift=rng.choice(
            (
                0,
                max(0, config.weight_bits - config.score_bits),
                rng.randrange(16),
                rng.randrange(min(15, config.weight_bits + 1) + 1),
            )
        ),
        dither=rng.random() < 0.5,
        decay=rng.choice((0, rng.randrange(16), rng.randrange(4))),
        theta=rng.choice((0, 1, config.heads, rng.randrange(65))),
        threshold=rng.randrange(config.score_max + 1),
    )


@dataclass
class Script:
    """Commands and weights to send, and what must come of them.

    Parameters
    ----------
    config : KvConfig
        Of the controller.
    seed : int
        Of everything drawn.

    Attributes
    ----------
    commands, weights : list
        To send.
    tokens, places, recalls : list of dict
        To expect, as fields of the payloads.
    taken : list of int
        When each command is taken, where nothing pauses.
    errors, counts : Counter
        Flags, by how often they were raised; tokens placed, evictions.
    """

    config: KvConfig
    seed: int = 1
    commands: list[Beat] = field(default_factory=list)
    weights: list[int] = field(default_factory=list)
    tokens: list[Beat] = field(default_factory=list)
    places: list[Beat] = field(default_factory=list)
    recalls: list[Beat] = field(default_factory=list)
    taken: list[int] = field(default_factory=list)
    errors: Counter = field(default_factory=Counter)
    counts: Counter = field(default_factory=Counter)

    def __post_init__(self) -> None:
        self.random = random.Random(self.seed)
        self.timing = KvTiming(self.config)
        self.policy = Policy()
        self.golden = GoldenKv(self.config, Policy(budget=1))
        pages = self.config.pages
        self.paging = None if pages is None else PageScript(pages, self.random)
        self._active = False
        self._used = 0

    @property
    def pages(self) -> list[Beat]:
        """Commands for the pager, to send."""
        return self.paging.commands if self.paging else []

    @property
    def answers(self) -> list[Beat]:
        """The pager's answers, to expect."""
        return self.paging.answers if self.paging else []

    def cycles(self, stream: str) -> list[int]:
        """Return when the beats of a stream move, where nothing pauses."""
        if stream == "commands":
            return self.taken
        if self.paging and stream in ("pages", "answers"):
            return self.paging.taken if stream == "pages" else self.paging.timing.answers
        return getattr(self.timing, stream)

    def flags(self) -> int:
        """Return what the register ``errors`` reads as."""
        names = [name for name in ERRORS if self.errors[name]]
        flags = sum(1 << list(ERRORS).index(name) for name in names)
        statuses = self.paging.statuses if self.paging else ()
        return flags | sum(128 << STATUSES.index(s) for s in statuses if s != "done")

    def registers(self) -> dict[str, int]:
        """Return what the registers read as that do not count."""
        wanted = register_values(self.config) | {
            "status": 0, "errors": self.flags(), "position": int(self.golden.position[0]),
        }  # fmt: skip
        return wanted | ({"free_blocks": self.paging.golden.free} if self.paging else {})

    def counters(self) -> dict[str, int]:
        """Return by how much the counters of tokens and blocks grow."""
        found = {"tokens": self.counts["tokens"], "evictions": self.counts["evictions"]}
        return found | ({"copies": self.paging.copies} if self.paging else {})

    def command(self, op: int, **fields: Any) -> None:
        """Queue a command; fields that do not count are drawn."""
        rng, config = self.random, self.config
        noise = {
            "head": rng.randrange(config.heads),
            "final": rng.randrange(2),
            "keep": rng.getrandbits(config.heads),
            "policy": encode(random_policy(config, rng)),
        }
        self.commands.append({"op": op, **noise, **fields})

    def start(self, policy: Policy) -> None:
        """Begin a sequence, or fail to."""
        self.command(0, policy=encode(policy))
        self.taken.append(self.timing.start())
        self._used = 0
        try:
            self.golden, self._active = GoldenKv(self.config, policy), True
            self.policy = policy
        except ConfigError:
            self.golden, self._active = GoldenKv(self.config, Policy(budget=1)), False
            self.errors["bad_policy"] += 1

    def place(self, keep: list[bool] | None = None) -> None:
        """Place a token."""
        config = self.config
        keep = [True] * config.heads if keep is None else keep
        self.command(1, keep=sum(bit << i for i, bit in enumerate(keep)))
        position = int(self.golden.position[0])
        too_long = position == config.most_tokens
        placed = self.golden.place(keep) if self._active else None
        if placed is None or placed.refused[0]:
            self.errors["too_long"] += too_long
            self.errors["no_room"] += not self._active or self._no_room(keep)
            self.places.append(_zeros(self._place_names()) | {"refused": 1, "last": 1})
            self.taken.append(self.timing.place(refused=True))
            return
        self.counts["tokens"] += 1
        searches = int(placed.scanned.sum())
        self.taken.append(self.timing.place(searches, self.policy.budget))
        self._used = max(self._used, int(placed.input[0]) + 1)
        self.places += self._place_beats(position, keep, placed)

    def _no_room(self, keep: list[bool]) -> bool:
        full = (self.golden.fill[0] == self.policy.budget) & keep
        return bool(full.any()) and self.policy.evict == "never"

    def _place_names(self) -> list[str]:
        names = ["head", "slot", "position", "kept", "evicted", "old", "refused", "last"]
        extra = ["has_input", "input", "freed", "old_input"] if self.config.inputs else []
        return names + extra

    def _place_beats(self, position: int, keep: list[bool], placed: Placement) -> list[Beat]:
        beats = []
        for head in range(self.config.heads):
            beat = _zeros(self._place_names()) | {
                "head": head,
                "position": position,
                "last": int(head == self.config.heads - 1),
            }
            if self.config.inputs:
                place = int(placed.input[0])
                beat |= {"has_input": int(place >= 0), "input": max(place, 0)}
                old = int(placed.dropped[0, head])
                if old >= 0:
                    beat |= {"old_input": old, "freed": int(placed.freed[0, head])}
            if keep[head]:
                old = int(placed.evicted[0, head])
                self.counts["evictions"] += old >= 0
                beat |= {
                    "slot": int(placed.slot[0, head]),
                    "kept": 1,
                    "evicted": int(old >= 0),
                    "old": max(old, 0),
                }
            beats.append(beat)
        return beats

    def read(self, head: int) -> None:
        """List a head's tokens."""
        self.command(2, head=head)
        if head >= self.config.heads:
            self._bad()
            return
        count = int(self.golden.fill[0, head])
        self.taken.append(self.timing.read(count))
        names = ["head", "slot", "position", "none", "last"]
        zeros = _zeros(names + (["has_input", "input"] if self.config.inputs else []))
        if not count:
            self.errors["no_tokens"] += 1
            self.tokens.append(zeros | {"head": head, "none": 1, "last": 1})
        for slot in range(count):
            beat = zeros | {"head": head, "slot": slot, "last": int(slot == count - 1)}
            beat["position"] = int(self.golden.positions[0, head, slot])
            place = int(self.golden.inputs[0, head, slot])
            if place >= 0:
                beat |= {"has_input": 1, "input": place}
            self.tokens.append(beat)

    def score(self, heads: list[int], *, final: bool) -> None:
        """Score heads, each once."""
        config, rng = self.config, self.random
        top = (1 << config.weight_bits) - 1
        scale = rng.choice((0, 1, top // 50, top))
        weights = np.zeros((1, config.heads, config.slots), np.int64)
        for head in heads:
            self.command(3, head=head, final=int(final))
            if head >= config.heads:
                self._bad()
                continue
            count = int(self.golden.fill[0, head])
            self.taken.append(self.timing.score(count))
            if not count:
                self.errors["no_tokens"] += 1
            given = [
                rng.choice((0, top, rng.randint(0, scale)))
                if rng.random() < 0.2
                else rng.randint(0, scale)
                for _ in range(count)
            ]
            self.weights += given
            weights[0, head, :count] = given
        chosen = [head in heads for head in range(config.heads)]
        self.golden.score(weights, final=final, heads=chosen)

    def recall(self) -> None:
        """List the input vectors that are kept."""
        self.command(4)
        if not self.config.inputs:
            self._bad()
            return
        kept = np.nonzero(self.golden.holders[0])[0].tolist()
        self.taken.append(self.timing.recall(kept, self._used))
        for place in kept:
            self.recalls.append({"input": place, "none": 0, "last": int(place == kept[-1])})
        if not kept:
            self.recalls.append({"input": 0, "none": 1, "last": 1})

    def unknown(self, op: int) -> None:
        """Send a command that there is not."""
        self.command(op)
        self._bad()

    def _bad(self) -> None:
        self.taken.append(self.timing.bad())
        self.errors["bad_command"] += 1

    def mistakes(self) -> None:
        """Do all that is refused: tokens without a sequence, empty heads, heads beyond the last."""
        rng, config = self.random, self.config
        beyond = Policy(budget=config.slots + 1)
        crowded = Policy(evict="oldest", budget=1, sinks=1)
        protected = Policy(budget=config.slots, sinks=1, window=config.slots)
        for policy in rng.sample((beyond, crowded, protected), 3):
            self.start(policy)
            self.place()
            self.read(rng.randrange(config.heads))
            self.score([rng.randrange(config.heads)], final=True)
            self.recall()
        self.start(Policy(evict="never", budget=1))
        self.place()
        self.place()
        for head in range(config.heads, 1 << config.head_bits):
            self.read(head)
            self.score([head], final=False)

    def steps(self, count: int, *, wild: float = 0.05) -> None:
        """Make decode steps; ``wild`` is how often something is not as in a plain decoder."""
        rng, heads = self.random, self.config.heads
        unscored = 0
        for _ in range(count):
            keep = [True] * heads
            if rng.random() < wild:
                keep = [rng.random() < 0.7 for _ in range(heads)]
            self.place(keep)
            order = list(range(heads))
            if rng.random() < 0.2:
                rng.shuffle(order)
            passes = rng.choice((1, 1, 2, 3))
            if rng.random() < wild:
                order = order[: rng.randrange(heads + 1)]
            if rng.random() < wild / 2:
                unscored = rng.randint(1, 5)
            if unscored:
                order, unscored = [], unscored - 1
            if rng.random() < 0.5:
                for head in order:
                    self.read(head)
            for number in range(passes):
                self.score(order, final=number == passes - 1)
            if rng.random() < wild:
                self.read(rng.randrange(1 << self.config.head_bits))
            if rng.random() < wild:
                self.recall()
            if rng.random() < wild:
                self.unknown(rng.choice((5, 6, 7)))
            if self.paging:
                self.paging.draw(rng.randrange(4))
                if rng.random() < 0.02:
                    self.paging.overflow()


def encode(policy: Policy) -> dict[str, int]:
    """Return the fields of a policy's word."""
    names = ("budget", "sinks", "window", "shift", "dither", "decay", "theta", "threshold")
    fields = {name: int(getattr(policy, name)) for name in names}
    return {"evict": EVICT.index(policy.evict), **fields}


def _zeros(names: list[str]) -> Beat:
    return dict.fromkeys(names, 0)
