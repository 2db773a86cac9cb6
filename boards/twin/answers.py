"""The answers of the stand-in library: a bundle's golden outputs, in the file format that librknnrt.c reads."""

from __future__ import annotations

import re
import struct
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from rkface.runtime.core.bundle import Bundle
from rkface.runtime.core.manifest import Model, Output

MAGIC = b"RKTWIN1"
FLOAT32, INT8 = 0, 2  # rknn_tensor_type
# The simulator returns floats. Divided by the output's scale they are integers, up to float32 rounding.
GRID_TOLERANCE = 0.01


@dataclass(frozen=True)
class Quantization:
    """The quantization of an output: value = (int8 − zero_point) · scale."""

    zero_point: int
    scale: float


def write_answers(bundle: Bundle, folder: Path) -> None:
    """Write a file for each model of ``bundle`` into ``folder``, named after the hash of the model's bytes."""
    folder.mkdir(mode=0o700, parents=True, exist_ok=True)  # golden outputs contain embeddings of faces
    with np.load(bundle.folder / "golden.npz") as golden:
        for name, model in bundle.manifest.models.items():
            binary = bundle.path(name).read_bytes()
            values = [golden[f"{name}/simulator/{output.name}"] for output in model.outputs]
            content = _content(model, golden[f"{name}/inputs"], values, read_quantization(binary, model.outputs))
            (folder / file_name(binary)).write_bytes(content)


def file_name(model: bytes) -> str:
    """The name of the file with the answers of a ``.rknn`` with these bytes, and of the socket of its simulator."""
    return f"{fnv1a(model):016x}"


def read_quantization(model: bytes, outputs: Sequence[Output]) -> list[Quantization | None]:
    """The quantization of each output, from the ranges that the toolkit writes as text into a ``.rknn`` file.

    None for an output without a range, which is a float output.
    """
    return [_read_one(model, output.name) for output in outputs]


def _read_one(model: bytes, name: str) -> Quantization | None:
    key = re.escape(repr(name).encode())
    found = re.search(rb"%s: \{'name': %s, [^{}]*?'min': \[([^],]+)\], 'max': \[([^],]+)\]" % (key, key), model)
    if found is None:
        return None
    # Like the toolkit: extend the range to contain 0 and divide it by the 255 steps of an int8.
    low, high = min(float(found[1]), 0.0), max(float(found[2]), 0.0)
    scale = (high - low) / 255
    return Quantization(round(-128 - low / scale), scale) if scale else None


def _content(
    model: Model,
    inputs: NDArray[np.uint8],
    values: Sequence[NDArray[np.float32]],
    quantized: Sequence[Quantization | None],
) -> bytes:
    size = (model.input.height, model.input.width)
    answers = [_quantize(array, grid) for array, grid in zip(values, quantized, strict=True)]
    parts = [struct.pack("<8s4I256s", MAGIC, *size, len(answers), len(inputs), model.input.name.encode())]
    for output, (array, grid) in zip(model.outputs, answers, strict=True):
        kind = INT8 if array.dtype == np.int8 else FLOAT32
        shape = struct.pack("<256sI16I", output.name.encode(), len(output.shape), *_padded(output.shape))
        elements = int(np.prod(output.shape))
        parts.append(shape + struct.pack("<Iiif", elements, kind, grid.zero_point if grid else 0, _scale(grid)))
    for index, image in enumerate(inputs):
        parts.append(struct.pack("<Q", fnv1a(image.tobytes())))
        parts += [array[index].tobytes() for array, _ in answers]
    return b"".join(parts)


def _quantize(
    values: NDArray[np.float32], grid: Quantization | None
) -> tuple[NDArray[np.int8] | NDArray[np.float32], Quantization | None]:
    """The int8 values behind the simulator's floats, or the floats unchanged if they are not multiples of the scale."""
    if grid is None:
        return values.astype(np.float32), None
    steps = values.astype(np.float64) / grid.scale + grid.zero_point
    whole = np.rint(steps)
    if np.abs(steps - whole).max() > GRID_TOLERANCE or whole.min() < -128 or whole.max() > 127:
        return values.astype(np.float32), None
    return whole.astype(np.int8), grid


def _padded(shape: Sequence[int]) -> list[int]:
    return [*shape, *[0] * (16 - len(shape))]


def _scale(grid: Quantization | None) -> float:
    return grid.scale if grid else 1.0


def fnv1a(data: bytes) -> int:
    """FNV-1a, 64 bits (http://www.isthe.com/chongo/tech/comp/fnv/), as librknnrt.c computes it."""
    value = 0xCBF29CE484222325
    for byte in data:
        value = (value ^ byte) * 0x100000001B3 & 0xFFFFFFFFFFFFFFFF
    return value
