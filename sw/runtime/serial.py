"""The host's end of a serial line: requests that survive a bad line, and an engine behind it."""

import secrets
import time
from collections.abc import Callable
from dataclasses import dataclass
from typing import Protocol

from ...gen.errors import ToolError
from ...hw.bus.host_config import (
    COUNTER_BYTES,
    LAST,
    PAYLOAD_MAX,
    PENDING,
    VERSION,
    WAITING,
    Channel,
    Status,
)
from .frames import Frame, FrameReader, encode

__all__ = ["Description", "Link", "LinkError", "SerialPort", "Transport"]

_RETRIED = (Status.BAD_FRAME, Status.OVERRUN)
_REFUSALS = {
    Status.BAD_LENGTH: "it has the wrong length",
    Status.BAD_CHANNEL: "the board has no such channel",
    Status.BUS_ERROR: "there is no such register, or it cannot be written",
}


class LinkError(ToolError):
    """The board does not answer, or refuses; the message says what was asked."""


class Transport(Protocol):
    """Bytes to a board and back; a serial port, or a simulation of one."""

    def write(self, line: bytes) -> None:
        """Send all bytes."""

    def read(self, timeout: float) -> bytes:
        """Return what has come, after at most ``timeout`` seconds; empty if nothing has."""
        ...

    def close(self) -> None:
        """Give the line back."""


class SerialPort:
    """A serial port of this machine, 8N1 without flow control, kept from other programs.

    Raises
    ------
    LinkError
        pyserial is not installed, or the port cannot be opened.
    """

    def __init__(self, port: str, baud: int):
        try:
            import serial
        except ImportError:
            raise LinkError(
                "a serial port needs pyserial: pip install 'tilewright[fpga]'"
            ) from None
        self._failure = (serial.SerialException, OSError)
        try:
            self._port = serial.Serial(port, baud, timeout=0, write_timeout=10, exclusive=True)
        except (*self._failure, ValueError) as error:
            raise LinkError(f"cannot open serial port {port}: {error}") from None

    def write(self, line: bytes) -> None:
        """Send all bytes."""
        try:
            self._port.write(line)
        except self._failure as error:
            raise LinkError(f"the serial port failed: {error}") from None

    def read(self, timeout: float) -> bytes:
        """Return what has come, after at most ``timeout`` seconds; empty if nothing has."""
        try:
            self._port.timeout = timeout
            first = self._port.read(1)
            return first + self._port.read(self._port.in_waiting) if first else b""
        except self._failure as error:
            raise LinkError(f"the serial port failed: {error}") from None

    def close(self) -> None:
        """Give the port back."""
        self._port.close()


@dataclass(frozen=True)
class Description:
    """What a board says about itself.

    Attributes
    ----------
    beat_bytes : tuple of int
        Bytes per beat of each stream.
    result_lanes, result_bytes : int
        Numbers per beat of results, bytes per number.
    address_bits : int
        Width of register addresses.
    refused, unstopped : int
        Requests that it refused, and bytes without stop bit, since its reset.
    """

    beat_bytes: tuple[int, ...]
    result_lanes: int
    result_bytes: int
    address_bits: int
    refused: int
    unstopped: int


@dataclass(frozen=True)
class _Reply:
    status: Status
    flags: int
    body: bytes
    last: bool


class Link:
    """A session with a board: registers, streams, results.

    It begins with a board that is idle and empty, whatever one before it left behind. Every request
    is sent until its reply has come whole; a request whose reply was lost is not executed twice.
    Results that come while a stream is stuck are kept for `receive`.

    Parameters
    ----------
    transport : Transport
        The line; closed by `close`.
    timeout : float
        Seconds to wait for a reply before asking again.
    attempts : int
        How often a request is sent at most.
    patience : float
        Seconds that the engine may take nothing and give nothing before `send` and `receive` fail.
    clock : callable
        Time in seconds, that of the simulation where the board is one.

    Raises
    ------
    LinkError
        The board does not answer, speaks another version, or cannot be reset.
    """

    def __init__(
        self,
        transport: Transport,
        *,
        timeout: float = 0.5,
        attempts: int = 8,
        patience: float = 10.0,
        clock: Callable[[], float] = time.monotonic,
    ):
        self._transport = transport
        self._timeout, self._attempts, self._patience = timeout, attempts, patience
        self._clock = clock
        self._reader = FrameReader()
        self._sequence = 0
        self._flags = 0
        self._is_cut = False
        self._packets: list[bytes] = []
        self._partial = bytearray()
        self.retries = 0
        self.description = self.status()
        self.reset()

    def close(self) -> None:
        """End the session."""
        self._transport.close()

    def __enter__(self) -> "Link":
        return self

    def __exit__(self, *exception: object) -> None:
        self.close()

    def reset(self) -> None:
        """Have the board idle and empty, and forget results that nobody took.

        Raises
        ------
        LinkError
            The board does not answer, or goes on with what it was at.
        """
        self._is_cut = False
        self._packets.clear()
        self._partial.clear()
        for _ in range(self._attempts):
            # A reply to another host's request may still be on its way.
            token = secrets.token_bytes(4)
            if self._ask(Channel.RESET, token, "resetting it").body == token:
                break
        else:
            raise LinkError("the board answers what it was not asked: does another program use it?")
        if self._flags & (PENDING | WAITING):
            raise LinkError("the board is not idle after its reset")

    def status(self) -> Description:
        """Ask the board what it is."""
        body = self._ask(Channel.STATUS, b"", "status").body
        if not body or body[0] != VERSION:
            found = body[0] if body else "none"
            raise LinkError(f"the board speaks version {found} of the protocol, not {VERSION}")
        streams = body[1]
        sizes = body[2 : 2 + 2 * streams]
        rest = body[2 + 2 * streams :]
        if len(rest) != 4 + COUNTER_BYTES:
            raise LinkError(f"the board describes itself in {len(body)} bytes, which is not right")
        number = int.from_bytes
        return Description(
            beat_bytes=tuple(number(sizes[i : i + 2], "little") for i in range(0, len(sizes), 2)),
            result_lanes=number(rest[0:2], "little"),
            result_bytes=rest[2],
            address_bits=rest[3],
            refused=number(rest[4:6], "little"),
            unstopped=number(rest[6:8], "little"),
        )

    def read(self, address: int) -> int:
        """Return the value of the register at ``address``."""
        what = f"reading register {address:#x}"
        body = self._ask(Channel.READ, address.to_bytes(4, "little"), what).body
        return int.from_bytes(body, "little")

    def write(self, address: int, value: int) -> None:
        """Write the register at ``address``."""
        payload = address.to_bytes(4, "little") + value.to_bytes(4, "little")
        self._ask(Channel.WRITE, payload, f"writing register {address:#x}")

    def send(self, stream: int, packet: bytes) -> None:
        """Send a packet of whole beats to a stream; returns when its last part is accepted.

        Raises
        ------
        LinkError
            The engine takes nothing for ``patience`` seconds, or the stream does not exist.
        ValueError
            The packet is empty or no number of whole beats.
        """
        sizes = self.description.beat_bytes
        if not 0 <= stream < len(sizes):
            raise LinkError(f"the board has {len(sizes)} streams, no number {stream}")
        size = sizes[stream]
        if not packet or len(packet) % size:
            raise ValueError(
                f"a packet for stream {stream} must be whole beats of {size} bytes, "
                f"not {len(packet)} bytes"
            )
        part = PAYLOAD_MAX // size * size
        start = 0
        try:
            for start in range(0, len(packet), part):
                last = start + part >= len(packet)
                self._send_part(stream, packet[start : start + part], last)
        except BaseException:
            # The next packet would go on where this one ended.
            self._is_cut |= start > 0
            raise

    def _send_part(self, stream: int, payload: bytes, last: bool) -> None:
        channel = Channel.STREAM + stream
        deadline = self._clock() + self._patience
        while True:
            if self._flags & PENDING:
                if self._collect():
                    deadline = self._clock() + self._patience
            else:
                reply = self._ask(channel, payload, f"sending to stream {stream}", last=last)
                if reply.status == Status.OK:
                    return
            if self._clock() > deadline:
                raise LinkError(
                    f"the engine took nothing from stream {stream} for {self._patience:g} s"
                )

    def receive(self) -> bytes:
        """Return the next packet of results.

        Raises
        ------
        LinkError
            Nothing comes for ``patience`` seconds.
        """
        deadline = self._clock() + self._patience
        while not self._packets:
            if self._collect():
                deadline = self._clock() + self._patience
            elif self._clock() > deadline:
                raise LinkError(f"the engine gave no results for {self._patience:g} s")
        return self._packets.pop(0)

    def check_empty(self) -> None:
        """Raise `LinkError` if there are results that nobody has taken."""
        if self._packets or self._partial or self._collect():
            raise LinkError("the board has results of something else: reset the session")

    def _collect(self) -> bool:
        """Ask for results; return whether any came."""
        reply = self._ask(Channel.RESULT, b"", "asking for results")
        self._partial += reply.body
        if reply.last:
            self._packets.append(bytes(self._partial))
            self._partial.clear()
        return bool(reply.body or reply.last)

    def _ask(self, channel: int, payload: bytes, what: str, *, last: bool = False) -> _Reply:
        """Send one request until it is answered; return the answer if it is OK or BUSY."""
        if self._is_cut:
            raise LinkError(
                f"{what} must wait: something before was cut off, and the session must be reset"
            )
        # Whoever is interrupted here does not know what the board has done.
        self._is_cut = True
        sequence = self._sequence
        self._sequence = (sequence + 1) % 256
        request = encode(Frame(channel | (LAST if last else 0), sequence, payload))
        for attempt in range(self._attempts):
            self.retries += attempt > 0
            self._transport.write(request)
            reply = self._await(channel, sequence)
            if reply is None:
                continue
            self._is_cut = False
            self._flags = reply.flags
            if reply.status in (Status.OK, Status.BUSY):
                return reply
            raise LinkError(f"the board refused {what}: {_REFUSALS[reply.status]}")
        raise LinkError(f"the board did not answer in {self._attempts} attempts: {what}")

    def _await(self, channel: int, sequence: int) -> _Reply | None:
        """Wait for the reply to a request; return None where it is to be sent again."""
        deadline = self._clock() + self._timeout
        while (left := deadline - self._clock()) > 0:
            for frame in list(self._reader.feed(self._transport.read(left))):
                if not isinstance(frame, Frame) or not frame.payload:
                    return None
                status = frame.payload[0] & 0xF
                if status in _RETRIED or status not in list(Status):
                    return None
                if frame.channel & ~LAST == channel and frame.sequence == sequence:
                    flags = frame.payload[0] & 0xF0
                    last = bool(frame.channel & LAST)
                    return _Reply(Status(status), flags, frame.payload[1:], last)
        return None
