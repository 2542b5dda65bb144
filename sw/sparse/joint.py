"""Joint optimisation in PyTorch: prune, group, prune conflicts, retrain, and again."""

from dataclasses import dataclass

import numpy as np

from ...gen.errors import ToolError

try:
    import torch  # pyright: ignore[reportMissingImports] # extra train
    from torch import nn  # pyright: ignore[reportMissingImports] # extra train
    from torch.nn.utils import parametrize  # pyright: ignore[reportMissingImports] # extra train
except ImportError:
    raise ToolError("joint optimisation needs PyTorch: pip install 'tilewright[train]'") from None

from .columns import check_alpha, group_columns, magnitude, prune_conflicts

__all__ = ["ColumnCombining", "JointConfig", "prune_magnitude"]


@dataclass(frozen=True, kw_only=True)
class JointConfig:
    """How a network is pruned and packed while it trains.

    Attributes
    ----------
    alpha, gamma, rule, section : int, float, str, int
        As in `group_columns`.
    sparsity : float
        Part of each layer's weights that magnitude pruning has taken away after the last event,
        0 to below 1.
    events : int
        How often pruning and grouping are done; event ``i`` of ``n`` prunes to
        ``sparsity * (1 - (1 - i / n) ** 3)``.
    fill : bool
        Whether a cell of a packed column that pruning left empty takes the largest of its
        group's pruned weights back, which costs no cell.
    """

    alpha: int = 8
    gamma: float = 0.5
    rule: str = "dense"
    section: int = 0
    sparsity: float = 0.8
    events: int = 10
    fill: bool = False

    def __post_init__(self) -> None:
        check_alpha(self.alpha)
        if not 0 <= self.sparsity < 1:
            raise ValueError(f"sparsity must be from 0 to below 1, not {self.sparsity!r}")
        if self.events < 1:
            raise ValueError(f"events must be 1 or more, not {self.events!r}")


class _Mask(nn.Module):
    """Multiplies a weight by zeros and ones; what is masked keeps its value for later events."""

    mask: torch.Tensor

    def __init__(self, weight: torch.Tensor):
        super().__init__()
        self.register_buffer("mask", torch.ones_like(weight))

    def forward(self, weight: torch.Tensor) -> torch.Tensor:
        return weight * self.mask


class ColumnCombining:
    """Column combining of layers that train: call `event` now and then, train on in between.

    Masks are buffers of the layers, so that a checkpoint of the network holds them; groups are in
    `state_dict`.

    Parameters
    ----------
    layers : dict of str to Module
        Linear layers and 1 x 1 convolutions; their weights are masked from now on.
    config : JointConfig
        See there.
    """

    def __init__(self, layers: dict[str, nn.Module], config: JointConfig):
        self.config, self.done = config, 0
        self.groups: dict[str, np.ndarray] = {}
        self._weights: dict[str, torch.Tensor] = {}
        self._masks: dict[str, _Mask] = {}
        for name, layer in layers.items():
            weight = layer.weight
            if not isinstance(weight, torch.Tensor) or weight.shape[2:].numel() != 1:
                raise ValueError(f"layer {name!r} must be linear or a 1 x 1 convolution")
            mask = _Mask(weight)
            parametrize.register_parametrization(layer, "weight", mask)
            found = dict(layer.named_parameters())["parametrizations.weight.original"]
            self._weights[name], self._masks[name] = found, mask

    def event(self) -> None:
        """Prune by magnitude, group, and prune conflicts in every layer."""
        self.done = min(self.done + 1, self.config.events)
        c = self.config
        rate = c.sparsity * (1 - (1 - self.done / c.events) ** 3)
        for name, weight in self._weights.items():
            matrix = weight.detach().reshape(weight.shape[:2]).T.numpy()
            kept = prune_magnitude(matrix, rate)
            groups = group_columns(
                kept, alpha=c.alpha, gamma=c.gamma, rule=c.rule, section=c.section
            )
            kept = prune_conflicts(matrix if c.fill else kept, groups)
            mask = torch.from_numpy(np.ascontiguousarray((kept != 0).T)).reshape(weight.shape)
            self._masks[name].mask.copy_(mask)
            self.groups[name] = groups

    def weights(self) -> dict[str, np.ndarray]:
        """Return each layer's masked weights [K, N]."""
        return {
            name: self._masks[name](weight).detach().reshape(weight.shape[:2]).T.numpy()
            for name, weight in self._weights.items()
        }

    def state_dict(self) -> dict:
        """Return the events done and the groups, for a checkpoint."""
        return {
            "done": self.done,
            "groups": {name: torch.from_numpy(g.copy()) for name, g in self.groups.items()},
        }

    def load_state_dict(self, state: dict) -> None:
        """Take up what `state_dict` gave."""
        self.done = state["done"]
        self.groups = {name: g.numpy() for name, g in state["groups"].items()}


def prune_magnitude(weights: np.ndarray, rate: float) -> np.ndarray:
    """Return the weights with the smallest ``rate`` of them zero; of equal ones the first go."""
    order = np.argsort(magnitude(weights), axis=None, kind="stable")
    kept = weights.copy()
    kept.reshape(-1)[order[: round(rate * weights.size)]] = 0
    return kept
