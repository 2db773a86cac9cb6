"""Detection, alignment and embedding of one image, with the same code for every backend."""

from __future__ import annotations

import threading
from collections.abc import Callable, Sequence
from contextlib import AbstractContextManager, nullcontext
from copy import copy
from dataclasses import replace
from types import TracebackType

import numpy as np
from numpy.typing import NDArray

from ..backends import Backend
from ..core.checks import check_number
from ..core.errors import InputError
from ..core.faces import Faces
from ..core.manifest import Manifest, Thresholds
from ..vision import align as alignment
from ..vision.check_input import check_image, check_landmarks
from ..vision.detector_shapes import Detectors
from ..vision.embed import Embedder
from ..vision.liveness import LivenessModel
from ..vision.photo import PhotoFaces, find_faces, look_twice


class Pipeline:
    """The detector and the recognizer of one bundle. ``open_bundle`` makes one.

    If the bundle has the detector in several shapes, each image is looked at in the one that fits it.

    Images are H×W×3 uint8 arrays in BGR order, as OpenCV reads them. Do not normalize them: the pipeline does that.

    A pipeline is a context manager; close it to free the models. Threads may share it: ONNX Runtime works for several
    at once (``open_bundle`` with ``threads=1``), the NPU for one after the other. For several NPU cores, use
    ``open_scheduler``.

    Example:
        ```python
        from rkface import open_bundle, read_image

        with open_bundle("build/rk3588") as pipeline:
            faces = pipeline.recognize(read_image("party.jpg"))
            for box, score in zip(faces.boxes, faces.scores):
                print(box, score)
        ```

    Attributes:
        manifest: The bundle's manifest.
        crop: How ``align`` cuts a face out for the recognizer: the size of the crop, and where the landmarks lie in it.
        liveness: The liveness model, which tells a live face from a picture of a face. None if the bundle has none or
            it was not opened.
    """

    def __init__(
        self,
        manifest: Manifest,
        detector: Backend,
        recognizer: Backend,
        liveness: Backend | None = None,
        open_shape: Callable[[str], Backend] | None = None,
    ) -> None:
        """``open_shape(name)`` opens another shape of the detector; None uses ``detector`` for every image."""
        self.manifest = manifest
        self._backends = [one for one in (detector, recognizer, liveness) if one is not None]
        self.liveness = LivenessModel(liveness, manifest.liveness) if liveness and manifest.liveness else None
        self._detector = Detectors(manifest, detector, open_shape)
        self.crop = manifest.recognizer.crop
        self._embedder = Embedder(recognizer, self.crop, manifest.recognizer.outputs[0].shape[-1])
        self._closed = threading.Event()
        # A context of librknnrt runs one inference at a time, and reuses its arrays for the next one.
        parallel = detector.name == "reference"
        self._turn: AbstractContextManager[object] = nullcontext() if parallel else threading.Lock()
        self._look: Callable[[Detectors, NDArray[np.uint8], float], Faces] = Detectors.detect

    @property
    def backend(self) -> str:
        """The backend that runs the models: "npu" or "reference"."""
        return self._backends[0].name

    @property
    def thresholds(self) -> Thresholds:
        """The bundle's thresholds: detection score, IoU of non-maximum suppression, cosine of a match."""
        return self.manifest.thresholds

    def detect(self, image: NDArray[np.uint8], threshold: float | None = None) -> Faces:
        """Find the faces in an image.

        Args:
            image: H×W×3 uint8, BGR.
            threshold: Minimum detection score, 0 to 1. None uses the bundle's threshold.

        Returns:
            The faces in pixels of ``image``, best score first, without embeddings.

        Raises:
            InputError: ``image`` is not such an array, ``threshold`` is not from 0 to 1, or the pipeline is closed.
            DeviceError: The NPU or ONNX Runtime failed.
        """
        threshold = self._checked(threshold)
        with self._turn:
            return self._look(self._detector, image, threshold)

    def detect_photo(self, image: NDArray[np.uint8], threshold: float | None = None) -> PhotoFaces:
        """Find the faces in a photo, which may be a close-up, and may lie on its side or be upside down.

        ``detect`` looks once. This looks again if that finds no face that is plainly upright: with a margin around the
        photo, and at the photo turned by 90, 180 and 270 degrees. Use ``detect`` for the frames of a camera.

        Args:
            image: H×W×3 uint8, BGR.
            threshold: Minimum detection score, 0 to 1. None uses the bundle's threshold. A face that only another look
                finds must score 0.1 more.

        Returns:
            The faces, without embeddings, and the photo turned the right way up.

        Raises:
            InputError: ``image`` is not such an array, ``threshold`` is not from 0 to 1, or the pipeline is closed.
            DeviceError: The NPU or ONNX Runtime failed.
        """
        threshold = self._checked(threshold)
        with self._turn:
            return find_faces(self._detector, image, threshold)

    def near(self) -> Pipeline:
        """Return this pipeline for frames of a camera that people come close to, so that a face may fill the picture.

        If its ``detect`` finds no face, or the largest touches the border, it looks a second time, with a margin around
        the frame. The models are the same, and closing one of the two pipelines closes both.
        """
        pipeline = copy(self)
        pipeline._look = look_twice
        return pipeline

    def recognize(self, image: NDArray[np.uint8], threshold: float | None = None) -> Faces:
        """Find the faces in an image and compute their embeddings: ``detect``, then ``align`` and ``embed``.

        Args:
            image: H×W×3 uint8, BGR.
            threshold: Minimum detection score, 0 to 1. None uses the bundle's threshold.

        Returns:
            The faces in pixels of ``image``, best score first, with embeddings (N×D float32 of unit length).

        Raises:
            InputError: ``image`` is not such an array, ``threshold`` is not from 0 to 1, or the pipeline is closed.
            DeviceError: The NPU or ONNX Runtime failed.
        """
        return self._embed_faces(image, self.detect(image, threshold))

    def recognize_photo(self, image: NDArray[np.uint8], threshold: float | None = None) -> PhotoFaces:
        """Find the faces in a photo and compute their embeddings: ``detect_photo``, then ``align`` and ``embed``.

        Example:
            ```python
            from rkface import open_bundle, read_image

            with open_bundle("build/rk3588") as pipeline:
                photo = pipeline.recognize_photo(read_image("scan.jpg"))
                print(photo.turned, photo.faces.boxes)
            ```

        Args:
            image: H×W×3 uint8, BGR.
            threshold: As in ``detect_photo``.

        Returns:
            The faces, with embeddings (N×D float32 of unit length), and the photo turned the right way up.

        Raises:
            InputError: ``image`` is not such an array, ``threshold`` is not from 0 to 1, or the pipeline is closed.
            DeviceError: The NPU or ONNX Runtime failed.
        """
        photo = self.detect_photo(image, threshold)
        return replace(photo, faces=self._embed_faces(photo.image, photo.faces))

    def align(self, image: NDArray[np.uint8], landmarks: NDArray[np.float32]) -> NDArray[np.uint8]:
        """Cut one face out of an image, turned and scaled as the recognizer expects it.

        Args:
            image: H×W×3 uint8, BGR.
            landmarks: 5×2, the landmarks of one face in pixels of ``image``, such as ``faces.landmarks[0]``.

        Returns:
            height×width×3 uint8, BGR, as large as ``crop`` says: 112×112 for ArcFace. Parts outside the image are
            black.

        Raises:
            InputError: ``image`` or ``landmarks`` is not such an array.
        """
        check_image(image)
        check_landmarks(landmarks)
        return alignment.align(image, landmarks, self.crop)

    def embed(self, crops: Sequence[NDArray[np.uint8]] | NDArray[np.uint8]) -> NDArray[np.float32]:
        """Compute the embeddings of aligned faces. Their dot product is the cosine of two faces.

        Args:
            crops: N arrays from ``align``, each height×width×3 uint8, BGR, or one array of them, N×height×width×3.

        Returns:
            N×D float32 of unit length. D is the recognizer's, often 128 or 512.

        Raises:
            InputError: ``crops`` are not such arrays, or the pipeline is closed.
            DeviceError: The NPU or ONNX Runtime failed.
        """
        self._check_open()
        with self._turn:
            return self._embedder.embed(crops)

    def close(self) -> None:
        """Free the models. Closing a pipeline again does nothing."""
        self._closed.set()
        self._detector.close()
        for backend in self._backends:
            backend.close()

    def __enter__(self) -> Pipeline:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()

    def _embed_faces(self, image: NDArray[np.uint8], faces: Faces) -> Faces:
        if not len(faces):
            return Faces(
                faces.boxes, faces.scores, faces.landmarks, np.zeros((0, self._embedder.dimensions), np.float32)
            )
        crops = np.empty((len(faces), self.crop.height, self.crop.width, 3), np.uint8)
        for landmarks, crop in zip(faces.landmarks, crops, strict=True):
            alignment.align(image, landmarks, self.crop, out=crop)
        return Faces(faces.boxes, faces.scores, faces.landmarks, self.embed(crops))

    def _checked(self, threshold: float | None) -> float:
        """The detection threshold to use, if the pipeline is open."""
        self._check_open()
        if threshold is None:
            return self.thresholds.detection
        check_number(threshold, 0, 1, "a detection threshold")
        return threshold

    def _check_open(self) -> None:
        if self._closed.is_set():
            raise InputError("this pipeline is closed: open the bundle again, or stay inside its with block")
