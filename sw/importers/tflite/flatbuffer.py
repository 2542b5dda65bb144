"""Bounded reading of FlatBuffers: every offset and length of the file is checked."""

import struct
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from ...model.graph import ModelError

__all__ = ["Table", "root"]


@dataclass(frozen=True)
class Table:
    """A table of the file.

    Attributes
    ----------
    data : bytes
        The whole file.
    at : int
        Where the table starts.
    name : str
        What it is, for messages.
    """

    data: bytes
    at: int
    name: str

    def number(self, field: int, code: str, default: int = 0) -> int:
        """Return a scalar field; ``code`` is its format in the language of `struct`."""
        at = self._field(field)
        return default if at is None else self._unpack(code, at)

    def text(self, field: int) -> str:
        """Return a string field, empty where it is left out."""
        return self.array(field, "u1").tobytes().decode("utf-8", "replace")

    def array(self, field: int, dtype: str) -> NDArray:
        """Return a vector of scalars as a read-only array, empty where it is left out."""
        where = self._vector(field, np.dtype(dtype).itemsize)
        if where is None:
            return np.zeros(0, dtype)
        start, count = where
        return np.frombuffer(self.data, np.dtype(dtype).newbyteorder("<"), count, start)

    def table(self, field: int, name: str) -> "Table | None":
        """Return a table field."""
        at = self._field(field)
        return None if at is None else self._follow(at, name)

    def tables(self, field: int, name: str) -> "list[Table]":
        """Return a vector of tables."""
        where = self._vector(field, 4)
        if where is None:
            return []
        start, count = where
        return [self._follow(start + 4 * i, f"{name} {i}") for i in range(count)]

    def _field(self, field: int) -> int | None:
        table = self.at - self._unpack("i", self.at)
        size = self._unpack("H", table)
        place = 4 + 2 * field
        offset = self._unpack("H", table + place) if place + 2 <= size else 0
        return self.at + offset if offset else None

    def _vector(self, field: int, item: int) -> tuple[int, int] | None:
        at = self._field(field)
        if at is None:
            return None
        start = at + self._unpack("I", at)
        count = self._unpack("I", start)
        if start + 4 + count * item > len(self.data):
            raise ModelError(
                f"{self.name} has a list of {count} items that goes beyond the end of the file"
            )
        return start + 4, count

    def _follow(self, at: int, name: str) -> "Table":
        return Table(self.data, at + self._unpack("I", at), name)

    def _unpack(self, code: str, at: int) -> int:
        if not 0 <= at <= len(self.data) - struct.calcsize(code):
            raise ModelError(f"{self.name} points outside the file of {len(self.data)} bytes")
        return struct.unpack_from(f"<{code}", self.data, at)[0]


def root(data: bytes, identifier: bytes, name: str) -> Table:
    """Return the root table of a file that carries ``identifier`` behind its first offset."""
    if data[4:8] != identifier:
        raise ModelError(f"{name} is not a {identifier.decode()} file, or is truncated")
    return Table(data, 0, name)._follow(0, name)
