"""The journal of a sweep: what is found, and who is at work, for processes that share a folder."""

import hashlib
import json
import threading
import time
import uuid
from collections.abc import Callable, Generator, Iterator, Mapping
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any

import optuna
from optuna.storages import JournalStorage
from optuna.storages.journal import JournalFileBackend, JournalFileSymlinkLock
from optuna.trial import TrialState

from ..gen.files import missing_folders, naming, remove_empty
from ..hw.config import ConfigError

__all__ = ["JOURNAL", "Journal"]

JOURNAL = "journal.log"
"""Name of the journal in the folder of a sweep."""
_WORKER = "worker-"
_BEAT_SECONDS = 1.0
"""A worker touches its file so often."""
_DEAD_SECONDS = 8.0
"""A worker that did not for so long is dead, and its point is free."""

Point = dict[str, str]


class Journal:
    """What is known of a sweep. Lines that a killed process or a full disk cut short do not count.

    Parameters
    ----------
    folder : Path
        Of the journal; made if missing.
    sweep : str
        Digest of all that the results depend on.

    Raises
    ------
    ConfigError
        The journal in the folder belongs to another sweep.
    """

    def __init__(self, folder: Path, sweep: str):
        self._folder, self._sweep = folder, sweep
        self._made = missing_folders(folder)
        folder.mkdir(parents=True, exist_ok=True)
        self._worker = folder / f"{_WORKER}{uuid.uuid4().hex}"
        try:
            self._open()
        except OSError:
            self.drop_if_useless()
            raise

    def _open(self) -> None:
        folder, sweep = self._folder, self._sweep
        self._lines = _Lines(folder / JOURNAL)
        found = {log["study_name"] for log in self._lines.read_logs(0) if "study_name" in log}
        found |= {kept["sweep"] for kept in self._kept("candidate")}
        if found and sweep not in found:
            raise ConfigError(
                f"the journal in {folder} belongs to another model or other options; "
                "choose another folder"
            )
        optuna.logging.set_verbosity(optuna.logging.ERROR)
        self._study = optuna.create_study(
            storage=JournalStorage(self._lines), study_name=sweep, load_if_exists=True
        )

    @contextmanager
    def working(self) -> Iterator[None]:
        """Be seen to be at work while the block runs."""
        over = threading.Event()

        def beat() -> None:
            while not over.wait(_BEAT_SECONDS):
                with suppress(OSError):
                    self._worker.touch()

        self._worker.touch()
        thread = threading.Thread(target=beat, daemon=True)
        thread.start()
        try:
            yield
        finally:
            over.set()
            thread.join()
            self._worker.unlink(missing_ok=True)

    def done(self) -> list[dict[str, Any]]:
        """Return the fields of the candidates that are done, each point's first."""
        found: dict[str, dict[str, Any]] = {}
        for kept in self._kept("candidate"):
            fields = kept["fields"]
            if kept == _sealed(self._sweep, fields):
                found.setdefault(json.dumps(fields["point"]), fields)
        return list(found.values())

    def taken(self) -> list[Point]:
        """Return the points that living workers are at; what dead ones left is removed."""
        self._worker.touch()
        now = self._worker.stat().st_mtime  # by the clock of whoever keeps the files
        living = set()
        for path in self._folder.glob(f"{_WORKER}*"):
            with suppress(FileNotFoundError):
                if now - path.stat().st_mtime < _DEAD_SECONDS:
                    living.add(path.name)
                else:
                    path.unlink()
        latest = {kept["worker"]: kept["point"] for kept in self._kept("claim")}
        return [point for worker, point in latest.items() if worker in living]

    def wait(self) -> None:
        """Wait for a while in which other workers may get on."""
        time.sleep(_BEAT_SECONDS)

    def work(self, point: Point, find: Callable[[], Mapping[str, Any]]) -> None:
        """Take a point, and keep the fields of the candidate that ``find`` returns."""
        trial = self._study.ask()
        trial.set_user_attr("claim", {"worker": self._worker.name, "point": point})
        try:
            fields = find()
            trial.set_user_attr("candidate", _sealed(self._sweep, fields))
        except BaseException:
            self._study.tell(trial, state=TrialState.FAIL)
            raise
        if fields["refused"]:
            self._study.tell(trial, state=TrialState.PRUNED)
        else:
            self._study.tell(trial, fields["cycles"])

    def drop_if_useless(self) -> None:
        """Remove the journal where nothing is found and nobody else is at work."""
        others = set(self._folder.glob(f"{_WORKER}*")) - {self._worker}
        if others or any(not fields["refused"] for fields in self.done()):
            return
        (self._folder / JOURNAL).unlink(missing_ok=True)
        remove_empty(self._made)

    def _kept(self, name: str) -> Iterator[dict[str, Any]]:
        """Yield what was kept of trials under a name."""
        for log in self._lines.read_logs(0):
            kept = log.get("user_attr")
            if isinstance(kept, dict) and isinstance(kept.get(name), dict):
                yield kept[name]


class _Lines(JournalFileBackend):
    """A file of lines of which those count that are whole."""

    def __init__(self, path: Path):
        self._path = path
        super().__init__(str(path), JournalFileSymlinkLock(str(path), grace_period=5))

    def read_logs(self, log_number_from: int) -> Generator[dict[str, Any], None, None]:
        """Yield the whole lines from a number on."""
        whole = filter(None, map(_read, self._path.read_bytes().splitlines(keepends=True)))
        for number, log in enumerate(whole):
            if number >= log_number_from:
                yield log

    def append_logs(self, logs: list[dict[str, Any]]) -> None:
        """Add lines, behind the end of one that was cut short."""
        content = self._path.read_bytes()
        if content and not content.endswith(b"\n"):
            with naming(self._path), self._path.open("ab") as file:
                file.write(b"\n")
        with naming(self._path):
            super().append_logs(logs)


def _read(line: bytes) -> dict[str, Any] | None:
    """Return what a line of the journal says, None where it is damaged."""
    if not line.endswith(b"\n"):
        return None
    try:
        log = json.loads(line)
    except ValueError:
        return None
    whole = isinstance(log, dict) and isinstance(log.get("op_code"), int) and "worker_id" in log
    return log if whole else None


def _sealed(sweep: str, fields: Mapping[str, Any]) -> dict[str, Any]:
    """Return fields with what tells that they are whole, and of which sweep."""
    kept = {"sweep": sweep, "fields": fields}
    return kept | {"seal": hashlib.sha256(json.dumps(kept).encode()).hexdigest()[:16]}
