"""Run a model with Rockchip's librknnrt directly, in a context that rknn-toolkit-lite2 has opened.

The binding's own ``inference`` ignores the return value of ``rknn_run``. After a timeout it returns what the library
holds, which may be the outputs of the previous frame, and so the wrong person (seen with 2.5.0). It also queries every
attribute at each call, converts every output to float32, and turns every other error into None. Here, every call is
checked, errors keep their code, attributes are queried once, and outputs stay as the NPU computed them.
"""

from __future__ import annotations

import ctypes
from ctypes import Structure, byref, c_char, c_float, c_int8, c_int32, c_uint8, c_uint32, c_uint64, c_void_p
from typing import Any

import numpy as np
from numpy.typing import NDArray

from . import Quantized, Raw

# From rknn_api.h 2.5.0: query commands, tensor types and formats. The structures below are those on 64-bit Arm.
IN_OUT_NUM, OUTPUT_ATTR, SDK_VERSION = 0, 2, 5
INT8, UINT8, NHWC = 2, 3, 1
AFFINE = 2


class TensorCounts(Structure):
    """rknn_input_output_num"""

    _fields_ = (("inputs", c_uint32), ("outputs", c_uint32))


class InputData(Structure):
    """rknn_input"""

    _fields_ = (
        ("index", c_uint32),
        ("data", c_void_p),
        ("size", c_uint32),
        ("pass_through", c_uint8),
        ("type", c_int32),
        ("format", c_int32),
    )


class OutputData(Structure):
    """rknn_output"""

    _fields_ = (
        ("want_float", c_uint8),
        ("preallocated", c_uint8),
        ("index", c_uint32),
        ("data", c_void_p),
        ("size", c_uint32),
    )


class Attribute(Structure):
    """rknn_tensor_attr"""

    _fields_ = (
        ("index", c_uint32), ("n_dims", c_uint32), ("dims", c_uint32 * 16), ("name", c_char * 256),
        ("n_elems", c_uint32), ("size", c_uint32), ("format", c_int32), ("type", c_int32), ("quantized", c_int32),
        ("fraction", c_int8), ("zero_point", c_int32), ("scale", c_float), ("w_stride", c_uint32),
        ("size_with_stride", c_uint32), ("pass_through", c_uint8), ("h_stride", c_uint32),
    )  # fmt: skip


class Version(Structure):
    """rknn_sdk_version"""

    _fields_ = (("api", c_char * 256), ("driver", c_char * 256))


class CallError(Exception):
    """A function of the library, ``call``, returned the error ``code``."""

    def __init__(self, call: str, code: int) -> None:
        super().__init__(f"{call} returned {code}")
        self.call = call
        self.code = code


class Context:
    """A model that rknn-toolkit-lite2 has opened: ``library`` is its ctypes.CDLL, ``handle`` its rknn_context.

    Raises CallError if a call fails.
    """

    def __init__(self, library: Any, handle: int) -> None:
        # The same loaded library with new function objects: those of the binding accept only its own structures.
        self._library = ctypes.CDLL(library._name, handle=library._handle)
        self._handle = c_uint64(handle)
        counts = TensorCounts()
        self._query(IN_OUT_NUM, counts)
        self.outputs = [self._attribute(index) for index in range(counts.outputs)]
        self._data = (OutputData * counts.outputs)()

    @property
    def sizes(self) -> list[int]:
        """Number of values of each output."""
        return [attribute.n_elems for attribute in self.outputs]

    def version(self) -> str:
        """The library's version, such as "2.5.0 (…)"."""
        version = Version()
        self._query(SDK_VERSION, version)
        return str(version.api.decode(errors="replace"))

    def run(self, image: NDArray[np.uint8]) -> list[Raw]:
        """Run a contiguous H×W×3 uint8 image. Returns flat outputs: INT8 as Quantized, others as float32."""
        data = InputData(0, image.ctypes.data, image.nbytes, 0, UINT8, NHWC)
        self._call("rknn_inputs_set", 1, byref(data))
        self._call("rknn_run", None)
        for index, attribute in enumerate(self.outputs):
            self._data[index] = OutputData(not _is_int8(attribute), 0, index, None, 0)
        count = len(self.outputs)
        self._call("rknn_outputs_get", count, self._data, None)
        try:
            return [_copy(output, attribute) for output, attribute in zip(self._data, self.outputs, strict=True)]
        finally:
            self._call("rknn_outputs_release", count, self._data)

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


def _is_int8(attribute: Attribute) -> bool:
    return bool(attribute.type == INT8 and attribute.quantized == AFFINE and attribute.scale > 0)


def _copy(output: OutputData, attribute: Attribute) -> Raw:
    # Not with ctypes.cast: it leaves 3 kB at each run that only the garbage collector can free.
    values: NDArray[Any] = np.empty(attribute.n_elems, np.int8 if _is_int8(attribute) else np.float32)
    ctypes.memmove(values.ctypes.data, output.data, values.nbytes)
    return Quantized(values, attribute.zero_point, attribute.scale) if _is_int8(attribute) else values
