"""An ONNX model as it comes → fixed shapes, fewer nodes, and the proof that it still computes the same."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import onnx
from numpy.typing import NDArray

from rkface.runtime.backends.reference import normalize
from rkface.runtime.core.bundle import Input, Output, Role
from rkface.runtime.core.errors import ModelError, WorkError
from rkface.runtime.vision import align
from rkface.runtime.vision.detect import STRIDES, levels

from .catalog import DETECTOR_SIZE, NORMALIZATION, Spoofing
from .color import swap_channels

SAME = 1e-4  # the largest difference allowed, as a share of the output's largest value (at least 1)
EMBEDDING = (64, 1024)  # published face recognizers give 128 to 512 numbers, classifiers thousands of classes


@dataclass(frozen=True)
class Fixed:
    """A model as it was given, but with its input's shape fixed: what the simplified one is held to. ``input`` is what
    the simplified one takes: always RGB."""

    role: Role
    name: str
    proto: Any
    input: Input
    spoofing: Spoofing | None = None  # of a liveness model


@dataclass(frozen=True)
class Simplified:
    """``path`` holds the simplified model; nodes are counted before and after."""

    path: Path
    input: Input
    outputs: tuple[Output, ...]
    nodes: tuple[int, int]


def fix(path: Path, role: Role, size: tuple[int, int] | None = None, spoofing: Spoofing | None = None) -> Fixed:
    """Read the model at ``path`` and fix its input to 1×3×H×W.

    ``size`` is the detector's (width, height): None keeps the model's own where it is fixed, else 640×640.
    ``spoofing`` is how a liveness model is asked. ModelError for whatever cannot be the model of its role.
    """
    proto = load(path)
    entry = _only_input(path, proto)
    dims = [dim.dim_value if dim.HasField("dim_value") else 0 for dim in entry.type.tensor_type.shape.dim]
    if len(dims) != 4 or dims[1] not in (0, 3):
        shown = "×".join(str(dim or "?") for dim in dims) or "no shape"
        raise ModelError(f"{path}: its input is {shown}; a {role} takes one RGB image, N×3×H×W")
    if role == "recognizer":
        size = _recognizer_size(path, dims)
    elif spoofing is not None:
        size = spoofing.size
    elif size is None:
        size = (dims[3], dims[2]) if dims[2] > 0 and dims[3] > 0 else DETECTOR_SIZE
    if role == "detector" and any(side < STRIDES[-1] or side % STRIDES[-1] for side in size):
        raise ModelError(f"{path}: as a detector its input cannot be {size[0]}×{size[1]}: both must be multiples of 32")
    _set_shape(entry, (1, 3, size[1], size[0]))
    for output in proto.graph.output:  # they are inferred anew for this size
        _set_shape(output, (0,) * len(output.type.tensor_type.shape.dim))
    del proto.graph.value_info[:]
    if spoofing is not None:
        mean, std = spoofing.normalization
    else:
        mean, std = ((0.0,) * 3, (1.0,) * 3) if _normalizes(proto) else NORMALIZATION[role]
    return Fixed(role, path.name, proto, Input(entry.name, size[1], size[0], mean, std), spoofing)


def simplify(model: Fixed, target: Path) -> Simplified:
    """Simplify ``model`` with onnxsim and write it to ``target``. ModelError where the result cannot fill its role."""
    import onnxsim

    try:
        proto, _ = onnxsim.simplify(model.proto, check_n=0)  # the proof below runs on real images instead of noise
    except Exception as error:  # onnxsim raises whatever its C++ side throws
        raise ModelError(
            f"{model.name}: onnxsim cannot simplify it at {_size(model.input)}: {_first(error)}"
        ) from error
    _hide_weights(proto)
    if model.spoofing is not None and model.spoofing.bgr:
        swap_channels(proto, model.input.name)
    onnx.save(proto, str(target))
    simplified = Simplified(
        target, model.input, _outputs(model, proto), (len(model.proto.graph.node), len(proto.graph.node))
    )
    if model.role == "detector":
        try:
            levels(simplified.outputs, model.input.width, model.input.height)
        except ModelError as error:
            raise ModelError(f"{model.name}: {error}") from None
    elif model.role == "recognizer":
        _check_embedding(model, proto, simplified.outputs)
    return simplified


def prove_same(model: Fixed, simplified: Simplified, images: NDArray[np.uint8]) -> float:
    """The largest difference between the two on ``images`` (N×H×W×3 uint8 RGB), as ``difference`` counts it. A model
    that was trained on BGR is given that.

    WorkError above 1e-4: float32 sums in another order differ by less, another function by more.
    """
    bgr = model.spoofing is not None and model.spoofing.bgr
    worst = difference(model.proto, onnx.load(str(simplified.path)), model.input, images, bgr=bgr)
    if worst > SAME:
        raise WorkError(
            f"{model.name}: simplified, it differs from the original by {worst:.1e} (at most {SAME:.0e} is allowed): "
            "export the model again with fixed shapes, or with another opset"
        )
    return worst


def difference(before: Any, after: Any, input: Input, images: NDArray[np.uint8], *, bgr: bool = False) -> float:
    """The largest difference between two ModelProtos' outputs on ``images`` (N×H×W×3 uint8 RGB), as a share of each
    output's largest value (at least 1); infinite where one of them gives NaN. ``bgr``: ``before`` takes BGR."""
    worst = 0.0
    first, second = _session(before.SerializeToString()), _session(after.SerializeToString())
    for image in normalize(images, input):
        own = np.ascontiguousarray(image[::-1]) if bgr else image
        answers = first.run(None, {input.name: own[None]}), second.run(None, {input.name: image[None]})
        for left, right in zip(*answers, strict=True):
            scale = max(1.0, float(np.abs(left).max()))
            worst = float(np.fmax(worst, np.nan_to_num(np.abs(left - right).max() / scale, nan=np.inf)))
    return worst


def load(path: Path) -> Any:
    try:
        proto = onnx.load(str(path))
    except FileNotFoundError as error:
        raise ModelError(f"{path}: no such model file") from error
    except Exception as error:  # protobuf's DecodeError and onnx's own share no base but Exception
        raise ModelError(f"{path} is not an ONNX model: {_first(error)}") from error
    if not proto.graph.node:
        raise ModelError(f"{path} is not an ONNX model, or an empty one: it has no operators")
    return proto


def _hide_weights(proto: Any) -> None:
    """Old exports (IR 3) list weights among the inputs, where whoever replaces one would have to feed it."""
    weights = {tensor.name for tensor in proto.graph.initializer}
    real = [entry for entry in proto.graph.input if entry.name not in weights]
    if len(real) < len(proto.graph.input):
        del proto.graph.input[:]
        proto.graph.input.extend(real)
        proto.ir_version = max(proto.ir_version, 4)


def _only_input(path: Path, proto: Any) -> Any:
    weights = {tensor.name for tensor in proto.graph.initializer}
    inputs = [entry for entry in proto.graph.input if entry.name not in weights]
    if len(inputs) != 1:
        raise ModelError(
            f"{path} has {len(inputs)} inputs ({', '.join(entry.name for entry in inputs)}); rkface takes models with "
            "one image as their only input"
        )
    if inputs[0].type.tensor_type.elem_type != onnx.TensorProto.FLOAT:
        kind = onnx.TensorProto.DataType.Name(inputs[0].type.tensor_type.elem_type).lower()
        raise ModelError(f"{path}: its input is {kind}, not float: export the FP32 model, before any quantization")
    return inputs[0]


def _recognizer_size(path: Path, dims: Sequence[int]) -> tuple[int, int]:
    height, width = (side if side > 0 else align.CROP_SIZE for side in dims[2:])
    if (width, height) != (align.CROP_SIZE,) * 2:
        raise ModelError(
            f"{path}: its input is {width}×{height}; a face recognizer takes aligned faces of "
            f"{align.CROP_SIZE}×{align.CROP_SIZE}. A classifier or detector was given"
        )
    return width, height


def _set_shape(entry: Any, shape: tuple[int, ...]) -> None:
    """Give a graph's input or output ``shape``; 0 leaves a side open."""
    dims = entry.type.tensor_type.shape.dim
    del dims[:]
    for index, side in enumerate(shape):
        dim = dims.add()
        if side:
            dim.dim_value = side
        else:
            dim.dim_param = f"{entry.name}_{index}"


def _normalizes(proto: Any) -> bool:
    # InsightFace's own test (model_zoo/arcface_onnx.py): exports that begin with Sub and Mul normalize inside.
    early = {node.op_type for node in proto.graph.node[:8]}
    return {"Sub", "Mul"} <= early and proto.graph.node[0].op_type in ("Sub", "Mul", "Identity")


def _outputs(model: Fixed, proto: Any) -> tuple[Output, ...]:
    """The outputs with their shapes: those that onnxsim inferred, else those that one run gives."""
    shapes = [tuple(dim.dim_value for dim in entry.type.tensor_type.shape.dim) for entry in proto.graph.output]
    if not all(shape and all(shape) for shape in shapes):
        feed = np.zeros((1, 3, model.input.height, model.input.width), np.float32)
        try:
            arrays = _session(proto.SerializeToString()).run(None, {model.input.name: feed})
        except Exception as error:  # onnxruntime's exceptions share no base but Exception
            raise ModelError(f"{model.name} does not run at {_size(model.input)}: {_first(error)}") from error
        shapes = [array.shape for array in arrays]
    return tuple(Output(entry.name, shape) for entry, shape in zip(proto.graph.output, shapes, strict=True))


def _check_embedding(model: Fixed, proto: Any, outputs: Sequence[Output]) -> None:
    shapes = ", ".join("×".join(map(str, output.shape)) for output in outputs)
    if len(outputs) != 1 or np.prod(outputs[0].shape[:-1]) != 1:
        raise ModelError(f"{model.name}: its outputs are {shapes}; a recognizer gives one embedding")
    makers = {name: node.op_type for node in proto.graph.node for name in node.output}
    low, high = EMBEDDING
    if makers.get(outputs[0].name) in ("Softmax", "LogSoftmax", "Sigmoid") or not low <= outputs[0].shape[-1] <= high:
        raise ModelError(
            f"{model.name} looks like a classifier (its output is {shapes}"
            f" from {makers.get(outputs[0].name)}); a recognizer gives an embedding of {low} to {high} numbers"
        )


def _session(model: bytes) -> Any:
    import onnxruntime

    options = onnxruntime.SessionOptions()
    options.log_severity_level = 4
    # A few images run through it: what the heavier optimizations save there, they cost twice at the start.
    options.graph_optimization_level = onnxruntime.GraphOptimizationLevel.ORT_ENABLE_BASIC
    return onnxruntime.InferenceSession(model, sess_options=options, providers=["CPUExecutionProvider"])


def _size(input: Input) -> str:
    return f"{input.width}×{input.height}"


def _first(error: Exception) -> str:
    lines = str(error).strip().splitlines()
    return lines[0][:200] if lines else type(error).__name__
