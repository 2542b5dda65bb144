"""The record of a run: what was measured, in a file from which its report can be made again."""

import json
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from ...gen.configuration import configure, dump
from ...gen.files import write_all
from ...hw.config import ConfigError
from ...hw.engine.config import EngineConfig
from ..job import JobResult, LayerResult
from .data import ReportData

__all__ = [
    "RECORD", "WAVEFORM", "BuildRecord", "CellRecord", "read_record", "write_record",
]  # fmt: skip

RECORD = "run.json"
"""Name of the record in a run's folder."""
_ENGINE = "engine.toml"
WAVEFORM = "tile.vcd"
"""Name of the waves beside it."""


@dataclass(frozen=True, kw_only=True)
class CellRecord:
    """Cells of a netlist, see `CellCount`."""

    lut4_equivalents: int
    ff: int
    dsp: int
    bram: int


@dataclass(frozen=True, kw_only=True)
class BuildRecord:
    """What a report and a comparison read from a build for a board, see `BuildResult`.

    Attributes
    ----------
    bitstream, placement : str
        Files, relative to the folder of the record.
    identical : bool
        The bitstream, unpacked, holds what its netlist does, and packed again is the same.
    critical : tuple of str
        Hops of the slowest path.
    """

    board: str
    mhz: float
    fmax: float
    area: CellRecord
    used: dict[str, int]
    available: dict[str, int]
    bitstream: str
    placement: str
    identical: bool
    critical: tuple[str, ...]

    @classmethod
    def of(cls, build: Any, folder: Path) -> "BuildRecord":
        """Return the record of a `fpga.board.BoardBuild` whose files lie below ``folder``."""
        area = {name: getattr(build.area, name) for name in CellRecord.__dataclass_fields__}
        same = {
            name: getattr(build, name)
            for name in ("board", "mhz", "fmax", "used", "available", "identical")
        }
        paths = {
            name: getattr(build, name).relative_to(folder).as_posix()
            for name in ("bitstream", "placement")
        }
        return cls(**same, **paths, area=CellRecord(**area), critical=tuple(build.critical))


def write_record(
    folder: Path, name: str, engine: EngineConfig, result: JobResult, build: BuildRecord | None
) -> None:
    """Write the record of a run and its engine's configuration into ``folder``, both or neither."""
    record = {
        "name": name,
        "result": asdict(result),
        "build": asdict(build) if build else None,
    }
    files = {RECORD: json.dumps(record, indent=1) + "\n", _ENGINE: dump(engine, "engine")}
    write_all(folder, files)


def read_record(folder: Path) -> ReportData:
    """Return what `write_record` wrote, with the pictures' files where they are there.

    Raises
    ------
    ConfigError
        There is no record in ``folder``, or it is not one.
    """
    path = folder / RECORD
    try:
        record = json.loads(path.read_text(encoding="utf-8"))
        result = dict(record["result"])
        layers = tuple(
            LayerResult(**layer | {"shape": tuple(layer["shape"])}) for layer in result["layers"]
        )
        found = JobResult(**{**result, "layers": layers})
        build = None
        if record["build"] is not None:
            facts = dict(record["build"])
            build = BuildRecord(
                **facts
                | {"area": CellRecord(**facts["area"]), "critical": tuple(facts["critical"])}
            )
        name = str(record["name"])
    except FileNotFoundError:
        raise ConfigError(
            f"there is no {path}; `tilewright run JOB -o {folder}` makes it"
        ) from None
    except (ValueError, KeyError, TypeError, AttributeError):
        raise ConfigError(f"{path} is not the record of a run") from None
    placement = folder / build.placement if build else None
    waveform = folder / WAVEFORM
    return ReportData(
        name=name,
        engine=configure("engine", file=folder / _ENGINE),
        result=found,
        build=build,
        critical=build.critical if build else (),
        floorplan=placement if placement and placement.is_file() else None,
        waveform=waveform if waveform.is_file() else None,
    )
