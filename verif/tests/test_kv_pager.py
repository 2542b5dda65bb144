"""The pager: golden against the tokens themselves, hardware against golden."""

import random
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pytest
from amaranth.hdl import Fragment

from tilewright.gen.verilog import emit
from tilewright.hw.bus.axi_stream import AxiStreamTop
from tilewright.hw.config import ConfigError
from tilewright.hw.engine.buffer import buffer_memory
from tilewright.hw.kv import pager
from tilewright.hw.kv.pager import Pager
from tilewright.hw.kv.pager_config import STATUSES, PagerConfig
from tilewright.sw.runtime.beats import words_of
from tilewright.sw.runtime.compiled import Traffic, compile_unit
from tilewright.verif.golden.kv_pager import GoldenPager
from tilewright.verif.simulate.netlist import simulated_netlist
from tilewright.verif.testbench.kv_pages import PageScript, answers_of, draw_page
from tilewright.verif.testbench.stream import Codec

CONFIGS = [
    PagerConfig(sequences=3, blocks=5, block_tokens=2, table_blocks=4),
    PagerConfig(),
    PagerConfig(sequences=5, blocks=100, block_tokens=16, table_blocks=32),
]


@pytest.mark.parametrize("config", CONFIGS, ids=lambda c: c.blocks)
def test_golden_finds_every_token_again(config):
    golden, rng = GoldenPager(config), random.Random(1)
    store, sequences, seen = {}, [[] for _ in range(config.sequences)], set()
    for token in range(4000):
        command = draw_page(config, golden, rng)
        sequence, other = command["sequence"], command["other"]
        free, lengths = golden.free, list(golden.lengths)
        answers = answers_of(golden, command)
        status = STATUSES[answers[0]["status"]]
        seen.add((command["op"], status))
        if status != "done":
            assert (golden.free, golden.lengths) == (free, lengths)
        elif command["op"] == 0:
            place = answers[0]
            if place["copied"]:
                for offset in range(place["offset"]):
                    store[place["block"], offset] = store[place["source"], offset]
            store[place["block"], place["offset"]] = token
            sequences[sequence].append(token)
        elif command["op"] == 3:
            sequences[other] = list(sequences[sequence])
        elif command["op"] == 4:
            sequences[sequence] = []
        used = {block for table in golden.tables for block in table}
        assert len(used) + golden.free == config.blocks
        if token % 50 == 0:
            for number, tokens in enumerate(sequences):
                found = [store[golden.read(number, i)] for i in range(len(tokens))]
                assert found == tokens
    assert {status for _, status in seen} >= {"done", "not_allocated", "in_use"}
    if config.blocks == 5:
        assert (0, "out_of_blocks") in seen
    assert (4, "not_allocated") in seen, "a sequence freed twice"


def answers_as_golden(config, rtlil):
    """Assert that a pager answers as the golden one, and when."""
    top = AxiStreamTop(Pager(config))
    Fragment.get(top, None)
    given, taken = map(Codec, top.axi_streams)
    unit = compile_unit(rtlil, "pager")
    for seed, pause in ((1, 0), (2, 0.5)):
        script = PageScript(config, random.Random(seed))
        script.draw(10_000)
        unit.reset()
        unit.forget()
        unit.pause("s_axis_commands", Traffic(pause, 3))
        unit.pause("m_axis_answers", Traffic(pause, 4))
        beats = [given.encode(command)["data"] for command in script.commands]
        width = top.axi_streams[0].payload.size
        begin = unit.cycle
        unit.offer("s_axis_commands", {"data": words_of(beats, width)})
        unit.run("m_axis_answers", len(script.answers), quiet=2000)
        unit.step(50)
        run = unit.seen("m_axis_answers")
        wanted = [taken.encode(answer) for answer in script.answers]
        assert len(run.cycles) == len(wanted)
        for suffix in ("last", "data"):
            column = np.array([beat[suffix] for beat in wanted], np.uint64)
            wrong = np.nonzero(run.beats[suffix][:, 0] != column)[0]
            assert not len(wrong), (suffix, wrong[0], script.answers[wrong[0]])
        assert unit.peek("free") == script.golden.free
        if not pause:
            commands = unit.seen("s_axis_commands")
            assert (run.cycles - begin).tolist() == script.timing.answers
            assert (commands.cycles - begin).tolist() == script.taken


@pytest.mark.parametrize("config", CONFIGS[:2], ids=lambda c: c.blocks)
def test_hardware_answers_as_golden(config):
    answers_as_golden(config, emit(Pager(config), "pager").rtlil)


@pytest.mark.slow
def test_a_table_in_block_ram_answers_as_golden():
    """A copy on write reads the old entry in the cycle in which it writes the new one."""
    config = PagerConfig(sequences=16, blocks=256, block_tokens=2, table_blocks=64)
    folder = Path("build/test/pager")
    netlist = simulated_netlist(emit(Pager(config), "pager").rtlil, "pager", folder)
    assert "DP16KD" in (folder / "pager.json").read_text()
    answers_as_golden(config, netlist.rtlil)


def test_a_promise_that_does_not_hold_is_noticed(monkeypatch):
    promising = SimpleNamespace(Memory=lambda shape, depth, init: buffer_memory(shape, depth))
    monkeypatch.setattr(pager, "memory", promising)
    rtlil = emit(Pager(CONFIGS[0]), "pager").rtlil
    with pytest.raises(AssertionError, match="data"):
        answers_as_golden(CONFIGS[0], rtlil)


@pytest.mark.parametrize(
    ("field", "value", "message"),
    [
        ("sequences", 1, "sequences must be an integer from 2 to 64, not 1"),
        ("blocks", 5000, "blocks must be an integer from 2 to 4096, not 5000"),
        ("block_tokens", 12, "block_tokens must be a power of two from 2 to 256, not 12"),
        ("table_blocks", 1, "table_blocks must be an integer from 2 to 4096, not 1"),
    ],
)
def test_config_names_field_value_and_range(field, value, message):
    with pytest.raises(ConfigError, match=f"^{message}$"):
        PagerConfig(**{field: value})
