"""A sweep over datapaths and sizes for one job, which stops, resumes and is shared by a journal."""

import hashlib
import itertools
import json
import random
import re
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, fields, replace
from functools import partial
from importlib.util import find_spec
from pathlib import Path
from typing import TYPE_CHECKING, Any

from ..gen.errors import ToolError
from ..hw.config import ConfigError
from ..hw.engine.config import EngineConfig
from .job import Job, estimate_job, read_job
from .lower.layers import MappingError

if TYPE_CHECKING:
    from .journal import Journal

__all__ = ["Candidate", "Space", "explore", "read_choices"]

_CHOICES = re.compile(r"([\w.]+)=([^,]+(?:,[^,]+)*)")

Area = Callable[[EngineConfig], Mapping[str, int]]
"""Returns the fields of a `Candidate` that say what an engine needs."""


@dataclass(frozen=True, kw_only=True)
class Space:
    """What to try: every family with every combination of values of the fields that it has.

    Attributes
    ----------
    datapaths : tuple of str
        Families.
    choices : mapping
        Key of the engine's configuration to its values, as ``--set`` takes them.
    """

    datapaths: tuple[str, ...]
    choices: Mapping[str, tuple[str, ...]]

    def points(self, path: Path) -> Iterator[dict[str, str]]:
        """Yield every point for the job at ``path``, the last key fastest."""
        for family in self.datapaths:
            own = fields(type(read_job(path, datapath=family).engine.datapath))
            names = {f"datapath.{field.name}" for field in own}
            axes = {
                key: values
                for key, values in self.choices.items()
                if key in names or not key.startswith("datapath.")
            }
            for values in itertools.product(*axes.values()):
                yield {"datapath": family, **dict(zip(axes, values, strict=True))}


@dataclass(frozen=True, kw_only=True)
class Candidate:
    """One point of a sweep and what was found there.

    Attributes
    ----------
    point : dict
        The datapath and the fields that were chosen.
    refused : str
        Why it cannot be built or does not hold the network; then the figures are 0.
    accuracy : float
        Share of right answers of the golden model.
    cycles : float
        Per image, exact.
    peak : int
        Multiply-accumulates per cycle of the array.
    lut4_equivalents, dsps : int
        Of the engine.
    estimated : bool
        Whether they are estimated, not synthesised.
    best : bool
        No other candidate is as good in everything and better in something.
    """

    point: dict[str, str]
    refused: str = ""
    accuracy: float = 0.0
    cycles: float = 0.0
    peak: int = 0
    lut4_equivalents: int = 0
    dsps: int = 0
    estimated: bool = False
    best: bool = False

    @property
    def costs(self) -> tuple[float, ...]:
        """What should be small."""
        return (-self.accuracy, self.cycles, self.lut4_equivalents, self.dsps)


def read_choices(texts: Sequence[str]) -> dict[str, tuple[str, ...]]:
    """Return what ``key=value,value`` texts say; raise `ConfigError` for other texts."""
    found = {}
    for text in texts:
        match = _CHOICES.fullmatch(text)
        if match is None:
            raise ConfigError(f"a sweep is key=value,value, not {text!r}")
        if match[1] in found:
            raise ConfigError(f"{match[1]} is swept twice; give all its values at once")
        if match[1] in ("datapath", "datapath.family"):
            raise ConfigError("families are tried with --datapath, not swept")
        found[match[1]] = tuple(dict.fromkeys(match[2].split(",")))
    return found


def explore(
    path: Path,
    space: Space,
    folder: Path,
    *,
    area: Area,
    trials: int | None = None,
    images: int | None = None,
    settings: tuple[str, ...] = (),
    say: Callable[[str], None] = lambda text: None,
) -> list[Candidate]:
    """Try the points of ``space`` that the journal in ``folder`` does not hold yet.

    Points come in an order that looks random but is the same each time. Any number of processes,
    on machines that see the folder, may work on one sweep.

    Parameters
    ----------
    path : Path
        The job, see `read_job`.
    space : Space
        What to try.
    folder : Path
        For the journal; made if missing.
    area : callable
        Estimates or synthesises what an engine needs; the journal is kept by its name.
    trials : int, optional
        Stop once so many points are done, those of earlier calls included.
    images : int, optional
        Test images for the accuracy, all by default.
    settings : tuple of str
        Fields that all points have.
    say : callable
        Progress.

    Returns
    -------
    list of Candidate
        All that are done, in the order in which they were.

    Raises
    ------
    ConfigError
        No point can be configured, a field is swept that is set or that no datapath has, or the
        journal belongs to another sweep.
    ToolError
        Optuna is missing.
    """
    if find_spec("optuna") is None:
        raise ToolError("sweeps need Optuna: pip install 'tilewright[explore]'")
    from .journal import Journal

    points = list(space.points(path))
    _check_swept(space, points, settings)
    jobs = _configure(path, points, settings)
    digest = _digest(path, images, settings, area.__name__)
    journal = Journal(folder, digest)
    random.Random(digest).shuffle(points)
    wanted = min(trials or len(points), len(points))
    waiting = False
    try:
        with journal.working():
            while len(done := _done(journal, points)) < wanted:
                point = _next(journal, done, points)
                if point is None:
                    if not waiting:
                        say("waiting for the points that are left, which others are at work on")
                    waiting = True
                    journal.wait()
                    continue
                say(f"{len(done) + 1} of {wanted}: {_name(point)}")
                find = partial(_evaluate, point, jobs[_name(point)], images, area)
                journal.work(point, find)
    finally:
        journal.drop_if_useless()
    if all(one.refused for one in done):
        raise ConfigError(f"all {len(done)} candidates are refused, the first as {done[0].refused}")
    return _ranked(done)


def _check_swept(
    space: Space, points: Sequence[Mapping[str, str]], settings: tuple[str, ...]
) -> None:
    """Refuse to sweep a field that is set too, or that no datapath has."""
    fixed = {setting.partition("=")[0].strip() for setting in settings}
    for key in space.choices:
        if key in fixed:
            raise ConfigError(f"{key} is both set and swept; do one of them")
        if not any(key in point for point in points):
            names = ", ".join(space.datapaths)
            raise ConfigError(f"no field {key!r} to sweep in any of the datapaths {names}")


def _digest(path: Path, *choices: object) -> str:
    """Return what stands for a job's files and the options of a sweep."""
    place = path if path.is_dir() else path.parent
    found = hashlib.sha256(json.dumps(choices).encode())
    for file in sorted(place.iterdir()):
        if file.suffix in (".toml", ".onnx"):
            found.update(file.read_bytes())
    return found.hexdigest()


def _name(point: Mapping[str, str]) -> str:
    return " ".join(f"{key}={value}" for key, value in point.items())


def _configure(
    path: Path, points: list[dict[str, str]], settings: tuple[str, ...]
) -> dict[str, Job | ConfigError]:
    """Return the job of every point, or why it cannot be configured, before any work."""
    jobs: dict[str, Job | ConfigError] = {}
    for point in points:
        chosen = [f"{key}={value}" for key, value in point.items() if key != "datapath"]
        try:
            jobs[_name(point)] = read_job(
                path, datapath=point["datapath"], settings=(*settings, *chosen)
            )
        except ConfigError as error:
            jobs[_name(point)] = error
    refused = [job for job in jobs.values() if isinstance(job, ConfigError)]
    if len(refused) == len(jobs):
        raise refused[0]
    return jobs


def _done(journal: "Journal", points: list[dict[str, str]]) -> list[Candidate]:
    """Return those of the points that are done."""
    asked = set(map(_name, points))
    return [Candidate(**kept) for kept in journal.done() if _name(kept["point"]) in asked]


def _next(
    journal: "Journal", done: list[Candidate], points: list[dict[str, str]]
) -> dict[str, str] | None:
    """Return the first point that is not done and that no living worker is at."""
    taken = {_name(one.point) for one in done} | set(map(_name, journal.taken()))
    return next((point for point in points if _name(point) not in taken), None)


def _evaluate(
    point: dict[str, str], job: Job | ConfigError, images: int | None, area: Area
) -> dict[str, Any]:
    """Return the fields of a candidate."""
    if isinstance(job, ConfigError):
        return vars(Candidate(point=point, refused=str(job)))
    try:
        found = estimate_job(job, images=images)
        cells: Mapping[str, Any] = area(job.engine)
    except (ConfigError, MappingError) as error:
        return vars(Candidate(point=point, refused=str(error)))
    return vars(
        Candidate(
            point=point,
            accuracy=found.golden_accuracy,
            cycles=found.cycles / found.images,
            peak=job.engine.datapath.act_lanes * job.engine.datapath.cols,
            **cells,
        )
    )


def _ranked(found: list[Candidate]) -> list[Candidate]:
    """Mark the candidates that none beats."""
    usable = [one for one in found if not one.refused]

    def beaten(one: Candidate) -> bool:
        return any(
            all(a <= b for a, b in zip(other.costs, one.costs, strict=True))
            and other.costs != one.costs
            for other in usable
        )

    return [replace(one, best=not one.refused and not beaten(one)) for one in found]
