"""Compiled simulation: values, cycles and pauses against Python, protocol faults, mistakes."""

import os
import shutil
import subprocess
import sys
from importlib import metadata

import numpy as np
import pytest
from amaranth.hdl import Module, Signal, unsigned
from amaranth.lib import stream, wiring
from amaranth.lib.memory import Memory
from amaranth.lib.wiring import In, Out

from tilewright.gen.errors import ToolError
from tilewright.gen.verilog import emit
from tilewright.hw.bus.axi_lite import RegisterBank
from tilewright.hw.bus.registers import Register, RegisterBankConfig
from tilewright.hw.engine.requantise import Requantise
from tilewright.hw.engine.requantise_config import RequantiseConfig
from tilewright.sw.runtime.compiled import (
    ProtocolError,
    Traffic,
    compile_component,
    compile_unit,
)
from tilewright.sw.runtime.cxxrtl import cut
from tilewright.sw.runtime.library import Recipe, code_of
from tilewright.sw.runtime.ports import find_ports, find_streams
from tilewright.verif.tests.units import emitted


class Wide(wiring.Component):
    """Rotates 200-bit beats by 7 through a memory with start values, one cycle later."""

    i: In(stream.Signature(unsigned(200)))
    o: Out(stream.Signature(unsigned(200)))
    count: Out(8)
    offset: In(8)

    def elaborate(self, platform):
        m = Module()
        m.submodules.memory = memory = Memory(shape=8, depth=5, init=[3, 1, 4, 1, 5])
        read, at = memory.read_port(domain="comb"), Signal(range(5))
        m.d.comb += [
            self.i.ready.eq(~self.o.valid | self.o.ready),
            read.addr.eq(at),
            self.count.eq(read.data + self.offset),
        ]
        with m.If(self.o.ready):
            m.d.sync += self.o.valid.eq(0)
        with m.If(self.i.valid & self.i.ready):
            m.d.sync += [
                self.o.payload.eq(self.i.payload.rotate_left(7)),
                self.o.valid.eq(1),
                at.eq(at + 1),
            ]
        return m


@pytest.fixture(scope="module", params=["verilator", "cxxrtl"])
def wide(request):
    if request.param == "verilator":
        return compile_component(lambda config: Wide(), None, "wide")
    return compile_unit(emit(Wide(), "wide").rtlil, "wide")


@pytest.fixture(scope="module")
def text():
    return emitted().rtlil


@pytest.fixture(scope="module")
def summing(text):
    return compile_unit(text, "summing")


def beats(numbers):
    return {"data": np.array([[n >> 64 * i & (1 << 64) - 1 for i in range(4)] for n in numbers],
                             np.uint64)}  # fmt: skip


def test_wide_beats_arrive_whole(wide):
    unit = wide.another()
    rng = np.random.default_rng(3)
    numbers = [int.from_bytes(rng.bytes(25), "little") for _ in range(50)]
    unit.offer("s_axis_i", beats(numbers))
    assert unit.run("m_axis_o", 50)
    words = unit.seen("m_axis_o").beats["data"]
    got = [sum(int(word) << 64 * i for i, word in enumerate(row)) for row in words]
    assert got == [(n << 7 | n >> 193) & (1 << 200) - 1 for n in numbers]


def test_cycles_of_transfers(wide):
    unit = wide.another()
    unit.offer("s_axis_i", beats(range(5)))
    assert unit.run("m_axis_o", 5)
    assert unit.seen("s_axis_i").cycles.tolist() == [0, 1, 2, 3, 4]
    assert unit.seen("m_axis_o").cycles.tolist() == [1, 2, 3, 4, 5]
    assert unit.cycle == 6
    unit.forget()
    assert unit.seen("m_axis_o").cycles.size == 0


def test_memories_keep_start_values_and_ports_settle(wide):
    unit = wide.another()
    seen = []
    for _ in range(5):
        seen.append(unit.peek("count"))
        unit.offer("s_axis_i", beats([0]))
        unit.step()
    assert seen == [3, 1, 4, 1, 5]
    unit = wide.another(offset=10)
    assert unit.peek("count") == 13
    unit.poke("offset", 250)
    assert unit.peek("count") == 253


def test_pauses_are_as_likely_as_asked_and_repeat(wide):
    runs = []
    for seed in (1, 1, 2):
        unit = wide.another()
        unit.pause("s_axis_i", Traffic(0.75, seed))
        unit.offer("s_axis_i", beats(range(400)))
        assert unit.run("m_axis_o", 400)
        runs.append(unit.seen("s_axis_i").cycles.tolist())
    assert runs[0] == runs[1] != runs[2]
    assert 1300 < runs[0][-1] < 1900


def test_a_stall_holds_the_input(wide):
    unit = wide.another()
    unit.pause("m_axis_o", Traffic(1.0))
    unit.offer("s_axis_i", beats(range(10)))
    assert not unit.run("m_axis_o", 1, quiet=100)
    assert unit.seen("s_axis_i").cycles.size == 1
    unit.pause("m_axis_o", Traffic())
    assert unit.run("m_axis_o", 10)


def test_run_stops_at_most(wide):
    unit = wide.another()
    assert not unit.run("m_axis_o", 1, most=70_000, quiet=1 << 40)
    assert unit.cycle == 70_000


def test_reset_offers_again_what_was_not_taken(summing):
    unit = summing.another()
    unit.offer("s_axis_i", {"data": np.array([5, 6, 7]), "last": np.array([0, 0, 1])})
    unit.step(2)
    unit.reset()
    assert unit.run("m_axis_o", 1, quiet=50)
    assert unit.seen("m_axis_o").beats["data"].tolist() == [[7]]


@pytest.mark.parametrize(("flaw", "said"), [("takes_back", "took back"), ("changes", "changed"),
                                            ("overruns", "changed")])  # fmt: skip
def test_broken_rules_are_reported(flaw, said):
    unit = compile_unit(emitted(flaw).rtlil, "summing")
    unit.pause("m_axis_o", Traffic(0.7))
    unit.offer("s_axis_i", {"data": np.arange(1, 100), "last": np.ones(99, int)})
    with pytest.raises(ProtocolError, match=rf"m_axis_o {said} a beat that was waiting, in cycle"):
        unit.run("m_axis_o", 99, quiet=100)


def test_idle_payload_is_noise():
    unit = compile_unit(emitted("peeks").rtlil, "summing")
    unit.pause("s_axis_i", Traffic(0.5))
    unit.offer("s_axis_i", {"data": np.ones(50, int), "last": np.ones(50, int)})
    assert unit.run("m_axis_o", 50, quiet=100)
    assert (unit.seen("m_axis_o").beats["data"] != 1).any()


def test_registers_over_axi_lite():
    registers = (
        Register(name="scratch", address=0x00, access="rw", reset=7),
        Register(name="ident", address=0x04, access="ro"),
    )
    bank = RegisterBank(RegisterBankConfig(registers=registers, address_bits=4))
    unit = compile_unit(emit(bank, "bank").rtlil, "bank")
    assert unit.read(0) == (7, 0)
    assert unit.write(0, 0x12345678) == 0
    assert unit.write(0, 0xFF, strobes=2) == 0
    assert unit.read(0) == (0x12340078, 0)
    assert unit.write(4, 1) == 2


def test_a_unit_without_clock():
    class Adder(wiring.Component):
        a: In(8)
        b: In(8)
        y: Out(9)

        def elaborate(self, platform):
            m = Module()
            m.d.comb += self.y.eq(self.a + self.b)
            return m

    unit = compile_unit(emit(Adder(), "adder").rtlil, "adder")
    unit.poke("a", 200)
    unit.poke("b", 100)
    assert unit.peek("y") == 300


def test_amaranth_names_of_streams_are_recognised():
    from amaranth.back import rtlil

    unit = compile_unit(rtlil.convert(Wide(), name="plain", emit_src=False), "plain")
    assert [(s.name, s.is_input) for s in unit.streams] == [("i", True), ("o", False)]
    unit.offer("i", {"payload": beats([1])["data"]})
    assert unit.run("o", 1, quiet=10)
    assert unit.seen("o").beats["payload"][0].tolist() == [128, 0, 0, 0]


def test_ports_of_a_missing_module():
    with pytest.raises(ValueError, match="the design has no module 'nothing'"):
        find_ports(emitted().rtlil, "nothing")
    assert [s.words for s in find_streams(find_ports(emitted().rtlil, "summing"))] == [2, 1]


def test_beats_of_the_wrong_width_are_refused(wide):
    with pytest.raises(ValueError, match="s_axis_i_tdata has 200 bits, not 1 words of 64"):
        wide.offer("s_axis_i", {"data": np.zeros((3, 1), np.uint64)})


def test_large_designs_are_cut_without_a_change(tmp_path, monkeypatch):
    """A long chain of statements gives the same numbers whole and in pieces."""

    class Chain(wiring.Component):
        x: In(32)
        y: Out(32)

        def elaborate(self, platform):
            m = Module()
            value = self.x
            for i in range(90):
                step = Signal(32)
                if i % 3:
                    m.d.comb += step.eq(value * 3 + i)
                else:
                    m.d.sync += step.eq(value ^ i)
                value = step
            m.d.comb += self.y.eq(value)
            return m

    text = emit(Chain(), "chain").rtlil
    monkeypatch.setattr("tilewright.sw.runtime.cxxrtl._STATEMENTS", 15)
    pieces = []

    def counting(header, source, top):
        model = cut(header, source, top)
        pieces.extend(model.pieces)
        return model

    monkeypatch.setattr("tilewright.sw.runtime.models.cut", counting)
    unit = compile_unit(text, "chain", cache=tmp_path)
    assert len(pieces) > 1
    line = [0] * 90
    rng = np.random.default_rng(1)
    for x in map(int, rng.integers(0, 1 << 32, 400)):
        unit.poke("x", x)
        before, value = list(line), x
        for i in range(90):
            if i % 3:
                value = line[i] = (value * 3 + i) & 0xFFFFFFFF
            else:
                line[i], value = value ^ i, before[i]
        assert unit.peek("y") == value
        unit.step()


def test_feedback_is_left_whole():
    start = "bool p_top::eval(performer *performer) {\n\tbool converged = false;\n"
    source = f"{start}\treturn converged;\n}}\n"
    assert cut("", source, "top").one_pass
    assert not cut("", source.replace("false;\n", "true;\n\tconverged = false;\n"), "top").one_pass


def test_the_cache_is_shared_by_processes(tmp_path):
    """Two processes compile the same unit at once; others find it, unless it was cut since."""
    program = (
        "from tilewright.sw.runtime.compiled import compile_unit\n"
        "from tilewright.verif.tests.units import emitted\n"
        "u = compile_unit(emitted(name='shared').rtlil, 'shared')\n"
        "u.step(3); print(u.cycle)\n"
    )
    env = os.environ | {"TILEWRIGHT_CACHE": str(tmp_path)}
    command = [sys.executable, "-c", program]
    both = [subprocess.Popen(command, env=env, stdout=subprocess.PIPE, text=True) for _ in range(2)]
    assert [process.communicate()[0] for process in both] == ["3\n", "3\n"]
    (kept,) = (tmp_path / "compiled").iterdir()
    third = subprocess.run(command, env=env | {"CXX": "none"}, capture_output=True, text=True)
    assert third.stdout == "3\n"
    whole = kept.read_bytes()
    kept.write_bytes(whole[: len(whole) // 2])
    fourth = subprocess.run(command, env=env, capture_output=True, text=True)
    assert (fourth.returncode, fourth.stdout) == (0, "3\n")
    assert kept.read_bytes() == whole


@pytest.fixture
def made(summing, monkeypatch):
    """Compile nothing: `Recipe` makes what is in ``made[0]``; return that and the calls."""
    library = [summing._path.read_bytes()]
    calls = []

    def make(recipe, compiler, folder):
        calls.append(compiler)
        (folder / "unit.so").write_bytes(library[0])

    monkeypatch.setattr(Recipe, "_make", make)
    return library, calls


def summed(unit):
    unit.offer("s_axis_i", {"data": np.array([5, 6, 7]), "last": np.array([0, 0, 1])})
    return unit.run("m_axis_o", 1, quiet=50) and unit.seen("m_axis_o").beats["data"].tolist()


@pytest.mark.parametrize(
    "damage",
    [
        lambda whole, other: b"",
        lambda whole, other: whole[:-1],
        lambda whole, other: whole[: len(whole) // 3],
        lambda whole, other: whole[:5000] + bytes((whole[5000] ^ 1,)) + whole[5001:],
        lambda whole, other: b"\x7fELF" + bytes(len(whole) - 4),
        lambda whole, other: other,
    ],
    ids=["empty", "a byte short", "cut", "a bit turned", "garbage", "another unit"],
)
def test_damaged_machine_code_is_made_anew(damage, made, text, wide, tmp_path):
    """It would kill Python, or compute something else."""
    compile_unit(text, "summing", cache=tmp_path / "first")
    (first,) = (tmp_path / "first").iterdir()
    path = tmp_path / "second" / first.name
    path.parent.mkdir()
    path.write_bytes(damage(first.read_bytes(), wide._path.read_bytes()))
    assert summed(compile_unit(text, "summing", cache=path.parent)) == [[18]]
    assert path.read_bytes() == first.read_bytes()
    assert len(list(path.parent.iterdir())) == 1


def test_machine_code_is_kept_apart(made, text, tmp_path, monkeypatch):
    """By design, machine, C library, compiler and its version, and version of Yosys."""
    _, calls = made
    texts = [text, text + "\n"]
    compilers = []
    for number, version in enumerate("12"):
        compilers.append(tmp_path / f"compiler{number}")
        compilers[-1].write_text(f"#!/bin/sh\necho gcc version {version} >&2\n")
        compilers[-1].chmod(0o755)

    def compile_both():
        before = len(calls)
        for text in texts * 2:
            compile_unit(text, "summing", cache=tmp_path / "kept")
        return len(calls) - before

    assert compile_both() == 2
    for owner, name, value in (
        ("platform", "machine", lambda: "riscv64"),
        ("platform", "system", lambda: "Plan9"),
        ("platform", "libc_ver", lambda: ("musl", "1.2")),
        ("importlib.metadata", "version", lambda package: "0.1"),
    ):
        with monkeypatch.context() as patch:
            patch.setattr(f"{owner}.{name}", value)
            assert compile_both() == 2, name
    for compiler in compilers:
        monkeypatch.setenv("CXX", str(compiler))
        assert compile_both() == 2
    monkeypatch.delenv("CXX")
    assert compile_both() == 0


def compile_rounding(rounding, cache):
    config = RequantiseConfig(acc_width=8, out_bits=4, rounding=rounding)
    return compile_component(Requantise, config, "requantise", cache=cache)


@pytest.fixture(scope="module")
def known(tmp_path_factory):
    """A cache with one known configuration."""
    folder = tmp_path_factory.mktemp("known")
    compile_rounding("half_even", folder)
    return folder


@pytest.mark.parametrize(
    "damage", ["none", "entry", "library", "another's entry", "another Amaranth", "other code"]
)
def test_a_known_configuration_is_not_emitted_again(damage, known, tmp_path, monkeypatch):
    calls = []
    shutil.copytree(known, tmp_path, dirs_exist_ok=True)

    def counted(component, name):
        calls.append(name)
        return emit(component, name)

    monkeypatch.setattr("tilewright.sw.runtime.compiled.emit", counted)
    (entry,), (library,) = tmp_path.glob("*.json"), tmp_path.glob("*.so")
    if damage == "entry":
        entry.write_bytes(entry.read_bytes()[1:])
    if damage == "library":
        library.unlink()
    if damage == "another's entry":
        compile_rounding("half_away", tmp_path)
        (other,) = set(tmp_path.glob("*.json")) - {entry}
        entry.write_bytes(other.read_bytes())
    if damage == "another Amaranth":
        there = metadata.version
        monkeypatch.setattr(
            metadata, "version", lambda name: "99" if name == "amaranth" else there(name)
        )
    if damage == "other code":
        monkeypatch.setattr("tilewright.sw.runtime.compiled.code_of", lambda *packages: "other")
    calls.clear()
    unit = compile_rounding("half_even", tmp_path)
    assert calls == ["requantise"] * (damage != "none")
    assert {port.name for port in unit.ports} > {"clk", "rst"}


def test_code_and_names_of_files_tell_versions_apart(tmp_path, monkeypatch):
    monkeypatch.syspath_prepend(tmp_path)
    said = set()
    for number, (name, text) in enumerate((("a", "x = 1"), ("a", "x = 2"), ("b", "x = 1"))):
        inner = tmp_path / f"package{number}" / "inner"
        inner.mkdir(parents=True)
        (inner / f"{name}.py").write_text(text)
        (inner.parent / "__init__.py").write_text("")
        said.add(code_of(inner.parent.name))
    assert len(said) == 3


def test_machine_code_goes_to_the_cache(made, text, tmp_path, monkeypatch):
    here = tmp_path / "here"
    here.mkdir()
    monkeypatch.chdir(here)
    monkeypatch.delenv("TILEWRIGHT_CACHE", raising=False)
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "xdg"))
    monkeypatch.setenv("HOME", str(tmp_path / "home"))

    def found(folder):
        compile_unit(text, "summing")
        return [path.parent.relative_to(tmp_path) for path in (tmp_path / folder).rglob("*.so")]

    assert [str(path) for path in found("xdg")] == ["xdg/tilewright/compiled"]
    monkeypatch.setenv("XDG_CACHE_HOME", "relative")
    assert [str(path) for path in found("home")] == ["home/.cache/tilewright/compiled"]
    monkeypatch.setenv("TILEWRIGHT_CACHE", str(tmp_path / "named"))
    assert [str(path) for path in found("named")] == ["named/compiled"]
    assert not list(here.iterdir()), "nothing where it was called"


def test_a_home_that_cannot_be_written_is_done_without(made, text, tmp_path, monkeypatch):
    (tmp_path / "file").write_text("")
    monkeypatch.delenv("TILEWRIGHT_CACHE", raising=False)
    monkeypatch.delenv("XDG_CACHE_HOME", raising=False)
    monkeypatch.setenv("HOME", str(tmp_path / "file"))
    assert summed(compile_unit(text, "summing")) == [[18]]
    monkeypatch.setenv("TILEWRIGHT_CACHE", str(tmp_path / "file"))
    with pytest.raises(ToolError, match="be kept in .*file.*; set TILEWRIGHT_CACHE to a folder"):
        compile_unit(text, "summing")


def test_machine_code_for_another_machine_is_one_sentence(made, text, tmp_path):
    library, calls = made
    library[0] = b"\x7fELF" + bytes(1000)
    for _ in range(2):
        with pytest.raises(ToolError, match="^the compiled unit cannot be loaded: .*set CXX to a"):
            compile_unit(text, "summing", cache=tmp_path)
    assert len(calls) == 2


def test_missing_tools_and_folders_are_one_sentence(text, tmp_path, monkeypatch):
    (tmp_path / "file").write_text("")
    with pytest.raises(ToolError, match="compiled units cannot be kept in .*file"):
        compile_unit(text, "summing", cache=tmp_path / "file")
    monkeypatch.setenv("CXX", "no-such-compiler")
    with pytest.raises(ToolError, match="^no-such-compiler is missing; .* apt-get install g\\+\\+"):
        compile_unit(text, "summing", cache=tmp_path)
    monkeypatch.setenv("CXX", "false")
    with pytest.raises(ToolError, match="^the C\\+\\+ compiler failed"):
        compile_unit(text, "summing", cache=tmp_path)
    assert [path.name for path in tmp_path.iterdir()] == ["file"]
    damaged = tmp_path / "compiler"
    damaged.write_text("")
    damaged.chmod(0o755)
    monkeypatch.setenv("CXX", str(damaged))
    with pytest.raises(ToolError, match="^the C\\+\\+ compiler cannot be started"):
        compile_unit(text, "summing", cache=tmp_path)
