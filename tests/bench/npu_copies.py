"""How many bytes are copied for one inference, by the ways in which librknnrt can be called.

It runs the golden inputs of a bundle through the stand-in library of the twin (boards/twin), compiled for this machine,
which counts what `rknn_inputs_set` and `rknn_outputs_get` copy. What this program copies itself is added. It checks
that each way returns the same bits. It measures no time, and says nothing about what a board's library copies inside.

Usage: python tests/bench/npu_copies.py [--bundle build/rk3588]
"""

from __future__ import annotations

import ctypes
import os
import subprocess
import sys
import tempfile
from collections.abc import Callable
from ctypes import POINTER, Structure, byref, c_int32, c_uint32, c_uint64, c_void_p
from pathlib import Path
from typing import Any

import cv2
import numpy as np
from numpy.typing import NDArray
from program import create_parser

from rkface.boards.twin import HERE
from rkface.boards.twin.answers import write_answers
from rkface.boards.twin.ingredients import FLAGS
from rkface.runtime.backends import Quantized, Raw
from rkface.runtime.backends.librknn import NHWC, UINT8, Attribute, Context, InputData, Library, OutputData, load
from rkface.runtime.core.bundle import read_bundle
from rkface.runtime.core.versions import TOOLKIT
from rkface.runtime.inference.golden import read_golden

INPUT_ATTR, TO_DEVICE = 1, 1  # of rknn_api.h 2.3.2

Image = NDArray[np.uint8]
Outputs = list[NDArray[Any]]


class Memory(Structure):
    """rknn_tensor_mem"""

    _fields_ = (
        ("address", c_void_p), ("physical", c_uint64), ("fd", c_int32), ("offset", c_int32), ("size", c_uint32),
        ("flags", c_uint32), ("private_data", c_void_p),
    )  # fmt: skip


class Ways:
    """The ways to run one model. ``copied`` counts the bytes that they copy here."""

    def __init__(self, loaded: ctypes.CDLL, path: Path) -> None:
        self._loaded = loaded
        self._loaded.rknn_create_mem.restype = POINTER(Memory)
        self._library = Library(loaded)
        self.context: Context = load(self._library, path)
        self.handle = c_uint64(self.context.weights.handle)
        self.copied = 0

    def before(self, image: Image) -> Outputs:
        """With outputs in memory of the library, from which they are copied."""
        self._call("rknn_inputs_set", 1, byref(InputData(0, image.ctypes.data, image.nbytes, 0, UINT8, NHWC)))
        self._call("rknn_run", None)
        wanted = (OutputData * len(self.context.outputs))()
        for index in range(len(wanted)):
            wanted[index].index = index
        self._call("rknn_outputs_get", len(wanted), wanted, None)
        found = self._empty_outputs()
        for output, array in zip(wanted, found, strict=True):
            ctypes.memmove(array.ctypes.data, output.data, array.nbytes)
            self.copied += array.nbytes
        self._call("rknn_outputs_release", len(wanted), wanted)
        return found

    def rkface(self, image: Image) -> Outputs:
        """As rkface does it: the library writes outputs into our arrays."""
        return [values(output) for output in self.context.run(image)]

    def shared_input_copied(self, image: Image) -> Outputs:
        """With the input in shared memory, into which the letterboxed picture is copied once a core is free."""
        view, memory = self._share_input()
        np.copyto(view, image)
        self.copied += image.nbytes
        return self._run(memory)

    def shared_input_written(self, image: Image) -> Outputs:
        """With the input in shared memory, into which the letterbox writes."""
        view, memory = self._share_input()
        cv2.cvtColor(np.ascontiguousarray(image[..., ::-1]), cv2.COLOR_BGR2RGB, dst=view)  # the letterbox's last step
        return self._run(memory)

    def all_shared(self, image: Image) -> Outputs:
        """The same with outputs in shared memory, too. They are copied here only to compare them."""
        view, memory = self._share_input()
        cv2.cvtColor(np.ascontiguousarray(image[..., ::-1]), cv2.COLOR_BGR2RGB, dst=view)
        outputs = []
        for attribute in self.context.outputs:
            shared = self._loaded.rknn_create_mem(self.handle, c_uint32(attribute.size_with_stride))
            self._call("rknn_set_io_mem", shared, byref(attribute))
            outputs.append(shared)
        self._call("rknn_mem_sync", memory, c_int32(TO_DEVICE))
        self._call("rknn_run", None)
        found = self._empty_outputs()
        for shared, array in zip(outputs, found, strict=True):
            ctypes.memmove(array.ctypes.data, shared.contents.address, array.nbytes)
        return found

    def _share_input(self) -> tuple[Image, Any]:
        """A view of new memory for the input, H×W×3, and the memory itself. Rows may be longer than the image's."""
        attribute = Attribute(index=0)
        self._call("rknn_query", INPUT_ATTR, byref(attribute), ctypes.sizeof(attribute))
        attribute.type, attribute.format = UINT8, NHWC
        memory = self._loaded.rknn_create_mem(self.handle, c_uint32(attribute.size_with_stride))
        self._call("rknn_set_io_mem", memory, byref(attribute))
        height, width = attribute.dims[1], attribute.dims[2]
        stride = attribute.w_stride or width
        buffer = (ctypes.c_uint8 * (height * stride * 3)).from_address(memory.contents.address)
        return np.frombuffer(buffer, np.uint8).reshape(height, stride, 3)[:, :width], memory

    def _run(self, memory: Any) -> Outputs:
        self._call("rknn_mem_sync", memory, c_int32(TO_DEVICE))
        self._call("rknn_run", None)
        wanted, found = (OutputData * len(self.context.outputs))(), self._empty_outputs()
        for index, array in enumerate(found):
            wanted[index] = OutputData(0, 1, index, array.ctypes.data, array.nbytes)
        self._call("rknn_outputs_get", len(wanted), wanted, None)
        return found

    def _empty_outputs(self) -> Outputs:
        return [np.zeros(one.n_elems, np.int8 if one.type else np.float32) for one in self.context.outputs]

    def _call(self, name: str, *arguments: Any) -> None:
        self._library.call(name, self.handle, *arguments)


def values(output: Raw) -> NDArray[Any]:
    return output.values if isinstance(output, Quantized) else output


WAYS: tuple[tuple[str, Callable[[Ways, Image], Outputs]], ...] = (
    ("outputs in memory of the library (rkface 0.1)", Ways.before),
    ("outputs in our arrays (rkface)", Ways.rkface),
    ("shared input, copied into it", Ways.shared_input_copied),
    ("shared input, letterboxed into it", Ways.shared_input_written),
    ("shared input and outputs", Ways.all_shared),
)


def main() -> int:
    parser = create_parser(__doc__)
    parser.add_argument("--bundle", type=Path, default=Path("build/rk3588"), help="default: %(default)s")
    bundle = read_bundle(parser.parse_args().bundle)
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        write_answers(bundle, folder)
        os.environ["RKFACE_TWIN_ANSWERS"] = name
        library = folder / "librknnrt.so"
        subprocess.run(["cc", *FLAGS, f'-DTOOLKIT="{TOOLKIT}"', "-o", library, HERE / "librknnrt.c"], check=True)
        loaded = ctypes.CDLL(str(library))
        counter = c_uint64.in_dll(loaded, "rkface_twin_copied")
        print("| model | input | way | bytes copied for one inference |")
        print("|---|---|---|---|")
        for role in bundle.manifest.roles:
            image = read_golden(bundle, role).inputs[0]
            expected: Outputs = []
            for title, way in WAYS:
                ways, counter.value = Ways(loaded, bundle.path(role)), 0
                found = way(ways, image)
                expected = expected or found
                if not all(map(np.array_equal, expected, found)):
                    print(f"{role}: {title} returns other bits", file=sys.stderr)
                    return 1
                size = f"{image.shape[1]}×{image.shape[0]}"
                print(f"| {role} | {size} | {title} | {counter.value + ways.copied:,} |")
                ways.context.close()
    return 0


if __name__ == "__main__":
    sys.exit(main())
