"""Changes a model so that INT8 changes it less: it equalizes channels (equalize.py), corrects the bias that rounding
adds, and measures ranges on faces and on changed copies of them (vary_faces.py), which may be made smaller (clip.py),
and larger where that costs little (room.py).

The first two follow "Data-Free Quantization Through Weight Equalization and Bias Correction" (Nagel et al., arXiv
1906.04721), but with ranges and means measured on calibration images instead of estimated from BatchNormalization. The
NPU runs exactly as many operations as before.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import onnx
from numpy.typing import NDArray

from rkface.runtime.core.errors import WorkError
from rkface.runtime.core.manifest import Input
from rkface.runtime.vision.image import read_image

from ..editable_graph import EditableGraph, Floats
from ..image_lists import read_image_list, to_rgb
from ..mosaic import make_mosaics
from ..recipe import MARGIN, Ranges
from ..same_outputs import SAME, max_difference
from .clip import RangeHistograms
from .equalize import equalize
from .observe import ObservedTensor, observe_tensors, watch_tensors
from .ranges import MOVES, crowd_ranges, score_ranges, widest
from .vary_faces import vary_faces

if TYPE_CHECKING:
    from .room import RoundedTensor

Factors = dict[str, float]

IMAGES = 32  # enough for means and ranges: a MobileFaceNet reaches a mean cosine of 0.998 with 8 to 42 faces


@dataclass(frozen=True)
class BiasCorrection:
    """A corrected bias of a layer: the name of its tensor, and its values before and after."""

    tensor: str
    before: Floats
    after: Floats


@dataclass(frozen=True)
class TunedModel:
    """A tuned model.

    path       its ONNX file
    equalized  number of scaled channels
    corrected  the corrected biases, by output of the layer
    observed   the ranges of a recognizer's tensors on faces and on changed copies of them, by name
    factors    for the ranges of some tensors, by name, for each way to choose ranges
    needed     ranges that some tensors need whatever the images show, by name
    """

    path: Path
    equalized: int
    corrected: Mapping[str, BiasCorrection]
    observed: Mapping[str, tuple[float, float]]
    factors: Mapping[Ranges, Mapping[str, float]]
    needed: Mapping[str, tuple[float, float]]


@dataclass(frozen=True)
class TunedModels:
    """One model, tuned in two ways: ``corrected`` has corrected biases, ``equalized`` also equalized channels."""

    corrected: TunedModel
    equalized: TunedModel


def tune(
    model: Path,
    input: Input,
    dataset: Path,
    target: Path,
    *,
    faces: bool = False,
    crowds: bool = False,
    progress: Callable[[int, int], None] = lambda done, total: None,
) -> TunedModels:
    """Write ``model`` to ``target``, tuned for w8a8 with the toolkit's ``normal`` ranges, and beside it the same model
    without equalized channels.

    The first 32 images of the list ``dataset`` are used; ``progress`` gets the number of finished images. Equalizing is
    left out if it changes what FP32 computes by more than 1e-4 of an output's largest value (at least 1). ``faces``
    says that the model is a recognizer: ranges are those of the faces and of changed copies of them, and shrinks are
    found. Do not use it on a detector, where the rare large values are the faces. ``crowds`` equalizes channels, and
    makes ranges, for crowds of small faces, too.
    """
    proto = onnx.load(str(model))
    photos = to_rgb(read_image(path) for path in read_image_list(dataset)[:IMAGES])
    images = np.concatenate([photos, vary_faces(photos)]) if faces else photos
    scratch = target.with_suffix(".observed.onnx")
    seen = observe_tensors(proto, input, images, scratch, progress)
    if crowds:  # means stay those of photos
        seen = {
            name: seen[name].widened(one)
            for name, one in observe_tensors(proto, input, make_mosaics(images), scratch).items()
        }
    equal = onnx.ModelProto()
    equal.CopyFrom(proto)
    scales = equalize(equal, seen)
    if not scales or max_difference(proto, equal, input, images[:2]) > SAME:
        equal, scales = proto, {}
    sensitive = _measure_sensitivity(proto, input, photos) if faces else []
    inner = {name: one for name, one in seen.items() if name != input.name} if faces else {}
    shrinks = _shrinks(
        {name: one for name, one in inner.items() if name not in {output.name for output in proto.graph.output}},
        scales,
        lambda names: watch_tensors(proto, input, names, images, scratch),
    )

    def finish(changed: Any, path: Path, scales: Mapping[str, Floats], shrinks: Factors) -> TunedModel:
        needed = score_ranges(changed)
        if crowds:
            needed = widest(needed, crowd_ranges(changed, input, images, scratch))
        scaled = seen | {name: seen[name].scaled(scale) for name, scale in scales.items()}
        observed = {name: scaled[name].range for name in inner}
        rounded = [one.scaled(scales[one.names[0]]) if one.names[0] in scales else one for one in sensitive]
        clipped = _with_room(rounded, observed, shrinks) if rounded else shrinks
        factors: dict[Ranges, Mapping[str, float]] = {"clip": clipped, "margin": _margins(changed)}
        corrected = correct_bias(changed, scaled)
        onnx.save(changed, str(path))
        number = sum(int((scale != 1).sum()) for scale in scales.values())
        return TunedModel(path, number, corrected, observed, factors, needed)

    equalized = finish(equal, target, scales, shrinks[1])
    if equal is proto:
        return TunedModels(equalized, equalized)
    return TunedModels(finish(proto, target.with_suffix(".corrected.onnx"), {}, shrinks[0]), equalized)


def _shrinks(
    seen: Mapping[str, ObservedTensor],
    scales: Mapping[str, Floats],
    watch: Callable[[Sequence[str]], Iterator[dict[str, NDArray[np.float32]]]],
) -> tuple[Factors, Factors]:
    """The factors of clip.py for the tensors ``seen``, as they are and with their channels multiplied by ``scales``.

    ``watch`` gives the values of the tensors, image by image.
    """
    plain = RangeHistograms({name: one.range for name, one in seen.items()})
    scaled = RangeHistograms({name: seen[name].scaled(scale).range for name, scale in scales.items() if name in seen})
    for values in watch(plain.names):
        plain.add(values)
        scaled.add({name: (values[name].T * scales[name]).T for name in scaled.names})
    shrinks = plain.shrinks()
    kept = {name: factor for name, factor in shrinks.items() if name not in scales}
    return shrinks, kept | scaled.shrinks()


def _measure_sensitivity(proto: Any, input: Input, faces: NDArray[np.uint8]) -> list[RoundedTensor]:
    """``measure_sensitivity`` of room.py; empty if distillation does not support the model."""
    from .room import measure_sensitivity  # imports torch, which the parent process does not need

    try:
        return measure_sensitivity(proto, input, faces)
    except WorkError:
        return []


def _with_room(tensors: list[RoundedTensor], observed: Mapping[str, tuple[float, float]], shrinks: Factors) -> Factors:
    """The factors ``shrinks`` for the ranges ``observed`` of ``tensors``, larger where that costs little (room.py)."""
    from .room import find_room  # imports torch

    clipped = {
        name: (low * shrinks.get(name, 1.0), high * shrinks.get(name, 1.0)) for name, (low, high) in observed.items()
    }
    room = find_room(tensors, clipped)
    return {name: shrinks.get(name, 1.0) * room.get(name, 1.0) for name in {*shrinks, *room}}


def _margins(proto: Any) -> Factors:
    """``MARGIN`` for every tensor of ``proto`` except its outputs: they hold the result, whose steps count most. A
    tensor that only moves into an output keeps the range of the output, so that nothing is rounded twice."""
    kept = {output.name for output in proto.graph.output}
    for node in reversed(proto.graph.node):
        if node.op_type in (*MOVES, "Sigmoid") and kept & set(node.output):
            kept.add(node.input[0])
    return {name: MARGIN for node in proto.graph.node for name in node.output if name not in kept}


def correct_bias(proto: Any, seen: dict[str, ObservedTensor]) -> dict[str, BiasCorrection]:
    """Correct the bias of every Conv and Gemm, in place, for the mean error that rounding its weights adds.

    Rounding turns W into W + e, which shifts the mean of the output by e · E[x] (section 4.2 of the paper). Returns the
    corrections, by output of the layer.
    """
    graph = EditableGraph(proto)
    corrected: dict[str, BiasCorrection] = {}
    for node in list(proto.graph.node):
        inputs = seen.get(node.input[0]) if node.input else None
        if node.op_type not in ("Conv", "Gemm") or inputs is None or not graph.is_known(node):
            continue
        moved = _mean_shift(graph, node, inputs.mean)
        if moved is not None:
            before = graph.bias(node)
            graph.set_bias(node, before - moved)
            corrected[node.output[0]] = BiasCorrection(node.input[2], before, before - moved)
    return corrected


def _mean_shift(graph: EditableGraph, node: Any, mean: NDArray[np.float64]) -> Floats | None:
    """How much rounding the weights shifts the mean of each output channel; None for a node of an unknown form."""
    weights = graph.kernel(node)
    if node.op_type == "Gemm":
        if not graph.is_plain_gemm(node) or mean.size != weights.shape[1]:
            return None
        return np.asarray((round_weights(weights) - weights) @ mean.reshape(-1), np.float32)
    options = {one.name: onnx.helper.get_attribute_value(one) for one in node.attribute}
    if options.get("auto_pad", b"NOTSET") != b"NOTSET" or mean.ndim != 3 or weights.ndim != 4:
        return None
    error = (round_weights(weights) - weights).astype(np.float64)
    groups = int(options.get("group", 1))
    patch = _mean_patch(mean, weights.shape[2:], options).reshape(groups, -1, *weights.shape[2:])
    error = error.reshape(groups, -1, *weights.shape[1:])
    return np.asarray(np.einsum("goikl,gikl->go", error, patch).reshape(-1), np.float32)


def _mean_patch(mean: NDArray[np.float64], kernel: Sequence[int], options: dict[str, Any]) -> NDArray[np.float64]:
    """C×kh×kw: for each cell of the kernel, the mean of its inputs over all output positions."""
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
    """``weights`` (output channels first), rounded as rknn-toolkit2's w8a8 does it: asymmetric, 8 bits, with a scale
    for each output channel.

    Found by comparing with the simulator, layer by layer: symmetric rounding differs more in every layer.
    """
    flat = weights.reshape(len(weights), -1)
    low, high = np.minimum(flat.min(axis=1, keepdims=True), 0), np.maximum(flat.max(axis=1, keepdims=True), 0)
    scale = np.maximum((high - low) / 255, np.finfo(np.float32).tiny)
    zero = np.round(-low / scale)
    steps = np.clip(np.round(flat / scale) + zero, 0, 255)
    return np.asarray(((steps - zero) * scale).reshape(weights.shape), np.float32)
