"""Loading bitstreams: the right file, the right part, and openFPGALoader called as it should be."""

import json
import os
import sys

import pytest

from tilewright.verif.tests.test_cli import called, refused, tilewright

HEADER = (
    bytes.fromhex("ff00")
    + b"Part: LFE5U-85F-6CABGA381\0"
    + bytes.fromhex("ffffffbdb3ffffffff3b000000e200000041113043")
)


@pytest.fixture
def loader(tmp_path, monkeypatch):
    """Put a stand-in on PATH that notes its arguments; return the note."""
    folder = tmp_path / "bin"
    folder.mkdir()
    note = tmp_path / "said"
    script = folder / "openFPGALoader"
    script.write_text(f"#!/bin/sh\necho \"$@\" > {note}\n[ ! -e {tmp_path}/broken ] || "
                      "{ echo 'Error: no board found'; exit 1; }\n")  # fmt: skip
    script.chmod(0o755)
    monkeypatch.setenv("PATH", f"{folder}{os.pathsep}{os.environ['PATH']}")
    return note


@pytest.fixture
def bitstream(tmp_path):
    """Return the start of a bitstream for the ULX3S-85F."""
    path = tmp_path / "engine.bit"
    path.write_bytes(HEADER)
    return path


@pytest.mark.parametrize(("options", "flags"), [([], ""), (["--flash"], " --write-flash")])
def test_the_loader_is_told_board_and_file(loader, bitstream, options, flags):
    done = tilewright("program", str(bitstream), *options, "--json")
    assert done.returncode == 0, done.stderr
    assert json.loads(done.stdout)["flash"] == bool(options)
    assert loader.read_text() == f"--board ulx3s{flags} {bitstream}\n"


def test_the_folder_of_a_run_will_do(loader, bitstream):
    folder = bitstream.parent / "run" / "board"
    folder.mkdir(parents=True)
    (folder / "build.json").write_text(json.dumps({"build": {"bitstream": "engine.bit"}}))
    assert "no finished build" in refused(tilewright("program", str(folder.parent)))
    bitstream.rename(folder / "engine.bit")
    done = tilewright("program", str(folder.parent))
    assert done.returncode == 0, done.stderr
    assert loader.read_text().endswith(f"{folder / 'engine.bit'}\n")


def test_what_cannot_be_loaded_is_one_sentence(loader, bitstream, tmp_path):
    assert "there is no bitstream" in refused(tilewright("program", str(tmp_path / "none.bit")))
    wrong = tmp_path / "wrong.bit"
    wrong.write_bytes(b"hello")
    assert "is no bitstream for an ECP5" in refused(tilewright("program", str(wrong)))
    wrong.write_bytes(HEADER[:-4] + bytes.fromhex("41112043"))
    said = refused(tilewright("program", str(wrong)))
    assert "made for the part 0x41112043, but ulx3s-85f has 0x41113043" in said
    assert "board must be one of" in refused(tilewright("program", str(bitstream), "-b", "desk"))
    assert not loader.exists()
    (tmp_path / "broken").touch()
    assert refused(tilewright("program", str(bitstream))).endswith("Error: no board found")


def test_the_loader_is_missing(bitstream, monkeypatch, capsys, tmp_path):
    monkeypatch.setenv("PATH", str(tmp_path))
    monkeypatch.setattr(sys, "executable", str(tmp_path / "python"))
    code, _, told = called(monkeypatch, capsys, "program", str(bitstream))
    assert code == 1
    assert told.startswith("tilewright: openFPGALoader is missing; install it with: apt-get")
