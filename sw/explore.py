"""A sweep over datapaths and sizes for one job, which stops, resumes and is shared by a journal."""

import hashlib
import itertools
import json
import random
import re
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, fields, replace
from datetime import datetime, timedelta
from importlib.util import find_spec
from pathlib import Path
from typing import Any

from ..gen.errors import ToolError
from ..hw.config import ConfigError
from ..hw.engine.config import EngineConfig
from .job import Job, estimate_job, read_job
from .mapping.network import MappingError

__all__ = ["Candidate", "Space", "explore", "read_choices"]

JOURNAL = "journal.log"
"""Name of the journal in the folder of a sweep."""
_ABANDONED = timedelta(hours=1)
"""A point that someone began so long ago and never finished is free again."""
_CHOICES = re.compile(r"([\w.]+)=([^,]+(?:,[^,]+)*)")

Area = Callable[[EngineConfig], Mapping[str, int]]
"""Returns LUT4-equivalents and DSPs of an engine."""


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
    lut4_equivalents, dsps : int or None
        Of the engine after synthesis, None where nothing was synthesised.
    best : bool
        No other candidate is as good in everything and better in something.
    """

    point: dict[str, str]
    refused: str = ""
    accuracy: float = 0.0
    cycles: float = 0.0
    peak: int = 0
    lut4_equivalents: int | None = None
    dsps: int | None = None
    best: bool = False

    @property
    def costs(self) -> tuple[float, ...]:
        """What should be small."""
        area = (self.peak,) if self.lut4_equivalents is None else (
            self.lut4_equivalents, self.dsps or 0
        )
        return (-self.accuracy, self.cycles, *area)


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
    trials: int | None = None,
    images: int | None = None,
    settings: tuple[str, ...] = (),
    area: Area | None = None,
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
    trials : int, optional
        Stop once so many points are done, those of earlier calls included.
    images : int, optional
        Test images for the accuracy, all by default.
    settings : tuple of str
        Fields that all points have.
    area : callable, optional
        Synthesises an engine; without it, the array's peak stands for its cost.
    say : callable
        Progress.

    Returns
    -------
    list of Candidate
        All that are done, in the order in which they were begun.

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
    points = list(space.points(path))
    fixed = {setting.partition("=")[0].strip() for setting in settings}
    for key in space.choices:
        if key in fixed:
            raise ConfigError(f"{key} is both set and swept; do one of them")
        if not any(key in point for point in points):
            names = ", ".join(space.datapaths)
            raise ConfigError(f"no field {key!r} to sweep in any of the datapaths {names}")
    jobs = _configure(path, points, settings)
    digest = _digest(path, images, settings, area is not None)
    study = _study(folder, digest)
    random.Random(digest).shuffle(points)
    wanted = min(trials or len(points), len(points))
    while len(done := _done(study, points)) < wanted:
        point = _next(study, points)
        if point is None:
            say("the points that are left are being worked on elsewhere")
            break
        say(f"{len(done) + 1} of {wanted}: {_name(point)}")
        _try(study, point, jobs[_name(point)], images, area)
    return _ranked(done)


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
    if all(isinstance(job, ConfigError) for job in jobs.values()):
        raise next(iter(jobs.values()))
    return jobs


def _study(folder: Path, digest: str) -> Any:
    import optuna
    from optuna.storages.journal import JournalFileBackend

    folder.mkdir(parents=True, exist_ok=True)
    optuna.logging.set_verbosity(optuna.logging.ERROR)
    storage = optuna.storages.JournalStorage(JournalFileBackend(str(folder / JOURNAL)))
    names = [study.study_name for study in storage.get_all_studies()]
    if names and digest not in names:
        raise ConfigError(
            f"the journal in {folder} belongs to another model or other options; "
            "choose another folder"
        )
    return optuna.create_study(storage=storage, study_name=digest, load_if_exists=True)


def _done(study: Any, points: list[dict[str, str]]) -> list[Candidate]:
    """Return the candidates of finished trials, each point once."""
    found: dict[str, Candidate] = {}
    asked = set(map(_name, points))
    for trial in study.get_trials(deepcopy=False):
        candidate = trial.user_attrs.get("candidate")
        if candidate and trial.state.is_finished():
            name = _name(candidate["point"])
            if name in asked:
                found.setdefault(name, Candidate(**candidate))
    return list(found.values())


def _next(study: Any, points: list[dict[str, str]]) -> dict[str, str] | None:
    """Return the first point that nobody has finished or is at work on."""
    taken = set()
    for trial in study.get_trials(deepcopy=False):
        point = trial.user_attrs.get("point")
        fresh = trial.datetime_start and datetime.now() - trial.datetime_start < _ABANDONED
        finished = "candidate" in trial.user_attrs
        if point and (finished or (fresh and not trial.state.is_finished())):
            taken.add(_name(point))
    return next((point for point in points if _name(point) not in taken), None)


def _try(
    study: Any, point: dict[str, str], job: Job | ConfigError, images: int | None, area: Area | None
) -> None:
    """Do one trial; where it is cut short, its point is free again."""
    from optuna.trial import TrialState

    trial = study.ask()
    trial.set_user_attr("point", point)
    try:
        candidate = _evaluate(point, job, images, area)
        trial.set_user_attr("candidate", vars(candidate))
    except BaseException:
        study.tell(trial, state=TrialState.FAIL)
        raise
    if candidate.refused:
        study.tell(trial, state=TrialState.PRUNED)
    else:
        study.tell(trial, candidate.cycles)


def _evaluate(
    point: dict[str, str], job: Job | ConfigError, images: int | None, area: Area | None
) -> Candidate:
    if isinstance(job, ConfigError):
        return Candidate(point=point, refused=str(job))
    try:
        found = estimate_job(job, images=images)
        cells = area(job.engine) if area else {}
    except (ConfigError, MappingError) as error:
        return Candidate(point=point, refused=str(error))
    return Candidate(
        point=point, accuracy=found.golden_accuracy, cycles=found.cycles / found.images,
        peak=job.engine.datapath.act_lanes * job.engine.datapath.cols, **cells,
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
