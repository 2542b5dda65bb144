"""The suite itself: seeds that are printed and replayed, limits of time, what is skipped."""

import os
import re
import subprocess
import sys
import tomllib
from pathlib import Path

from tilewright.verif.tests.conftest import SLOW_SECONDS

PROJECT = tomllib.loads(Path("pyproject.toml").read_text())
DRAWN = """
import time
import pytest
from hypothesis import given, settings, strategies
from tilewright.verif.tests.seeds import SEED, seeds

@settings(max_examples=3)
@given(strategies.integers(0, 10**9))
def test_numbers(n):
    print("number", n)

@pytest.mark.parametrize("seed", seeds(3))
def test_seeds(seed):
    print("seed", seed)

@pytest.mark.slow
def test_slow(request):
    print("limit", request.node.get_closest_marker("timeout").args)

@pytest.mark.timeout(0.5)
def test_that_hangs():
    time.sleep(60)
"""


def run(folder, **environment):
    """Run the tests of `DRAWN` under the project's settings; return what they printed."""
    path = folder / "test_drawn.py"
    path.write_text(DRAWN)
    kept = {key: value for key, value in os.environ.items() if key != "TILEWRIGHT_SEED"}
    command = [sys.executable, "-m", "pytest", "-c", "pyproject.toml", "-p", "no:cacheprovider"]
    command += ["-p", "tilewright.verif.tests.conftest", "-s", str(path)]
    done = subprocess.run(
        command, env=kept | environment, capture_output=True, text=True, timeout=300
    )
    return done.stdout + done.stderr


def test_draws_are_repeated_by_the_seed_that_is_printed(tmp_path):
    first = run(tmp_path)
    seed = re.search(r"^seed (\d+): TILEWRIGHT_SEED=\1 draws the same again$", first, re.M)[1]
    assert first.count(f"TILEWRIGHT_SEED={seed}") == 2  # at the start, and behind failures
    numbers = re.findall(r"number (\d+)", first)
    assert len(numbers) == 6
    assert numbers[:3] != numbers[3:]
    assert re.findall(r"seed (\d+)$", first, re.M) == ["0", "1", seed]
    assert f"limit ({SLOW_SECONDS},)" in first
    assert "1 failed, 6 passed" in first
    assert "Timeout" in first
    again = run(tmp_path, TILEWRIGHT_SEED=seed)
    assert re.findall(r"number (\d+)", again) == numbers
    other = re.findall(r"number (\d+)", run(tmp_path, TILEWRIGHT_SEED=str(int(seed) + 1)))
    assert other[:3] == numbers[:3]
    assert other[3:] != numbers[3:]


def test_a_seed_that_is_none(tmp_path):
    assert "TILEWRIGHT_SEED must be a number from 0 on, not 'x'" in run(
        tmp_path, TILEWRIGHT_SEED="x"
    )


def test_every_test_has_a_limit(request):
    assert 300 <= float(request.config.getini("timeout")) <= 1800
    assert float(request.config.getini("timeout")) < SLOW_SECONDS


def test_what_tests_are_skipped_for_is_in_an_extra_of_the_makefile():
    """Every package that a test asks for comes with `make test` or with `make test-extras`."""
    asked = set()
    for path in Path("verif/tests").glob("test_*.py"):
        asked |= set(re.findall(r'importorskip\(\s*"(\w+)', path.read_text()))
    assert {"ortools", "gguf", "ai_edge_litert"} <= asked
    extras = PROJECT["project"]["optional-dependencies"]
    (chosen,) = re.findall(r"^EXTRAS \?= (\S+)$", Path("Makefile").read_text(), re.M)
    (whole,) = re.findall(r"\[([\w,]+)\]", extras["all"][0])
    names = {*chosen.split(","), *whole.split(","), "test"}
    listed = {
        re.split(r"[<>=~]", package)[0].replace("-", "_")
        for name in names for package in extras[name]
    }  # fmt: skip
    # sw.journal is asked for in place of Optuna, which `make test` brings
    assert asked - listed == {"torch", "tilewright"}
    assert any(package.startswith("pytest-timeout") for package in extras["test"])
    readme = Path("README.md").read_text()
    assert all(word in readme for word in ("make test-extras", "TILEWRIGHT_SEED", "train"))
    assert "extras" in Path(".ci/run").read_text()
