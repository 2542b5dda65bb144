"""Judge of chains of packed arrays: results of images under parameters that change, and in time."""

import numpy as np

from ...hw.packed.chain import PackedChain
from ...hw.packed.chain_config import ChainConfig
from ...sw.pack.packed_chain import pack_chain
from ..golden.packed_chain import packed_chain
from ..simulate.compiled import CompiledUnit, Traffic
from ..testbench.packed_chain_cases import random_parameters, random_pixels
from .streams import StreamWords

__all__ = ["ChainJudge"]


class ChainJudge:
    """Loads parameters and sends images, again and again, without pauses and with.

    Parameters
    ----------
    config : ChainConfig
        The chain's.
    rounds, images : int
        Sets of parameters, and images under each.
    seed : int
        Of everything.
    """

    def __init__(self, config: ChainConfig, rounds: int = 24, images: int = 16, seed: int = 1):
        rng = np.random.default_rng(seed)
        self._config, streams = config, StreamWords(PackedChain(config))
        self._rounds = []
        ends = (np.arange(1, images * config.pixels + 1) % config.pixels == 0).tolist()
        for _ in range(rounds):
            layers = random_parameters(config, rng)
            pixels = random_pixels(config, images, rng)
            values = packed_chain(config, layers, pixels).tolist()
            results = [{"data": v, "end": e} for v, e in zip(values, ends, strict=True)]
            acts = [{"data": pixel} for pixel in pixels.tolist()]
            self._rounds.append(
                (
                    streams.encode("s_axis_params", pack_chain(config, layers)),
                    streams.encode("s_axis_acts", acts),
                    streams.encode("m_axis_results", results),
                )
            )

    def __call__(self, unit: CompiledUnit) -> bool:
        """Return whether a chain, fresh from reset, does all that it should."""
        pauses = ((0, 0), (0, 0), (0.5, 0), (0.1, 0.6), (0, 0.9))
        for number, (words, acts, results) in enumerate(self._rounds):
            gap, stall = pauses[number % len(pauses)]
            if number % 7 == 6:  # a reset in the middle: then everything is as at first
                unit.offer("s_axis_acts", acts)
                unit.step(3 * number)
                unit.offer("s_axis_acts", {"data": acts["data"][:0]})
                unit.reset()
            if not self._right(unit, words, acts, results, gap, stall):
                return False
        return True

    def _right(self, unit: CompiledUnit, words, acts, results, gap: float, stall: float) -> bool:
        """Load parameters into a chain that is still, send images, and compare."""
        config, count = self._config, len(acts["data"])
        unit.forget()
        unit.pause("s_axis_params", Traffic(gap, 3))
        unit.pause("s_axis_acts", Traffic(gap, 5))
        unit.pause("m_axis_results", Traffic(stall, 9))
        unit.offer("s_axis_params", words)
        unit.run("s_axis_params", config.parameter_words, quiet=400)
        unit.offer("s_axis_acts", acts)
        unit.run("m_axis_results", count, quiet=400)
        unit.pause("m_axis_results", Traffic())
        unit.step(2 * config.latency)
        seen, taken = unit.seen("m_axis_results"), unit.seen("s_axis_acts").cycles
        loaded = unit.seen("s_axis_params").cycles
        if len(loaded) != config.parameter_words or len(seen.cycles) != count:
            return False
        if any((seen.beats[name] != column).any() for name, column in results.items()):
            return False
        if stall:
            return True
        if not gap and (np.diff(taken) != 1).any():
            return False
        return seen.cycles.tolist() == config.timing().results(taken.tolist())
