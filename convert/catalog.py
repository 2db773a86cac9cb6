"""How models expect their image: InsightFace's preprocessing, and how known liveness models were trained."""

from __future__ import annotations

from dataclasses import dataclass

from rkface.runtime.core.manifest import Role, Triple
from rkface.runtime.vision import embed
from rkface.runtime.vision.bare_onnx import DYNAMIC_SIDE
from rkface.runtime.vision.detectors.scrfd import SCRFD

# InsightFace's own preprocessing, by role: (mean, std) of an RGB input in 0..255.
NORMALIZATION: dict[Role, tuple[Triple, Triple]] = {
    "detector": (SCRFD.mean, SCRFD.std),
    "recognizer": (embed.MEAN, embed.STD),
}
DETECTOR_SIZE = (DYNAMIC_SIDE, DYNAMIC_SIDE)  # width, height if neither the model nor the user fixes it


@dataclass(frozen=True)
class LivenessProfile:
    """How a liveness model (anti-spoofing: a live face, or a picture of a face?) was trained.

    name       of the model
    size       (width, height) of its input; with ``classes``, this identifies a model
    classes    number of its classes
    scale      size of the crop it gets, in sizes of the face's box
    live       index of the class of live faces
    bgr        its input channels are blue, green, red
    mean, std  of values 0..255, in its own channel order
    logits     its outputs are logits, not probabilities
    threshold  minimum probability of a live face
    """

    name: str
    size: tuple[int, int]
    classes: int
    scale: float
    live: int
    bgr: bool
    mean: Triple = (0.0, 0.0, 0.0)
    std: Triple = (1.0, 1.0, 1.0)
    logits: bool = True
    threshold: float = 0.5  # the more likely of two answers; not measured

    @property
    def normalization(self) -> tuple[Triple, Triple]:
        """(mean, std) for an RGB input."""
        turn = -1 if self.bgr else 1
        (r, g, b), (x, y, z) = self.mean[::turn], self.std[::turn]
        return (r, g, b), (x, y, z)


# github.com/minivision-ai/Silent-Face-Anti-Spoofing (Apache-2.0): the names of its files contain the scale of the crop
# and the size of the input (src/utility.py); images are BGR, as OpenCV reads them, with values of 0..255 ("return
# img.float()", src/data_io/functional.py); a softmax follows (src/anti_spoof_predict.py), and class 1 is a live face
# (test.py).
LIVENESS_PROFILES = (
    LivenessProfile("MiniFASNetV2", (80, 80), 3, 2.7, 1, True),
    LivenessProfile("MiniFASNetV1SE", (80, 80), 3, 4.0, 1, True),
)
