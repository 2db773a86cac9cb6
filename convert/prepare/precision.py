"""Widens half and double precision to FP32, which rkface converts from."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import numpy as np
import onnx

from .graph_edit import inner_reads

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
    _drop_casts(proto)
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


def _drop_casts(proto: Any) -> None:
    """Remove conversions from FP32 to FP32 from the main graph."""
    graph = proto.graph
    floats = _float_tensors(proto)
    renamed: dict[str, str] = {}
    outputs = {output.name for output in graph.output} | inner_reads(graph)
    kept = []
    for node in graph.node:
        node.input[:] = [renamed.get(name, name) for name in node.input]
        to = next((one.i for one in node.attribute if one.name == "to"), 0) if node.op_type == "Cast" else 0
        if to != onnx.TensorProto.FLOAT or node.input[0] not in floats:
            kept.append(node)
        elif node.output[0] in outputs:
            kept.append(onnx.helper.make_node("Identity", node.input, node.output, name=node.name))
        else:
            renamed[node.output[0]] = node.input[0]
    del graph.node[:]
    graph.node.extend(kept)


def _float_tensors(proto: Any) -> set[str]:
    """The tensors of the main graph that surely are FP32."""
    known = {tensor.name: tensor.data_type for tensor in proto.graph.initializer}
    known |= {entry.name: entry.type.tensor_type.elem_type for entry in proto.graph.input}
    versions = {one.domain: one.version for one in proto.opset_import}
    for node in proto.graph.node:
        known |= _output_types(node, known, versions)
    return {name for name, kind in known.items() if kind == onnx.TensorProto.FLOAT}


def _output_types(node: Any, known: dict[str, int], versions: dict[str, int]) -> dict[str, int]:
    """The types of the outputs of ``node``, where its definition says them: they are those of an input."""
    if node.op_type in ("Cast", "Constant"):
        kinds = [
            one.i if one.name == "to" else one.t.data_type for one in node.attribute if one.name in ("to", "value")
        ]
        return dict.fromkeys(node.output, kinds[0] if kinds else 0)
    try:
        schema = onnx.defs.get_schema(node.op_type, versions.get(node.domain, versions.get("", 1)), node.domain)
    except onnx.defs.SchemaError:
        return {}
    given: dict[str, int] = {}
    for described, name in zip(_each(schema.inputs, len(node.input)), node.input, strict=False):
        given.setdefault(described.type_str, known.get(name, 0))
    outputs = zip(_each(schema.outputs, len(node.output)), node.output, strict=False)
    return {name: given.get(described.type_str, 0) if described.is_homogeneous else 0 for described, name in outputs}


def _each(described: Any, count: int) -> list[Any]:
    """The formal parameter of each of ``count`` arguments; the last one may stand for many."""
    return [*described, *[described[-1]] * (count - len(described))] if described else []
