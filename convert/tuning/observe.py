"""Measures the activations of a model on calibration images: the range and the mean of every channel."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
import onnx
from numpy.typing import NDArray

from rkface.runtime.backends.reference import normalize, open_reference
from rkface.runtime.core.manifest import Input

WATCHED = ("Conv", "Gemm", "BatchNormalization", "Relu", "PRelu", "LeakyRelu", "Clip", "Add", "MaxPool", "AveragePool",
           "GlobalAveragePool", "Pad", "Flatten")  # fmt: skip


@dataclass(frozen=True)
class ObservedTensor:
    """One tensor, over all images.

    low, high  C float32: the range of each channel
    mean       C×H×W or C float64
    """

    low: NDArray[np.float32]
    high: NDArray[np.float32]
    mean: NDArray[np.float64]

    @property
    def reach(self) -> NDArray[np.float32]:
        """C float32: the largest magnitude in each channel."""
        return np.maximum(np.abs(self.low), np.abs(self.high))

    @property
    def range(self) -> tuple[float, float]:
        """(low, high) of the whole tensor, extended to contain 0, as INT8 needs it."""
        return min(float(self.low.min()), 0.0), max(float(self.high.max()), 0.0)

    def widened(self, other: ObservedTensor) -> ObservedTensor:
        """The same tensor with ranges that contain those of ``other``."""
        return replace(self, low=np.minimum(self.low, other.low), high=np.maximum(self.high, other.high))

    def scaled(self, by: NDArray[np.float32]) -> ObservedTensor:
        """The same tensor with each channel multiplied by a positive number (``by``: C)."""
        over = by.reshape(-1, *(1,) * (self.mean.ndim - 1))
        return replace(self, low=self.low * by, high=self.high * by, mean=self.mean * over)


def observe_tensors(
    model: Any,
    input: Input,
    images: NDArray[np.uint8],
    scratch: Path,
    progress: Callable[[int, int], None] = lambda done, total: None,
) -> dict[str, ObservedTensor]:
    """Run ``model`` (a ModelProto, batch 1) on ``images`` (N×H×W×3 uint8 RGB) and measure the output of every layer and
    the input of every Conv and Gemm, by name. ``scratch`` is a file to write and to delete."""
    weights = {tensor.name for tensor in model.graph.initializer}
    made = {name for node in model.graph.node if node.op_type in WATCHED for name in node.output}
    read = {node.input[0] for node in model.graph.node if node.op_type in ("Conv", "Gemm")}
    names = sorted((made | read) - weights - {input.name})
    seen: dict[str, ObservedTensor] = {}
    for index, values in enumerate(watch_tensors(model, input, names, images, scratch)):
        for name, value in values.items():
            seen[name] = _merge(seen.get(name), value, index)
        progress(index + 1, len(images))
    return seen


def watch_tensors(
    model: Any, input: Input, names: Sequence[str], images: NDArray[np.uint8], scratch: Path
) -> Iterator[dict[str, NDArray[np.float32]]]:
    """For each image, the values of ``input`` and of the tensors ``names``, without the batch axis.

    ``scratch`` is a file to write and to delete. Models must be under 2 GB, protobuf's limit.
    """
    if not names:
        return
    watched = onnx.ModelProto()
    watched.CopyFrom(model)
    del watched.graph.output[:]
    watched.graph.output.extend(
        onnx.helper.make_tensor_value_info(name, onnx.TensorProto.FLOAT, None) for name in names
    )
    try:
        onnx.save(watched, str(scratch))
        backend = open_reference(scratch, input)
        for image in images:
            fed = [normalize(image[None], input), *backend.infer(image[None])]
            yield {name: values[0] for name, values in zip((input.name, *names), fed, strict=True)}
        backend.close()
    finally:
        scratch.unlink(missing_ok=True)


def _merge(before: ObservedTensor | None, values: NDArray[np.float32], images: int) -> ObservedTensor:
    flat = values.reshape(len(values), -1)
    low, high = flat.min(axis=1), flat.max(axis=1)
    if before is None:
        return ObservedTensor(low, high, values.astype(np.float64))
    mean = before.mean + (values - before.mean) / (images + 1)
    return ObservedTensor(np.minimum(before.low, low), np.maximum(before.high, high), mean)
