"""Command reception: collect, check, order and hand over."""

from amaranth.hdl import Cat, Module, Mux, Signal
from amaranth.lib import data, stream
from amaranth.lib.wiring import In, Out

from ...lib.component import Component
from ..address import step_write
from ..commands import COMMANDS
from ..config import EngineConfig
from ..fields import (
    gemm_acts_layout,
    gemm_output_layout,
    gemm_weights_layout,
    parameter_layout,
    word_beat,
)
from ..loader import load_layout, loader_configs
from .checks import FieldChecks
from .parameters import ParameterReceiver
from .registers import CommandRegisters, shared_name

__all__ = ["Dispatcher"]

_COMMAND_OF = {
    "load_x": "LOAD_X", "load_w": "LOAD_W", "gemm_acts": "GEMM", "gemm_weights": "GEMM",
    "gemm_output": "GEMM",
}  # fmt: skip
"""Units, in the order of their flags, and what they take."""
_PARAM = COMMANDS["PARAM"].opcode
_GEMM = COMMANDS["GEMM"].opcode


class Dispatcher(Component):
    """Collects command packets, drops malformed ones and hands the others to the units in order.

    A command waits here until no more earlier commands are unfinished than its ``wait_*`` fields
    allow, so commands behind it wait too. A packet with an unknown opcode, a wrong length or a
    field out of range raises an error flag and has no other effect; only a ``PARAM`` whose body has
    the wrong length has by then written the parameters that it did carry.

    Parameters
    ----------
    config : EngineConfig
        See there for ranges.

    Members
    -------
    cmd : In(stream.Signature(word_beat))
        Command packets.
    load_x : Out(stream.Signature(load_layout(loader_configs(config)["LOAD_X"])))
        To the X loader.
    load_w : Out(stream.Signature(load_layout(loader_configs(config)["LOAD_W"])))
        To the W loader.
    gemm_acts : Out(stream.Signature(gemm_acts_layout(config)))
        To the activation reader.
    gemm_weights : Out(stream.Signature(gemm_weights_layout(config)))
        To the weight reader.
    gemm_output : Out(stream.Signature(gemm_output_layout(config)))
        To the output stage.
    act_steps : Out(step_write(act_lanes))
        Steps of a GEMM for the activation reader, as they are received.
    store_steps : Out(step_write(act_lanes))
        Steps of a GEMM for the output stage.
    param_row : Out(range(param_depth))
        Row of the parameter being written.
    param_lane : Out(range(drain_lanes))
        Lane of the parameter being written.
    param : Out(parameter_layout(config))
        Parameter to write.
    param_write : Out(1)
        Writes the parameter.
    done : In(5)
        One pulse per finished command: X load, W load, activation reads, weight reads, results.
    errors : Out(3)
        Pulses: unknown opcode, wrong length, field out of range.
    busy : Out(1)
        A command is being received or is unfinished.

    Latency
        A command of n words is handed over n + 5 cycles after its first word, unless it waits.
    Throughput
        One word a cycle; seven cycles between commands.
    Reference
        Decoupled access and execute, as in VTA and Gemmini; waits by counting, so that a command
        can only wait for earlier ones and never for ever.
    """

    cmd: stream.Interface
    load_x: stream.Interface
    load_w: stream.Interface
    gemm_acts: stream.Interface
    gemm_weights: stream.Interface
    gemm_output: stream.Interface
    act_steps: data.View
    store_steps: data.View
    param_row: Signal
    param_lane: Signal
    param: data.View
    param_write: Signal
    done: Signal
    errors: Signal
    busy: Signal

    def __init__(self, config: EngineConfig):
        self._config = config
        loads = {name: load_layout(part) for name, part in loader_configs(config).items()}
        steps = step_write(config.datapath.act_lanes)
        super().__init__(
            {
                "cmd": In(stream.Signature(word_beat)),
                "load_x": Out(stream.Signature(loads["LOAD_X"])),
                "load_w": Out(stream.Signature(loads["LOAD_W"])),
                "gemm_acts": Out(stream.Signature(gemm_acts_layout(config))),
                "gemm_weights": Out(stream.Signature(gemm_weights_layout(config))),
                "gemm_output": Out(stream.Signature(gemm_output_layout(config))),
                "act_steps": Out(steps),
                "store_steps": Out(steps),
                "param_row": Out(range(config.param_depth)),
                "param_lane": Out(range(config.drain_lanes)),
                "param": Out(parameter_layout(config)),
                "param_write": Out(1),
                "done": In(5),
                "errors": Out(3),
                "busy": Out(1),
            }
        )

    def elaborate(self, platform):
        m = Module()
        # The place of the next word, one-hot: a decoder would stand before every word's registers.
        place = Signal(COMMANDS["GEMM"].words, init=1)
        # Of unknown opcodes nothing is kept but that they are.
        opcode = Signal(range(1 + max(c.opcode for c in COMMANDS.values())), reset_less=True)
        m.submodules.registers = registers = CommandRegisters(self._config)
        m.submodules.checks = checks = FieldChecks(self._config)
        m.submodules.parameters = parameters = ParameterReceiver(self._config)
        take = self.cmd.valid & self.cmd.ready
        word, last, fields = self.cmd.payload.data, self.cmd.payload.last, registers.fields
        m.d.comb += [
            registers.take.eq(take),
            registers.data.eq(word),
            registers.place.eq(place),
            checks.arrived.eq(registers.arrived),
            checks.word.eq(registers.word),
            checks.place.eq(registers.word_place),
            checks.opcode.eq(opcode),
            checks.tile_rows.eq(fields.tile_rows),
            parameters.base.eq(fields.base),
            parameters.count.eq(fields.count),
            parameters.count_once.eq(fields.count_once),
            parameters.data.eq(word),
            parameters.take.eq(take & parameters.receiving),
            self.param_row.eq(parameters.row),
            self.param_lane.eq(parameters.lane),
            self.param.eq(parameters.param),
            self.param_write.eq(parameters.write),
        ]
        for port in ("act_steps", "store_steps"):
            m.d.comb += getattr(self, port).eq(getattr(registers, port))
        pending = Signal(5)
        unfinished, waits_met = self._elaborate_offers(m, fields, pending)
        inconsistent = self._inconsistent(m, fields, opcode, pending[2])
        settle = Signal(2, reset_less=True)
        m.d.sync += place.eq(1)
        with m.FSM() as fsm:
            with m.State("Collect"):
                m.d.comb += self.cmd.ready.eq(1)
                m.d.sync += settle.eq(0b11)
                m.d.sync += place.eq(Mux(self.cmd.valid, Mux(last, 1, place << 1), place))
                self._elaborate_collect(m, place, opcode)
            with m.State("Discard"):
                m.d.comb += self.cmd.ready.eq(1)
                with m.If(self.cmd.valid & last):
                    m.next = "Collect"
            with m.State("Settle"):
                m.d.sync += settle.eq(settle >> 1)
                with m.If(~settle[0]):
                    m.next = "Check"
            with m.State("Check"):
                m.next = "Wait"
                with m.If(checks.bad | inconsistent):
                    m.d.comb += self.errors[2].eq(1)
                    m.next = "Collect"
                    with m.If(opcode == _PARAM):
                        m.next = "Discard"
            with m.State("Wait"):
                mine = Cat(opcode == COMMANDS[name].opcode for name in _COMMAND_OF.values())
                m.d.sync += pending.eq(Mux(waits_met, mine, 0))
                with m.If(waits_met):
                    m.d.sync += registers.bank.eq(registers.bank ^ (opcode == _GEMM))
                    m.next = "Push"
                    with m.If(opcode == _PARAM):
                        m.next = "Parameters"
            with m.State("Push"):
                with m.If(~pending.any()):
                    m.next = "Collect"
            with m.State("Parameters"):
                m.d.comb += [self.cmd.ready.eq(1), parameters.receiving.eq(1)]
                with m.If(self.cmd.valid & (last != parameters.ends)):
                    m.d.comb += self.errors[1].eq(1)
                    m.next = "Discard"
                with m.If(self.cmd.valid & last):
                    m.next = "Collect"
        m.d.comb += self.busy.eq(~fsm.ongoing("Collect") | ~place[0] | self.cmd.valid | unfinished)
        return m

    def _elaborate_collect(self, m, place, opcode):
        """Take a word; after the last one go on to check them, or drop a packet of wrong length."""
        word, last = self.cmd.payload.data, self.cmd.payload.last
        longest = max(c.words for c in COMMANDS.values())
        # What is wrong with the first word, a cycle after it.
        begun, unknown, alone = (
            Signal(name="begun"),
            Signal(name="unknown", reset_less=True),
            Signal(name="alone", reset_less=True),
        )
        m.d.sync += begun.eq(self.cmd.valid & place[0])
        at_last = Signal(reset_less=True)
        goes_on = Signal(reset_less=True)
        with m.If(begun):
            m.d.comb += [self.errors[0].eq(unknown), self.errors[1].eq(alone & ~unknown)]
        with m.If(self.cmd.valid & place[0]):
            short = [c.opcode for c in COMMANDS.values() if c.words == 2]
            # Only PARAM goes on after its last fixed word.
            m.d.sync += [
                opcode.eq(word[:8]),
                unknown.eq(~Cat(word[:8] == c.opcode for c in COMMANDS.values()).any()),
                goes_on.eq(word[:8] == _PARAM),
                at_last.eq(Cat(word[:8] == code for code in short).any()),
                alone.eq(last),
            ]
        with m.Elif(self.cmd.valid):
            # A packet has ended before the place where a longer one's last word comes.
            m.d.sync += at_last.eq(
                Cat(
                    place[c.words - 2] & ((opcode == c.opcode) | (c.words == longest))
                    for c in COMMANDS.values()
                    if c.words > 2
                ).any()
            )
            with m.If(~unknown & at_last & (goes_on ^ last)):
                m.next = "Settle"
            with m.Else():
                with m.If(~unknown & (at_last | last)):
                    m.d.comb += self.errors[1].eq(1)
                with m.If((unknown | at_last) & ~last):
                    m.next = "Discard"

    def _elaborate_offers(self, m, fields, pending):
        """Offer the command to each unit that it is pending for.

        Return whether any unit is at work, and whether the command's waits are met. A unit takes a
        command only when it has finished the one before, so that no more than one is ever
        unfinished, and whoever allows one waits for nothing.
        """
        starts = Signal(5)
        unfinished = Signal(5)
        done = Signal(5)
        m.d.sync += [done.eq(self.done), unfinished.eq(starts | (unfinished & ~done))]
        for i, (name, command) in enumerate(_COMMAND_OF.items()):
            target = getattr(self, name)
            m.d.comb += [target.valid.eq(pending[i]), starts[i].eq(pending[i] & target.ready)]
            for field in target.payload.shape().members:
                once = field.endswith("_once")
                source = field if once else shared_name(command, field)
                m.d.comb += target.payload[field].eq(fields[source])
            with m.If(target.ready):
                m.d.sync += pending[i].eq(0)
        names = ("wait_x", "wait_w", "wait_g", "wait_g", "wait_s")
        blocked = unfinished & Cat(fields[name] == 0 for name in names)
        waits_met = Signal(reset_less=True)
        m.d.sync += waits_met.eq(~blocked.any())
        return unfinished.any(), waits_met

    def _inconsistent(self, m, fields, opcode, starts):
        """Return whether a GEMM combines flags that exclude each other; track kept sums."""
        kept = Signal()
        kept_rows = Signal.like(fields.last_rows, name="kept_rows", reset_less=True)
        # The words that these are in come long before the last.
        single = Signal(reset_less=True)
        more = Signal(reset_less=True)
        m.d.sync += [
            more.eq(fields.last_rows > kept_rows),
            single.eq(fields.m_tiles_once & fields.n_tiles_once),
        ]
        with m.If(starts):
            m.d.sync += [kept.eq(fields.keep), kept_rows.eq(fields.last_rows)]
        inconsistent = Signal(reset_less=True)
        accumulate, raw = fields.accumulate, fields.raw
        m.d.sync += inconsistent.eq(
            (opcode == _GEMM)
            & (
                ((accumulate | fields.keep) & ~single)
                | (accumulate != kept)
                | (accumulate & more)
                | (raw & (~fields.pool_once | fields.store))
            )
        )
        return inconsistent
