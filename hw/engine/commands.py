"""The engine's command formats: one table that hardware, software and manifest read.

A command is one packet of 32-bit words on the command stream, ``last`` on its final word. A
position in the activation buffer is a pair (vector, lane); a step from one position to another
adds both parts, the lane modulo the vector's length with a carry into the vector, the vector
modulo 65536.
"""

from collections.abc import Sequence
from dataclasses import dataclass

__all__ = ["COMMANDS", "ERRORS", "NO_WAIT", "Command", "Field", "encode"]

NO_WAIT = 15
"""Value of a ``wait_*`` field that waits for nothing."""


@dataclass(frozen=True)
class Field:
    """One field of a command: ``width`` bits from bit ``lsb`` of word ``word``."""

    name: str
    word: int
    lsb: int
    width: int
    doc: str


@dataclass(frozen=True)
class Command:
    """One command: opcode, number of fixed words, fields. Extra words follow in ``PARAM`` only."""

    name: str
    opcode: int
    words: int
    fields: tuple[Field, ...]
    doc: str

    def field(self, name: str) -> Field:
        """Return the field called ``name``."""
        return next(field for field in self.fields if field.name == name)


_WAITS = (
    Field("wait_x", 0, 8, 4, "start once at most this many earlier X loads are unfinished"),
    Field("wait_w", 0, 12, 4, "the same for W loads"),
    Field("wait_g", 0, 16, 4, "the same for GEMMs that still read the buffers"),
    Field("wait_s", 0, 20, 4, "the same for GEMMs whose results are not yet out"),
)


def _position(name: str, word: int, doc: str) -> tuple[Field, Field]:
    return (
        Field(f"{name}_vector", word, 0, 16, f"{doc}, vector"),
        Field(f"{name}_lane", word, 16, 8, f"{doc}, lane"),
    )


COMMANDS = {
    command.name: command
    for command in (
        Command(
            "LOAD_X",
            1,
            3,
            (
                *_WAITS,
                Field("fill", 0, 24, 1, "write the value instead of reading the X stream"),
                Field("base", 1, 0, 16, "first vector written"),
                Field("count", 1, 16, 16, "vectors, one stream beat each, at least 1"),
                Field("value", 2, 0, 16, "element written to every lane where fill is set"),
            ),
            "Write vectors to the activation buffer, from one packet of the X stream or constant.",
        ),
        Command(
            "LOAD_W",
            2,
            2,
            (
                *_WAITS,
                Field("base", 1, 0, 16, "first beat written"),
                Field("count", 1, 16, 16, "weight beats, at least 1"),
            ),
            "Write weight beats to the weight buffer from one packet of the W stream.",
        ),
        Command(
            "PARAM",
            3,
            2,
            (
                *_WAITS,
                Field("base", 1, 0, 16, "first parameter row written"),
                Field("count", 1, 16, 16, "parameter rows, at least 1"),
            ),
            "Write requantisation parameters: for each row and lane one word {shift[21:16], "
            "multiplier[15:0]}, then the bias, least significant word first.",
        ),
        Command(
            "GEMM",
            4,
            23,
            (
                *_WAITS,
                Field("accumulate", 0, 24, 1, "add to the sums that the previous GEMM kept"),
                Field("keep", 0, 25, 1, "keep the sums for the next GEMM, emit nothing"),
                Field("raw", 0, 26, 1, "emit the sums instead of requantising them"),
                Field("bias", 0, 28, 1, "add the channel's bias to raw results"),
                Field("store", 0, 27, 1, "write results to the activation buffer, not the stream"),
                *_position("x", 1, "first activation vector"),
                Field("w_base", 2, 0, 16, "first weight beat; tiles follow in (n, k) order"),
                Field("n_tiles", 2, 16, 16, "tiles of output channels"),
                Field("k_chunks", 3, 0, 16, "K tiles per kernel row, inner loop"),
                Field("k_rows", 3, 16, 16, "kernel rows, outer loop"),
                *_position("k_chunk", 4, "step to the next K tile of a kernel row"),
                *_position("k_row", 5, "step from a kernel row's last K tile to the next row"),
                Field("tile_rows", 6, 0, 16, "rows per output tile"),
                Field("m_tiles", 6, 16, 16, "output tiles along M, outermost loop"),
                Field("last_rows", 7, 0, 16, "rows of the last output tile"),
                Field("n_last", 7, 16, 16, "channels in the last tile of channels"),
                *_position("m0", 8, "step when row loop 0, the outermost, advances"),
                *_position("m1", 9, "step when row loop 1 advances and inner loops restart"),
                *_position("m2", 10, "step when row loop 2 advances and inner loops restart"),
                *_position("m3", 11, "step when row loop 3 advances and inner loop restarts"),
                *_position("m4", 12, "step when row loop 4, the innermost, advances"),
                Field("m0_count", 13, 0, 16, "iterations of row loop 0"),
                Field("m1_count", 13, 16, 16, "iterations of row loop 1"),
                Field("m2_count", 14, 0, 16, "iterations of row loop 2"),
                Field("m3_count", 14, 16, 16, "iterations of row loop 3"),
                Field("m4_count", 15, 0, 16, "iterations of row loop 4"),
                Field("pool", 15, 16, 16, "consecutive rows of which the maximum is kept"),
                *_position("y", 16, "where the first result is stored"),
                *_position("y0", 17, "step of the store when row loop 0 advances"),
                *_position("y1", 18, "step of the store when row loop 1 advances"),
                *_position("y2", 19, "step of the store when row loop 2 advances"),
                Field("p_base", 20, 0, 16, "first parameter row"),
                Field("zero_point", 20, 16, 16, "added after rounding"),
                Field("low", 21, 0, 16, "lower clamp"),
                Field("high", 21, 16, 16, "upper clamp"),
                Field("mode", 22, 0, 32, "settings of the datapath, see its family; 0 for none"),
            ),
            "Multiply, accumulate over all K tiles, requantise, pool, and emit or store. Loops "
            "from the outside: m_tiles, n_tiles, k_rows, k_chunks, rows of the tile.",
        ),
    )
}

ERRORS = (
    "unknown opcode",
    "command packet too short or too long",
    "command field out of range",
    "X packet length differs from its command",
    "W packet length differs from its command",
    "store outside the activation buffer",
    "activations, weights or parameters read outside their buffer",
)
"""Meaning of each error flag, from bit 0."""


def encode(name: str, extra: Sequence[int] = (), /, **values: int) -> list[int]:
    """Return the words of command ``name``; waits default to none, other fields to 0.

    Raises
    ------
    ValueError
        A field is unknown or its value does not fit.
    """
    command = COMMANDS[name]
    words = [0] * command.words
    words[0] = command.opcode
    known = {field.name for field in command.fields}
    if unknown := set(values) - known:
        raise ValueError(f"{name} has no field {sorted(unknown)[0]!r}")
    for field in command.fields:
        default = NO_WAIT if field.name.startswith("wait_") else 0
        value = int(values.get(field.name, default))
        low = -(1 << field.width - 1) if field.width == 16 else 0
        if not low <= value < 1 << field.width:
            raise ValueError(f"{name}: {field.name} = {value} does not fit {field.width} bits")
        words[field.word] |= (value & (1 << field.width) - 1) << field.lsb
    return words + list(extra)
