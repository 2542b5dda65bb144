"""Results of a job: the rows of its tables, and one self-contained HTML page with pictures."""

from .data import LAYER_TITLES, ReportData, images_per_second, layer_rows, results_rows
from .html import write_report

__all__ = [
    "LAYER_TITLES",
    "ReportData",
    "images_per_second",
    "layer_rows",
    "results_rows",
    "write_report",
]
