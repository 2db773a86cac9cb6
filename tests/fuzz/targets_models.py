"""Readers of models and of the files that `rkface evaluate` takes: ONNX, verification files, pairs, groups, lists."""

import json
import pickle
import struct
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import onnx
from fuzz_target import Target, from_file, temporary_folder
from onnx import TensorProto, helper, numpy_helper

from rkface.convert.check_graph import check_graph
from rkface.convert.evaluate.binfile import read_bin
from rkface.convert.evaluate.groups import read_groups
from rkface.convert.image_lists import read_image_list
from rkface.convert.label_files import read_pairs
from rkface.convert.native_steps import simplify_proto
from rkface.convert.npu_layers import find_layers
from rkface.convert.packs.dlib_resnet import read_dlib_resnet
from rkface.convert.simplify import fix_input, load_onnx

FOLDER = temporary_folder()


def save(nodes: list[Any], constants: dict[str, Any], opset: int = 13) -> Any:
    """A model from "x", an image of 32×32, to "y"."""
    graph = helper.make_graph(
        nodes,
        "g",
        [helper.make_tensor_value_info("x", TensorProto.FLOAT, [1, 3, 32, 32])],
        [helper.make_tensor_value_info("y", TensorProto.FLOAT, None)],
        [numpy_helper.from_array(np.asarray(value), name) for name, value in constants.items()],
    )
    return helper.make_model(graph, opset_imports=[helper.make_opsetid("", opset)], ir_version=8)


def tiny_models() -> Iterator[Any]:
    """Small models with the operators of detectors and recognizers."""
    make = helper.make_node
    floats = np.ones((4, 3, 3, 3), np.float32)
    yield save(
        [
            make("Conv", ["x", "w", "b"], ["c"], pads=[1, 1, 1, 1], strides=[2, 2], group=1, dilations=[1, 1]),
            make("BatchNormalization", ["c", "b", "b", "b", "v"], ["n"], epsilon=1e-5),
            make("PRelu", ["n", "s"], ["r"]),
            make("AveragePool", ["r"], ["p"], kernel_shape=[4, 4], strides=[4, 4]),
            make("Flatten", ["p"], ["f"], axis=1),
            make("Gemm", ["f", "m"], ["y"], transB=1, alpha=1.0),
        ],
        {
            "w": floats, "b": np.zeros(4, np.float32), "v": np.ones(4, np.float32),
            "s": np.ones((4, 1, 1), np.float32), "m": np.ones((8, 64), np.float32),
        },
    )  # fmt: skip
    yield save(
        [
            make("Conv", ["x", "w"], ["c"]),
            make("Shape", ["c"], ["shape"]),
            make("Gather", ["shape", "one"], ["side"], axis=0),
            make("Concat", ["side", "minus"], ["to"], axis=0),
            make("Transpose", ["c"], ["t"], perm=[0, 2, 3, 1]),
            make("Reshape", ["t", "to"], ["z"]),
            make("Slice", ["z", "zero", "minus"], ["l"]),
            make("Sigmoid", ["l"], ["y"]),
        ],
        {"w": floats, "one": np.int64([1]), "zero": np.int64([0]), "minus": np.int64([-1])},
    )
    yield save(
        [
            make("MaxPool", ["x"], ["p"], kernel_shape=[2, 2], strides=[2, 2], ceil_mode=1),
            make("Resize", ["p", "", "scales"], ["u"], mode="nearest"),
            make("Pad", ["u", "pads"], ["q"], mode="constant"),
            make("Split", ["q", "parts"], ["a", "b"], axis=2),
            make("ReduceMean", ["a"], ["d"], axes=[2], keepdims=1),
            make("Mul", ["d", "half"], ["e"]),
            make("Clip", ["e", "", "half"], ["y"]),
        ],
        {
            "scales": np.float32([1, 1, 2, 2]), "pads": np.int64([0, 0, 1, 1, 0, 0, 1, 1]),
            "parts": np.int64([17, 17]), "half": np.float32(0.5),
        },
    )  # fmt: skip
    yield save(
        [
            make("ConvTranspose", ["x", "k"], ["c"], strides=[2, 2], group=1),
            make("InstanceNormalization", ["c", "o", "o"], ["i"]),
            make("DepthToSpace", ["i"], ["d"], blocksize=2),
            make("GlobalAveragePool", ["d"], ["g"]),
            make("Squeeze", ["g", "axes"], ["s"]),
            make("Unsqueeze", ["s", "front"], ["u"]),
            make("Expand", ["u", "size"], ["e"]),
            make("ConstantOfShape", ["size"], ["z"]),
            make("Add", ["e", "z"], ["a"]),
            make("Softmax", ["a"], ["y"], axis=-1),
        ],
        {
            "k": np.ones((3, 4, 2, 2), np.float32), "o": np.ones(4, np.float32), "axes": np.int64([2, 3]),
            "front": np.int64([0]), "size": np.int64([2, 1, 1]),
        },
    )  # fmt: skip


MODELS = list(tiny_models())
OPERATORS = sorted(schema.name for schema in onnx.defs.get_all_schemas() if schema.domain == "")
NUMBERS = (0, 1, -1, 2, 3, 7, 64, 255, 1 << 16, 1 << 31, (1 << 31) - 1, -(1 << 31), 1 << 40, (1 << 63) - 1, -(1 << 63))


class Choices:
    """Choices that are read from bytes."""

    def __init__(self, data: bytes) -> None:
        self._data, self._at = data, 0

    def __bool__(self) -> bool:
        return self._at < len(self._data)

    def below(self, count: int) -> int:
        byte = self._data[self._at] if self else 0
        self._at += 1
        return byte % max(1, count)

    def of(self, items: Any) -> Any:
        return items[self.below(len(items))] if len(items) else None


def changed_model(data: bytes) -> Any:
    """One of the tiny models, changed as ``data`` says: most of these are sound for a parser, and wrong for a graph."""
    choices = Choices(data[:64])
    proto = onnx.ModelProto()
    proto.CopyFrom(choices.of(MODELS))
    while choices:
        change(proto.graph, choices)
    return proto


def change(graph: Any, choices: Choices) -> None:  # noqa: PLR0912
    node, tensor = choices.of(graph.node), choices.of(graph.initializer)
    names = [name for one in graph.node for name in (*one.input, *one.output)] or ["x"]
    match choices.below(9):
        case 0 if node is not None and node.attribute:
            attribute = choices.of(node.attribute)
            if attribute.ints:
                attribute.ints[choices.below(len(attribute.ints))] = choices.of(NUMBERS)
            else:
                attribute.i = choices.of(NUMBERS)
        case 1 if node is not None and node.input:
            node.input[choices.below(len(node.input))] = choices.of(names)
        case 2 if node is not None and node.output:
            node.output[choices.below(len(node.output))] = choices.of(names)
        case 3 if tensor is not None:
            values = numpy_helper.to_array(tensor).copy().reshape(-1)
            if len(values):
                limits = np.iinfo(values.dtype) if values.dtype.kind == "i" else np.finfo(np.float32)
                values[choices.below(len(values))] = np.clip(float(choices.of(NUMBERS)), limits.min / 2, limits.max / 2)
            tensor.CopyFrom(numpy_helper.from_array(values.reshape(tuple(tensor.dims)), tensor.name))
        case 4 if tensor is not None:
            size = [choices.below(5) for _ in range(choices.below(5))]
            tensor.CopyFrom(numpy_helper.from_array(np.ones(size, np.float32), tensor.name))
        case 5 if node is not None:
            node.op_type = OPERATORS[(choices.below(256) * 256 + choices.below(256)) % len(OPERATORS)]
        case 6 if node is not None:
            graph.node.remove(node)
        case 7 if node is not None and node.attribute:
            del node.attribute[choices.below(len(node.attribute))]
        case 8:
            dims = graph.input[0].type.tensor_type.shape.dim
            dims[choices.below(len(dims))].dim_value = choices.of(NUMBERS)
        case _:
            pass


def check_changed(data: bytes) -> object:
    proto = changed_model(data)
    check_graph(proto, "m.onnx")
    return proto


def simplify_changed(data: bytes) -> object:
    return find_layers(onnx.ModelProto.FromString(simplify_proto(check_changed(data), "m.onnx").data), "m.onnx")


def read_model(path: Path) -> object:
    load_onnx(path)
    return [fix_input(path, role) for role in ("detector", "recognizer")]


def models() -> Iterator[bytes]:
    for proto in MODELS:
        yield proto.SerializeToString()
    outside = FOLDER / "outside.onnx"
    onnx.save(MODELS[0], outside, save_as_external_data=True, size_threshold=0, location="weights.data")
    yield outside.read_bytes()


def verification_files() -> Iterator[bytes]:
    for protocol in (2, 4):
        yield pickle.dumps(([b"\xff\xd8jpeg", b"\x89PNG"], [True]), protocol)
    yield pickle.dumps(([np.zeros(5, np.uint8), b"two"], np.array([True])), 2)
    yield b"(" * 50 + b"t" * 50 + b"."


def changes() -> Iterator[bytes]:
    yield from (bytes([number]) for number in range(len(MODELS)))  # unchanged
    for number in range(12):
        yield bytes([number % 4, number, 3, number % 9, 1, number])
    yield struct.pack("<16B", *range(16))


def read_counted_pairs(path: Path) -> object:
    return len(json.dumps(read_pairs(path)))


def dlib_networks() -> Iterator[bytes]:
    """The first layers of dlib's serialization; the complete network has 22 MB."""
    start = b"\x01\x15input_rgb_image_sized" + b"\x01\x7a\x01\x00\x01\x75\x01\x00\x01\x68\x01\x00\x01\x96\x01\x96"
    tensor = b"\x01\x02\x01\x02\x01\x01\x01\x01\x01\x01" + struct.pack("<2f", 0.5, -1.0)
    fields = b"\x01\x20\x01\x07\x01\x07\x01\x02\x01\x02\x01\x00\x01\x00"
    yield start + b"\x01\x05con_4" + tensor + fields + b"\x01\x07affine_" + tensor
    # The first convolution with all its weights: 32 filters of 7×7×3, and 32 biases.
    weights = b"\x01\x02\x02\x80\x12\x01\x01\x01\x01\x01\x01" + bytes(4 * 4736)
    yield start + b"\x01\x05con_4" + weights + fields + b"\x01\x07affine_" + tensor


TARGETS = (
    Target("onnx", from_file(FOLDER, "m.onnx", read_model), models),
    Target("onnx-graph", check_changed, changes),
    # Each input is a process that loads onnx, onnxsim and ONNX Runtime; the limits are those of the process.
    Target("onnx-native", simplify_changed, lambda: list(changes())[:4], seconds=60.0, megabytes=300, mutations=4),
    Target("dlib-network", from_file(FOLDER, "network.dat", read_dlib_resnet), dlib_networks),
    Target("verification-file", from_file(FOLDER, "a.bin", read_bin), verification_files),
    Target(
        "pairs",
        from_file(FOLDER, "p.csv", read_counted_pairs),
        lambda: [b"a,b,same\na.jpg,b.jpg,Yes\n", b'"a,1",b,c\n'],
    ),
    Target("groups", from_file(FOLDER, "g.csv", read_groups), lambda: [b"person,group\nAda,one\nBob,two\n"]),
    Target("image-list", from_file(FOLDER, "dataset.txt", read_image_list), lambda: [b"0000.png\n0001.png\n"]),
)
