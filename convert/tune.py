"""A model → one that INT8 changes less: channels that share a scale made alike, and the bias of rounding taken out.

Both after "Data-Free Quantization Through Weight Equalization and Bias Correction" (Nagel et al., arXiv 1906.04721),
with ranges and means observed on calibration images instead of estimated from BatchNormalization. The NPU runs exactly
as many operations as before.
"""

from __future__ import annotations

from collections.abc import Callable, Collection, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import onnx
from numpy.typing import NDArray
from rkface.runtime.bundle import Input
from rkface.runtime.image import read_image

from .material import to_rgb
from .observe import Observed, observe
from .quantize import listed
from .simplify import SAME, difference

IMAGES = 32  # enough for means and ranges: a MobileFaceNet comes to a mean cosine of 0.998 with 8 to 42 faces
CLIP_ROOM = 2.0  # a channel is scaled so far that Clip begins at twice the largest value observed: never, in practice
MOST = 64.0  # a channel that hardly ever speaks would be scaled to infinity

Floats = NDArray[np.float32]


@dataclass(frozen=True)
class Tuned:
    """``equalized`` channels were scaled (``difference`` is what that changed in FP32), ``corrected`` layers had their
    bias moved."""

    path: Path
    equalized: int
    corrected: int
    difference: float


def tune(
    model: Path,
    input: Input,
    dataset: Path,
    target: Path,
    *,
    exact: Collection[str] = (),
    progress: Callable[[int, int], None] = lambda done, total: None,
) -> Tuned:
    """Write the model at ``model`` to ``target``, changed for w8a8 with the toolkit's ``normal`` ranges.

    The first 32 images that ``dataset`` lists are looked at; ``progress`` hears how many are done. Layers whose output
    is in ``exact`` will not be quantised, so that they have no bias to correct. Where equalising changes what FP32
    computes by more than 1e-4 of an output's largest value (at least 1), it is left out.
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
    corrected = correct_bias(equal, seen, exact)
    onnx.save(equal, str(target))
    return Tuned(target, sum(int((scale != 1).sum()) for scale in scales.values()), corrected, changed)


def equalize(proto: Any, seen: dict[str, Observed]) -> dict[str, Floats]:
    """Scale, in place, the channels of every tensor that only depthwise convolutions read; returns the factors.

    An activation has one INT8 scale for all channels, so that quiet ones get few of its 256 steps. Multiplying channel
    c by s and the depthwise kernel that reads it by 1/s changes nothing in FP32 and costs nothing in INT8, since
    kernels have a scale for each output channel on both sides. (Before a full convolution it would cost as much in its
    weights as it gains: measured on MobileFaceNet.)
    """
    graph = _Graph(proto)
    scales = {}
    for tensor in sorted(seen):
        readers = graph.readers.get(tensor, [])
        maker, top = graph.maker_of(tensor)
        if maker is None or not readers or not all(graph.is_depthwise(node) for node in readers):
            continue
        scale = _factors(seen[tensor].reach, top)
        if (scale == 1).all():
            continue
        graph.set_kernel(maker, graph.kernel(maker) * scale.reshape(-1, 1, 1, 1))
        graph.set_bias(maker, graph.bias(maker) * scale)
        for node in readers:
            graph.set_kernel(node, graph.kernel(node) / scale.reshape(-1, 1, 1, 1))
        scales[tensor] = scale
    return scales


def _factors(reach: Floats, top: float) -> Floats:
    """By how much each channel may grow: to the loudest one, or as far as the Clip at ``top`` leaves room."""
    aim = min(float(reach.max()), top / CLIP_ROOM)
    factors = np.divide(aim, reach, out=np.ones_like(reach), where=reach > 0)
    return np.clip(factors, 1.0, MOST)


def correct_bias(proto: Any, seen: dict[str, Observed], exact: Collection[str] = ()) -> int:
    """Take out of every Conv's and Gemm's bias, in place, what rounding its weights adds on average; returns how many.
    Those whose output is in ``exact`` stay as they are.

    Rounding turns W into W + e, and the output's mean moves by e · E[x], which is known (section 4.2 of the paper).
    """
    graph = _Graph(proto)
    count = 0
    for node in list(proto.graph.node):
        inputs = seen.get(node.input[0]) if node.input else None
        if node.op_type not in ("Conv", "Gemm") or inputs is None or not graph.is_known(node):
            continue
        if node.output[0] in exact:
            continue
        moved = _moved(node, graph.kernel(node), inputs.mean)
        if moved is not None:
            graph.set_bias(node, graph.bias(node) - moved)
            count += 1
    return count


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


class _Graph:
    """Who makes and who reads each tensor of a ModelProto, and its weights to be replaced in place."""

    def __init__(self, proto: Any) -> None:
        self._proto = proto
        self.weights = {tensor.name: tensor for tensor in proto.graph.initializer}
        self._makers = {name: node for node in proto.graph.node for name in node.output}
        self._outputs = {output.name for output in proto.graph.output}
        self.readers: dict[str, list[Any]] = {}
        for node in proto.graph.node:
            for name in node.input:
                self.readers.setdefault(name, []).append(node)

    def kernel(self, node: Any) -> Floats:
        return self._value(node.input[1])

    def bias(self, node: Any) -> Floats:
        if len(node.input) > 2 and node.input[2]:
            return self._value(node.input[2])
        return np.zeros(self.weights[node.input[1]].dims[0], np.float32)

    def _value(self, name: str) -> Floats:
        return np.asarray(onnx.numpy_helper.to_array(self.weights[name]), np.float32)

    def is_known(self, node: Any) -> bool:
        """Whether kernel and bias, where there is one, are constants."""
        return node.input[1] in self.weights and all(name in self.weights for name in node.input[2:] if name)

    def is_depthwise(self, node: Any) -> bool:
        if not self._is_known_2d(node):
            return False
        groups = next((one.i for one in node.attribute if one.name == "group"), 1)
        return list(self.weights[node.input[1]].dims[:2]) == [groups, 1]

    def _is_known_2d(self, node: Any) -> bool:
        return node.op_type == "Conv" and self.is_known(node) and len(self.weights[node.input[1]].dims) == 4

    def maker_of(self, tensor: str) -> tuple[Any, float]:
        """The Conv whose output channels are ``tensor``'s up to an activation that scaling passes through, and where
        that activation clips; (None, ∞) where there is no such Conv or someone else reads between."""
        node, top = self._makers.get(tensor), np.inf
        if tensor in self._outputs:
            return None, np.inf
        if node is not None and node.op_type in ("Relu", "PRelu", "LeakyRelu", "Clip"):
            if node.op_type == "Clip":
                bounds = [self._value(name).item() if name in self.weights else None for name in node.input[1:3]]
                if len(bounds) != 2 or bounds[0] != 0 or bounds[1] is None:
                    return None, np.inf
                top = bounds[1]
            tensor = node.input[0]
            node = self._makers.get(tensor)
            if len(self.readers.get(tensor, [])) != 1:
                return None, np.inf
        if node is None or not self._is_known_2d(node) or tensor in self._outputs:
            return None, np.inf
        return node, top

    def set_kernel(self, node: Any, kernel: Floats) -> None:
        self._set(node, 1, f"{node.output[0]}/kernel", kernel)

    def set_bias(self, node: Any, bias: Floats) -> None:
        self._set(node, 2, f"{node.output[0]}/bias", bias)

    def _set(self, node: Any, place: int, name: str, value: Floats) -> None:
        # Under a name of its own: other nodes may share the tensor.
        if len(node.input) <= place:
            node.input.append(name)
        old, node.input[place] = node.input[place], name
        tensor = onnx.numpy_helper.from_array(np.ascontiguousarray(value, np.float32), name)
        if name in self.weights:
            self.weights[name].CopyFrom(tensor)
        else:
            self._proto.graph.initializer.append(tensor)
            self.weights[name] = self._proto.graph.initializer[-1]
        if old in self.weights and old != name and not any(old in one.input for one in self._proto.graph.node):
            self._proto.graph.initializer.remove(self.weights.pop(old))
