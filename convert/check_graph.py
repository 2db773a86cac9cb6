"""Checks that an ONNX graph is sound, before any native code sees it.

onnxsim, ONNX's own checker and ONNX Runtime are C++ code that crashes on some damaged models. What is checked here is
what the specification demands (https://github.com/onnx/onnx/blob/main/docs/IR.md), in words that name the node.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from graphlib import CycleError, TopologicalSorter
from math import prod
from typing import Any

import numpy as np
import onnx

from rkface.runtime.core.errors import ModelError

MAX_NODES = 100_000  # an IResNet-100 has about 1,000
MAX_ELEMENTS = 1 << 31  # of one tensor
MAX_DEPTH = 8  # graphs inside nodes, or functions that call functions
MAX_RANK = 16
MAX_SIDE = 1 << 16  # of an input, in pixels

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
STANDARD = ("", "ai.onnx")
# Operators of other makers that ONNX Runtime knows; their schemas are not part of the onnx package.
CONTRIBUTED = ("com.microsoft", "com.microsoft.nchwc")
# Attributes of which every number must be at least this.
SMALLEST = {
    "group": 1, "groups": 1, "strides": 1, "dilations": 1, "kernel_shape": 1, "blocksize": 1, "size": 1,
    "num_outputs": 1, "hidden_size": 1, "pooled_shape": 1, "output_height": 1, "output_width": 1, "num_groups": 1,
}  # fmt: skip
WEIGHTED = {"Conv", "ConvTranspose", "Gemm", "MatMul", "BatchNormalization", "PRelu", "InstanceNormalization"}
Types = onnx.AttributeProto
ATTRIBUTE_FIELDS = {Types.FLOAT: "f", Types.INT: "i", Types.STRING: "s", Types.TENSOR: "t", Types.GRAPH: "g"}


def check_graph(proto: Any, name: object) -> None:
    """Raise ModelError, with the node or the tensor, if the ModelProto ``proto`` is not sound. ``name`` is its file.

    Nodes that are in another order than they run are sorted in place; the specification demands the order.
    """
    try:
        _Checker(proto).check()
    except _UnsoundError as error:
        raise ModelError(f"{name}: {error}") from None


def describe_node(node: Any) -> str:
    """How messages name a node: its operator, and its name or that of its first output."""
    called = node.name or next((f"makes {name}" for name in node.output if name), "no name")
    return f"{_short(node.op_type)} ({_short(called)})"


class _UnsoundError(Exception):
    """What is wrong with the model."""


class _Checker:
    def __init__(self, proto: Any) -> None:
        self._proto = proto
        self._functions = {(one.domain, one.name): one for one in proto.functions}
        self._versions: dict[str, int] = {}
        self._nodes = 0

    def check(self) -> None:
        proto = self._proto
        if not proto.graph.node:
            raise _UnsoundError("it is not an ONNX model, or it is empty: it has no operators")
        self._versions = self._read_versions(proto.opset_import)
        if proto.training_info:
            raise _UnsoundError("it contains training steps: export it for inference")
        for function in self._functions.values():
            self._check_function(function, ())
        self._check_graph(proto.graph, frozenset(), 0)
        if not proto.graph.output:
            raise _UnsoundError("it has no outputs")

    def _read_versions(self, imports: Iterable[Any]) -> dict[str, int]:
        versions = {"" if one.domain in STANDARD else one.domain: one.version for one in imports}
        newest = onnx.defs.onnx_opset_version()
        own = versions.get("")
        if own is None:
            raise _UnsoundError("it does not say which version of ONNX's operators (opset) it uses: export it again")
        if not 1 <= own <= newest:
            raise _UnsoundError(
                f"it uses opset {own}, but the newest that this onnx package knows is {newest}: export it again, with "
                "opset 13 to 17"
            )
        return versions

    def _check_function(self, function: Any, callers: tuple[tuple[str, str], ...]) -> None:
        key = (function.domain, function.name)
        if key in callers or len(callers) >= MAX_DEPTH:
            raise _UnsoundError(f"its function {_short(function.name)} calls itself, or functions are nested too deep")
        outer = self._versions
        if function.opset_import:
            self._versions = {**outer, **self._read_versions(function.opset_import)}
        self._check_nodes(function, set(function.input), frozenset(), 0)
        made = {name for node in function.node for name in node.output} | set(function.input)
        if lost := [name for name in function.output if name not in made]:
            raise _UnsoundError(
                f"the output {_short(lost[0])} of its function {_short(function.name)} is made by no node"
            )
        for node in function.node:
            inner = self._functions.get((node.domain, node.op_type))
            if inner is not None:
                self._check_function(inner, (*callers, key))
        self._versions = outer

    def _check_graph(self, graph: Any, outer: frozenset[str], depth: int) -> None:
        if depth > MAX_DEPTH:
            raise _UnsoundError(f"its graphs are nested more than {MAX_DEPTH} deep")
        if graph.sparse_initializer:
            raise _UnsoundError(
                "it has sparse weights, which rknn-toolkit2 does not read: export it with dense weights"
            )
        inputs, weights = [one.name for one in graph.input], [one.name for one in graph.initializer]
        for names, what in ((inputs, "inputs"), (weights, "weights"), ([one.name for one in graph.output], "outputs")):
            if twice := _first_twice(names):
                raise _UnsoundError(f"two of its {what} are called {_short(twice)}")
        for entry in (*graph.input, *graph.output, *graph.value_info):
            _check_entry(entry)
        for tensor in graph.initializer:
            _check_tensor(tensor, f"the weights {_short(tensor.name)}")
        known = {*inputs, *weights}
        self._check_nodes(graph, known, outer, depth)
        made = known.union(*(node.output for node in graph.node))
        for entry in graph.output:
            if not entry.name or entry.name not in made | outer:
                raise _UnsoundError(
                    f"its output {_short(entry.name)} is made by no node, as after a node was removed from the model: "
                    "name an existing tensor as the output, or export it again"
                )
        _check_weights_are_finite(graph)

    def _check_nodes(self, graph: Any, known: set[str], outer: frozenset[str], depth: int) -> None:
        self._nodes += len(graph.node)
        if self._nodes > MAX_NODES:
            raise _UnsoundError(f"it has more than {MAX_NODES:,} nodes")
        maker: dict[str, int] = {}
        for at, node in enumerate(graph.node):
            for name in filter(None, node.output):
                if name in maker or name in known:
                    raise _UnsoundError(
                        f"two nodes, inputs or weights make {_short(name)}; one is {describe_node(node)}"
                    )
                maker[name] = at
        scope = outer | known | maker.keys()
        needs: dict[int, set[int]] = {}
        for at, node in enumerate(graph.node):
            read = [*filter(None, node.input), *_outer_reads(node, 0)]
            for name in read:
                if name not in scope:
                    raise _UnsoundError(f"{describe_node(node)} reads {_short(name)}, which no node makes")
            needs[at] = {maker[name] for name in read if name in maker}
        self._sort(graph, needs)
        for node in graph.node:
            self._check_node(node, frozenset(scope), depth)

    def _sort(self, graph: Any, needs: dict[int, set[int]]) -> None:
        if all(before < at for at, found in needs.items() for before in found):
            return
        try:
            order = list(TopologicalSorter(needs).static_order())
        except CycleError as error:
            loop = " ← ".join(describe_node(graph.node[at]) for at in error.args[1][:4])
            raise _UnsoundError(f"its nodes form a loop: {loop}") from None
        nodes = [graph.node[at] for at in order]
        copies = [type(node).FromString(node.SerializeToString()) for node in nodes]
        del graph.node[:]
        graph.node.extend(copies)

    def _check_node(self, node: Any, scope: frozenset[str], depth: int) -> None:
        schema = self._schema(node)
        given = _first_twice(one.name for one in node.attribute)
        if given:
            raise _UnsoundError(f"{describe_node(node)} has the attribute {_short(given)} twice")
        for attribute in node.attribute:
            self._check_attribute(node, attribute, schema)
            for graph in (attribute.g, *attribute.graphs):
                if graph.ByteSize():
                    self._check_graph(graph, scope, depth + 1)
        if schema is not None:
            _check_arity(node, schema)

    def _schema(self, node: Any) -> Any:
        """The definition of the operator of ``node``; None for functions of the model and of ONNX Runtime."""
        domain = "" if node.domain in STANDARD else node.domain
        if (node.domain, node.op_type) in self._functions or domain in CONTRIBUTED:
            return None
        if domain not in self._versions:
            raise _UnsoundError(
                f"{describe_node(node)} is an operator of {_short(domain)}, which neither the model nor ONNX defines: "
                "export it with standard operators"
            )
        try:
            return onnx.defs.get_schema(node.op_type, self._versions[domain], domain)
        except onnx.defs.SchemaError:
            raise _UnsoundError(
                f"{describe_node(node)}: {_short(domain or 'ONNX')} has no such operator in opset "
                f"{self._versions[domain]}: export it with standard operators"
            ) from None

    def _check_attribute(self, node: Any, attribute: Any, schema: Any) -> None:
        where = f"the attribute {_short(attribute.name)} of {describe_node(node)}"
        if attribute.ref_attr_name:
            return  # of a function: its caller gives the value
        if attribute.type in ATTRIBUTE_FIELDS and not attribute.HasField(ATTRIBUTE_FIELDS[attribute.type]):
            raise _UnsoundError(f"{where} has no value")
        if schema is not None and attribute.name not in schema.attributes:
            raise _UnsoundError(f"{where} is not one that this operator has")
        if schema is not None and schema.attributes[attribute.name].type.value != attribute.type:
            raise _UnsoundError(f"{where} has the wrong type")
        numbers = [*attribute.ints, *([attribute.i] if attribute.type == Types.INT else [])]
        least = SMALLEST.get(attribute.name)
        if least is not None and any(not least <= number <= MAX_ELEMENTS for number in numbers):
            raise _UnsoundError(f"{where} is {numbers[:8]}, but it must be {least} or more")
        if any(abs(number) >= 1 << 62 for number in numbers) and attribute.name not in (
            "ends",
            "value_int",
            "value_ints",
        ):
            raise _UnsoundError(f"{where} is {numbers[:8]}: no such number is possible")
        for tensor in (attribute.t, *attribute.tensors):
            if tensor.ByteSize():
                _check_tensor(tensor, where)
        if attribute.HasField("sparse_tensor") or attribute.sparse_tensors:
            raise _UnsoundError(f"{where} is a sparse tensor, which rknn-toolkit2 does not read")


def _check_arity(node: Any, schema: Any) -> None:
    if not schema.min_input <= len(node.input) <= schema.max_input:
        raise _UnsoundError(f"{describe_node(node)} has {len(node.input)} inputs, which this operator cannot have")
    if not schema.min_output <= len(node.output) <= schema.max_output:
        raise _UnsoundError(f"{describe_node(node)} has {len(node.output)} outputs, which this operator cannot have")
    for name, described in zip(node.input, schema.inputs, strict=False):
        if not name and described.option == onnx.defs.OpSchema.FormalParameterOption.Single:
            raise _UnsoundError(f"{describe_node(node)} lacks its input {described.name!r}")
    given = {one.name for one in node.attribute}
    for name, described in schema.attributes.items():
        if described.required and name not in given:
            raise _UnsoundError(f"{describe_node(node)} lacks its attribute {name!r}")


def _check_entry(entry: Any) -> None:
    if not entry.name:
        raise _UnsoundError("one of its inputs or outputs has no name")
    dims = entry.type.tensor_type.shape.dim
    if len(dims) > MAX_RANK:
        raise _UnsoundError(f"{_short(entry.name)} has {len(dims)} dimensions")
    sides = [one.dim_value for one in dims]
    if any(side < -1 for side in sides) or prod(side for side in sides if side > 0) > MAX_ELEMENTS:
        raise _UnsoundError(f"{_short(entry.name)} has the shape {'×'.join(map(str, sides))}, which is impossible")


def _check_tensor(tensor: Any, where: str) -> None:
    """Raise _UnsoundError unless the content of ``tensor`` has the size that its shape and its type demand."""
    dims, kind = list(tensor.dims), tensor.data_type
    if kind not in ELEMENT_BYTES:
        named = onnx.TensorProto.DataType.Name(kind) if kind in onnx.TensorProto.DataType.values() else f"type {kind}"
        raise _UnsoundError(f"{where} have {named.lower()} elements, which rkface does not convert")
    if len(dims) > MAX_RANK or any(side < 0 for side in dims) or prod(dims) > MAX_ELEMENTS:
        raise _UnsoundError(f"{where} have the impossible shape {'×'.join(map(str, dims[:MAX_RANK]))}")
    if tensor.data_location != onnx.TensorProto.DEFAULT or tensor.external_data:
        raise _UnsoundError(f"{where} are in another file, which was not read")
    if tensor.HasField("segment") or tensor.string_data:
        raise _UnsoundError(f"{where} are split or contain text, which rkface does not convert")
    if tensor.HasField("raw_data"):
        have, want = len(tensor.raw_data), prod(dims) * ELEMENT_BYTES[kind]
        unit = "bytes"
    else:
        have, want, unit = len(getattr(tensor, TYPED_FIELD.get(kind, "int32_data"))), prod(dims), "numbers"
    if have != want:
        shape = "×".join(map(str, dims)) or "one number"
        raise _UnsoundError(
            f"{where} contain {have:,} {unit}, but their shape {shape} needs {want:,}: the file is damaged, copy it "
            "again"
        )


def _check_weights_are_finite(graph: Any) -> None:
    """Refuse weights that are NaN or infinite: their training failed, or the file is damaged.

    Only what multiplies: an infinite bound of Clip is common, and so are infinite masks.
    """
    reader = {name: node for node in graph.node if node.op_type in WEIGHTED for name in node.input}
    for tensor in graph.initializer:
        if tensor.name in reader and tensor.data_type in (1, 10, 11):  # FLOAT, FLOAT16, DOUBLE
            values = onnx.numpy_helper.to_array(tensor)
            if not np.isfinite(values).all():
                raise _UnsoundError(
                    f"the weights {_short(tensor.name)} of {describe_node(reader[tensor.name])} contain "
                    f"{int((~np.isfinite(values)).sum()):,} numbers that are NaN or infinite: the training failed, or "
                    "the file is damaged"
                )


def _outer_reads(node: Any, depth: int) -> Iterator[str]:
    """Tensors of the surrounding graph that the graphs inside ``node`` read."""
    if depth > MAX_DEPTH:
        raise _UnsoundError(f"its graphs are nested more than {MAX_DEPTH} deep")
    for attribute in node.attribute:
        for graph in (attribute.g, *attribute.graphs):
            own = {one.name for one in (*graph.input, *graph.initializer)}.union(*(one.output for one in graph.node))
            for inner in graph.node:
                yield from (
                    name for name in (*inner.input, *_outer_reads(inner, depth + 1)) if name and name not in own
                )


def _first_twice(names: Iterable[str]) -> str | None:
    seen: set[str] = set()
    for name in names:
        if name in seen:
            return name
        seen.add(name)
    return None


def _short(name: str) -> str:
    """A name from the model, as messages show it: short, and without control characters."""
    shown = repr(name)[1:-1]
    return f"'{shown if len(shown) <= 60 else shown[:57] + '…'}'"
