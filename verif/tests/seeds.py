"""Seeds of tests: those of every run, and one that is another each time."""

import os
import secrets

import pytest

__all__ = ["SEED", "seeds"]

_VARIABLE = "TILEWRIGHT_SEED"
# Workers, and processes that tests start, take over the seed of the first process.
_chosen = os.environ.setdefault(_VARIABLE, str(secrets.randbelow(1 << 32)))
if not _chosen.isdecimal():
    pytest.exit(f"{_VARIABLE} must be a number from 0 on, not {_chosen!r}", returncode=4)
SEED = int(_chosen)
"""Seed of this run; what failed is drawn again where ``TILEWRIGHT_SEED`` says it."""


def seeds(count: int) -> list:
    """Return seeds for a test: those of every run, and as the last one that of this run."""
    return [*range(count - 1), pytest.param(SEED, id="fresh")]
