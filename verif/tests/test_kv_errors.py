"""Bad input, case by case: its flag and no other is set, and nothing of anyone else changes."""

import pytest

from tilewright.gen.verilog import emit
from tilewright.hw.kv.config import KvConfig, Policy
from tilewright.hw.kv.controller import KvController
from tilewright.hw.kv.registers import ERRORS, PAGE_ERRORS
from tilewright.sw.runtime.compiled import compile_unit
from tilewright.verif.mutate.kv import Player
from tilewright.verif.testbench.kv_script import Script

CONFIG = KvConfig(
    heads=3, slots=4, score_bits=4, weight_bits=6, position_bits=4, sequences=3, blocks=5,
    block_tokens=2, table_blocks=4,
)  # fmt: skip
FLAGS = {name: 1 << i for i, name in enumerate(ERRORS)}
FLAGS |= {name: 256 << i for i, name in enumerate(PAGE_ERRORS)}
APPEND, READ, LIST, FORK, FREE = range(5)


@pytest.fixture(scope="module")
def unit():
    return compile_unit(emit(KvController(CONFIG), "kv").rtlil, "kv")


def page(script: Script, op: int, sequence: int, position: int = 0, other: int = 0) -> None:
    """Queue a command about pages."""
    script.paging.do({"op": op, "sequence": sequence, "other": other, "position": position})


def watched(script: Script) -> list:
    """Read all there is: tokens and scores of all heads, blocks of all sequences."""
    golden, pages = script.golden, script.paging.golden
    for head in range(CONFIG.heads):
        if golden.fill[0, head]:
            script.read(head)
    for sequence, length in enumerate(pages.lengths):
        if length:
            page(script, LIST, sequence)
    state = (golden.positions, golden.scores, golden.inputs, golden.position)
    return [part.tolist() for part in state] + [pages.tables, pages.lengths, pages.free]


def tokens(script: Script, count: int, keep: list[bool] | None = None) -> None:
    """Place tokens, each scored."""
    for _ in range(count):
        script.place(keep)
        heads = [head for head in range(CONFIG.heads) if script.golden.fill[0, head]]
        script.score(heads, final=True)


CASES = {
    # name: (flag, what comes before, the bad input)
    "sequence beyond the positions": (
        "too_long", lambda s: tokens(s, CONFIG.most_tokens - 1), lambda s: s.place()),
    "token in a full cache": (
        "no_room",
        lambda s: (s.start(Policy(evict="never", budget=1)), tokens(s, 1)),
        lambda s: s.place()),
    "read of an empty head": (
        "no_tokens", lambda s: s.start(Policy(budget=2)), lambda s: s.read(1)),
    "score of an empty head": (
        "no_tokens", lambda s: s.start(Policy(budget=2)), lambda s: s.score([2], final=True)),
    "read of a head that does not exist": ("bad_command", None, lambda s: s.read(3)),
    "score of a head that does not exist": (
        "bad_command", None, lambda s: s.score([3], final=True)),
    "unknown command": ("bad_command", None, lambda s: (s.command(7), s._bad())),
    "recall without places for inputs": ("bad_command", None, lambda s: s.recall()),
    "sequence beyond its table": (
        "page_too_long",
        lambda s: [page(s, FREE, 1), *(page(s, APPEND, 0) for _ in range(5))],
        lambda s: page(s, APPEND, 0)),
    "no free block": (
        "out_of_blocks",
        lambda s: [page(s, APPEND, i) for i in (1, 2, 0)],
        lambda s: page(s, APPEND, 0)),
    "no free block for a copy": (
        "out_of_blocks",
        lambda s: [page(s, FORK, 0, other=2), *(page(s, APPEND, 1) for _ in range(3))],
        lambda s: page(s, APPEND, 0)),
    "read of an unallocated position": (
        "not_allocated", None, lambda s: page(s, READ, 1, position=2)),
    "list of an empty sequence": ("not_allocated", None, lambda s: page(s, LIST, 2)),
    "sequence freed twice": (
        "not_allocated", lambda s: page(s, FREE, 1), lambda s: page(s, FREE, 1)),
    "fork of an empty sequence": (
        "not_allocated", None, lambda s: page(s, FORK, 2, other=1)),
    "fork onto a sequence in use": ("in_use", None, lambda s: page(s, FORK, 0, other=1)),
    "fork onto a sequence that does not exist": (
        "bad_sequence", None, lambda s: page(s, FORK, 0, other=3)),
    "sequence that does not exist": ("bad_sequence", None, lambda s: page(s, APPEND, 3)),
    "unknown command about pages": ("bad_page_command", None, lambda s: page(s, 6, 1)),
}  # fmt: skip


@pytest.mark.parametrize("name", CASES)
def test_sets_its_flag_and_changes_nothing(unit, name):
    flag, before, bad = CASES[name]
    script = Script(CONFIG, 1)
    script.start(Policy(evict="score", budget=3, window=1))
    tokens(script, 1)
    for sequence, count in ((0, 3), (1, 2)):
        for _ in range(count):
            page(script, APPEND, sequence)
    if before:
        before(script)
    assert script.flags() == 0
    state = watched(script)
    bad(script)
    assert script.flags() == FLAGS[flag]
    assert watched(script) == state
    unit.reset()
    assert Player(CONFIG).wrong(unit, script) == ""


def test_a_bad_policy_leaves_an_empty_cache(unit):
    script = Script(CONFIG, 1)
    script.start(Policy(budget=2))
    tokens(script, 2)
    page(script, APPEND, 0)
    tables = list(script.paging.golden.tables)
    script.start(Policy(budget=5))
    assert script.flags() == FLAGS["bad_policy"]
    script.place()
    assert script.flags() == FLAGS["bad_policy"] | FLAGS["no_room"]
    page(script, LIST, 0)
    assert script.paging.golden.tables == tables
    unit.reset()
    assert Player(CONFIG).wrong(unit, script) == ""
