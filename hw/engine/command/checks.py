"""Whether the fields of a command are in their range."""

from amaranth.hdl import Cat, Module, Signal
from amaranth.lib.wiring import In, Out

from ...arith.compare import above
from ...lib.component import Component
from ..commands import COMMANDS
from ..config import EngineConfig
from ..fields import field_bits, field_bounds

__all__ = ["FieldChecks"]


def _limits(config: EngineConfig) -> dict[tuple[str, int], list]:
    """For each command and word: what is true when a field is bad.

    Each is a function of the word, the sum of its halves, and the field ``tile_rows``.
    """

    def outside(field, first, last):
        def bad(w, total, tile_rows):
            value = w[field.lsb : field.lsb + field.width]
            below = [value == 0] * (first > 0)
            return Cat(below, above(value, last)).any()

        return bad

    def span(depth):
        return lambda w, total, tile_rows: (w[16:] == 0) | above(total, depth)

    limits = {
        ("LOAD_X", 1): [span(config.act_depth)],
        ("LOAD_W", 1): [span(config.weight_depth)],
        ("PARAM", 1): [span(config.param_depth)],
    }
    for name, (first, last) in field_bounds(config).items():
        of = COMMANDS["GEMM"].field(name)
        limits.setdefault(("GEMM", of.word), []).append(outside(of, first, last))
    bits, is_signed = config.datapath.x_bits, config.datapath.x_signed

    def beyond(lsb):
        """Say of a half of the word whether it is more than a result can be."""

        def bad(w, total, tile_rows):
            above = w[lsb + bits - is_signed : lsb + 16]
            return above.any() & ~above.all() if is_signed else above.any()

        return bad

    def crossed(w, total, tile_rows):
        low, high = w[:bits], w[16 : 16 + bits]
        return low.as_signed() > high.as_signed() if is_signed else low > high

    wide = bits == 16
    limits["GEMM", 20] += [] if wide else [beyond(16)]
    limits["GEMM", 21] = [crossed] if wide else [beyond(0), beyond(16), crossed]
    limits["GEMM", 7].append(lambda w, total, tile_rows: w[: len(tile_rows)] > tile_rows)
    return limits


class FieldChecks(Component):
    """Notes that a word of a command had a field out of its range.

    Parameters
    ----------
    config : EngineConfig
        See there for ranges.

    Members
    -------
    arrived : In(1)
        A word has come.
    word : In(32)
        The word.
    place : In(23)
        Its place in the command, one-hot.
    opcode : In(3)
        Opcode of the command, from its second word on.
    tile_rows : In(field_bits(config, "GEMM", "tile_rows"))
        That field of a GEMM, once it has come.
    bad : Out(1)
        A field of the command is out of its range; 3 cycles after its word.

    Latency
        3 cycles.
    Throughput
        One word a cycle.
    """

    arrived: Signal
    word: Signal
    place: Signal
    opcode: Signal
    tile_rows: Signal
    bad: Signal

    def __init__(self, config: EngineConfig):
        self._config = config
        super().__init__(
            {
                "arrived": In(1),
                "word": In(32),
                "place": In(COMMANDS["GEMM"].words),
                "opcode": In(3),
                "tile_rows": In(field_bits(config, "GEMM", "tile_rows")),
                "bad": Out(1),
            }
        )

    def elaborate(self, platform):
        m = Module()
        held = Signal(32, reset_less=True)
        total = Signal(17, reset_less=True)
        arrived = Signal()
        begins = Signal()
        m.d.sync += [
            held.eq(self.word),
            total.eq(self.word[:16] + self.word[16:]),
            arrived.eq(self.arrived),
            begins.eq(self.arrived & self.place[0]),
        ]
        found = []
        for (name, index), checks in _limits(self._config).items():
            # The opcode is known as soon as a second word has come; later words are only a GEMM's.
            here = Signal(name=f"at_{name.lower()}_{index}", reset_less=True)
            others = [c for c in COMMANDS.values() if c.words > index and c.name != name]
            is_command = (self.opcode == COMMANDS[name].opcode) | (not others)
            m.d.sync += here.eq(self.place[index] & is_command)
            for i, bad in enumerate(checks):
                is_bad = Signal(name=f"bad_{name.lower()}_{index}_{i}", reset_less=True)
                m.d.sync += is_bad.eq(arrived & here & bad(held, total, self.tile_rows))
                found.append(is_bad)
        # By now checks of the packet before, which may have been cut short, have all been seen.
        with m.If(begins):
            m.d.sync += self.bad.eq(0)
        with m.Elif(Cat(found).any()):
            m.d.sync += self.bad.eq(1)
        return m
