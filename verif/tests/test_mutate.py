"""Mutation testing: a thorough judge kills, a lazy one does not, equivalent mutants are proved."""

import dataclasses

import numpy as np
import pytest

from tilewright.gen.configuration import configure
from tilewright.gen.errors import ToolError
from tilewright.gen.registry import UNITS, find_unit, load
from tilewright.gen.verilog import emit
from tilewright.hw.config import ConfigError
from tilewright.sw.runtime.compiled import Traffic
from tilewright.verif.mutate.engine import EngineJudge
from tilewright.verif.mutate.examine import same_nearby
from tilewright.verif.mutate.netlist import SELECT, Netlist
from tilewright.verif.mutate.report import mutants
from tilewright.verif.mutate.unit import mutate_unit
from tilewright.verif.tests.units import emitted


def thorough(unit) -> bool:
    rng = np.random.default_rng(1)
    data = rng.integers(-128, 128, 300)
    last = rng.random(300) < 0.3
    last[-1] = True
    sums = [part.sum() for part in np.split(data, np.flatnonzero(last)[:-1] + 1)]
    unit.pause("s_axis_i", Traffic(0.3, 1))
    unit.pause("m_axis_o", Traffic(0.4, 2))
    unit.offer("s_axis_i", {"data": data & 255, "last": last})
    unit.run("m_axis_o", len(sums), quiet=200)
    unit.step(20)
    got = unit.seen("m_axis_o").beats["data"][:, 0].astype(np.uint16).astype(np.int16)
    return got.tolist() == sums


def only_counts(unit) -> bool:
    unit.offer("s_axis_i", {"data": np.zeros(5, int), "last": np.ones(5, int)})
    return unit.run("m_axis_o", 5, quiet=200)


def test_a_thorough_judge_kills_and_survivors_are_examined(tmp_path):
    report = mutants(emitted().rtlil, "summing", thorough, 60, folder=tmp_path, depth=12)
    assert report.total == 60
    assert report.score > 0.85, report
    assert all(verdict is not None for verdict in report.survived.values())
    kinds = {verdict.kind for verdict in report.survived.values()}
    assert "equivalent" in kinds
    assert report.equivalent + report.open == len(report.survived) > 0
    counts = f"{len(report.killed)} of 60 mutants killed, {report.equivalent} proved equivalent"
    assert str(report).startswith(f"{counts}, {report.open} open, score {report.score:.1%}")


def test_a_lazy_judge_lets_most_live(tmp_path):
    report = mutants(emitted().rtlil, "summing", only_counts, 60, folder=tmp_path, examine=False)
    assert 0.1 < report.score < 0.7


def test_examination_tells_apart_and_proves(tmp_path):
    netlist = Netlist(emitted().rtlil, "summing", tmp_path, count=60, seed=1)
    report = mutants(emitted().rtlil, "summing", thorough, 60, folder=tmp_path, examine=False)
    assert [m.options for m in (*report.killed, *report.survived)]
    killed = next(m for m in report.killed if m.port == "Y" and m.mode == "inverted")
    verdict = netlist.examine(killed, depth=8)
    assert verdict.kind == "differs", verdict
    assert verdict.trace.exists()


def test_logic_nearby_proves_survivors_equivalent_and_no_mutant_that_differs(tmp_path):
    report = mutants(emitted().rtlil, "summing", thorough, 60, folder=tmp_path, examine=False)

    def same(mutant):
        return same_nearby(mutant.module, mutant.options, tmp_path)

    assert sum(map(same, report.survived)) > 1
    assert not any(map(same, report.killed[::3]))


def test_a_judge_that_rejects_the_unit_is_an_error(tmp_path):
    with pytest.raises(ToolError, match="the judge of summing rejects the unit itself"):
        mutants(emitted().rtlil, "summing", lambda unit: False, 5, folder=tmp_path)


def test_the_same_seed_draws_the_same_mutants(tmp_path):
    first, again, other = (
        [m.options for m in Netlist(emitted().rtlil, "summing", tmp_path, count=30, seed=s).mutants]
        for s in (1, 1, 2)
    )
    assert first == again != other
    assert len(set(first)) == 30
    assert not any("CLK" in options for options in first)


def test_number_zero_is_the_unit_itself(tmp_path):
    netlist = Netlist(emitted().rtlil, "summing", tmp_path, count=10, seed=1)
    assert [mutant.number for mutant in netlist.mutants] == list(range(1, 11))
    assert f"\\{SELECT}" in netlist.everything


@pytest.mark.parametrize("unit", ["systolic", "requantise"])
def test_few_mutants_of_a_unit(tmp_path, unit):
    report = mutate_unit(unit, 20, examine=False, folder=tmp_path)
    assert report.total == 20
    assert report.share >= 0.85, report


def test_few_mutants_of_each_part_of_the_engine(tmp_path):
    """Of the engine's judge only what is quick."""
    row = find_unit("engine")
    config = configure("engine", preset=row.mutation.preset, settings=row.mutation.settings)
    rtlil = emit(load(row.component)(config), "engine").rtlil
    judge = EngineJudge(config, 24, long=(), resets=12)
    report = mutants(
        rtlil, "engine", judge, 40, parts=row.mutation.parts, folder=tmp_path, examine=False
    )
    assert report.total == 40
    parts = {
        part
        for part in row.mutation.parts
        for mutant in report.killed
        if mutant.module.endswith(part)
    }
    assert parts >= {"dispatcher", "act_reader", "act_buffer", "accumulator", "output_stage"}
    assert report.share >= 0.8, report


JUDGED = [name for name, row in UNITS.items() if row.mutation]


@pytest.mark.slow
@pytest.mark.parametrize("unit", JUDGED)
def test_mutants_of_a_unit(tmp_path, unit):
    report = mutate_unit(unit, examine=False, folder=tmp_path)
    assert report.total == UNITS[unit].mutation.mutants
    assert report.score >= UNITS[unit].mutation.threshold, report


def test_a_unit_without_a_judge_is_an_error(monkeypatch):
    monkeypatch.setitem(UNITS, "plain", dataclasses.replace(UNITS["systolic"], mutation=None))
    with pytest.raises(ConfigError, match="unit 'plain' has no judge of its mutants"):
        mutate_unit("plain")
