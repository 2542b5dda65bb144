"""The pager: tokens of many sequences in blocks that sequences may share."""

from amaranth.hdl import Cat, Module, Mux, Signal
from amaranth.lib import data, enum, memory, stream
from amaranth.lib.wiring import In, Out

from ..lib.component import Component
from .pager_config import STATUSES, PagerConfig
from .places import Places

__all__ = ["PageOp", "Pager", "page_beat", "page_command"]

_STATES = ("Fetch", "Length", "Check", "Entry", "Act", "Drop")


class PageOp(enum.Enum, shape=3):
    """Commands."""

    APPEND = 0
    READ = 1
    LIST = 2
    FORK = 3
    FREE = 4


def page_command(config: PagerConfig) -> data.StructLayout:
    """Return a command: about ``sequence``; READ ``position``; FORK to ``other``."""
    return data.StructLayout(
        {
            "op": 3,
            "sequence": config.sequence_bits,
            "other": config.sequence_bits,
            "position": config.logical_bits + config.offset_bits,
        }
    )


def page_beat(config: PagerConfig) -> data.StructLayout:
    """Return an answer: where a token is, and whether its block must be ``copied`` from ``source``.

    ``status`` is an index into `STATUSES`; the fields that mean nothing are 0.
    """
    return data.StructLayout(
        {
            "status": 3,
            "block": config.block_bits,
            "offset": config.offset_bits,
            "copied": 1,
            "source": config.block_bits,
            "last": 1,
        }
    )


class Pager(Component):
    """Maps the tokens of many sequences to blocks, shares blocks, and copies them when written.

    APPEND gives the next token of a sequence its place: in a new block where the last is full, in a
    copy of the last where another sequence shares it. READ looks one token up, LIST all blocks of a
    sequence, oldest first. FORK makes an empty sequence share another's blocks, FREE gives a
    sequence's blocks back. A command that cannot be done changes nothing, and its answer says why.

    Parameters
    ----------
    config : PagerConfig
        See there for ranges.

    Members
    -------
    commands : In(stream.Signature(page_command(config)))
        Commands, done in order.
    answers : Out(stream.Signature(page_beat(config)))
        One for each command; of a LIST one for each block, as a packet.
    free : Out(range(blocks + 1))
        Blocks that no sequence has.

    Latency
        An answer 5 cycles after its command; of LIST, FORK and FREE 2 more for each further block.
    Throughput
        A command every 6 cycles; LIST a block every 2 cycles, which is a token a cycle and more.
    Numerics
        None.
    Reference
        Kwon et al., PagedAttention, SOSP 2023, section 4.3.
    """

    commands: stream.Interface
    answers: stream.Interface
    free: Signal

    def __init__(self, config: PagerConfig):
        self._config = config
        self.places = Places(config.blocks, config.sequences)
        length = range(config.most_tokens + 1)
        self.length = Signal(length)
        self.other = Signal(length)
        self.block = Signal(config.logical_bits)
        self.lengths: memory.Memory = memory.Memory(shape=length, depth=config.sequences, init=[])
        rows = config.sequences * config.table_blocks
        self.table: memory.Memory = memory.Memory(shape=config.block_bits, depth=rows, init=[])
        self.entry = self.table.read_port()
        self.command = Signal(page_command(config))
        # A sequence that has not been used since reset is empty, whatever the memory says.
        self.begun = Signal(config.sequences)
        self.current = {state: Signal(name=f"in_{state.lower()}") for state in _STATES}
        super().__init__(
            {
                "commands": In(stream.Signature(page_command(config))),
                "answers": Out(stream.Signature(page_beat(config))),
                "free": Out(range(config.blocks + 1)),
            }
        )

    def elaborate(self, platform):
        m = Module()
        config, places = self._config, self.places
        m.submodules.places = places
        m.submodules.lengths, m.submodules.table = self.lengths, self.table
        command, begun = self.command, self.begun
        length, other = self.length, self.other
        for sequence, target in ((command.sequence, length), (command.other, other)):
            port = self.lengths.read_port(domain="comb")
            m.d.comb += port.addr.eq(sequence)
            known = begun.bit_select(sequence, 1)
            m.d.sync += target.eq(Mux(known, port.data, 0))
        self._new_length = self.lengths.write_port()
        self._set_length = Signal()
        at = self._new_length.addr
        m.d.comb += [at.eq(command.sequence), self._new_length.en.eq(self._set_length)]
        with m.If(self._set_length):
            m.d.sync += begun.bit_select(at, 1).eq(1)
        self._set_entry = self.table.write_port()
        m.d.comb += [
            self.entry.addr.eq(Cat(self.block, command.sequence)),
            self._set_entry.addr.eq(Cat(self.block, command.sequence)),
            places.at.eq(self.entry.data),
            places.holders.eq(1),
            self.free.eq(places.level + (config.blocks - places.fresh)),
        ]
        answer = Signal(page_beat(config))
        answered = Signal()
        m.d.comb += [self.answers.payload.eq(answer), self.answers.valid.eq(answered)]
        with m.If(self.answers.ready):
            m.d.sync += answered.eq(0)
        self._elaborate_states(m, command, answer, answered)
        return m

    def _answer(self, m, answer, answered, status, **fields):
        """Answer; fields that are not given are 0."""
        fields = {"status": STATUSES.index(status), "last": 1} | fields
        m.d.sync += answered.eq(1)
        m.d.sync += [answer[name].eq(fields.get(name, 0)) for name in answer.shape().members]

    def _elaborate_states(self, m, command, answer, answered):
        """Take a command, look its sequence up, then a block of it, and act."""
        config, length = self._config, self.length
        bits = config.offset_bits
        blocks = Signal(range(config.table_blocks + 1))
        m.d.comb += blocks.eq((length + config.block_tokens - 1) >> bits)
        done = {name: (lambda name=name, **f: self._answer(m, answer, answered, name, **f))
                for name in STATUSES}  # fmt: skip
        with m.FSM() as fsm:
            m.d.comb += [flag.eq(fsm.ongoing(state)) for state, flag in self.current.items()]
            with m.State("Fetch"):
                m.d.comb += self.commands.ready.eq(~answered)
                m.d.sync += command.eq(self.commands.payload)
                with m.If(self.commands.valid & ~answered):
                    m.next = "Length"
            with m.State("Length"):
                m.next = "Check"
            with m.State("Check"):
                fresh = length[:bits] == 0
                walks = (command.op == PageOp.LIST) | (command.op == PageOp.FORK)
                walks |= command.op == PageOp.FREE
                m.d.sync += self.block.eq(
                    Mux(walks, 0, Mux(command.op == PageOp.READ, command.position, length) >> bits)
                )
                with m.If(
                    (command.sequence >= config.sequences)
                    | ((command.op == PageOp.FORK) & (command.other >= config.sequences))
                ):
                    done["bad_sequence"]()
                    m.next = "Fetch"
                with m.Elif(command.op > PageOp.FREE.value):
                    done["bad_command"]()
                    m.next = "Fetch"
                with m.Elif((command.op == PageOp.READ) & (command.position >= length)):
                    done["not_allocated"]()
                    m.next = "Fetch"
                with m.Elif(walks & (length == 0)):
                    done["not_allocated"]()
                    m.next = "Fetch"
                with m.Elif((command.op == PageOp.FORK) & (self.other != 0)):
                    done["in_use"]()
                    m.next = "Fetch"
                with m.Elif((command.op == PageOp.APPEND) & (length == config.most_tokens)):
                    done["too_long"]()
                    m.next = "Fetch"
                with m.Elif((command.op == PageOp.APPEND) & fresh & ~self.places.room):
                    done["out_of_blocks"]()
                    m.next = "Fetch"
                with m.Else():
                    m.next = "Entry"
            with m.State("Entry"):
                m.next = "Act"
            with m.State("Drop"):
                m.d.comb += self.places.drop.eq(1)
                m.next = "Fetch"
            with m.State("Act"):
                with m.If(command.op == PageOp.APPEND):
                    self._elaborate_append(m, done)
                with m.Elif(command.op == PageOp.READ):
                    done["done"](block=self.entry.data, offset=command.position[:bits])
                    m.next = "Fetch"
                with m.Else():
                    self._elaborate_walk(m, command, blocks, done, answered)

    def _elaborate_append(self, m, done):
        """Give a token its place: in a new block, in the last, or in a copy of it."""
        places, length, bits = self.places, self.length, self._config.offset_bits
        fresh, shared = length[:bits] == 0, places.count != 1
        m.next = "Fetch"
        with m.If(~fresh & shared & ~places.room):
            done["out_of_blocks"]()
        with m.Else():
            m.d.comb += [
                self._new_length.data.eq(length + 1),
                self._set_length.eq(1),
                self._set_entry.data.eq(places.place),
            ]
            with m.If(fresh):
                m.d.comb += [places.take.eq(1), self._set_entry.en.eq(1)]
                done["done"](block=places.place)
            with m.Elif(shared):
                # The copy is taken now; the next cycle drops the original.
                m.d.comb += [places.take.eq(1), self._set_entry.en.eq(1)]
                done["done"](block=places.place, offset=length[:bits], copied=1,
                             source=self.entry.data)  # fmt: skip
                m.next = "Drop"
            with m.Else():
                done["done"](block=self.entry.data, offset=length[:bits])

    def _elaborate_walk(self, m, command, blocks, done, answered):
        """List, share or give back one block, and go on to the next."""
        places = self.places
        last = self.block + 1 == blocks
        lists, forks = command.op == PageOp.LIST, command.op == PageOp.FORK
        with m.If(~lists | ~answered):
            m.d.sync += self.block.eq(self.block + 1)
            m.d.comb += [
                places.hold.eq(forks),
                places.drop.eq(command.op == PageOp.FREE),
                self._set_entry.data.eq(self.entry.data),
                self._set_entry.en.eq(forks),
            ]
            m.next = "Entry"
            with m.If(forks):
                m.d.comb += self._set_entry.addr.eq(Cat(self.block, command.other))
            with m.If(lists):
                done["done"](block=self.entry.data, last=last)
            with m.If(last):
                m.next = "Fetch"
                with m.If(~lists):
                    m.d.comb += [
                        self._set_length.eq(1),
                        self._new_length.data.eq(Mux(forks, self.length, 0)),
                    ]
                    with m.If(forks):
                        m.d.comb += self._new_length.addr.eq(command.other)
                    done["done"]()
