"""NPU cores that sleep instead of computing, and frames for them: everything else of a pipeline is real."""

import threading
import time
from collections.abc import Iterator
from dataclasses import dataclass, replace
from itertools import count

import numpy as np
from stand_ins import DIMENSIONS, SIDE, make_manifest

from rkface.runtime.backends import Quantized, Raw
from rkface.runtime.core.manifest import Output
from rkface.runtime.inference.frames import Frame
from rkface.runtime.inference.pipeline import Pipeline
from rkface.runtime.inference.scheduler import Scheduler
from rkface.runtime.vision.detectors import STRIDES
from rkface.runtime.vision.detectors.scrfd import ANCHORS

FACE = 64  # pixels of a face in the detector's input, which is 192 in the frame
LANDMARKS = np.array([[0.3, 0.4], [0.7, 0.4], [0.5, 0.6], [0.35, 0.8], [0.65, 0.8]])  # in a face of size 1


@dataclass(frozen=True)
class Timing:
    """Seconds of one inference."""

    detector: float
    recognizer: float

    def bound(self, cores: int, faces: float) -> float:
        """The highest possible number of frames per second."""
        return cores / (self.detector + faces * self.recognizer)


class SimulatedCore:
    """An NPU core. All contexts on it share it: one inference at a time."""

    def __init__(self) -> None:
        self.lock = threading.Lock()

    def run(self, seconds: float) -> None:
        with self.lock:
            time.sleep(seconds)


class SimulatedDetector:
    """Finds as many faces as the first pixel of the image says."""

    name = "simulated"

    def __init__(self, core: SimulatedCore, seconds: float) -> None:
        self._core, self._seconds = core, seconds

    def infer_quantized(self, image: np.ndarray) -> list[Raw]:
        self._core.run(self._seconds)
        # The NPU backend copies the output buffers of librknnrt once.
        return [replace(output, values=output.values.copy()) for output in OUTPUTS[int(image[0, 0, 0])]]

    def infer(self, images: np.ndarray) -> list[np.ndarray]:
        raise NotImplementedError

    def close(self) -> None:
        pass


class SimulatedRecognizer:
    name = "simulated"

    def __init__(self, core: SimulatedCore, seconds: float) -> None:
        self._core, self._seconds = core, seconds

    def infer(self, images: np.ndarray) -> list[np.ndarray]:
        for _ in images:
            self._core.run(self._seconds)
        return [np.ones((len(images), DIMENSIONS), np.float32)]

    def close(self) -> None:
        pass


def make_quantized_outputs(faces: int) -> list[Quantized]:
    """An SCRFD's nine INT8 outputs for ``faces`` faces, each shown by the 18 anchors next to its center."""
    corners = np.array([[40 + 150 * (face % 4), 40 + 160 * (face // 4)] for face in range(faces)]).reshape(-1, 2)
    outputs: dict[str, list[np.ndarray]] = {"score": [], "box": [], "landmarks": []}
    for stride in STRIDES:
        cells = SIDE // stride
        grid = np.stack(np.meshgrid(np.arange(cells), np.arange(cells)), axis=-1).reshape(-1, 2)
        centers = np.repeat(grid * stride, ANCHORS, axis=0)
        score = np.random.default_rng(0).uniform(0, 0.3, len(centers))
        box, landmarks = np.zeros((len(centers), 4)), np.zeros((len(centers), 10))
        for corner in corners if stride == 16 else ():
            near = np.abs(centers - corner - FACE / 2).max(axis=1) <= 1.5 * stride
            score[near] = 0.9 - np.abs(centers[near] - corner - FACE / 2).sum(axis=1) / 500
            box[near] = np.hstack([centers[near] - corner, corner + FACE - centers[near]]) / stride
            landmarks[near] = ((corner + LANDMARKS * FACE)[None] - centers[near][:, None]).reshape(-1, 10) / stride
        for kind, values in (("score", score[:, None]), ("box", box), ("landmarks", landmarks)):
            outputs[kind].append(values)
    quantization = {"score": (-128, 1 / 255), "box": (-128, 0.03), "landmarks": (0, 0.03)}  # zero point, scale
    return [
        Quantized(np.clip(np.round(values / scale) + zero_point, -128, 127).astype(np.int8), zero_point, scale)
        for kind, (zero_point, scale) in quantization.items()
        for values in outputs[kind]
    ]


OUTPUTS = {faces: make_quantized_outputs(faces) for faces in range(9)}
MANIFEST = make_manifest(detector_outputs=[Output(str(one.values.shape), one.values.shape) for one in OUTPUTS[0]])


def open_context(timing: Timing, role: str, core: SimulatedCore) -> SimulatedDetector | SimulatedRecognizer:
    if role == "detector":
        return SimulatedDetector(core, timing.detector)
    return SimulatedRecognizer(core, timing.recognizer)


def open_pipeline(timing: Timing) -> Pipeline:
    """A pipeline on a core of its own."""
    core = SimulatedCore()
    return Pipeline(MANIFEST, open_context(timing, "detector", core), open_context(timing, "recognizer", core))


def open_scheduler(timing: Timing, cores: int) -> Scheduler:
    npu = [SimulatedCore() for _ in range(cores)]
    return Scheduler(MANIFEST, lambda role, core: open_context(timing, role, npu[core]), cores)


def make_frames(faces: tuple[int, ...]) -> Iterator[Frame]:
    """Endless 1920×1080 frames of noise, with ``faces`` in turn; the first pixels tell SimulatedDetector the number."""
    noise = np.random.default_rng(0).integers(0, 256, (1080, 1920, 3), np.uint8)
    images = {number: noise.copy() for number in set(faces)}
    for number, image in images.items():
        image[:8, :8] = number
    for number in count():
        yield Frame(images[faces[number % len(faces)]], number)
