"""Reads dlib's face recognition network (ResNet-29, 128-D, CC0) and writes it as ONNX.

The file, dlib_face_recognition_resnet_model_v1.dat, is dlib's own serialization (dlib/serialize.h, dlib/dnn/layers.h):

* An integer is one byte, whose low four bits count the bytes that follow and whose highest bit is the sign, and then
  these bytes, little-endian. A float is two integers, mantissa and exponent of two. A text is its length and its bytes.
* A tensor is the version 2, four dimensions (samples, channels, rows, columns) and its values as little-endian float32.
* Each layer is a text, its name and version, and its own fields. Between the layers stand flags and empty tensors of
  training. So layers are found by their names, in the order in which they compute, and each is checked against the
  architecture: a file that is not exactly this network is refused.

The network is described in dlib's examples/dnn_face_recognition_ex.cpp: a 7×7 convolution and max pooling, 14 residual
blocks of two 3×3 convolutions, the mean over all positions, and a matrix. Each convolution is followed by an affine
layer, which is folded into it here. A block that halves the picture adds its input's 2×2 means; where the two sides
differ in size or channels, dlib pads with zeros.
"""

from __future__ import annotations

import math
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np
import onnx
from numpy.typing import NDArray
from onnx import TensorProto, helper, numpy_helper

from rkface.runtime.core.atomic import write_atomically
from rkface.runtime.core.errors import InputError
from rkface.runtime.core.files import read_file

SIDE = 150  # pixels of the aligned face
DIMENSIONS = 128
CHIP_SCALE = 256.0  # dlib divides the input by it after it has subtracted the mean color (dlib/dnn/input.h)
STEM = 32
# (channels, whether it halves the picture) of each residual block
BLOCKS = (
    *[(32, False)] * 3, (64, True), *[(64, False)] * 3, (128, True), *[(128, False)] * 2,
    (256, True), *[(256, False)] * 2, (256, True),
)  # fmt: skip
MOST_BYTES = 100_000_000
OPSET = 13


@dataclass(frozen=True, eq=False)
class DlibConvolution:
    """A convolution with its affine layer folded in: ``weights`` out×in×k×k, ``bias`` out, both float32."""

    weights: NDArray[np.float32]
    bias: NDArray[np.float32]
    stride: int
    padding: int


@dataclass(frozen=True, eq=False)
class DlibResnet:
    """The network. ``mean``: red, green and blue, 0 to 255, that are subtracted from the input, which is then divided
    by 256. ``matrix``: 256×128."""

    mean: tuple[float, float, float]
    convolutions: tuple[DlibConvolution, ...]
    matrix: NDArray[np.float32]


def read_dlib_resnet(path: Path) -> DlibResnet:
    """Read the network. Raises InputError if the file cannot be read or is not exactly this network."""
    data = read_file(path, MOST_BYTES, "dlib's ResNet-29")
    try:
        return _parse(data)
    except (ValueError, IndexError, OverflowError) as error:
        raise InputError(f"{path} is not dlib_face_recognition_resnet_model_v1.dat: {error}") from error


def export_dlib_resnet(network: DlibResnet) -> onnx.ModelProto:
    """``network`` as an ONNX model: a normalized RGB face of 1×3×150×150 float32 to its embedding, 1×128."""
    graph = _GraphWriter()
    convolutions = iter(network.convolutions)
    x = graph.add("Relu", [graph.convolve("input", next(convolutions))])
    x = graph.add("MaxPool", [x], kernel_shape=[3, 3], strides=[2, 2])
    size, channels = _after(_after(SIDE, 7, 2, 0), 3, 2, 0), STEM
    for filters, halves in BLOCKS:
        inner = graph.add("Relu", [graph.convolve(x, next(convolutions))])
        inner = graph.convolve(inner, next(convolutions))
        if halves:
            size, of_convolution = _after(size, 2, 2, 0), _after(size, 3, 2, 0)
            x = graph.halve(x, channels, filters)
            if of_convolution < size:
                inner = graph.pad(inner, size - of_convolution)
            channels = filters
        x = graph.add("Relu", [graph.add("Add", [inner, x])])
    x = graph.add("Flatten", [graph.add("GlobalAveragePool", [x])])
    graph.add("Gemm", [x, graph.constant(network.matrix.T)], output="embedding", transB=1)
    model = helper.make_model(
        helper.make_graph(
            graph.nodes,
            "dlib_resnet29",
            [helper.make_tensor_value_info("input", TensorProto.FLOAT, [1, 3, SIDE, SIDE])],
            [helper.make_tensor_value_info("embedding", TensorProto.FLOAT, [1, DIMENSIONS])],
            graph.constants,
        ),
        opset_imports=[helper.make_opsetid("", OPSET)],
        ir_version=8,
        producer_name="rkface",
    )
    onnx.checker.check_model(model, full_check=True)
    return model


def write_dlib_onnx(source: Path, target: Path) -> DlibResnet:
    """Read the network at ``source``, and write it to ``target`` as ``export_dlib_resnet`` makes it; returns it.

    The same network gives the same bytes on every machine, so embeddings have the same identity. Raises InputError as
    ``read_dlib_resnet`` does, and WorkError if the file cannot be written.
    """
    network = read_dlib_resnet(source)
    target.parent.mkdir(parents=True, exist_ok=True)
    write_atomically(target, export_dlib_resnet(network).SerializeToString(deterministic=True), mode=0o644)
    return network


class _DlibReader:
    """Reads dlib's serialization from ``data``, from ``at`` on. Raises ValueError or IndexError if it is damaged."""

    def __init__(self, data: bytes, at: int = 0) -> None:
        self._data, self.at = data, at

    def find_layer(self, name: str) -> None:
        """Go on behind the next layer called ``name``."""
        tag = bytes([1, len(name)]) + name.encode()
        found = self._data.find(tag, self.at)
        if found < 0:
            raise ValueError(f"a layer {name} is missing")
        self.at = found + len(tag)

    def integer(self) -> int:
        head = self._data[self.at]
        size = head & 0x0F
        if head & 0x70 or size > 8 or self.at + size >= len(self._data):
            raise ValueError("the file is damaged or truncated")
        value = int.from_bytes(self._data[self.at + 1 : self.at + 1 + size], "little")
        self.at += 1 + size
        return -value if head & 0x80 else value

    def float(self) -> float:
        mantissa, exponent = self.integer(), self.integer()
        return math.ldexp(mantissa, exponent)

    def tensor(self) -> NDArray[np.float32]:
        """All values, one after the other."""
        version = self.integer()
        if version != 2:
            raise ValueError(f"a tensor has the version {version}, expected 2")
        count = math.prod(self.integer() for _ in range(4))
        if not 0 <= count <= (len(self._data) - self.at) // 4:
            raise ValueError("the file is truncated")
        values = np.frombuffer(self._data, "<f4", count, self.at)
        if not np.isfinite(values).all():
            raise ValueError("a weight is not a finite number")
        self.at += 4 * count
        return values


def _parse(data: bytes) -> DlibResnet:
    reader = _DlibReader(data)
    reader.find_layer("input_rgb_image_sized")
    mean = (reader.float(), reader.float(), reader.float())
    if not all(0 <= color <= 255 for color in mean) or (reader.integer(), reader.integer()) != (SIDE, SIDE):
        raise ValueError(f"the input is not an RGB image of {SIDE}×{SIDE}")
    convolutions, channels = [_read_convolution(reader, 3, STEM, 7, 2)], STEM
    for filters, halves in BLOCKS:
        convolutions.append(_read_convolution(reader, channels, filters, 3, 2 if halves else 1))
        convolutions.append(_read_convolution(reader, filters, filters, 3, 1))
        channels = filters
    end = reader.at
    reader.find_layer("fc_2")
    if (reader.integer(), reader.integer()) != (DIMENSIONS, channels):
        raise ValueError(f"the last layer is not a matrix of {channels}×{DIMENSIONS}")
    matrix = reader.tensor()
    if matrix.size != channels * DIMENSIONS:
        raise ValueError(f"the last layer has {matrix.size} weights, expected {channels * DIMENSIONS}")
    if data.find(b"con_4", end) >= 0:
        raise ValueError("it has more convolutions than the network")
    return DlibResnet(mean, tuple(convolutions), matrix.reshape(channels, DIMENSIONS))


def _read_convolution(reader: _DlibReader, channels: int, filters: int, side: int, stride: int) -> DlibConvolution:
    reader.find_layer("con_4")
    values = reader.tensor()
    padding = side // 2 if stride == 1 else 0
    expected = (filters, side, side, stride, stride, padding, padding)
    found = tuple(reader.integer() for _ in expected)
    size = filters * channels * side * side
    if found != expected or values.size != size + filters:
        raise ValueError(
            f"a convolution has (filters, rows, columns, strides, padding) {found} and {values.size} weights, "
            f"expected {expected} and {size + filters}"
        )
    reader.find_layer("affine_")
    affine = reader.tensor()
    if affine.size != 2 * filters:
        raise ValueError(f"an affine layer has {affine.size} numbers, expected {2 * filters}")
    factors, offsets = affine[:filters].astype(np.float64), affine[filters:].astype(np.float64)
    weights = values[:size].reshape(filters, channels, side, side) * factors[:, None, None, None]
    bias = values[size:] * factors + offsets
    return DlibConvolution(weights.astype(np.float32), bias.astype(np.float32), stride, padding)


@dataclass(eq=False)
class _GraphWriter:
    nodes: list[onnx.NodeProto] = field(default_factory=list)
    constants: list[onnx.TensorProto] = field(default_factory=list)

    def add(self, kind: str, inputs: list[str], output: str = "", **attributes: object) -> str:
        name = output or f"{kind.lower()}_{len(self.nodes)}"
        self.nodes.append(helper.make_node(kind, inputs, [name], name=name, **attributes))
        return name

    def constant(self, values: NDArray[np.float32] | NDArray[np.int64]) -> str:
        name = f"constant_{len(self.constants)}"
        self.constants.append(numpy_helper.from_array(np.ascontiguousarray(values), name))
        return name

    def convolve(self, x: str, layer: DlibConvolution) -> str:
        inputs = [x, self.constant(layer.weights), self.constant(layer.bias)]
        return self.add("Conv", inputs, strides=[layer.stride] * 2, pads=[layer.padding] * 4)

    def halve(self, x: str, channels: int, filters: int) -> str:
        """2×2 means of ``x``, with zeros as additional channels."""
        if channels == filters:
            return self.add("AveragePool", [x], kernel_shape=[2, 2], strides=[2, 2])
        # As a convolution, one NPU operation does both; padding channels would be another one.
        weights = np.zeros((filters, channels, 2, 2), np.float32)
        weights[np.arange(channels), np.arange(channels)] = 0.25
        return self.add("Conv", [x, self.constant(weights)], strides=[2, 2])

    def pad(self, x: str, more: int) -> str:
        """Zeros at the right and at the bottom."""
        return self.add("Pad", [x, self.constant(np.array([0, 0, 0, 0, 0, 0, more, more], np.int64))])


def _after(size: int, side: int, stride: int, padding: int) -> int:
    """The size of a picture after a convolution or pooling."""
    return (size + 2 * padding - side) // stride + 1
