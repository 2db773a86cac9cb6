"""The reference backend: ONNX Runtime in FP32, which the NPU's results are compared with."""

from __future__ import annotations

import threading
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import cv2
import numpy as np
from numpy.typing import NDArray

from ..core.checks import check_count
from ..core.errors import DeviceError, InputError, ModelError
from ..core.mapped_weights import LEAST_FILE, refer_to_weights
from ..core.missing_package import import_error
from . import check_images, check_picture, stack_runs
from .parallel_runs import ParallelRuns
from .ready_models import ready_model

if TYPE_CHECKING:
    from ..core.manifest import Input

WEIGHTS_FOLDER = "session.model_external_initializers_file_folder_path"
# Options that write the weights of an optimized model into a file of their own.
WEIGHTS_APART = {
    "session.optimized_model_external_initializers_file_name": "weights",
    "session.optimized_model_external_initializers_min_size_in_bytes": "1024",
}
# ONNX Runtime copies the matrices of these operators into another order when it opens a model, and of Gemm's. With one
# face, Gemm multiplies a vector, which gains nothing from the order: in an IResNet-50, it would copy 51 MB for nothing.
MATRIX_OPERATORS = (b"MatMul", b"Attention")
UNPACKED = "session.disable_prepacking"
PROVIDERS = {"cpu": "CPUExecutionProvider", "openvino": "OpenVINOExecutionProvider", "cuda": "CUDAExecutionProvider"}

# A plane of an image, the float32 of each of its values, and where the plane goes.
Write = tuple[NDArray[np.uint8], NDArray[np.float32], NDArray[np.float32]]


class Tensor(threading.local):
    """The input tensor of a model, one for each thread, reused for the same reason as ``vision.letterbox.Canvas``."""

    def __init__(self, input: Input, *, bgr: bool = False) -> None:
        values = np.arange(256, dtype=np.float32)  # a byte has 256 values: use a table
        tables = [
            (values - np.float32(mean)) / np.float32(std) for mean, std in zip(input.mean, input.std, strict=True)
        ]
        # Of red, green and blue: the plane of the tensor, and the table.
        self._channels = list(zip((2, 1, 0) if bgr else (0, 1, 2), tables, strict=True))
        self._bytes = np.empty(4 * input.height * input.width, np.uint8)
        self._floats = np.empty((0, 3, input.height, input.width), np.float32)
        # What the tensor was filled with, which was checked, and how more of the same is written.
        self._shown: tuple[object, ...] = ()
        self._planes: list[NDArray[np.uint8]] = []
        self._writes: list[Write] = []
        self._filled = self._floats

    def fill(self, images: NDArray[np.uint8], *, bgr: bool = False) -> NDArray[np.float32]:
        """Like ``normalize``, but the result is valid only until the next call in this thread. ``bgr``: the images are
        blue, green, red. Raises ValueError as ``Backend.infer``.

        All images are converted at once, as one tall image: four calls of OpenCV, not four for each face.
        """
        if (images.shape, images.dtype, bgr) != self._shown:
            check_images(images, *self._floats.shape[2:])
            count, rows, columns, _ = images.shape
            if count > len(self._floats):
                self._floats = np.empty((count, *self._floats.shape[1:]), np.float32)
            if images.size > self._bytes.size:
                self._bytes = np.empty(images.size, np.uint8)
            self._planes = list(self._bytes[: images.size].reshape(3, count * rows, columns))
            self._writes = [
                (plane.reshape(count, -1), table, self._floats[:count, place].reshape(count, -1))
                for plane, (place, table) in zip(self._planes, self._channels[:: -1 if bgr else 1], strict=True)
            ]
            self._filled = self._floats[:count]
            self._shown = images.shape, images.dtype, bgr
        self._write(images.reshape(-1, images.shape[2], 3))
        return self._filled

    def fill_picture(self, picture: NDArray[np.uint8]) -> NDArray[np.float32]:
        """The tensor of ``PictureBackend.infer_picture``, 1×3×H×W, valid only until the next call in this thread.

        The rest is black, as for the picture before, and is written only if that had another size. Raises ValueError as
        ``Backend.infer``.
        """
        if (picture.shape, picture.dtype) != self._shown:
            check_picture(picture, *self._floats.shape[2:])
            if not len(self._floats):
                self._floats = np.empty((1, *self._floats.shape[1:]), np.float32)
            for place, table in self._channels:
                self._floats[0, place] = table[0]
            rows, columns, _ = picture.shape
            self._planes = list(self._bytes[: picture.size].reshape(-1, rows, columns))
            self._writes = [
                (plane, table, self._floats[0, place, :rows, :columns])
                for plane, (place, table) in zip(self._planes, self._channels[::-1], strict=False)
            ]
            self._filled = self._floats[:1]
            self._shown = picture.shape, picture.dtype
        self._write(picture)
        return self._filled

    def _write(self, image: NDArray[np.uint8]) -> None:
        cv2.split(image, self._planes)
        for plane, table, target in self._writes:
            cv2.LUT(plane, table, dst=target)


def normalize(images: NDArray[np.uint8], input: Input) -> NDArray[np.float32]:
    """N×H×W×3 uint8 RGB to N×3×H×W float32, (x − mean) / std, as the ``.rknn`` does inside."""
    return Tensor(input).fill(images)


class ReferenceBackend:
    """One ONNX model in ONNX Runtime. ``bgr``: the model takes blue, green, red; the caller passes RGB all the same."""

    name = "reference"

    def __init__(
        self, session: Any, input: Input, *, bgr: bool = False, parallel_runs: ParallelRuns | None = None
    ) -> None:
        self._session = session
        self._parallel_runs = parallel_runs
        self._input = input
        self._batch = session.get_inputs()[0].shape[0]
        self._tensor = Tensor(input, bgr=bgr)

    def infer(self, images: NDArray[np.uint8]) -> list[NDArray[np.float32]]:
        return self._infer(images, bgr=False)

    def infer_bgr(self, images: NDArray[np.uint8]) -> list[NDArray[np.float32]]:
        return self._infer(images, bgr=True)

    def _infer(self, images: NDArray[np.uint8], *, bgr: bool) -> list[NDArray[np.float32]]:
        # Normalize all images first: an inference empties the processor's caches.
        tensor = self._tensor.fill(images, bgr=bgr)
        if self._batch != 1:
            return self._run(self._session, [tensor])[0]
        single = [tensor[index : index + 1] for index in range(len(tensor))]
        answers = self._parallel_runs.run_rounds(self._run, single) if self._parallel_runs else []
        return stack_runs(answers + self._run(self._session, single[len(answers) :]))

    def infer_picture(self, picture: NDArray[np.uint8]) -> list[NDArray[np.float32]]:
        return self._run(self._session, [self._tensor.fill_picture(picture)])[0]

    def _run(self, session: Any, tensors: Sequence[NDArray[np.float32]]) -> list[list[NDArray[np.float32]]]:
        """The outputs for each of ``tensors``, one after the other."""
        if session is None:
            raise DeviceError("this model is closed: open it again")
        name = self._input.name
        try:
            return [session.run(None, {name: tensor}) for tensor in tensors]
        except Exception as error:  # the exceptions of onnxruntime have no other common base class
            raise DeviceError(f"ONNX Runtime failed: {str(error).splitlines()[0]}") from error

    def close(self) -> None:
        self._session = None
        if self._parallel_runs:
            self._parallel_runs.close()


def open_reference(
    path: Path,
    input: Input,
    providers: Sequence[str] = ("CPUExecutionProvider",),
    threads: int | None = None,
    *,
    digest: str | None = None,
) -> ReferenceBackend:
    """Load the ONNX model at ``path``. ``providers`` are cpu, openvino, cuda, or the names that ONNX Runtime uses.
    ``threads`` is for one inference; None is ONNX Runtime's default. ``digest`` is the SHA-256 of the file if it was
    verified and will not be changed: then the model is kept ready (``ready_models.py``), or else its weights are mapped
    (``core/mapped_weights.py``).

    Raises InputError if onnxruntime or a provider is not installed, and ModelError if the file cannot be loaded.
    """
    session = open_session(path, providers, threads, digest=digest)
    for batch in map(fixed_size, session.get_inputs()[0].shape[:1]):
        if batch not in (None, 1):
            raise ModelError(f"{path}: the model takes {batch} images at once: export it with batch 1")
    return ReferenceBackend(session, input, parallel_runs=plan_parallel_runs(path, providers, threads, digest=digest))


def plan_parallel_runs(
    path: Path, providers: Sequence[str], threads: int | None, *, digest: str | None = None
) -> ParallelRuns | None:
    """How several faces run at once in the model at ``path``. None if it has one thread, or is not on the CPU."""
    if threads == 1 or any(PROVIDERS.get(name, name) != PROVIDERS["cpu"] for name in providers):
        return None
    return ParallelRuns(path, threads, lambda: open_session(path, providers, 1, digest=digest))


def open_session(path: Path, providers: Sequence[str], threads: int | None, *, digest: str | None = None) -> Any:
    """An ``onnxruntime.InferenceSession`` for the model at ``path``. ``digest`` and errors: as ``open_reference``."""
    if isinstance(providers, str) or not isinstance(providers, Sequence) or not providers:
        raise InputError(f'providers must be a list of names, such as ["cpu"], not {providers!r}')
    if threads is not None:
        check_count(threads, "the number of threads")
    try:
        import onnxruntime
    except ImportError as error:
        needs, install = "the reference backend needs onnxruntime", "pip install 'rkface[reference]'"
        raise import_error(error, needs, install) from error
    wanted = [PROVIDERS.get(name, name) for name in providers]
    missing = [name for name in wanted if name not in onnxruntime.get_available_providers()]
    if missing:
        have = ", ".join(onnxruntime.get_available_providers())
        raise InputError(f"ONNX Runtime here has no {missing[0]} (it has {have}): install the package that contains it")
    if digest is not None and wanted == [PROVIDERS["cpu"]] and path.stat().st_size >= LEAST_FILE:
        session = _open_ready(path, digest, threads) or _open_mapped(path, _session_options(threads))
        if session is not None:
            return session
    try:
        session = onnxruntime.InferenceSession(str(path), sess_options=_session_options(threads), providers=wanted)
    except Exception as error:  # the exceptions of onnxruntime have no other common base class
        raise ModelError(f"{path}: ONNX Runtime cannot load this model: {str(error).splitlines()[0]}") from error
    if session.get_providers()[0] != wanted[0]:
        # Libraries are missing, mostly those of CUDA. ONNX Runtime then uses the CPU and says so only in its log.
        raise InputError(f"ONNX Runtime cannot start {wanted[0]} here: install its driver and libraries")
    return session


def _session_options(threads: int | None) -> Any:
    import onnxruntime

    options = onnxruntime.SessionOptions()
    options.log_severity_level = 3
    # A thread that waits for the others sleeps. By default it spins, and beside other work on two cores SCRFD-500M then
    # takes 65 ms of CPU time for an image instead of 21 ms, and twice as long.
    options.add_session_config_entry("session.intra_op.allow_spinning", "0")
    if threads is not None:
        options.intra_op_num_threads = threads
    return options


def _open_ready(path: Path, digest: str, threads: int | None) -> Any | None:
    """A session for the model at ``path`` as ONNX Runtime has made it ready. None if that does not work: what is wrong
    with the model is then said when it is opened itself."""
    import onnxruntime

    def make(target: Path) -> None:
        options = _session_options(threads)
        options.optimized_model_filepath = str(target)
        for key, value in WEIGHTS_APART.items():
            options.add_session_config_entry(key, value)
        if _open_mapped(path, options) is None:
            onnxruntime.InferenceSession(str(path), sess_options=options, providers=[PROVIDERS["cpu"]])

    options = _session_options(threads)
    options.graph_optimization_level = onnxruntime.GraphOptimizationLevel.ORT_DISABLE_ALL
    try:
        ready = ready_model(digest, onnxruntime.__version__, make)
        if ready and not any(name in ready.read_bytes() for name in MATRIX_OPERATORS):
            options.add_session_config_entry(UNPACKED, "1")
        return ready and onnxruntime.InferenceSession(str(ready), sess_options=options, providers=[PROVIDERS["cpu"]])
    except Exception:  # the exceptions of onnxruntime have no other common base class
        return None


def _open_mapped(path: Path, options: Any) -> Any | None:
    """A session for the model at ``path``, with its weights mapped. None if that does not work: ONNX Runtime before
    1.20 does not know the folder of the weights."""
    import onnxruntime

    source = refer_to_weights(path)
    if source is None:
        return None
    options.add_session_config_entry(WEIGHTS_FOLDER, str(path.parent.absolute()))
    try:
        return onnxruntime.InferenceSession(source, sess_options=options, providers=[PROVIDERS["cpu"]])
    except Exception:  # the exceptions of onnxruntime have no other common base class
        return None


def fixed_size(dimension: Any) -> int | None:
    """The size of a static dimension; None for a dynamic one, for which ONNX Runtime has a name or None."""
    return dimension if isinstance(dimension, int) and dimension > 0 else None
