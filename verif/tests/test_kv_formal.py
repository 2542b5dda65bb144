"""What is proved of the cache controller, and that the proofs find flaws."""

from functools import partial
from pathlib import Path

import pytest
from amaranth.hdl import Const

from tilewright.hw.kv.evictor import Evictor
from tilewright.hw.kv.pager import Pager
from tilewright.hw.kv.refresh_config import RefreshConfig
from tilewright.verif.formal import kv, kv_pager, kv_storage
from tilewright.verif.formal.kv_refresh import RefreshSpec
from tilewright.verif.formal.runner import Task

TASKS = {task.name: task for task in kv.tasks() + kv_storage.tasks()}
QUICK = ("evictor", "credit_fifo", "pager", "memory", "refresh", "bank", "bank_cover")


@pytest.mark.parametrize(
    "name", [pytest.param(n, marks=[] if n in QUICK else pytest.mark.slow) for n in TASKS]
)
def test_proved(name):
    proof = TASKS[name].run(Path("build/formal/kv"))
    assert proof.passed, proof
    assert (proof.mode == "prove") == (not name.endswith("_cover") and name != "streams_reader")


class Forgetful(Evictor):
    """Begins every pass with what the last one found."""

    def elaborate(self, platform):
        self.first = 0
        return super().elaborate(platform)


def test_an_evictor_that_does_not_begin_anew_is_found(monkeypatch):
    monkeypatch.setattr(kv, "Evictor", Forgetful)
    proof = TASKS["evictor"].run(Path("build/formal/kv_flaws"))
    assert not proof.passed


class Sharing(Pager):
    """Writes to blocks that others share."""

    def _elaborate_append(self, m, done):
        counted, self.places.count = self.places.count, Const(1)
        super()._elaborate_append(m, done)
        self.places.count = counted


def test_a_pager_that_does_not_copy_is_found(monkeypatch):
    monkeypatch.setattr(kv_pager, "Pager", Sharing)
    proof = TASKS["pager"].run(Path("build/formal/kv_flaws"))
    assert not proof.passed


def test_a_pace_that_is_too_slow_is_found():
    spec = partial(RefreshSpec, RefreshConfig(rows=3, slack=2, pace_bits=4), (1, 5))
    proof = Task("too_fast", spec, 20).run(Path("build/formal/kv_flaws"))
    assert not proof.passed, "two walkers that come due in every cycle cannot both be served"
