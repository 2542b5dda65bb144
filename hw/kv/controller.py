"""The KV-cache controller: core, slot memories and registers, refresh and pages."""

from amaranth.hdl import Module, Signal
from amaranth.lib import data, stream, wiring
from amaranth.lib.wiring import In, Out

from ..bus.axi_lite import AxiLite, AxiLiteInterface, RegisterBank
from ..lib.component import Component
from .config import KvConfig
from .core import KvCore
from .pager import Pager, page_beat, page_command
from .pager_config import PagerConfig
from .refresh_pair import RefreshPair, refresh_word
from .registers import ERRORS, PAGE_ERRORS, kv_registers, register_values
from .store import SlotStore
from .words import command_word, place_beat, recall_beat, token_beat

__all__ = ["KvController"]


class KvController(Component):
    """Keeps a bounded number of tokens per head by their accumulated attention.

    A decode step is PLACE for the new token, then for each head READ, attention over the tokens
    that it lists, and SCORE with the attention weights, once for each query head, the last with
    ``final``. That pass finds the head's victim, which the next token overwrites: its slot says
    where keys and values go, and the cache never moves any. START begins a sequence with a policy.
    With ``inputs`` there is one more stream, ``recalls``: for each RECALL the input vectors that
    are kept, as a packet of `recall_beat`. With ``refresh_slack`` the memory of keys and values is
    refreshed: the input ``memory_idle`` says whether it will not be in use in the next cycle, and
    then the output ``refresh``, a `refresh_word`, which rows to refresh. With ``sequences`` there
    are the streams ``pages`` and ``answers`` of a `Pager`, for caches of many sequences beside the
    one whose slots are managed.

    Parameters
    ----------
    config : KvConfig
        See there for ranges.

    Members
    -------
    s_axi : In(AxiLite(7))
        Registers, see `kv_registers`.
    commands : In(stream.Signature(command_word(config)))
        Commands, done in order.
    weights : In(stream.Signature(weight_bits))
        Attention weights: for each SCORE one for every token of the head, in the order of slots.
    tokens : Out(stream.Signature(token_beat(config)))
        For each READ the tokens of the head in the order of slots, as a packet.
    places : Out(stream.Signature(place_beat(config)))
        For each PLACE what was done in every head, as a packet.

    Latency
        From a READ to its first token 6 cycles, from a PLACE to its first beat 10; see
        docs/units/kv.md for a step.
    Throughput
        One token a cycle and one weight a cycle, at the same time.
    Numerics
        Scores are unsigned and saturate; see `Scorer`.
    Reference
        Kelle, MICRO 2025; H2O, NeurIPS 2023; StreamingLLM, ICLR 2024.
    """

    s_axi: AxiLiteInterface
    commands: stream.Interface
    weights: stream.Interface
    tokens: stream.Interface
    places: stream.Interface
    recalls: stream.Interface
    memory_idle: Signal
    refresh: data.View
    pages: stream.Interface
    answers: stream.Interface

    def __init__(self, config: KvConfig):
        self._config = config
        members = {
            "s_axi": In(AxiLite(7)),
            "commands": In(stream.Signature(command_word(config))),
            "weights": In(stream.Signature(config.weight_bits)),
            "tokens": Out(stream.Signature(token_beat(config))),
            "places": Out(stream.Signature(place_beat(config))),
        }
        if config.inputs:
            members["recalls"] = Out(stream.Signature(recall_beat(config)))
        if config.refresh_slack:
            members |= {"memory_idle": In(1), "refresh": Out(refresh_word(config))}
        if config.pages is not None:
            members["pages"] = In(stream.Signature(page_command(config.pages)))
            members["answers"] = Out(stream.Signature(page_beat(config.pages)))
        super().__init__(members)

    def elaborate(self, platform):
        m = Module()
        config = self._config
        m.submodules.core = core = KvCore(config)
        m.submodules.store = store = SlotStore(config)
        m.submodules.registers = bank = RegisterBank(kv_registers(config))
        wiring.connect(m, wiring.flipped(self.s_axi), bank.s_axi)
        wiring.connect(m, core.store, store.bus)
        for name in ("commands", "weights"):
            wiring.connect(m, wiring.flipped(getattr(self, name)), getattr(core, name))
        for name in ("tokens", "places", *(["recalls"] if config.inputs else [])):
            wiring.connect(m, getattr(core, name), wiring.flipped(getattr(self, name)))
        for name, value in register_values(config).items():
            m.d.comb += getattr(bank, name).eq(value)
        status = core.status
        m.d.comb += [
            bank.status.busy.eq(status.busy),
            bank.position.value.eq(core.position),
            bank.tokens.eq(status.placed),
            bank.evictions.eq(status.evicted),
            bank.searching.eq(status.searching),
        ]
        m.d.comb += [getattr(bank.errors, name).eq(status[name]) for name in ERRORS]
        if config.refresh_slack:
            self._elaborate_refresh(m, core, bank)
        if config.pages is not None:
            self._elaborate_pages(m, bank, config.pages)
        return m

    def _elaborate_refresh(self, m, core, bank):
        """Refresh by the scores that go to memory."""
        m.submodules.refreshers = pair = RefreshPair(self._config)
        m.d.comb += [
            pair.pace_upper.eq(bank.pace_upper),
            pair.pace_lower.eq(bank.pace_lower),
            pair.cost.eq(bank.cost),
            pair.threshold.eq(core.threshold),
            pair.scored.eq(core.store.new_write),
            pair.scored_at.eq(core.store.new_at),
            pair.score.eq(core.store.new_score),
            pair.idle.eq(self.memory_idle),
            bank.energy.eq(pair.energy),
            bank.refreshed_upper.eq(pair.refresh.upper),
            bank.refreshed_lower.eq(pair.refresh.lower),
            bank.refresh_waits.eq(pair.refresh.take),
        ]
        m.d.sync += self.refresh.eq(pair.refresh)

    def _elaborate_pages(self, m, bank, config: PagerConfig):
        """Answer questions about pages, and count what was refused."""
        m.submodules.pager = pager = Pager(config)
        wiring.connect(m, wiring.flipped(self.pages), pager.commands)
        wiring.connect(m, pager.answers, wiring.flipped(self.answers))
        answer, given = pager.answers.payload, pager.answers.valid & pager.answers.ready
        m.d.comb += [
            bank.free_blocks.eq(pager.free),
            bank.copies.eq(given & answer.copied),
            *(
                getattr(bank.errors, name).eq(given & (answer.status == i + 1))
                for i, name in enumerate(PAGE_ERRORS)
            ),
        ]
