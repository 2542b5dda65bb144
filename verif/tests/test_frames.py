"""Frames of the serial line: software against published values, hardware against software."""

import random

import pytest
from amaranth.sim import Simulator
from hypothesis import given, settings
from hypothesis import strategies as st

from tilewright.hw.bus.hdlc import Deframer, Framer
from tilewright.sw.runtime.frames import Frame, FrameError, FrameReader, decode, encode, fcs16

FRAMES = st.builds(Frame, st.integers(0, 255), st.integers(0, 255), st.binary(max_size=80))


def test_fcs_of_the_published_check_value():
    assert fcs16(b"123456789") == 0x906E, "check value of CRC-16/IBM-SDLC"
    assert fcs16(b"") == 0


def test_known_frame_byte_for_byte():
    content = bytes((0x7E, 0x01, 0x01, 0x00, 0x7D))
    fcs = fcs16(content).to_bytes(2, "little")
    expected = b"\x7e\x7d\x5e\x01\x01\x00\x7d\x5d" + fcs + b"\x7e"
    assert encode(Frame(0x7E, 1, b"\x7d")) == expected


@given(st.lists(FRAMES, max_size=5), st.randoms())
def test_round_trip_however_chopped(frames, rng):
    line = b"".join(encode(frame) for frame in frames)
    reader, found = FrameReader(), []
    while line:
        cut = rng.randrange(1, len(line) + 1)
        found += reader.feed(line[:cut])
        line = line[cut:]
    assert found == frames


@given(FRAMES)
def test_flags_stand_only_at_the_ends(frame):
    line = encode(frame)
    assert line[0] == line[-1] == 0x7E
    assert 0x7E not in line[1:-1]


@given(FRAMES, st.data())
def test_any_single_changed_bit_is_noticed(frame, data):
    line = encode(frame)
    bit = data.draw(st.integers(8, len(line) * 8 - 9))
    broken = bytearray(line)
    broken[bit // 8] ^= 1 << bit % 8
    found = list(FrameReader().feed(bytes(broken)))
    assert frame not in found
    assert all(isinstance(each, FrameError) for each in found)


@pytest.mark.parametrize(
    ("line", "message"),
    [
        (b"\x00\x01\x00\x00\x7d", "the frame ends in an escape"),
        (b"\x01\x02\x03", "the frame has 3 bytes, fewer than 6"),
        (b"\x00\x01\x00\x00\x00\x00", "the checksum is 0x0000 instead of 0x.*"),
    ],
)
def test_what_is_no_frame_says_why(line, message):
    with pytest.raises(FrameError, match=f"^{message}$"):
        decode(line)


@pytest.mark.parametrize("length", [2, 5])
def test_a_wrong_length_says_so(length):
    content = bytes((1, 2, length, 0)) + b"abc"
    line = content + fcs16(content).to_bytes(2, "little")
    with pytest.raises(FrameError, match=f"^the payload has 3 bytes instead of {length}$"):
        decode(line)


def deframe(line, gap=0):
    """Feed ``line`` to a `Deframer`; return (bytes, bad) per frame."""
    unit = Deframer()
    frames, current = [], bytearray()

    async def feed(ctx):
        for item in line:
            byte, error = item if isinstance(item, tuple) else (item, 0)
            ctx.set(unit.i.payload, {"data": byte, "error": error})
            ctx.set(unit.i.valid, 1)
            await ctx.tick()
            ctx.set(unit.i.valid, 0)
            await ctx.tick().repeat(gap) if gap else None
        await ctx.tick().repeat(4)

    async def take(ctx):
        async for _, _, valid, beat in ctx.tick().sample(unit.o.valid, unit.o.payload):
            if valid and beat.end:
                frames.append((bytes(current), beat.bad))
                current.clear()
            elif valid:
                current.append(beat.data)

    simulator = Simulator(unit)
    simulator.add_clock(1e-6)
    simulator.add_testbench(feed)
    simulator.add_testbench(take, background=True)
    simulator.run()
    return frames


def _content(frame):
    return (
        bytes((frame.channel, frame.sequence))
        + len(frame.payload).to_bytes(2, "little")
        + (frame.payload)
    )


@settings(max_examples=25, deadline=None)
@given(st.lists(FRAMES, min_size=1, max_size=4), st.integers(0, 2))
def test_deframer_finds_what_software_sends(frames, gap):
    line = b"".join(encode(frame) for frame in frames)
    assert deframe(line, gap) == [(_content(frame), 0) for frame in frames]


def _naive(part):
    """Return the content of the bytes between two flags, None where they are no frame."""
    content, rest = bytearray(), list(part)
    while rest:
        byte = rest.pop(0)
        if byte == 0x7D:
            if not rest:
                return None
            byte = rest.pop(0) ^ 0x20
        content.append(byte)
    if len(content) < 2 or fcs16(content[:-2]) != int.from_bytes(content[-2:], "little"):
        return None
    return bytes(content[:-2])


@settings(max_examples=40, deadline=None)
@given(st.lists(st.one_of(st.binary(max_size=20), FRAMES.map(encode)), max_size=5))
def test_deframer_tells_frames_from_noise(pieces):
    line = b"\x7e" + b"".join(pieces) + b"\x7e"
    expected = [_naive(part) for part in line.split(b"\x7e") if part]
    assert [None if bad else content for content, bad in deframe(line)] == expected


def test_deframer_marks_truncated_and_unstopped_frames():
    frame = Frame(9, 4, bytes(range(20)))
    line = encode(frame)
    good = (_content(frame), 0)
    assert deframe(line[:12] + line)[1] == good
    assert deframe(line[:12] + line)[0][1] == 1
    broken = [(byte, i == 6) for i, byte in enumerate(line)]
    assert deframe([*broken, *line]) == [(good[0], 1), good]
    assert deframe(b"\x7e\x01\x7d\x7e" + line)[-1] == good
    aborted = line[:-1] + b"\x7d\x7e"
    assert deframe(aborted + line) == [(good[0], 1), good], "a good checksum, then an abort"
    assert [type(found) for found in FrameReader().feed(aborted + line)] == [FrameError, Frame]
    assert deframe(b"\x7e\x7e\x7e" + line + b"\x7e") == [good]


@pytest.mark.parametrize("stall", [0.0, 0.6])
def test_framer_sends_what_software_sends(stall):
    rng = random.Random(4)
    frames = [
        Frame(rng.randrange(256), rng.randrange(256), bytes(rng.choices((0x7E, 0x7D, 1, 99), k=k)))
        for k in (0, 1, 2, 30, 7)
    ]
    unit = Framer()
    line = bytearray()

    async def feed(ctx):
        for frame in frames:
            content = _content(frame)
            for i, byte in enumerate(content):
                ctx.set(unit.i.payload, {"data": byte, "last": i == len(content) - 1})
                ctx.set(unit.i.valid, 1)
                await ctx.tick().until(unit.i.ready)
                ctx.set(unit.i.valid, 0)
                await ctx.tick().repeat(rng.randrange(1, 4))
        await ctx.tick().repeat(100)

    async def take(ctx):
        async for _, _, valid, ready, byte in ctx.tick().sample(
            unit.o.valid, unit.o.ready, unit.o.payload
        ):
            if valid and ready:
                line.append(byte)
            ctx.set(unit.o.ready, rng.random() >= stall)

    simulator = Simulator(unit)
    simulator.add_clock(1e-6)
    simulator.add_testbench(feed)
    simulator.add_testbench(take, background=True)
    simulator.run()
    assert bytes(line) == b"".join(encode(frame) for frame in frames)
