"""A row of processing elements, the unit that an array repeats."""

from collections.abc import Iterable
from dataclasses import dataclass, replace

from amaranth.hdl import Module, Shape, Signal, Value
from amaranth.lib.wiring import In, Out

from ..arith.product_config import ProductConfig
from ..lib.component import Component
from .config import SystolicConfig
from .pe import OsPe, PeConfig, WsPe, os_members, ws_members

__all__ = ["OsRow", "OsSegment", "RowConfig", "WsRow", "WsSegment", "row_config"]

_WS_TRAVELS = ("x", "swap", "shift")
_OS_TRAVELS = ("x", "clear")
"""Members of a PE that go on to its neighbour, where they are called ``NAME_next``."""
_SEGMENT = 8
"""PEs of a segment. Rows of more than two segments are made of these, and stay short to read."""


@dataclass(frozen=True, kw_only=True)
class RowConfig:
    """Parameters of a row.

    Attributes
    ----------
    pes : tuple of PeConfig
        The PEs, left to right.
    cell : type
        What makes them where weights stay.
    """

    pes: tuple[PeConfig, ...]
    cell: type[Component] = WsPe

    @property
    def x_shape(self) -> Shape:
        """Shape of the activation."""
        return self.pes[0].x_shape

    @property
    def word_bits(self) -> int:
        """Bits of all PEs' weights on their way."""
        return sum(pe.word_bits for pe in self.pes)

    @property
    def first(self) -> bool:
        """There are no partial sums to add to."""
        return self.pes[0].first

    @property
    def psum_width(self) -> int:
        """Bits of a sum."""
        return self.pes[0].psum_width

    @property
    def sums_bits(self) -> int:
        """Bits of the sums of all columns."""
        return sum(pe.sums_bits for pe in self.pes)

    @property
    def segments(self) -> tuple["RowConfig", ...]:
        """Configurations of the segments of a long row; none where the row is short."""
        if len(self.pes) <= 2 * _SEGMENT:
            return ()
        starts = range(0, len(self.pes), _SEGMENT)
        return tuple(replace(self, pes=self.pes[i : i + _SEGMENT]) for i in starts)


def row_config(config: SystolicConfig, row: int) -> RowConfig:
    """Return the configuration of a row; rows that are equal share one module."""
    ws = config.dataflow == "ws"
    product = ProductConfig(
        x_bits=config.x_bits,
        x_signed=config.x_signed,
        w_bits=config.w_bits,
        w_signed=config.w_signed,
        latency=config.pe_latency,
        fabric=config.fabric,
    )
    pes = []
    col = 0
    for columns in config.groups:
        pes.append(
            PeConfig(
                kind=config.kinds[row][col : col + columns],
                product=product,
                psum_width=config.sum_width(row + 1) if ws else config.psum_width,
                first=ws and row == 0,
            )
        )
        col += columns
    return RowConfig(pes=tuple(pes))


def _abreast(
    m: Module, row: Component, parts: Iterable[tuple[str, Component]], travels: Iterable[str]
) -> dict[str, Value]:
    """Add parts side by side; return what would travel to the next one.

    Members called in ``travels`` go from part to part, as ``NAME_next``; of every other member each
    part has its slice of the row's.
    """
    passing: dict[str, Value] = {name: getattr(row, name) for name in travels}
    ends: dict[str, int] = {}
    for name, part in parts:
        m.submodules[name] = part
        members = dict(part.signature.members)
        for member, value in passing.items():
            m.d.comb += getattr(part, member).eq(value)
            passing[member] = getattr(part, f"{member}_next")
            del members[member], members[f"{member}_next"]
        for member, port in members.items():
            inner = Value.cast(getattr(part, member))
            first = ends.get(member, 0)
            ends[member] = first + len(inner)
            outer = getattr(row, member)[first : ends[member]]
            m.d.comb += inner.eq(outer) if port.flow == In else outer.eq(inner)
    return passing


def _pass_on(m: Module, segment: Component, values: dict[str, Value]) -> None:
    for name, value in values.items():
        m.d.comb += getattr(segment, f"{name}_next").eq(value)


def _pes(config: RowConfig, cell: type[Component]) -> list[tuple[str, Component]]:
    return [(f"pe_{i}", cell(pe)) for i, pe in enumerate(config.pes)]


class WsSegment(Component):
    """Weight-stationary cells side by side, with the members of one cell that is as wide.

    Parameters
    ----------
    config : RowConfig
        See there.

    Members
    -------
    x : In(x_shape)
        Activation.
    swap : In(1)
        From this activation on use the weights in the chains.
    shift : In(1)
        Move the chains.
    w : In(word_bits)
        Chains, group ``g`` ``g`` cycles behind ``shift``.
    psums : In(sums_bits)
        Partial sums, skewed likewise; absent in the first row.
    x_next : Out(x_shape)
        Activation for the next segment.
    swap_next : Out(1)
        ``swap`` for the next segment.
    shift_next : Out(1)
        ``shift`` for the next segment.
    w_next : Out(word_bits)
        Chains.
    psums_next : Out(sums_bits)
        Partial sums, skewed likewise.

    Latency
        See `WsPe`; a cycle for each cell from ``x`` to ``x_next``.
    Throughput
        One activation a cycle.
    Numerics
        Exact.
    """

    x: Signal
    swap: Signal
    shift: Signal
    w: Signal
    psums: Signal
    x_next: Signal
    swap_next: Signal
    shift_next: Signal
    w_next: Signal
    psums_next: Signal

    def __init__(self, config: RowConfig):
        self._config = config
        super().__init__(ws_members(config))

    def elaborate(self, platform):
        m = Module()
        config = self._config
        _pass_on(m, self, _abreast(m, self, _pes(config, config.cell), _WS_TRAVELS))
        return m


class OsSegment(Component):
    """Output-stationary PEs side by side, with the members of one PE that is as wide.

    Parameters
    ----------
    config : RowConfig
        See there.

    Members
    -------
    x : In(x_shape)
        Activation.
    clear : In(1)
        Starts sums, `OsPe` says when.
    w : In(word_bits)
        Weights, group ``g`` ``g`` cycles behind ``x``.
    x_next : Out(x_shape)
        Activation for the next segment.
    clear_next : Out(1)
        ``clear`` for the next segment.
    w_next : Out(word_bits)
        Weights, a cycle later.
    sums : Out(sums_bits)
        Accumulators, skewed likewise.

    Latency
        See `OsPe`; a cycle for each PE from ``x`` to ``x_next``.
    Throughput
        One activation a cycle.
    Numerics
        Exact.
    """

    x: Signal
    clear: Signal
    w: Signal
    x_next: Signal
    clear_next: Signal
    w_next: Signal
    sums: Signal

    def __init__(self, config: RowConfig):
        self._config = config
        super().__init__(os_members(config))

    def elaborate(self, platform):
        m = Module()
        _pass_on(m, self, _abreast(m, self, _pes(self._config, OsPe), _OS_TRAVELS))
        return m


class WsRow(Component):
    """Row of weight-stationary cells, each a cycle behind its neighbour to the left.

    Parameters
    ----------
    config : RowConfig
        See there.

    Members
    -------
    x : In(x_shape)
        Activation.
    swap : In(1)
        From this activation on use the weights in the chains.
    shift : In(1)
        Move the chains.
    w : In(word_bits)
        Chains, group ``g`` ``g`` cycles behind ``shift``.
    psums : In(sums_bits)
        Partial sums, skewed likewise; absent in the first row.
    w_next : Out(word_bits)
        Chains.
    psums_next : Out(sums_bits)
        Partial sums.

    Latency
        See `WsPe`.
    Throughput
        One activation a cycle.
    Numerics
        Exact.
    Reference
        None.
    """

    x: Signal
    swap: Signal
    shift: Signal
    w: Signal
    w_next: Signal
    psums_next: Signal
    psums: Signal

    def __init__(self, config: RowConfig):
        self._config = config
        members = {
            "x": In(config.x_shape),
            "swap": In(1),
            "shift": In(1),
            "w": In(config.word_bits),
            "w_next": Out(config.word_bits),
            "psums_next": Out(config.sums_bits),
        }
        if not config.first:
            members["psums"] = In(config.sums_bits)
        super().__init__(members)

    def elaborate(self, platform):
        m = Module()
        config = self._config
        parts = [(f"segment_{i}", WsSegment(part)) for i, part in enumerate(config.segments)]
        _abreast(m, self, parts or _pes(config, config.cell), _WS_TRAVELS)
        return m


class OsRow(Component):
    """Row of output-stationary PEs, each a cycle behind its neighbour to the left.

    Parameters
    ----------
    config : RowConfig
        See there.

    Members
    -------
    x : In(x_shape)
        Activation.
    clear : In(1)
        Starts sums, `OsPe` says when.
    w : In(word_bits)
        Weights, group ``g`` ``g`` cycles behind ``x``.
    w_next : Out(word_bits)
        Weights, a cycle later.
    sums : Out(sums_bits)
        Accumulators, skewed likewise.

    Latency
        See `OsPe`.
    Throughput
        One activation a cycle.
    Numerics
        Exact.
    Reference
        None.
    """

    x: Signal
    clear: Signal
    w: Signal
    w_next: Signal
    sums: Signal

    def __init__(self, config: RowConfig):
        self._config = config
        super().__init__(
            {
                "x": In(config.x_shape),
                "clear": In(1),
                "w": In(config.word_bits),
                "w_next": Out(config.word_bits),
                "sums": Out(config.sums_bits),
            }
        )

    def elaborate(self, platform):
        m = Module()
        config = self._config
        parts = [(f"segment_{i}", OsSegment(part)) for i, part in enumerate(config.segments)]
        _abreast(m, self, parts or _pes(config, OsPe), _OS_TRAVELS)
        return m
