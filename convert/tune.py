"""A model → one that INT8 changes less: channels that share a scale made alike (equalize.py), the bias of rounding
taken out, and ranges that are worth their steps (clip.py).

The first two after "Data-Free Quantization Through Weight Equalization and Bias Correction" (Nagel et al., arXiv
1906.04721), with ranges and means observed on calibration images instead of estimated from BatchNormalization. The NPU
runs exactly as many operations as before.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import onnx
from numpy.typing import NDArray

from rkface.runtime.core.bundle import Input
from rkface.runtime.vision.image import read_image

from .clip import Counts
from .equalize import equalize
from .graph import Floats, Graph
from .material import to_rgb
from .observe import Observed, observe, watch
from .quantize import listed
from .simplify import SAME, difference

IMAGES = 32  # enough for means and ranges: a MobileFaceNet comes to a mean cosine of 0.998 with 8 to 42 faces


@dataclass(frozen=True)
class Correction:
    """The bias of a layer: the name of its tensor, what it was, and what it is now."""

    tensor: str
    before: Floats
    after: Floats


@dataclass(frozen=True)
class Tuned:
    """``equalized`` channels were scaled (``difference`` is what that changed in FP32), the layers of these outputs had
    their bias ``corrected``; ``shrinks``: by how much the toolkit's range of some tensors is to be made smaller."""

    path: Path
    equalized: int
    corrected: Mapping[str, Correction]
    difference: float
    shrinks: Mapping[str, float]


def tune(
    model: Path,
    input: Input,
    dataset: Path,
    target: Path,
    *,
    clip: bool = False,
    progress: Callable[[int, int], None] = lambda done, total: None,
) -> Tuned:
    """Write the model at ``model`` to ``target``, changed for w8a8 with the toolkit's ``normal`` ranges.

    The first 32 images that ``dataset`` lists are looked at; ``progress`` hears how many are done. Where equalizing
    changes what FP32 computes by more than 1e-4 of an output's largest value (at least 1), it is left out. ``clip``
    looks a second time, for ranges: not on a detector, to which a face is the rare large value.
    """
    proto = onnx.load(str(model))
    images = to_rgb(read_image(path) for path in listed(dataset)[:IMAGES])
    seen = observe(proto, input, images, target.with_suffix(".observed.onnx"), progress)
    equal = onnx.ModelProto()
    equal.CopyFrom(proto)
    scales = equalize(equal, seen)
    changed = difference(proto, equal, input, images[:2]) if scales else 0.0
    if changed > SAME:
        equal, scales, changed = proto, {}, 0.0
    seen |= {name: seen[name].scaled(scale) for name, scale in scales.items()}
    corrected = correct_bias(equal, seen)
    onnx.save(equal, str(target))
    shrinks: dict[str, float] = {}
    if clip:
        besides = {input.name, *(output.name for output in proto.graph.output)}  # outputs keep theirs
        counts = Counts({name: one.range for name, one in seen.items() if name not in besides})
        for values in watch(equal, input, counts.names, images, target.with_suffix(".clipped.onnx")):
            counts.add(values)
        shrinks = counts.shrinks()
    return Tuned(target, sum(int((scale != 1).sum()) for scale in scales.values()), corrected, changed, shrinks)


def correct_bias(proto: Any, seen: dict[str, Observed]) -> dict[str, Correction]:
    """Take out of every Conv's and Gemm's bias, in place, what rounding its weights adds on average; returns what was
    done, by the layer's output.

    Rounding turns W into W + e, and the output's mean moves by e · E[x], which is known (section 4.2 of the paper).
    """
    graph = Graph(proto)
    corrected: dict[str, Correction] = {}
    for node in list(proto.graph.node):
        inputs = seen.get(node.input[0]) if node.input else None
        if node.op_type not in ("Conv", "Gemm") or inputs is None or not graph.is_known(node):
            continue
        moved = _moved(node, graph.kernel(node), inputs.mean)
        if moved is not None:
            before = graph.bias(node)
            graph.set_bias(node, before - moved)
            corrected[node.output[0]] = Correction(node.input[2], before, before - moved)
    return corrected


def _moved(node: Any, weights: Floats, mean: NDArray[np.float64]) -> Floats | None:
    """How far rounding ``weights`` moves the mean of each output channel; None for what we cannot follow."""
    options = {one.name: onnx.helper.get_attribute_value(one) for one in node.attribute}
    if node.op_type == "Gemm":
        usual = {"transA": 0, "transB": 1, "alpha": 1.0, "beta": 1.0}
        given = {"transA": 0, "transB": 0, "alpha": 1.0, "beta": 1.0} | options
        if given != usual or mean.size != weights.shape[1]:
            return None
        return np.asarray((round_weights(weights) - weights) @ mean.reshape(-1), np.float32)
    if options.get("auto_pad", b"NOTSET") != b"NOTSET" or mean.ndim != 3 or weights.ndim != 4:
        return None
    error = (round_weights(weights) - weights).astype(np.float64)
    groups = int(options.get("group", 1))
    patch = _mean_patch(mean, weights.shape[2:], options).reshape(groups, -1, *weights.shape[2:])
    error = error.reshape(groups, -1, *weights.shape[1:])
    return np.asarray(np.einsum("goikl,gikl->go", error, patch).reshape(-1), np.float32)


def _mean_patch(mean: NDArray[np.float64], kernel: Sequence[int], options: dict[str, Any]) -> NDArray[np.float64]:
    """C×kh×kw: the mean, over all output positions, of what each cell of the kernel is laid on."""
    top, left, bottom, right = options.get("pads", [0, 0, 0, 0])
    strides, dilations = options.get("strides", [1, 1]), options.get("dilations", [1, 1])
    padded = np.pad(mean, ((0, 0), (top, bottom), (left, right)))
    rows, columns = (
        (side - dilation * (cells - 1) - 1) // stride + 1
        for side, cells, stride, dilation in zip(padded.shape[1:], kernel, strides, dilations, strict=True)
    )
    patch = np.empty((len(mean), *kernel))
    for row, column in np.ndindex(*kernel):
        y, x = row * dilations[0], column * dilations[1]
        part = padded[:, y : y + rows * strides[0] : strides[0], x : x + columns * strides[1] : strides[1]]
        patch[:, row, column] = part[:, :rows, :columns].mean(axis=(1, 2))
    return patch


def round_weights(weights: Floats) -> Floats:
    """``weights`` (output channels first) as rknn-toolkit2's w8a8 keeps them: asymmetric, 8 bits, a scale for each
    output channel. Found by comparing with the simulator, layer by layer: symmetric rounding is farther off in each."""
    flat = weights.reshape(len(weights), -1)
    low, high = np.minimum(flat.min(axis=1, keepdims=True), 0), np.maximum(flat.max(axis=1, keepdims=True), 0)
    scale = np.maximum((high - low) / 255, np.finfo(np.float32).tiny)
    zero = np.round(-low / scale)
    steps = np.clip(np.round(flat / scale) + zero, 0, 255)
    return np.asarray(((steps - zero) * scale).reshape(weights.shape), np.float32)
