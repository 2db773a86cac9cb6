"""The calls of Rockchip's librknnrt that rknn-toolkit-lite2 makes, made with it: its context, without its copies.

The binding's ``inference`` does not look at what ``rknn_run`` returns: after a timeout it hands out whatever the
library has, which may be the frame before, and with it the wrong person (seen with 2.5.0). It also queries every
attribute again at each call, and turns every output into float32 and every other error into None. Here each call is
checked, errors keep their code, attributes are asked for once, and outputs stay as the NPU computed them.
"""

from __future__ import annotations

import ctypes
from ctypes import Structure, byref, c_char, c_float, c_int8, c_int32, c_uint8, c_uint32, c_uint64, c_void_p
from typing import Any

import numpy as np
from numpy.typing import NDArray

from . import Quantized, Raw

# rknn_api: query commands, tensor types and formats. Layouts below are those of 2.5.0 on 64-bit Arm.
IN_OUT_NUM, OUTPUT_ATTR, SDK_VERSION = 0, 2, 5
INT8, UINT8, NHWC = 2, 3, 1
AFFINE = 2


class TensorCounts(Structure):
    _fields_ = (("inputs", c_uint32), ("outputs", c_uint32))


class Given(Structure):
    _fields_ = (
        ("index", c_uint32),
        ("data", c_void_p),
        ("size", c_uint32),
        ("pass_through", c_uint8),
        ("type", c_int32),
        ("format", c_int32),
    )


class OutputSpec(Structure):
    _fields_ = (
        ("want_float", c_uint8),
        ("preallocated", c_uint8),
        ("index", c_uint32),
        ("data", c_void_p),
        ("size", c_uint32),
    )


class Attribute(Structure):
    _fields_ = (
        ("index", c_uint32), ("n_dims", c_uint32), ("dims", c_uint32 * 16), ("name", c_char * 256),
        ("n_elems", c_uint32), ("size", c_uint32), ("format", c_int32), ("type", c_int32), ("quantized", c_int32),
        ("fraction", c_int8), ("zero_point", c_int32), ("scale", c_float), ("w_stride", c_uint32),
        ("size_with_stride", c_uint32), ("pass_through", c_uint8), ("h_stride", c_uint32),
    )  # fmt: skip


class Version(Structure):
    _fields_ = (("api", c_char * 256), ("driver", c_char * 256))


class CallError(Exception):
    """A call of the library failed with ``code``."""

    def __init__(self, call: str, code: int) -> None:
        super().__init__(f"{call} returned {code}")
        self.call = call
        self.code = code


class Context:
    """A model that rknn-toolkit-lite2 has opened: ``library`` is its ctypes.CDLL, ``handle`` its context."""

    def __init__(self, library: Any, handle: int) -> None:
        # The same loaded library, with functions of our own: the binding's insist on its private structures.
        self._library = ctypes.CDLL(library._name, handle=library._handle)
        self._handle = c_uint64(handle)
        counts = TensorCounts()
        self._query(IN_OUT_NUM, counts)
        self.outputs = [self._attribute(index) for index in range(counts.outputs)]
        self._wanted = (OutputSpec * counts.outputs)()

    @property
    def sizes(self) -> list[int]:
        """How many values each output has."""
        return [attribute.n_elems for attribute in self.outputs]

    def version(self) -> str:
        version = Version()
        self._query(SDK_VERSION, version)
        return str(version.api.decode(errors="replace"))

    def run(self, image: NDArray[np.uint8]) -> list[Raw]:
        """Run a contiguous H×W×3 uint8 image. INT8 outputs as they are, others as float32; all flat."""
        given = Given(0, image.ctypes.data, image.nbytes, 0, UINT8, NHWC)
        self._call("rknn_inputs_set", 1, byref(given))
        self._call("rknn_run", None)
        for index, attribute in enumerate(self.outputs):
            self._wanted[index] = OutputSpec(not _int8(attribute), 0, index, None, 0)
        count = len(self.outputs)
        self._call("rknn_outputs_get", count, self._wanted, None)
        try:
            return [_copied(one, attribute) for one, attribute in zip(self._wanted, self.outputs, strict=True)]
        finally:
            self._call("rknn_outputs_release", count, self._wanted)

    def _attribute(self, index: int) -> Attribute:
        attribute = Attribute(index=index)
        self._query(OUTPUT_ATTR, attribute)
        return attribute

    def _query(self, command: int, answer: Structure) -> None:
        self._call("rknn_query", command, byref(answer), ctypes.sizeof(answer))

    def _call(self, name: str, *arguments: Any) -> None:
        code = getattr(self._library, name)(self._handle, *arguments)
        if code:
            raise CallError(name, code)


def _int8(attribute: Attribute) -> bool:
    return bool(attribute.type == INT8 and attribute.quantized == AFFINE and attribute.scale > 0)


def _copied(output: OutputSpec, attribute: Attribute) -> Raw:
    # Not by ctypes.cast: what it leaves behind only the garbage collector can free, 3 kB at every run.
    values: NDArray[Any] = np.empty(attribute.n_elems, np.int8 if _int8(attribute) else np.float32)
    ctypes.memmove(values.ctypes.data, output.data, values.nbytes)
    return Quantized(values, attribute.zero_point, attribute.scale) if _int8(attribute) else values
