"""Measures the demo models with the real runtime, on synthetic scenes and people that training never saw."""

from __future__ import annotations

import json
import shlex
import sys
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from importlib.metadata import version
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import onnx
from numpy.typing import NDArray

from rkface.runtime.backends.reference import ReferenceBackend, open_reference
from rkface.runtime.core.bundle import sha256
from rkface.runtime.core.crop_template import ARCFACE_112
from rkface.runtime.core.faces import Faces
from rkface.runtime.core.manifest import Input, Output
from rkface.runtime.core.progress import stage
from rkface.runtime.vision import detect, embed
from rkface.runtime.vision.align import align
from rkface.runtime.vision.detectors.scrfd import SCRFD

from ..evaluate.parity import match_boxes
from .identity import EVALUATE
from .render import Scene, render_scene

if TYPE_CHECKING:
    from .training_plan import TrainingPlan

DETECTOR, RECOGNIZER, FIGURES = "detector.onnx", "recognizer.onnx", "figures.json"
DETECTOR_INPUT = Input("input.1", 416, 416, SCRFD.mean, SCRFD.std)
RECOGNIZER_INPUT = Input("input.1", ARCFACE_112.height, ARCFACE_112.width, embed.MEAN, embed.STD)
FAR = 1e-3
SCENES, PEOPLE, PHOTOS = 500, 250, 4
_HELD_OUT = 7_000_000_000  # far from every seed of training


@dataclass(frozen=True)
class Detection:
    """Figures of the detector. ``recall`` is at an IoU of 0.5 and a score of 0.5; ``landmark_error`` is the mean over
    the five landmarks, as a share of the inter-ocular distance."""

    scenes: int
    faces: int
    recall: float
    false_per_image: float
    mean_iou: float
    landmark_error: float
    landmark_error_p99: float


@dataclass(frozen=True)
class PairFigures:
    """Figures over all pairs of photos, end to end. A pair with a face that was not detected counts as rejected.

    ``accuracy`` is the mean of the shares of correct decisions on pairs of one person and on pairs of two people, at
    ``best_threshold``.
    """

    identities: int
    photos: int
    undetected: int
    same_pairs: int
    different_pairs: int
    far: float
    tar: float
    threshold: float
    accuracy: float
    best_threshold: float


@dataclass(frozen=True)
class Matches:
    """F matched faces: indices of the true and of the found faces, and their IoU."""

    truth: NDArray[np.int64]
    found: NDArray[np.int64]
    iou: NDArray[np.float64]


def open_detector(path: Path, threads: int | None = 2) -> detect.Detector:
    return detect.Detector(open_reference(path, DETECTOR_INPUT, threads=threads), DETECTOR_INPUT, outputs(path))


def open_recognizer(path: Path, threads: int | None = 2) -> embed.Embedder:
    backend: ReferenceBackend = open_reference(path, RECOGNIZER_INPUT, threads=threads)
    return embed.Embedder(backend, ARCFACE_112, outputs(path)[0].shape[-1])


def outputs(path: Path) -> list[Output]:
    """The outputs that the ONNX file at ``path`` declares, in order."""
    graph = onnx.load(str(path)).graph
    return [Output(one.name, tuple(size.dim_value for size in one.type.tensor_type.shape.dim)) for one in graph.output]


def scene(index: int) -> Scene:
    """Held-out scene ``index``, with 0 to 6 people out of EVALUATE."""
    random = np.random.default_rng([0xE7A1, index])
    people = random.choice(np.asarray(EVALUATE), int(random.integers(0, 7)), replace=False)
    return render_scene(_HELD_OUT + index, people.tolist())


def portrait(person: int, shot: int) -> Scene:
    """Held-out image ``shot`` of EVALUATE[person] alone."""
    return render_scene(2 * _HELD_OUT + 100 * person + shot, [EVALUATE[person]], sizes=(70.0, 260.0))


def match(truth: NDArray[np.float32], found: NDArray[np.float32], bar: float = 0.5) -> Matches:
    """Match the boxes ``truth`` (N×4) and ``found`` (M×4) with an IoU of at least ``bar``; each box is in at most one
    pair."""
    rows = np.array(match_boxes(truth, found, bar), np.float64).reshape(-1, 3)
    return Matches(rows[:, 0].astype(np.int64), rows[:, 1].astype(np.int64), rows[:, 2])


def detection(detector: detect.Detector, scenes: int = SCENES) -> Detection:
    faces = found = 0
    overlaps: list[float] = []
    errors: list[float] = []
    for index in range(scenes):
        picture = scene(index)
        answer: Faces = detector.detect(picture.image)
        pairs = match(picture.boxes, answer.boxes)
        faces, found = faces + len(picture.boxes), found + len(answer)
        overlaps += pairs.iou.tolist()
        true = picture.landmarks[pairs.truth]
        eyes = np.linalg.norm(true[:, 1] - true[:, 0], axis=1)
        distance = np.linalg.norm(true - answer.landmarks[pairs.found], axis=2).mean(axis=1)
        errors += (distance / eyes).tolist()
    return Detection(
        scenes,
        faces,
        len(overlaps) / faces,
        (found - len(overlaps)) / scenes,
        float(np.mean(overlaps)),
        float(np.mean(errors)),
        float(np.percentile(errors, 99)),
    )


def verification(
    detector: detect.Detector, embedder: embed.Embedder, people: int = PEOPLE, photos: int = PHOTOS
) -> PairFigures:
    vectors = np.zeros((people * photos, embedder.dimensions), np.float32)
    seen = np.zeros(len(vectors), bool)
    for index in range(len(vectors)):
        picture = portrait(index // photos, index % photos)
        answer = detector.detect(picture.image)
        pairs = match(picture.boxes, answer.boxes)
        if len(pairs.found):
            crop = align(picture.image, answer.landmarks[pairs.found[0]])
            vectors[index], seen[index] = embedder.embed([crop])[0], True
    first, second = np.triu_indices(len(vectors), k=1)
    # float64, because the threshold is one step away
    cosine = np.einsum("nd,nd->n", vectors[first], vectors[second]).astype(np.float64)
    cosine[~(seen[first] & seen[second])] = -1.0
    owner = np.repeat(np.arange(people), photos)
    same = owner[first] == owner[second]
    return _decide(cosine[same], cosine[~same], people, len(vectors), int((~seen).sum()))


def _decide(
    same: NDArray[np.float64], different: NDArray[np.float64], people: int, photos: int, undetected: int
) -> PairFigures:
    impostors = np.sort(different)[::-1]
    # The lowest threshold at which at most this share of pairs of different people is accepted.
    threshold = float(np.nextafter(impostors[int(FAR * len(impostors))], np.inf))
    grid = np.linspace(-0.2, 0.9, 1101)
    right = np.array([((same >= at).mean() + (different < at).mean()) / 2 for at in grid])
    # If several thresholds are equally good, take the middle one, which has the largest distance on both sides.
    best = float(grid[np.flatnonzero(right == right.max())].mean())
    return PairFigures(
        people, photos, undetected, len(same), len(different), FAR, float((same >= threshold).mean()), threshold,
        float(right.max()), best,
    )  # fmt: skip


def write_figures(folder: Path, plan: TrainingPlan, seconds: float, trained: bool) -> None:
    """Measure the two models in ``folder`` and write figures.json into it. The training record of a model that this run
    did not train is kept."""
    path = folder / FIGURES
    old: dict[str, Any] = json.loads(path.read_text(encoding="utf-8")) if path.is_file() else {}
    training = old.get("training", {})
    if trained:
        training |= _training(plan, seconds, sys.argv[1:])
    if not all((folder / name).is_file() for name in (DETECTOR, RECOGNIZER)):
        path.write_text(json.dumps({"training": training}, indent=2) + "\n", encoding="utf-8")
        print("one model is missing: nothing was measured", file=sys.stderr)
        return
    detector = open_detector(folder / DETECTOR)
    with stage("measure detector"):
        found = detection(detector)
    with stage("measure recognizer"):
        recognized = verification(detector, open_recognizer(folder / RECOGNIZER))
    figures = {
        "about": "Measured on rendered, synthetic scenes and identities that training never saw; this says nothing "
        "about photographs or people.",
        "files": {
            name: {"bytes": (folder / name).stat().st_size, "sha256": sha256(folder / name)}
            for name in (DETECTOR, RECOGNIZER)
        },
        "match_threshold": round(recognized.threshold, 3),
        "detection": _rounded(asdict(found)),
        "verification": _rounded(asdict(recognized)),
        "training": training,
        "versions": {name: version(name) for name in ("torch", "numpy", "opencv-python", "onnx", "onnxruntime")},
    }
    if "int8" in old and old.get("files") == figures["files"]:
        figures["int8"] = old["int8"]
    path.write_text(json.dumps(figures, indent=2) + "\n", encoding="utf-8")
    print(json.dumps({name: figures[name] for name in ("detection", "verification", "match_threshold")}, indent=2))


def _training(plan: TrainingPlan, seconds: float, arguments: Sequence[str]) -> dict[str, Any]:
    shown = list(arguments)
    if "--out" in shown:
        del shown[shown.index("--out") : shown.index("--out") + 2]
    record = {"command": shlex.join(["python", "-m", "rkface.convert.demo.train", *shown]), "seconds": round(seconds)}
    counts = {
        "detector": {"seed": plan.seed, "scenes": plan.scenes, "passes": plan.scene_passes},
        "recognizer": {
            "seed": plan.seed,
            "identities": plan.people,
            "crops": plan.people * plan.shots,
            "passes": plan.crop_passes,
        },
    }
    only = shown[shown.index("--only") + 1] if "--only" in shown else None
    return {name: record | count for name, count in counts.items() if only in (None, name)}


def _rounded(figures: dict[str, Any]) -> dict[str, Any]:
    return {name: round(value, 5) if isinstance(value, float) else value for name, value in figures.items()}
