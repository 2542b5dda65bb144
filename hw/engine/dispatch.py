"""Command reception: collect, check, order and hand over."""

from amaranth.hdl import Cat, Module, Mux, Signal, unsigned
from amaranth.lib import data, stream
from amaranth.lib.wiring import In, Out

from ..lib.component import Component
from .commands import COMMANDS
from .config import EngineConfig
from .position import field

__all__ = ["Dispatcher", "command_layout", "parameter_layout", "word_beat"]

word_beat = data.StructLayout({"data": 32, "last": 1})


def command_layout(name: str) -> data.ArrayLayout:
    """Words of command ``name`` as an array."""
    return data.ArrayLayout(32, COMMANDS[name].words)


def parameter_layout(config: EngineConfig) -> data.StructLayout:
    """Requantisation parameters of one channel."""
    return data.StructLayout(
        {"mult": 16, "shift": 6, "bias": data.ArrayLayout(unsigned(32), config.bias_words)}
    )


def _bounds(config: EngineConfig) -> dict[str, tuple[int, int]]:
    """Least and greatest legal value of the fields of a GEMM that have more than flags' bits."""
    top = 0xFFFF
    bounds = {
        "w_base": (0, config.weight_depth - 1),
        "p_base": (0, config.param_depth - 1),
        "tile_rows": (1, config.tile_rows_max),
        "last_rows": (1, config.tile_rows_max),
        "n_last": (1, config.datapath.cols),
    }
    loops = ("n_tiles", "k_chunks", "k_rows", "m_tiles", "pool")
    bounds |= dict.fromkeys((*loops, *(f"m{i}_count" for i in range(5))), (1, top))
    lanes = (f.name for f in COMMANDS["GEMM"].fields if f.name.endswith("_lane"))
    return bounds | dict.fromkeys(lanes, (0, config.datapath.act_lanes - 1))


def _limits(config: EngineConfig) -> dict[tuple[str, int], list]:
    """For each command and word: what is true when a field is bad.

    Each is a function of the word, the sum of its halves, and all words of the command.
    """

    def outside(field, first, last):
        def bad(w, total, ws):
            value = w[field.lsb : field.lsb + field.width]
            # Of a power of two, only the bits above it matter.
            power = last & (last + 1) == 0
            above = value[last.bit_length() :].any() if power else value > last
            reachable = last < (1 << len(value)) - 1
            return Cat([value < first] * (first > 0), [above] * reachable).any()

        return bad

    def span(depth):
        return lambda w, total, ws: (w[16:] == 0) | (total > depth)

    limits = {
        ("LOAD_X", 1): [span(config.act_depth)],
        ("LOAD_W", 1): [span(config.weight_depth)],
        ("PARAM", 1): [span(config.param_depth)],
    }
    for name, (first, last) in _bounds(config).items():
        of = COMMANDS["GEMM"].field(name)
        limits.setdefault(("GEMM", of.word), []).append(outside(of, first, last))
    bits, is_signed = config.datapath.x_bits, config.datapath.x_signed

    def beyond(lsb):
        """Say of a half of the word whether it is more than a result can be."""
        def bad(w, total, ws):
            above = w[lsb + bits - is_signed : lsb + 16]
            return above.any() & ~above.all() if is_signed else above.any()

        return bad

    def crossed(w, total, ws):
        low, high = w[:bits], w[16 : 16 + bits]
        return low.as_signed() > high.as_signed() if is_signed else low > high

    wide = bits == 16
    limits["GEMM", 20] += [] if wide else [beyond(16)]
    limits["GEMM", 21] = [crossed] if wide else [beyond(0), beyond(16), crossed]
    limits["GEMM", 7].append(lambda w, total, ws: w[:16] > field(ws, "GEMM", "tile_rows"))
    return limits


def _used(config: EngineConfig, index: int) -> int:
    """Return which bits of word ``index`` any unit looks at in a good command."""
    widths = {("GEMM", name): last.bit_length() for name, (_, last) in _bounds(config).items()}
    depths = {
        "LOAD_X": config.act_depth, "LOAD_W": config.weight_depth, "PARAM": config.param_depth,
    }
    for command, depth in depths.items():
        widths |= {(command, name): depth.bit_length() for name in ("base", "count")}
    bits = {
        1 << field.lsb + bit
        for command in COMMANDS.values() for field in command.fields if field.word == index
        for bit in range(widths.get((command.name, field.name), field.width))
    }  # fmt: skip
    return sum(bits)


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
    load_x : Out(stream.Signature(command_layout("LOAD_X")))
        To the X loader.
    load_w : Out(stream.Signature(command_layout("LOAD_W")))
        To the W loader.
    gemm_acts : Out(stream.Signature(command_layout("GEMM")))
        To the activation reader.
    gemm_weights : Out(stream.Signature(command_layout("GEMM")))
        To the weight reader.
    gemm_drain : Out(stream.Signature(command_layout("GEMM")))
        To the drain.
    param_row : Out(16)
        Row of the parameter being written.
    param_lane : Out(8)
        Lane of the parameter being written.
    param : Out(parameter_layout(config))
        Parameter to write.
    param_write : Out(1)
        Writes the parameter.
    done : In(5)
        One pulse per finished command: X load, W load, activation reads, weight reads, drain.
    errors : Out(3)
        Pulses: unknown opcode, wrong length, field out of range.
    busy : Out(1)
        A command is being received or is unfinished.

    Latency
        A command of n words is handed over n + 5 cycles after its first word, unless it waits.
    Throughput
        One word a cycle; seven cycles between commands.
    Numerics
        None.
    Reference
        Decoupled access and execute, as in VTA and Gemmini; waits by counting, so that a command
        can only wait for earlier ones and never for ever.
    """

    def __init__(self, config: EngineConfig):
        self._config = config
        gemm = stream.Signature(command_layout("GEMM"))
        super().__init__(
            {
                "cmd": In(stream.Signature(word_beat)),
                "load_x": Out(stream.Signature(command_layout("LOAD_X"))),
                "load_w": Out(stream.Signature(command_layout("LOAD_W"))),
                "gemm_acts": Out(gemm),
                "gemm_weights": Out(gemm),
                "gemm_drain": Out(gemm),
                "param_row": Out(16),
                "param_lane": Out(8),
                "param": Out(parameter_layout(config)),
                "param_write": Out(1),
                "done": In(5),
                "errors": Out(3),
                "busy": Out(1),
            }
        )

    def elaborate(self, platform):
        m = Module()
        words = Signal(data.ArrayLayout(32, COMMANDS["GEMM"].words), reset_less=True)
        # The place of the next word, one-hot: a decoder would stand before every word's registers.
        place = Signal(COMMANDS["GEMM"].words, init=1)
        # Of unknown opcodes nothing is kept but that they are.
        opcode = Signal(range(1 + max(c.opcode for c in COMMANDS.values())), reset_less=True)
        bad_field = Signal()
        waits_met = self._elaborate_waits(m, words)
        pending = Signal(5)
        parameters = COMMANDS["PARAM"].opcode

        # Body of PARAM: row, lane, word of the channel, rows left.
        lanes = range(self._config.drain_lanes)
        rows = self._config.param_depth
        self._place = tuple(
            Signal(shape, name=name, reset_less=True)
            for name, shape in (
                ("row", range(rows)), ("lane", lanes), ("part", 2), ("left", range(rows + 1))
            )
        )
        self._last_row = Signal(name="last_row", reset_less=True)
        self._last_lane = Signal(name="last_lane", reset_less=True)
        self._last_part = Signal(name="last_part", reset_less=True)
        self._record = Signal(parameter_layout(self._config), name="record", reset_less=True)
        m.d.comb += self.param.eq(self._record)
        m.d.sync += [self.param_write.eq(0), place.eq(1)]
        self._elaborate_checks(m, opcode, place, words, bad_field)
        inconsistent = self._inconsistent(m, opcode, words)
        self._elaborate_offers(m, words, pending)
        settle = Signal(2, reset_less=True)
        # What was found of the first word, a cycle after it.
        first_word = begun, unknown, alone = (
            Signal(name="begun"),
            Signal(name="unknown", reset_less=True),
            Signal(name="alone", reset_less=True),
        )
        m.d.sync += begun.eq(0)
        with m.If(begun):
            m.d.comb += [self.errors[0].eq(unknown), self.errors[1].eq(alone & ~unknown)]
        with m.FSM() as fsm:
            with m.State("Collect"):
                m.d.comb += self.cmd.ready.eq(1)
                m.d.sync += settle.eq(0b11)
                following = Mux(self.cmd.payload.last, 1, place << 1)
                m.d.sync += place.eq(Mux(self.cmd.valid, following, place))
                with m.If(self.cmd.valid):
                    self._elaborate_collect(m, place, opcode, first_word)
            with m.State("Discard"):
                m.d.comb += self.cmd.ready.eq(1)
                with m.If(self.cmd.valid & self.cmd.payload.last):
                    m.next = "Collect"
            with m.State("Settle"):
                m.d.sync += settle.eq(settle >> 1)
                with m.If(~settle[0]):
                    m.next = "Check"
            with m.State("Check"):
                m.next = "Wait"
                with m.If(bad_field | inconsistent):
                    m.d.comb += self.errors[2].eq(1)
                    m.next = "Collect"
                    with m.If(opcode == parameters):
                        m.next = "Discard"
            with m.State("Wait"):
                units = ("LOAD_X", "LOAD_W", "GEMM", "GEMM", "GEMM")
                mine = Cat(opcode == COMMANDS[name].opcode for name in units)
                m.d.sync += pending.eq(Mux(waits_met, mine, 0))
                with m.If(waits_met):
                    m.next = "Push"
                    with m.If(opcode == parameters):
                        m.next = "Parameters"
            with m.State("Push"):
                with m.If(~pending.any()):
                    m.next = "Collect"
            with m.State("Parameters"):
                self._elaborate_parameters(m)
        with m.If(~fsm.ongoing("Parameters")):
            self._begin_parameters(m, words)
        m.d.comb += self.busy.eq(
            ~fsm.ongoing("Collect") | ~place[0] | self.cmd.valid | self._unfinished
        )
        return m

    def _elaborate_collect(self, m, place, opcode, first_word):
        """Take a word; after the last one go on to check them, or drop a packet of wrong length."""
        begun, unknown, alone = first_word
        word, last = self.cmd.payload.data, self.cmd.payload.last
        longest = max(c.words for c in COMMANDS.values())
        at_last = Signal(reset_less=True)
        goes_on = Signal(reset_less=True)
        with m.If(place[0]):
            short = [c.opcode for c in COMMANDS.values() if c.words == 2]
            # Only PARAM goes on after its last fixed word.
            m.d.sync += [
                opcode.eq(word[:8]),
                unknown.eq(~Cat(word[:8] == c.opcode for c in COMMANDS.values()).any()),
                goes_on.eq(word[:8] == COMMANDS["PARAM"].opcode),
                at_last.eq(Cat(word[:8] == code for code in short).any()),
                begun.eq(1),
                alone.eq(last),
            ]
        with m.Else():
            # A packet has ended before the place where a longer one's last word comes.
            m.d.sync += at_last.eq(Cat(
                place[c.words - 2] & ((opcode == c.opcode) | (c.words == longest))
                for c in COMMANDS.values() if c.words > 2
            ).any())
            with m.If(~unknown & at_last & (goes_on ^ last)):
                m.next = "Settle"
            with m.Else():
                with m.If(~unknown & (at_last | last)):
                    m.d.comb += self.errors[1].eq(1)
                with m.If((unknown | at_last) & ~last):
                    m.next = "Discard"

    def _elaborate_waits(self, m, words):
        """Note which units have unfinished commands; return whether the command's waits are met.

        A unit takes a command only when it has finished the one before, so that no more than one is
        ever unfinished, and whoever allows one waits for nothing.
        """
        unfinished = Signal(5)
        self._starts = Signal(5)
        done = Signal(5)
        m.d.sync += [done.eq(self.done), unfinished.eq(self._starts | (unfinished & ~done))]
        self._unfinished = unfinished.any()
        names = ("wait_x", "wait_w", "wait_g", "wait_g", "wait_s")
        blocked = unfinished & Cat(field(words, "GEMM", name) == 0 for name in names)
        waits_met = Signal(reset_less=True)
        m.d.sync += waits_met.eq(~blocked.any())
        return waits_met

    def _elaborate_checks(self, m, opcode, place, words, bad_field):
        """Set ``bad_field`` four cycles after a word with a field out of range was taken."""
        arrived = Signal(2)
        word = Signal(32, reset_less=True)
        at = Signal.like(place, name="at", init=0, reset_less=True)
        takes = self.cmd.valid & self.cmd.ready
        m.d.sync += [
            arrived.eq(Cat(takes, arrived[0])), word.eq(self.cmd.payload.data), at.eq(place),
        ]
        # Words are written a cycle late: the flip-flops of one lie wherever its readers do. All but
        # the first may be written before they are there, and again when they are.
        for i in range(len(place)):
            here = Signal(name=f"writes_{i}", reset_less=True)
            m.d.sync += here.eq(place[i] if i else takes & place[i])
            with m.If(here):
                m.d.sync += words[i].eq(word & _used(self._config, i))
        held = Signal(32, reset_less=True)
        total = Signal(17, reset_less=True)
        m.d.sync += [held.eq(word), total.eq(word[:16] + word[16:])]
        begins = Signal()
        m.d.sync += begins.eq(arrived[0] & at[0])
        found = []
        for (name, index), checks in _limits(self._config).items():
            # The opcode is known as soon as a second word has come; later words are only a GEMM's.
            here = Signal(name=f"at_{name.lower()}_{index}", reset_less=True)
            others = [c for c in COMMANDS.values() if c.words > index and c.name != name]
            m.d.sync += here.eq(at[index] & ((opcode == COMMANDS[name].opcode) | (not others)))
            for i, bad in enumerate(checks):
                is_bad = Signal(name=f"bad_{name.lower()}_{index}_{i}", reset_less=True)
                m.d.sync += is_bad.eq(arrived[1] & here & bad(held, total, words))
                found.append(is_bad)
        # By now checks of the packet before, which may have been cut short, have all been seen.
        with m.If(begins):
            m.d.sync += bad_field.eq(0)
        with m.Elif(Cat(found).any()):
            m.d.sync += bad_field.eq(1)

    def _inconsistent(self, m, opcode, words):
        """Return whether a GEMM combines flags that exclude each other; track kept sums."""
        kept = Signal()
        accumulate, keep, raw, store = (
            field(words, "GEMM", name) for name in ("accumulate", "keep", "raw", "store")
        )
        kept_rows = Signal(range(self._config.tile_rows_max + 1), reset_less=True)
        # The words that these are in come long before the last.
        single = Signal(reset_less=True)
        pools = Signal(reset_less=True)
        more = Signal(reset_less=True)
        last_rows = field(words, "GEMM", "last_rows")
        m.d.sync += [
            more.eq(last_rows > kept_rows),
            single.eq(Cat(field(words, "GEMM", n) == 1 for n in ("m_tiles", "n_tiles")).all()),
            pools.eq(field(words, "GEMM", "pool") != 1),
        ]
        self._keeps = [kept.eq(keep), kept_rows.eq(last_rows)]
        inconsistent = Signal(reset_less=True)
        m.d.sync += inconsistent.eq(
            (opcode == COMMANDS["GEMM"].opcode)
            & (((accumulate | keep) & ~single) | (accumulate != kept)
               | (accumulate & more) | (raw & (pools | store)))
        )
        return inconsistent

    def _elaborate_offers(self, m, words, pending):
        """Offer the command to each unit that it is pending for."""
        targets = (self.load_x, self.load_w, self.gemm_acts, self.gemm_weights, self.gemm_drain)
        for i, target in enumerate(targets):
            m.d.comb += target.valid.eq(pending[i])
            for j in range(len(target.payload)):
                m.d.comb += target.payload[j].eq(words[j])
            m.d.comb += self._starts[i].eq(pending[i] & target.ready)
            with m.If(target.ready):
                m.d.sync += pending[i].eq(0)
        with m.If(pending[2]):
            m.d.sync += self._keeps

    def _begin_parameters(self, m, words):
        """Go to the first word of the body of PARAM."""
        row, lane, part, left = self._place
        m.d.sync += [
            row.eq(field(words, "PARAM", "base")),
            left.eq(field(words, "PARAM", "count")),
            lane.eq(0),
            part.eq(0),
            self._last_row.eq(field(words, "PARAM", "count") == 1),
            self._last_lane.eq(self._config.drain_lanes == 1),
            self._last_part.eq(0),
        ]

    def _elaborate_parameters(self, m):
        """Receive the body of PARAM and write it lane by lane."""
        config = self._config
        row, lane, part, left = self._place
        record = self._record
        m.d.comb += self.cmd.ready.eq(1)
        m.d.sync += [self.param_row.eq(row), self.param_lane.eq(lane)]
        with m.If(self.cmd.valid):
            # The words shift in, so that the first one is where it belongs when the last one comes.
            first, following = record.bias[0], [*list(record.bias)[1:], self.cmd.payload.data]
            m.d.sync += [record.mult.eq(first[:16]), record.shift.eq(first[16:22])]
            m.d.sync += [bias.eq(word) for bias, word in zip(record.bias, following, strict=True)]
            last_row, last_lane, last_part = self._last_row, self._last_lane, self._last_part
            m.d.sync += [part.eq(part + 1), last_part.eq(part == config.bias_words - 1)]
            with m.If(last_part):
                m.d.sync += [self.param_write.eq(1), part.eq(0), lane.eq(lane + 1)]
                m.d.sync += last_lane.eq(lane == config.drain_lanes - 2)
                with m.If(last_lane):
                    m.d.sync += [lane.eq(0), row.eq(row + 1), left.eq(left - 1)]
                    m.d.sync += [last_row.eq(left == 2), last_lane.eq(config.drain_lanes == 1)]
            ends = last_row & last_lane & last_part
            with m.If(self.cmd.payload.last != ends):
                m.d.comb += self.errors[1].eq(1)
                m.next = "Discard"
            with m.If(self.cmd.payload.last):
                m.next = "Collect"
