"""Proofs about the engine, and that they notice what they are for; parts: test_stream_rules."""

from unittest import mock

import pytest

from tilewright.hw.engine.command import checks
from tilewright.hw.engine.config import EngineConfig
from tilewright.verif.formal.engine import tasks

TASKS = [task for task in tasks() if not task.name.startswith(("streams_", "reset_"))]


@pytest.mark.parametrize("task", TASKS, ids=lambda task: task.name)
def test_proofs(tmp_path, task):
    proof = task.run(tmp_path)
    assert proof.passed, proof


def test_a_missing_check_is_noticed(tmp_path):
    limits = checks._limits

    def without_loads(config):
        return {at: bad for at, bad in limits(config).items() if at != ("LOAD_X", 1)}

    with mock.patch.object(checks, "_limits", without_loads):
        proof = tasks()[0].run(tmp_path)
    assert not proof.passed


def test_an_accumulator_that_is_a_bit_too_narrow_is_noticed(tmp_path):
    task = next(task for task in tasks() if task.name == "overflow")
    width = EngineConfig.acc_width.fget
    with mock.patch.object(EngineConfig, "acc_width", property(lambda config: width(config) - 1)):
        proof = task.run(tmp_path)
    assert not proof.passed
    assert "assertion at overflow.py" in proof.reason
