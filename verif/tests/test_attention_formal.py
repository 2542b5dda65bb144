"""What is proved of the attention unit, and that the proofs find flaws."""

from pathlib import Path

import pytest
from amaranth.hdl import Signal

from tilewright.hw.attention.normalise import Normalise
from tilewright.hw.attention.reciprocal import Reciprocal
from tilewright.hw.attention.score import RunningSum
from tilewright.hw.attention.unit import Attention
from tilewright.verif.formal import attention

TASKS = {task.name: task for task in attention.tasks()}
QUICK = ("sum",)


@pytest.mark.parametrize(
    "name", [pytest.param(n, marks=[] if n in QUICK else pytest.mark.slow) for n in TASKS]
)
def test_proved(name):
    proof = TASKS[name].run(Path("build/formal/attention"))
    assert proof.passed, proof
    assert (proof.mode == "prove") == (name == "sum")


class Continuing(RunningSum):
    """Begins a row with the maximum of the one before."""

    def elaborate(self, platform):
        self.first = Signal()
        return super().elaborate(platform)


class Narrow(RunningSum):
    """Keeps a bit less of the maximum."""

    def elaborate(self, platform):
        self.highest = Signal(7)
        return super().elaborate(platform)


class Forgetful(Normalise):
    """Loses a bit of how much longer the sum is than a power."""

    def elaborate(self, platform):
        whole, self.extra = self.extra, Signal(len(self.extra) - 1)
        m = super().elaborate(platform)
        m.d.comb += self.extra.eq(whole)
        self.extra = whole
        return m


class Deaf(Reciprocal):
    """Takes one bit of every sum as set."""

    def elaborate(self, platform):
        total, self.total = self.total, Signal.like(self.total)
        m = super().elaborate(platform)
        m.d.comb += self.total.eq(total | 1 << self._config.weight_bits)
        self.total = total
        return m


class Hasty(Attention):
    """Does not wait for the scales of values."""

    def elaborate(self, platform):
        m = super().elaborate(platform)
        m.d.comb += self.scales.ready.eq(1)
        return m


@pytest.mark.parametrize(
    ("name", "part", "flaw"),
    [
        ("sum", "RunningSum", Continuing),
        ("sum", "RunningSum", Narrow),
        ("normalise", "Normalise", Forgetful),
        pytest.param("reciprocal", "Reciprocal", Deaf, marks=pytest.mark.slow),
        pytest.param("unit", "Attention", Hasty, marks=pytest.mark.slow),
    ],
)
def test_a_flaw_is_found(monkeypatch, name, part, flaw):
    monkeypatch.setattr(attention, part, flaw)
    proof = TASKS[name].run(Path("build/formal/attention_flaws"))
    assert not proof.passed
    assert "fails in cycle" in proof.reason
