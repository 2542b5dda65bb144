"""Tables of weight errors: small cases by hand, and the weights of a real network."""

import numpy as np
import pytest
from typer.testing import CliRunner

from tilewright.sw import zoo
from tilewright.sw.quantise import weight_errors
from tilewright.sw.quantise.weight_errors import (
    digit_table,
    group_table,
    matrices,
    relative_error,
)


def test_units_belong_to_output_channels():
    kernel = np.zeros((2, 3, 1, 2), np.float32)
    kernel[0, 2, 0, 1], kernel[1, 0, 0, 0] = -127.0, 12.7
    conv, turned, matrix = matrices(
        {"conv": kernel, "conv_transpose": np.swapaxes(kernel, 0, 1), "linear": kernel[:, :, 0, 0]}
    )
    for found in (conv, turned):
        assert found.integers.shape == (6, 2)
        assert found.units == pytest.approx([1.0, 0.1])
        assert sorted(found.integers.ravel())[::11] == [-127, 127]
    assert matrix.integers.shape == (2, 3)
    assert matrix.units.tolist() == pytest.approx([0.1, 1.0, 1.0])


def test_errors_by_hand():
    """27 = 32 - 8 + 4 - 1 in HESE, 32 - 4 - 1 in NAF; 127 = 128 - 1 in both."""
    weights = matrices({"w": np.array([[27.0], [127.0]])})
    squares = 27.0**2 + 127.0**2
    assert relative_error(weights, [weights[0].integers]) == 0
    for encoding, mean, most, firsts in (
        ("hese", 3.0, 4, (27 - 32, 27 - 24, 27 - 28, 0)),
        ("naf", 2.5, 3, (27 - 32, 27 - 28, 0, 0)),
    ):
        found = digit_table(weights, encoding)
        assert found[:2] == (mean, most)
        seconds = (1, 0, 0, 0)
        wanted = [((a**2 + b**2) / squares) ** 0.5 for a, b in zip(firsts, seconds, strict=True)]
        assert [loss.error for loss in found[2]] == pytest.approx(wanted)
    # A group of both: 128 comes first, then 32, then -8, 4.
    table = {loss.budget: loss.error for loss in group_table(weights, "hese", 4)}
    assert table[2] == pytest.approx(((5**2 + 1) / squares) ** 0.5)
    assert table[4] == pytest.approx((2 / squares) ** 0.5)
    assert table[8] == 0
    assert [loss.budget for loss in group_table(weights, "hese", 1)] == [1, 2, 3]


def test_unknown_model_is_an_error():
    import typer

    app = typer.Typer()
    app.command()(weight_errors.main)
    result = CliRunner().invoke(app, ["nothing"])
    assert result.exit_code == 1
    assert "the zoo has no 'nothing'" in result.output


def test_weights_of_text_detection():
    """Groups of eight lose less than single weights with as many terms, by a good part."""
    try:
        tensors = zoo.onnx_weights("ocr_det")
    except zoo.ZooError as error:
        pytest.skip(str(error))
    assert sum(tensor.size for tensor in tensors.values()) == 1_164_345
    weights = matrices(dict(list(tensors.items())[:8]))
    counts = {encoding: digit_table(weights, encoding)[0] for encoding in ("binary", "hese", "naf")}
    assert 2 < counts["naf"] < counts["hese"] < counts["binary"] < 3.5
    single, eight = (
        {loss.budget / group: loss.error for loss in group_table(weights, "hese", group)}
        for group in (1, 8)
    )
    for terms in (1.0, 2.0):
        assert eight[terms] < 0.8 * single[terms]
