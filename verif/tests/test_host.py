"""The host adapter: good requests, every kind of broken one, resets."""

import random

import pytest

from tilewright.hw.bus.host_config import (
    LAST,
    PAYLOAD_MAX,
    PENDING,
    RESULT_MAX,
    WAITING,
    Channel,
    HostConfig,
    Status,
    UartConfig,
)
from tilewright.hw.config import ConfigError
from tilewright.sw.runtime.frames import Frame, FrameReader, encode, fcs16
from tilewright.verif.testbench.host_line import SimulatedLine

CONFIG = HostConfig(
    streams=(("cmd", 32), ("x", 20), ("w", 64)), result_lanes=2, result_bits=32, address_bits=8
)
CMD, X, W = (Channel.STREAM + i for i in range(3))


def ask(line, *frames, raw=b"", error_at=None):
    """Send raw bytes and frames; return all replies, of which one each is waited for."""
    line.write(raw + b"".join(encode(frame) for frame in frames), error_at)
    replies, reader = [], FrameReader()
    for _ in range(40):
        if len(replies) == len(frames) + bool(raw):
            line.run(60)
            return [*replies, *reader.feed(line.read(1e-6))]
        replies += reader.feed(line.read(300e-6))
    return replies


def status_of(reply):
    return Status(reply.payload[0] & 0xF)


@pytest.fixture
def line():
    return SimulatedLine(CONFIG)


def test_status_describes_the_board(line):
    (reply,) = ask(line, Frame(Channel.STATUS, 7))
    assert (reply.channel, reply.sequence) == (Channel.STATUS, 7)
    assert reply.payload == bytes((0,)) + CONFIG.description + bytes(4)


def test_the_description_byte_by_byte():
    """As docs/units/uart.md lists it."""
    words = "02 03 0400 0300 0800 0200 04 08"
    assert CONFIG.description == bytes.fromhex(words)
    wide = HostConfig(streams=(("a", 4096),), result_lanes=256, result_bits=64, address_bits=32)
    assert wide.description == bytes.fromhex("02 01 0002 0001 08 20")


def test_registers_are_read_and_written(line):
    write = (0x00).to_bytes(4, "little") + (0x12345678).to_bytes(4, "little")
    replies = ask(
        line,
        Frame(Channel.READ, 1, bytes(4)),
        raw=b"",
    )
    assert replies[0].payload == b"\x00" + (0x600DCAFE).to_bytes(4, "little")
    assert ask(line, Frame(Channel.WRITE, 2, write))[0].payload == b"\x00"
    assert ask(line, Frame(Channel.READ, 3, bytes(4)))[0].payload == b"\x00\x78\x56\x34\x12"
    ident = (0x10).to_bytes(4, "little")
    (reply,) = ask(line, Frame(Channel.WRITE, 4, ident + bytes(4)))
    assert status_of(reply) == Status.BUS_ERROR, "each access has an address of its own"
    assert ask(line, Frame(Channel.READ, 5, ident))[0].payload == bytes(5)
    assert ask(line, Frame(Channel.READ, 6, bytes(4)))[0].payload == b"\x00\x78\x56\x34\x12"
    assert ask(line, Frame(Channel.WRITE, 7, bytes(8)))[0].payload == b"\x00"
    assert ask(line, Frame(Channel.READ, 8, bytes(4)))[0].payload == bytes(5)


@pytest.mark.parametrize("address", [0x08, 0xFC, 0x100, 0x80000000])
def test_registers_that_do_not_exist(line, address):
    place = address.to_bytes(4, "little")
    (reply,) = ask(line, Frame(Channel.READ, 1, place))
    assert status_of(reply) == Status.BUS_ERROR
    (reply,) = ask(line, Frame(Channel.WRITE, 2, place + bytes(4)))
    assert status_of(reply) == Status.BUS_ERROR
    (reply,) = ask(line, Frame(Channel.READ, 3, bytes(4)))
    assert reply.payload == b"\x00" + (0x600DCAFE).to_bytes(4, "little")


def test_stream_payloads_become_beats(line):
    words = bytes(range(1, 13))
    (reply,) = ask(line, Frame(CMD | LAST, 1, words))
    assert status_of(reply) == Status.OK
    line.run(200)
    expected = [int.from_bytes(words[i : i + 4], "little") for i in (0, 4, 8)]
    assert line.taken["cmd"] == [(expected[0], 0), (expected[1], 0), (expected[2], 1)]
    ask(line, Frame(X, 2, b"\x01\x02\xf3\x04\x05\x06"))
    line.run(100)
    assert line.taken["x"] == [(0x30201, 0), (0x60504, 0)]
    assert not line.taken["w"]


def test_the_largest_payload_arrives(line):
    data = random.Random(1).randbytes(PAYLOAD_MAX)
    ask(line, Frame(W | LAST, 1, data))
    line.run(3000)
    got = b"".join(value.to_bytes(8, "little") for value, _ in line.taken["w"])
    assert got == data
    assert [last for _, last in line.taken["w"]] == [0] * 127 + [1]


def _good(sequence=0x55):
    return Frame(CMD | LAST, sequence, b"\xaa\xbb\xcc\xdd")


GOOD_BEAT = (0xDDCCBBAA, 1)


def _with_length(frame, length):
    """Encode a frame whose checksum is right but whose length field says ``length``."""
    content = bytes((frame.channel, frame.sequence)) + length.to_bytes(2, "little") + frame.payload
    content += fcs16(content).to_bytes(2, "little")
    escaped = bytearray()
    for byte in content:
        escaped += bytes((0x7D, byte ^ 0x20)) if byte in (0x7D, 0x7E) else bytes((byte,))
    return b"\x7e" + bytes(escaped) + b"\x7e"


def _corrupted(position):
    line = bytearray(encode(_good(3)))
    line[position] ^= 0x04
    return bytes(line)


BROKEN = {
    "corrupted channel": (_corrupted(1), Status.BAD_FRAME),
    "corrupted payload": (_corrupted(7), Status.BAD_FRAME),
    "corrupted checksum": (_corrupted(-2), Status.BAD_FRAME),
    "truncated": (encode(_good(3))[:7], Status.BAD_FRAME),
    "one byte": (b"\x7e\x11\x7e", Status.BAD_FRAME),
    "ends in an escape": (b"\x7e\x08\x01\x04\x00\x7d\x7e", Status.BAD_FRAME),
    "header only in part": (b"\x7e\x08\x01" + fcs16(b"\x08\x01").to_bytes(2, "little") + b"\x7e",
                            Status.BAD_LENGTH),
    "length too small": (_with_length(_good(3), 3), Status.BAD_LENGTH),
    "length too large": (_with_length(_good(3), 5), Status.BAD_LENGTH),
    "length far too large": (_with_length(_good(3), 65535), Status.BAD_LENGTH),
    "no payload": (encode(Frame(CMD, 3)), Status.BAD_LENGTH),
    "half a beat": (encode(Frame(CMD, 3, bytes(6))), Status.BAD_LENGTH),
    "address of three bytes": (encode(Frame(Channel.READ, 3, bytes(3))), Status.BAD_LENGTH),
    "write without data": (encode(Frame(Channel.WRITE, 3, bytes(4))), Status.BAD_LENGTH),
    "status with payload": (encode(Frame(Channel.STATUS, 3, b"a")), Status.BAD_LENGTH),
    "reset of three bytes": (encode(Frame(Channel.RESET, 3, bytes(3))), Status.BAD_LENGTH),
    "aborted behind a good checksum": (encode(_good(3))[:-1] + b"\x7d\x7e", Status.BAD_FRAME),
    "unknown channel": (encode(Frame(5, 3, bytes(4))), Status.BAD_CHANNEL),
    "stream that is not there": (encode(Frame(Channel.STREAM + 3, 3, bytes(4))),
                                 Status.BAD_CHANNEL),
    "channel of many bits": (encode(Frame(0x48, 3, bytes(4))), Status.BAD_CHANNEL),
    "over-long": (encode(Frame(CMD, 3, bytes(PAYLOAD_MAX + 4))), Status.OVERRUN),
    "far over-long": (encode(Frame(W, 3, bytes(PAYLOAD_MAX * 3 // 2))), Status.OVERRUN),
}  # fmt: skip


@pytest.mark.parametrize("kind", BROKEN)
def test_broken_frames_are_refused_and_recovered_from(kind, line):
    raw, expected = BROKEN[kind]
    assert raw.count(b"\x7e") in (1, 2)
    replies = ask(line, _good(), raw=raw)
    assert [status_of(reply) for reply in replies] == [expected, Status.OK]
    assert replies[1].sequence == 0x55
    line.run(200)
    assert line.taken == {"cmd": [GOOD_BEAT], "x": [], "w": []}, "nothing of the broken frame"
    (reply,) = ask(line, Frame(Channel.STATUS, 9))
    assert reply.payload[-4:] == b"\x01\x00\x00\x00", "counted once"


def test_a_byte_without_stop_bit_spoils_its_frame(line):
    replies = ask(line, _good(3), error_at=5)
    assert [status_of(reply) for reply in replies] == [Status.BAD_FRAME]
    assert status_of(ask(line, _good())[0]) == Status.OK
    line.run(200)
    assert line.taken["cmd"] == [GOOD_BEAT]
    (reply,) = ask(line, Frame(Channel.STATUS, 9))
    assert reply.payload[-4:] == b"\x01\x00\x01\x00"


def test_frames_faster_than_their_replies_are_reported(line):
    frames = [Frame(CMD | LAST, i, bytes((i, 0, 0, 0))) for i in range(6)]
    replies = ask(line, *frames)
    line.run(500)
    executed = [value for value, _ in line.taken["cmd"]]
    assert 0 in executed
    told = {reply.sequence for reply in replies if status_of(reply) == Status.OK}
    assert sorted(told) == executed
    if len(told) < 6:
        assert {status_of(reply) for reply in replies} & {Status.OVERRUN, Status.BUSY}


def test_a_repeated_request_is_answered_but_not_executed_again(line):
    first = ask(line, _good())
    line.run(200)
    again = ask(line, _good())
    line.run(200)
    assert first == again
    assert line.taken["cmd"] == [GOOD_BEAT]
    ask(line, Frame(Channel.STATUS, 1))
    ask(line, _good())
    line.run(200)
    assert line.taken["cmd"] == [GOOD_BEAT] * 2, "a new session executes whatever came before"


def test_a_refusal_in_between_does_not_lose_the_repeated_reply(line):
    first = ask(line, Frame(Channel.READ, 5, bytes(4)))
    ask(line, raw=_corrupted(7))
    ask(line, raw=encode(Frame(5, 6, bytes(4))))
    assert ask(line, Frame(Channel.READ, 5, bytes(4))) == first


def test_busy_while_the_engine_takes_nothing(line):
    line.stall(True)
    line.run(5)
    assert status_of(ask(line, _good(1))[0]) == Status.OK
    (reply,) = ask(line, _good(2))
    assert status_of(reply) == Status.BUSY
    assert reply.payload[0] & PENDING
    (reply,) = ask(line, Frame(Channel.READ, 3, bytes(4)))
    assert reply.payload[1:] == (0x600DCAFE).to_bytes(4, "little"), "registers go on"
    line.stall(False)
    line.run(200)
    (reply,) = ask(line, _good(4))
    assert status_of(reply) == Status.OK
    line.run(200)
    assert line.taken["cmd"] == [GOOD_BEAT] * 2


def test_results_come_in_segments(line):
    rng = random.Random(2)
    beats = [
        ([rng.randrange(-(1 << 31), 1 << 31) for _ in range(2)], 3, i == 149) for i in range(150)
    ]
    line.results.extend(beats)
    line.run(4000)
    expected = b"".join(
        b"".join(n.to_bytes(4, "little", signed=True) for n in numbers) + bytes((keep,))
        for numbers, keep, _ in beats
    )
    found, ends = b"", []
    for sequence in range(4):
        (reply,) = ask(line, Frame(Channel.RESULT, sequence))
        (again,) = ask(line, Frame(Channel.RESULT, sequence))
        assert reply.payload[1:] == again.payload[1:], "a repeated request gives the same segment"
        found += reply.payload[1:]
        ends.append((len(reply.payload) - 1, reply.channel & LAST))
        assert bool(reply.payload[0] & WAITING) == (sequence < 2)
    assert found == expected
    assert ends == [(RESULT_MAX, 0), (RESULT_MAX, 0), (1350 - 2 * RESULT_MAX, LAST), (0, 0)]


def test_a_packet_that_fills_its_segment_is_one_segment():
    """128 beats of 4 bytes are 512 bytes: the packet ends where the segment is full."""
    config = HostConfig(streams=CONFIG.streams, result_lanes=1, result_bits=24, address_bits=8)
    line = SimulatedLine(config)
    sizes = (128, 127, 128, 129, 50)
    numbers = iter(range(1000))
    packets = [[next(numbers) for _ in range(size)] for size in sizes]
    for packet in packets:
        line.results.extend(([n], 1, n == packet[-1]) for n in packet)
    line.run(4000)
    assert len(line.results) == 50, "three segments wait, the fourth is full"
    found, ends, sequence = [b""], [], 0
    while len(found) <= len(sizes):
        (reply,) = ask(line, Frame(Channel.RESULT, sequence))
        sequence += 1
        ends.append(len(reply.payload) - 1)
        found[-1] += reply.payload[1:]
        if reply.channel & LAST:
            found.append(b"")
    assert ends == [512, 508, 512, 512, 4, 200]
    assert found[:-1] == [
        b"".join(n.to_bytes(3, "little") + b"\x01" for n in packet) for packet in packets
    ]


def test_results_wait_when_nobody_asks(line):
    line.results.extend(([i, -i], 3, 0) for i in range(600))
    line.run(9000)
    left = len(line.results)
    assert left > 300, "the buffer holds 2048 bytes"
    line.run(1000)
    assert len(line.results) == left


def test_full_segments_hold_their_results_until_they_are_read(line):
    """All segments are full before the first is asked for, more than once around."""
    beats = [(i << 16 | i, -i) for i in range(600)]
    line.results.extend((list(beat), 3, i == 599) for i, beat in enumerate(beats))
    line.run(9000)
    found, lengths, ended = b"", [], False
    while not ended:
        (reply,) = ask(line, Frame(Channel.RESULT, len(lengths)))
        found += reply.payload[1:]
        lengths.append(len(reply.payload) - 1)
        ended = bool(reply.channel & LAST)
        line.run(len(lengths) % 3 * 2000)
    expected = b"".join(
        b"".join(n.to_bytes(4, "little", signed=True) for n in beat) + b"\3" for beat in beats
    )
    assert found == expected
    assert lengths == [RESULT_MAX] * (5400 // RESULT_MAX) + [5400 % RESULT_MAX]


TOKEN = b"\x7e\x00\x7d\xa5"


def test_a_reset_is_always_executed(line):
    reset = Frame(Channel.RESET, 6, TOKEN)
    for number in (1, 2):
        (reply,) = ask(line, reset)
        assert (reply.channel, reply.sequence) == (Channel.RESET, 6)
        assert reply.payload == b"\x00" + TOKEN
        assert line.resets == number
    ask(line, _good())
    ask(line, reset)
    ask(line, _good())
    line.run(200)
    assert line.taken["cmd"] == [GOOD_BEAT] * 2, "a new session executes whatever came before"
    assert line.resets == 3


@pytest.mark.parametrize("delivered", [False, True])
def test_a_reset_leaves_nothing_of_before(line, delivered):
    """Neither payloads nor results, whole or in part, delivered or not."""
    line.results.extend(([i, -i], 3, i == 60) for i in range(1, 100))
    line.run(1500)
    if delivered:
        ask(line, Frame(Channel.RESULT, 1))
    line.stall(True)
    line.run(5)
    ask(line, Frame(CMD, 2, bytes(range(40))))
    (reply,) = ask(line, Frame(X | LAST, 3, bytes(30)))
    assert reply.payload == bytes((Status.BUSY | PENDING | WAITING,))
    (reply,) = ask(line, Frame(Channel.RESET, 4, TOKEN))
    assert reply.payload == b"\x00" + TOKEN, "nothing pending, nothing waiting"
    line.stall(False)
    line.run(300)
    assert line.taken == {"cmd": [], "x": [], "w": []}
    (reply,) = ask(line, Frame(Channel.RESULT, 5))
    assert (reply.channel, reply.payload) == (Channel.RESULT, b"\x00")
    ask(line, _good(6))
    ask(line, Frame(W | LAST, 7, bytes(range(8))))
    line.results.append(([7, 8], 1, 1))
    line.run(300)
    assert line.taken["cmd"] == [GOOD_BEAT]
    assert line.taken["w"] == [(int.from_bytes(bytes(range(8)), "little"), 1)]
    (reply,) = ask(line, Frame(Channel.RESULT, 8))
    assert reply.channel == Channel.RESULT | LAST
    assert reply.payload == b"\x00\x07\0\0\0\x08\0\0\0\x01"


@pytest.mark.parametrize(
    ("make", "message"),
    [
        (lambda: HostConfig(streams=()), "streams must be 1 to 8, not 0"),
        (lambda: HostConfig(streams=(("x", 0),)), "bits of stream x must be .* 1 to 8192, not 0"),
        (lambda: HostConfig(result_bits=12), "result_bits must be a multiple of 8, not 12"),
        (lambda: UartConfig(clock_hz=1_000_000, baud=200_000), "baud must be .* not 200000"),
        (lambda: UartConfig(clock_hz=25_000_000, baud=2_900_000), "baud must be within 2 % of .*"),
    ],
)
def test_wrong_configurations_are_refused(make, message):
    with pytest.raises(ConfigError, match=f"^{message}$"):
        make()
