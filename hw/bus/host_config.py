"""The host adapter: its configuration and the format of its frames, for both ends of the line.

A frame between two flags is, after removal of escapes: channel, sequence number, payload length
(two bytes, low first), payload, FCS-16 (low first). Bit 7 of the channel ends a packet. Each
request is answered by one reply of the same channel and sequence number, whose payload starts with
a status byte. A request with the sequence number of the one before is not executed again, its reply
is repeated; so a host that hears nothing, or something broken, sends its request again.
"""

import enum
from dataclasses import dataclass

from ..config import ConfigError, check_range, plain_fields

__all__ = [
    "COUNTER_BYTES",
    "ESCAPE",
    "ESCAPE_XOR",
    "FLAG",
    "HEADER_BYTES",
    "LAST",
    "PAYLOAD_MAX",
    "PENDING",
    "RESULT_MAX",
    "VERSION",
    "WAITING",
    "Channel",
    "HostConfig",
    "Status",
    "UartConfig",
]

FLAG, ESCAPE, ESCAPE_XOR = 0x7E, 0x7D, 0x20
"""RFC 1662: between frames; before a byte that was changed by `ESCAPE_XOR`."""
VERSION = 2
COUNTER_BYTES = 4
"""Two counters behind the description in the reply to ``STATUS``."""
HEADER_BYTES = 4
PAYLOAD_MAX = 1024
"""Most bytes of payload in a request."""
RESULT_MAX = 512
"""Most bytes of results in a reply, besides the status byte."""
LAST = 0x80
"""In the channel byte: this payload ends a packet."""
PENDING = 0x10
"""In the status byte: the last stream payload is not yet handed over, no other is accepted."""
WAITING = 0x20
"""In the status byte: results are waiting."""


class Channel(enum.IntEnum):
    """What a request is for; its payload -> what follows the status byte in the reply."""

    STATUS = 0
    """Always executed: nothing -> see `HostConfig.description`."""
    READ = 1
    """Address, 4 bytes -> data, 4 bytes."""
    WRITE = 2
    """Address, 4 bytes, and data, 4 bytes -> nothing."""
    RESULT = 3
    """Nothing -> the next results, none if there are none; `LAST` where they end a packet."""
    RESET = 4
    """Start of a session, always executed: any 4 bytes -> the same. What is behind the streams is
    reset, and no payload and no result of before is left."""
    STREAM = 8
    """First of the streams in the order of `HostConfig.streams`: whole beats -> nothing."""


class Status(enum.IntEnum):
    """Low four bits of the status byte."""

    OK = 0
    """Done; a stream payload will be handed over."""
    BAD_FRAME = 1
    """Checksum, escape or stop bit wrong; channel and sequence of this reply mean nothing."""
    BAD_LENGTH = 2
    """The length differs from the payload's, or does not suit the channel."""
    BAD_CHANNEL = 3
    """There is no such channel."""
    OVERRUN = 4
    """Payload above `PAYLOAD_MAX`, or a frame before the reply to the one before."""
    BUSY = 5
    """The stream payload before is still pending; this one was dropped."""
    BUS_ERROR = 6
    """The register does not exist or cannot be written."""


@dataclass(frozen=True, kw_only=True)
class UartConfig:
    """Parameters of the serial line, 8 data bits, no parity, 1 stop bit.

    Attributes
    ----------
    clock_hz : int
        Frequency of the clock, 1 to 1000 MHz.
    baud : int
        Bits per second, at most an eighth of the clock and within 2 % of a divisor of it.
    """

    clock_hz: int
    baud: int = 1_000_000

    def __post_init__(self) -> None:
        plain_fields(self)
        check_range("clock_hz", self.clock_hz, 1_000_000, 1_000_000_000)
        check_range("baud", self.baud, 300, self.clock_hz // 8)
        actual = self.clock_hz / self.divisor
        if abs(actual - self.baud) > 0.02 * self.baud:
            raise ConfigError(
                f"baud must be within 2 % of {self.clock_hz} Hz divided by an integer, "
                f"not {self.baud}, of which {actual:.0f} is the nearest"
            )

    @property
    def divisor(self) -> int:
        """Clock cycles per bit."""
        return max(round(self.clock_hz / self.baud), 8)


@dataclass(frozen=True, kw_only=True)
class HostConfig:
    """Parameters of a `HostCore`.

    Attributes
    ----------
    streams : tuple of (str, int)
        Name and data bits, 1 to 8192, of each stream that the host feeds, 1 to 8 of them.
    result_lanes : int
        Numbers per beat of results, 1 to 256.
    result_bits : int
        Bits per number, a multiple of 8 up to 64.
    address_bits : int
        Width of register addresses, 3 to 32.
    """

    streams: tuple[tuple[str, int], ...] = (("cmd", 32), ("x", 64), ("w", 64))
    result_lanes: int = 1
    result_bits: int = 32
    address_bits: int = 12

    def __post_init__(self) -> None:
        plain_fields(self)
        if not 1 <= len(self.streams) <= 8:
            raise ConfigError(f"streams must be 1 to 8, not {len(self.streams)}")
        for name, bits in self.streams:
            check_range(f"bits of stream {name}", bits, 1, 8 * PAYLOAD_MAX)
        check_range("result_lanes", self.result_lanes, 1, 256)
        check_range("result_bits", self.result_bits, 8, 64)
        if self.result_bits % 8:
            raise ConfigError(f"result_bits must be a multiple of 8, not {self.result_bits}")
        check_range("address_bits", self.address_bits, 3, 32)

    @property
    def beat_bytes(self) -> tuple[int, ...]:
        """Bytes per beat of each stream; a beat is padded to whole bytes."""
        return tuple(-(-bits // 8) for _, bits in self.streams)

    @property
    def result_bytes(self) -> int:
        """Bytes per beat of results: the numbers, then a bit for each that is real."""
        return self.result_lanes * self.result_bits // 8 + -(-self.result_lanes // 8)

    @property
    def description(self) -> bytes:
        """What the reply to ``STATUS`` carries before two counters of two bytes each.

        Version, number of streams, bytes per beat of each (two bytes, low first), lanes of a
        result (two bytes), bytes per lane, address bits. The counters are refused frames and bytes
        without stop bit, both staying at 65535.
        """
        words = b"".join(size.to_bytes(2, "little") for size in self.beat_bytes)
        lanes = self.result_lanes.to_bytes(2, "little")
        tail = bytes((self.result_bits // 8, self.address_bits))
        return bytes((VERSION, len(self.streams))) + words + lanes + tail
