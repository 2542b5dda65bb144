"""Frames of the host adapter in software: encode, decode, checksum."""

from collections.abc import Iterator
from dataclasses import dataclass

from ...hw.bus.host_config import ESCAPE, ESCAPE_XOR, FLAG, HEADER_BYTES

__all__ = ["Frame", "FrameError", "FrameReader", "decode", "encode", "fcs16"]


class FrameError(ValueError):
    """Bytes between two flags that are no frame."""


@dataclass(frozen=True)
class Frame:
    """One frame without its transparency and checksum.

    Attributes
    ----------
    channel : int
        Channel byte, with `LAST` where the payload ends a packet.
    sequence : int
        Sequence number, 0 to 255.
    payload : bytes
        At most 65535 bytes.
    """

    channel: int
    sequence: int
    payload: bytes = b""


def _table() -> tuple[int, ...]:
    entries = []
    for value in range(256):
        for _ in range(8):
            value = value >> 1 ^ (0x8408 if value & 1 else 0)
        entries.append(value)
    return tuple(entries)


_TABLE = _table()


def fcs16(content: bytes) -> int:
    """Return the FCS of RFC 1662, which is the CRC-16/IBM-SDLC (X-25) of ``content``."""
    value = 0xFFFF
    for byte in content:
        value = value >> 8 ^ _TABLE[(value ^ byte) & 0xFF]
    return value ^ 0xFFFF


def encode(frame: Frame) -> bytes:
    """Return the bytes of ``frame`` for the line, flags included."""
    header = bytes((frame.channel, frame.sequence)) + len(frame.payload).to_bytes(2, "little")
    content = header + frame.payload
    line = bytearray((FLAG,))
    for byte in content + fcs16(content).to_bytes(2, "little"):
        if byte in (FLAG, ESCAPE):
            line += bytes((ESCAPE, byte ^ ESCAPE_XOR))
        else:
            line.append(byte)
    line.append(FLAG)
    return bytes(line)


def decode(line: bytes) -> Frame:
    """Return the frame whose bytes between its flags are ``line``.

    Raises
    ------
    FrameError
        It ends in an escape, its checksum is wrong, or its length is not what its header says.
    """
    content = bytearray()
    escaped = False
    for byte in line:
        if byte == ESCAPE and not escaped:
            escaped = True
        else:
            content.append(byte ^ ESCAPE_XOR if escaped else byte)
            escaped = False
    if escaped:
        raise FrameError("the frame ends in an escape")
    if len(content) < HEADER_BYTES + 2:
        raise FrameError(f"the frame has {len(content)} bytes, fewer than {HEADER_BYTES + 2}")
    body, found = bytes(content[:-2]), int.from_bytes(content[-2:], "little")
    if found != fcs16(body):
        raise FrameError(f"the checksum is {found:#06x} instead of {fcs16(body):#06x}")
    payload, length = body[HEADER_BYTES:], int.from_bytes(body[2:HEADER_BYTES], "little")
    if len(payload) != length:
        raise FrameError(f"the payload has {len(payload)} bytes instead of {length}")
    return Frame(body[0], body[1], payload)


class FrameReader:
    """Cuts what comes from a line into frames, however it is chopped."""

    def __init__(self) -> None:
        self._line = bytearray()

    def feed(self, received: bytes) -> Iterator[Frame | FrameError]:
        """Take bytes; yield each frame that they complete, or why it is none."""
        for byte in received:
            if byte != FLAG:
                self._line.append(byte)
            elif self._line:
                line, self._line = bytes(self._line), bytearray()
                try:
                    yield decode(line)
                except FrameError as error:
                    yield error
