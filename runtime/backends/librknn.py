"""Rockchip's librknnrt by ctypes: load it, open models, run them, and share their weights.

rkface runs models itself also where rknn-toolkit-lite2 has opened them. The ``inference`` of that package ignores the
return value of ``rknn_run``. After a timeout it returns what the library holds, which may be the outputs of the
previous frame, and so the wrong person (seen with 2.5.0). It also queries every attribute at each call, converts every
output to float32, and turns every other error into None. Here, every call is checked, errors keep their code,
attributes are queried once, and outputs stay as the NPU computed them.
"""

from __future__ import annotations

import ctypes
import logging
import mmap
import threading
from collections.abc import Callable
from ctypes import Structure, byref, c_char, c_float, c_int8, c_int32, c_uint8, c_uint32, c_uint64, c_void_p
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from . import Quantized, Raw

# From rknn_api.h 2.3.2: query commands, tensor types and formats. The structures below are those on 64-bit Arm.
IN_OUT_NUM, OUTPUT_ATTR, SDK_VERSION = 0, 2, 5
INT8, UINT8, NHWC = 2, 3, 1
AFFINE = 2
MISSING = -127  # not a code of the library: it does not have the function
MEDIUM_PRIORITY = 1  # RKNN_FLAG_PRIOR_MEDIUM, the flag that rknn-toolkit-lite2 2.5.0 passes to rknn_init

log = logging.getLogger("rkface.npu")


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


class Library:
    """A loaded librknnrt."""

    def __init__(self, loaded: ctypes.CDLL) -> None:
        self._loaded = loaded

    def call(self, name: str, *arguments: Any) -> None:
        """Call the function ``name``. Raises CallError if it returns an error, or with MISSING if it does not exist."""
        try:
            function = getattr(self._loaded, name)
        except AttributeError:
            raise CallError(name, MISSING) from None
        code = function(*arguments)
        if code:
            raise CallError(name, code)


class Weights:
    """The weights of a model that ``library`` has loaded in the context ``handle``. Thread-safe.

    The context ``handle`` is the first user. When the last one leaves, ``free`` is called, which must destroy
    ``handle``. So the library keeps the context that loaded the weights for as long as another one uses them, even if
    it is closed here.
    """

    def __init__(self, library: Library, handle: int, free: Callable[[], None]) -> None:
        self.library = library
        self.handle = handle
        self._free = free
        self._users = 1
        self._ran = False
        self._lock = threading.Lock()

    def duplicate(self) -> int | None:
        """The handle of a new context that uses these weights, and must leave them in the end. None if no context uses
        them any more, or if one has run.

        rknn_api.h does not say whether a context may be duplicated while it runs, and what a failed run leaves in it is
        unknown. So nobody duplicates one that has run, and the first run waits while a duplicate is made.

        Raises CallError.
        """
        handle = c_uint64()
        with self._lock:
            if self._ran or not self._users:
                return None
            self.library.call("rknn_dup_context", byref(c_uint64(self.handle)), byref(handle))
            self._users += 1
        return handle.value

    def expect_run(self) -> None:
        """A context that uses these weights is about to run."""
        if not self._ran:
            with self._lock:
                self._ran = True

    def leave(self) -> None:
        """A context does not use these weights any more."""
        with self._lock:
            self._users -= 1
            unused = not self._users
        if unused:
            _free_context(self._free)


class Context:
    """A model in one context of ``weights.library``, ``handle``, a user of ``weights``. Use it in one thread at a time.

    Its methods raise CallError if a call fails, except ``close``.
    """

    def __init__(self, weights: Weights, handle: int) -> None:
        self.weights = weights
        self._library = weights.library
        self._handle = c_uint64(handle)
        self._closed = False
        try:
            counts = TensorCounts()
            self._query(IN_OUT_NUM, counts)
            self.outputs = [self._attribute(index) for index in range(counts.outputs)]
        except BaseException:
            self.close()
            raise
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

    def choose_cores(self, mask: int) -> None:
        """Run on these cores from now on: bit 0 is core 0; 0 lets the driver choose one for each run."""
        self._call("rknn_set_core_mask", c_int32(mask))

    def run(self, image: NDArray[np.uint8]) -> list[Raw]:
        """Run a contiguous H×W×3 uint8 image. Returns flat outputs: INT8 as Quantized, others as float32."""
        self.weights.expect_run()
        data = InputData(0, image.ctypes.data, image.nbytes, 0, UINT8, NHWC)
        self._call("rknn_inputs_set", 1, byref(data))
        self._call("rknn_run", None)
        # The library writes into our arrays: from memory of its own, outputs would have to be copied once more. They
        # begin as zeros, because what is in new memory may be the outputs of an earlier frame.
        outputs = [np.zeros(one.n_elems, np.int8 if _is_int8(one) else np.float32) for one in self.outputs]
        for index, (attribute, array) in enumerate(zip(self.outputs, outputs, strict=True)):
            self._data[index] = OutputData(not _is_int8(attribute), 1, index, array.ctypes.data, array.nbytes)
        count = len(outputs)
        self._call("rknn_outputs_get", count, self._data, None)
        try:
            for output, array in zip(self._data, outputs, strict=True):
                if output.data != array.ctypes.data:  # the library has used memory of its own all the same
                    ctypes.memmove(array.ctypes.data, output.data, array.nbytes)
        finally:
            self._call("rknn_outputs_release", count, self._data)
        return [_raw(array, attribute) for array, attribute in zip(outputs, self.outputs, strict=True)]

    def close(self) -> None:
        """Destroy the context; the weights are freed with the last context that uses them.

        If that fails, the log says so: nobody can do more about it, and an error that made the caller close the context
        is not replaced.
        """
        if self._closed:
            return
        self._closed = True
        if self._handle.value != self.weights.handle:
            _free_context(lambda: self._call("rknn_destroy"))
        self.weights.leave()

    def _attribute(self, index: int) -> Attribute:
        attribute = Attribute(index=index)
        self._query(OUTPUT_ATTR, attribute)
        return attribute

    def _query(self, command: int, answer: Structure) -> None:
        self._call("rknn_query", command, byref(answer), ctypes.sizeof(answer))

    def _call(self, name: str, *arguments: Any) -> None:
        self._library.call(name, self._handle, *arguments)


def load(library: Library, path: Path) -> Context:
    """Load the model in a file into a new context. The library copies what it needs of the file."""
    handle = c_uint64()
    # Mapped, so that the bytes of a large model are never on the heap; privately, because the library may write there.
    with path.open("rb") as file, mmap.mmap(file.fileno(), 0, access=mmap.ACCESS_COPY) as content:
        address = ctypes.addressof(c_char.from_buffer(content))
        size, flags = c_uint32(len(content)), c_uint32(MEDIUM_PRIORITY)
        library.call("rknn_init", byref(handle), c_void_p(address), size, flags, None)

    def free() -> None:
        library.call("rknn_destroy", handle)

    return Context(Weights(library, handle.value, free), handle.value)


def duplicate(weights: Weights, mask: int | None) -> Context | None:
    """A new context that uses ``weights``, on the cores of ``mask``; None leaves the choice to the library.

    None if ``weights`` cannot be shared (see ``Weights.duplicate``). Raises CallError.
    """
    handle = weights.duplicate()
    if handle is None:
        return None
    context = Context(weights, handle)
    try:
        if mask is not None:
            context.choose_cores(mask)
    except BaseException:
        context.close()
        raise
    return context


def _free_context(free: Callable[[], object]) -> None:
    try:
        free()
    except Exception as error:  # rknn-toolkit-lite2 may raise anything
        log.warning("an NPU context could not be closed (%s): its memory may be lost until the program ends", error)


def _is_int8(attribute: Attribute) -> bool:
    return bool(attribute.type == INT8 and attribute.quantized == AFFINE and attribute.scale > 0)


def _raw(values: NDArray[Any], attribute: Attribute) -> Raw:
    return Quantized(values, attribute.zero_point, attribute.scale) if _is_int8(attribute) else values
