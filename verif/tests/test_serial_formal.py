"""Encoders of the serial arrays are proved to keep values, serial products to be products."""

from pathlib import Path

import pytest

from tilewright.gen.errors import ToolError
from tilewright.verif.formal.serial import BitMacClaim, claims
from tilewright.verif.formal.systolic import Claim, prove

FAMILIES = sorted({claim.name.split("_")[0] for claim in claims()})


@pytest.mark.parametrize("family", FAMILIES)
def test_proved(family):
    wanted = [claim for claim in claims() if claim.name.startswith(f"{family}_")]
    assert len(wanted) >= 3
    prove(wanted, Path("build/formal/serial") / family)


class Narrow(BitMacClaim):
    """Its MAC takes two bits of the weight's three."""

    def elaborate(self, platform):
        self._w_bits = 2
        return super().elaborate(platform)


def test_a_false_claim_is_not_proved():
    false = Claim("narrow", lambda: Narrow(3, 3, 8), 9)
    with pytest.raises(ToolError, match="narrow is not proved"):
        prove([false], Path("build/formal/serial/narrow"))
