"""Train a network of shift convolutions on Fashion-MNIST with column combining; see README.md.

Runs go on where they stopped: every epoch ends with a checkpoint. The 10,000 test images are
scored after the last epoch and choose nothing.
"""

import argparse
import json
from pathlib import Path

import numpy as np
import torch
from rich.progress import Progress
from torch import nn
from torch.nn import functional

from tilewright.sw import zoo
from tilewright.sw.sparse.columns import combine
from tilewright.sw.sparse.joint import ColumnCombining, JointConfig

SEED = 5
BATCH = 128
WIDTHS = (36, 72, 144, 144)
"""Channels after the first convolution and after each shift convolution."""
SHIFTS = tuple((r, c) for r in (-1, 0, 1) for c in (-1, 0, 1))


class Shift(nn.Module):
    """Move the nine equal parts of the channels by one pixel each in its own direction."""

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        parts = [len(part) for part in np.array_split(np.arange(x.shape[1]), len(SHIFTS))]
        return torch.cat(
            [
                functional.pad(part, (-column, column, -row, row))
                for part, (row, column) in zip(x.split(parts, dim=1), SHIFTS, strict=True)
            ],
            dim=1,
        )


def network() -> nn.Sequential:
    """Return the network for images [n, 1, 28, 28] in 0..1, with batch normalisation."""
    layers: list[nn.Module] = [
        nn.Conv2d(1, WIDTHS[0], 5, stride=2, padding=2, bias=False),
        nn.BatchNorm2d(WIDTHS[0]),
        nn.ReLU(),
    ]
    for number, (before, after) in enumerate(zip(WIDTHS, WIDTHS[1:], strict=False)):
        layers += [Shift(), nn.Conv2d(before, after, 1, bias=False)]
        layers += [nn.BatchNorm2d(after), nn.ReLU()]
        if number == 0:
            layers.append(nn.MaxPool2d(2))
    layers += [nn.AvgPool2d(7), nn.Flatten(), nn.Linear(WIDTHS[-1], 10)]
    return nn.Sequential(*layers)


def packed_layers(model: nn.Sequential) -> dict[str, nn.Module]:
    """Return the layers that column combining packs: all but the first and the last."""
    return {
        f"layer{number}": module
        for number, module in enumerate(model)
        if isinstance(module, nn.Conv2d) and module.kernel_size == (1, 1)
    }


def train(
    model: nn.Sequential,
    pruning: ColumnCombining | None,
    data: tuple[torch.Tensor, torch.Tensor],
    *,
    epochs: int,
    rate: float,
    checkpoint: Path,
    stop: int | None = None,
) -> None:
    """Train for ``epochs`` of one cosine cycle; pruning events fill the first half.

    A checkpoint that is there is taken up; ``stop`` ends after so many epochs.
    """
    images, labels = data
    torch.manual_seed(SEED)
    model.to(memory_format=torch.channels_last)  # twice as fast
    optimiser = torch.optim.AdamW(model.parameters(), lr=rate, weight_decay=0.01)
    steps = len(images) // BATCH
    schedule = torch.optim.lr_scheduler.OneCycleLR(optimiser, rate, total_steps=epochs * steps)
    first = 0
    if checkpoint.exists():
        state = torch.load(checkpoint, weights_only=True)
        model.load_state_dict(state["model"])
        optimiser.load_state_dict(state["optimiser"])
        schedule.load_state_dict(state["schedule"])
        torch.set_rng_state(state["random"])
        if pruning:
            pruning.load_state_dict(state["pruning"])
        first = state["epoch"]
    events = pruning.config.events if pruning else 0
    due = [round((i + 1) * epochs * steps / 2 / events) for i in range(events)]
    with Progress(transient=True) as progress:
        bar = progress.add_task("", total=epochs * steps, completed=first * steps)
        for epoch in range(first, stop or epochs):
            model.train()
            total = 0.0
            order = torch.randperm(len(images))[: steps * BATCH]
            for step, chosen in enumerate(order.split(BATCH)):
                if pruning and epoch * steps + step in due:
                    pruning.event()
                x = functional.pad(images[chosen], (2, 2, 2, 2))
                row, column = torch.randint(0, 5, (2,)).tolist()
                x = x[:, :, row : row + 28, column : column + 28]
                x = torch.where(torch.rand(len(x), 1, 1, 1) < 0.5, x.flip(3), x)
                loss = functional.cross_entropy(model(x), labels[chosen])
                optimiser.zero_grad()
                loss.backward()
                optimiser.step()
                schedule.step()
                total += loss.item()
                progress.update(bar, advance=1, description=f"loss {loss.item():.3f}")
            print(f"epoch {epoch + 1}/{epochs}: loss {total / steps:.4f}", flush=True)
            save = {
                "model": model.state_dict(),
                "optimiser": optimiser.state_dict(),
                "schedule": schedule.state_dict(),
                "random": torch.get_rng_state(),
                "pruning": pruning.state_dict() if pruning else None,
                "epoch": epoch + 1,
            }
            partial = checkpoint.with_suffix(".partial")
            torch.save(save, partial)
            partial.replace(checkpoint)


def score(model: nn.Sequential, images: torch.Tensor, labels: torch.Tensor) -> int:
    """Return how many images the network puts in the right class."""
    model.eval()
    with torch.no_grad():
        return sum(
            int((model(part).argmax(1) == truth).sum())
            for part, truth in zip(images.split(1000), labels.split(1000), strict=True)
        )


def packing(pruning: ColumnCombining) -> dict[str, float]:
    """Return columns and cells before and after, and utilisation, over all packed layers."""
    columns = packed = cells = kept = before = 0
    for name, weights in pruning.weights().items():
        found = combine(weights, pruning.groups[name], alpha=pruning.config.alpha)
        columns += len(weights)
        before += weights.size
        packed += len(found.values)
        cells += found.values.size
        kept += int(np.count_nonzero(found.values))
    return {
        "columns": columns,
        "packed columns": packed,
        "cells before": before,
        "cells": cells,
        "fewer cells": round(before / cells, 3),
        "utilisation": round(kept / cells, 4),
    }


def fold(model: nn.Sequential) -> dict[str, np.ndarray]:
    """Return each layer's weights and bias with batch normalisation inside, by ``layerN.kind``."""
    arrays: dict[str, np.ndarray] = {}
    modules = list(model)
    for number, module in enumerate(modules):
        if isinstance(module, nn.Linear):
            arrays[f"layer{number}.weight"] = module.weight.detach().numpy()
            arrays[f"layer{number}.bias"] = module.bias.detach().numpy()
        elif isinstance(module, nn.Conv2d):
            norm = modules[number + 1]
            assert isinstance(norm, nn.BatchNorm2d)
            scale = norm.weight / torch.sqrt(norm.running_var + norm.eps)
            weight = module.weight * scale[:, None, None, None]
            arrays[f"layer{number}.weight"] = weight.detach().numpy()
            bias = norm.bias - norm.running_mean * scale
            arrays[f"layer{number}.bias"] = bias.detach().numpy()
    return arrays


def main() -> None:
    """Train, pack, score, save."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--dense", action="store_true", help="train the network to start from")
    parser.add_argument("--start", type=Path, default=Path("build/fashion_sparse/dense.pt"))
    parser.add_argument("--epochs", type=int, default=10)
    parser.add_argument("--alpha", type=int, default=8)
    parser.add_argument("--gamma", type=float, default=0.5)
    parser.add_argument("--sparsity", type=float, default=0.85)
    parser.add_argument("--rule", default="dense")
    parser.add_argument("--fill", action="store_true")
    parser.add_argument("--stop", type=int, help="end the cycle after so many epochs")
    parser.add_argument(
        "--tune", type=int, default=0, help="then so many epochs with weights pruned as they are"
    )
    parser.add_argument("-o", "--output", type=Path, default=Path("build/fashion_sparse"))
    arguments = parser.parse_args()
    torch.use_deterministic_algorithms(True)
    torch.set_num_threads(1)
    torch.manual_seed(SEED)
    (x, y), (test_x, test_y) = (
        (torch.from_numpy(images.astype(np.float32) / 255)[:, None], torch.from_numpy(labels))
        for images, labels in (zoo.fashion("train"), zoo.fashion("test"))
    )
    arguments.output.mkdir(parents=True, exist_ok=True)
    model, pruning, name = network(), None, "dense"
    if not arguments.dense:
        a = arguments
        model.load_state_dict(torch.load(a.start, weights_only=True)["model"])
        config = JointConfig(
            alpha=a.alpha, gamma=a.gamma, sparsity=a.sparsity, rule=a.rule, fill=a.fill
        )
        pruning = ColumnCombining(packed_layers(model), config)
        name = f"alpha{a.alpha}_gamma{a.gamma}_{a.rule}_{a.sparsity}{'_fill' if a.fill else ''}"
    checkpoint = arguments.output / f"{name}.pt"
    rate = 8e-3 if arguments.dense else 4e-3
    epochs, stop, tune = arguments.epochs, arguments.stop, arguments.tune
    train(model, pruning, (x, y), epochs=epochs, rate=rate, checkpoint=checkpoint, stop=stop)
    if tune:
        checkpoint = arguments.output / f"{name}_tuned.pt"
        train(model, None, (x, y), epochs=tune, rate=2e-3, checkpoint=checkpoint)
    report: dict[str, object] = {"name": name, "right": score(model, test_x, test_y)}
    arrays = fold(model)
    if pruning:
        report |= packing(pruning)
        arrays |= {f"{key}.groups": groups for key, groups in pruning.groups.items()}
    np.savez_compressed(arguments.output / f"{name}.npz", **arrays)
    (arguments.output / f"{name}.json").write_text(json.dumps(report, indent=1) + "\n")
    print(json.dumps(report))


if __name__ == "__main__":
    main()
