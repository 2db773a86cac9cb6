"""A detector with inputs of several shapes: each image is looked at in the one that fits it."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from contextlib import ExitStack
from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray

from ..core.faces import Faces
from .check_input import check_image
from .detect import Detector
from .detectors import Family

if TYPE_CHECKING:
    from ..backends import Backend
    from ..core.manifest import Manifest


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
    when the first image needs them; None uses the main shape for every image. Use it in one thread at a time. The
    methods raise the errors of ``Detector``, and those of ``open_shape``.
    """

    def __init__(self, manifest: Manifest, detector: Backend, open_shape: Callable[[str], Backend] | None) -> None:
        self._models = manifest.detectors if open_shape else {"detector": manifest.detector}
        self._names = list(self._models)
        self._sizes = [(model.input.width, model.input.height) for model in self._models.values()]
        self._open = open_shape
        self._closing = ExitStack()
        self.nms_iou = manifest.thresholds.nms
        self._opened = {"detector": self._build("detector", detector)}

    @property
    def family(self) -> Family:
        return self._opened["detector"].family

    def detect(self, image: NDArray[np.uint8], threshold: float | None = None) -> Faces:
        """Like ``Detector.detect``, in the shape that fits ``image``."""
        return self.fitting(image).detect(image, threshold)

    def detect_with_margin(self, image: NDArray[np.uint8], threshold: float | None = None) -> Faces:
        """Like ``Detector.detect_with_margin``, in the shape that fits ``image``."""
        return self.fitting(image).detect_with_margin(image, threshold)

    def fitting(self, image: NDArray[np.uint8]) -> Detector:
        """The detector in the shape that fits ``image`` (H×W×3 uint8 BGR). Raises InputError for any other array."""
        check_image(image)
        name = self._names[find_fitting_size(self._sizes, image.shape[1], image.shape[0])]
        if name not in self._opened:
            assert self._open is not None, "without it, there is one shape"
            backend = self._open(name)
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
