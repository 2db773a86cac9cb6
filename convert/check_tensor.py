"""Checks of the tensors in an ONNX model: shapes, sizes of their content, and numbers that are not finite."""

from __future__ import annotations

from collections.abc import Iterator
from math import prod
from typing import Any

import numpy as np
import onnx

MAX_ELEMENTS = 1 << 31  # of one tensor
MAX_RANK = 16

# Bytes of one element, by the types that tensors of face models have. The others (strings, 4-bit types) are refused.
ELEMENT_BYTES = {
    onnx.TensorProto.FLOAT: 4, onnx.TensorProto.DOUBLE: 8, onnx.TensorProto.FLOAT16: 2, onnx.TensorProto.BFLOAT16: 2,
    onnx.TensorProto.INT8: 1, onnx.TensorProto.UINT8: 1, onnx.TensorProto.INT16: 2, onnx.TensorProto.UINT16: 2,
    onnx.TensorProto.INT32: 4, onnx.TensorProto.UINT32: 4, onnx.TensorProto.INT64: 8, onnx.TensorProto.UINT64: 8,
    onnx.TensorProto.BOOL: 1,
}  # fmt: skip
# The field with the numbers of a tensor that has no raw data.
TYPED_FIELD = {
    onnx.TensorProto.FLOAT: "float_data", onnx.TensorProto.DOUBLE: "double_data", onnx.TensorProto.INT64: "int64_data",
    onnx.TensorProto.UINT32: "uint64_data", onnx.TensorProto.UINT64: "uint64_data",
}  # fmt: skip
FLOATS = (onnx.TensorProto.FLOAT, onnx.TensorProto.FLOAT16, onnx.TensorProto.DOUBLE)
MULTIPLYING = {"Conv", "ConvTranspose", "Gemm", "MatMul", "BatchNormalization", "PRelu", "InstanceNormalization"}


class UnsoundModelError(Exception):
    """What is wrong with a model."""


def short_name(name: str) -> str:
    """A name from a model, as messages show it: short, and without control characters."""
    shown = ascii(name[:80])[1:-1]
    return f"'{shown if len(shown) <= 60 else shown[:57] + '…'}'"


def describe_node(node: Any) -> str:
    """How messages name a node: its operator, and its name or that of its first output."""
    called = node.name or next(filter(None, node.output), "")
    return f"{short_name(node.op_type)[1:-1]} {short_name(called)}" if called else f"{short_name(node.op_type)[1:-1]}"


def check_entry(entry: Any) -> None:
    """Raise UnsoundModelError if the input, output or inner tensor ``entry`` has an impossible shape."""
    if not entry.name:
        raise UnsoundModelError("one of its inputs or outputs has no name")
    kind = entry.type.tensor_type.elem_type
    if kind not in onnx.TensorProto.DataType.values():
        raise UnsoundModelError(f"{short_name(entry.name)} has an unknown type ({kind}): the file is damaged")
    sides = [one.dim_value for one in entry.type.tensor_type.shape.dim]
    if len(sides) > MAX_RANK or min(sides, default=0) < -1 or prod(s for s in sides if s > 0) > MAX_ELEMENTS:
        shown = "×".join(map(str, sides[:MAX_RANK]))
        raise UnsoundModelError(f"{short_name(entry.name)} has the impossible shape {shown}: export it again")


def check_tensor(tensor: Any, where: str) -> None:
    """Raise UnsoundModelError unless the content of ``tensor`` has the size that its shape and its type demand."""
    dims, kind = list(tensor.dims), tensor.data_type
    if kind not in ELEMENT_BYTES:
        known = kind in onnx.TensorProto.DataType.values()
        named = onnx.TensorProto.DataType.Name(kind).lower() if known else f"unknown (type {kind})"
        raise UnsoundModelError(f"{where} have elements that are {named}, which rkface does not convert")
    if len(dims) > MAX_RANK or min(dims, default=0) < 0 or prod(dims) > MAX_ELEMENTS:
        shown = "×".join(map(str, dims[:MAX_RANK]))
        raise UnsoundModelError(f"{where} have the impossible shape {shown}: the file is damaged, copy it again")
    if tensor.data_location != onnx.TensorProto.DEFAULT or tensor.external_data:
        raise UnsoundModelError(f"{where} are in another file, but have no place there: export it again")
    if tensor.HasField("segment") or tensor.string_data:
        raise UnsoundModelError(f"{where} are split or contain text, which rkface does not convert")
    if tensor.HasField("raw_data"):
        have, want, unit = len(tensor.raw_data), prod(dims) * ELEMENT_BYTES[kind], "bytes"
    else:
        have, want, unit = len(getattr(tensor, TYPED_FIELD.get(kind, "int32_data"))), prod(dims), "numbers"
    if have != want:
        shape = "×".join(map(str, dims)) or "of one number"
        raise UnsoundModelError(
            f"{where} contain {have:,} {unit}, but their shape {shape} needs {want:,}: the file is damaged, copy it "
            "again"
        )


def check_weights_are_finite(graph: Any) -> None:
    """Refuse weights that are NaN or infinite: the training failed, or the file is damaged.

    Only weights that multiply: infinite bounds of Clip and infinite masks are common.
    """
    reader = {name: node for node in graph.node if node.op_type in MULTIPLYING for name in node.input}
    for name, tensor in _constants(graph):
        if name in reader and tensor.data_type in FLOATS:
            bad = int((~np.isfinite(onnx.numpy_helper.to_array(tensor))).sum())
            if bad:
                raise UnsoundModelError(
                    f"the weights {short_name(name)} of {describe_node(reader[name])} contain {bad:,} numbers that are "
                    "NaN or infinite: the training failed, or the file is damaged"
                )


def check_kernels(graph: Any) -> None:
    """Raise UnsoundModelError if the constant kernel of a convolution does not have the shape that one needs."""
    constants = dict(_constants(graph))
    for node in graph.node:
        if node.op_type in ("Conv", "ConvTranspose") and node.domain in ("", "ai.onnx") and node.input[1] in constants:
            dims = list(constants[node.input[1]].dims)
            groups = next((one.i for one in node.attribute if one.name == "group"), 1)
            if len(dims) < 3 or min(dims) < 1 or dims[0] % groups:
                shown = "×".join(map(str, dims)) or "one number"
                raise UnsoundModelError(
                    f"{describe_node(node)} has the kernel {short_name(node.input[1])} of {shown} for {groups} groups, "
                    "which a convolution cannot have: export it again"
                )


def _constants(graph: Any) -> Iterator[tuple[str, Any]]:
    for tensor in graph.initializer:
        yield tensor.name, tensor
    for node in graph.node:
        if node.op_type == "Constant" and node.output:
            yield from ((node.output[0], one.t) for one in node.attribute if one.name == "value")
