"""The fields of the command that is being received, each in a register of its own."""

from typing import Any

from amaranth.hdl import Cat, Module, Signal
from amaranth.lib import data
from amaranth.lib.data import View
from amaranth.lib.wiring import In, Out

from ...lib.component import Component
from ..act_reader import ActReader
from ..address import step_write
from ..commands import COMMANDS
from ..config import EngineConfig
from ..fields import field_bits
from ..output.store import StoreAddress
from ..position import Position, step_within

__all__ = ["CommandRegisters", "command_fields", "shared_name"]

_STEPS = {"act_steps": ActReader.STEPS, "store_steps": StoreAddress.STEPS}


def command_fields(config: EngineConfig) -> data.StructLayout:
    """Return the fields that units get of any command, and flags ``NAME_once``: the field is 1.

    Fields of different commands in the same bits have one register, called after the GEMM's.
    """
    fields: dict[str, int] = {}
    for command in ("LOAD_X", "GEMM"):
        for field in COMMANDS[command].fields:
            name = shared_name(command, field.name)
            bits = field_bits(config, command, field.name)
            if not field.name.endswith(("_vector", "_lane")) and field.name != "m0_count":
                fields[name] = max(bits, fields.get(name, 0))
    for command in ("LOAD_W", "PARAM"):
        for name in ("base", "count"):
            fields[name] = max(fields[name], field_bits(config, command, name))
    once = ("count", "n_tiles", "k_chunks", "k_rows", "tile_rows", "m_tiles", "last_rows",
            "pool", *(f"m{i}_count" for i in range(1, 5)))  # fmt: skip
    return data.StructLayout(fields | {f"{name}_once": 1 for name in once})


def shared_name(command: str, name: str) -> str:
    """Return the name of the register that holds a field of a command."""
    field = COMMANDS[command].field(name)
    if command != "GEMM" and not name.startswith("wait_"):
        for other in COMMANDS["GEMM"].fields:
            taken = other.name.endswith(("_vector", "_lane"))
            if (other.word, other.lsb) == (field.word, field.lsb) and not taken:
                return other.name
    return name


class CommandRegisters(Component):
    """Takes the words of a command apart: fields into registers, steps on to those who keep them.

    Parameters
    ----------
    config : EngineConfig
        See there for ranges.

    Members
    -------
    take : In(1)
        A word comes.
    data : In(32)
        The word.
    place : In(23)
        Its place in the command, one-hot; may be there without ``take``, but for the first.
    bank : In(1)
        Bank for steps of the command.
    fields : Out(command_fields(config))
        The fields, 2 cycles after their words, and whether they are 1, 3 cycles after.
    act_steps : Out(step_write(act_lanes))
        A step for the activation reader.
    store_steps : Out(step_write(act_lanes))
        A step for the output stage.
    arrived : Out(1)
        A word has come the cycle before.
    word : Out(32)
        That word.
    word_place : Out(23)
        Its place.

    Latency
        2 cycles, 3 for flags and steps.
    Throughput
        One word a cycle.
    """

    take: Signal
    data: Signal
    place: Signal
    bank: Signal
    fields: View
    act_steps: View
    store_steps: View
    arrived: Signal
    word: Signal
    word_place: Signal

    def __init__(self, config: EngineConfig):
        self._config = config
        places = COMMANDS["GEMM"].words
        steps = step_write(config.datapath.act_lanes)
        super().__init__(
            {
                "take": In(1),
                "data": In(32),
                "place": In(places),
                "bank": In(1),
                "fields": Out(command_fields(config)),
                "act_steps": Out(steps),
                "store_steps": Out(steps),
                "arrived": Out(1),
                "word": Out(32),
                "word_place": Out(places),
            }
        )

    def elaborate(self, platform):
        m = Module()
        word, place = self.word, self.word_place
        m.d.sync += [
            self.arrived.eq(self.take),
            word.eq(self.data),
            place.eq(self.place),
        ]
        # Words are written a cycle late: the flip-flops of one lie wherever its readers do. All but
        # the first may be written before they are there, and again when they are.
        writes = [Signal(name=f"writes_{i}", reset_less=True) for i in range(len(place))]
        for i, write in enumerate(writes):
            m.d.sync += write.eq(self.place[i] if i else self.take & self.place[i])
        is_one = Signal(2, reset_less=True)
        place_held = Signal(len(place), reset_less=True)
        m.d.sync += [
            is_one.eq(Cat(word[:16] == 1, word[16:] == 1)),
            place_held.eq(place),
        ]
        registers = {}
        for command in ("GEMM", "LOAD_X"):
            for field in COMMANDS[command].fields:
                name = shared_name(command, field.name)
                if name in self.fields.shape().members and name not in registers:
                    registers[name] = register = Signal.like(
                        self.fields[name], name=name, reset_less=True
                    )
                    with m.If(writes[field.word]):
                        m.d.sync += register.eq(word[field.lsb :])
                    if f"{name}_once" in self.fields.shape().members:
                        once = Signal(name=f"{name}_once", reset_less=True)
                        registers[f"{name}_once"] = once
                        with m.If(place_held[field.word]):
                            m.d.sync += once.eq(is_one[field.lsb // 16])
        m.d.comb += [self.fields[name].eq(register) for name, register in registers.items()]
        self._elaborate_steps(m)
        return m

    def _elaborate_steps(self, m):
        """Pass on the words that are steps."""
        step: Any = Signal(self.act_steps.step.shape(), name="step", reset_less=True)
        position = Position(Cat(self.word[:24]))  # type: ignore[call-arg]  # the layout is known
        parts = step_within(position, self._config.datapath.act_lanes)
        m.d.sync += [step[name].eq(part) for name, part in parts.items()]
        for port, names in _STEPS.items():
            words = [COMMANDS["GEMM"].field(f"{name}_vector").word for name in names]
            entry = Signal(3, name=f"{port}_entry", reset_less=True)
            write = Signal(name=f"{port}_write")
            bits = [
                Cat(self.word_place[w] for i, w in enumerate(words) if i >> bit & 1).any()
                for bit in range(3)
            ]
            m.d.sync += [
                entry.eq(Cat(bits)),
                write.eq(self.arrived & Cat(self.word_place[w] for w in words).any()),
            ]
            steps = getattr(self, port)
            m.d.comb += [
                steps.step.eq(step),
                steps.entry.eq(entry),
                steps.write.eq(write),
                steps.bank.eq(self.bank),
            ]
