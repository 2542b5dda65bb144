"""Measure area and clock of hardware against each other and against a textbook array."""

from collections.abc import Callable
from typing import Any

__all__ = ["PROGRAMS"]


def _arrays() -> Callable[..., Any]:
    from ...fpga.bench import main

    return main


def _serial() -> Callable[..., Any]:
    from ...fpga.bench_serial import main

    return main


def _sparse() -> Callable[..., Any]:
    from ...fpga.bench_sparse import main

    return main


def _kv() -> Callable[..., Any]:
    from ...fpga.bench_kv import main

    return main


def _gates() -> Callable[..., Any]:
    from ...fpga.gates import main

    return main


def _frame() -> Callable[..., Any]:
    from ...fpga.bench_frame import main

    return main


PROGRAMS = {
    "arrays": _arrays, "serial": _serial, "sparse": _sparse, "kv": _kv, "gates": _gates,
    "frame": _frame,
}  # fmt: skip
"""What can be measured, each imported when it is used."""
