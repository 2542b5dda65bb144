"""The pager: where each token of each sequence is, as lists of blocks."""

from collections import deque

from ...hw.kv.pager_config import PagerConfig

__all__ = ["GoldenPager", "Refusal"]


class Refusal(Exception):
    """A command that cannot be done; its text is a name of `STATUSES`."""


class GoldenPager:
    """Maps the tokens of many sequences to blocks, shares blocks, and copies them when written.

    Blocks are given out in the order in which they became free, at first 0, 1, 2. A block is free
    when no sequence has it any more. A refused command raises `Refusal` and changes nothing.
    Independent check: test_kv_pager keeps the tokens themselves and finds them all again.
    Reference: PagedAttention, SOSP 2023, section 4.3.

    Parameters
    ----------
    config : PagerConfig
        Of the pager.
    """

    def __init__(self, config: PagerConfig):
        self.config = config
        self.tables: list[list[int]] = [[] for _ in range(config.sequences)]
        self.lengths = [0] * config.sequences
        self._free = deque(range(config.blocks))

    @property
    def free(self) -> int:
        """Blocks that no sequence has."""
        return len(self._free)

    def holders(self, block: int) -> int:
        """Return how many sequences have a block."""
        return sum(block in table for table in self.tables)

    def append(self, sequence: int) -> tuple[int, int, int | None]:
        """Return block and offset of the next token, and the block to copy first, if any."""
        self._check(sequence)
        table, length = self.tables[sequence], self.lengths[sequence]
        if length == self.config.most_tokens:
            raise Refusal("too_long")
        offset, source = length % self.config.block_tokens, None
        shared = offset != 0 and self.holders(table[-1]) > 1
        if (offset == 0 or shared) and not self._free:
            raise Refusal("out_of_blocks")
        if shared:
            source = table.pop()
        if offset == 0 or shared:
            table.append(self._free.popleft())
        self.lengths[sequence] += 1
        return table[-1], offset, source

    def read(self, sequence: int, position: int) -> tuple[int, int]:
        """Return block and offset of a token."""
        self._check(sequence)
        if position >= self.lengths[sequence]:
            raise Refusal("not_allocated")
        logical, offset = divmod(position, self.config.block_tokens)
        return self.tables[sequence][logical], offset

    def list(self, sequence: int) -> list[int]:
        """Return the blocks of a sequence, oldest first."""
        self._allocated(sequence)
        return list(self.tables[sequence])

    def fork(self, sequence: int, other: int) -> None:
        """Make an empty sequence share all blocks of another."""
        self._check(other)
        self._allocated(sequence)
        if self.lengths[other]:
            raise Refusal("in_use")
        self.tables[other] = list(self.tables[sequence])
        self.lengths[other] = self.lengths[sequence]

    def release(self, sequence: int) -> None:
        """Give the blocks of a sequence back."""
        self._allocated(sequence)
        blocks, self.tables[sequence] = self.tables[sequence], []
        self.lengths[sequence] = 0
        self._free += [block for block in blocks if not self.holders(block)]

    def _check(self, sequence: int) -> None:
        if sequence >= self.config.sequences:
            raise Refusal("bad_sequence")

    def _allocated(self, sequence: int) -> None:
        self._check(sequence)
        if not self.lengths[sequence]:
            raise Refusal("not_allocated")
