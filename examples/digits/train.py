# SPDX-License-Identifier: Apache-2.0
"""Trains the example network, quantises it, and writes digits.onnx.

A small network in the style of MCUNet: inverted bottlenecks with depthwise 3x3 and 5x5
convolutions and residual additions, on scikit-learn's handwritten digits at 48x48. Takes a few
minutes on two cores. Needs the `train` extra: pip install -e '.[train]'
"""

from __future__ import annotations

import argparse
import contextlib
import tempfile
from collections.abc import Iterator
from pathlib import Path

import data
import numpy as np
import onnx
import torch
from onnxruntime.quantization import CalibrationDataReader, QuantFormat, QuantType, quantize_static
from onnxruntime.quantization.shape_inference import quant_pre_process
from torch import Tensor, nn

EPOCHS = 30
BATCH = 64
CALIBRATION_IMAGES = 128


def conv(inputs: int, outputs: int, kernel: int, stride: int, groups: int = 1, *, act: bool = True) -> nn.Sequential:
    """Convolution, batch normalisation and, if asked for, ReLU6."""
    layers: list[nn.Module] = [
        nn.Conv2d(inputs, outputs, kernel, stride, kernel // 2, groups=groups, bias=False),
        nn.BatchNorm2d(outputs),
    ]
    return nn.Sequential(*layers, nn.ReLU6()) if act else nn.Sequential(*layers)


class InvertedBottleneck(nn.Module):
    """1x1 expansion, depthwise k x k, 1x1 projection; with a residual where shapes allow."""

    def __init__(self, inputs: int, outputs: int, expand: int, kernel: int, stride: int) -> None:
        super().__init__()
        hidden = inputs * expand
        self.residual = stride == 1 and inputs == outputs
        self.layers = nn.Sequential(
            conv(inputs, hidden, 1, 1),
            conv(hidden, hidden, kernel, stride, groups=hidden),
            conv(hidden, outputs, 1, 1, act=False),
        )

    def forward(self, x: Tensor) -> Tensor:
        """The block's output."""
        y: Tensor = self.layers(x)
        return x + y if self.residual else y


def network() -> nn.Sequential:
    """The example network: [n, 1, 48, 48] to [n, 10]."""
    return nn.Sequential(
        conv(1, 8, 3, 2),
        conv(8, 8, 3, 1, groups=8),
        conv(8, 8, 1, 1, act=False),
        InvertedBottleneck(8, 16, 4, 5, 2),
        InvertedBottleneck(16, 16, 3, 3, 1),
        InvertedBottleneck(16, 24, 4, 5, 2),
        InvertedBottleneck(24, 24, 3, 5, 1),
        InvertedBottleneck(24, 40, 4, 3, 2),
        InvertedBottleneck(40, 40, 3, 3, 1),
        conv(40, 96, 1, 1),
        nn.AdaptiveAvgPool2d(1),
        nn.Flatten(),
        nn.Linear(96, 10),
    )


def augmented(images: Tensor, generator: torch.Generator) -> Tensor:
    """Images shifted by up to 4 pixels, with a little noise."""
    shift = torch.randint(-4, 5, (2,), generator=generator).tolist()
    moved = torch.roll(images, shift, (2, 3))
    return moved + 0.05 * torch.randn(images.shape, generator=generator)


def train(model: nn.Sequential, images: Tensor, labels: Tensor) -> None:
    """Trains in place; the same weights on every run of the same PyTorch build."""
    generator = torch.Generator().manual_seed(1)
    optimizer = torch.optim.AdamW(model.parameters(), lr=4e-3, weight_decay=1e-2)
    steps = EPOCHS * -(-len(images) // BATCH)
    schedule = torch.optim.lr_scheduler.OneCycleLR(optimizer, 4e-3, steps)
    for epoch in range(EPOCHS):
        model.train()
        order = torch.randperm(len(images), generator=generator)
        total = 0.0
        for part in order.split(BATCH):
            loss = nn.functional.cross_entropy(
                model(augmented(images[part], generator)), labels[part], label_smoothing=0.05
            )
            optimizer.zero_grad()
            loss.backward()
            optimizer.step()
            schedule.step()
            total += float(loss.detach()) * len(part)
        print(f"epoch {epoch + 1:2d} of {EPOCHS}: loss {total / len(images):.4f}", flush=True)


class Calibration(CalibrationDataReader):
    """Feeds training images to the quantiser, one at a time."""

    def __init__(self, images: np.ndarray) -> None:
        self._images: Iterator[np.ndarray] = iter(images[:CALIBRATION_IMAGES])

    def get_next(self) -> dict[str, np.ndarray] | None:
        """The next input, None after the last."""
        image = next(self._images, None)
        return None if image is None else {"image": image[None]}


def main() -> None:
    """Trains, exports, quantises and checks."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--output", type=Path, default=Path(__file__).with_name("digits.onnx"))
    output = parser.parse_args().output.resolve()
    torch.manual_seed(1)
    images, labels, test_images, test_labels = data.load()
    model = network()
    train(model, torch.from_numpy(images), torch.from_numpy(labels))
    model.eval()
    with torch.no_grad():
        right = (model(torch.from_numpy(test_images)).argmax(1).numpy() == test_labels).sum()
    print(f"float32: {right} of {len(test_labels)} test images right")
    # The quantiser leaves files of its own in the working folder.
    with tempfile.TemporaryDirectory() as folder, contextlib.chdir(folder):
        exported, prepared = Path(folder, "float.onnx"), Path(folder, "prepared.onnx")
        torch.onnx.export(
            model,
            (torch.from_numpy(images[:1]),),
            exported,
            input_names=["image"],
            output_names=["logits"],
            opset_version=20,
            dynamo=True,
        )
        quant_pre_process(exported, prepared)
        quantize_static(
            prepared,
            output,
            Calibration(images),
            quant_format=QuantFormat.QOperator,
            activation_type=QuantType.QInt8,
            weight_type=QuantType.QInt8,
            per_channel=True,
        )
    written = onnx.load(output)
    # The exporter records stack traces with the paths of the machine it ran on.
    del written.metadata_props[:], written.graph.metadata_props[:]
    for item in (*written.graph.node, *written.graph.value_info, *written.graph.input, *written.graph.output):
        del item.metadata_props[:]
    written.doc_string = "inverted bottlenecks on scikit-learn's handwritten digits, int8"
    onnx.save(written, output)
    print(f"wrote {output} ({output.stat().st_size} bytes)")


if __name__ == "__main__":
    main()
