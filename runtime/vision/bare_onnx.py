"""Open detectors and recognizers from ONNX files without a bundle. They run in ONNX Runtime."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from ..backends.reference import ReferenceBackend, fixed_size, open_session, plan_parallel_runs
from ..core.crop_template import ARCFACE_112, CropTemplate, StatedCrop, choose_crop
from ..core.errors import InputError, ModelError
from ..core.manifest import Input, Output
from ..core.onnx_file import CHANNELS, read_onnx_file
from ..core.subprocess_call import ProcessDiedError, ProcessLimits, call_in_subprocess
from .detectors import find_layout
from .embed import MEAN as RECOGNIZER_MEAN
from .embed import STD as RECOGNIZER_STD
from .embed import Embedder

SECONDS, MEBIBYTES = 300.0, 4096  # of the trial of a model; and COPIES times its size
COPIES = 12
DYNAMIC_SIDE = 640  # default side of a detector with dynamic input size: SCRFD and YuNet were trained at it
SCORE_SLACK = 1e-3  # by how much a probability may be outside 0..1


def open_detector(
    path: Path,
    width: int | None = None,
    height: int | None = None,
    providers: Sequence[str] = ("CPUExecutionProvider",),
    threads: int | None = None,
) -> tuple[ReferenceBackend, Input, tuple[Output, ...]]:
    """Load a detector of a known family from an ONNX file, with the normalization and the order of channels of its
    family. Returns the backend, the input and the outputs for ``detect.Detector``.

    ``width`` and ``height`` are for a model with dynamic input size; None is 640. The shapes of the outputs come from
    one run on a black image, because dynamic exports do not state them. Raises ModelError if the model is not a
    detector, and InputError if its input size is fixed and another one.
    """
    _try_in_process(path, width or DYNAMIC_SIDE, height or DYNAMIC_SIDE)
    session = open_session(path, providers, threads)
    name, shape = _image_input(path, session, "a detector")
    if any(fixed_size(own) and asked not in (None, own) for own, asked in zip(shape[2:], (height, width), strict=True)):
        raise InputError(f"{path}: the model's input is fixed at {shape[3]}×{shape[2]}: do not give another size")
    rows, columns = fixed_size(shape[2]) or height or DYNAMIC_SIDE, fixed_size(shape[3]) or width or DYNAMIC_SIDE
    plain = Input(name, rows, columns, (0.0,) * 3, (1.0,) * 3)  # only the shapes of the outputs matter
    answers = _run_on_black(path, ReferenceBackend(session, plain), plain)
    names = [output.name for output in session.get_outputs()]
    outputs = tuple(Output(name, array.shape) for name, array in zip(names, answers, strict=True))
    try:
        layout = find_layout(outputs, columns, rows)
    except ModelError as error:
        raise ModelError(f"{path}: {error}") from None
    family = layout.family
    scores = [score.read(answers) for level in layout.levels for score in level.scores]
    if not all(((one >= -SCORE_SLACK) & (one <= 1 + SCORE_SLACK)).all() for one in scores):
        raise ModelError(
            f"{path}: its scores are not probabilities, 0 to 1, but logits: export it with a {family.probability} "
            "behind them. `rkface convert` adds it by itself"
        )
    turned = session.get_modelmeta().custom_metadata_map.get(CHANNELS) == "RGB"  # by `rkface convert`
    input = Input(name, rows, columns, family.mean, family.std, family.order)
    return ReferenceBackend(session, input, bgr=family.order == "BGR" and not turned), input, outputs


@dataclass(frozen=True)
class BareRecognizer:
    """A recognizer that was opened from an ONNX file; ``dimensions`` is the length of an embedding."""

    backend: ReferenceBackend
    input: Input
    crop: CropTemplate
    dimensions: int

    def embedder(self) -> Embedder:
        return Embedder(self.backend, self.crop, self.dimensions)


def open_recognizer(
    path: Path,
    providers: Sequence[str] = ("CPUExecutionProvider",),
    threads: int | None = None,
    crop: StatedCrop | None = None,
) -> BareRecognizer:
    """Load an ArcFace-like model from an ONNX file. ``crop``: how faces are aligned for it; None takes the known crop
    of the size of its input.

    Raises ModelError if the model is not a recognizer, or if rkface knows no crop of this size; InputError if the model
    contradicts ``crop``.
    """
    side = (crop.width, crop.height) if isinstance(crop, CropTemplate) else (ARCFACE_112.width, ARCFACE_112.height)
    _try_in_process(path, *side)
    session = open_session(path, providers, threads)
    name, shape = _image_input(path, session, "a recognizer")
    crop = choose_crop(path, fixed_size(shape[3]), fixed_size(shape[2]), crop)
    input = Input(name, crop.height, crop.width, RECOGNIZER_MEAN, RECOGNIZER_STD)
    backend = ReferenceBackend(session, input, parallel_runs=plan_parallel_runs(path, providers, threads))
    shapes = [array.shape for array in _run_on_black(path, backend, input)]
    if len(shapes) != 1 or shapes[0] != (1, shapes[0][-1]):
        found = "; ".join("×".join(map(str, one)) for one in shapes)
        raise ModelError(f"{path}: a recognizer has one output, 1×D: this model has {found}")
    return BareRecognizer(backend, input, crop, shapes[0][-1])


def _try_in_process(path: Path, width: int, height: int) -> None:
    """Load the model and run it once in another process, because a damaged model can crash ONNX Runtime.

    Raises ModelError if the file is not an ONNX model, or if it ends that process. Other errors come again, and are
    raised, when the model is opened here.
    """
    size = len(read_onnx_file(path).data)
    limits = ProcessLimits(SECONDS, MEBIBYTES + COPIES * size // (1 << 20), quiet=True)
    try:
        call_in_subprocess(_run_once, path, width, height, limits=limits)
    except ProcessDiedError as error:
        raise ModelError(
            f"{path}: ONNX Runtime {error.how} when it loaded or ran this model: the model is damaged: copy it again, "
            "or export it again"
        ) from error
    except MemoryError as error:
        raise ModelError(f"{path}: ONNX Runtime needs more than {limits.mebibytes:,} MiB for this model") from error


def _run_once(path: Path, width: int, height: int, progress: Callable[[int, int], None]) -> None:
    try:
        session = open_session(path, ("cpu",), None)
        (entry,) = session.get_inputs()
        sides = zip(entry.shape, (1, 3, height, width), strict=True)
        image = np.zeros([fixed_size(own) or side for own, side in sides], np.float32)
        session.run(None, {entry.name: image})
    except MemoryError:
        raise
    except Exception:  # whatever it is, it happens again in the caller's process
        return


def _image_input(path: Path, session: Any, role: str) -> tuple[str, Sequence[Any]]:
    """Name and shape of the only input of ``session``. Raises ModelError unless it is one image, N×3×H×W."""
    inputs = session.get_inputs()
    shape = inputs[0].shape if len(inputs) == 1 else []
    if len(shape) != 4 or inputs[0].type != "tensor(float)" or fixed_size(shape[1]) not in (None, 3):
        takes = "; ".join(f"{one.name} {'×'.join(map(str, one.shape))} {one.type}" for one in inputs)
        raise ModelError(f"{path}: {role} takes one float image, N×3×H×W; this model takes {takes}")
    if fixed_size(shape[0]) not in (None, 1):
        raise ModelError(f"{path}: the model takes {shape[0]} images at once: export it with batch 1")
    return inputs[0].name, shape


def _run_on_black(path: Path, backend: ReferenceBackend, input: Input) -> list[NDArray[np.float32]]:
    """The outputs of ``backend`` for one black image."""
    try:
        return backend.infer(np.zeros((1, input.height, input.width, 3), np.uint8))
    except Exception as error:  # the exceptions of onnxruntime have no other common base class
        reason = str(error).splitlines()[0]
        raise ModelError(f"{path}: the model does not run at {input.width}×{input.height}: {reason}") from error
