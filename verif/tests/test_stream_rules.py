"""Every stream of every unit keeps the rules, moves and never hangs, and no path leads around."""

import sys

import pytest
from amaranth.hdl import Module, Signal, Value
from amaranth.lib import stream
from amaranth.lib.wiring import In

from tilewright.gen.configuration import configure
from tilewright.gen.registry import UNITS, load
from tilewright.gen.verilog import emit
from tilewright.hw.bus.uart import UartTransmitter
from tilewright.hw.engine.requantise import Requantise
from tilewright.hw.engine.weight_reader import WeightReader
from tilewright.hw.lib.component import Component
from tilewright.hw.systolic.ws_rim import WsRim
from tilewright.verif.formal.engine import tasks
from tilewright.verif.formal.paths import combinational_paths
from tilewright.verif.formal.properties import StreamSpec, moved, pass_on, streams_of
from tilewright.verif.formal.runner import Task
from tilewright.verif.formal.unit import stream_tasks
from tilewright.verif.tests.units import planted

SMALL = ("tiny", "narrow", "default")
"""Presets that take little time, the first that a unit has."""
PROOFS = {
    (unit, task.name): task for unit in UNITS for task in stream_tasks(unit)
    if isinstance(task, Task)
}  # fmt: skip
PROOFS |= {
    ("engine", task.name): task for task in tasks()
    if task.name.startswith(("streams_", "reset_"))
}  # fmt: skip
SLOW = {
    "systolic": "streams_os reset_os",
    "serial": "reset_tiny streams_digits reset_digits",
    "packed": "reset_tiny flow_tiny",
    "packed_chain": "reset_point reset_tiny",
    "nm": "reset_tiny flow_tiny",
    "kv": "streams_small streams_paged",
    "attention": "streams_tiny reset_tiny",
    "engine": (
        "streams_small streams_dispatcher reset_loader streams_act_reader streams_output "
        "streams_uart_receiver streams_uart_transmitter reset_uart_transmitter streams_deframer "
        "reset_deframer reset_framer streams_receiver reset_receiver reset_executor "
        "reset_feeder streams_collector reset_collector streams_replier reset_replier"
    ),
}
"""Proofs that take long, and those of a kind of which others of the unit run."""
QUICK = {(unit, name) for unit, name in PROOFS if name not in SLOW.get(unit, "").split()}
QUICK_FLAWS = {
    ("requantise", "streams_narrow", "o", "takes_back"),
    ("requantise", "streams_narrow", "o", "changes"),
    ("requantise", "streams_narrow", "o", "waits"),
    ("requantise", "streams_narrow", "i", "hangs"),
    ("engine", "streams_framer", "o", "waits"),
    ("engine", "streams_feeder", "x", "changes"),
    ("engine", "streams_weight_reader", "weights", "waits"),
    ("engine", "streams_loader", "beats", "hangs"),
    ("systolic", "flow_tiny", "psums", "loses"),
    ("nm", "streams_tiny", "weights", "hangs"),
}
HARD_RESETS = {"kv", "kv_storage", "term"}
"""Units two of which, side by side, take the solver too long; other proofs reset them."""
MISSED = {
    Requantise: (("requantise", "reset_narrow"), "valid = Signal(config.latency)"),
    WsRim: (("systolic", "reset_tiny"), "opening = Signal(init=1)"),
    WeightReader: (("engine", "reset_weight_reader"), "credit = Signal(init=1)"),
    UartTransmitter: (("engine", "reset_uart_transmitter"), "left = Signal(range(11))"),
}
"""Parts, proofs about them, and registers that need their reset."""


def silenced(spec):
    """Return a spec that need not be elaborated."""
    for made in (spec, *(vars(spec).get(name) for name in ("_component", "_unit", "_fresh"))):
        if made is not None:
            made._MustUse__used = True
    return spec


def slow_but(cases, quick):
    """Return test cases that are slow, but for some."""
    return [
        pytest.param(*case, marks=[] if case in quick else pytest.mark.slow, id="-".join(case))
        for case in cases
    ]


def portable(unit, preset):
    config = configure(unit, preset=preset)
    return config if getattr(config, "fabric", "portable") == "portable" else None


def small(unit):
    return next(preset for preset in SMALL if preset in UNITS[unit].presets)


def component(unit, config):
    return load(UNITS[unit].component)(config)


@pytest.mark.parametrize(("unit", "name"), slow_but(PROOFS, QUICK))
def test_streams_keep_what_they_offer_and_move(unit, name, tmp_path):
    proof = PROOFS[unit, name].run(tmp_path)
    assert proof.passed, proof
    assert proof.mode == "bmc"


@pytest.mark.parametrize("unit", UNITS)
def test_every_stream_of_every_unit_is_seen_to_move(unit):
    """In the proof itself, which looks further than the last of these beats; see `StreamSpec`."""
    component = load(UNITS[unit].component)(configure(unit, preset=small(unit)))
    component._MustUse__used = True
    ports = {path[:-1] for path, _, _ in component.signature.flatten(component)
             if path[-1] == "ready"}  # fmt: skip
    assert ports
    found = [task for (of, name), task in PROOFS.items() if (of, name[:8]) == (unit, "streams_")]
    specs = [silenced(task.spec()) for task in found]
    assert any(ports == {path for path, _ in streams_of(spec.signature)} for spec in specs)
    for task, spec in zip(found, specs, strict=True):
        assert isinstance(spec, StreamSpec)
        assert spec.covers, task.name
        assert task.covers, task.name
        assert task.warm, task.name
        assert task.depth > 2, task.name


def test_every_unit_is_reset_from_any_state_and_hangs_nowhere():
    bounded, again = set(), set()
    for (unit, name), task in PROOFS.items():
        spec = silenced(task.spec())
        bounded |= {unit} if isinstance(spec, StreamSpec) and spec.bound else set()
        again |= {unit} if name.startswith("reset_") else set()
    assert bounded == set(UNITS) - {"attention"}
    assert again == set(UNITS) - HARD_RESETS
    slow = {(unit, name) for unit, names in SLOW.items() for name in names.split()}
    assert slow <= PROOFS.keys()


class Flawed(Component):
    """A unit one of whose streams is at fault, from the first beat that had to wait on.

    Parameters
    ----------
    unit : Component
        The sound one.
    path : str
        The stream.
    flaw : str
        ``"takes_back"``: what waits is offered no more; ``"changes"``: it becomes another beat;
        ``"waits"``: nothing is offered before it would be taken; ``"hangs"``: nothing more is
        taken; ``"loses"``: the first beat, taken or offered, is lost.
    """

    def __init__(self, unit, path, flaw):
        self._unit, self._path, self._flaw = unit, path, flaw
        super().__init__(dict(unit.signature.members))

    def elaborate(self, platform):
        m = Module()
        m.submodules.sound = unit = self._unit
        pass_on(m, self, unit)
        port, sound = getattr(self, self._path), getattr(unit, self._path)
        is_input = self.signature.members[self._path].flow == In
        waited, armed, seen = Signal(), Signal(), Signal()
        m.d.sync += [
            waited.eq(port.valid & ~port.ready),
            armed.eq(armed | (waited & moved(port))),
            seen.eq(seen | moved(port)),
        ]
        if self._flaw == "takes_back":
            m.d.comb += port.valid.eq(sound.valid & ~(waited & armed))
        elif self._flaw == "changes":
            payload = Value.cast(sound.payload)
            m.d.comb += Value.cast(port.payload).eq(payload ^ (waited & armed))
        elif self._flaw == "waits":
            asked = Signal()
            m.d.sync += asked.eq(port.ready | port.valid)
            m.d.comb += [port.valid.eq(sound.valid & asked), sound.ready.eq(port.ready & asked)]
        elif self._flaw == "hangs":
            with m.If(armed):
                m.d.comb += [sound.valid.eq(0), port.ready.eq(0)]
        elif is_input:
            m.d.comb += [sound.valid.eq(port.valid & seen), port.ready.eq(sound.ready | ~seen)]
        else:
            m.d.sync += seen.eq(seen | sound.valid)
            m.d.comb += port.valid.eq(sound.valid & seen)
        return m


def flaws():
    """Yield unit, proof, stream and flaw: each stream of the quick proofs in every way it can."""
    for (unit, name), task in PROOFS.items():
        if (unit, name) not in QUICK or name.startswith("reset_"):
            continue
        spec = silenced(task.spec())
        for path, member in spec.signature.members.items():
            if member.is_port or not isinstance(member.signature, stream.Signature):
                continue
            if name.startswith("flow_"):
                kinds = ("loses",)
            elif member.signature.always_ready:
                continue
            elif member.flow == In:
                kinds = ("hangs",) if spec.bound else ()
            else:
                kinds = ("takes_back", "changes") + ("waits",) * (spec.bound is not None)
            for kind in kinds:
                yield unit, name, path, kind


@pytest.mark.parametrize(("unit", "name", "path", "flaw"), slow_but(flaws(), QUICK_FLAWS))
def test_a_stream_at_fault_is_found(unit, name, path, flaw, monkeypatch, tmp_path):
    honest = StreamSpec.__init__

    def flawed(spec, component, *arguments, **named):
        honest(spec, Flawed(component, path, flaw), *arguments, **named)

    monkeypatch.setattr(StreamSpec, "__init__", flawed)
    proof = PROOFS[unit, name].run(tmp_path)
    assert not proof.passed
    assert "assertion at" in proof.reason


@pytest.mark.parametrize("part", MISSED, ids=lambda part: part.__name__)
def test_a_register_that_a_reset_misses_is_found(part, monkeypatch, tmp_path):
    proof, sound = MISSED[part]
    flawed = planted(sys.modules[part.__module__], sound, sound[:-1] + ", reset_less=True)")
    monkeypatch.setattr(part, "elaborate", getattr(flawed, part.__name__).elaborate)
    proof = PROOFS[proof].run(tmp_path)
    assert not proof.passed
    assert "assertion at reset.py" in proof.reason


@pytest.mark.parametrize(
    ("unit", "preset"), [(unit, preset) for unit, row in UNITS.items() for preset in row.presets]
)
def test_no_logic_leads_from_one_side_to_the_other(unit, preset):
    config = portable(unit, preset)
    if config is None or (unit, preset) == ("engine", "default"):
        config = portable(unit, small(unit))
    assert combinational_paths(emit(component(unit, config), unit).rtlil, unit) == set()
