"""The image input of a model in one form: float, N×3×H×W, with sides that are open or known."""

from __future__ import annotations

from typing import Any

import numpy as np
import onnx

from .graph_edit import inner_reads

TO_CHANNELS_FIRST, TO_CHANNELS_LAST = [0, 3, 1, 2], [0, 2, 3, 1]
MOVES = ("Transpose", "Identity", "Gather", "Slice", "Reshape", "Squeeze", "Unsqueeze")
ELEMENTWISE = ("Sub", "Add", "Mul", "Div")
BYTES = (onnx.TensorProto.UINT8, onnx.TensorProto.INT32, onnx.TensorProto.INT64)
FLOATS = (onnx.TensorProto.FLOAT, onnx.TensorProto.FLOAT16, onnx.TensorProto.BFLOAT16, onnx.TensorProto.DOUBLE)


def real_inputs(proto: Any) -> list[Any]:
    """The inputs that are not weights."""
    weights = {tensor.name for tensor in proto.graph.initializer}
    return [entry for entry in proto.graph.input if entry.name not in weights]


def open_sides(proto: Any) -> None:
    """Open the sides of inputs and outputs that are -1 or 0, as some exporters write an open side."""
    for entry in (*proto.graph.input, *proto.graph.output):
        for dim in entry.type.tensor_type.shape.dim:
            if dim.HasField("dim_value") and dim.dim_value < 1:
                dim.ClearField("dim_value")


def take_float_input(proto: Any) -> str:
    """Let a model that takes bytes, and converts them to float first, take floats of the same values."""
    inputs = real_inputs(proto)
    kind = inputs[0].type.tensor_type.elem_type if len(inputs) == 1 else 0
    if kind not in BYTES:
        return ""
    name = inputs[0].name
    chain = _movers(proto, name)
    readers = [node for node in proto.graph.node if set(node.input) & chain and not set(node.output) & chain]
    casts = [node for node in readers if node.op_type == "Cast" and _target(node) in FLOATS]
    kept = inner_reads(proto.graph) | {output.name for output in proto.graph.output}
    if len(casts) < len(readers) or not readers or kept & (chain | {node.output[0] for node in casts}):
        return ""
    inputs[0].type.tensor_type.elem_type = onnx.TensorProto.FLOAT
    renamed = {}
    for node in casts:
        renamed[node.output[0]] = node.input[0]
        proto.graph.node.remove(node)
    _rename_inputs(proto, renamed)
    del proto.graph.value_info[:]
    return f"its {onnx.TensorProto.DataType.Name(kind).lower()} input became float"


def _target(cast: Any) -> int:
    """The type that a Cast makes."""
    return next((one.i for one in cast.attribute if one.name == "to"), 0)


def _movers(proto: Any, name: str) -> set[str]:
    """``name`` and the tensors with the same values in another order, or some of them."""
    found = {name}
    for node in proto.graph.node:
        if node.op_type in MOVES and node.input[0] in found:
            found.add(node.output[0])
    return found


def take_nchw(proto: Any) -> str:
    """Let a model that takes N×H×W×3, as TensorFlow's exports do, take N×3×H×W."""
    inputs = real_inputs(proto)
    if len(inputs) != 1 or not _is_channels_last(proto, inputs[0]) or inputs[0].name in inner_reads(proto.graph):
        return ""
    entry = inputs[0]
    dims = list(entry.type.tensor_type.shape.dim)
    copies = []
    for place in TO_CHANNELS_FIRST:
        copies.append(onnx.TensorShapeProto.Dimension())
        copies[-1].CopyFrom(dims[place])
    del entry.type.tensor_type.shape.dim[:]
    entry.type.tensor_type.shape.dim.extend(copies)
    if not entry.type.tensor_type.shape.dim[1].dim_value:
        entry.type.tensor_type.shape.dim[1].dim_value = 3
    del proto.graph.value_info[:]
    if not _remove_transpose(proto, entry.name):
        turned = f"{entry.name}/channels-last"
        _rename_inputs(proto, {entry.name: turned})
        proto.graph.node.insert(
            0, onnx.helper.make_node("Transpose", [entry.name], [turned], name=turned, perm=TO_CHANNELS_LAST)
        )
    return "its input became channels first (N×3×H×W)"


def _is_channels_last(proto: Any, entry: Any) -> bool:
    dims = [dim.dim_value if dim.HasField("dim_value") else 0 for dim in entry.type.tensor_type.shape.dim]
    if len(dims) != 4 or dims[1] == 3:
        return False
    if dims[3] == 3:
        return True
    # Nothing is known of an open shape but what the model does first: it moves the channels to the front.
    return not dims[1] and not dims[3] and _first_transpose(proto, entry.name) is not None


def _first_transpose(proto: Any, name: str) -> tuple[Any, list[Any]] | None:
    """The Transpose to channels first behind the input ``name``, and the operators with constants before it; None if
    the input takes another way."""
    constants = {tensor.name for tensor in proto.graph.initializer if len(tensor.dims) <= 4}
    kept = inner_reads(proto.graph) | {output.name for output in proto.graph.output}
    between: list[Any] = []
    while True:
        readers = [node for node in proto.graph.node if name in node.input]
        if len(readers) != 1 or kept & set(readers[0].output):
            return None
        node = readers[0]
        if node.op_type == "Transpose":
            order = next((list(one.ints) for one in node.attribute if one.name == "perm"), None)
            return (node, between) if order == TO_CHANNELS_FIRST else None
        if node.op_type not in (*ELEMENTWISE, "Cast", "Identity"):
            return None
        if any(other not in constants for other in node.input if other != name):
            return None
        between.append(node)
        name = node.output[0]


def _remove_transpose(proto: Any, name: str) -> bool:
    """Remove the Transpose to channels first behind the input ``name``; constants before it are turned instead."""
    found = _first_transpose(proto, name)
    if found is None:
        return False
    transpose, between = found
    weights = {tensor.name: tensor for tensor in proto.graph.initializer}
    for node in between:
        for place, other in enumerate(node.input):
            if other in weights:
                values = onnx.numpy_helper.to_array(weights[other])
                values = values.reshape((1,) * (4 - values.ndim) + values.shape).transpose(TO_CHANNELS_FIRST)
                node.input[place] = f"{node.output[0]}/{place}/channels-first"
                turned = onnx.numpy_helper.from_array(np.ascontiguousarray(values), node.input[place])
                proto.graph.initializer.append(turned)
    proto.graph.node.remove(transpose)
    _rename_inputs(proto, {transpose.output[0]: transpose.input[0]})
    return True


def _rename_inputs(proto: Any, renamed: dict[str, str]) -> None:
    for node in proto.graph.node:
        node.input[:] = [renamed.get(name, name) for name in node.input]
