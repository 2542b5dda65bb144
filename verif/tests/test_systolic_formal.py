"""The products of the systolic arrays are proved equal to multiplication, primitives included."""

from dataclasses import replace
from functools import partial
from pathlib import Path

import pytest

from tilewright.gen.errors import ToolError
from tilewright.hw.arith.lut_product import LutProduct
from tilewright.hw.arith.product_config import ProductConfig
from tilewright.verif.formal.systolic import Claim, ProductClaim, claims, prove

FAMILIES = sorted({claim.name.split("_")[0] for claim in claims()})


@pytest.mark.parametrize("family", FAMILIES)
def test_proved(family):
    wanted = [claim for claim in claims() if claim.name.startswith(f"{family}_")]
    assert len(wanted) >= 4
    prove(wanted, Path("build/formal/systolic") / family)


def test_a_false_claim_is_not_proved():
    """A product that takes its weight for unsigned."""
    config = ProductConfig(
        x_bits=3, x_signed=True, w_bits=3, w_signed=True, latency=4, fabric="portable"
    )

    def unsigned(config):
        return LutProduct(replace(config, w_signed=False))

    false = Claim("unsigned", partial(ProductClaim, unsigned, config), config.latency)
    with pytest.raises(ToolError, match="unsigned is not proved"):
        prove([false], Path("build/formal/systolic/unsigned"))
