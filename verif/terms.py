"""Accuracy of a network against term budgets, on the golden model, and the choice of budgets.

``tilewright study terms examples/fashion -k 7 8 -s 3 0`` prints the table; ``--json``
prints it for programs. Slots are what the arrays compute: cycles of a batch of vectors. Chosen is
the cheapest setting that loses at most ``--target`` points on training images that calibration has
not seen. Test images have no part in it; they are scored to be reported.
"""

import dataclasses
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Annotated, Any

import numpy as np
import typer
from numpy.typing import NDArray

from ..hw.config import ConfigError
from ..hw.engine.config import EngineConfig
from ..hw.term.config import TermConfig
from ..sw.cli.options import Images, JobPath, Json, Settings
from ..sw.cli.output import print_json, print_table, say
from ..sw.families.term import slot_counts
from ..sw.importers.onnx.onnx_file import load
from ..sw.job import DATA, Job, read_job
from ..sw.lower.layers import k_tiles
from ..sw.model.inference import run as run_network
from ..sw.model.integer_graph import Formats, QuantisedGraph
from ..sw.quantise import quantise
from ..sw.quantise.budgets import LayerBudget, search_budgets, with_budgets
from .golden.systolic import exact_product
from .golden.term import truncated

__all__ = ["Row", "Trial", "choose", "main", "slots"]

Ints = NDArray[np.int64]


BUDGETS = (6, 7, 8, 10, 12, 16)
DATA_TERMS = (1, 2, 3, 4, 0)


@dataclass(frozen=True, kw_only=True)
class Row:
    """One setting: terms per group and per data value, 0 for all, and what becomes of it.

    Attributes
    ----------
    budget, data_terms : int
        k and s.
    validation_loss : float
        Share of the validation images that are right without limits, less that with them.
    accuracy, loss : float
        Share of the test images that are right, and what it is less than without limits.
    slots : float
        Slots per tile, over all batches of the network.
    pairs : float
        Pairs of terms per product, k * s / g.
    fewer : float
        How many times fewer than those of all bits of both operands.
    """

    budget: int
    data_terms: int
    validation_loss: float
    accuracy: float
    loss: float
    slots: float
    pairs: float
    fewer: float


def choose(rows: Sequence[Row], target: float) -> Row | None:
    """Return the row of fewest slots, then fewest pairs, among those of little validation loss.

    ``target`` is the largest loss, in points of a hundred; None where all lose more.
    """
    good = [row for row in rows if 100 * row.validation_loss <= target]
    return min(good, key=lambda row: (row.slots, row.pairs), default=None)


class Trial:
    """A quantised network, training images to validate with, and test images.

    Parameters
    ----------
    job : Job
        Model, data and an engine with a term-revealing array.
    images : int, optional
        Test images, all by default.
    validation : int
        Most images to validate with: the training images after those of the calibration.
    """

    def __init__(self, job: Job, images: int | None = None, validation: int = 10_000):
        if not isinstance(job.engine.datapath, TermConfig):
            raise ConfigError(f"datapath must be 'term', not {job.engine.datapath.family!r}")
        seen = job.calibration_images
        samples = DATA[job.data](seen + validation)
        graph = load(job.model)
        self._engine, self._config = job.engine, job.engine.datapath
        self._network = quantise(
            graph, Formats.of(job.engine), samples.calibration[:seen], calibration=job.calibration
        )
        self._inputs = self._network.quantise_input(samples.calibration[:seen])
        self._validation = (
            self._network.quantise_input(samples.calibration[seen:]),
            samples.calibration_labels[seen:],
        )
        self._test = self._network.quantise_input(samples.test[:images]), samples.labels[:images]
        self._tiles = k_tiles(job.engine, self._network)
        self._whole = self._accuracy(self._network, 0, self._validation)
        self.whole = self._accuracy(self._network, 0, self._test)
        self.layers: dict[tuple[int, int], list[LayerBudget]] = {}

    def rows(self, budget: int, data_terms: Sequence[int]) -> list[Row]:
        """Return what a budget gives, for several numbers of terms per data value.

        ``layers`` then has what every layer got, by budget and terms.
        """
        config = dataclasses.replace(self._config, budget=budget)
        found = []
        prepared: dict[int, list[LayerBudget]] = {}
        for terms in data_terms:
            config = dataclasses.replace(config, data_terms=terms)
            limit = config.data_limit(0)
            if limit not in prepared:
                prepared[limit] = search_budgets(
                    config, self._network, self._tiles, self._inputs,
                    slot_counts,
                )  # fmt: skip
            self.layers[budget, terms] = prepared[limit]
            network = with_budgets(self._network, prepared[limit])
            accuracy = self._accuracy(network, limit, self._test)
            validated = self._accuracy(network, limit, self._validation)
            pairs = (budget / config.group or config.w_places) * (limit or config.x_places)
            bits = (config.x_bits - config.x_signed) * (config.w_bits - 1)
            found.append(
                Row(
                    budget=budget, data_terms=terms, accuracy=accuracy,
                    validation_loss=self._whole - validated,
                    loss=self.whole - accuracy, pairs=pairs, fewer=bits / pairs,
                    slots=slots(self._engine, config, network),
                )
            )  # fmt: skip
        return found

    def _accuracy(self, network: QuantisedGraph, terms: int, samples: tuple[Ints, Ints]) -> float:
        images, labels = samples
        reach = 1 << self._config.x_bits
        table = truncated(np.arange(-reach, reach + 1), self._config, terms)
        outputs = run_network(
            network, images,
            lambda layer, rows: exact_product(table[rows + reach], layer.weights),
        )  # fmt: skip
        found = outputs.reshape(len(outputs), -1).argmax(1)
        return float((found == labels).mean())


def slots(engine: EngineConfig, config: TermConfig, network: QuantisedGraph) -> float:
    """Return the mean slots of the tiles of a network, each as often as it is used."""
    total = uses = 0
    for layer, tiles in zip(network.engine_layers, k_tiles(engine, network), strict=True):
        for lanes in tiles:
            tile = np.where(lanes[:, None] >= 0, layer.weights[lanes], 0)
            columns = slot_counts(config, tile)
            for first in range(0, layer.n, config.cols):
                used = columns[first : first + config.cols].max()
                total += layer.rows * max(config.shortest, int(used))
                uses += layer.rows
    return total / uses


def main(
    job: JobPath,
    budgets: Annotated[
        list[int] | None,
        typer.Option("-k", help="Terms of a group of weights; repeatable.", min=1),
    ] = None,
    data_terms: Annotated[
        list[int] | None,
        typer.Option("-s", help="Terms of a data value, 0 for all; repeatable.", min=0),
    ] = None,
    target: Annotated[float, typer.Option("--target", help="Points that may be lost.")] = 0.5,
    images: Images = None,
    validation: Annotated[
        int, typer.Option("--validation", help="At most so many images.", min=1)
    ] = 10_000,
    settings: Settings = None,
    json: Json = False,
) -> None:
    """Score a network under term budgets and choose one."""
    described = read_job(job, datapath="term", settings=tuple(settings or ()))
    trial = Trial(described, images, validation)
    found = []
    for budget in budgets or BUDGETS:
        say(f"budget {budget}")
        found += trial.rows(budget, data_terms or DATA_TERMS)
    best = choose(found, target)
    given = trial.layers[best.budget, best.data_terms] if best else []
    layers = [_record(layer) for layer in given]
    if json:
        print_json(
            {"whole": trial.whole, "rows": [dataclasses.asdict(row) for row in found],
             "chosen": dataclasses.asdict(best) if best else None, "layers": layers}
        )  # fmt: skip
        return
    titles = [field.name for field in dataclasses.fields(Row)]
    print_table(titles, [list(dataclasses.astuple(row)) for row in found])
    say(f"without limits: {trial.whole:.4f}")
    if best is None:
        say(f"every setting loses more than {target} points of the validation images")
        raise typer.Exit(1)
    say(f"chosen by validation: budget {best.budget}, data_terms {best.data_terms}")
    print_table(list(layers[0]), [list(layer.values()) for layer in layers])


def _record(layer: LayerBudget) -> dict[str, Any]:
    return {
        field.name: getattr(layer, field.name)
        for field in dataclasses.fields(layer) if field.name != "weights"
    }  # fmt: skip
