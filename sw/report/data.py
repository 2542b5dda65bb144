"""What a report is made from, and the rows that tables and report share."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Protocol

from ...hw.engine.config import EngineConfig
from ..job import JobResult

__all__ = [
    "LAYER_TITLES",
    "LUT_NOTE",
    "BuildResult",
    "CellCount",
    "ReportData",
    "headlines",
    "images_per_second",
    "layer_rows",
    "results_rows",
]

LAYER_TITLES = ("layer", "operator", "M x K x N", "MACs", "cycles per image", "utilisation")
"""Titles over `layer_rows`."""
LUT_NOTE = (
    "LUT4-equivalents in the table count the netlist after synthesis: a LUT4 as one, a carry cell "
    "as two, a distributed RAM as six. LUT4 sites count what was placed: the ends of carry chains "
    "and constants are added, and of a distributed RAM only the four sites that hold its words; "
    "its writing is counted as distributed RAM."
)
"""Why figures of LUTs differ."""


class CellCount(Protocol):
    """Cells of a netlist, as `fpga.flow.Area` counts them."""

    @property
    def lut4_equivalents(self) -> int:
        """LUT4s that are occupied, carry cells included."""
        ...

    @property
    def ff(self) -> int:
        """Flip-flops."""
        ...

    @property
    def dsp(self) -> int:
        """Multipliers."""
        ...

    @property
    def bram(self) -> int:
        """Block RAMs."""
        ...


class BuildResult(Protocol):
    """What a report reads from a build for a board, as `fpga.board` makes it.

    Attributes
    ----------
    board : str
        The board's name.
    mhz, fmax : float
        Clock asked for, and clock that place and route reached.
    area : CellCount
        Cells after synthesis.
    used, available : mapping
        Sites by kind after place and route.
    """

    @property
    def board(self) -> str: ...
    @property
    def mhz(self) -> float: ...
    @property
    def fmax(self) -> float: ...
    @property
    def area(self) -> CellCount: ...
    @property
    def used(self) -> Mapping[str, int]: ...
    @property
    def available(self) -> Mapping[str, int]: ...


@dataclass(frozen=True, kw_only=True)
class ReportData:
    """All that `write_report` shows.

    Attributes
    ----------
    name : str
        Name of the job.
    engine : EngineConfig
        The engine that it ran on.
    result : JobResult
        What was measured.
    build : BuildResult or None
        The build for a board, where there was one.
    critical : sequence of str
        Hops of the slowest path, as `fpga.flow.Routed.critical` has them.
    floorplan : Path or None
        JSON that nextpnr wrote with ``--write``.
    waveform : Path or None
        VCD of a simulation of the engine.
    """

    name: str
    engine: EngineConfig
    result: JobResult
    build: BuildResult | None = None
    critical: Sequence[str] = ()
    floorplan: Path | None = None
    waveform: Path | None = None

    @property
    def subtitle(self) -> str:
        """What ran where, in one line."""
        d = self.engine.datapath
        array = f"{d.family}, {d.act_lanes} lanes to {d.cols} columns, W{d.w_bits}A{d.x_bits}"
        return f"{array}, {self.build.board}" if self.build else array


def headlines(result: JobResult, build: BuildResult | None = None) -> list[tuple[str, str, bool]]:
    """Return what a reader wants first: a figure, what it is, and whether it is as it should be."""
    exact = result.equal and result.cycles == result.predicted_cycles
    found = [
        (f"{result.rtl_accuracy:.2%}", f"accuracy on the RTL (float: {result.float_accuracy:.2%})",
         True),
        ("yes" if exact else "NO", "RTL equals its models, bit for bit and to the cycle", exact),
        (f"{result.cycles / result.images:,.0f}", "cycles per image", True),
        (f"{result.utilisation:.1%}", "of the array's peak in use", True),
    ]  # fmt: skip
    if build is None:
        return found
    return found + [
        (f"{build.fmax:.1f} MHz", f"clock after routing ({build.mhz:g} asked)",
         build.fmax >= build.mhz),
        (f"{images_per_second(result, build.mhz):,.0f}", f"images a second at {build.mhz:g} MHz",
         True),
        (f"{build.area.lut4_equivalents:,}", "LUT4-equivalents", True),
        (f"{build.area.dsp:,}", "DSPs", True),
    ]  # fmt: skip


def images_per_second(result: JobResult, mhz: float) -> float:
    """Return the pace of a job at a clock, loading and draining included."""
    return mhz * 1e6 * result.images / result.cycles


def layer_rows(result: JobResult) -> list[tuple[str, ...]]:
    """Return one row per layer, under `LAYER_TITLES`."""
    return [
        (
            layer.name,
            layer.op,
            " x ".join(map(str, layer.shape)),
            f"{layer.macs:,}",
            f"{layer.cycles:,.1f}",
            f"{layer.utilisation:.1%}",
        )
        for layer in result.layers
    ]


def results_rows(result: JobResult, build: BuildResult | None = None) -> list[tuple[str, str]]:
    """Return what was measured as pairs of a name and a formatted value.

    Both the command line's table and the report print these rows, so that they cannot differ.
    """
    rows = [
        ("test images", f"{result.images:,}"),
        ("accuracy, float", f"{result.float_accuracy:.2%}"),
        ("accuracy, golden model", f"{result.golden_accuracy:.2%}"),
        ("accuracy, RTL", f"{result.rtl_accuracy:.2%}"),
        ("outputs of RTL and golden model equal", "yes" if result.equal else "NO"),
        ("images per pass", f"{result.batch:,}"),
        ("cycles", f"{result.cycles:,}"),
        ("cycles predicted", f"{result.predicted_cycles:,}"),
        ("cycles per image", f"{result.cycles / result.images:,.1f}"),
        ("utilisation", f"{result.utilisation:.1%}"),
        ("seconds of simulation", f"{result.seconds:.1f}"),
    ]
    if build is None:
        return rows
    area = build.area
    return rows + [
        ("board", build.board),
        ("clock asked, MHz", f"{build.mhz:.1f}"),
        ("clock routed, MHz", f"{build.fmax:.1f}"),
        ("clock constraint met", "yes" if build.fmax >= build.mhz else "NO"),
        ("images per second at the clock asked", f"{images_per_second(result, build.mhz):,.0f}"),
        ("images per second at the routed clock", f"{images_per_second(result, build.fmax):,.0f}"),
        ("LUT4-equivalents", f"{area.lut4_equivalents:,}"),
        ("flip-flops", f"{area.ff:,}"),
        ("DSPs", f"{area.dsp:,}"),
        ("block RAMs", f"{area.bram:,}"),
    ]
