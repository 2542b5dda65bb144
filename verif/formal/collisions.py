"""Nobody needs what a memory gives in the cycle of a write to the same word, if it says so.

Synthesis believes every memory with the attribute ``no_rw_check``, see `Emitted`. Those that read
only when somebody asks are found in a design by themselves; of those that always read, the `Buffer`
s, a spec for each user says when a word is needed.
"""

import re
from collections.abc import Callable, Iterator
from dataclasses import dataclass, replace
from functools import partial
from pathlib import Path
from typing import Any, ClassVar

from amaranth.hdl import Cat, Const, Module, Mux, Signal, Value
from amaranth.lib import data, stream, wiring
from amaranth.lib.wiring import In, Out

from ...gen.verilog import emit
from ...hw.arith.delay import delay
from ...hw.attention.config import RotaryConfig
from ...hw.attention.rotary import Rotary
from ...hw.engine.accumulator import Accumulator, banks_layout
from ...hw.engine.act_reader import ActReader
from ...hw.engine.buffer import Buffer
from ...hw.engine.command.dispatcher import Dispatcher
from ...hw.engine.commands import COMMANDS
from ...hw.engine.config import EngineConfig
from ...hw.engine.datapath import ROW_DISTANCE
from ...hw.engine.fields import word_beat
from ...hw.engine.loader import Loader, data_beat, loader_configs
from ...hw.engine.output.stage import OutputStage
from ...hw.engine.weight_reader import WeightReader
from ...hw.kv.config import KvConfig
from ...hw.kv.core import KvCore
from ...hw.kv.memory import BlockMemory
from ...hw.kv.memory_config import MemoryConfig
from ...hw.packed.chain_config import PixelShiftConfig
from ...hw.packed.chain_shift import PixelShift
from ...hw.systolic.config import SystolicConfig
from .properties import pass_on
from .runner import Proof, Task, prove_rtlil
from .statements import Assert, Assume

__all__ = [
    "BanksSpec",
    "CollisionTask",
    "OrderSpec",
    "SlotsSpec",
    "WordsSpec",
    "assert_apart",
    "tasks",
]

_MODULE = re.compile(r"^module .*?^end$", re.MULTILINE | re.DOTALL)
_PORT = re.compile(r"^  cell \$mem(rd|wr)_v2 .*?^  end$", re.MULTILINE | re.DOTALL)


def assert_apart(rtlil: str) -> tuple[str, int]:
    """Assert that no read that may give X meets a write; also return how many such reads there are.

    Reads without an enable are left out, as they read whether anybody needs it or not.
    """
    count = 0

    def module(match: re.Match[str]) -> str:
        nonlocal count
        ports = [(kind[1], _fields(kind[0])) for kind in _PORT.finditer(match[0])]
        added = []
        for kind, read in ports:
            if kind != "rd" or "1" not in read["COLLISION_X_MASK"][2:] or read["EN"] == "1'1":
                continue
            for other, write in ports:
                if other == "wr" and write["MEMID"] == read["MEMID"]:
                    added.append(_assertion(f"apart_{count}", read, write))
                    count += 1
        return match[0].removesuffix("end") + "".join(added) + "end"

    return _MODULE.sub(module, rtlil), count


def _fields(cell: str) -> dict[str, str]:
    """Return parameters and connections of a cell."""
    return dict(re.findall(r"^    (?:parameter|connect) \\(\S+) (.*)$", cell, re.MULTILINE))


def _assertion(name: str, read: dict[str, str], write: dict[str, str]) -> str:
    """Return cells that assert that both ports are not enabled at one address."""
    widths = read["ABITS"], write["ABITS"]
    enables = int(write["WIDTH"])
    return f"""
  wire \\{name}_same
  wire \\{name}_writes
  wire \\{name}_reads
  wire \\{name}
  cell $eq ${name}_1
    parameter \\A_SIGNED 0
    parameter \\B_SIGNED 0
    parameter \\A_WIDTH {widths[0]}
    parameter \\B_WIDTH {widths[1]}
    parameter \\Y_WIDTH 1
    connect \\A {read["ADDR"]}
    connect \\B {write["ADDR"]}
    connect \\Y \\{name}_same
  end
  cell $reduce_or ${name}_2
    parameter \\A_SIGNED 0
    parameter \\A_WIDTH {enables}
    parameter \\Y_WIDTH 1
    connect \\A {write["EN"]}
    connect \\Y \\{name}_writes
  end
  cell $reduce_and ${name}_3
    parameter \\A_SIGNED 0
    parameter \\A_WIDTH 3
    parameter \\Y_WIDTH 1
    connect \\A {{ {read["EN"]} \\{name}_writes \\{name}_same }}
    connect \\Y \\{name}_reads
  end
  cell $logic_not ${name}_4
    parameter \\A_SIGNED 0
    parameter \\A_WIDTH 1
    parameter \\Y_WIDTH 1
    connect \\A \\{name}_reads
    connect \\Y \\{name}
  end
  cell $assert ${name}_5
    connect \\A \\{name}
    connect \\EN 1'1
  end
"""


@dataclass(frozen=True)
class CollisionTask:
    """No enabled read of a component's memories meets a write to its word.

    Attributes
    ----------
    name : str
        Of the proof.
    component : callable
        Makes the component; its inputs are free.
    """

    name: str
    component: Callable[[], wiring.Component]

    def run(self, folder: Path) -> Proof:
        """Prove it below ``folder``."""
        text, reads = assert_apart(emit(self.component(), "unit").rtlil)
        if not reads:
            return Proof(self.name, "reach", 1, False, "there is no such memory", 0, None)
        return prove_rtlil(text, "unit", 40, "reach", folder=folder / self.name, name=self.name)


def _apart(m: Module, needed: Value, buffer: Buffer) -> None:
    """Assert that a buffer does not write the word that it reads while it is needed."""
    meets = buffer.write & (buffer.write_at == buffer.read_at)
    m.d.comb += Assert(~(needed & meets), "what is needed is not being written")


class _FreeSpec(wiring.Component):
    """A component whose inputs are free, and what is claimed of it.

    Parameters
    ----------
    component : wiring.Component
        Not yet elaborated.

    Members
    -------
    The component's.
    """

    def __init__(self, component: wiring.Component):
        self.unit: Any = component  # the stubs do not say that it elaborates
        super().__init__(dict(component.signature.members))

    def elaborate(self, platform):
        m = Module()
        m.submodules.unit = self.unit
        pass_on(m, self, self.unit)
        self.claim(m, self.unit)
        return m

    def claim(self, m: Module, unit: Any) -> None:
        """Add what is claimed."""
        raise NotImplementedError


class WordsSpec(_FreeSpec):
    """A `BlockMemory` reads for requests that do not write."""

    def claim(self, m: Module, unit: BlockMemory) -> None:
        """Add the claims."""
        _apart(m, unit.outlet.start, unit.buffer)


class SlotsSpec(_FreeSpec):
    """Nobody looks up a token or a score of the cache controller while it is being written."""

    def claim(self, m: Module, unit: KvCore) -> None:
        """Add the claims."""
        store = unit.store
        checks = Mux(unit.scorer.busy, unit.scorer.looks, unit.placer.looks)
        for needed, writes, read_at, write_at in (
            (unit.reader.ask, store.token_write, store.find_at, store.token_at),
            (checks, store.token_write, store.check_at, store.token_at),
            (unit.scorer.looks, store.new_write, store.score_at, store.new_at),
        ):
            m.d.comb += Assert(~(needed & writes & (read_at == write_at)))


class BanksSpec(_FreeSpec):
    """Neither the next partial sum of a row nor the output stage reads what is being written.

    Assumed, as datapath and output stage see to it: partial sums of one row keep their distance,
    and nobody asks for rows of a bank to which some still came within three cycles.
    """

    def claim(self, m: Module, unit: Accumulator) -> None:
        """Add the claims."""
        psums = unit.psums
        beat = psums.payload
        row, bank = Signal.like(unit.read_row), Signal()
        with m.If(psums.valid):
            m.d.sync += row.eq(Mux(beat.end, 0, row + 1))
            with m.If(beat.last & beat.end):
                m.d.sync += bank.eq(~bank)
        now = Cat(psums.valid, bank, row)
        for cycles in range(ROW_DISTANCE):
            before = delay(m, now, cycles, f"psum_{cycles}", reset=True) if cycles else now
            if cycles:
                m.d.comb += Assume(~psums.valid | ~before[0] | (before[1:] != now[1:]))
            m.d.comb += Assume(~unit.read_valid | ~before[0] | (before[1] != unit.read_bank))
        for number, buffer in enumerate(unit.banks):
            asked = unit.read_valid & (unit.read_bank == number)
            adds = psums.valid & (bank == number) & ~beat.first
            _apart(m, delay(m, asked, 1, f"asked_{number}", reset=True) | adds, buffer)


class OrderSpec(wiring.Component):
    """A unit reads nothing from a buffer while commands that it has waited for still write to it.

    The dispatcher with a loader and a reader, or with the output stage, whose parameters it writes
    itself. Assumed: every command waits for all before it. Programs may wait for less, where they
    write and read at different places; and what a command stores while it still reads is their
    affair.

    Parameters
    ----------
    config : EngineConfig
        The engine.
    part : str
        Whose words: ``"acts"``, ``"weights"`` or ``"parameters"``.

    Members
    -------
    cmd : In(stream.Signature(word_beat))
        Commands.
    beats : In(stream.Signature(data_beat(width)))
        What is loaded.
    ready, done : In(5)
        Of units that are left out.
    go : In(3)
        Of what is around.
    sums : In(banks_layout(config))
        Of the accumulators.
    read_data : In(data.ArrayLayout(x_bits, act_lanes))
        Of the buffer.
    seen : Out(1)
        Keeps what the units give.
    """

    cmd: stream.Interface
    beats: stream.Interface
    ready: Signal
    done: Signal
    go: Signal
    sums: data.View
    read_data: data.View
    seen: Signal

    # Cycles from the issue of a read to the buffer's, less those from a write's to the buffer's.
    LAG: ClassVar = {"acts": 7, "weights": 0, "parameters": 2}

    def __init__(self, config: EngineConfig, part: str):
        d = config.datapath
        self._config, self._part = config, part
        self._width = d.weight_beat_bits if part == "weights" else d.x_bits * d.act_lanes
        super().__init__(
            {
                "cmd": In(stream.Signature(word_beat)),
                "beats": In(stream.Signature(data_beat(self._width))),
                "ready": In(5),
                "done": In(5),
                "go": In(3),
                "sums": In(banks_layout(config)),
                "read_data": In(data.ArrayLayout(d.x_bits, d.act_lanes)),
                "seen": Out(1),
            }
        )

    def elaborate(self, platform):
        m = Module()
        config, part, go = self._config, self._part, self.go
        m.submodules.dispatcher = dispatcher = Dispatcher(config)
        wiring.connect(m, wiring.flipped(self.cmd), dispatcher.cmd)
        begins = Signal(init=1)
        with m.If(self.cmd.valid & self.cmd.ready):
            m.d.sync += begins.eq(self.cmd.payload.last)
        word = self.cmd.payload.data
        waits = [f for f in COMMANDS["GEMM"].fields if f.name.startswith("wait_")]
        waits_for_all = ~Cat(word[f.lsb : f.lsb + f.width] for f in waits).any()
        m.d.comb += Assume(~self.cmd.valid | ~begins | waits_for_all)
        units = {}
        if part == "parameters":
            units[4] = unit = OutputStage(config)
            m.d.comb += [
                unit.full.eq(go[0]), unit.y.ready.eq(go[1]), unit.sums.eq(self.sums),
                *(getattr(unit, n).eq(getattr(dispatcher, n))
                  for n in ("param_row", "param_lane", "param", "param_write")),
            ]  # fmt: skip
            issue, writes = unit.read_valid, dispatcher.param_write
        else:
            acts = part == "acts"
            load = loader_configs(config)["LOAD_X" if acts else "LOAD_W"]
            units[1 - acts] = loader = Loader(load)
            unit: Any = ActReader(config) if acts else WeightReader(config)
            units[3 - acts] = unit
            wiring.connect(m, wiring.flipped(self.beats), loader.beats)
            m.d.comb += loader.write_ready.eq(go[0] if acts else 1)
            issue, writes = unit.issue, loader.write
            if acts:
                m.d.comb += [
                    unit.acts.ready.eq(go[1]),
                    unit.bank_freed.eq(go[2]),
                    unit.read_data.eq(self.read_data),
                ]
            else:
                m.d.comb += [
                    unit.weights.ready.eq(go[1]),
                    unit.write.eq(loader.write),
                    unit.write_at.eq(loader.write_at),
                    unit.write_data.eq(loader.write_data),
                ]
        self._connect(m, dispatcher, units)
        lag = self.LAG[part]
        needed = delay(m, issue, lag, "needed", reset=True) if lag else issue
        m.d.comb += Assert(~(needed & writes), "what is needed is not being written")
        return m

    def _connect(self, m, dispatcher, units):
        """Give the units their commands; the others decide freely when they take and finish."""
        names = ("load_x", "load_w", "gemm_acts", "gemm_weights", "gemm_output")
        given = [value for _, value in _outputs(dispatcher)]
        for number, name in enumerate(names):
            offer = getattr(dispatcher, name)
            if number in units:
                m.submodules[name] = unit = units[number]
                wiring.connect(m, offer, unit.cmd)
                m.d.comb += dispatcher.done[number].eq(unit.done)
                for port, steps in (("gemm_acts", "act_steps"), ("gemm_output", "store_steps")):
                    if name == port:
                        m.d.comb += unit.steps.eq(getattr(dispatcher, steps))
                given += [value for _, value in _outputs(unit)]
            else:
                m.d.comb += [
                    offer.ready.eq(self.ready[number]),
                    dispatcher.done[number].eq(self.done[number]),
                ]
        m.d.comb += self.seen.eq(Cat(given).xor())


def _outputs(unit: wiring.Component) -> Iterator[tuple[tuple, Value]]:
    for path, member, value in unit.signature.flatten(unit):
        if member.flow == Out and not isinstance(Value.cast(value), Const):
            yield path, Value.cast(value)


def tasks(unit: str) -> list[Task | CollisionTask]:
    """Return what is to be proved of a unit's memories."""
    engine = EngineConfig(
        datapath=SystolicConfig(rows=2, cols=2),
        act_depth=16,
        weight_depth=16,
        acc_depth=4,
        param_depth=4,
        drain_lanes=1,
    )
    narrow = replace(engine, datapath=SystolicConfig(rows=2, cols=1, x_bits=2, w_bits=2, k_max=6))
    slots = KvConfig(heads=2, slots=3, score_bits=2, weight_bits=1, position_bits=4)
    words = MemoryConfig(words=4, data_bits=8, outstanding=4)
    shift = PixelShiftConfig(codes=tuple(range(9)), height=3, width=4, x_bits=1)
    found: dict[str, list[Task | CollisionTask]] = {
        "attention": [CollisionTask("apart_heads", partial(Rotary, RotaryConfig(head_size=32)))],
        "packed_chain": [CollisionTask("apart_pixels", partial(PixelShift, shift))],
        "kv": [Task("apart_slots", lambda: SlotsSpec(KvCore(slots)), 40, "reach")],
        "kv_storage": [Task("apart_words", lambda: WordsSpec(BlockMemory(words)), 12, "reach")],
        "engine": [
            Task("apart_banks", lambda: BanksSpec(Accumulator(narrow)), 12, "reach"),
            *(
                Task(f"apart_{part}", partial(OrderSpec, engine, part), 60, "reach")
                for part in OrderSpec.LAG
            ),
        ],
    }
    return found.get(unit, [])
