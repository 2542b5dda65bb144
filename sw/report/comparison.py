"""The same network on several datapaths, side by side."""

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from ..job import JobResult
from .data import BuildResult, images_per_second
from .figures import draw_bars
from .html import write_table

__all__ = ["COMPARISON_TITLES", "Compared", "comparison_rows", "write_comparison"]

COMPARISON_TITLES = (
    "datapath", "accuracy, float", "golden", "RTL", "cycles per image", "utilisation", "LUT4-eq",
    "FF", "DSP", "BRAM", "MHz", "images/s",
)  # fmt: skip
"""Titles over `comparison_rows`; images per second are those at the routed clock."""


@dataclass(frozen=True, kw_only=True)
class Compared:
    """One datapath: what a run on it gave, and its build, None where there was none."""

    datapath: str
    result: JobResult
    build: BuildResult | None = None


def comparison_rows(found: Sequence[Compared]) -> list[tuple[str, ...]]:
    """Return one row per datapath, under `COMPARISON_TITLES`."""
    rows = []
    for one in found:
        result, build = one.result, one.build
        rows.append(
            (
                one.datapath,
                *(
                    f"{share:.2%}"
                    for share in (
                        result.float_accuracy,
                        result.golden_accuracy,
                        result.rtl_accuracy,
                    )
                ),
                f"{result.cycles / result.images:,.0f}",
                f"{result.utilisation:.1%}",
                *(
                    (
                        f"{build.area.lut4_equivalents:,}",
                        f"{build.area.ff:,}",
                        f"{build.area.dsp:,}",
                        f"{build.area.bram:,}",
                        f"{build.fmax:.1f}",
                        f"{images_per_second(result, build.fmax):,.0f}",
                    )
                    if build
                    else ("-",) * 6
                ),
            )
        )
    return rows


def write_comparison(path: Path, name: str, found: Sequence[Compared]) -> Path:
    """Write table and picture of a comparison to ``path``; errors as `write_report` has them."""
    text = f"The same quantised network on {len(found)} datapaths, {found[0].result.images} images."
    return write_table(
        path,
        f"{name}: datapaths compared",
        text,
        COMPARISON_TITLES,
        comparison_rows(found),
        lambda: [("Side by side", text, _draw(found))],
    )


def _draw(found: Sequence[Compared]) -> str:
    panels = [
        ("accuracy, RTL", [one.result.rtl_accuracy for one in found], ".2%"),
        ("cycles per image", [one.result.cycles / one.result.images for one in found], ",.0f"),
    ]
    built = [one.build for one in found if one.build]
    if len(built) == len(found):
        panels += [
            ("LUT4-equivalents", [build.area.lut4_equivalents for build in built], ",.0f"),
            ("MHz, routed", [build.fmax for build in built], ".0f"),
            (
                "images per second",
                [images_per_second(one.result, one.build.fmax) for one in found if one.build],
                ",.0f",
            ),
        ]
    return draw_bars([one.datapath for one in found], panels)
