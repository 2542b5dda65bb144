"""Random commands for a pager, and what the golden model answers."""

import random
from typing import Any

from ...hw.kv.pager_config import STATUSES, PagerConfig
from ...hw.kv.timing import PagerTiming
from ..golden.kv_pager import GoldenPager, Refusal

__all__ = ["PageScript", "answers_of", "draw_page"]


def draw_page(config: PagerConfig, golden: GoldenPager, rng: random.Random) -> dict[str, int]:
    """Draw a command: most of them make sense."""
    top = 1 << config.sequence_bits
    sequence, other = rng.randrange(top), rng.randrange(top)
    op = rng.choices((0, 1, 2, 3, 4, 5), (60, 15, 5, 8, 4, 1))[0]
    empty = [i for i, length in enumerate(golden.lengths) if not length]
    if op == 3 and empty and rng.random() < 0.8:
        other = rng.choice(empty)
    length = golden.lengths[sequence] if sequence < config.sequences else 0
    position = rng.choice((max(length - 1, 0), length, rng.randrange(max(length, 1))))
    position = min(position, config.most_tokens - 1)
    return {"op": op, "sequence": sequence, "other": other, "position": position}


def answers_of(golden: GoldenPager, command: dict[str, int]) -> list[dict[str, Any]]:
    """Do a command; return its answers."""
    zeros = {"status": 0, "block": 0, "offset": 0, "copied": 0, "source": 0, "last": 1}
    sequence, op = command["sequence"], command["op"]
    try:
        if op == 0:
            block, offset, source = golden.append(sequence)
            copy = {} if source is None else {"copied": 1, "source": source}
            return [zeros | {"block": block, "offset": offset} | copy]
        if op == 1:
            block, offset = golden.read(sequence, command["position"])
            return [zeros | {"block": block, "offset": offset}]
        if op == 2:
            blocks = golden.list(sequence)
            return [
                zeros | {"block": block, "last": int(i == len(blocks) - 1)}
                for i, block in enumerate(blocks)
            ]
        if op == 3:
            golden.fork(sequence, command["other"])
        elif op == 4:
            golden.release(sequence)
        elif sequence < golden.config.sequences:
            raise Refusal("bad_command")
        else:
            raise Refusal("bad_sequence")
    except Refusal as refusal:
        return [zeros | {"status": STATUSES.index(str(refusal))}]
    return [zeros]


class PageScript:
    """Commands for a pager that is fresh from reset, its answers and when they come.

    Parameters
    ----------
    config : PagerConfig
        Of the pager.
    rng : random.Random
        Where commands come from.
    """

    def __init__(self, config: PagerConfig, rng: random.Random):
        self.golden, self.timing, self._random = GoldenPager(config), PagerTiming(), rng
        self.commands: list[dict[str, int]] = []
        self.answers: list[dict[str, Any]] = []
        self.taken: list[int] = []
        self.copies = 0
        self.statuses: set[str] = set()

    def do(self, command: dict[str, int]) -> list[dict[str, Any]]:
        """Queue a command; return its answers."""
        golden = self.golden
        length = dict(enumerate(golden.lengths)).get(command["sequence"], 0)
        answers = answers_of(golden, command)
        status = STATUSES[answers[0]["status"]]
        blocks = -(-length // golden.config.block_tokens) if command["op"] in (2, 3, 4) else 1
        # Whether a last block is shared, so that another is needed, is seen late.
        late = status == "out_of_blocks" and length % golden.config.block_tokens != 0
        refused = status != "done" and not late
        self.taken.append(self.timing.command(blocks, lists=command["op"] == 2, refused=refused))
        self.commands.append(command)
        self.answers += answers
        self.copies += sum(answer["copied"] for answer in answers)
        self.statuses.add(status)
        return answers

    def draw(self, count: int) -> None:
        """Queue random commands."""
        for _ in range(count):
            self.do(draw_page(self.golden.config, self.golden, self._random))

    def overflow(self) -> None:
        """Queue a sequence that has all blocks to itself and grows until it is refused."""
        command = {"other": 0, "position": 0}
        for sequence in range(self.golden.config.sequences):
            self.do(command | {"op": 4, "sequence": sequence})
        while not self.do(command | {"op": 0, "sequence": 0})[0]["status"]:
            pass
