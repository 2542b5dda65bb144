"""Functional coverage: named points with bins, counted in monitors, merged over runs."""

import json
import os
from collections.abc import Iterable
from pathlib import Path

__all__ = ["Cover", "merge"]


class Cover:
    """Counts how often each bin of each point was hit.

    Parameters
    ----------
    **points : iterable of str
        Names of the bins of each point.
    """

    def __init__(self, **points: Iterable[str]):
        self.hits = {point: dict.fromkeys(map(str, bins), 0) for point, bins in points.items()}

    def cross(self, name: str, first: str, second: str) -> None:
        """Add a point ``name`` with a bin for every pair of bins of two others."""
        self.hits[name] = {f"{a}*{b}": 0 for a in self.hits[first] for b in self.hits[second]}

    def hit(self, point: str, bin_: object) -> None:
        """Count one hit; a bin that was not declared is a mistake in the bench."""
        bins = self.hits[point]
        if str(bin_) not in bins:
            raise KeyError(f"point {point} has no bin {bin_} (bins: {', '.join(bins)})")
        bins[str(bin_)] += 1

    def missing(self) -> list[str]:
        """Return ``point/bin`` of all bins that were never hit."""
        return [f"{p}/{b}" for p, bins in self.hits.items() for b, n in bins.items() if not n]

    def save(self, name: str) -> None:
        """Write the counts where the runner collects them; without a runner, nowhere."""
        folder = os.environ.get("TILEWRIGHT_COVER")
        if folder:
            path = Path(folder) / f"{name}.json"
            path.parent.mkdir(parents=True, exist_ok=True)
            path.write_text(json.dumps(self.hits, indent=1))


def merge(folder: Path) -> Cover:
    """Return the sum of the counts that runs have saved in ``folder``."""
    total = Cover()
    for path in sorted(folder.glob("**/*.json")):
        for point, bins in json.loads(path.read_text()).items():
            sums = total.hits.setdefault(point, {})
            for name, count in bins.items():
                sums[name] = sums.get(name, 0) + count
    return total
