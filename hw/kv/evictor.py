"""The evictor: a running minimum beside a stream of scores."""

from amaranth.hdl import Cat, Module, Signal
from amaranth.lib.wiring import In, Out

from ..lib.component import Component
from .config import KvConfig

__all__ = ["Evictor"]


class Evictor(Component):
    """Finds the slot with the lowest score among those that may be evicted, as they come.

    One comparison and one register however many slots there are: the result stands in the cycle
    after the last score.

    Parameters
    ----------
    config : KvConfig
        See there for ranges.

    Members
    -------
    valid : In(1)
        A slot comes.
    first : In(1)
        It is the first; what came before is forgotten.
    kept : In(1)
        It may not be evicted.
    score : In(score_bits)
        Its score.
    slot : In(slot_bits)
        Its number.
    victim : Out(slot_bits)
        The slot with the lowest score so far; of equal ones the first.
    found : Out(1)
        There is one that may be evicted.

    Latency
        1 cycle.
    Throughput
        One slot a cycle.
    Numerics
        Unsigned comparison.
    Reference
        Kelle, MICRO 2025, section 5: the systolic evictor, with its column of registers folded into
        one because scores come from a memory one after another.
    """

    valid: Signal
    first: Signal
    kept: Signal
    score: Signal
    slot: Signal
    victim: Signal
    found: Signal

    def __init__(self, config: KvConfig):
        self.least = Signal(config.score_bits, reset_less=True)
        super().__init__(
            {
                "valid": In(1),
                "first": In(1),
                "kept": In(1),
                "score": In(config.score_bits),
                "slot": In(config.slot_bits),
                "victim": Out(config.slot_bits),
                "found": Out(1),
            }
        )

    def elaborate(self, platform):
        m = Module()
        least = self.least
        # A slot that may not go is above every score.
        lower = Cat(self.score, self.kept) < Cat(least, ~self.found)
        with m.If(self.valid & (self.first | lower)):
            m.d.sync += [
                least.eq(self.score),
                self.victim.eq(self.slot),
                self.found.eq(~self.kept),
            ]
        return m
