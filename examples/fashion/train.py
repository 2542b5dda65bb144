"""Train a small network on Fashion-MNIST and write fashion.onnx; see README.md in this folder.

The 10,000 test images are scored once, at the end, and choose nothing.
"""

import argparse
from pathlib import Path

import numpy as np
import onnx
import torch
from onnx import TensorProto, helper, numpy_helper
from torch import nn
from torch.nn import functional

from tilewright.sw import zoo

SEED = 3
BATCH = 100


def network() -> nn.Sequential:
    """Return two convolutions and two dense layers, for images [n, 1, 28, 28] in 0..1."""
    return nn.Sequential(
        nn.Conv2d(1, 8, 5), nn.ReLU(), nn.MaxPool2d(2),
        nn.Conv2d(8, 16, 5), nn.ReLU(), nn.MaxPool2d(2),
        nn.Flatten(), nn.Linear(256, 64), nn.ReLU(), nn.Linear(64, 10),
    )  # fmt: skip


def train(images: torch.Tensor, labels: torch.Tensor, epochs: int) -> nn.Sequential:
    """Return the network after one cosine cycle of AdamW; images flip and move by two pixels."""
    torch.manual_seed(SEED)
    model = network()
    optimiser = torch.optim.AdamW(model.parameters(), lr=4e-3, weight_decay=0.02)
    steps = epochs * (len(images) // BATCH)
    schedule = torch.optim.lr_scheduler.OneCycleLR(optimiser, 6e-3, total_steps=steps)
    for epoch in range(epochs):
        total = 0.0
        for chosen in torch.randperm(len(images)).split(BATCH):
            x = functional.pad(images[chosen], (2, 2, 2, 2))
            row, column = torch.randint(0, 5, (2,)).tolist()
            x = x[:, :, row : row + 28, column : column + 28]
            x = torch.where(torch.rand(len(x), 1, 1, 1) < 0.5, x.flip(3), x)
            loss = functional.cross_entropy(model(x), labels[chosen], label_smoothing=0.05)
            optimiser.zero_grad()
            loss.backward()
            optimiser.step()
            schedule.step()
            total += loss.item() * len(chosen)
        print(f"epoch {epoch + 1}/{epochs}: loss {total / len(images):.4f}", flush=True)
    return model.eval()


def export(model: nn.Sequential) -> onnx.ModelProto:
    """Return the network as ONNX, one node per module: image [1, 1, 28, 28] to logits [1, 10]."""
    nodes, weights, tensor = [], [], "image"
    for number, module in enumerate(model):
        last = number == len(model) - 1
        output, inputs, attributes = "logits" if last else f"t{number}", [tensor], {}
        for name, value in module.named_parameters():
            inputs.append(f"layer{number}.{name}")
            weights.append(numpy_helper.from_array(value.detach().numpy(), inputs[-1]))
        match module:
            case nn.Conv2d():
                op, attributes = "Conv", {"kernel_shape": list(module.kernel_size)}
            case nn.Linear():
                op, attributes = "Gemm", {"transB": 1}
            case nn.MaxPool2d():
                op, attributes = "MaxPool", {"kernel_shape": [2, 2], "strides": [2, 2]}
            case nn.Flatten():
                op, attributes = "Flatten", {"axis": 1}
            case _:
                op = "Relu"
        nodes.append(helper.make_node(op, inputs, [output], name=f"layer{number}", **attributes))
        tensor = output
    ends = [
        helper.make_tensor_value_info(name, TensorProto.FLOAT, shape)
        for name, shape in (("image", [1, 1, 28, 28]), ("logits", [1, 10]))
    ]
    graph = helper.make_graph(nodes, "fashion", ends[:1], ends[1:], weights)
    result = helper.make_model(
        graph, producer_name="fashion/train.py", opset_imports=[helper.make_opsetid("", 17)]
    )
    result.ir_version = 8
    onnx.checker.check_model(result, full_check=True)
    return result


def main() -> None:
    """Train, export, score."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--epochs", type=int, default=15)
    parser.add_argument("-o", "--output", type=Path, default=Path("build/fashion.onnx"))
    arguments = parser.parse_args()
    torch.use_deterministic_algorithms(True)
    torch.set_num_threads(1)
    (x, y), (test_x, test_y) = (
        (torch.from_numpy(images.astype(np.float32) / 255)[:, None], torch.from_numpy(labels))
        for images, labels in (zoo.fashion("train"), zoo.fashion("test"))
    )
    model = train(x, y, arguments.epochs)
    arguments.output.parent.mkdir(parents=True, exist_ok=True)
    arguments.output.write_bytes(export(model).SerializeToString())
    with torch.no_grad():
        right = sum(
            int((model(part).argmax(1) == truth).sum())
            for part, truth in zip(test_x.split(1000), test_y.split(1000), strict=True)
        )
    size = arguments.output.stat().st_size
    print(f"{arguments.output}: {size} bytes, {right} of {len(test_x)} test images right")


if __name__ == "__main__":
    main()
