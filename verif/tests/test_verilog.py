"""The emitted Verilog does what Amaranth's own conversion does, X included."""

import operator
import random
import re
import subprocess
from dataclasses import dataclass, replace
from pathlib import Path

import pytest
from amaranth.back import rtlil
from amaranth.hdl import Cat, Const, Module, Mux, Shape, Signal, signed
from amaranth.lib import data, stream
from amaranth.lib.memory import Memory
from amaranth.lib.wiring import In, Out

from tilewright.gen.configuration import configure
from tilewright.gen.errors import ToolError
from tilewright.gen.keywords import KEYWORDS
from tilewright.gen.registry import UNITS, load
from tilewright.gen.verilog import emit, top_of
from tilewright.hw.lib.component import Component
from tilewright.hw.systolic.array import SystolicArray
from tilewright.hw.systolic.config import SystolicConfig
from tilewright.verif.formal.equivalence import unequal
from tilewright.verif.simulate.yosys_verilog import yosys_verilog
from tilewright.verif.tests.seeds import seeds


@dataclass(frozen=True)
class RowConfig:
    """Sizes of cells, and what makes them."""

    sizes: tuple[int, ...]
    cell: type


class Cell(Component):
    """Multiplies and adds."""

    def __init__(self, config):
        super().__init__({"x": In(signed(4)), "p": In(signed(12)), "q": Out(signed(12))})

    def elaborate(self, platform):
        m = Module()
        kept = Signal(signed(4))
        with m.If(self.x[0]):
            m.d.sync += kept.eq(self.x)
        m.d.sync += self.q.eq(self.p + self.x * kept)
        return m


class Row(Component):
    """Chains cells."""

    def __init__(self, config):
        self._cells = config
        super().__init__({"x": In(signed(4)), "q": Out(signed(12))})

    def elaborate(self, platform):
        m = Module()
        total = 0
        for i in range(self._cells):
            m.submodules[f"cell_{i}"] = cell = Cell(None)
            m.d.comb += [cell.x.eq(self.x), cell.p.eq(total)]
            total = cell.q
        m.d.comb += self.q.eq(total)
        return m


class Mixed(Component):
    """State machine, memory, structures, partial assignments and shared rows."""

    def __init__(self):
        beat = data.StructLayout({"data": data.ArrayLayout(signed(4), 3), "last": 1, "kind": 2})
        super().__init__(
            {
                "i": In(stream.Signature(beat)),
                "o": Out(stream.Signature(data.StructLayout({"sum": signed(12), "flag": 1}))),
                "count": Out(5),
            }
        )

    def elaborate(self, platform):
        m = Module()
        m.submodules.memory = memory = Memory(shape=12, depth=8, init=[1, 2, 3])
        write, read = memory.write_port(), memory.read_port()
        address = Signal(3)
        rows = []
        for k, size in enumerate((1, 2, 2)):
            m.submodules[f"row_{k}"] = row = Row(size)
            m.d.comb += row.x.eq(self.i.payload.data[k])
            rows.append(row)
        total = rows[0].q + rows[1].q - rows[2].q
        m.d.comb += [write.addr.eq(address), read.addr.eq(~address), write.data.eq(total)]
        with m.FSM():
            with m.State("Wait"):
                m.d.comb += self.i.ready.eq(1)
                with m.If(self.i.valid & ~self.i.payload.last):
                    m.next = "Work"
                with m.Elif(self.i.valid & (self.i.payload.kind == 2)):
                    m.d.sync += address.eq(address + 3)
                    m.next = "Give"
            with m.State("Work"):
                m.d.comb += write.en.eq(1)
                m.d.sync += [address[1:].eq(address[:2]), address[0].eq(total[2])]
                with m.If(address.any() & (self.count[0] | ~self.o.ready)):
                    m.next = "Give"
            with m.State("Give"):
                m.d.comb += self.o.valid.eq(1)
                with m.If(self.o.ready):
                    m.d.sync += self.count.eq(self.count + 1)
                    m.next = "Wait"
        with m.Switch(self.i.payload.kind):
            with m.Case(0):
                m.d.comb += self.o.payload.sum.eq(read.data)
            with m.Case(1, 2):
                m.d.comb += self.o.payload.sum.eq(total >> 1)
            with m.Default():
                m.d.sync += self.o.payload.flag.eq(~self.o.payload.flag)
        return m


def _ports(verilog: str, top: str) -> list[tuple[str, int, str]]:
    header = re.search(rf"^module {top} \((.*?)^\);", verilog, re.M | re.S)[1]
    declared = r"^  (input|output) +(?:wire|reg) +(?:signed )?(?:\[(\d+):0\] )?(\w+)"
    found = re.findall(declared, header, re.M)
    return [(direction, int(high or 0) + 1, name) for direction, high, name in found]


def _compare(make, folder: Path, cycles: int = 2_000) -> None:
    """Run both texts side by side in Icarus and compare every output in every cycle."""
    folder.mkdir(parents=True, exist_ok=True)
    neat = emit(make(), "neat").verilog
    # Amaranth's own conversion, in which components are no modules of their own
    raw = yosys_verilog(rtlil.convert(top_of(make()), "raw", emit_src=False))
    # a case of which nothing is left is no statement to others
    raw = re.sub(r"\(\* full_case = 32'd1 \*\)\n *\n", ";\n", raw)
    # and one that is always taken lacks the start of its block
    raw = re.sub(r"\(\* full_case = 32'd1 \*\)(?=\n +(?!case|if)\S)", "begin", raw)
    # what copies a constant, or what never changes, would never run
    raw = re.sub(r"^  always @\*\n +(.*;)$", r"  initial #0 \1\n  always @* \1", raw, flags=re.M)
    ports = _ports(neat, "neat")
    drives, lines, checks, pins = [], [], [], {"neat": [], "raw": []}
    for direction, width, name in ports:
        if direction == "input":
            lines.append(f"  reg [{width - 1}:0] {name} = 0;")
            if name not in ("clk", "rst"):
                words = ", ".join(["$urandom(seed)"] * -(-width // 32))
                odds = "1" if width > 1 else "$urandom(seed) % 3 != 0"
                drives.append(f"    if ({odds}) {name} <= {{{words}}};")
        for which in pins:
            mine = name if direction == "input" else f"{which}_{name}"
            pins[which].append(f".{name}({mine})")
            if direction == "output":
                lines.append(f"  wire [{width - 1}:0] {mine};")
        if direction == "output":
            checks.append(f"neat_{name} !== raw_{name}")
    bench = "\n".join(
        [
            "module bench;",
            "  integer seed = 1, cycle = 0;",
            *lines,
            *(f"  {which} {which}_dut ({', '.join(p)});" for which, p in pins.items()),
            "  always #5 clk = !clk;",
            "  always @(posedge clk) begin",
            "    rst <= cycle < 2 || $urandom(seed) % 200 == 0;",
            *drives,
            "    cycle <= cycle + 1;",
            f'    if (cycle == {cycles}) begin $display("SAME"); $finish; end',
            "  end",
            f"  always @(negedge clk) if (cycle > 3 && ({' || '.join(checks)})) begin",
            '    $display("DIFFERENT in cycle %0d", cycle); $finish;',
            "  end",
            "endmodule\n",
        ]
    )
    for name, text in (("neat.v", neat), ("raw.v", raw), ("bench.v", bench)):
        (folder / name).write_text(text)
    subprocess.run(
        ["iverilog", "-g2005", "-s", "bench", "-o", "run", "neat.v", "raw.v", "bench.v"],
        cwd=folder,
        check=True,
    )
    command = ["vvp", "-n", "run"]
    done = subprocess.run(command, cwd=folder, capture_output=True, text=True, check=True)
    assert done.stdout.split("\n")[0] == "SAME", done.stdout


class Parts(Component):
    """Copies a constant, what never changes, and a part of itself to parts of a signal."""

    def __init__(self):
        beat = data.StructLayout({"part": 4, "constant": 4, "never": 4, "bit": 1, "chain": 1})
        super().__init__({"go": In(1), "beat": Out(beat)})

    def elaborate(self, platform):
        m = Module()
        never, toggles = Signal(4, init=9), Signal()
        m.d.sync += toggles.eq(toggles ^ self.go)
        with m.If(self.beat.constant[1]):
            m.d.sync += never.eq(never + 1)
        m.d.comb += [
            self.beat.constant.eq(5), self.beat.never.eq(never), self.beat.bit.eq(toggles),
            self.beat.chain.eq(self.beat.bit),
        ]  # fmt: skip
        with m.If(self.go):
            m.d.comb += self.beat.part.eq(self.beat.never + 1)
        return m


class Anything(Component):
    """Expressions of every operator, nested conditions and memories, drawn at random."""

    def __init__(self, seed):
        self._draw = draw = random.Random(seed)
        widths = (1, 1, 2, 3, 4, 5, 8, 13, 33)
        shapes = {f"i{i}": In(Shape(draw.choice(widths), draw.random() < 0.5)) for i in range(8)}
        shapes |= {f"o{i}": Out(Shape(draw.choice(widths), draw.random() < 0.5)) for i in range(30)}
        super().__init__(shapes)

    def _number(self, depth):
        draw, value = self._draw, self._value
        if not depth or draw.random() < 0.1:
            if draw.random() < 0.2:
                width = draw.randint(1, 12)
                return Const(draw.getrandbits(width), Shape(width, draw.random() < 0.3))
            return draw.choice(self._known)
        a, b = value(depth - 1), value(depth - 1)
        return draw.choice([
            lambda: a + b, lambda: a - b, lambda: a * b[:7], lambda: a & b, lambda: a | b,
            lambda: a ^ b, lambda: ~a, lambda: -a, lambda: Mux(value(depth - 1), a, b),
            lambda: a == b, lambda: a != b, lambda: a < b, lambda: a <= b, lambda: a > b,
            lambda: a >= b, lambda: a == draw.randrange(4), lambda: a.any(), lambda: a.all(),
            lambda: a.xor(), lambda: ~a.bool(), lambda: a << draw.randint(0, 5),
            lambda: a << b[:3].as_unsigned(), lambda: a >> draw.randint(0, 5),
            lambda: a >> b[:3].as_unsigned(), lambda: Cat(a, b), lambda: a[len(a) // 3 :],
            lambda: a.as_unsigned(), lambda: a.as_signed(), lambda: a[0].replicate(5),
            lambda: a.as_unsigned() // draw.randint(1, 9), lambda: abs(a),
            lambda: a.as_unsigned() % (1 << draw.randint(0, 3)),
        ])()  # fmt: skip

    def _value(self, depth):
        value = self._number(depth)
        if len(value) > 40:
            value = value[:40]
        return value if len(value) else Const(1, 1)

    def _statements(self, m, domain, targets, depth):
        draw = self._draw
        for _ in range(draw.randint(1, 3)):
            kind = draw.randrange(4) if depth else 0
            if kind < 2:
                target = draw.choice(targets)
                low = draw.randrange(len(target))
                part = target if draw.random() < 0.5 else target[low : low + draw.randint(1, 9)]
                m.d[domain] += part.eq(self._value(2))
            elif kind == 2:
                with m.If(self._value(2).bool()):
                    self._statements(m, domain, targets, depth - 1)
                for _ in range(draw.randrange(3)):
                    with m.Elif(self._value(1).bool()):
                        self._statements(m, domain, targets, depth - 1)
                if draw.random() < 0.5:
                    with m.Else():
                        self._statements(m, domain, targets, depth - 1)
            else:
                test = Cat(draw.choice(self._known)[:2], draw.choice(self._known)[0], Const(0, 1))
                with m.Switch(test[:3]):
                    for _ in range(draw.randint(1, 4)):
                        patterns = ["".join(draw.choices("01-", k=3)) for _ in range(2)]
                        with m.Case(*patterns[: draw.randint(1, 2)]):
                            self._statements(m, domain, targets, depth - 1)
                    if draw.random() < 0.5:
                        with m.Default():
                            self._statements(m, domain, targets, depth - 1)

    def elaborate(self, platform):
        m, draw = Module(), self._draw
        self._known = [getattr(self, f"i{i}") for i in range(8)]
        began = Signal()  # words are read before anything depends on them, as they begin unknown
        m.d.sync += began.eq(1)
        for name, fields in (("whole", {}), ("parts", {"granularity": 3})):
            words = [draw.getrandbits(9) for _ in range(8)]
            m.submodules[name] = memory = Memory(shape=9, depth=8, init=words)
            write = memory.write_port(**fields)
            seen = (write,) if name == "whole" and draw.random() < 0.5 else ()
            read, now = memory.read_port(transparent_for=seen), memory.read_port(domain="comb")
            for signal in (write.addr, write.data, read.addr, now.addr):
                m.d.comb += signal.eq(self._value(1))
            m.d.comb += [
                write.en.eq(self._value(1) & began.replicate(9)),
                read.en.eq(self._value(1)[0] | ~began),
            ]
            self._known += [read.data, now.data]
        registers = [
            Signal(Shape(width, width % 2), name=f"r{i}", init=draw.getrandbits(width - 1))
            for i, width in enumerate(draw.choices(range(2, 14), k=6))
        ]
        self._known += registers
        chosen = [Signal(Shape(4 + i, i % 2), name=f"c{i}") for i in range(3)]
        for targets, domain in ((registers[:3], "sync"), (registers[3:], "sync"), (chosen, "comb")):
            for _ in range(2):
                self._statements(m, domain, targets, 2)
        self._known += chosen
        m.d.comb += [getattr(self, f"o{i}").eq(self._value(4)) for i in range(30)]
        return m


class Quotient(Component):
    """Divides signed numbers."""

    def __init__(self, divide):
        self._divide = divide
        super().__init__({"a": In(signed(5)), "b": In(signed(4)), "o": Out(signed(6))})

    def elaborate(self, platform):
        m = Module()
        m.d.comb += self.o.eq(self._divide(self.a, self.b))
        return m


@pytest.mark.parametrize("divide", [operator.floordiv, operator.mod])
def test_division_of_signed_numbers_is_refused(divide):
    """Verilog's rounds towards zero, Amaranth's towards minus infinity."""
    with pytest.raises(ToolError, match="of this form cannot be written in Verilog"):
        emit(Quotient(divide), "quotient")


@pytest.mark.parametrize("seed", seeds(3))
def test_random_designs_keep_their_meaning(seed):
    _compare(lambda: Anything(seed), Path("build/test/verilog", f"anything_{seed}"))


class Signs(Component):
    """Writes and reads words by addresses whose signals are signed; shifts a signed flag."""

    write_at: In(signed(3))
    read_at: In(signed(3))
    value: In(4)
    word: Out(4)
    shifted: Out(4)
    sum: Out(4)
    flag: In(signed(1))
    moved: Out(4)

    def elaborate(self, platform):
        m = Module()
        m.d.comb += self.moved.eq((self.flag.any() >> self.value[0]) << 2)
        m.submodules.words = words = Memory(shape=4, depth=8, init=range(8))
        write = words.write_port()
        reads = [words.read_port(domain="comb") for _ in range(3)]
        m.d.comb += [write.addr.eq(self.write_at), write.data.eq(self.value), write.en.eq(1)]
        addresses = self.read_at, self.read_at >> 1, self.read_at + self.write_at
        for read, at, out in zip(
            reads, addresses, (self.word, self.shifted, self.sum), strict=True
        ):
            m.d.comb += [read.addr.eq(at), out.eq(read.data)]
        return m


@pytest.mark.parametrize("make", [Mixed, Parts, Signs])
def test_design_keeps_its_meaning(make):
    _compare(make, Path("build/test/verilog", make.__name__.lower()))


SMALL = [
    (name, preset)
    for name, unit in UNITS.items()
    for preset in unit.presets
    if preset != "default" or "tiny" not in unit.presets
]
PROVED = [
    ("systolic", "tiny"), ("systolic", "os"), ("packed", "tiny"), ("packed", "lut"),
    ("nm", "tiny"), ("nm", "half"), ("requantise", "default"), ("requantise", "narrow"),
    ("requantise", "half_away"), ("kv_storage", "whole"),
]  # fmt: skip
"""Of the others some bits are left, mostly of registers without a name in RTLIL: they are run."""


@pytest.mark.parametrize(("name", "preset"), PROVED)
def test_unit_is_proved_equal_to_its_rtlil(name, preset):
    config = configure(name, preset=preset)
    design = emit(load(UNITS[name].component)(config), "probe")
    assert unequal(design, Path("build/test/equal", name, preset)) == []


@pytest.mark.parametrize(
    ("written", "wrong", "found"),
    [
        ("<= clipped_0_plus_zero_point[7:1]", "<= clipped_0_plus_zero_point[6:0]", "total_0_gold"),
        ("reg [6:0] total_0 = 7'd0", "reg [6:0] total_0 = 7'd1", "total_0 at the start"),
        ("(advance) begin\n        biased <=", "(!advance) begin\n        biased <=", "value_gold"),
    ],
)
def test_verilog_that_differs_is_found(written, wrong, found):
    config = configure("requantise", preset="narrow")
    design = emit(load(UNITS["requantise"].component)(config), "probe")
    assert design.verilog.count(written) == 1
    flawed = replace(design, verilog=design.verilog.replace(written, wrong))
    differing = unequal(flawed, Path("build/test/equal/flawed"))
    assert any(found in bit for bit in differing), differing


@pytest.mark.parametrize(
    ("name", "preset", "cycles"),
    [
        *((name, preset, 2_000) for name, preset in SMALL if (name, preset) not in PROVED),
        # test_emitted_proofs proves the others.
        *(
            pytest.param(name, "tiny", 100_000, marks=pytest.mark.slow)
            for name, unit in UNITS.items()
            if "tiny" in unit.presets and name not in ("systolic", "serial", "packed", "requantise")
        ),
    ],
)
def test_unit_keeps_its_meaning(name, preset, cycles):
    config = configure(name, preset=preset)
    text = emit(load(UNITS[name].component)(config), "probe").verilog
    if re.search(r"^  (MULT18X18D|ALU54B|CCU2C|DP16KD|TRELLIS_\w+) ", text, re.M):
        pytest.skip("instantiates cells of the fabric, for which there is no model here")
    folder = Path("build/test/verilog", name, preset, str(cycles))
    _compare(lambda: load(UNITS[name].component)(config), folder, cycles)


class Keywords(Component):
    """Has a signal called as each keyword."""

    x: In(1)
    y: Out(1)

    def elaborate(self, platform):
        m = Module()
        value = self.x
        for word in sorted(KEYWORDS):
            kept = Signal(name=word)
            m.d.sync += kept.eq(value)
            value = ~kept
        m.d.comb += self.y.eq(value)
        return m


def test_no_name_is_a_keyword(tmp_path):
    text = emit(Keywords(), "probe").verilog
    assert not KEYWORDS & set(re.findall(r"^  reg  ?(\w+)", text, re.MULTILINE))
    (tmp_path / "probe.v").write_text(text)
    subprocess.run(["iverilog", "-g2012", "-t", "null", "probe.v"], cwd=tmp_path, check=True)


def test_shared_modules_stand_once():
    verilog = emit(Mixed(), "top").verilog
    assert sorted(re.findall(r"^module (\w+)", verilog, re.M)) == [
        "top", "top_cell", "top_mixed", "top_row", "top_row_2",
    ]  # fmt: skip
    assert verilog.count("top_row_2 row_") == 2


class Made(Component):
    """Does nothing."""

    def __init__(self, *values):
        super().__init__({"x": In(1)})

    def elaborate(self, platform):
        return Module()


def test_what_made_a_module_stands_above_it():
    """Equal items in a row once, parts of configurations by their names, classes too."""
    config = RowConfig(sizes=(4, 4, 4, 2), cell=Made)
    text = emit(Made(config, (1, 2), (3,)), "made").verilog
    assert "// Parameters: sizes=(4,) * 3 + (2,), cell=Made, (1, 2), (3,).\n" in text


@pytest.mark.parametrize("dataflow", ["ws", "os"])
def test_large_arrays_stay_small(dataflow):
    config = SystolicConfig(rows=32, cols=64, dataflow=dataflow)
    verilog = emit(SystolicArray(config), "systolic").verilog
    assert len(verilog) < 110_000
    assert max(len(module.splitlines()) for module in verilog.split("endmodule")) < 1400


def test_yosys_of_the_host_is_not_used(monkeypatch, tmp_path):
    fake = tmp_path / "yosys"
    fake.write_text("#!/bin/sh\nexit 1\n")
    fake.chmod(0o755)
    expected = emit(Mixed(), "top").verilog
    monkeypatch.setenv("PATH", f"{tmp_path}:/usr/bin:/bin")
    monkeypatch.setenv("AMARANTH_USE_YOSYS", "system")
    assert emit(Mixed(), "top").verilog == expected


def test_stream_names_and_padding():
    top = top_of(Mixed())
    top._MustUse__used = top.inner._MustUse__used = True
    ports = {"__".join(path): member.shape for path, member, _ in top.signature.flatten(top)}
    assert ports["s_axis_i_tdata"] == 16
    assert set(ports) == {
        *(f"s_axis_i_{name}" for name in ("tdata", "tlast", "tvalid", "tready")),
        *(f"m_axis_o_{name}" for name in ("tdata", "tvalid", "tready")),
        "count",
    }


def test_page_shows_what_is_emitted():
    config = configure("engine", preset="tiny")
    page = Path("docs/verilog.md").read_text().partition("```verilog\n")[2].partition("```")[0]
    assert len(page) > 1000
    assert page in emit(load(UNITS["engine"].component)(config), "engine").verilog
