"""Proofs about the engine's dispatcher, and that they notice what they are for."""

from unittest import mock

import pytest

from tilewright.hw.engine import dispatch
from tilewright.verif.formal.engine import tasks

TASKS = [
    pytest.param(task, id=task.name, marks=[pytest.mark.slow] * task.name.startswith("part_"))
    for task in tasks()
]


@pytest.mark.parametrize("task", TASKS)
def test_proofs(tmp_path, task):
    proof = task.run(tmp_path)
    assert proof.passed, proof


def test_a_missing_check_is_noticed(tmp_path):
    limits = dispatch._limits

    def without_loads(config):
        return {at: checks for at, checks in limits(config).items() if at != ("LOAD_X", 1)}

    with mock.patch.object(dispatch, "_limits", without_loads):
        proof = tasks()[0].run(tmp_path)
    assert not proof.passed
