"""What the cache controller's streams and memories carry. Fields that mean nothing are 0."""

from amaranth.lib import data, enum

from .config import KvConfig

__all__ = [
    "Evict",
    "Op",
    "command_word",
    "place_beat",
    "policy_word",
    "recall_beat",
    "token_beat",
    "token_entry",
]


class Op(enum.Enum, shape=3):
    """Commands."""

    START = 0
    PLACE = 1
    READ = 2
    SCORE = 3
    RECALL = 4


class Evict(enum.Enum, shape=2):
    """What leaves a full head, in the order of `config.EVICT`."""

    NEVER = 0
    OLDEST = 1
    SCORE = 2


POLICY = data.StructLayout(
    {
        "evict": 2,
        "budget": 13,
        "sinks": 13,
        "window": 13,
        "shift": 4,
        "dither": 1,
        "decay": 4,
        "theta": 7,
        "threshold": 16,
    }
)


def policy_word() -> data.StructLayout:
    """Return the fields of `Policy`; ``evict`` is a value of `Evict`, 3 is refused."""
    return POLICY


def command_word(config: KvConfig) -> data.StructLayout:
    """Return a command; which fields count depends on ``op``.

    START begins a sequence with ``policy``. PLACE gives the next token slots in the heads whose
    bit in ``keep`` is set. READ lists the tokens of ``head``. SCORE takes a weight for each of
    these, in the same order; ``final`` chooses the head's victim. RECALL lists the input vectors.
    """
    return data.StructLayout(
        {
            "op": 3,
            "head": config.head_bits,
            "final": 1,
            "keep": config.heads,
            "policy": policy_word(),
        }
    )


def _input(config: KvConfig) -> dict[str, int]:
    """Return the fields that say where a token's input vector is, where there may be one."""
    return {"has_input": 1, "input": config.input_bits} if config.inputs else {}


def token_entry(config: KvConfig) -> data.StructLayout:
    """Return what is known of the token in a slot, beside its score."""
    return data.StructLayout({"position": config.position_bits, **_input(config)})


def token_beat(config: KvConfig) -> data.StructLayout:
    """Return a token of a READ; ``none`` for the only beat of an empty head."""
    return data.StructLayout(
        {
            "head": config.head_bits,
            "slot": config.slot_bits,
            "position": config.position_bits,
            **_input(config),
            "none": 1,
            "last": 1,
        }
    )


def place_beat(config: KvConfig) -> data.StructLayout:
    """Return what a PLACE did in a head; ``refused`` for the only beat of a refused token.

    ``old`` is the position of the token that was ``evicted``; ``freed`` says that nobody keeps the
    input vector ``old_input`` any more.
    """
    old = {"freed": 1, "old_input": config.input_bits} if config.inputs else {}
    return data.StructLayout(
        {
            "head": config.head_bits,
            "slot": config.slot_bits,
            "position": config.position_bits,
            **_input(config),
            "kept": 1,
            "evicted": 1,
            "old": config.position_bits,
            **old,
            "refused": 1,
            "last": 1,
        }
    )


def recall_beat(config: KvConfig) -> data.StructLayout:
    """Return an input vector that some head keeps; ``none`` where there is none."""
    return data.StructLayout({"input": config.input_bits, "none": 1, "last": 1})
