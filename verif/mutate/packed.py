"""Judge of arrays whose cells select: also places beyond the last line, which mean the last."""

import numpy as np
from numpy.typing import NDArray

from .datapath import DatapathJudge

__all__ = ["SelectJudge"]


class SelectJudge(DatapathJudge):
    """A `DatapathJudge` whose weight tiles name the last line by every number that means it."""

    def _tile(self, w: NDArray[np.int64], mode: int) -> list[int]:
        config = self._config
        beats = super()._tile(w, mode)
        last, most = config.lines - 1, (1 << config.index_bits) - 1
        for row, beat in enumerate(beats):
            for column in range(config.cols):
                lsb = config.word_bits * column + config.w_bits
                if beat >> lsb & most == last:
                    beats[row] += int(self._rng.integers(last, most + 1)) - last << lsb
        return beats
