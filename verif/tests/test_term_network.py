"""Networks under term revealing: golden tables, and logits of the RTL equal to golden."""

import json
from pathlib import Path

import pytest

from tilewright.fpga import gates
from tilewright.sw import zoo
from tilewright.sw.job import read_job, run_job
from tilewright.verif import terms


@pytest.fixture(scope="module", autouse=True)
def fashion():
    try:
        zoo.fashion("test")
    except zoo.ZooError as error:
        pytest.skip(str(error))


@pytest.mark.slow
def test_few_terms_cost_little_accuracy(capsys):
    arguments = ["examples/fashion", "-k", "7", "-s", "3", "0", "--images", "1000", "--json"]
    assert terms.main(arguments) == 0
    few, all_data = json.loads(capsys.readouterr().out)
    assert few["slots"] == all_data["slots"] == 8
    assert few["fewer"] == pytest.approx(8 * 7 / (7 / 8 * 3))
    assert few["loss"] < 0.02
    assert all_data["loss"] < 0.02


@pytest.mark.slow
@pytest.mark.parametrize("example", ["fashion", "lenet5"])
def test_logits_equal_golden(example):
    result = run_job(read_job(Path("examples") / example, datapath="term"), images=24)
    assert result.equal
    assert result.cycles == result.predicted_cycles
    assert result.golden_accuracy > 0.75


def test_only_arrays_of_terms_have_budgets(capsys):
    assert terms.main(["examples/fashion", "--set", "datapath.budget=99"]) == 1
    assert "budget must be an integer from 0 to 64, not 99" in capsys.readouterr().err


@pytest.mark.slow
def test_gates_of_a_parallel_product_are_mostly_logic(capsys, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    assert gates.main(["--json"]) == 0
    rows = {row["name"]: row for row in json.loads(capsys.readouterr().out)}
    assert 500 < rows["parallel"]["logic"] < 1200
    assert rows["tmac"]["macs"] == pytest.approx(0.2)
    assert all(row["logic"] < row["gates"] for row in rows.values())
