"""The search for term budgets, on networks whose answers depend on budgets in a known way."""

from types import SimpleNamespace

import numpy as np
import pytest

from tilewright.hw.term.config import TermConfig
from tilewright.sw.quantise import budgets
from tilewright.sw.quantise.budgets import compensated, search_budgets, with_budgets
from tilewright.sw.quantise.layers import Formats, QuantisedGraph, QuantisedLayer, QuantisedTensor


def layer(name, source, weights, rows=1):
    weights = np.array(weights, np.int64)
    n = weights.shape[1]
    zeros, ones = np.zeros(n, np.int64), np.ones(n, np.int64)
    return QuantisedLayer(
        name=name, op="Conv", inputs=(source,), output=name, input_shape=(rows, 1, len(weights)),
        weights=weights, bias=zeros, mult=ones << 15, shift=15 * ones, kernel=(1, 1), zero_point=0,
        low=-128, high=127, raw_scale=ones * 1.0,
    )  # fmt: skip


@pytest.fixture
def searched(monkeypatch):
    """Search with a pe, a share of images that agrees for each sum of budgets, and a threshold."""

    def search(share, agreement, pe="plane", budget=4):
        small, large = layer("small", "x", [[1]]), layer("large", "small", [[2]], rows=9)
        network = SimpleNamespace(layers=(small, large))
        monkeypatch.setattr(budgets.dataclasses, "replace", lambda one, **fields: SimpleNamespace(
            **{"name": getattr(one, "name", ""), "macs": getattr(one, "macs", 0)} | fields
        ))  # fmt: skip
        monkeypatch.setattr(
            budgets, "compensated", lambda config, w, tiles, data, budget, counts: [[budget]]
        )
        monkeypatch.setattr(
            budgets, "_observe", lambda *args: (dict.fromkeys(("small", "large")), np.zeros(200))
        )
        monkeypatch.setattr(budgets, "_truncating", lambda config: None)

        def run(network, inputs, product):
            total = sum(one.weights[0][0] for one in network.layers)
            right = round(200 * share(total))
            return np.array([[1, 0]] * right + [[0, 1]] * (200 - right))

        monkeypatch.setattr(budgets, "run", run)
        monkeypatch.setattr(budgets, "_report", lambda config, before, after, data, k: (
            before.name, k, after.weights[0][0]
        ))  # fmt: skip
        config = TermConfig(budget=budget, pe=pe, data_terms=3 if pe == "tmac" else 0)
        found = search_budgets(
            config, network, [None, None], np.zeros((200, 1)), None, agreement=agreement
        )
        assert [name for name, *_ in found] == ["small", "large"]
        assert all(chosen == used for _, chosen, used in found)
        return [chosen for _, chosen, _ in found]

    return search


def test_the_layer_with_most_work_gives_up_terms_first(searched):
    """All agree down to a sum of 5: 4 and 1, not 1 and 4."""
    assert searched(lambda total: total >= 5, 0.9, pe="tmac") == [4, 1]
    assert searched(lambda total: total >= 4, 0.9, pe="tmac") == [3, 1]
    assert searched(lambda total: total >= 0, 0.9, pe="tmac") == [1, 1]


def test_enough_images_are_as_many_as_asked_for(searched):
    def share(total):
        return 0.985 if total == 7 else float(total == 8)

    assert searched(share, 0.985, pe="tmac") == [4, 3]
    assert searched(share, 0.99, pe="tmac") == [4, 4]


def test_a_budget_that_does_not_agree_is_not_lowered(searched):
    assert searched(lambda total: total < 8, 0.9, pe="tmac") == [4, 4]


def test_planes_gain_nothing_from_fewer_slots_than_rows(searched):
    """A batch takes a cycle for each of eight rows, of which the last slot is one."""
    assert TermConfig(budget=9).shortest == 8
    assert searched(lambda total: 1, 0.9, budget=9) == [7, 7]


def test_figures_of_a_budget_worked_out_by_hand():
    """Weights 3 and 4 become 3 and 0; 3 has two terms, 4 - 1."""
    before, after = layer("a", "x", [[3], [4]]), layer("a", "x", [[3], [0]])
    found = budgets._report(TermConfig(encoding="naf"), before, after, np.array([[1.0, 1.0]]), 6)
    assert (found.name, found.budget, found.weights.tolist()) == ("a", 6, [[3], [0]])
    assert found.weight_error == pytest.approx(4 / 5)
    assert found.sum_error == pytest.approx(4 / 7)
    assert found.terms == 1.0


def test_a_whole_search_on_a_small_network():
    """As few terms as keep the classes of nine images in ten, and the figures of what is left."""
    rng = np.random.default_rng(3)
    config = TermConfig(budget=16, cols=4, data_terms=0)
    weights = rng.integers(-100, 100, (8, 5))
    network = QuantisedGraph(
        name="n", formats=Formats(),
        tensors={"x": QuantisedTensor(name="x", shape=(1, 1, 8), scale=1.0, zero_point=0, low=-128,
                                      high=127)},
        layers=(budgets.dataclasses.replace(layer("a", "x", weights), raw=True),), input="x",
        output="a", input_shape=(8,), output_shape=(5,),
    )  # fmt: skip
    images = rng.integers(-128, 128, (500, 1, 1, 8))
    rows, tiles = images[:300].reshape(300, 8), np.arange(8)[None]

    def counts(config, tile):
        return np.zeros(tile.shape[1], int)

    def agreement(found):
        return ((rows @ weights).argmax(1) == (rows @ found).argmax(1)).mean()

    (found,) = search_budgets(config, network, [tiles], images, counts, agreement=0.9)
    assert 7 < found.budget < 16
    assert agreement(found.weights) >= 0.9
    fewer = compensated(config, weights, tiles, rows.astype(float), found.budget - 1, counts)
    assert agreement(fewer) < 0.9
    assert found.terms <= found.budget / 8
    errors = rows @ (found.weights - weights)
    assert found.sum_error == pytest.approx(np.linalg.norm(errors) / np.linalg.norm(rows @ weights))
    assert with_budgets(network, [found]).layers[0].weights is found.weights
