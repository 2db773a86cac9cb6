"""What flows through a model while it looks at calibration images: the range and the mean of every channel."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
import onnx
from numpy.typing import NDArray

from rkface.runtime.backends.reference import normalize, open_reference
from rkface.runtime.core.bundle import Input

WATCHED = ("Conv", "Gemm", "BatchNormalization", "Relu", "PRelu", "LeakyRelu", "Clip", "Add")


@dataclass(frozen=True)
class Observed:
    """One tensor, over all images. ``low`` and ``high``: C float32, by channel; ``mean``: C×H×W or C float64."""

    low: NDArray[np.float32]
    high: NDArray[np.float32]
    mean: NDArray[np.float64]

    @property
    def reach(self) -> NDArray[np.float32]:
        """C float32: the largest magnitude in each channel."""
        return np.maximum(np.abs(self.low), np.abs(self.high))

    @property
    def range(self) -> tuple[float, float]:
        """Of the whole tensor, with 0 between, as INT8 has it."""
        return min(float(self.low.min()), 0.0), max(float(self.high.max()), 0.0)

    def scaled(self, by: NDArray[np.float32]) -> Observed:
        """The same tensor with each channel multiplied by a positive number (``by``: C)."""
        over = by.reshape(-1, *(1,) * (self.mean.ndim - 1))
        return replace(self, low=self.low * by, high=self.high * by, mean=self.mean * over)


def observe(
    model: Any,
    input: Input,
    images: NDArray[np.uint8],
    scratch: Path,
    progress: Callable[[int, int], None] = lambda done, total: None,
) -> dict[str, Observed]:
    """Run ``model`` (a ModelProto, batch 1) on ``images`` (N×H×W×3 uint8 RGB) and watch what every layer makes and
    what every Conv and Gemm is fed, the input among it. ``scratch`` names a file to write and remove."""
    weights = {tensor.name for tensor in model.graph.initializer}
    made = {name for node in model.graph.node if node.op_type in WATCHED for name in node.output}
    read = {node.input[0] for node in model.graph.node if node.op_type in ("Conv", "Gemm")}
    names = sorted((made | read) - weights - {input.name})
    seen: dict[str, Observed] = {}
    for index, values in enumerate(watch(model, input, names, images, scratch)):
        for name, value in values.items():
            seen[name] = _and(seen.get(name), value, index)
        progress(index + 1, len(images))
    return seen


def watch(
    model: Any, input: Input, names: Sequence[str], images: NDArray[np.uint8], scratch: Path
) -> Iterator[dict[str, NDArray[np.float32]]]:
    """What ``input`` and the tensors ``names`` hold, without their first axis of 1, image by image.

    Models are under 2 GB here, protobuf's limit.
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


def _and(before: Observed | None, values: NDArray[np.float32], images: int) -> Observed:
    flat = values.reshape(len(values), -1)
    low, high = flat.min(axis=1), flat.max(axis=1)
    if before is None:
        return Observed(low, high, values.astype(np.float64))
    mean = before.mean + (values - before.mean) / (images + 1)
    return Observed(np.minimum(before.low, low), np.maximum(before.high, high), mean)
