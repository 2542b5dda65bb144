"""What memories promise to synthesis is proved, of each of them, and the proofs find flaws."""

import re
from functools import partial
from pathlib import Path

import pytest
from amaranth.hdl import Module, Signal
from amaranth.lib import wiring
from amaranth.lib.wiring import In, Out

from tilewright.gen.registry import UNITS
from tilewright.hw.engine import act_reader
from tilewright.hw.engine.buffer import buffer_memory
from tilewright.hw.kv import scorer
from tilewright.hw.kv.pager import Pager
from tilewright.hw.kv.pager_config import PagerConfig
from tilewright.verif.formal import collisions
from tilewright.verif.formal.collisions import CollisionTask
from tilewright.verif.formal.unit import unit_tasks

FOLDER = Path("build/formal/collisions")
HARDWARE = Path(collisions.__file__).parents[2] / "hw"
USERS = {
    "attention/rotary": "apart_heads",
    "engine/accumulator": "apart_banks",
    "engine/act_buffer": "apart_acts",
    "engine/output/parameters": "apart_parameters",
    "engine/weight_reader": "apart_weights",
    "kv/memory": "apart_words",
    "kv/store": "apart_slots",
    "packed/chain_shift": "apart_pixels",
}
"""Files that make memories with a promise, and the proofs of what they promise."""

TASKS = {task.name: task for unit in UNITS for task in collisions.tasks(unit)}
LONG = ("apart_acts", "apart_parameters", "apart_weights")


def test_every_promise_has_a_proof():
    promising = re.compile(r"(?<!def )\b(?:buffer_memory|(?<!class )Buffer)\(")
    found = {
        str(path.relative_to(HARDWARE).with_suffix(""))
        for path in HARDWARE.rglob("*.py") if promising.search(path.read_text())
    }  # fmt: skip
    assert found - {"engine/buffer"} == set(USERS)
    assert set(USERS.values()) == set(TASKS)
    attribute = [p.name for p in HARDWARE.rglob("*.py") if "no_rw_check" in p.read_text()]
    assert attribute == ["buffer.py"]
    assert {"apart_slots"} <= {task.name for task in unit_tasks("kv")}


@pytest.mark.parametrize(
    "name", [pytest.param(n, marks=[pytest.mark.slow] * (n in LONG)) for n in TASKS]
)
def test_proved(name):
    proof = TASKS[name].run(FOLDER)
    assert proof.passed, proof
    assert proof.mode == "reach"


class Delayed(wiring.Component):
    """Gives a word back some cycles after it came, from a memory of four words."""

    i: In(4)
    go: In(1)
    o: Out(4)

    def __init__(self, cycles):
        self.cycles = cycles
        super().__init__()

    def elaborate(self, platform):
        m = Module()
        m.submodules.words = words = buffer_memory(4, 4)
        write, read, at = words.write_port(), words.read_port(), Signal(2)
        m.d.comb += [
            write.addr.eq(at),
            write.data.eq(self.i),
            write.en.eq(self.go),
            read.addr.eq(at - self.cycles),
            read.en.eq(self.go),
            self.o.eq(read.data),
        ]
        m.d.sync += at.eq(at + self.go)
        return m


def test_enabled_reads_of_promising_memories_are_found():
    assert CollisionTask("three", partial(Delayed, 3)).run(FOLDER).passed
    proof = CollisionTask("four", partial(Delayed, 4)).run(FOLDER)
    assert not proof.passed
    assert "fails in cycle 0" in proof.reason


def test_a_component_without_such_a_memory_is_told():
    proof = CollisionTask("none", lambda: Pager(PagerConfig())).run(FOLDER)
    assert not proof.passed
    assert proof.reason == "there is no such memory"


def test_a_pass_that_follows_too_soon_is_found(monkeypatch):
    """The next pass reads a score in the cycle in which the last one writes it."""

    walk = scorer.Scorer._elaborate_walk

    def hasty(self, m):
        with monkeypatch.context() as patch:
            patch.setattr(scorer, "SCORE_LATENCY", 3)
            return walk(self, m)

    monkeypatch.setattr(scorer.Scorer, "_elaborate_walk", hasty)
    proof = TASKS["apart_slots"].run(FOLDER / "flaws")
    assert "assertion at collisions.py" in proof.reason


def test_partial_sums_that_follow_too_soon_are_found(monkeypatch):
    monkeypatch.setattr(collisions, "ROW_DISTANCE", 3)
    proof = TASKS["apart_banks"].run(FOLDER / "flaws")
    assert "assertion at collisions.py" in proof.reason


@pytest.mark.slow
def test_a_reader_that_is_done_too_soon_is_found(monkeypatch):
    monkeypatch.setattr(act_reader, "ACT_GAP", 3)
    proof = TASKS["apart_acts"].run(FOLDER / "flaws")
    assert "assertion at collisions.py" in proof.reason
