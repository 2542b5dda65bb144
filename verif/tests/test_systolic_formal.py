"""The products of the systolic arrays are proved equal to multiplication, primitives included."""

from dataclasses import replace
from functools import partial
from pathlib import Path

import pytest
from amaranth.hdl import Module

from tilewright.gen.errors import ToolError
from tilewright.hw.arith.lut_product import LutProduct
from tilewright.hw.arith.product_config import ProductConfig
from tilewright.hw.systolic import pe
from tilewright.verif.formal import systolic
from tilewright.verif.formal.pe import OsPeClaim, OsSumSpec, WsPeClaim, pe_config
from tilewright.verif.formal.runner import Task
from tilewright.verif.formal.systolic import Claim, ProductClaim, claims, prove

FAMILIES = [
    pytest.param(name, marks=[pytest.mark.slow] * name.endswith("pe"))
    for name in sorted({claim.name.split("_")[0] for claim in claims()})
]


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


def test_pes_that_share_a_dsp_are_proved():
    wanted = [claim for claim in claims() if claim.name in ("wspe_DD_ecp5_ss", "ospe_DD_ecp5_ss")]
    assert len(wanted) == 2
    prove(wanted, Path("build/formal/systolic/pairs"))


def _not_proved(name, circuit, after):
    with pytest.raises(ToolError, match=f"{name} is not proved"):
        prove([Claim(name, circuit, after)], Path("build/formal/systolic") / name)


@pytest.mark.parametrize("kind", ["D", "DD"])
def test_a_partial_sum_that_is_a_bit_too_narrow_is_noticed(kind):
    """The sums of three rows leave a PE that is made for those of one."""
    config = pe_config(kind, "portable", 2, (True, True), 1)
    _not_proved("narrow", partial(WsPeClaim, config, 2), config.product.latency + 2)


def test_pes_that_are_wrong_are_noticed(monkeypatch):
    config = pe_config("D", "portable", 2, (True, True), 2)
    latency = config.product.latency

    def careless(psum, product, carry):
        return psum + product - (product == 4)

    monkeypatch.setattr(pe, "_add", careless)
    _not_proved("careless", partial(WsPeClaim, config, 1), latency + 2)

    class Unclear(pe.GatedAdd):
        def elaborate(self, platform):
            m = Module()
            m.d.comb += self.sum.eq(self.fresh + self.old)
            return m

    monkeypatch.setattr(pe, "GatedAdd", Unclear)
    _not_proved("unclear", partial(OsPeClaim, config), latency + 1)


def test_sums_longer_than_they_are_made_for_overflow(tmp_path):
    config = pe_config("L", "portable", 2, (True, True), 3)
    proof = Task("long", partial(OsSumSpec, config, 8), 16).run(tmp_path)
    assert not proof.passed
    assert "assertion at pe.py" in proof.reason


@pytest.mark.parametrize("task", systolic.tasks(), ids=lambda task: task.name)
def test_no_sum_overflows(task, tmp_path):
    proof = task.run(tmp_path)
    assert proof.passed, proof
