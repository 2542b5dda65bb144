"""Encoders keep values, the comparator keeps the largest terms, coefficients never overflow."""

from dataclasses import replace
from functools import partial
from pathlib import Path

import pytest

from tilewright.gen.errors import ToolError
from tilewright.hw.term.config import TermConfig
from tilewright.verif.formal.systolic import Claim, prove
from tilewright.verif.formal.term import CarryClaim, ComparatorClaim, claims

FAMILIES = sorted({claim.name.split("_")[0] for claim in claims()})


LONG = ("comparator", "list")


@pytest.mark.parametrize(
    "family", [pytest.param(f, marks=[pytest.mark.slow] * (f in LONG)) for f in FAMILIES]
)
def test_proved(family):
    wanted = [claim for claim in claims() if claim.name.startswith(f"{family}_")]
    assert len(wanted) >= 4
    prove(wanted, Path("build/formal/term") / family)


class Narrow(TermConfig):
    """One bit less than the coefficients need."""

    @property
    def coefficient_width(self):
        return super().coefficient_width - 1


class Late(TermConfig):
    """Says that the comparator is a cycle slower than it is."""

    @property
    def truncation(self):
        return super().truncation + 1


@pytest.mark.parametrize(
    ("claim", "config", "cycles"),
    [(CarryClaim, Narrow(budget=16, pe="tmac"), 0), (ComparatorClaim, Late(x_bits=3), 5)],
)
def test_a_false_claim_is_not_proved(claim, config, cycles):
    false = Claim("false", partial(claim, replace(config)), cycles, loads=False)
    with pytest.raises(ToolError, match="false is not proved"):
        prove([false], Path("build/formal/term/false"))
