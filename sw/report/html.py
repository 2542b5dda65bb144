"""One HTML file with all pictures inside, readable without a network."""

import importlib.resources
from collections.abc import Callable, Sequence
from importlib.util import find_spec
from pathlib import Path

from ... import __version__  # pyright: ignore[reportMissingImports] # through .dev
from ...gen.configuration import fields_of
from ...gen.errors import ToolError
from ...gen.files import write_all
from .data import LAYER_TITLES, LUT_NOTE, ReportData, headlines, layer_rows, results_rows

__all__ = ["check_packages", "write_report", "write_table"]

Picture = tuple[str, str, str]
"""Title, caption and SVG."""


def check_packages() -> None:
    """Raise `ToolError` where a package is missing."""
    for package in ("jinja2", "matplotlib"):
        if find_spec(package) is None:
            raise ToolError(f"reports need {package}: pip install 'tilewright[report]'")


def write_report(path: Path, data: ReportData) -> Path:
    """Write the report of a job to ``path``, whole or not at all.

    Parameters
    ----------
    path : Path
        The HTML file; its folder is made if missing.
    data : ReportData
        What to show. Parts that are None are left out.

    Raises
    ------
    ToolError
        A package is missing, or the floorplan or the waveform cannot be read.
    OSError
        The file cannot be written.
    """
    return _write(
        path,
        "report.html.j2",
        name=data.name,
        text=data.subtitle,
        headlines=headlines(data.result, data.build),
        rows=results_rows(data.result, data.build),
        layer_titles=LAYER_TITLES,
        layers=layer_rows(data.result),
        fields=_flat(fields_of(data.engine)),
        pictures=lambda: _pictures(data),
        critical=list(data.critical),
    )


def write_table(
    path: Path,
    name: str,
    text: str,
    titles: Sequence[str],
    rows: Sequence[Sequence[object]],
    pictures: Callable[[], Sequence[Picture]],
) -> Path:
    """Write a page with a sentence, a table and pictures to ``path``, whole or not at all.

    ``pictures`` is called once the packages are known to be there. Errors: see `write_report`.
    """
    return _write(
        path, "table.html.j2", name=name, text=text, titles=titles, rows=rows, pictures=pictures
    )


def _write(
    path: Path, template: str, *, pictures: Callable[[], Sequence[Picture]], **values: object
) -> Path:
    """Render a template of this folder."""
    check_packages()
    from jinja2 import Environment, FunctionLoader, StrictUndefined

    here = importlib.resources.files(__name__.rpartition(".")[0])
    page = (
        Environment(
            loader=FunctionLoader(lambda name: here.joinpath(name).read_text("utf-8")),
            autoescape=True,
            undefined=StrictUndefined,
            trim_blocks=True,
            lstrip_blocks=True,
        )
        .get_template(template)
        .render(version=__version__, pictures=pictures(), **values)
    )
    write_all(path.parent, {path.name: page})
    return path


def _flat(fields: dict, prefix: str = "") -> list[tuple[str, str]]:
    rows = []
    for name, value in fields.items():
        if isinstance(value, dict):
            rows += _flat(value, f"{prefix}{name}.")
        else:
            rows.append((f"{prefix}{name}", str(value)))
    return rows


def _pictures(data: ReportData) -> list[tuple[str, str, str]]:
    """Return title, caption and SVG of every picture that there is data for."""
    from .figures import draw_floorplan, draw_layers, draw_resources, draw_roofline
    from .floorplan import read_floorplan
    from .waveform import draw_waveform

    caption = (
        "Cycles per image and share of the array's multiply-accumulates that are put to use, "
        "loading and draining counted."
    )
    pictures = [("Layers", caption, draw_layers(data.result))]
    caption = (
        "Each layer under the engine's two limits: the array's peak, and the weights that its "
        "stream can bring. Weights are streamed once per pass of "
        f"{min(data.result.batch, data.result.images)} images; activations between layers stay "
        "in the engine's buffer."
    )
    pictures.append(("Roofline", caption, draw_roofline(data.result, data.engine)))
    if data.build is not None:
        caption = f"After place and route for the {data.build.board}. {LUT_NOTE}"
        pictures.append(("Resources", caption, draw_resources(data.build)))
    if data.floorplan is not None:
        caption = (
            "Tiles of the part, coloured by what most of their cells are. LUTs are LUT4 sites, as "
            "under Resources."
        )
        pictures.append(("Floorplan", caption, draw_floorplan(read_floorplan(data.floorplan))))
    if data.waveform is not None:
        caption = (
            "The engine's streams while operands load and results leave, from the simulation of "
            "small products. Values are hexadecimal and blue where a beat is transferred; red is "
            "unknown (X)."
        )
        pictures.append(("Waveform", caption, draw_waveform(data.waveform)))
    return pictures
