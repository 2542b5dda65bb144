"""Amaranth's properties, typed: a message may be left out, which the type stubs do not know."""

from collections.abc import Callable
from typing import Any

from amaranth import hdl

__all__ = ["Assert", "Assume", "Cover"]

Assert: Callable[..., Any] = hdl.Assert
Assume: Callable[..., Any] = hdl.Assume
Cover: Callable[..., Any] = hdl.Cover
