"""Versions of the ONNX format that onnxsim and rknn-toolkit2 do not read, and what older versions allowed."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
import onnx

from rkface.runtime.core.errors import ModelError

from ..native_steps import StepFailedError, first_line, rewrite_proto

# onnxsim 0.4.36 refuses later ones: they only add tensor types that no recognizer has.
NEWEST_IR = 10
# onnxsim 0.4.36 and rknn-toolkit2 2.5.0 know the operators up to this opset.
NEWEST_OPSET = 19
# Operators that keep the channels, rows and columns of an image where they are.
KEEPS_PLACES = {
    "BatchNormalization", "InstanceNormalization", "Add", "Sub", "Mul", "Div", "Identity", "Dropout", "Cast", "Pad",
    "Relu", "PRelu", "LeakyRelu", "Clip", "Sigmoid", "HardSigmoid", "HardSwish", "Tanh", "Elu", "Concat",
}  # fmt: skip


def inline_functions(proto: Any) -> str:
    """Replace calls of the model's own functions, which torch's newer exporter writes, by their operators."""
    if not proto.functions:
        return ""
    try:
        proto.CopyFrom(rewrite_proto(_inline, proto, "ONNX's inliner"))
    except StepFailedError as error:
        raise ModelError(f"its functions cannot be replaced by operators: {error}") from error
    return "its functions were replaced by their operators"


def _inline(data: bytes, progress: Callable[[int, int], None]) -> bytes:
    """Runs in another process. Raises StepFailedError if the model cannot be inlined."""
    try:
        done: bytes = onnx.inliner.inline_local_functions(onnx.ModelProto.FromString(data)).SerializeToString()
    except Exception as error:  # the inliner raises whatever its C++ code throws
        raise StepFailedError(first_line(error)) from error
    return done


def _lower(data: bytes, progress: Callable[[int, int], None]) -> bytes:
    """Runs in another process. Raises StepFailedError if the model cannot be converted."""
    try:
        proto = onnx.version_converter.convert_version(onnx.ModelProto.FromString(data), NEWEST_OPSET)
    except Exception as error:  # the converter raises whatever its C++ code throws
        raise StepFailedError(first_line(error)) from error
    done: bytes = proto.SerializeToString()
    return done


def lower_ir_version(proto: Any) -> str:
    if proto.ir_version <= NEWEST_IR:
        return ""
    before, proto.ir_version = proto.ir_version, NEWEST_IR
    return f"IR version {before} was lowered to {NEWEST_IR}"


def lower_opset(proto: Any) -> str:
    """Rewrite the operators of a newer opset as those of ``NEWEST_OPSET``.

    A model that cannot be rewritten stays as it is: maybe it can be read anyway, and if not, the error says where.
    """
    domain = next((one for one in proto.opset_import if one.domain in ("", "ai.onnx")), None)
    if domain is None or domain.version <= NEWEST_OPSET:
        return ""
    before = domain.version
    known = onnx.defs.onnx_opset_version()
    domain.version = min(before, known)  # later opsets than this package knows cannot be converted
    try:
        lowered = rewrite_proto(_lower, proto, "ONNX's version converter")
    except StepFailedError:
        domain.version = before
        return ""
    proto.CopyFrom(lowered)
    return f"opset {before} was lowered to {NEWEST_OPSET}"


def repair_slopes(proto: Any) -> str:
    """Give the slopes of PRelu the shape C×1×1. With the shape C, which old exports have, they would be broadcast over
    the columns of the image instead of its channels."""
    weights = {tensor.name: tensor for tensor in proto.graph.initializer}
    changed: dict[str, str] = {}
    for node in proto.graph.node:
        if node.op_type != "PRelu" or node.input[1] not in weights:
            continue
        slopes = weights[node.input[1]]
        if len(slopes.dims) != 1 or slopes.dims[0] == 1 or not _is_image(proto, node.input[0]):
            continue
        name = changed.setdefault(slopes.name, f"{slopes.name}/per-channel")
        if name not in weights:
            values = onnx.numpy_helper.to_array(slopes)
            proto.graph.initializer.append(
                onnx.numpy_helper.from_array(np.ascontiguousarray(values[:, None, None]), name)
            )
            weights[name] = proto.graph.initializer[-1]
        node.input[1] = name
    return f"the slopes of {len(changed)} PRelu were given a shape for channels" if changed else ""


def _is_image(proto: Any, name: str) -> bool:
    """Whether the tensor ``name`` surely has channels, rows and columns in this order: it comes from a convolution or
    pooling, and nothing behind that moves them."""
    makers = {output: node for node in proto.graph.node for output in node.output}
    weights = {tensor.name for tensor in proto.graph.initializer}
    seen: set[str] = set()
    while name in makers and name not in seen:
        seen.add(name)
        node = makers[name]
        if node.op_type in ("Conv", "MaxPool", "AveragePool", "ConvTranspose", "GlobalAveragePool"):
            return True
        if node.op_type not in KEEPS_PLACES:
            return False
        name = next((one for one in node.input if one not in weights), "")
    return False
