"""The cache controller: its bench on Verilog, and long sequences compiled, against golden."""

import json
import random
import shutil
from types import SimpleNamespace

import pytest
import typer

from tilewright.fpga import bench_kv
from tilewright.fpga.flow import Area
from tilewright.fpga.measure import Measurement
from tilewright.gen.configuration import configure
from tilewright.gen.verilog import emit
from tilewright.hw.config import ConfigError
from tilewright.hw.kv.config import EVICT, KvConfig, Policy
from tilewright.hw.kv.controller import KvController
from tilewright.hw.kv.timing import KvTiming
from tilewright.sw.runtime.compiled import compile_unit
from tilewright.verif.mutate.kv import Player
from tilewright.verif.simulate.runner import run_unit
from tilewright.verif.testbench.cover import merge
from tilewright.verif.testbench.kv_script import Script, random_policy

TESTS = 1 + 12 + 5
CONFIGS = {
    "one_head": KvConfig(heads=1, slots=2, score_bits=2, weight_bits=1, position_bits=4),
    "inputs": KvConfig(heads=3, slots=5, score_bits=4, weight_bits=6, position_bits=8, inputs=4),
    "default": KvConfig(),
    "pages": KvConfig(
        heads=2,
        slots=5,
        score_bits=5,
        weight_bits=6,
        position_bits=8,
        refresh_slack=6,
        sequences=3,
        blocks=5,
        block_tokens=2,
        table_blocks=4,
    ),
    "many": KvConfig(heads=9, slots=64, score_bits=12, weight_bits=16, inputs=100),
}


@pytest.mark.skipif(not shutil.which("iverilog"), reason="Icarus is not installed")
@pytest.mark.parametrize(
    "preset", ["tiny", *(pytest.param(p, marks=pytest.mark.slow) for p in ("default", "paged"))]
)
def test_bench_on_icarus(tmp_path, preset):
    result = run_unit("kv", configure("kv", preset=preset), tmp_path)
    assert result.ok, result
    assert len(result.passed) == TESTS
    if preset != "default":
        cover = merge(tmp_path)
        assert cover.missing() == [], json.dumps(cover.hits)


def compiled(config: KvConfig):
    """Return a compiled controller."""
    return compile_unit(emit(KvController(config), "kv").rtlil, "kv")


def play(config: KvConfig, steps: int, evict: str, seed: int, *, pauses: bool) -> Script:
    """Play sequences under one kind of policy, some thousand steps in all; return the script."""
    unit, player = compiled(config), Player(config)
    script, rng = Script(config, seed), random.Random(seed)
    script.place()
    script.mistakes()
    length = min(config.most_tokens + 5, 2500)
    while steps > 0:
        script.start(random_policy(config, rng, evict))
        script.steps(min(steps, length))
        steps -= length
    gap, stall = (0.3, 0.4) if pauses else (0, 0)
    assert player.wrong(unit, script, gap, stall) == ""
    return script


@pytest.mark.parametrize("evict", EVICT)
def test_sequences_are_golden(evict):
    script = play(CONFIGS["inputs"], 600, evict, 1, pauses=False)
    assert script.counts["tokens"] > (10 if evict == "never" else 500)
    assert (script.counts["evictions"] > 500) == (evict != "never")
    play(CONFIGS["one_head" if evict == "oldest" else "pages"], 100, evict, 2, pauses=True)


@pytest.mark.slow
@pytest.mark.parametrize("evict", EVICT)
@pytest.mark.parametrize("name", CONFIGS)
def test_ten_thousand_steps_are_golden(name, evict):
    for pauses in (False, True):
        script = play(CONFIGS[name], 10_000, evict, 3 + pauses, pauses=pauses)
        assert len(script.commands) > 20_000


@pytest.mark.parametrize("slots", [32, pytest.param(64, marks=pytest.mark.slow)])
def test_an_eviction_takes_no_cycle(slots):
    """A step takes as long with evictions as without; one search would be seen in the count."""
    config = KvConfig(heads=4, slots=slots)
    unit, player = compiled(config), Player(config)
    script = Script(config, 5)
    script.start(Policy(budget=slots, window=8, shift=8))
    starts = []
    for _ in range(slots + 48):
        starts.append(script.timing.still)
        script.place()
        for head in range(config.heads):
            script.read(head)
            script.score([head], final=True)
    assert player.wrong(unit, script) == ""
    steps = [after - before for before, after in zip(starts, starts[1:], strict=False)]
    assert script.counts["evictions"] == 48 * 4
    assert script.timing.searching == 0
    assert set(steps[slots:]) == {steps[slots - 1]}, "full heads with and without an eviction"


def test_bench_prints_areas_and_routes_what_it_is_told(monkeypatch, tmp_path, capsys):
    area = Area(700, 170, 32, 800, 0, 5)
    clocks = {seed: SimpleNamespace(slowest=130.04 + seed) for seed in (1, 2, 3)}
    monkeypatch.setattr(bench_kv, "synthesise", lambda *_, **__: area)
    monkeypatch.setattr(bench_kv, "measure", lambda *_, **__: Measurement(area, clocks))
    bench_kv.main([2], heads=1, route=[4], output=tmp_path, json=True)
    rows = json.loads(capsys.readouterr().out)
    assert [(row["slots"], row["mhz"]) for row in rows] == [(2, []), (4, [131.0, 132.0, 133.0])]
    assert rows[0]["lut4"] == 700
    with pytest.raises(typer.Exit) as stopped:
        bench_kv.main([1], output=tmp_path)
    assert stopped.value.exit_code == 1
    assert "slots must be an integer from 2 to 4096, not 1" in capsys.readouterr().err


def test_tokens_come_one_a_cycle():
    config = KvConfig(heads=4, slots=32)
    timing = KvTiming(config)
    timing.start()
    for head in range(4):
        timing.read(32)
        assert timing.tokens[-1] - timing.tokens[0] == 32 * (head + 1) - 1


@pytest.mark.parametrize(
    ("field", "value", "message"),
    [
        ("heads", 0, "heads must be an integer from 1 to 64, not 0"),
        ("slots", 4097, "slots must be an integer from 2 to 4096, not 4097"),
        ("score_bits", 1, "score_bits must be an integer from 2 to 16, not 1"),
        ("weight_bits", 17, "weight_bits must be an integer from 1 to 16, not 17"),
        ("position_bits", 3, "position_bits must be an integer from 4 to 24, not 3"),
        ("inputs", -1, "inputs must be an integer from 0 to 4096, not -1"),
    ],
)
def test_config_names_field_value_and_range(field, value, message):
    with pytest.raises(ConfigError, match=f"^{message}$"):
        KvConfig(**{field: value})


@pytest.mark.parametrize(
    ("field", "value", "message"),
    [
        ("evict", "random", "evict must be one of 'never', 'oldest', 'score', not 'random'"),
        ("budget", 0, "budget must be an integer from 1 to 4096, not 0"),
        ("decay", 16, "decay must be an integer from 0 to 15, not 16"),
    ],
)
def test_policy_names_field_value_and_range(field, value, message):
    with pytest.raises(ConfigError, match=f"^{message}$"):
        Policy(**{field: value})
