"""Sessions with a board: over a bad line, after a host that died, with wrong answers."""

import os
import pty
import random

import pytest

from tilewright.hw.bus.host_config import (
    PAYLOAD_MAX,
    PENDING,
    WAITING,
    Channel,
    HostConfig,
    Status,
    UartConfig,
)
from tilewright.hw.bus.uart_engine_config import UartEngineConfig
from tilewright.hw.engine.config import EngineConfig
from tilewright.hw.systolic.config import SystolicConfig
from tilewright.sw.runtime.frames import Frame, FrameReader, encode
from tilewright.sw.runtime.serial import Description, Link, LinkError, SerialPort
from tilewright.sw.runtime.serial_engine import SerialEngine
from tilewright.verif.testbench.host_line import SimulatedLine, damage
from tilewright.verif.tests.seeds import SEED, seeds

CONFIG = HostConfig(
    streams=(("cmd", 32), ("x", 20), ("w", 64)), result_lanes=2, result_bits=32, address_bits=8
)
TOKEN = b"\x7e\x00\x7d\xa5"


@pytest.fixture
def line():
    return SimulatedLine(CONFIG)


@pytest.mark.parametrize("seed", seeds(8))
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
    # A fresh seed may damage nothing that matters.
    assert link.retries > 0 or seed == SEED


@pytest.mark.parametrize("beats", [500, 2 * (PAYLOAD_MAX // 3)])
def test_a_long_packet_is_cut_into_whole_beats(beats):
    line = SimulatedLine(CONFIG)
    link = Link(line, timeout=20e-3, clock=line.clock)
    data = random.Random(3).randbytes(3 * beats)
    link.send(1, data)
    line.run(3000)
    assert [last for _, last in line.taken["x"]] == [0] * (beats - 1) + [1]
    assert link.retries == 0


def test_results_are_taken_while_a_stream_is_stuck():
    line = SimulatedLine(CONFIG)
    link = Link(line, timeout=20e-3, patience=4e-3, clock=line.clock)
    line.stall(True)
    link.send(0, bytes(4))
    line.results.append(([5, 6], 3, 1))
    with pytest.raises(LinkError, match=r"^the engine took nothing from stream 0 for 0.004 s$"):
        link.send(0, bytes(4))
    line.stall(False)
    assert link.receive() == b"\x05\0\0\0\x06\0\0\0\x03"
    link.send(0, bytes(4))
    with pytest.raises(LinkError, match=r"^the engine gave no results for 0.004 s$"):
        link.receive()


class Cut(BaseException):
    """The host dies, or its user presses Ctrl-C."""


def dies_at(line, writes, part=1.0):
    """Have the session's host die in its request number ``writes``, of which a part is sent."""
    whole, left = line.write, [writes]

    def write(sent):
        left[0] -= 1
        if left[0] > 0:
            return whole(sent)
        line.write = whole
        whole(sent[: round(part * len(sent))])
        raise Cut

    line.write = write


def link_of(line, **fields):
    return Link(line, timeout=20e-3, clock=line.clock, **fields)


@pytest.mark.parametrize(("writes", "part"), [(1, 0.5), (2, 0.0), (2, 1.0), (3, 1.0)])
def test_a_session_after_a_host_that_died(line, writes, part):
    """In the first, second or third part of a packet; three results were not asked for."""
    link = link_of(line)
    line.results.extend(([i, i], 3, 1) for i in range(3))
    dies_at(line, writes, part)
    with pytest.raises(Cut):
        link.send(1, bytes(3 * 800))
    before = len(line.taken["x"])
    link = link_of(line)
    line.results.append(([9, 9], 3, 1))
    link.send(1, b"\x01\x02\x03")
    assert link.receive() == b"\x09\0\0\0\x09\0\0\0\x03"
    link.check_empty()
    assert link.read(0) == 0x600DCAFE
    line.run(100)
    after = line.taken["x"][before:]
    assert after[-1] == (0x030201, 1)
    assert all(beat == (0, 0) for beat in after[:-1]), "handed over before the reset"


@pytest.mark.parametrize("request_", [
    lambda link: link.read(0), lambda link: link.write(0, 1), lambda link: link.receive(),
    lambda link: link.status(), lambda link: link.send(0, bytes(4)),
    lambda link: link.check_empty(),
])  # fmt: skip
def test_an_interrupted_session_must_be_reset(line, request_):
    link = link_of(line)
    dies_at(line, 1)
    with pytest.raises(Cut):
        request_(link)
    with pytest.raises(LinkError, match="must wait: .* cut off, and the session must be reset"):
        request_(link)
    link.reset()
    assert line.resets == 2
    assert link.read(0) in (0x600DCAFE, 1)


def test_a_packet_without_its_end_must_be_reset(line):
    link = link_of(line, patience=4e-3)
    line.stall(True)
    with pytest.raises(LinkError, match="took nothing from stream 0"):
        link.send(0, bytes(1028))
    with pytest.raises(LinkError, match="must wait: something before was cut off"):
        link.send(0, bytes(4))
    link.reset()
    line.stall(False)
    link.send(0, b"\xaa\xbb\xcc\xdd")
    line.run(100)
    assert line.taken["cmd"] == [(0xDDCCBBAA, 1)]


def test_results_of_something_else_are_noticed(line):
    link = link_of(line)
    link.check_empty()
    for results in ([([5, 6], 3, 1)], [([5, 6], 3, 0)] * 60):
        line.results.extend(results)
        line.run(800)
        with pytest.raises(LinkError, match="^the board has results of something else: reset"):
            link.check_empty()
        link.reset()
        link.check_empty()


def test_replies_to_another_host_do_not_count(line):
    """What comes late has the sequence numbers with which this session begins, too."""
    old = [Frame(Channel.STATUS, 0, b"\x00" + CONFIG.description + bytes(4)),
           *(Frame(Channel.RESET, i, b"\x00" + TOKEN) for i in (1, 2))]  # fmt: skip
    line._from_board += b"".join(encode(frame) for frame in old)
    link = link_of(line)
    assert line.resets > 0
    assert link.read(0) == 0x600DCAFE


class FakeBoard:
    """A `Transport` whose far end answers with what ``answer`` makes of each request."""

    def __init__(self, **answers):
        self.description = CONFIG.description + bytes(4)
        self.flags = 0
        self.echo = bytes
        self.status = Status.OK
        self.lost = 0
        self.closed = False
        vars(self).update(answers)
        self.requests = []
        self._replies = bytearray()
        self.time = 0.0

    def write(self, line):
        (frame,) = FrameReader().feed(line)
        self.requests.append(frame)
        if len(self.requests) <= self.lost:
            return
        body = {Channel.STATUS: self.description, Channel.RESET: self.echo(frame.payload)}
        payload = bytes((self.status | self.flags,)) + body.get(frame.channel, b"")
        self._replies += encode(Frame(frame.channel, frame.sequence, payload))

    def read(self, timeout):
        self.time += timeout
        found, self._replies = bytes(self._replies), bytearray()
        return found

    def clock(self):
        return self.time

    def close(self):
        self.closed = True


@pytest.mark.parametrize(
    ("answers", "message"),
    [
        (
            {"description": b"\x01" + CONFIG.description[1:] + bytes(4)},
            "the board speaks version 1 of the protocol, not 2",
        ),
        (
            {"description": b"\x03" + CONFIG.description[1:] + bytes(4)},
            "the board speaks version 3 of the protocol, not 2",
        ),
        ({"description": b""}, "the board speaks version none of the protocol, not 2"),
        (
            {"description": CONFIG.description + bytes(3)},
            "the board describes itself in 15 bytes, which is not right",
        ),
        ({"flags": PENDING}, "the board is not idle after its reset"),
        ({"flags": WAITING}, "the board is not idle after its reset"),
        (
            {"echo": lambda token: token[::-1] + b"."},
            "the board answers what it was not asked: does another program use it\\?",
        ),
        ({"status": Status.BAD_CHANNEL}, "the board refused status: the board has no such channel"),
        ({"status": Status.BAD_FRAME}, "the board did not answer in 8 attempts: status"),
        ({"status": Status.OVERRUN}, "the board did not answer in 8 attempts: status"),
        ({"status": 9}, "the board did not answer in 8 attempts: status"),
    ],
)
def test_a_session_that_cannot_begin_says_why(answers, message):
    board = FakeBoard(**answers)
    with pytest.raises(LinkError, match=f"^{message}$"):
        Link(board, clock=board.clock)


def test_requests_are_sent_again_as_they_were():
    board = FakeBoard(lost=3)
    link = Link(board, clock=board.clock)
    assert link.retries == 3
    assert board.requests[:4] == [Frame(Channel.STATUS, 0)] * 4
    assert [(frame.channel, frame.sequence) for frame in board.requests[4:]] == [(4, 1)]
    assert len(board.requests[4].payload) == 4
    assert link.description == Description((4, 3, 8), 2, 4, 8, 0, 0)
    board = FakeBoard(description=CONFIG.description + b"\x01\x02\x03\x04")
    with Link(board, clock=board.clock) as link:
        assert (link.description.refused, link.description.unstopped) == (0x201, 0x403)
        for _ in range(300):
            link.status()
        assert {frame.sequence for frame in board.requests} == set(range(256))
        assert not board.closed
    assert board.closed


ENGINE = UartEngineConfig(
    engine=EngineConfig(datapath=SystolicConfig(rows=4, cols=4)),
    uart=UartConfig(clock_hz=25_000_000, baud=500_000),
)


@pytest.mark.parametrize(
    ("description", "message"),
    [(CONFIG.description, "streams have"), (ENGINE.host.description, "engine has id 0x00000000")],
)
def test_a_port_is_given_back_where_no_session_begins(description, message, monkeypatch):
    board = FakeBoard(description=description + bytes(4))
    opened = []
    monkeypatch.setattr(
        "tilewright.sw.runtime.serial_engine.SerialPort", lambda *line: opened.append(line) or board
    )
    with pytest.raises(LinkError, match=message):
        SerialEngine(ENGINE, "/dev/board")
    assert opened == [("/dev/board", 500_000)]
    assert board.closed


def test_a_port_is_for_one_session_only():
    master, slave = pty.openpty()
    path = os.ttyname(slave)
    port = SerialPort(path, 115200)
    with pytest.raises(LinkError, match=f"^cannot open serial port {path}: "):
        SerialPort(path, 115200)
    port.write(b"abc")
    assert os.read(master, 3) == b"abc"
    os.write(master, b"defg")
    assert port.read(1.0) == b"defg"
    assert port.read(0.01) == b""
    port.close()
    SerialPort(path, 115200).close()
    os.close(master)
    os.close(slave)


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
