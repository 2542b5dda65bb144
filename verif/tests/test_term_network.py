"""Networks under term revealing: golden tables, and logits of the RTL equal to golden."""

import json
from pathlib import Path

import pytest

from tilewright.fpga import gates
from tilewright.sw import zoo
from tilewright.sw.job import read_job, run_job
from tilewright.verif import terms
from tilewright.verif.tests.test_cli import tilewright


@pytest.fixture(scope="module", autouse=True)
def fashion():
    try:
        zoo.fashion("test")
    except zoo.ZooError as error:
        pytest.skip(str(error))


@pytest.mark.slow
def test_few_terms_cost_little_accuracy(capsys):
    terms.main(
        Path("examples/fashion"), [7], [1, 4, 0], target=1.5, images=1000, validation=2000,
        json=True,
    )  # fmt: skip
    found = json.loads(capsys.readouterr().out)
    one, few, all_data = found["rows"]
    assert few["slots"] == all_data["slots"] == 8
    assert few["fewer"] == pytest.approx(8 * 7 / (7 / 8 * 4))
    assert few["loss"] < 0.02
    assert all_data["loss"] < 0.02
    assert one["validation_loss"] > 0.02
    assert found["chosen"] == few
    assert [layer["budget"] for layer in found["layers"]] == [7] * 4


def test_the_cheapest_setting_within_the_target_is_chosen():
    def row(slots, pairs, loss):
        return terms.Row(
            budget=7, data_terms=3, validation_loss=loss, accuracy=0, loss=1, slots=slots,
            pairs=pairs, fewer=1,
        )  # fmt: skip

    rows = [row(9, 2, 0.001), row(8, 3, 0.004), row(8, 2, 0.006), row(8, 4, 0)]
    assert terms.choose(rows, 0.5) == rows[1]
    assert terms.choose(rows, 0.3) == rows[3]
    assert terms.choose(rows[:1], 0.05) is None


@pytest.mark.slow
@pytest.mark.parametrize("example", ["fashion", "lenet5"])
def test_logits_equal_golden(example):
    result = run_job(read_job(Path("examples") / example, datapath="term"), images=24)
    assert result.equal
    assert result.cycles == result.predicted_cycles
    assert result.golden_accuracy > 0.75


def test_only_arrays_of_terms_have_budgets():
    done = tilewright("study", "terms", "examples/fashion", "--set", "datapath.budget=99")
    assert done.returncode == 1
    assert "budget must be an integer from 0 to 64, not 99" in done.stderr


@pytest.mark.slow
def test_gates_of_a_parallel_product_are_mostly_logic(capsys):
    gates.main(Path("build/test/gates"), json=True)
    rows = {row["name"]: row for row in json.loads(capsys.readouterr().out)}
    assert 500 < rows["parallel"]["logic"] < 1200
    assert rows["tmac"]["macs"] == pytest.approx(8 / 37)
    assert all(row["logic"] < row["gates"] for row in rows.values())
