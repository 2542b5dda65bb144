"""What is cut short: a full disk, a signal, a failure next door. Nothing half-made stays behind."""

import builtins
import errno
import io
import os
import resource
import shutil
import signal
import subprocess
import sys
import threading
import time
from pathlib import Path

import pytest

from tilewright.gen import files
from tilewright.gen.beside import beside
from tilewright.gen.errors import ToolError
from tilewright.gen.files import check_room, undone_on_failure, write_all, write_file
from tilewright.gen.tools import run_tool
from tilewright.hw.config import ConfigError
from tilewright.sw.model.graph import ModelError
from tilewright.verif.tests.test_cli import COMMAND, called, refused, tilewright

SLEEP = [sys.executable, "-c", "import time; time.sleep(60)"]


def contents(folder: Path) -> list[str]:
    """Return all that is below a folder."""
    return sorted(str(path.relative_to(folder)) for path in folder.rglob("*"))


@pytest.fixture
def full_disk(monkeypatch):
    """Make the disk below a folder full: at which of the calls of ``write`` from now on."""

    def fill(folder, at):
        opened, left = io.open, at

        def is_below(file):
            name = os.readlink(f"/proc/self/fd/{file}") if isinstance(file, int) else str(file)
            return Path(name).absolute().is_relative_to(folder.absolute())

        class Full:
            def __init__(self, file):
                self.file = file

            def __getattr__(self, name):
                return getattr(self.file, name)

            def __enter__(self):
                return self

            def __exit__(self, *caught):
                self.file.close()

            def write(self, content):
                nonlocal left
                left -= 1
                if left < 0:
                    self.file.write(content[: len(content) // 2])
                    raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))
                return self.file.write(content)

        def open_(file, mode="r", *args, **options):
            found = opened(file, mode, *args, **options)
            return Full(found) if set(mode) & set("wax+") and is_below(file) else found

        monkeypatch.setattr(builtins, "open", open_)
        monkeypatch.setattr(io, "open", open_)

    return fill


FULL = {
    "generate": ([0, 3], ["requantise"]),
    "verify": ([0, 1, 2], ["requantise"]),
    "verify verilator": ([1, 2], ["requantise", "--sim", "verilator"]),
    "verify netlist": ([0, 1], ["requantise", "--level", "netlist"]),
    "build": ([0, 1, 2], ["requantise", "--seeds", "1"]),
    "mutate": ([0, 1], ["requantise", "-n", "2"]),
    "prove": ([0, 1], ["requantise", "--only", "unit"]),
    "explore": ([0, 1, 3], ["examples/lenet5", "--images", "1", "-n", "1", "-d", "systolic"]),
}
"""Which writes find the disk full, and the command's arguments."""


@pytest.mark.parametrize(
    ("name", "at"), [(name, at) for name, (places, _) in FULL.items() for at in places]
)
def test_a_full_disk_is_one_sentence_and_leaves_nothing(name, at, full_disk, monkeypatch, capsys):
    target = Path("build/tests", f"full-{name}-{at}".replace(" ", "-"))  # others run beside it
    shutil.rmtree(target, ignore_errors=True)
    full_disk(target, at)
    arguments = [name.split()[0], *FULL[name][1], "-o", str(target)]
    code, printed, told = called(monkeypatch, capsys, *arguments)
    assert (code, printed) == (1, "")
    said = told.splitlines()[-1]
    assert told.count("tilewright: ") == 1
    assert said.startswith(f"tilewright: {target}"), "the sentence names no file"
    assert said.endswith(": no space left on device")
    assert not target.exists()


def test_files_are_written_whole_or_not_at_all(tmp_path, full_disk):
    (tmp_path / "a").write_text("old")
    full_disk(tmp_path, 1)
    with pytest.raises(OSError, match="No space left") as caught:
        write_all(tmp_path, {"new/a": "1234", "a": "5678"})
    assert caught.value.filename == str(tmp_path / "a")
    assert contents(tmp_path) == ["a"]
    assert (tmp_path / "a").read_text() == "old"


def test_a_folder_in_the_place_of_a_file(tmp_path):
    (tmp_path / "b").mkdir()
    with pytest.raises(IsADirectoryError):
        write_all(tmp_path, {"a": "1", "b": b"2"})
    assert contents(tmp_path) == ["b"]
    assert write_file(tmp_path / "c", b"\x00\xff").read_bytes() == b"\x00\xff"


@pytest.mark.parametrize(
    ("error", "kept"),
    [
        (OSError(errno.EDQUOT, "quota"), False),
        (KeyboardInterrupt(), False),
        (ConfigError("too large"), False),
        (ToolError("see log"), True),
    ],
    ids=repr,
)
def test_failed_work_is_undone(tmp_path, error, kept):
    folder = tmp_path / "deep" / "work"
    before = tmp_path / "before"
    (before / "inner").mkdir(parents=True)
    (before / "same").write_text("same")
    (before / "changed").write_text("old")
    (tmp_path / "other").write_text("of somebody else")

    def work():
        (folder / "tool").mkdir(parents=True)
        (folder / "tool" / "log").write_text("half")
        (before / "inner" / "new").symlink_to(folder)
        (before / "changed").write_text("newer")
        (tmp_path / "other").write_text("newer")
        raise error

    with pytest.raises(type(error)), undone_on_failure(folder, before):
        work()
    assert folder.exists() == (tmp_path / "deep").exists() == kept
    assert (before / "same").read_text() == "same"
    assert (before / "changed").exists() == kept
    assert (before / "inner").is_dir()
    assert (before / "inner" / "new").is_symlink() == kept
    assert (tmp_path / "other").read_text() == "newer"
    if error.args[:1] == (errno.EDQUOT,):
        with pytest.raises(OSError, match="work") as caught, undone_on_failure(folder):
            raise error
        assert caught.value.filename == str(folder)


def test_a_tool_that_does_not_notice_a_full_disk(tmp_path, monkeypatch):
    check_room(tmp_path)
    assert contents(tmp_path) == []
    limit = resource.getrlimit(resource.RLIMIT_FSIZE)
    script = "open('out', 'wb').write(bytes(70_000))"
    try:
        resource.setrlimit(resource.RLIMIT_FSIZE, (70_000, limit[1]))
        with pytest.raises(OSError, match="too large") as caught:
            run_tool([sys.executable, "-c", script], tmp_path, "a tool")
        assert caught.value.filename == str(tmp_path / "out")
        resource.setrlimit(resource.RLIMIT_FSIZE, (60_000, limit[1]))
        with pytest.raises(OSError, match="too large") as caught:
            run_tool([sys.executable, "-c", "import sys; sys.exit(1)"], tmp_path, "a tool")
        assert caught.value.filename == str(tmp_path)
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, limit)


def test_stdout_on_a_full_disk():
    with open("/dev/full", "w") as full:
        done = subprocess.run(
            [*COMMAND, "list"], stdout=full, stderr=subprocess.PIPE, text=True, check=False
        )
    assert (done.returncode, done.stderr) == (1, "tilewright: no space left on device\n")


def test_a_signal_leaves_nothing(tmp_path):
    cache, target = tmp_path / "cache", tmp_path / "out"
    command = [*COMMAND, "verify", "requantise", "--sim", "compiled", "-o", str(target)]
    process = subprocess.Popen(
        command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True,
        env={**os.environ, "TILEWRIGHT_CACHE": str(cache)},
    )  # fmt: skip
    while not list(cache.glob("compiled/making-*/*.cc")) and process.poll() is None:
        time.sleep(0.01)
    tools = subprocess.run(
        ["pgrep", "-P", str(process.pid)], capture_output=True, text=True, check=False
    ).stdout.split()
    process.send_signal(signal.SIGTERM)
    printed, told = process.communicate(timeout=30)
    assert process.returncode == 143
    assert (printed, told) == ("", "tilewright: stopped by SIGTERM\n")
    assert [path for path in cache.rglob("*") if path.is_file()] == []
    assert list(cache.glob("compiled/*")) == []
    assert not target.exists()
    assert [tool for tool in tools if Path("/proc", tool).exists()] == []


def test_what_a_tool_started_ends_with_it(tmp_path):
    script = (
        "import subprocess, sys, time; child = subprocess.Popen([sys.executable, '-c', "
        "'import time; time.sleep(60)']); open('child', 'w').write(str(child.pid)); "
        "time.sleep(60)"
    )

    def stop():
        while not (tmp_path / "child").exists() or not (tmp_path / "child").read_text():
            time.sleep(0.01)
        signal.pthread_kill(threading.main_thread().ident, signal.SIGINT)

    threading.Thread(target=stop).start()
    with pytest.raises(KeyboardInterrupt):
        run_tool([sys.executable, "-c", script], tmp_path, "a tool")
    child = Path("/proc", (tmp_path / "child").read_text(), "stat")
    assert not child.exists() or ") Z " in child.read_text()


def timed(limit: float):
    """Return what tells whether so many seconds have not passed."""
    end = time.monotonic() + limit
    return lambda: time.monotonic() < end


def test_a_failure_beside_ends_the_block_at_once():
    soon = timed(20)

    def fail():
        time.sleep(0.2)
        raise ConfigError("too large")

    with pytest.raises(ConfigError, match="too large"), beside(fail):
        time.sleep(60)
    assert soon()
    assert signal.getsignal(signal.SIGUSR1) is signal.SIG_DFL


@pytest.mark.parametrize("error", [ModelError("bad"), KeyboardInterrupt()], ids=repr)
def test_what_is_beside_ends_with_a_failed_block(tmp_path, error):
    soon, begun = timed(20), threading.Event()

    def work():
        begun.set()
        run_tool(SLEEP, tmp_path, "a tool")
        begun.clear()

    def block():
        begun.wait()
        raise error

    with pytest.raises(type(error)), beside(work) as future:
        block()
    assert soon()
    assert future.done()
    assert begun.is_set(), "it went on after its tool"


def test_what_is_beside_starts_no_more_tools(tmp_path):
    ready, go = threading.Event(), threading.Event()

    def work():
        ready.set()
        go.wait()
        time.sleep(0.5)
        run_tool([sys.executable, "-c", "import time; time.sleep(1); open('made', 'w')"],
                 tmp_path, "a tool")  # fmt: skip

    def block():
        ready.wait()
        go.set()
        raise ModelError("bad")

    with pytest.raises(ModelError), beside(work):
        block()
    assert contents(tmp_path) == []


def test_what_is_beside_gives_its_result():
    with beside(lambda: 7) as future:
        assert future.result() == 7
    failing = threading.Event()

    def fail():
        failing.set()
        raise ToolError("in a thread of a thread")

    caught = []

    def elsewhere():
        try:
            with beside(fail):
                failing.wait()
                time.sleep(0.2)
        except ToolError as error:
            caught.append(error)

    thread = threading.Thread(target=elsewhere)
    thread.start()
    thread.join()
    assert len(caught) == 1


@pytest.fixture
def board_run(tmp_path, monkeypatch, capsys):
    """Run a job on a board with parts that are replaced; return how it ended, and its folder."""
    from tilewright.fpga import board
    from tilewright.sw import job
    from tilewright.sw.cli import run_

    target = tmp_path / "out"
    built = []

    def build(design, folder, **options):
        folder.mkdir(parents=True, exist_ok=True)
        (folder / "top.json").write_text("half")
        built.append(design)
        run_tool(SLEEP, folder, "a tool")

    def verilog(chosen, output, say):
        write_all(output, {"rtl/engine.v": "module", "icarus/log": "log"})

    def run(prepare=None, build=build, simulate=None, arguments=()):
        monkeypatch.setattr(job, "prepare_job", prepare or (lambda *args, **options: "ready"))
        monkeypatch.setattr(board, "design_board", lambda *args, **options: "design")
        monkeypatch.setattr(board, "build_design", files.whole_or_nothing(build))
        monkeypatch.setattr(run_, "_check_verilog", verilog)
        monkeypatch.setattr(job, "run_prepared", simulate or (lambda *args, **options: None))
        soon = timed(30)
        code, printed, told = called(
            monkeypatch, capsys, "run", "examples/lenet5", "--board", "ulx3s-85f", "-o",
            str(target), *arguments,
        )  # fmt: skip
        assert soon()
        assert printed == ""
        return code, told.splitlines()[-1], built

    yield run
    assert not target.exists()


def fail(error):
    def failing(*args, **options):
        time.sleep(0.3)
        raise error

    return failing


def test_an_early_error_comes_before_the_build(board_run):
    code, told, built = board_run(prepare=fail(ModelError("no model")))
    assert (code, told, built) == (1, "tilewright: no model", [])


def test_an_error_of_the_job_ends_the_build(board_run):
    code, told, built = board_run(simulate=fail(ModelError("bad model")))
    assert (code, told, built) == (1, "tilewright: bad model", ["design"])


def test_an_error_of_the_build_ends_the_job(board_run):
    code, told, _ = board_run(
        build=fail(ConfigError("too large")), simulate=lambda *args, **options: time.sleep(60)
    )
    assert (code, told) == (1, "tilewright: too large")


@pytest.mark.parametrize(
    ("number", "said"),
    [(signal.SIGINT, "Ctrl-C"), (signal.SIGTERM, "SIGTERM"), (signal.SIGHUP, "SIGHUP")],
)
def test_a_signal_ends_job_and_build(board_run, number, said):
    def stop(*args, **options):
        signal.raise_signal(number)
        time.sleep(60)

    code, told, _ = board_run(simulate=stop)
    assert (code, told) == (128 + number, f"tilewright: stopped by {said}")


@pytest.mark.parametrize("name", ["run", "compare"])
def test_missing_packages_are_told_before_any_work(name, tmp_path, monkeypatch, capsys):
    from tilewright.fpga import flow
    from tilewright.sw.report import html

    command = [name, "examples/lenet5", "--board", "ulx3s-85f", "-o", str(tmp_path / "out")]
    monkeypatch.setattr(flow, "_TOOLS", ("nothing",))
    code, _, told = called(monkeypatch, capsys, *command)
    assert code == 1
    assert told.startswith("tilewright: yowasp-nothing is missing; pip install 'tilewright[fpga]'")
    monkeypatch.setattr(html, "find_spec", lambda package: None)
    monkeypatch.setattr(flow, "_TOOLS", ())
    code, _, told = called(monkeypatch, capsys, *command)
    assert code == 1
    assert told == "tilewright: reports need jinja2: pip install 'tilewright[report]'\n"
    assert contents(tmp_path) == []


def test_refusals_leave_nothing(tmp_path):
    target = tmp_path / "out"
    told = refused(tilewright("run", "examples/lenet5", "--board", "desk", "-o", str(target)))
    assert "board must be one of" in told
    assert not target.exists()
