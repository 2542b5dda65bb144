"""The host adapter: good requests, every kind of broken one, and sessions over a bad line."""

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
from tilewright.sw.runtime.serial import Link, LinkError, SerialPort
from tilewright.verif.testbench.host_line import SimulatedLine, damage

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
    "unknown channel": (encode(Frame(4, 3, bytes(4))), Status.BAD_CHANNEL),
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
    ask(line, raw=encode(Frame(4, 6, bytes(4))))
    assert ask(line, Frame(Channel.READ, 5, bytes(4))) == first


def test_busy_while_the_engine_takes_nothing(line):
    line.stalled = True
    line.run(5)
    assert status_of(ask(line, _good(1))[0]) == Status.OK
    (reply,) = ask(line, _good(2))
    assert status_of(reply) == Status.BUSY
    assert reply.payload[0] & PENDING
    (reply,) = ask(line, Frame(Channel.READ, 3, bytes(4)))
    assert reply.payload[1:] == (0x600DCAFE).to_bytes(4, "little"), "registers go on"
    line.stalled = False
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


def test_results_wait_when_nobody_asks(line):
    line.results.extend(([i, -i], 3, 0) for i in range(600))
    line.run(9000)
    left = len(line.results)
    assert left > 300, "the buffer holds 2048 bytes"
    line.run(1000)
    assert len(line.results) == left


@pytest.mark.parametrize("seed", range(3))
def test_a_session_over_a_bad_line(seed):
    rng = random.Random(seed)
    line = SimulatedLine(CONFIG, damage(rng, 0.004))
    with Link(line, timeout=4e-3, attempts=20, patience=1.0, clock=line.clock) as link:
        assert link.description.beat_bytes == (4, 3, 8)
        assert (link.description.result_lanes, link.description.result_bytes) == (2, 4)
        sent = {"cmd": b"", "x": b"", "w": b""}
        results = b""
        for number in range(8):
            name, size = rng.choice((("cmd", 4), ("x", 3), ("w", 8)))
            packet = rng.randbytes(size * rng.randrange(1, 40))
            link.send(list(sent).index(name), packet)
            sent[name] += packet
            link.write(0, number)
            assert link.read(0) == number
            line.results.append(([number, -number], 1, 1))
            results = link.receive()
            assert (
                results
                == b"".join(n.to_bytes(4, "little", signed=True) for n in (number, -number))
                + b"\x01"
            )
        line.run(500)
        for name, size in (("cmd", 4), ("x", 3), ("w", 8)):
            values = [value for value, _ in line.taken[name]]
            mask = (1 << (20 if name == "x" else 8 * size)) - 1
            data = sent[name]
            cut = [data[i : i + size] for i in range(0, len(data), size)]
            assert values == [int.from_bytes(part, "little") & mask for part in cut]
    assert link.retries > 0, "the line was bad enough to matter"


def test_a_long_packet_is_cut_into_whole_beats():
    line = SimulatedLine(CONFIG)
    link = Link(line, timeout=20e-3, clock=line.clock)
    data = random.Random(3).randbytes(3 * 500)
    link.send(1, data)
    line.run(3000)
    assert [last for _, last in line.taken["x"]] == [0] * 499 + [1]
    assert link.retries == 0


def test_results_are_taken_while_a_stream_is_stuck():
    line = SimulatedLine(CONFIG)
    link = Link(line, timeout=20e-3, patience=4e-3, clock=line.clock)
    line.stalled = True
    link.send(0, bytes(4))
    line.results.append(([5, 6], 3, 1))
    with pytest.raises(LinkError, match=r"^the engine took nothing from stream 0 for 0.004 s$"):
        link.send(0, bytes(4))
    line.stalled = False
    assert link.receive() == b"\x05\0\0\0\x06\0\0\0\x03"
    link.send(0, bytes(4))
    with pytest.raises(LinkError, match=r"^the engine gave no results for 0.004 s$"):
        link.receive()


def test_a_dead_line_is_reported():
    line = SimulatedLine(CONFIG, lambda sent: b"")
    with pytest.raises(LinkError, match="^the board did not answer in 3 attempts: status$"):
        Link(line, timeout=1e-3, attempts=3, clock=line.clock)


def test_refusals_name_the_request():
    line = SimulatedLine(CONFIG)
    link = Link(line, timeout=20e-3, clock=line.clock)
    with pytest.raises(LinkError, match="^the board refused reading register 0x8: there is no"):
        link.read(8)
    with pytest.raises(LinkError, match="^the board has 3 streams, no number 3$"):
        link.send(3, b"")
    with pytest.raises(ValueError, match="must be whole beats of 3 bytes, not 4 bytes"):
        link.send(1, bytes(4))


def test_a_port_that_is_not_there():
    with pytest.raises(LinkError, match="^cannot open serial port /dev/no-such-port: "):
        SerialPort("/dev/no-such-port", 115200)


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
