"""Planes of the weights of one column, of two tiles."""

from dataclasses import dataclass

from amaranth.hdl import Cat, Module, Signal
from amaranth.lib import memory
from amaranth.lib.wiring import In, Out

from ..arith.delay import delay
from ..arith.local import local_copy
from ..lib.component import Component

__all__ = ["PlaneStore", "PlaneStoreConfig"]


@dataclass(frozen=True, kw_only=True)
class PlaneStoreConfig:
    """Parameters of a `PlaneStore`.

    Attributes
    ----------
    groups : tuple of slice
        Bits of a plane in each group; every group is a cycle behind the one before.
    planes : int
        Planes of a tile.
    fabric : str
        ``"portable"`` or ``"ecp5"``.
    """

    groups: tuple[slice, ...]
    planes: int
    fabric: str

    @property
    def width(self) -> int:
        """Bits of a plane."""
        return self.groups[-1].stop


class PlaneStore(Component):
    """Planes of the weights of one column: of the tile in use, and of the next one.

    Parameters
    ----------
    config : PlaneStoreConfig
        See there.

    Members
    -------
    page, plane : In(1), In(range(planes))
        What to read.
    word : Out(width)
        What was read, skewed.
    write : In(1)
        Write ``w_word`` to ``w_plane`` of ``w_page``.
    w_page, w_plane, w_word : In(1), In(range(planes)), In(width)
        See ``write``.

    Latency
        3 cycles from ``page`` and ``plane`` to the first group of ``word``.
    Throughput
        One plane a cycle.
    Numerics
        None.
    Cost
        ECP5: a TRELLIS_DPR16X4 for each four bits of a plane, where a tile has up to 8 planes.
    Reference
        None.
    """

    page: Signal
    plane: Signal
    word: Signal
    write: Signal
    w_page: Signal
    w_plane: Signal
    w_word: Signal

    def __init__(self, config: PlaneStoreConfig):
        self._config = config
        plane = range(config.planes)
        super().__init__(
            {
                "page": In(1),
                "plane": In(plane),
                "word": Out(config.width),
                "write": In(1),
                "w_page": In(1),
                "w_plane": In(plane),
                "w_word": In(config.width),
            }
        )

    def elaborate(self, platform):
        m = Module()
        bits = len(self.plane)
        address = Cat(self.plane, self.page)
        for g, part in enumerate(self._config.groups):
            planes = memory.Memory(shape=part.stop - part.start, depth=2 << bits, init=[])
            m.submodules[f"planes_{g}"] = planes
            write = planes.write_port()
            read = planes.read_port(domain="comb")
            address = local_copy(m, address, f"address_{g}", self._config.fabric)
            m.d.comb += [
                read.addr.eq(address),
                self.word[part].eq(delay(m, read.data, 2, f"found_{g}")),
                write.addr.eq(Cat(self.w_plane, self.w_page)),
                write.data.eq(self.w_word[part]),
                write.en.eq(self.write),
            ]
        return m
