"""Proofs of stream rules: sound units pass, flawed ones fail with a trace, mistakes are told."""

import re

import pytest
from amaranth.back import rtlil
from amaranth.hdl import Cat, Fragment, Module, Signal, signed
from amaranth.lib import stream, wiring
from amaranth.lib.memory import Memory
from amaranth.lib.wiring import In, Out

from tilewright.gen.errors import ToolError
from tilewright.gen.verilog import emit
from tilewright.hw.config import ConfigError
from tilewright.verif.formal.paths import combinational_paths, waiting_streams
from tilewright.verif.formal.properties import (
    StreamSpec,
    bounded_response,
    moved,
    stream_assume,
    streams_of,
    transfers,
)
from tilewright.verif.formal.runner import Task, prove
from tilewright.verif.formal.statements import Assert, Cover
from tilewright.verif.tests.units import BEAT, Summing, emitted


class SummingSpec(wiring.Component):
    """No result without the last beat of a packet, and none is late."""

    def __init__(self, flaw: str = ""):
        self._flaw = flaw
        super().__init__({"i": In(stream.Signature(BEAT)), "o": Out(stream.Signature(signed(16)))})

    def elaborate(self, platform):
        m = Module()
        m.submodules.unit = unit = Summing(self._flaw)
        wiring.connect(m, wiring.flipped(self.i), unit.i)
        wiring.connect(m, unit.o, wiring.flipped(self.o))
        stream_assume(m, self.i)
        given = transfers(m, self.o)
        ends = transfers(m, EndsOf(self.i))
        m.d.comb += [Assert((ends - given)[:8] <= 1), Cover(given == 3)]
        m.d.comb += Assert(self.o.valid == (ends != given))
        bounded_response(m, ends != given, self.o.valid, 0)
        return m


class EndsOf:
    """The beats of a stream that end a packet, as far as `transfers` looks at it."""

    def __init__(self, port):
        self.valid = port.valid & port.payload.last
        self.ready = port.ready


@pytest.mark.parametrize("mode", ["bmc", "prove", "cover", "reach"])
def test_a_sound_unit_keeps_the_rules(tmp_path, mode):
    proof = prove(StreamSpec(Summing(), covers=2), 6, mode, folder=tmp_path)
    assert proof.passed, proof
    assert proof.trace is None


@pytest.mark.parametrize("flaw", ["takes_back", "changes", "overruns"])
@pytest.mark.parametrize("mode", ["bmc", "prove", "reach"])
def test_broken_units_fail(tmp_path, flaw, mode):
    proof = prove(StreamSpec(Summing(flaw)), 6, mode, folder=tmp_path)
    assert not proof.passed
    assert proof.reason.startswith("assertion at properties.py line")
    assert proof.reason.endswith("fails in cycle 3"), "a reset comes first"
    assert proof.trace.stat().st_size > 100


@pytest.mark.parametrize("mode", ["bmc", "prove", "cover", "reach"])
def test_own_properties_beside_the_rules(tmp_path, mode):
    proof = Task("count", SummingSpec, 6, mode).run(tmp_path)
    assert proof.passed, proof


@pytest.mark.parametrize("flaw", ["peeks", "adds_wrong"])
def test_flaws_outside_of_the_properties_pass(tmp_path, flaw):
    assert prove(StreamSpec(Summing(flaw)), 4, folder=tmp_path).passed


@pytest.mark.parametrize("flaw", ["waits_for_ready", "overruns"])
def test_own_properties_fail(tmp_path, flaw):
    proof = prove(SummingSpec(flaw), 6, folder=tmp_path)
    assert "assertion at" in proof.reason


def test_a_cover_that_is_out_of_reach_fails(tmp_path):
    proof = prove(StreamSpec(Summing(), covers=9), 4, "cover", folder=tmp_path)
    assert not proof.passed
    assert proof.reason.startswith("not reached in 4 cycles: properties.py line")


class Empty(wiring.Component):
    """Asserts, and covers nothing."""

    i: In(1)

    def elaborate(self, platform):
        m = Module()
        m.d.comb += Assert(self.i | ~self.i)
        return m


def test_a_proof_with_covers_sees_beats(tmp_path):
    """It is no proof where a beat comes too late, or where nothing is covered."""
    proof = Task("late", lambda: StreamSpec(Summing(), covers=9), 1, covers=4).run(tmp_path)
    assert proof.reason.startswith("not reached in 4 cycles: properties.py line")
    proof = Task("seen", lambda: StreamSpec(Summing(), covers=4), 3, covers=30).run(tmp_path)
    assert proof.passed
    assert proof.depth > 3 + 4
    proof = Task("empty", Empty, 1, covers=4).run(tmp_path)
    assert (proof.passed, proof.reason) == (False, "there is nothing to cover")


def test_every_stream_is_covered():
    """Also within an interface; one that is always ready has no beat that waits."""
    beat, fast = stream.Signature(1), stream.Signature(1, always_ready=True)
    unit = wiring.Component({"i": In(beat), "bus": Out(wiring.Signature({"o": Out(fast)}))})
    unit.elaborate = lambda platform: Module()
    text = rtlil.convert(Fragment.get(StreamSpec(unit), "formal"), name="spec", ports={})
    covers = re.findall(r'parameter \\FORMAT "([^"]+ moves?)"', text)
    assert covers == ["i: beats move", "i: a beat that waited moves", "bus.o: beats move"]


class Stuck(wiring.Component):
    """Passes beats on until the third one, or for ever."""

    i: In(stream.Signature(4))
    o: Out(stream.Signature(4))

    def __init__(self, last):
        self._last = last
        super().__init__()

    def elaborate(self, platform):
        m = Module()
        count = Signal(2)
        wiring.connect(m, wiring.flipped(self.i), wiring.flipped(self.o))
        with m.If((count == 3) & self._last):
            m.d.comb += [self.i.ready.eq(0), self.o.valid.eq(0)]
        with m.If(self.o.valid & self.o.ready):
            m.d.sync += count.eq(count + 1)
        return m


@pytest.mark.parametrize("last", [False, True])
def test_what_hangs_is_found(last, tmp_path):
    task = Task("hangs", lambda: StreamSpec(Stuck(last), bound=3), 9, covers=20)
    proof = task.run(tmp_path)
    assert proof.passed == (not last)
    assert proof.reason.startswith("assertion at properties.py" if last else "")


class Remembering(wiring.Component):
    """Takes back what it offers if a register, or a memory, does not begin as after power-on."""

    i: In(stream.Signature(4))
    o: Out(stream.Signature(4))

    def __init__(self, where):
        self._where = where
        super().__init__()

    def elaborate(self, platform):
        m = Module()
        m.submodules.store = store = Memory(shape=1, depth=2, init=[])
        word = store.read_port(domain="comb")
        kept = Signal(reset_less=True)
        fresh = Signal()
        remembers = {"register": kept, "memory": word.data, "nothing": fresh}[self._where]
        write = store.write_port()
        m.d.comb += write.en.eq(self.i.payload[0])
        m.d.sync += [
            self.o.valid.eq(self.i.valid),
            kept.eq(kept & self.i.payload[0]),
            fresh.eq(fresh & self.i.payload[0]),
        ]
        m.d.comb += self.i.ready.eq(~self.o.valid | self.o.ready)
        with m.If(self.o.valid & ~self.o.ready):
            m.d.sync += self.o.valid.eq(~remembers)
        with m.Else():
            m.d.sync += self.o.payload.eq(self.i.payload)
        return m


@pytest.mark.parametrize("where", ["register", "memory", "nothing"])
def test_what_outlives_a_reset_is_found(where, tmp_path):
    """A register without a reset and a memory begin with anything, others with their values."""
    flaw = StreamSpec(Remembering(where), bound=2)
    assert prove(StreamSpec(Remembering(where), bound=2), 8, folder=tmp_path / "cold").passed
    proof = prove(flaw, 8, folder=tmp_path / "warm", warm=True)
    assert proof.passed == (where == "nothing")


def test_induction_that_does_not_close_is_told_apart(tmp_path):
    class Counter(wiring.Component):
        count: Out(8)

        def elaborate(self, platform):
            m = Module()
            with m.If(self.count < 5):
                m.d.sync += self.count.eq(self.count + 1)
            with m.If(self.count > 100):
                m.d.sync += self.count.eq(self.count + 1)
            m.d.comb += Assert(self.count != 200)
            return m

    proof = prove(Counter(), 4, "prove", folder=tmp_path)
    assert proof.reason == "induction over 4 cycles does not close"
    assert prove(Counter(), 4, "bmc", folder=tmp_path).passed
    assert prove(Counter(), 4, "reach", folder=tmp_path).passed


def test_streams_are_found_at_any_depth():
    inner = stream.Signature(4)
    signature = wiring.Signature(
        {"a": In(inner), "bus": In(wiring.Signature({"b": Out(inner), "c": In(inner)})), "n": In(1)}
    )
    assert dict(streams_of(signature)) == {("a",): In, ("bus", "b"): In, ("bus", "c"): Out}


def test_moved_needs_both_sides():
    port = stream.Signature(4, always_ready=True).create()
    assert "valid" in repr(moved(port))


def test_wrong_arguments(tmp_path):
    with pytest.raises(ConfigError, match="mode must be .*, cover, reach, not 'live'"):
        prove(Summing(), 3, "live", folder=tmp_path)
    with pytest.raises(ConfigError, match="depth must be at least 1, not 0"):
        prove(Summing(), 0, folder=tmp_path)


def test_missing_tools_are_one_sentence(tmp_path, monkeypatch):
    monkeypatch.setenv("PATH", "")
    monkeypatch.setattr("sys.executable", str(tmp_path / "python"))
    with pytest.raises(ToolError, match="^yowasp-sby is missing; install it with: pip install"):
        prove(Summing(), 3, folder=tmp_path / "proof")


def test_paths_without_a_register_are_found(tmp_path):
    sound = emitted().rtlil
    assert combinational_paths(sound, "summing") == {("m_axis_o_tready", "s_axis_i_tready")}
    assert waiting_streams(sound, "summing") == []
    assert waiting_streams(emitted("waits_for_ready").rtlil, "summing") == ["m_axis_o"]


def test_paths_are_followed_bit_by_bit():
    class Crossing(wiring.Component):
        a: In(4)
        b: In(4)
        address: In(2)
        low: Out(4)
        high: Out(4)
        sum: Out(5)
        read: Out(4)
        late: Out(4)

        def elaborate(self, platform):
            m = Module()
            m.submodules.memory = memory = Memory(shape=4, depth=4, init=[1, 2, 3])
            at_once, later = memory.read_port(domain="comb"), memory.read_port()
            both = Signal(8)
            m.d.comb += [
                both.eq(Cat(self.a, self.b) ^ 0x5A),
                Cat(self.low, self.high).eq(both),
                self.sum.eq(self.a + self.b),
                at_once.addr.eq(self.address),
                later.addr.eq(self.address),
                self.read.eq(at_once.data),
                self.late.eq(later.data),
            ]
            return m

    assert combinational_paths(emit(Crossing(), "crossing").rtlil, "crossing") == {
        ("a", "low"), ("b", "high"), ("a", "sum"), ("b", "sum"), ("address", "read")
    }  # fmt: skip
