"""Study one product on the hardware, networks and steps on the models."""

from collections.abc import Callable
from typing import Any

__all__ = ["PROGRAMS"]


def _terms() -> Callable[..., Any]:
    from ...verif.terms import main

    return main


def _weights() -> Callable[..., Any]:
    from ..quantise.weight_errors import main

    return main


def _attention() -> Callable[..., Any]:
    from ...verif.attention_steps import main

    return main


def _product() -> Callable[..., Any]:
    from ..report.product import main

    return main


PROGRAMS = {"product": _product, "terms": _terms, "weights": _weights, "attention": _attention}
"""What can be studied, each imported when it is used."""
