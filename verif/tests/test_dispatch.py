"""The dispatcher alone: what a malformed packet may not do to the command behind it."""

import pytest
from amaranth.sim import Simulator

from tilewright.hw.engine.command.dispatcher import Dispatcher
from tilewright.hw.engine.commands import COMMANDS, encode
from tilewright.hw.engine.config import EngineConfig
from tilewright.hw.systolic.config import SystolicConfig

UNITS = ("load_x", "load_w", "gemm_acts", "gemm_weights", "gemm_output")
ONES = 0xFFFFFFFF
"""A word that is out of range wherever a range is checked."""


def dispatched(packets: list[list[int]]) -> tuple[list[int], list[str]]:
    """Return error pulses and which units were started, all packets sent without a pause."""
    config = EngineConfig(
        datapath=SystolicConfig(rows=3, cols=2), act_depth=24, weight_depth=20, acc_depth=6,
        param_depth=5, drain_lanes=2,
    )  # fmt: skip
    unit = Dispatcher(config)
    words = [(word, i == len(p) - 1) for p in packets for i, word in enumerate(p)]
    errors, started = [], []

    async def send_and_watch(ctx):
        for name in UNITS:
            ctx.set(getattr(unit, name).ready, 1)
        at = 0
        for _ in range(len(words) + 16 * len(packets)):
            ctx.set(unit.cmd.valid, at < len(words))
            if at < len(words):
                ctx.set(unit.cmd.payload, dict(zip(("data", "last"), words[at], strict=True)))
                at += ctx.get(unit.cmd.ready)
            errors.extend(filter(None, [ctx.get(unit.errors)]))
            names = [name for name in UNITS if ctx.get(getattr(unit, name).valid)]
            # A unit is done before the next command can come.
            ctx.set(unit.done, sum(1 << UNITS.index(name) for name in names))
            started.extend(names)
            await ctx.tick()

    simulator = Simulator(unit)
    simulator.add_clock(1e-6)
    simulator.add_testbench(send_and_watch)
    simulator.run()
    return errors, started


@pytest.mark.parametrize("behind", ["LOAD_X", "LOAD_W"])
def test_a_packet_cut_short_at_a_bad_field_does_not_spoil_the_next(behind):
    length, last = COMMANDS["GEMM"].words, COMMANDS["GEMM"].opcode
    good = encode(behind, count=1)
    packets = []
    for words in range(1, length):
        packets += [[last | ONES << 8 & ONES, *[ONES] * (words - 1)], good]
    errors, started = dispatched(packets)
    assert errors == [2] * (length - 1)
    assert started == [behind.lower()] * (length - 1)


def test_a_bad_field_in_the_last_word_is_still_seen():
    good, bad = encode("LOAD_W", base=19, count=1), encode("LOAD_W", base=19, count=2)
    assert dispatched([bad, good, bad, bad, good]) == ([4, 4, 4], ["load_w", "load_w"])
