"""A detector with inputs of several shapes: each image is looked at in the one that fits it."""

from __future__ import annotations

import threading
from collections.abc import Callable, Sequence
from contextlib import ExitStack
from functools import lru_cache
from logging import getLogger
from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray

from ..core.errors import DeviceError, InputError, UnopenedModelError
from ..core.faces import Faces
from .check_input import check_image
from .detect import Detector
from .detectors import Family, find_layout

if TYPE_CHECKING:
    from ..backends import Backend
    from ..core.manifest import Manifest

log = getLogger("rkface.detector")

KEPT = 64  # sizes of pictures


def find_fitting_size(sizes: Sequence[tuple[int, int]], width: int, height: int) -> int:
    """The index of that input of ``sizes``, each (width, height), which fits an image of ``width``×``height`` pixels.

    It is the input in which the image is largest, so that no face becomes too small. Of those in which it is equally
    large, it is the one with the smallest area: the others only add black. So 1920×1080 gets 640×384, not 640×640.
    """

    def fit(index: int) -> tuple[int, int]:
        across, down = sizes[index]
        return min(across * height, down * width), -across * down  # the scale, in units of 1 / (width · height)

    return max(range(len(sizes)), key=fit)


class Detectors:
    """The detector of a bundle, in all its shapes. Has the methods of ``Detector``, which is one shape.

    ``detector`` is the main shape, "detector" in ``manifest``. The other shapes are opened with ``open_shape(name)``
    when the first image needs them; None uses the main shape for every image. A shape that does not open is replaced by
    the main one, with a warning in the log. Threads may share it if their backend allows that, as ONNX Runtime does.
    The methods raise the errors of ``Detector``. Raises ModelError if the outputs of a shape are those of no known
    family.
    """

    def __init__(self, manifest: Manifest, detector: Backend, open_shape: Callable[[str], Backend] | None) -> None:
        self._models = manifest.detectors if open_shape else {"detector": manifest.detector}
        for model in self._models.values():  # now, and not at the first image that needs it
            find_layout(model.outputs, model.input.width, model.input.height)
        names = list(self._models)
        sizes = [(model.input.width, model.input.height) for model in self._models.values()]
        # A camera's frames all have one size. The names that fit the sizes of the last pictures are kept.
        self._fitting = lru_cache(KEPT)(lambda width, height: names[find_fitting_size(sizes, width, height)])
        self._open = open_shape
        self._closing = ExitStack()
        self._opening = threading.Lock()
        self.nms_iou = manifest.thresholds.nms
        self._opened = {"detector": self._build("detector", detector)}

    @property
    def family(self) -> Family:
        return self._opened["detector"].family

    def detect(self, image: NDArray[np.uint8], threshold: float | None = None) -> Faces:
        """Like ``Detector.detect``, in the shape that fits ``image``."""
        return self._look(Detector.detect, image, threshold)

    def detect_with_margin(self, image: NDArray[np.uint8], threshold: float | None = None) -> Faces:
        """Like ``Detector.detect_with_margin``, in the shape that fits ``image``."""
        return self._look(Detector.detect_with_margin, image, threshold)

    def _look(
        self,
        look: Callable[[Detector, NDArray[np.uint8], float | None], Faces],
        image: NDArray[np.uint8],
        threshold: float | None,
    ) -> Faces:
        """What ``look`` finds with the shape that fits ``image``."""
        check_image(image)
        name = self._fitting(image.shape[1], image.shape[0])
        try:
            return look(self._opened.get(name) or self._shape(name), image, threshold)
        except UnopenedModelError as error:  # of a backend, or of NPU cores, which open it when they first run it
            log.warning("%s is not used, and the detector searches its pictures: %s", name, error)
        self._opened[name] = self._opened["detector"]
        return look(self._opened[name], image, threshold)

    def _shape(self, name: str) -> Detector:
        """The detector ``name``, opened if it is not yet. Raises UnopenedModelError if it does not open."""
        with self._opening:
            if name not in self._opened:
                assert self._open is not None, "without it, there is one shape"
                try:
                    backend = self._open(name)
                except (DeviceError, InputError) as error:
                    raise UnopenedModelError(str(error)) from error
                self._closing.callback(backend.close)
                self._opened[name] = self._build(name, backend)
            return self._opened[name]

    def close(self) -> None:
        """Close the shapes that this has opened."""
        self._closing.close()

    def _build(self, name: str, backend: Backend) -> Detector:
        model = self._models[name]
        return Detector(backend, model.input, model.outputs, self.nms_iou)


AnyDetector = Detector | Detectors
