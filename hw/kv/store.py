"""The memories of all slots: who is in them, and with which score."""

from amaranth.hdl import Module, Signal
from amaranth.lib import data, wiring
from amaranth.lib.wiring import In, Out

from ..engine.buffer import Buffer
from ..lib.component import Component
from .config import KvConfig
from .words import token_entry

__all__ = ["STORE_LATENCY", "SlotStore", "StoreBus", "StoreInterface"]

STORE_LATENCY = 2
"""Cycles from an address to what is there."""


class StoreInterface(wiring.PureInterface):
    """The signals of a `StoreBus`."""

    find_at: Signal
    found: data.View
    check_at: Signal
    checked: data.View
    token_write: Signal
    token_at: Signal
    token: data.View
    score_at: Signal
    score: Signal
    new_write: Signal
    new_at: Signal
    new_score: Signal


class StoreBus(wiring.Signature):
    """The ports of the slot memories, seen from their user; a row is a slot of a head.

    Parameters
    ----------
    config : KvConfig
        Of the controller.

    Operation
    ---------
    A row's token can be looked up twice in a cycle, by ``find_at`` and ``check_at``, and its score
    once; ``found``, ``checked`` and ``score`` follow 2 cycles later. A token and a score can be
    written in a cycle. A read in the cycle of a write to the same row gives any value.
    """

    def __init__(self, config: KvConfig):
        row, entry = range(config.rows), token_entry(config)
        super().__init__(
            {
                "find_at": Out(row),
                "found": In(entry),
                "check_at": Out(row),
                "checked": In(entry),
                "token_write": Out(1),
                "token_at": Out(row),
                "token": Out(entry),
                "score_at": Out(row),
                "score": In(config.score_bits),
                "new_write": Out(1),
                "new_at": Out(row),
                "new_score": Out(config.score_bits),
            }
        )

    def create(self, *, path=None, src_loc_at=0) -> StoreInterface:
        """Return the bus as the member of a component."""
        return StoreInterface(self, path=path, src_loc_at=1 + src_loc_at)


class SlotStore(Component):
    """Block RAM behind a `StoreBus`; the tokens are there twice, one copy for each lookup.

    Parameters
    ----------
    config : KvConfig
        See there for ranges.

    Members
    -------
    bus : In(StoreBus(config))
        All ports.

    Latency
        2 cycles.
    Throughput
        Three reads and two writes a cycle.
    Numerics
        None.
    Reference
        None.
    """

    bus: StoreInterface

    def __init__(self, config: KvConfig):
        self._config = config
        super().__init__({"bus": In(StoreBus(config))})

    def elaborate(self, platform):
        m = Module()
        config, bus = self._config, self.bus
        width = token_entry(config).size
        for name, at, result in (
            ("tokens", bus.find_at, bus.found),
            ("tokens_again", bus.check_at, bus.checked),
        ):
            m.submodules[name] = tokens = Buffer(width, config.rows)
            m.d.comb += [
                tokens.write.eq(bus.token_write),
                tokens.write_at.eq(bus.token_at),
                tokens.write_data.eq(bus.token),
                tokens.read_at.eq(at),
                result.eq(tokens.read_data),
            ]
        m.submodules.scores = scores = Buffer(config.score_bits, config.rows)
        m.d.comb += [
            scores.write.eq(bus.new_write),
            scores.write_at.eq(bus.new_at),
            scores.write_data.eq(bus.new_score),
            scores.read_at.eq(bus.score_at),
            bus.score.eq(scores.read_data),
        ]
        return m
