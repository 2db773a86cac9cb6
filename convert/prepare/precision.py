"""Widens half and double precision to FP32, which rkface converts from."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import numpy as np
import onnx

NAMES = {
    onnx.TensorProto.FLOAT16: "FP16",
    onnx.TensorProto.BFLOAT16: "BF16",
    onnx.TensorProto.DOUBLE: "FP64",
}


def widen_to_float32(proto: Any) -> str:
    """Make all tensors of other float types FP32, and remove the conversions between them."""
    found = {name for graph in _graphs(proto.graph) for name in _widen(graph)}
    if not found:
        return ""
    _drop_casts(proto.graph)
    return f"{' and '.join(sorted(found))} was widened to FP32"


def _graphs(graph: Any) -> Iterator[Any]:
    """``graph`` and the graphs inside its nodes."""
    yield graph
    for node in graph.node:
        for attribute in node.attribute:
            for inner in (attribute.g, *attribute.graphs):
                if inner.node:
                    yield from _graphs(inner)


def _widen(graph: Any) -> Iterator[str]:
    """Widen one graph in place; yields the names of the types that were found."""
    for tensor in graph.initializer:
        yield from _widen_tensor(tensor)
    for entry in (*graph.input, *graph.output, *graph.value_info):
        kind = entry.type.tensor_type
        if kind.elem_type in NAMES:
            yield NAMES[kind.elem_type]
            kind.elem_type = onnx.TensorProto.FLOAT
    for node in graph.node:
        for attribute in node.attribute:
            if attribute.type == onnx.AttributeProto.TENSOR:
                yield from _widen_tensor(attribute.t)
            elif attribute.name in ("to", "dtype") and attribute.i in NAMES:
                yield NAMES[attribute.i]
                attribute.i = onnx.TensorProto.FLOAT


def _widen_tensor(tensor: Any) -> Iterator[str]:
    if tensor.data_type in NAMES:
        yield NAMES[tensor.data_type]
        values = onnx.numpy_helper.to_array(tensor)
        if tensor.data_type == onnx.TensorProto.BFLOAT16:  # numpy has no such type: it is the upper half of a float32
            values = (values.view(np.uint16).astype(np.uint32) << 16).view(np.float32)
        tensor.CopyFrom(onnx.numpy_helper.from_array(np.asarray(values, np.float32), tensor.name))


def _drop_casts(graph: Any) -> None:
    """Remove conversions from FP32 to FP32 from the main graph."""
    integers = _not_float(graph)
    renamed: dict[str, str] = {}
    outputs = {output.name for output in graph.output}
    kept = []
    for node in graph.node:
        node.input[:] = [renamed.get(name, name) for name in node.input]
        to = next((one.i for one in node.attribute if one.name == "to"), 0) if node.op_type == "Cast" else 0
        if to != onnx.TensorProto.FLOAT or node.input[0] in integers:
            kept.append(node)
        elif node.output[0] in outputs:
            kept.append(onnx.helper.make_node("Identity", node.input, node.output, name=node.name))
        else:
            renamed[node.output[0]] = node.input[0]
    del graph.node[:]
    graph.node.extend(kept)


def _not_float(graph: Any) -> set[str]:
    """The tensors that are, or may be, of another type than FP32: those of which nothing is known."""
    known = {tensor.name: tensor.data_type for tensor in graph.initializer}
    known |= {entry.name: entry.type.tensor_type.elem_type for entry in graph.input}
    for node in graph.node:
        if node.op_type == "Cast":
            kind = next(one.i for one in node.attribute if one.name == "to")
        elif node.op_type in ("Shape", "Size", "ArgMax", "ArgMin", "NonZero"):
            kind = onnx.TensorProto.INT64
        elif node.op_type in ("Constant", "ConstantOfShape"):
            kind = next((one.t.data_type for one in node.attribute if one.name == "value"), 0)
        else:
            kind = known.get(next(iter(node.input), ""), 0)
        known |= dict.fromkeys(node.output, kind)
    return {name for name, kind in known.items() if kind != onnx.TensorProto.FLOAT}
