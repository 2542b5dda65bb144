"""Judge of chains of packed arrays: results of images under parameters that change, and in time."""

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from ...hw.packed.chain import PackedChain
from ...hw.packed.chain_config import ChainConfig
from ...sw.families.packed_chain import pack_chain
from ...sw.runtime.compiled import CompiledUnit, Traffic
from ..golden.packed_chain import packed_chain
from ..testbench.packed_chain_cases import random_parameters, random_pixels
from .streams import StreamWords

__all__ = ["ChainJudge"]

Words = dict[str, NDArray[np.uint64]]
_PAUSES = ((0, 0), (0.5, 0), (0.1, 0.6), (0, 0), (0, 0.9), (0.3, 0.3))
"""Gaps and stalls, round by round."""


@dataclass(frozen=True)
class _Round:
    """Beats of a set of parameters and of images under it."""

    words: Words
    acts: Words
    results: Words


class ChainJudge:
    """Loads parameters and sends images, again and again, without pauses and with.

    Parameters
    ----------
    config : ChainConfig
        The chain's.
    rounds : int
        Sets of parameters; under each an image, now and then more than the chain holds.
    seed : int
        Of everything.
    """

    def __init__(self, config: ChainConfig, rounds: int = 2500, seed: int = 1):
        rng = np.random.default_rng(seed)
        self._config, self._streams = config, StreamWords(PackedChain(config))
        many = 2 + config.credits // config.pixels
        self._rounds = [
            self._round(many if number % 10 in (0, 4) else 1, rng) for number in range(rounds)
        ]

    def _round(self, images: int, rng: np.random.Generator) -> _Round:
        config, encode = self._config, self._streams.encode
        layers = random_parameters(config, rng)
        pixels = random_pixels(config, images, rng)
        values = packed_chain(config, layers, pixels).tolist()
        ends = np.arange(1, len(values) + 1) % config.pixels == 0
        results = [{"data": v, "end": int(e)} for v, e in zip(values, ends, strict=True)]
        return _Round(
            encode("s_axis_params", pack_chain(config, layers)),
            encode("s_axis_acts", [{"data": pixel} for pixel in pixels.tolist()]),
            encode("m_axis_results", results),
        )

    def __call__(self, unit: CompiledUnit) -> bool:
        """Return whether a chain, fresh from reset, does all that it should."""
        offered = False
        for number, now in enumerate(self._rounds):
            gap, stall = _PAUSES[number % len(_PAUSES)]
            if number % 12 == 11:
                self._interrupt(unit, now, number // 12)
                offered = False
            later = self._rounds[(number + 1) % len(self._rounds)].words
            early = later if number % 3 == 1 else None
            if not self._right(unit, now, gap, stall, offered, early):
                return False
            offered = early is not None
        return True

    def _interrupt(self, unit: CompiledUnit, now: _Round, number: int) -> None:
        """Reset a chain among words, among vectors, or while results wait."""
        cycles = self._config.parameter_words + self._config.latency
        unit.pause("m_axis_results", Traffic(0.999 * (number % 2), 7))
        unit.offer("s_axis_params", now.words)
        unit.offer("s_axis_acts", now.acts)
        unit.step(1 + number * 37 % (2 * cycles))
        for name, beats in (("s_axis_params", now.words), ("s_axis_acts", now.acts)):
            unit.offer(name, {"data": beats["data"][:0]})
        unit.reset()

    def _right(
        self,
        unit: CompiledUnit,
        now: _Round,
        gap: float,
        stall: float,
        offered: bool,
        early: Words | None,
    ) -> bool:
        """Load parameters, unless they are ``offered``, send images, and compare.

        With ``early`` the next parameters are offered while an image is under way.
        """
        config, count = self._config, len(now.acts["data"])
        unit.pause("s_axis_params", Traffic(gap, 3))
        unit.pause("s_axis_acts", Traffic(gap, 5))
        unit.pause("m_axis_results", Traffic(stall, 9))
        if not offered:
            unit.forget()
            unit.offer("s_axis_params", now.words)
        unit.run("s_axis_params", config.parameter_words, quiet=400)
        if len(unit.seen("s_axis_params").cycles) != config.parameter_words:
            return False
        unit.forget()
        unit.offer("s_axis_acts", now.acts)
        if early:
            unit.run("s_axis_acts", count - config.pixels // 2, quiet=400)
            unit.offer("s_axis_params", early)
        unit.run("m_axis_results", count, quiet=400)
        seen, taken = unit.seen("m_axis_results"), unit.seen("s_axis_acts").cycles
        if not early:
            unit.pause("m_axis_results", Traffic())
            unit.step(config.latency)
            seen = unit.seen("m_axis_results")
        if len(seen.cycles) != count or len(unit.seen("s_axis_params").cycles):
            return False
        if any((seen.beats[name] != column).any() for name, column in now.results.items()):
            return False
        if stall:
            return True
        if not gap and (np.diff(taken) != 1).any():
            return False
        return seen.cycles.tolist() == config.timing().results(taken.tolist())
