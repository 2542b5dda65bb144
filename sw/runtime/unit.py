"""A unit of the registry as compiled RTL, its streams as columns of numbers."""

from typing import Any

import numpy as np
from numpy.typing import ArrayLike, NDArray

from ...gen.errors import ToolError
from ...gen.hierarchy import mark_used
from ...gen.manifest import bit_fields
from ...gen.registry import find_unit, load
from ...hw.bus.axi_stream import AxiStreamTop
from .compiled import compile_component

__all__ = ["SimulatedUnit"]

Integers = NDArray[np.int64]

_WORD = 64


class SimulatedUnit:
    """One unit, reset once; inputs never starve and outputs are taken at once.

    Parameters
    ----------
    unit : str
        Row of the registry.
    config : object
        Its configuration.

    Raises
    ------
    ToolError
        There is no C++ compiler or no Verilator.
    """

    def __init__(self, unit: str, config: Any):
        component = load(find_unit(unit).component)
        self._name = unit
        top = AxiStreamTop(component(config))
        mark_used(top)  # only its ports are read, the unit may be compiled already
        self._ports = {port.name: port for port in top.axi_streams}
        self._fields = {
            name: {field["name"]: field for field in bit_fields(port.payload)}
            for name, port in self._ports.items()
        }
        self._unit = compile_component(component, config, unit)

    @property
    def cycle(self) -> int:
        """Cycles since reset."""
        return self._unit.cycle

    def restart(self) -> None:
        """Begin again as after reset, whatever the unit was amid."""
        self._unit = self._unit.another()

    def forget(self) -> None:
        """Drop what the streams have carried so far; to be called before anything is sent."""
        self._unit.forget()

    def send(self, stream: str, columns: dict[str, ArrayLike]) -> None:
        """Offer beats: a column of numbers for each field of the stream; other fields are 0."""
        port, fields = self._ports[stream], dict(self._fields[stream])
        count = len(np.asarray(next(iter(columns.values()))))
        width = max(field["lsb"] + field["width"] for field in fields.values())
        words = np.zeros((count, -(-width // _WORD)), np.uint64)
        beats = {"data": words}
        for name, column in columns.items():
            values = np.asarray(column, np.int64)
            if name == port.last:
                beats["last"] = values.astype(np.uint64)
                continue
            field = fields[name]
            at, offset = divmod(field["lsb"], _WORD)
            bits = (values & (1 << field["width"]) - 1).astype(np.uint64)
            words[:, at] |= bits << np.uint64(offset)
            if offset + field["width"] > _WORD:
                words[:, at + 1] |= bits >> np.uint64(_WORD - offset)
        self._unit.offer(stream, beats)

    def run(self, stream: str, count: int, *, quiet: int) -> bool:
        """Clock until a stream has moved ``count`` beats; False if all stand still before."""
        return self._unit.run(stream, count, quiet=quiet)

    def give(self, stream: str, count: int, *, quiet: int = 10_000) -> None:
        """Clock until ``count`` beats have been taken.

        Raises
        ------
        ToolError
            The unit stopped before.
        """
        if not self.run(stream, count, quiet=quiet):
            raise ToolError(f"the simulated {self._name} stopped before it had taken {stream}")

    def take(self, stream: str, count: int, *, quiet: int = 10_000) -> dict[str, Integers]:
        """Clock until ``count`` beats have left; return a column for each field.

        Raises
        ------
        ToolError
            The unit stopped before.
        """
        if not self.run(stream, count, quiet=quiet):
            raise ToolError(f"the simulated {self._name} stopped before all results were out")
        return self.seen(stream)

    def seen(self, stream: str) -> dict[str, Integers]:
        """Return what has left since the last `forget`, a column for each field."""
        beats = self._unit.seen(stream).beats
        columns = {}
        for name, field in self._fields[stream].items():
            at, offset = divmod(field["lsb"], _WORD)
            bits = beats["data"][:, at] >> np.uint64(offset)
            if offset + field["width"] > _WORD:
                bits |= beats["data"][:, at + 1] << np.uint64(_WORD - offset)
            values = (bits & np.uint64((1 << field["width"]) - 1)).astype(np.int64)
            if field["signed"]:
                values -= (values >> field["width"] - 1) << field["width"]
            columns[name] = values
        if last := self._ports[stream].last:
            columns[last] = beats["last"][:, 0].astype(np.int64)
        return columns
