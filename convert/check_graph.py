"""Checks that an ONNX graph is sound, before any native code sees it.

ONNX's shape inference, onnxsim and ONNX Runtime are C++ code that crashes on some damaged models. What is checked here
is what the specification demands (https://github.com/onnx/onnx/blob/main/docs/IR.md), in words that name the node.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from graphlib import CycleError, TopologicalSorter
from typing import Any

import onnx

from rkface.runtime.core.errors import ModelError

from .check_inference import check_inference
from .check_tensor import (
    UnsoundModelError,
    check_entry,
    check_kernels,
    check_tensor,
    check_weights_are_finite,
    describe_node,
    short_name,
)

MAX_NODES = 100_000  # an IResNet-100 has about 1,000
MAX_DEPTH = 8  # graphs inside nodes
MAX_STEP = 1 << 16  # the largest stride, kernel or padding: inputs have fewer pixels on a side
STANDARD = ("", "ai.onnx")
# Operators of other makers that ONNX Runtime knows; their definitions are not part of the onnx package.
CONTRIBUTED = ("com.microsoft", "com.microsoft.nchwc")
# Attributes by which something is divided or repeated, and the smallest and largest number that is possible.
STEPS = (1, MAX_STEP)
RANGES = {
    "group": (1, 1 << 20), "groups": (1, 1 << 20), "num_groups": (1, 1 << 20), "strides": STEPS, "dilations": STEPS,
    "kernel_shape": STEPS, "blocksize": STEPS, "size": (1, 1 << 20), "num_outputs": (1, 1 << 20),
    "hidden_size": (1, 1 << 20), "pooled_shape": STEPS, "output_height": STEPS, "output_width": STEPS,
}  # fmt: skip
WINDOWED = {"Conv", "ConvTranspose", "MaxPool", "AveragePool", "LpPool", "ConvInteger", "QLinearConv"}
Kinds = onnx.AttributeProto
VALUE_FIELD = {Kinds.FLOAT: "f", Kinds.INT: "i", Kinds.STRING: "s", Kinds.TENSOR: "t", Kinds.GRAPH: "g"}


def check_graph(proto: Any, name: object) -> None:
    """Raise ModelError, with the node or the tensor, if the ModelProto ``proto`` is not sound. ``name`` is its file.

    Nodes in another order than they run are sorted in place, as the specification demands.
    """
    try:
        _Checker(proto).check()
    except UnsoundModelError as error:
        raise ModelError(f"{name}: {error}") from None
    except UnicodeDecodeError as error:
        raise ModelError(
            f"{name}: a name in it is not UTF-8 ({error.reason}): the file is damaged, copy it again"
        ) from None


class _Checker:
    def __init__(self, proto: Any) -> None:
        self._proto = proto
        self._functions = {(one.domain, one.name): one for one in proto.functions}
        self._versions: dict[str, int] = {}
        self._nodes = 0

    def check(self) -> None:
        proto = self._proto
        if not proto.graph.node:
            raise UnsoundModelError("it is not an ONNX model, or it is empty: it has no operators")
        if proto.training_info:
            raise UnsoundModelError("it contains training steps: export it for inference")
        self._versions = _read_versions(proto.opset_import)
        self._check_functions()
        self._check_graph(proto.graph, frozenset(), 0)
        if not proto.graph.output:
            raise UnsoundModelError("it has no outputs")
        check_inference(proto.graph)

    def _check_functions(self) -> None:
        calls = {
            key: {(node.domain, node.op_type) for node in one.node} & self._functions.keys()
            for key, one in self._functions.items()
        }
        try:
            TopologicalSorter(calls).prepare()
        except CycleError as error:
            raise UnsoundModelError(f"its function {short_name(error.args[1][0][1])} calls itself") from None
        outer = self._versions
        for function in self._functions.values():
            self._versions = {**outer, **_read_versions(function.opset_import or self._proto.opset_import)}
            self._check_nodes(function, set(function.input), frozenset(), 0)
            _require_made(function.output, set(function.input).union(*(node.output for node in function.node)))
        self._versions = outer

    def _check_graph(self, graph: Any, outer: frozenset[str], depth: int) -> None:
        if depth > MAX_DEPTH:
            raise UnsoundModelError(f"its graphs are nested more than {MAX_DEPTH} deep")
        if graph.sparse_initializer:
            raise UnsoundModelError("it has sparse weights, which rkface does not convert: export it with dense ones")
        inputs, weights = [one.name for one in graph.input], [one.name for one in graph.initializer]
        outputs = [one.name for one in graph.output]
        for names, what in ((inputs, "inputs"), (weights, "weights"), (outputs, "outputs")):
            if (twice := _first_twice(names)) is not None:
                raise UnsoundModelError(f"two of its {what} are called {short_name(twice)}")
        for entry in (*graph.input, *graph.output, *graph.value_info):
            check_entry(entry)
        for tensor in graph.initializer:
            check_tensor(tensor, f"the weights {short_name(tensor.name)}")
        known = {*inputs, *weights}
        self._check_nodes(graph, known, outer, depth)
        _require_made(outputs, outer | known.union(*(node.output for node in graph.node)))
        check_weights_are_finite(graph)
        check_kernels(graph)

    def _check_nodes(self, graph: Any, known: set[str], outer: frozenset[str], depth: int) -> None:
        """Check the nodes of a graph or a function; ``known`` are its inputs and weights."""
        self._nodes += len(graph.node)
        if self._nodes > MAX_NODES:
            raise UnsoundModelError(f"it has more than {MAX_NODES:,} nodes")
        maker: dict[str, int] = {}
        for at, node in enumerate(graph.node):
            for name in filter(None, node.output):
                if name in maker or name in known:
                    raise UnsoundModelError(
                        f"{describe_node(node)} makes {short_name(name)}, which another node makes, or which is an "
                        "input or a weight"
                    )
                maker[name] = at
        scope = frozenset(outer | known | maker.keys())
        needs: dict[int, set[int]] = {}
        for at, node in enumerate(graph.node):
            read = [*filter(None, node.input), *_outer_reads(node, 0)]
            for name in read:
                if name not in scope:
                    raise UnsoundModelError(f"{describe_node(node)} reads {short_name(name)}, which no node makes")
            needs[at] = {maker[name] for name in read if name in maker}
        _sort_nodes(graph, needs)
        for node in graph.node:
            self._check_node(node, scope, depth)

    def _check_node(self, node: Any, scope: frozenset[str], depth: int) -> None:
        schema = self._schema(node)
        if (twice := _first_twice(one.name for one in node.attribute)) is not None:
            raise UnsoundModelError(f"{describe_node(node)} has the attribute {short_name(twice)} twice")
        for attribute in node.attribute:
            _check_attribute(node, attribute, schema)
            for graph in _inner_graphs(attribute):
                self._check_graph(graph, scope, depth + 1)
        if (known := schema or self._namesake(node)) is not None:
            _check_arity(node, known)

    def _namesake(self, node: Any) -> Any:
        """The definition of the operator of ONNX with the name of ``node``, which is of another maker; None if ONNX
        has no such operator. What rewrites models looks at names only."""
        return _find_schema(node.op_type, self._versions[""], "") if node.domain in CONTRIBUTED else None

    def _schema(self, node: Any) -> Any:
        """The definition of the operator of ``node``; None for functions of the model and of ONNX Runtime."""
        domain = "" if node.domain in STANDARD else node.domain
        if (node.domain, node.op_type) in self._functions or domain in CONTRIBUTED:
            return None
        if (
            domain in self._versions
            and (found := _find_schema(node.op_type, self._versions[domain], domain)) is not None
        ):
            return found
        version = f" in opset {self._versions[domain]}" if domain in self._versions else ""
        raise UnsoundModelError(
            f"{describe_node(node)}: {short_name(domain) if domain else 'ONNX'} has no such operator{version}: export "
            "it with standard operators"
        )


def _find_schema(operator: str, version: int, domain: str) -> Any:
    """The definition of ``operator``; None if it is not known."""
    try:
        return onnx.defs.get_schema(operator, version, domain)
    except onnx.defs.SchemaError:
        return None


def _read_versions(imports: Iterable[Any]) -> dict[str, int]:
    """Version of the operators by domain."""
    versions = {"" if one.domain in STANDARD else one.domain: one.version for one in imports}
    newest, own = onnx.defs.onnx_opset_version(), versions.get("")
    if own is None:
        raise UnsoundModelError("it does not say which version of ONNX's operators (opset) it uses: export it again")
    if not 1 <= own <= newest + 20:  # a later one may be usable: convert/prepare tries it
        raise UnsoundModelError(f"it uses opset {own}, but opset {newest} is the newest here: export it with opset 17")
    for domain, version in versions.items():
        if not 1 <= version <= MAX_STEP:
            raise UnsoundModelError(f"it uses version {version} of the operators of {short_name(domain)}")
    return versions


def _require_made(outputs: Iterable[str], made: frozenset[str] | set[str]) -> None:
    for name in outputs:
        if not name or name not in made:
            raise UnsoundModelError(
                f"its output {short_name(name)} is made by no node, as after a node was removed from the model: name a "
                "tensor that exists as the output, or export it again"
            )


def _sort_nodes(graph: Any, needs: dict[int, set[int]]) -> None:
    """Sort the nodes so that each comes after those that it ``needs``."""
    if all(before < at for at, found in needs.items() for before in found):
        return
    try:
        order = list(TopologicalSorter(needs).static_order())
    except CycleError as error:
        loop = " ← ".join(describe_node(graph.node[at]) for at in error.args[1][:4])
        raise UnsoundModelError(f"its nodes form a loop: {loop}") from None
    copies = [type(graph.node[at]).FromString(graph.node[at].SerializeToString()) for at in order]
    del graph.node[:]
    graph.node.extend(copies)


def _check_attribute(node: Any, attribute: Any, schema: Any) -> None:
    where = f"the attribute {short_name(attribute.name)} of {describe_node(node)}"
    if attribute.ref_attr_name:  # of a function: its caller gives the value
        return
    if attribute.type in VALUE_FIELD and not attribute.HasField(VALUE_FIELD[attribute.type]):
        raise UnsoundModelError(f"{where} has no value")
    if schema is not None and attribute.name not in schema.attributes:
        raise UnsoundModelError(f"{where} is not one that this operator has")
    if schema is not None and schema.attributes[attribute.name].type.value != attribute.type:
        raise UnsoundModelError(f"{where} has the wrong type")
    numbers = [*attribute.ints, *([attribute.i] if attribute.type == Kinds.INT else [])]
    low, high = RANGES.get(attribute.name, (-(1 << 63), 1 << 63))
    if attribute.name == "pads" and node.op_type in WINDOWED:
        low, high = 0, MAX_STEP
    if any(not low <= number <= high for number in numbers):
        raise UnsoundModelError(f"{where} is {numbers[:8]}, but it must be {low} to {high}: the model is damaged")
    if attribute.HasField("sparse_tensor") or attribute.sparse_tensors:
        raise UnsoundModelError(f"{where} is a sparse tensor, which rkface does not convert")
    for tensor in ([attribute.t] if attribute.HasField("t") else []) + list(attribute.tensors):
        check_tensor(tensor, f"the numbers in {where}")


def _check_arity(node: Any, schema: Any) -> None:
    for what, count, low, high in (
        ("inputs", len(node.input), schema.min_input, schema.max_input),
        ("outputs", len(node.output), schema.min_output, schema.max_output),
    ):
        if not low <= count <= high:
            raise UnsoundModelError(f"{describe_node(node)} has {count} {what}: this operator cannot have so many")
    for name, described in zip(node.input, schema.inputs, strict=False):
        if not name and described.option == onnx.defs.OpSchema.FormalParameterOption.Single:
            raise UnsoundModelError(f"{describe_node(node)} lacks its input {described.name!r}")
    given = {one.name for one in node.attribute}
    for name, described in schema.attributes.items():
        if described.required and name not in given:
            raise UnsoundModelError(f"{describe_node(node)} lacks its attribute {name!r}")


def _inner_graphs(attribute: Any) -> list[Any]:
    return ([attribute.g] if attribute.HasField("g") else []) + list(attribute.graphs)


def _outer_reads(node: Any, depth: int) -> Iterator[str]:
    """Tensors of the surrounding graph that the graphs inside ``node`` read."""
    if depth > MAX_DEPTH:
        raise UnsoundModelError(f"its graphs are nested more than {MAX_DEPTH} deep")
    for attribute in node.attribute:
        for graph in _inner_graphs(attribute):
            own = {one.name for one in (*graph.input, *graph.initializer)}.union(*(one.output for one in graph.node))
            for inner in graph.node:
                for name in (*inner.input, *_outer_reads(inner, depth + 1)):
                    if name and name not in own:
                        yield name


def _first_twice(names: Iterable[str]) -> str | None:
    seen: set[str] = set()
    for name in names:
        if name in seen:
            return name
        seen.add(name)
    return None
