"""The NPU backend: rknn-toolkit-lite2 opens a model, and Rockchip's librknnrt runs it."""

from __future__ import annotations

import contextlib
import json
import logging
import re
import threading
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from ..core.crop_template import ARCFACE_112
from ..core.errors import DeviceError, InputError, ModelError
from ..core.manifest import RecognizerSpec, crop_entries, input_entries
from ..core.missing_package import import_error
from ..core.soc import CORES, read_soc
from ..core.versions import TOOLKIT
from . import Quantized, Raw, check_images, stack_runs
from .librknn import CallError, Context
from .npu_errors import LIBRARY, device_error, open_error

if TYPE_CHECKING:
    from ..core.manifest import Input, Model, Output

HEAD_BYTES = 1 << 16  # of a .rknn file: the input contract and the toolkit's version are in its first two kilobytes
# What the contracts that rkface embedded at first did not say about a recognizer, because it was so for all.
FIRST_RECOGNIZERS = crop_entries(ARCFACE_112, ())
CAPTURING = threading.Lock()  # the binding has one logger, so models are opened one after another


class NpuBackend:
    """One model in one context of the NPU. A context is not thread-safe: use it in one thread at a time."""

    name = "npu"

    def __init__(self, lite: Any, context: Context, path: Path, input: Input, outputs: Sequence[Output]) -> None:
        self._lite = lite
        self._context: Context | None = context
        self._path = path
        self._input = input
        self._outputs = outputs

    def infer(self, images: NDArray[np.uint8]) -> list[NDArray[np.float32]]:
        check_images(images, self._input.height, self._input.width)
        return stack_runs([[_floats(output) for output in self._run(image)] for image in images])

    def infer_quantized(self, image: NDArray[np.uint8]) -> list[Raw]:
        """Run one H×W×3 uint8 RGB image. INT8 outputs stay as the NPU computed them."""
        check_images(image[None], self._input.height, self._input.width)
        return self._run(image)

    def _run(self, image: NDArray[np.uint8]) -> list[Raw]:
        if self._context is None:
            raise DeviceError(f"{self._path}: the model is closed: open it again")
        try:
            flat = self._context.run(np.ascontiguousarray(image))
        except CallError as error:
            raise device_error(self._path, error.call, error.code) from error
        return [array.reshape(*output.shape) for array, output in zip(flat, self._outputs, strict=True)]

    @property
    def runtime(self) -> str:
        """The version of librknnrt; "" if the model is closed."""
        return self._context.version() if self._context else ""

    def close(self) -> None:
        if self._context is not None:
            self._context = None
            self._lite.release()


def open_npu(path: Path, model: Model, *, soc: str | None = None, core: int | None = None) -> NpuBackend:
    """Load the ``.rknn`` at ``path`` into a new context. ``model`` is what the manifest says about it.

    ``soc`` is the chip of this machine; None reads it from the device tree. ``core`` is the NPU core to use, 0 or
    greater; None lets the driver choose.

    Raises InputError if this machine has no such NPU or core, or rknn-toolkit-lite2 is not installed; ModelError if the
    model does not match its manifest; DeviceError if the driver, the library or the NPU fails.
    """
    mask = _mask(soc or read_soc(), core)
    head = _head(path)
    _check_contract(path, head, model)
    lite = _binding()(verbose=False)
    try:
        with captured_log() as messages:
            failed = lite.load_rknn(str(path)) or lite.init_runtime(**mask)
        if failed:
            raise open_error(path, "\n".join(messages))
        context = _context(lite)
        _check_runtime(path, head, context.version())
        _check_outputs(path, model.outputs, context.sizes)
    except BaseException as error:
        with captured_log():
            lite.release()  # a context may be open even if init_runtime failed
        if isinstance(error, CallError):
            raise device_error(path, error.call, error.code) from error
        raise
    return NpuBackend(lite, context, path, model.input, model.outputs)


def _mask(soc: str | None, core: int | None) -> dict[str, int]:
    """The core mask for ``init_runtime``. Chips with one core reject any mask, so they get no mask."""
    if soc not in CORES:
        raise InputError(
            f"{soc or 'this machine'} has no NPU that rknn-toolkit-lite2 supports ({', '.join(CORES)}): "
            "use --backend reference"
        )
    if core is not None and not 0 <= core < CORES[soc]:
        raise InputError(f"{soc} has no NPU core {core}: its cores are 0 to {CORES[soc] - 1}")
    return {"core_mask": 0 if core is None else 1 << core} if CORES[soc] > 1 else {}


def _head(path: Path) -> bytes:
    try:
        with path.open("rb") as file:
            head = file.read(HEAD_BYTES)
    except OSError as error:
        raise ModelError(f"{path}: cannot be read: {error.strerror or error}: copy the bundle again") from error
    if head[:4] != b"RKNN":
        raise ModelError(f"{path} is not an RKNN model: `rkface convert` makes one")
    return head


def _check_contract(path: Path, head: bytes, model: Model) -> None:
    """Compare the input contract inside the ``.rknn`` (its custom string) with the manifest. If they differ, results
    would be wrong without any error."""
    found = re.search(rb'\{"rkface":[^{}]*\}', head)
    if found is None:
        raise ModelError(f"{path} has no input contract: convert it with rkface")
    stored = FIRST_RECOGNIZERS | json.loads(found[0])
    expected = input_entries(model.input)
    if isinstance(model, RecognizerSpec):
        expected |= crop_entries(model.crop, model.center)
    for key, value in expected.items():
        if stored.get(key) != value:
            raise ModelError(
                f"{path} was made for {key} {stored.get(key)}, its manifest says {value}: copy the bundle again"
            )


def _binding() -> Any:
    try:
        from rknnlite.api import RKNNLite
    except ImportError as error:
        needs, install = "the NPU backend needs rknn-toolkit-lite2", f"pip install rknn-toolkit-lite2=={TOOLKIT}"
        raise import_error(error, f"{needs} ({str(error)[:200]})", install) from error
    return RKNNLite


def _context(lite: Any) -> Context:
    runtime = lite.rknn_runtime
    if not hasattr(runtime, "lib") or not isinstance(getattr(runtime, "context", None), int):
        # Only its own ``inference`` could be used then, which returns a failed run as a good one (see librknn.py).
        raise DeviceError(f"this rknn-toolkit-lite2 is not supported: pip install rknn-toolkit-lite2=={TOOLKIT}")
    lite.rknn_data = None  # the model's bytes, which the library has copied: 45 MB for each context of an IResNet-50
    return Context(runtime.lib, runtime.context)


@contextlib.contextmanager
def captured_log() -> Iterator[list[str]]:
    """Capture what the binding logs in the block: it reports errors only there, and it would print them to stdout."""
    messages: list[str] = []

    class Listener(logging.Handler):
        def emit(self, record: logging.LogRecord) -> None:
            messages.append(record.getMessage())

    logger = logging.getLogger("acuityLogger")  # rknn-toolkit-lite2's, which prints to stdout
    with CAPTURING:
        handlers, logger.handlers = logger.handlers, [Listener()]
        try:
            yield messages
        finally:
            logger.handlers = handlers


def _check_runtime(path: Path, head: bytes, runtime: str) -> None:
    """Refuse an older librknnrt than the model's toolkit: it only warns, and then may compute something else."""
    made = re.search(rb"(\d+\.\d+\.\d+)\(compiler version", head)
    have = re.search(r"\d+\.\d+\.\d+", runtime)
    if made and have and _numbers(have[0]) < _numbers(made[1].decode()):
        raise DeviceError(
            f"librknnrt {have[0]} is older than the toolkit that made {path} ({made[1].decode()}), and may give "
            f"wrong results: install librknnrt {made[1].decode()} as {LIBRARY}"
        )


def _numbers(version: str) -> tuple[int, ...]:
    return tuple(map(int, version.split(".")))


def _check_outputs(path: Path, outputs: Sequence[Output], sizes: Sequence[int]) -> None:
    if list(sizes) != [int(np.prod(output.shape)) for output in outputs]:
        expected = ", ".join("×".join(map(str, output.shape)) for output in outputs)
        raise ModelError(
            f"{path} has outputs of {sizes} values, its manifest says {expected}: copy the complete bundle again"
        )


def _floats(output: Raw) -> NDArray[np.float32]:
    return output.dequantize() if isinstance(output, Quantized) else output
