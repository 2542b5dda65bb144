"""A job: a trained model, its data and an engine, from calibration to results on the RTL."""

import os
import tomllib
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from threading import Event, local
from time import perf_counter
from typing import Any

import numpy as np
from numpy.typing import NDArray

from ..gen.configuration import configure
from ..gen.registry import families
from ..hw.config import ConfigError, check_choice
from ..hw.engine.config import EngineConfig
from .cycles import Timeline, predict
from .families.base import Family, family_of
from .importers.model_file import load_model
from .lower.layers import k_tiles
from .lower.network_plan import NetworkPlan, plan_network
from .lower.program import Program
from .model.evaluation import evaluate
from .model.graph import Graph, from_model
from .model.inference import run as run_golden
from .model.inference import tiled_product
from .model.integer_graph import Formats, QuantisedGraph, QuantisedLayer
from .quantise import quantise
from .quantise.calibrate import METHODS
from .runtime.simulated import RunResult, SimulatedEngine
from .zoo import fashion, mnist, mnist_split

__all__ = [
    "Job", "JobEstimate", "JobResult", "LayerResult", "PreparedJob", "Samples", "estimate_job",
    "families_of", "prepare_job", "read_job", "run_job", "run_prepared",
]  # fmt: skip

_SHARD_IMAGES = 256
"""About as many images to a shard."""

Say = Callable[[str], None]
Progress = Callable[[int, int], None]


@dataclass(frozen=True, kw_only=True)
class Samples:
    """Images with channels first: of training to calibrate with, others to score; labels."""

    calibration: NDArray[np.floating]
    calibration_labels: NDArray[np.int64]
    test: NDArray[np.floating]
    labels: NDArray[np.int64]


@dataclass(frozen=True, kw_only=True)
class Job:
    """What to run.

    Attributes
    ----------
    name : str
        Name of the job.
    model : Path
        ONNX or TensorFlow Lite file.
    data : str
        Labelled data, a key of `DATA`.
    calibration : str
        ``"minmax"``, ``"percentile"`` or ``"mse"``.
    calibration_images : int
        Training images to calibrate with.
    engine : EngineConfig
        The engine to run on.
    """

    name: str
    model: Path
    data: str
    calibration: str
    calibration_images: int
    engine: EngineConfig


@dataclass(frozen=True, kw_only=True)
class LayerResult:
    """One layer on the engine: its size, cycles per image and useful products per slot."""

    name: str
    op: str
    shape: tuple[int, int, int]
    macs: int
    cycles: float
    utilisation: float


@dataclass(frozen=True, kw_only=True)
class JobEstimate:
    """What a job gives by its models alone, exactly as the RTL would.

    Attributes
    ----------
    images : int
        Test images that were run.
    float_accuracy, golden_accuracy : float
        Share of right answers.
    cycles : int
        Of the whole run, as the cycle model says.
    utilisation : float
        Of the whole run.
    """

    images: int
    float_accuracy: float
    golden_accuracy: float
    cycles: int
    utilisation: float


@dataclass(frozen=True, kw_only=True)
class JobResult:
    """What a job measured.

    Attributes
    ----------
    images : int
        Test images that were run.
    float_accuracy, golden_accuracy, rtl_accuracy : float
        Share of right answers.
    equal : bool
        Whether every output of the RTL equals the golden model's.
    cycles, predicted_cycles : int
        Of the whole run on the RTL, and what the cycle model says.
    batch : int
        Images per pass.
    layers : tuple of LayerResult
        In order of execution.
    utilisation : float
        Of the whole run.
    seconds : float
        Time of the simulation.
    """

    images: int
    float_accuracy: float
    golden_accuracy: float
    rtl_accuracy: float
    equal: bool
    cycles: int
    predicted_cycles: int
    batch: int
    layers: tuple[LayerResult, ...]
    utilisation: float
    seconds: float


def _mnist(calibration_images: int) -> Samples:
    images, labels = mnist()
    train, test = mnist_split(labels)
    values = (images.astype(np.float32) / 255).reshape(-1, 1, 28, 28)
    train = train[:calibration_images]
    return Samples(
        calibration=values[train], calibration_labels=labels[train],
        test=values[test], labels=labels[test],
    )  # fmt: skip


def _fashion(calibration_images: int) -> Samples:
    (train, train_labels), (test, labels) = fashion("train"), fashion("test")
    calibration, values = (
        (images.astype(np.float32) / 255).reshape(-1, 1, 28, 28)
        for images in (train[:calibration_images], test)
    )
    return Samples(
        calibration=calibration, calibration_labels=train_labels[:calibration_images],
        test=values, labels=labels,
    )  # fmt: skip


DATA: dict[str, Callable[[int], Samples]] = {"mnist": _mnist, "fashion": _fashion}
"""Labelled data by name; the argument is how many images to calibrate with."""

_FIELDS = {
    "model": str,
    "data": str,
    "calibration": str,
    "calibration_images": int,
    "engine": str,
}


def read_job(path: Path, *, datapath: str | None = None, settings: tuple[str, ...] = ()) -> Job:
    """Read ``job.toml`` in folder ``path`` (or the file itself).

    Parameters
    ----------
    path : Path
        Folder or TOML file; the names in it are relative to its folder.
    datapath : str, optional
        Family to run on in place of the one that the job names; ``engine_FAMILY.toml`` beside
        ``engine.toml`` then has the settings.
    settings : tuple of str
        ``key=value`` for the engine's configuration.

    Raises
    ------
    ConfigError
        The file is missing, not TOML, or a field is unknown, missing or of the wrong type.
    """
    file = path / "job.toml" if path.is_dir() else path
    if file.suffix != ".toml":
        raise ConfigError(f"{path} is not a job; give a folder with a job.toml, or the file")
    try:
        fields = tomllib.loads(file.read_text(encoding="utf-8"))
    except FileNotFoundError:
        raise ConfigError(f"there is no job file {file}") from None
    except (tomllib.TOMLDecodeError, UnicodeDecodeError) as error:
        raise ConfigError(f"{file} is not valid TOML: {error}") from None
    for name, kind in _FIELDS.items():
        if type(fields.get(name)) is not kind:
            raise ConfigError(f"{file} needs {name}, of type {kind.__name__}")
    if unknown := set(fields) - set(_FIELDS):
        raise ConfigError(f"{file} has the unknown field {sorted(unknown)[0]!r}")
    if fields["data"] not in DATA:
        raise ConfigError(f"data must be one of {', '.join(DATA)}, not {fields['data']!r}")
    check_choice("calibration", fields["calibration"], METHODS)
    if not 1 <= fields["calibration_images"] <= 100_000:
        raise ConfigError(
            f"calibration_images must be from 1 to 100000, not {fields['calibration_images']}"
        )
    chosen = (f"datapath.family={datapath}",) if datapath else ()
    settings_file = file.parent / fields["engine"]
    own = settings_file.with_stem(f"{settings_file.stem}_{datapath}")
    if datapath and own.is_file():
        settings_file = own
    engine = configure("engine", file=settings_file, settings=(*chosen, *settings))
    return Job(
        name=file.parent.resolve().name,
        model=file.parent / fields["model"],
        data=fields["data"],
        calibration=fields["calibration"],
        calibration_images=fields["calibration_images"],
        engine=engine,
    )


def families_of(path: Path) -> tuple[str, ...]:
    """Return the families that a job has an engine for: its own, then those beside it."""
    own = read_job(path).engine.datapath.family
    file = path / "job.toml" if path.is_dir() else path
    stem = Path(tomllib.loads(file.read_text(encoding="utf-8"))["engine"]).stem
    names = (other.stem.removeprefix(f"{stem}_") for other in file.parent.glob(f"{stem}_*.toml"))
    return (own, *sorted(name for name in names if name in families() and name != own))


def _float_outputs(graph: Graph, x: NDArray[np.float32]) -> NDArray[np.floating]:
    outputs = []
    for start in range(0, len(x), 100):
        for name, values in evaluate(graph, x[start : start + 100]):
            if name == graph.output:
                outputs.append(values)
    return np.concatenate(outputs)


def run_job(
    job: Job,
    *,
    images: int | None = None,
    say: Say = lambda text: None,
    progress: Progress = lambda done, total: None,
) -> JobResult:
    """Calibrate, quantise, map, and run the test images on golden model and RTL.

    Parameters
    ----------
    job : Job
        What to run.
    images : int, optional
        How many test images, all by default.
    say : callable
        Called with a line before each part.
    progress : callable
        Called with images done and in all while the RTL runs.

    Raises
    ------
    ConfigError, ModelError, MappingError, ToolError
        See there; each message is one sentence.
    """
    return run_prepared(prepare_job(job, images=images, say=say), say=say, progress=progress)


def run_prepared(
    ready: "PreparedJob",
    *,
    say: Say = lambda text: None,
    progress: Progress = lambda done, total: None,
) -> JobResult:
    """Run on the RTL what `prepare_job` returned; see `run_job`."""
    job, count = ready.job, len(ready.labels)
    say(f"Compiling the RTL and running {count} images on it")
    results, seconds = _simulate(job, ready.shards, progress)
    outputs = np.concatenate(
        [ready.plan.decode(result.lanes, shard.images)
         for result, shard in zip(results, ready.shards, strict=True)]
    )  # fmt: skip
    cycles = sum(result.cycles for result in results)
    return JobResult(
        images=count,
        float_accuracy=ready.float_accuracy(),
        golden_accuracy=ready.accuracy(ready.golden),
        rtl_accuracy=ready.accuracy(outputs),
        equal=bool((outputs == ready.golden).all()),
        cycles=cycles,
        predicted_cycles=ready.cycles,
        batch=ready.plan.batch,
        layers=_layers(ready, count),
        utilisation=ready.family.utilisation(ready.useful(), cycles),
        seconds=seconds,
    )


def estimate_job(
    job: Job, *, images: int | None = None, say: Say = lambda text: None
) -> JobEstimate:
    """Do all that `run_job` does but for the RTL, whose results and cycles the models give.

    Parameters and errors: see `run_job`.
    """
    ready = prepare_job(job, images=images, say=say)
    return JobEstimate(
        images=len(ready.labels),
        float_accuracy=ready.float_accuracy(),
        golden_accuracy=ready.accuracy(ready.golden),
        cycles=ready.cycles,
        utilisation=ready.family.utilisation(ready.useful(), ready.cycles),
    )


@dataclass(frozen=True, kw_only=True)
class Shard:
    """Some of the images as a program of its own, and its cycles as predicted."""

    images: int
    program: Program
    timeline: Timeline


@dataclass(frozen=True, kw_only=True)
class PreparedJob:
    """A quantised and mapped network, and what the models say of it."""

    job: Job
    family: Family
    graph: Graph
    network: QuantisedGraph
    tiles: list[NDArray[np.int64]]
    plan: NetworkPlan
    shards: tuple[Shard, ...]
    golden: NDArray[np.int64]
    test: NDArray[np.floating]
    labels: NDArray[np.int64]

    @property
    def cycles(self) -> int:
        """Cycles of all shards as predicted."""
        return sum(shard.timeline.cycles for shard in self.shards)

    def accuracy(self, outputs: NDArray[np.int64]) -> float:
        """Return the share of right answers."""
        return self._right(self.network.dequantise_output(outputs))

    def float_accuracy(self) -> float:
        """Return the share of right answers of the network before it was quantised."""
        return self._right(_float_outputs(self.graph, self.test))

    def useful(self) -> int:
        """Return the useful products of the whole run."""
        layers = zip(self.network.engine_layers, self.tiles, strict=True)
        return len(self.labels) * sum(_useful(self.family, *item) for item in layers)

    def _right(self, values: NDArray[Any]) -> float:
        answers = values.reshape(len(self.labels), -1).argmax(axis=1)
        return float((answers == self.labels).mean())


def prepare_job(
    job: Job, *, images: int | None = None, say: Say = lambda text: None
) -> PreparedJob:
    """Calibrate, quantise, map, and run the golden model and the cycle model; see `run_job`."""
    say(f"Reading {job.model.name} and the data")
    graph = load_model(job.model)
    samples = DATA[job.data](job.calibration_images)
    _check_count("images", images, len(samples.test), "test")
    _check_count("calibration_images", job.calibration_images, len(samples.calibration), "training")
    calibration, test = (
        values if graph.layout == "nchw" else from_model("nchw", values)
        for values in (samples.calibration, samples.test[:images])
    )
    labels = samples.labels[:images]
    say(f"Quantising with {len(calibration)} calibration images ({job.calibration})")
    family = family_of(job.engine.datapath)
    formats = family.formats(Formats.of(job.engine))
    network = quantise(graph, formats, calibration, calibration=job.calibration)
    network = family.prepare(network, network.quantise_input(calibration))
    tiles = k_tiles(job.engine, network)
    golden_run = run_golden
    if family.lossy:
        product = tiled_product(
            family.golden,
            {layer.name: k for layer, k in zip(network.engine_layers, tiles, strict=True)},
        )
        golden_run = partial(golden_run, product=product)
    plan = plan_network(job.engine, network)
    x = network.quantise_input(test)
    say(f"Running {len(test)} images on the golden model")
    golden = golden_run(network, x)
    return PreparedJob(
        job=job,
        family=family,
        graph=graph,
        network=network,
        tiles=tiles,
        plan=plan,
        shards=_shards(job.engine, plan, x),
        golden=golden,
        test=test,
        labels=labels,
    )


def _check_count(name: str, asked: int | None, there: int, kind: str) -> None:
    if asked is not None and not 1 <= asked <= there:
        raise ConfigError(f"{name} must be from 1 to the {there:,} {kind} images, not {asked:,}")


def _shards(engine: EngineConfig, plan: NetworkPlan, x: NDArray[np.int64]) -> tuple[Shard, ...]:
    """Cut the images into shards, which processors share; how many these are changes no figure."""
    size = plan.batch * -(-_SHARD_IMAGES // plan.batch)
    shards: list[Shard] = []
    for first in range(0, len(x), size):
        images = x[first : first + size]
        program = plan.program(images)
        same = shards and shards[-1].images == len(images)
        timeline = shards[-1].timeline if same else predict(engine, program)
        shards.append(Shard(images=len(images), program=program, timeline=timeline))
    return tuple(shards)


def _simulate(
    job: Job, shards: Sequence[Shard], progress: Progress
) -> tuple[list[RunResult], float]:
    """Run all shards, each when an engine is free; return results and seconds."""
    images, done = sum(shard.images for shard in shards), [0] * len(shards)
    own, stopped = local(), Event()

    def prepare() -> None:
        own.hardware = SimulatedEngine(job.engine)

    def run(number: int) -> RunResult:
        program, count = shards[number].program, shards[number].images
        total = sum(program.y_beats)

        def told(beats: int) -> None:
            if stopped.is_set():
                raise InterruptedError
            done[number] = beats * count // total
            progress(sum(done), images)

        return own.hardware.run(program, progress=told)

    workers = min(os.cpu_count() or 1, len(shards))
    prepare()  # compiles, so that the others find it
    start = perf_counter()
    with ThreadPoolExecutor(workers, initializer=prepare) as pool:
        try:
            return list(pool.map(run, range(len(shards)))), perf_counter() - start
        except BaseException:
            stopped.set()
            pool.shutdown(cancel_futures=True)
            raise


def _useful(family: Family, layer: QuantisedLayer, tiles: NDArray[np.int64]) -> int:
    """Return a layer's useful products; those that are in none of its K tiles are none."""
    return layer.rows * family.useful(layer.weights[tiles[tiles >= 0]], layer.mode)


def _layers(ready: PreparedJob, images: int) -> tuple[LayerResult, ...]:
    """Share the cycles out: a GEMM has those since the one before was done."""
    layers = ready.network.engine_layers
    cycles = [0.0] * len(layers)
    for shard in ready.shards:
        before = 0
        gemms = zip(ready.plan.gemm_layers(shard.images), shard.timeline.gemms, strict=True)
        for layer, timing in gemms:
            cycles[layer] += timing.done - before
            before = timing.done
    return tuple(
        LayerResult(
            name=layer.name,
            op=layer.op,
            shape=(layer.rows, layer.k, layer.n),
            macs=layer.macs,
            cycles=total / images,
            utilisation=ready.family.utilisation(
                images * _useful(ready.family, layer, tiles), total
            ),
        )
        for layer, tiles, total in zip(layers, ready.tiles, cycles, strict=True)
    )
