"""The pager: golden against the tokens themselves, hardware against golden."""

import random

import numpy as np
import pytest
from amaranth.hdl import Fragment

from tilewright.gen.verilog import emit
from tilewright.hw.bus.axi_stream import AxiStreamTop
from tilewright.hw.config import ConfigError
from tilewright.hw.kv.pager import Pager
from tilewright.hw.kv.pager_config import STATUSES, PagerConfig
from tilewright.sw.runtime.beats import words_of
from tilewright.verif.golden.kv_pager import GoldenPager, Refusal
from tilewright.verif.simulate.compiled import Traffic, compile_unit
from tilewright.verif.testbench.stream import Codec

OPS = ("append", "read", "list", "fork", "release")
CONFIGS = [
    PagerConfig(sequences=3, blocks=5, block_tokens=2, table_blocks=4),
    PagerConfig(),
    PagerConfig(sequences=5, blocks=100, block_tokens=16, table_blocks=32),
]


def draw(config: PagerConfig, golden: GoldenPager, rng: random.Random) -> dict:
    """Draw a command: most of them make sense."""
    top = 1 << config.sequence_bits
    sequence, other = rng.randrange(top), rng.randrange(top)
    op = rng.choices((0, 1, 2, 3, 4, 5), (60, 15, 5, 8, 4, 1))[0]
    empty = [i for i, length in enumerate(golden.lengths) if not length]
    if op == 3 and empty and rng.random() < 0.8:
        other = rng.choice(empty)
    length = golden.lengths[sequence] if sequence < config.sequences else 0
    position = rng.choice((max(length - 1, 0), length, rng.randrange(max(length, 1))))
    position = min(position, config.most_tokens - 1)
    return {"op": op, "sequence": sequence, "other": other, "position": position}


def do(golden: GoldenPager, command: dict) -> list[dict]:
    """Do a command; return its answers."""
    zeros = {"status": 0, "block": 0, "offset": 0, "copied": 0, "source": 0, "last": 1}
    sequence, op = command["sequence"], command["op"]
    try:
        if op == 0:
            block, offset, source = golden.append(sequence)
            copy = {} if source is None else {"copied": 1, "source": source}
            return [zeros | {"block": block, "offset": offset} | copy]
        if op == 1:
            block, offset = golden.read(sequence, command["position"])
            return [zeros | {"block": block, "offset": offset}]
        if op == 2:
            blocks = golden.list(sequence)
            return [zeros | {"block": block, "last": int(i == len(blocks) - 1)}
                    for i, block in enumerate(blocks)]
        if op == 3:
            golden.fork(sequence, command["other"])
        elif op == 4:
            golden.release(sequence)
        elif sequence < golden.config.sequences:
            raise Refusal("bad_command")
        else:
            raise Refusal("bad_sequence")
    except Refusal as refusal:
        return [zeros | {"status": STATUSES.index(str(refusal))}]
    return [zeros]


@pytest.mark.parametrize("config", CONFIGS, ids=lambda c: c.blocks)
def test_golden_finds_every_token_again(config):
    golden, rng = GoldenPager(config), random.Random(1)
    store, sequences, seen = {}, [[] for _ in range(config.sequences)], set()
    for token in range(4000):
        command = draw(config, golden, rng)
        sequence, other = command["sequence"], command["other"]
        free, lengths = golden.free, list(golden.lengths)
        answers = do(golden, command)
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


@pytest.mark.parametrize("config", CONFIGS[:2], ids=lambda c: c.blocks)
def test_hardware_answers_as_golden(config):
    top = AxiStreamTop(Pager(config))
    Fragment.get(top, None)
    given, taken = map(Codec, top.axi_streams)
    unit = compile_unit(emit(Pager(config), "pager").rtlil, "pager")
    for seed, pause in ((1, 0), (2, 0.5)):
        golden, rng = GoldenPager(config), random.Random(seed)
        commands = []
        answers = []
        for _ in range(10_000):
            commands.append(draw(config, golden, rng))
            answers += do(golden, commands[-1])
        unit.reset()
        unit.forget()
        unit.pause("s_axis_commands", Traffic(pause, 3))
        unit.pause("m_axis_answers", Traffic(pause, 4))
        beats = [given.encode(command)["data"] for command in commands]
        width = top.axi_streams[0].payload.size
        unit.offer("s_axis_commands", {"data": words_of(beats, width)})
        unit.run("m_axis_answers", len(answers), quiet=2000)
        unit.step(50)
        seen = unit.seen("m_axis_answers").beats
        wanted = [taken.encode(answer) for answer in answers]
        assert len(seen["last"]) == len(wanted)
        for suffix in ("last", "data"):
            column = np.array([beat[suffix] for beat in wanted], np.uint64)
            wrong = np.nonzero(seen[suffix][:, 0] != column)[0]
            assert not len(wrong), (suffix, wrong[0], answers[wrong[0]])


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
