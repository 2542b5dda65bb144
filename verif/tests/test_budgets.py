"""The search for term budgets, on networks whose answers depend on budgets in a known way."""

import inspect
from types import SimpleNamespace

import numpy as np
import pytest

from tilewright.hw.term.config import TermConfig
from tilewright.sw.families.term import slot_counts
from tilewright.sw.model.integer_graph import (
    Formats,
    QuantisedGraph,
    QuantisedLayer,
    QuantisedTensor,
)
from tilewright.sw.quantise import budgets
from tilewright.sw.quantise.budgets import compensated, search_budgets, with_budgets
from tilewright.sw.quantise.digits import count_terms
from tilewright.sw.quantise.terms import reveal, truncate


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
        network = SimpleNamespace(layers=(small, large), engine_layers=(small, large))
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


def corrected(config, weights, tiles, data, budget, counts):
    """Return revealed weights where what is still open answers each error as least squares say."""
    moment = data.T @ data
    moment += np.eye(len(moment)) * (0.01 * np.trace(moment) / len(moment) + 1e-9)
    result, high = weights.astype(float), 127
    before: list[int] = []

    def wanted(fixed):
        rest = [k for k in range(len(weights)) if k not in fixed]
        change = result[fixed] - weights[fixed]
        best = weights.astype(float)
        best[rest] -= np.linalg.solve(
            moment[np.ix_(rest, rest)], moment[np.ix_(rest, fixed)] @ change
        )
        return best

    for lanes in tiles:
        open_ = [k for k in range(len(weights)) if k not in before]
        spread = dict(zip(open_, np.diag(np.linalg.inv(moment[np.ix_(open_, open_)])), strict=True))
        for column in range(weights.shape[1]):
            for most in range(budget, -1, -1):
                for first in range(0, len(lanes), config.group):
                    ids = [int(k) for k in lanes[first : first + config.group] if k >= 0]
                    done, left = list(before), most
                    for k in sorted(ids, key=lambda k: spread[k]):
                        others = [other for other in ids if other not in done]
                        now = np.clip(np.rint(wanted(done)[others, column]), -high, high)
                        group = np.array(
                            [now[others.index(o)] for o in sorted(others, key=lambda k: spread[k])],
                            int,
                        )[:, None]
                        kept = reveal(group, config.encoding, len(group), np.array([left]))[0, 0]
                        result[k, column] = kept
                        left -= count_terms(np.array(kept), config.encoding)
                        done.append(k)
                tile = np.where(lanes < 0, 0, result[lanes, column]).astype(int)[:, None]
                slots = config.groups * budget + (config.pe == "plane")
                if counts(config, tile)[0] <= slots:
                    break
        before += [int(k) for k in lanes if k >= 0]
    return result.astype(int)


@pytest.mark.parametrize(("pe", "terms"), [("plane", 0), ("tmac", 3)])
@pytest.mark.parametrize("budget", [1, 3, 5, 7])
@pytest.mark.parametrize(
    ("group", "tiles"), [(2, [[3, 1, 0, 7], [2, -1, 10, 4], [5, 6, 9, 8]]), (4, [[2, 0, 3, 1]])]
)
def test_errors_are_passed_on_to_what_is_open(pe, terms, budget, group, tiles):
    """Tiles of two groups over eleven weights, and four in one; data are alike: errors matter."""
    rng, tiles = np.random.default_rng(budget), np.array(tiles)
    count, most = tiles.max() + 1, max(budget, 2 * group)
    config = TermConfig(
        group=group, groups=tiles.shape[1] // group, cols=20, budget=most, pe=pe, data_terms=terms
    )
    data = rng.integers(-128, 128, (200, count)) / 4 + rng.integers(-128, 128, (200, 1))
    weights = rng.choice([-127, 127, 126, 100, -85, 3, 0, 64], (count, 20))
    found = compensated(config, weights, tiles, data, budget, slot_counts)
    assert (found == corrected(config, weights, tiles, data, budget, slot_counts)).all()


def test_what_is_not_said_of_a_search():
    """Classes of 985 images in a thousand stay."""
    assert inspect.signature(search_budgets).parameters["agreement"].default == 0.985


@pytest.mark.parametrize(("data_terms", "share"), [(0, 0.9), (1, 0.86), (2, 0.94)])
def test_a_whole_search_on_a_small_network(data_terms, share):
    """As few terms as keep the classes of most of the images, and the figures of what is left."""
    rng = np.random.default_rng(3)
    config = TermConfig(budget=16, cols=4, data_terms=data_terms)
    weights = rng.integers(-100, 100, (8, 5))
    network = QuantisedGraph(
        name="n", formats=Formats(),
        tensors={"x": QuantisedTensor(name="x", shape=(1, 1, 8), scale=1.0, zero_point=0, low=-128,
                                      high=127)},
        layers=(budgets.dataclasses.replace(layer("a", "x", weights), raw=True),), input="x",
        outputs=("a",), layout="nchw", input_shape=(8,), output_shapes=((5,),),
    )  # fmt: skip
    images = rng.integers(-128, 128, (500, 1, 1, 8))
    whole, tiles = images[:300].reshape(300, 8), np.arange(8)[None]
    rows = truncate(whole, config.encoding, data_terms)

    def counts(config, tile):
        return np.zeros(tile.shape[1], int)

    def agreement(found):
        return ((whole @ weights).argmax(1) == (rows @ found).argmax(1)).mean()

    (found,) = search_budgets(config, network, [tiles], images, counts, agreement=share)
    assert 7 < found.budget < 16
    assert agreement(found.weights) >= share
    fewer = compensated(config, weights, tiles, rows.astype(float), found.budget - 1, counts)
    assert agreement(fewer) < share
    assert found.terms <= found.budget / 8
    errors = rows @ (found.weights - weights)
    assert found.sum_error == pytest.approx(np.linalg.norm(errors) / np.linalg.norm(rows @ weights))
    assert with_budgets(network, [found]).layers[0].weights is found.weights
