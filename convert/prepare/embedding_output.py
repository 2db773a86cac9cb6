"""The output of a recognizer in one form: one embedding, 1×D, whose length is not yet 1."""

from __future__ import annotations

import math
from typing import Any

import numpy as np
import onnx

from .graph_edit import rename_output

EMBEDDING = (64, 1024)  # published face recognizers output 128 to 512 numbers, classifiers thousands of classes
REDUCTIONS = ("ReduceL2", "ReduceSumSquare", "ReduceSum")
# What exporters write between the squares and the division: epsilon, root, and the shape for broadcasting.
SCALAR_STEPS = (*REDUCTIONS, "Sqrt", "Pow", "Mul", "Add", "Clip", "Max", "Expand", "Unsqueeze", "Squeeze", "Reshape",
                "Identity", "Abs", "Cast", "Reciprocal")  # fmt: skip


def keep_embedding_only(proto: Any) -> str:
    """Keep the embedding of several outputs, if only one can be it."""
    outputs = list(proto.graph.output)
    sizes = [declared_length(output) for output in outputs]
    likely = [output for output, size in zip(outputs, sizes, strict=True) if EMBEDDING[0] <= size <= EMBEDDING[1]]
    if len(outputs) < 2 or len(likely) != 1 or 0 in sizes:
        return ""
    dropped = [output.name for output in outputs if output.name != likely[0].name]
    del proto.graph.output[:]
    proto.graph.output.append(likely[0])
    return f"its output {likely[0].name} was taken as the embedding, without {', '.join(dropped)}"


def flatten_embedding(proto: Any) -> str:
    """Give an embedding that has other dimensions than 1×D these dimensions."""
    if len(proto.graph.output) != 1:
        return ""
    output = proto.graph.output[0]
    rank, length = len(output.type.tensor_type.shape.dim), declared_length(output)
    if rank in (0, 2) or not EMBEDDING[0] <= length <= EMBEDDING[1]:
        return ""
    shown = "×".join(str(dim.dim_value or "N") for dim in output.type.tensor_type.shape.dim)
    inner, shape = rename_output(proto, output.name, f"{output.name}/before-reshape"), f"{output.name}/shape"
    proto.graph.initializer.append(onnx.numpy_helper.from_array(np.array([1, length], np.int64), shape))
    proto.graph.node.append(onnx.helper.make_node("Reshape", [inner, shape], [output.name], name=shape))
    output.CopyFrom(onnx.helper.make_tensor_value_info(output.name, onnx.TensorProto.FLOAT, [1, length]))
    return f"its output {shown} was flattened to 1×{length}"


def declared_length(output: Any) -> int:
    """The number of values of one embedding, from the declared shape; 0 if it is no list of numbers, or not known."""
    dims = [dim.dim_value if dim.HasField("dim_value") else 0 for dim in output.type.tensor_type.shape.dim]
    if len(dims) > 1:
        dims = dims[1:]
    return math.prod(dims) if dims and sum(dim != 1 for dim in dims) <= 1 else 0


def drop_final_norm(proto: Any) -> str:
    """Remove a final scaling to unit length, also if only other dimensions or a constant factor come behind it.

    rkface scales embeddings itself, in float. On the NPU the division would only lose precision, and the length, which
    says how clear a face is, would be lost.
    """
    if len(proto.graph.output) != 1:
        return ""
    name = proto.graph.output[0].name
    makers = {output: node for node in proto.graph.node for output in node.output}
    factors = {tensor.name for tensor in proto.graph.initializer if _is_factor(tensor)}
    scaled, behind = name, None
    while scaled in makers and (place := _kept_direction(makers[scaled], factors)) is not None:
        behind = makers[scaled], place
        scaled = behind[0].input[place]
    vector = _scaled_vector(makers[scaled], makers) if scaled in makers else ""
    if vector not in makers:
        return ""
    del proto.graph.value_info[:]
    if behind is not None:
        behind[0].input[behind[1]] = vector
    else:
        rename_output(proto, name, f"{name}/unit-length")
        proto.graph.node.append(onnx.helper.make_node("Identity", [vector], [name], name=f"{name}/raw"))
    return "its final scaling to unit length was removed: rkface scales embeddings itself"


def _is_factor(tensor: Any) -> bool:
    """Whether ``tensor`` is one positive number."""
    if tensor.data_type != onnx.TensorProto.FLOAT or math.prod(tensor.dims) != 1:
        return False
    return bool((onnx.numpy_helper.to_array(tensor) > 0).all())


def _kept_direction(node: Any, factors: set[str]) -> int | None:
    """The place among the inputs of ``node`` of the vector whose direction it keeps; None if it does something else."""
    if node.op_type in ("Identity", "Dropout", "Reshape", "Flatten", "Squeeze", "Unsqueeze"):
        return 0
    if node.op_type in ("Mul", "Div") and node.input[1] in factors:
        return 0
    return 1 if node.op_type == "Mul" and node.input[0] in factors else None


def _scaled_vector(node: Any, makers: dict[str, Any]) -> str:
    """The tensor that ``node`` scales to unit length; "" if it does something else."""
    if node.op_type == "LpNormalization":
        return str(node.input[0])
    pairs = {"Div": (node.input[:2],), "Mul": (node.input[:2], node.input[1::-1])}.get(node.op_type, ())
    return next((str(vector) for vector, length in pairs if _is_length_of(length, vector, makers)), "")


def _is_length_of(name: str, vector: str, makers: dict[str, Any]) -> bool:
    """Whether the tensor ``name`` is computed only from ``vector`` and constants, with a sum over its elements."""
    waiting, seen, reduced = [name], {name, vector}, False
    while waiting:
        node = makers.get(waiting.pop())
        if node is None or node.op_type in ("Constant", "Shape"):
            continue
        if node.op_type not in SCALAR_STEPS:
            return False
        reduced |= node.op_type in REDUCTIONS
        waiting += [one for one in node.input if one and one not in seen]
        seen.update(node.input)
    return reduced
