"""Image → faces: the same code for every backend."""

from __future__ import annotations

from collections.abc import Sequence
from contextlib import ExitStack
from importlib.util import find_spec
from pathlib import Path
from types import TracebackType

import numpy as np
from numpy.typing import NDArray

from ..backends import Backend
from ..backends.npu import open_npu
from ..backends.reference import open_reference
from ..core.bundle import Bundle, Manifest, Role, Thresholds, read_bundle
from ..core.errors import InputError
from ..core.faces import Faces
from ..core.soc import read_soc
from ..vision import align as alignment
from ..vision.detect import Detector
from ..vision.embed import Embedder
from ..vision.liveness import LivenessModel

BACKENDS = ("npu", "reference")


class Pipeline:
    """Detection and recognition with one bundle. Images are H×W×3 uint8 BGR, as OpenCV reads them.

    ``liveness`` judges whether a face is a picture of one; None without a model for that, or where it is not open.
    """

    def __init__(
        self, manifest: Manifest, detector: Backend, recognizer: Backend, liveness: Backend | None = None
    ) -> None:
        self.manifest = manifest
        self._backends = [one for one in (detector, recognizer, liveness) if one is not None]
        self.liveness = LivenessModel(liveness, manifest.liveness) if liveness and manifest.liveness else None
        self._detector = Detector(detector, manifest.detector.input, manifest.detector.outputs, manifest.thresholds.nms)
        self._embedder = Embedder(recognizer, manifest.recognizer.input, manifest.recognizer.outputs[0].shape[-1])

    @property
    def backend(self) -> str:
        """Which one runs the models: "npu" or "reference"."""
        return self._backends[0].name

    @property
    def thresholds(self) -> Thresholds:
        return self.manifest.thresholds

    def detect(self, image: NDArray[np.uint8], threshold: float | None = None) -> Faces:
        """Faces without embeddings, best score first; ``threshold`` defaults to the bundle's."""
        return self._detector.detect(image, self.thresholds.detection if threshold is None else threshold)

    def recognize(self, image: NDArray[np.uint8], threshold: float | None = None) -> Faces:
        """Faces with embeddings."""
        faces = self.detect(image, threshold)
        crops = [self.align(image, landmarks) for landmarks in faces.landmarks]
        return Faces(faces.boxes, faces.scores, faces.landmarks, self.embed(crops))

    def align(self, image: NDArray[np.uint8], landmarks: NDArray[np.float32]) -> NDArray[np.uint8]:
        """The crop, 112×112×3 uint8 BGR, of the face at ``landmarks`` (5×2)."""
        return alignment.align(image, landmarks, self._embedder.size)

    def embed(self, crops: Sequence[NDArray[np.uint8]]) -> NDArray[np.float32]:
        """N×D float32, unit length, for N aligned crops."""
        return self._embedder.embed(crops)

    def close(self) -> None:
        for backend in self._backends:
            backend.close()

    def __enter__(self) -> Pipeline:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()


def open_bundle(
    folder: str | Path, backend: str | None = None, providers: Sequence[str] = ("cpu",), threads: int | None = None
) -> Pipeline:
    """Verify the bundle in ``folder`` and load its models.

    ``backend`` is "npu", "reference" (ONNX Runtime, with ``providers`` out of cpu, openvino, cuda) or None for what
    this machine has. BundleError for a bundle that cannot be trusted or was made for another chip, InputError for a
    backend that is not there, DeviceError for an NPU that fails: never does another backend take its place unasked.
    """
    chosen = choose_backend(backend)
    bundle = read_bundle(Path(folder), read_soc() if chosen == "npu" else None)
    with ExitStack() as opened:
        backends = []
        for role in bundle.manifest.roles:
            backends.append(open_model(bundle, role, chosen, providers=providers, threads=threads))
            opened.callback(backends[-1].close)
        opened.pop_all()
    return Pipeline(bundle.manifest, *backends)


def choose_backend(name: str | None = None) -> str:
    """``name``, or, where it is None, what this machine has: "npu" on a Rockchip chip with rknn-toolkit-lite2
    installed, "reference" elsewhere. InputError for a name that is none."""
    if name not in (None, *BACKENDS):
        raise InputError(f"no backend {name!r} in this version: it has {', '.join(BACKENDS)}")
    return name or ("npu" if read_soc() and find_spec("rknnlite") else "reference")


def open_model(
    bundle: Bundle,
    role: Role,
    backend: str,
    *,
    core: int | None = None,
    providers: Sequence[str] = ("cpu",),
    threads: int | None = None,
) -> Backend:
    """Load one model of ``bundle``; ``core`` is for the NPU, ``providers`` and ``threads`` are for the reference."""
    model = bundle.model(role)
    if backend == "npu":
        return open_npu(bundle.path(role), model.input, model.outputs, core=core)
    return open_reference(bundle.reference(role), model.input, providers, threads)
