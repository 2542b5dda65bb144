"""Train LeNet-5 on 4,000 MNIST digits and write lenet5.onnx; see README.md in this folder.

The 1,000 held-out digits are scored once, at the end, and choose nothing.
"""

import argparse
import math
from pathlib import Path

import numpy as np
import onnx
import torch
from onnx import TensorProto, helper, numpy_helper
from torch import nn
from torch.nn import functional

from tilewright.sw import zoo

SEED = 5
BATCH = 50


class LeNet5(nn.Module):
    """LeCun et al., Gradient-Based Learning Applied to Document Recognition, 1998; with ReLU."""

    def __init__(self) -> None:
        super().__init__()
        self.conv1 = nn.Conv2d(1, 6, 5)
        self.conv2 = nn.Conv2d(6, 16, 5)
        self.fc1 = nn.Linear(256, 120)
        self.fc2 = nn.Linear(120, 84)
        self.fc3 = nn.Linear(84, 10)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        """Return logits for images in 0..1."""
        x = functional.max_pool2d(functional.relu(self.conv1(x)), 2)
        x = functional.max_pool2d(functional.relu(self.conv2(x)), 2)
        x = functional.relu(self.fc1(x.flatten(1)))
        return self.fc3(functional.dropout(functional.relu(self.fc2(x)), 0.2, self.training))


def augment(images: torch.Tensor) -> torch.Tensor:
    """Return the images rotated, scaled, sheared, shifted and bent a little, each its own way."""
    n = len(images)
    angle = (torch.rand(n) - 0.5) * 2 * math.radians(14)
    shear = (torch.rand(n) - 0.5) * 0.5
    scale = 1 + (torch.rand(2, n) - 0.5) * 0.3
    shift = (torch.rand(2, n) - 0.5) * 2 * (2.5 / 14)
    cos, sin = torch.cos(angle), torch.sin(angle)
    theta = torch.stack(
        [
            torch.stack([cos * scale[0], (shear - sin) * scale[0], shift[0]], 1),
            torch.stack([sin * scale[1], cos * scale[1], shift[1]], 1),
        ],
        1,
    )
    grid = functional.affine_grid(theta, list(images.shape), align_corners=False)
    bend = functional.interpolate((torch.rand(n, 2, 5, 5) - 0.5) * 0.28, 28, mode="bicubic")
    return functional.grid_sample(images, grid + bend.permute(0, 2, 3, 1), align_corners=False)


def train(images: torch.Tensor, labels: torch.Tensor, epochs: int) -> LeNet5:
    """Return a network trained by AdamW with one cosine cycle; weights are a running mean."""
    torch.manual_seed(SEED)
    model = LeNet5()
    optimiser = torch.optim.AdamW(model.parameters(), lr=2e-3, weight_decay=0.02)
    steps = epochs * (len(images) // BATCH)
    schedule = torch.optim.lr_scheduler.OneCycleLR(optimiser, 3e-3, total_steps=steps)
    mean = torch.optim.swa_utils.AveragedModel(
        model, multi_avg_fn=torch.optim.swa_utils.get_ema_multi_avg_fn(0.998)
    )
    for epoch in range(epochs):
        total = 0.0
        for chosen in torch.randperm(len(images)).split(BATCH):
            loss = functional.cross_entropy(
                model(augment(images[chosen])), labels[chosen], label_smoothing=0.05
            )
            optimiser.zero_grad()
            loss.backward()
            optimiser.step()
            schedule.step()
            mean.update_parameters(model)
            total += loss.item() * len(chosen)
        print(f"epoch {epoch + 1}/{epochs}: loss {total / len(images):.4f}", flush=True)
    result = mean.module
    assert isinstance(result, LeNet5)
    return result.eval()


def export(model: LeNet5) -> onnx.ModelProto:
    """Return the network as ONNX: images [1, 1, 28, 28] in 0..1 to logits [1, 10]."""
    weights = [
        numpy_helper.from_array(value.detach().numpy().astype(np.float32), name)
        for name, value in model.state_dict().items()
    ]

    def node(op: str, name: str, x: str, y: str, **attributes: object) -> onnx.NodeProto:
        weighted = [f"{name}.weight", f"{name}.bias"] if op in ("Conv", "Gemm") else []
        return helper.make_node(op, [x, *weighted], [y], name=name, **attributes)

    pool: dict[str, object] = {"kernel_shape": [2, 2], "strides": [2, 2]}
    nodes = [
        node("Conv", "conv1", "image", "c1", kernel_shape=[5, 5]),
        node("Relu", "relu1", "c1", "r1"),
        node("MaxPool", "pool1", "r1", "p1", **pool),
        node("Conv", "conv2", "p1", "c2", kernel_shape=[5, 5]),
        node("Relu", "relu2", "c2", "r2"),
        node("MaxPool", "pool2", "r2", "p2", **pool),
        node("Flatten", "flatten", "p2", "f", axis=1),
        node("Gemm", "fc1", "f", "f1", transB=1),
        node("Relu", "relu3", "f1", "r3"),
        node("Gemm", "fc2", "r3", "f2", transB=1),
        node("Relu", "relu4", "f2", "r4"),
        node("Gemm", "fc3", "r4", "logits", transB=1),
    ]
    graph = helper.make_graph(
        nodes,
        "lenet5",
        [helper.make_tensor_value_info("image", TensorProto.FLOAT, [1, 1, 28, 28])],
        [helper.make_tensor_value_info("logits", TensorProto.FLOAT, [1, 10])],
        weights,
    )
    result = helper.make_model(
        graph, producer_name="lenet5/train.py", opset_imports=[helper.make_opsetid("", 17)]
    )
    result.ir_version = 8
    onnx.checker.check_model(result, full_check=True)
    return result


def main() -> None:
    """Train, export, score."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--epochs", type=int, default=120)
    parser.add_argument("-o", "--output", type=Path, default=Path("build/lenet5.onnx"))
    arguments = parser.parse_args()
    torch.use_deterministic_algorithms(True)
    torch.set_num_threads(2)
    images, labels = zoo.mnist()
    training, test = zoo.mnist_split(labels)
    x = torch.from_numpy(images.astype(np.float32) / 255)[:, None]
    y = torch.from_numpy(labels)
    model = train(x[training], y[training], arguments.epochs)
    arguments.output.parent.mkdir(parents=True, exist_ok=True)
    arguments.output.write_bytes(export(model).SerializeToString())
    with torch.no_grad():
        right = int((model(x[test]).argmax(1) == y[test]).sum())
    size = arguments.output.stat().st_size
    print(f"{arguments.output}: {size} bytes, {right} of {len(test)} test images right")


if __name__ == "__main__":
    main()
