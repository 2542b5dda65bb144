"""Networks on the serial arrays: logits of the RTL equal to golden, cycles as predicted."""

from pathlib import Path

import pytest

from tilewright.sw import zoo
from tilewright.sw.job import read_job, run_job


@pytest.mark.slow
@pytest.mark.parametrize("example", ["fashion", "lenet5"])
@pytest.mark.parametrize(
    "settings",
    [
        (),
        ("datapath.pe=digits", "datapath.cols=4", "datapath.vectors=4"),
        ("datapath.pe=planes", "datapath.vectors=4", "datapath.fabric=portable"),
    ],
    ids=["tables", "digits", "planes"],
)
def test_logits_equal_golden(example, settings):
    try:
        zoo.mnist() if example == "lenet5" else zoo.fashion("test")
    except zoo.ZooError as error:
        pytest.skip(str(error))
    job = read_job(Path("examples") / example, datapath="serial", settings=settings)
    result = run_job(job, images=24)
    assert result.equal
    assert result.cycles == result.predicted_cycles
    assert result.golden_accuracy > 0.75
