"""The two demo models in torch, and IResNet-50 at full size with generated weights.

The recognizer is an IResNet as ArcFace uses it (arXiv 1801.07698, section 3.1, after "Identity Mappings in Deep
Residual Networks", 1603.05027). The detector is a small relative of SCRFD (2105.04714): a plain backbone, top-down
and bottom-up neck (FPN 1612.03144, PAN 1803.01534), one head for all strides, two anchors in each cell.
"""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import onnx
import torch
from numpy.typing import NDArray
from torch import Tensor, nn

from rkface.runtime.vision.detectors import STRIDES
from rkface.runtime.vision.detectors.scrfd import ANCHORS

from .measure import DETECTOR_INPUT

INPUT = "input.1"
CROP = 112
OPSET = 12

IRESNET50 = ((3, 4, 14, 3), (64, 128, 256, 512))
DEMO_RECOGNIZER = ((1, 1, 2, 1), (16, 32, 64, 16))
EMBEDDING = 512
_SLOPE = 0.25  # usual initial slope of PReLU, arXiv 1502.01852


class Slope(nn.PReLU):
    """PReLU with a slope for each channel. While ``fixed``, the slopes keep their initial value."""

    fixed = True

    def forward(self, input: Tensor) -> Tensor:
        if not self.training:
            return super().forward(input)
        if self.fixed:
            return nn.functional.leaky_relu(input, _SLOPE)
        slopes: Tensor = _LearnedSlope.apply(input, self.weight)  # type: ignore[no-untyped-call]
        return slopes


class _LearnedSlope(torch.autograd.Function):
    """PReLU with a gradient in a fifth of the time of torch's own, which takes as long as a convolution on a CPU."""

    @staticmethod
    def forward(context: Any, input: Tensor, slopes: Tensor) -> Tensor:
        context.save_for_backward(input, slopes)
        return nn.functional.prelu(input, slopes.to(input.dtype))

    @staticmethod
    def backward(context: Any, gradient: Tensor) -> tuple[Tensor, Tensor]:
        input, slopes = context.saved_tensors
        above = torch.ops.aten.threshold_backward(gradient, input, 0)
        below = gradient - above
        cast = slopes.to(gradient.dtype).view(1, -1, 1, 1)
        return torch.addcmul(above, below, cast), (below * input).sum((0, 2, 3)).to(slopes.dtype)


class ResidualBlock(nn.Module):
    """BN → 3×3 → BN → PReLU → 3×3 (stride) → BN, plus the input, or 1×1 → BN of the input if the shape changes."""

    def __init__(self, inputs: int, outputs: int, stride: int) -> None:
        super().__init__()
        self.body = nn.Sequential(
            nn.BatchNorm2d(inputs),
            nn.Conv2d(inputs, outputs, 3, padding=1, bias=False),
            nn.BatchNorm2d(outputs),
            Slope(outputs, _SLOPE),
            nn.Conv2d(outputs, outputs, 3, stride, padding=1, bias=False),
            nn.BatchNorm2d(outputs),
        )
        self.shortcut = (
            nn.Sequential(nn.Conv2d(inputs, outputs, 1, stride, bias=False), nn.BatchNorm2d(outputs))
            if stride > 1 or inputs != outputs
            else nn.Identity()
        )

    def forward(self, features: Tensor) -> Tensor:
        total: Tensor = self.body(features) + self.shortcut(features)
        return total


class IResNet(nn.Module):
    """N×3×112×112 normalized RGB → N×512, not yet of unit length. ``depths`` and ``widths`` are blocks and channels of
    each stage; a stage halves the resolution in its first block."""

    def __init__(self, depths: Sequence[int], widths: Sequence[int]) -> None:
        super().__init__()
        self.stem = nn.Sequential(
            nn.Conv2d(3, widths[0], 3, padding=1, bias=False), nn.BatchNorm2d(widths[0]), Slope(widths[0], _SLOPE)
        )
        blocks: list[nn.Module] = []
        inputs = widths[0]
        for depth, width in zip(depths, widths, strict=True):
            for index in range(depth):
                blocks.append(ResidualBlock(inputs, width, 2 if index == 0 else 1))
                inputs = width
        self.blocks = nn.Sequential(*blocks)
        side = CROP >> len(depths)
        self.last = nn.BatchNorm2d(inputs)
        self.dense = nn.Linear(inputs * side * side, EMBEDDING)
        self.norm = nn.BatchNorm1d(EMBEDDING)
        nn.init.ones_(self.norm.weight)
        self.norm.weight.requires_grad_(False)

    def forward(self, images: Tensor) -> Tensor:
        features = self.last(self.blocks(self.stem(images)))
        embedding: Tensor = self.norm(self.dense(torch.flatten(features, 1)))
        return embedding


def iresnet(depths: Sequence[int], widths: Sequence[int]) -> IResNet:
    """``iresnet(*IRESNET50)`` has exactly the layers of InsightFace's r50, ``iresnet(*DEMO_RECOGNIZER)`` is the demo
    model."""
    return IResNet(depths, widths)


def _conv(inputs: int, outputs: int, stride: int = 1) -> nn.Sequential:
    # ReLU6 limits every activation, so INT8 steps stay small for any image.
    return nn.Sequential(
        nn.Conv2d(inputs, outputs, 3, stride, padding=1, bias=False), nn.BatchNorm2d(outputs), nn.ReLU6()
    )


class Tower(nn.Module):
    """3×3 convolutions that all strides share, each followed by a separate BatchNormalization for each stride.

    A common one would average different statistics, which moved landmarks by 5 % of the inter-ocular distance (RTMDet,
    arXiv 2212.07784).
    """

    def __init__(self, width: int, depth: int) -> None:
        super().__init__()
        shared = [nn.Conv2d(width, width, 3, padding=1, bias=False) for _ in range(depth)]
        self.levels = nn.ModuleList(
            nn.Sequential(*(nn.Sequential(conv, nn.BatchNorm2d(width), nn.ReLU6()) for conv in shared)) for _ in STRIDES
        )

    def forward(self, features: list[Tensor]) -> list[Tensor]:
        return [level(feature) for level, feature in zip(self.levels, features, strict=True)]


class DemoDetector(nn.Module):
    """N×3×H×W normalized RGB → nine tensors in InsightFace's order: scores N×K×1 at strides 8, 16 and 32, then box
    distances N×K×4 and landmark offsets N×K×10, both in strides. K = (H/s)·(W/s)·2, row by row, the two anchors of a
    cell side by side. Scores are logits in training and probabilities otherwise."""

    def __init__(self, width: int = 40) -> None:
        super().__init__()
        self.stem = nn.Sequential(_conv(3, 16, 2), _conv(16, 24, 2), _conv(24, 24))
        self.stages = nn.ModuleList(
            nn.Sequential(_conv(inputs, outputs, 2), _conv(outputs, outputs))
            for inputs, outputs in ((24, 48), (48, 64), (64, 64))
        )
        self.lateral = nn.ModuleList(nn.Conv2d(inputs, width, 1) for inputs in (48, 64, 64))
        self.down = nn.ModuleList(_conv(width, width, 2) for _ in range(2))
        self.merge = nn.ModuleList(_conv(width, width) for _ in STRIDES)
        # One head for all strides: in units of the stride, faces look the same on each level, so every face trains all
        # levels. Landmarks have a separate tower, because they are harder than everything else together.
        self.tower, self.point_tower = Tower(width, 1), Tower(width, 2)
        self.score, self.box, self.point = (
            nn.Conv2d(width, ANCHORS * channels, 3, padding=1) for channels in (1, 4, 10)
        )
        assert self.score.bias is not None
        # Faces are rare: start with a prior of 1 %, as in focal loss (1708.02002).
        nn.init.constant_(self.score.bias, -4.6)

    def forward(self, images: Tensor) -> tuple[Tensor, ...]:
        features = self._neck(self._backbone(images))
        towers, point_towers = self.tower(features), self.point_tower(features)
        # The last layer does not use autocast: bfloat16 has 8 bits, so an offset of 1.5 strides would have steps of
        # 0.01.
        with torch.autocast("cpu", enabled=False):
            scores = [self._flat(self.score(tower.float()), 1) for tower in towers]
            boxes = [self._flat(self.box(tower.float()), 4) for tower in towers]
            points = [self._flat(self.point(tower.float()), 10) for tower in point_towers]
        if not self.training:
            scores = [torch.sigmoid(score) for score in scores]
        return (*scores, *boxes, *points)

    def _backbone(self, images: Tensor) -> list[Tensor]:
        feature = self.stem(images)
        found = []
        for stage in self.stages:
            feature = stage(feature)
            found.append(feature)
        return found

    def _neck(self, features: list[Tensor]) -> list[Tensor]:
        small, medium, large = (layer(feature) for layer, feature in zip(self.lateral, features, strict=True))
        medium = medium + nn.functional.interpolate(large, scale_factor=2.0, mode="nearest")
        small = self.merge[0](small + nn.functional.interpolate(medium, scale_factor=2.0, mode="nearest"))
        medium = self.merge[1](medium + self.down[0](small))
        large = self.merge[2](large + self.down[1](medium))
        return [small, medium, large]

    def _flat(self, head: Tensor, channels: int) -> Tensor:
        batch = head.shape[0]
        rows = head.permute(0, 2, 3, 1)
        # No batch dimension in the exported model: the outputs of det_10g are K×C.
        return rows.reshape(batch, -1, channels) if self.training else rows.reshape(-1, channels)


def export(model: nn.Module, path: Path, width: int, height: int, outputs: Sequence[str]) -> None:
    """Write ``model`` as ONNX with a static 1×3×height×width input called ``input.1``. Weights are FP32."""
    model = model.eval().float()
    path.parent.mkdir(parents=True, exist_ok=True)
    with torch.no_grad():
        torch.onnx.export(
            model,
            (torch.zeros(1, 3, height, width),),
            path,
            dynamo=False,
            opset_version=OPSET,
            input_names=[INPUT],
            output_names=list(outputs),
            do_constant_folding=True,
        )


def export_detector(model: DemoDetector, path: Path) -> None:
    names = [f"{kind}_{stride}" for kind in ("score", "bbox", "kps") for stride in STRIDES]
    export(model, path, DETECTOR_INPUT.width, DETECTOR_INPUT.height, names)


def export_recognizer(model: IResNet, path: Path) -> None:
    export(model, path, CROP, CROP, ["embedding"])


def export_iresnet50(path: Path, seed: int, samples: int = 8) -> None:
    """Write an IResNet-50 of exactly the size of ``w600k_r50``, with random weights from ``seed``: only to measure
    time.

    It uses He initialization (1502.01852). The batch statistics are those of ``samples`` rendered faces, so activations
    stay in a normal range in every layer, as in a trained network. Simplified by onnxsim, it has 130 nodes and 174 MB.
    """
    from .identity import TRAIN
    from .render import render_crop

    torch.manual_seed(seed)
    model = iresnet(*IRESNET50)
    for module in model.modules():
        if isinstance(module, nn.Conv2d):
            nn.init.kaiming_normal_(module.weight, a=_SLOPE, mode="fan_out")
        if isinstance(module, nn.BatchNorm1d | nn.BatchNorm2d):
            module.momentum = None  # a plain average over all batches
    crops = np.stack([render_crop(seed, TRAIN[index]) for index in range(samples)])
    with torch.no_grad():
        model.train()(normalized(crops))
    export_recognizer(model, path)


def normalized(crops: NDArray[np.uint8], std: float = 127.5) -> Tensor:
    """N×H×W×3 uint8 BGR → N×3×H×W float32 RGB, (x − 127.5) / ``std``, channels last in memory."""
    rgb = torch.from_numpy(np.ascontiguousarray(crops[..., ::-1])).permute(0, 3, 1, 2)
    return (rgb.float() - 127.5) / std


def node_counts(path: Path) -> dict[str, int]:
    """The number of nodes of each kind in the ONNX file at ``path``."""
    kinds = [node.op_type for node in onnx.load(str(path), load_external_data=False).graph.node]
    return {kind: kinds.count(kind) for kind in sorted(set(kinds))}
