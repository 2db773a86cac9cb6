"""The NPU, through rknn-toolkit-lite2 and Rockchip's librknnrt."""

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

from ..core.errors import DeviceError, InputError, ModelError
from ..core.soc import CORES, read_soc
from ..core.versions import TOOLKIT
from . import Quantized, Raw, check_images, stack_runs
from .librknn import CallError, Context
from .npu_errors import LIBRARY, device_error, open_error

if TYPE_CHECKING:
    from ..core.bundle import Input, Output

HEAD_BYTES = 1 << 16  # of a .rknn: the contract and the toolkit's version lie in its first kilobyte or two
LISTENING = threading.Lock()  # one logger for all: models are opened one after another


class NpuBackend:
    """One model in one context of the NPU. A context is not thread-safe: one thread at a time."""

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
        """Run one H×W×3 uint8 RGB image; INT8 outputs stay as the NPU computed them."""
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
        """The version that librknnrt gives of itself."""
        return self._context.version() if self._context else ""

    def close(self) -> None:
        if self._context is not None:
            self._context = None
            self._lite.release()


def open_npu(
    path: Path, input: Input, outputs: Sequence[Output], *, soc: str | None = None, core: int | None = None
) -> NpuBackend:
    """Load the ``.rknn`` at ``path`` into a context of its own.

    ``soc`` is this machine's chip (None: what the device tree says), ``core`` the NPU core to run on, counted from 0
    (None: the driver's choice). InputError for a machine without such an NPU or core, or without rknn-toolkit-lite2;
    ModelError for a model that its manifest does not describe; DeviceError where driver, library or NPU fail.
    """
    mask = _mask(soc or read_soc(), core)
    head = _head(path)
    _check_contract(path, head, input)
    lite = _binding()(verbose=False)
    try:
        with overheard() as said:
            failed = lite.load_rknn(str(path)) or lite.init_runtime(**mask)
        if failed:
            raise open_error(path, "\n".join(said))
        context = _context(lite)
        _check_runtime(path, head, context.version())
        _check_outputs(path, outputs, context.sizes)
    except BaseException as error:
        with overheard():
            lite.release()  # a context may stay open even where init_runtime failed
        if isinstance(error, CallError):
            raise device_error(path, error.call, error.code) from error
        raise
    return NpuBackend(lite, context, path, input, outputs)


def _mask(soc: str | None, core: int | None) -> dict[str, int]:
    """What ``init_runtime`` is told. Chips with one core refuse any mask, so they are told none."""
    if soc not in CORES:
        raise InputError(
            f"{soc or 'this machine'} has no NPU that rknn-toolkit-lite2 runs on (it knows {', '.join(CORES)}): "
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
        raise ModelError(f"{path}: cannot be read: {error.strerror or error}") from error
    if head[:4] != b"RKNN":
        raise ModelError(f"{path} is no RKNN model: `rkface convert` makes one")
    return head


def _check_contract(path: Path, head: bytes, input: Input) -> None:
    """Hold the contract inside the ``.rknn`` (its custom string) to the manifest's: fed otherwise, it fails unseen."""
    found = re.search(rb'\{"rkface":[^{}]*\}', head)
    if found is None:
        raise ModelError(f"{path} does not say how it wants to be fed: convert it with rkface")
    said = json.loads(found[0])
    ours = {
        "dtype": "uint8",
        "layout": "NHWC",
        "colour": "RGB",
        "normalization": "inside",
        "height": input.height,
        "width": input.width,
        "mean": list(input.mean),
        "std": list(input.std),
    }
    for key, value in ours.items():
        if said.get(key) != value:
            raise ModelError(
                f"{path} was made for {key} {said.get(key)}, its manifest says {value}: copy the bundle again, whole"
            )


def _binding() -> Any:
    try:
        from rknnlite.api import RKNNLite
    except ImportError as error:
        raise InputError(
            f"the NPU backend needs rknn-toolkit-lite2 ({error}): pip install rknn-toolkit-lite2=={TOOLKIT}"
        ) from error
    return RKNNLite


def _context(lite: Any) -> Context:
    runtime = lite.rknn_runtime
    if not hasattr(runtime, "lib") or not isinstance(getattr(runtime, "context", None), int):
        # Its own ``inference`` would be left, which passes a failed run off as a good one (librknn.py).
        raise DeviceError(f"this rknn-toolkit-lite2 hides its context: pip install rknn-toolkit-lite2=={TOOLKIT}")
    lite.rknn_data = None  # the model's bytes, which the library has copied: 45 MB for each context of an IResNet-50
    return Context(runtime.lib, runtime.context)


@contextlib.contextmanager
def overheard() -> Iterator[list[str]]:
    """What the binding logs meanwhile: its only account of what went wrong, and nothing for our own output."""
    said: list[str] = []

    class Listener(logging.Handler):
        def emit(self, record: logging.LogRecord) -> None:
            said.append(record.getMessage())

    logger = logging.getLogger("acuityLogger")  # rknn-toolkit-lite2's, which prints to stdout
    with LISTENING:
        handlers, logger.handlers = logger.handlers, [Listener()]
        try:
            yield said
        finally:
            logger.handlers = handlers


def _check_runtime(path: Path, head: bytes, runtime: str) -> None:
    """An older librknnrt only warns of a newer model, and then may compute something else."""
    made = re.search(rb"(\d+\.\d+\.\d+)\(compiler version", head)
    have = re.search(r"\d+\.\d+\.\d+", runtime)
    if made and have and _numbers(have[0]) < _numbers(made[1].decode()):
        raise DeviceError(
            f"librknnrt is {have[0]}, older than the toolkit that made {path} ({made[1].decode()}), and may compute "
            f"something else: install librknnrt {made[1].decode()} as {LIBRARY}"
        )


def _numbers(version: str) -> tuple[int, ...]:
    return tuple(map(int, version.split(".")))


def _check_outputs(path: Path, outputs: Sequence[Output], sizes: Sequence[int]) -> None:
    if list(sizes) != [int(np.prod(output.shape)) for output in outputs]:
        said = ", ".join("×".join(map(str, output.shape)) for output in outputs)
        raise ModelError(f"{path} gives {sizes} values, its manifest says {said}: copy the bundle again, whole")


def _floats(output: Raw) -> NDArray[np.float32]:
    return output.dequantize() if isinstance(output, Quantized) else output
