"""Judge of arrays whose cells select: also places that no packer writes."""

import numpy as np
from numpy.typing import NDArray

from .datapath import DatapathJudge

__all__ = ["SelectJudge"]


class SelectJudge(DatapathJudge):
    """A `DatapathJudge` half of whose weight tiles select any line, also those beyond the group."""

    def _tile(self, w: NDArray[np.int64], mode: int) -> tuple[list[int], NDArray[np.int64]]:
        config = self._config
        beats, w = super()._tile(w, mode)
        if self._rng.random() < 0.5:
            return beats, w
        any_place = self._rng.integers(1 << config.index_bits, size=(len(beats), config.cols))
        for column in range(config.cols):
            lsb = config.word_bits * column + config.w_bits
            for row, place in enumerate(any_place[:, column].tolist()):
                beats[row] = beats[row] & ~((1 << config.index_bits) - 1 << lsb) | place << lsb
        return beats, self._family.unpack(beats, mode)
