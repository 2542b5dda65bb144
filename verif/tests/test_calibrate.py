"""Ranges from sample inputs, on histograms and tensors whose answers are known."""

import numpy as np
import pytest
from onnx import helper

from tilewright.sw.model.integer_graph import Formats, QuantisedTensor
from tilewright.sw.quantise.calibrate import Observation, activation_scale, observe, weight_scales
from tilewright.sw.quantise.quantiser import _clamp
from tilewright.verif.tests.test_quantise import small

BYTES = Formats(x_bits=8, x_signed=True)


def test_every_image_is_seen():
    """Values lie far apart, the least in the second batch and the greatest in the last image."""
    graph = small(helper.make_node("Relu", ["x"], ["y"]), output="y", shape=(1, 1, 2, 1))
    images = np.zeros((150, 1, 2, 1), np.float32)
    images[100, 0, 0], images[149, 0, 1] = -0.25, 0.5
    seen = observe(graph, images, ["x", "y"])
    assert (seen["x"].low, seen["x"].high) == (-0.25, 0.5)
    assert (seen["y"].low, seen["y"].high) == (0, 0.5)
    for found, zeros in ((seen["x"], 298), (seen["y"], 299)):
        assert found.counts.sum() == 300
        assert found.counts.max() == zeros
        assert (found.counts[0], found.counts[-1])[found.low == 0] == 1


def test_percentiles_leave_as_much_out_at_both_ends():
    """Of 1,000 values 980 lie in -5..5, ten at -10 and ten at 10."""
    counts = np.zeros(20)
    counts[[0, 19]], counts[5:15] = 10, 98
    seen = Observation(-10.0, 10.0, counts)
    for percentile, ends in ((98, (-5, 5)), (100, (-10, 10))):
        scale, zero = activation_scale(seen, BYTES, "percentile", percentile)
        assert scale == pytest.approx((ends[1] - ends[0]) / 255)
        assert abs((-128 - zero) * scale - ends[0]) <= scale / 2
    # A tensor without negative values keeps zero as its lower end.
    counts = np.zeros(20)
    counts[[2, 19]], counts[3:13] = 10, 98
    scale, zero = activation_scale(Observation(0.0, 20.0, counts), BYTES, "percentile", 98)
    assert (zero, scale) == (-128, pytest.approx(13 / 255))


def test_weights_with_one_outlier_are_cut_where_that_errs_less():
    """A thousand weights of 0.2 and one of 1 in three bits: steps of 1/3 miss all but that one."""
    weights = np.full((1001, 1), 0.2)
    weights[0] = 1.0
    formats = Formats(w_bits=3)
    assert weight_scales(weights, formats, "minmax") == pytest.approx([1 / 3])
    (scale,) = weight_scales(weights, formats, "mse")
    fractions = np.geomspace(1, 0.2, 40) / 3
    errors = [
        float((np.clip(np.rint(weights / f), -3, 3) * f - weights).__pow__(2).sum())
        for f in fractions
    ]
    assert scale == pytest.approx(fractions[int(np.argmin(errors))])
    assert abs(scale - 0.2) < 0.01


@pytest.mark.parametrize(
    ("bound", "integer"),
    [(1.0, 16), (-1.0, -10), (0.0, 3), (0.97, 15), (9.0, 100), (-9.0, -90),
     (float("inf"), 100), (-float("inf"), -90)],
)  # fmt: skip
def test_bounds_are_the_nearest_integers(bound, integer):
    """1 is 12.7 steps above zero, which is 3; nothing leaves -90..100."""
    tensor = QuantisedTensor(
        name="t", shape=(1, 1, 1), scale=1 / 12.7, zero_point=3, low=-90, high=100
    )
    assert _clamp(bound, tensor, (-90, 100)) == integer


@pytest.mark.parametrize("bits", [2, 3, 4, 8, 16])
def test_weights_err_least_of_all_fractions_column_by_column(bits):
    """Columns of sizes far apart, each with some weights that are larger than the others."""
    rng = np.random.default_rng(bits)
    weights = rng.standard_t(2, (60, 40)) * 10.0 ** rng.uniform(-4, 4, 40)
    formats = Formats(w_bits=bits)
    for column, scale in zip(weights.T, weight_scales(weights, formats, "mse"), strict=True):
        trials = np.abs(column).max() / formats.w_high * np.geomspace(1, 0.2, 40)
        steps = np.rint(column[:, None] / trials)
        kept = np.clip(steps, -formats.w_high, formats.w_high) * trials
        assert scale == trials[((kept - column[:, None]) ** 2).sum(0).argmin()]


def test_tensors_whose_values_are_all_of_one_sign_have_a_zero():
    graph = small(helper.make_node("Relu", ["x"], ["y"]), output="y", shape=(1, 1, 2, 1))
    images = np.linspace(1, 2, 20, dtype=np.float32).reshape(10, 1, 2, 1)
    for factor in (-1, 1):
        seen = observe(graph, factor * images, ["x"])["x"]
        assert (seen.low, seen.high) == ((0, 2) if factor > 0 else (-2, 0))


def test_ranges_so_small_that_steps_would_vanish():
    scale, zero = activation_scale(Observation(0.0, 1e-42, np.ones(4)), BYTES, "minmax", 100)
    assert (scale, zero) == (2.0**-126, -128)
