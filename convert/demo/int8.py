"""How much of the demo models INT8 leaves, by the real toolkit's simulator: ``python -m rkface.convert.demo.int8``."""

from __future__ import annotations

import argparse
import json
import sys
import tempfile
from dataclasses import asdict, dataclass
from pathlib import Path

import cv2
import numpy as np
from numpy.typing import NDArray
from rkface.convert.quantize import Job, quantize
from rkface.convert.recipe import RECIPES, TUNED, Recipe
from rkface.convert.tune import tune
from rkface.runtime.backends.reference import open_reference
from rkface.runtime.bundle import Input
from rkface.runtime.detect import letterbox
from rkface.runtime.embed import unit
from rkface.runtime.faces import Faces
from rkface.runtime.progress import stage

from . import measure
from .identity import CALIBRATE, EVALUATE
from .render import render_crop, render_scene

TARGET = "rk3588"
CALIBRATION, CROPS, SCENES = 40, 150, 60


@dataclass(frozen=True)
class Kept:
    """INT8 against FP32 on the same held-out pictures. cosines of embeddings; matched: share of FP32's faces that INT8
    finds at IoU 0.9; extra: faces that only INT8 finds."""

    target: str
    recipe: str
    calibration: int
    crops: int
    cosine_mean: float
    cosine_p1: float
    cosine_min: float
    scenes: int
    faces: int
    matched: float
    extra: int
    landmark_error: float


def compare(folder: Path, work: Path, recipe: Recipe = TUNED) -> Kept:
    """Quantise both models in ``folder``, calibrated on CALIBRATE, and compare on EVALUATE, working in ``work``."""
    crops = [render_crop(90_000, CALIBRATE[index]) for index in range(CALIBRATION)]
    held_out = np.stack([_rgb(render_crop(91_000, EVALUATE[index])) for index in range(CROPS)])
    (simulated,) = _run(
        folder / measure.RECOGNIZER,
        measure.RECOGNIZER_INPUT,
        crops,
        held_out,
        work=work / "recognizer",
        recipe=recipe,
    )
    backend = open_reference(folder / measure.RECOGNIZER, measure.RECOGNIZER_INPUT)
    cosines = np.sum(unit(simulated) * unit(backend.infer(held_out)[0]), axis=1)
    faces = _detections(folder, work, recipe)
    total = sum(len(full) for full, _ in faces)
    pairs = [(full, half, measure.match(full.boxes, half.boxes, 0.9)) for full, half in faces]
    loose = sum(len(measure.match(full.boxes, half.boxes).found) for full, half in faces)
    errors = [
        np.linalg.norm(full.landmarks[kept.truth] - half.landmarks[kept.found], axis=2).mean(axis=1)
        / np.linalg.norm(full.landmarks[kept.truth][:, 1] - full.landmarks[kept.truth][:, 0], axis=1)
        for full, half, kept in pairs
    ]
    return Kept(
        TARGET, recipe.name, CALIBRATION, CROPS, float(cosines.mean()), float(np.percentile(cosines, 1)),
        float(cosines.min()), SCENES, total, sum(len(kept.found) for _, _, kept in pairs) / total,
        sum(len(half) for _, half in faces) - loose, float(np.concatenate(errors).mean()),
    )  # fmt: skip


def _detections(folder: Path, work: Path, recipe: Recipe) -> list[tuple[Faces, Faces]]:
    """FP32's and INT8's faces in each held-out scene."""
    people = np.random.default_rng(92_000).choice(np.asarray(CALIBRATE), (CALIBRATION, 3))
    size = (measure.DETECTOR_INPUT.width, measure.DETECTOR_INPUT.height)
    frames = [
        letterbox(render_scene(92_000 + index, sorted(set(row.tolist()))).image, *size).image
        for index, row in enumerate(people)
    ]
    fitted = [letterbox(measure.scene(10_000 + index).image, *size) for index in range(SCENES)]
    images = np.stack([_rgb(one.image) for one in fitted])
    raw = _run(
        folder / measure.DETECTOR,
        measure.DETECTOR_INPUT,
        frames,
        images,
        work=work / "detector",
        recipe=recipe,
    )
    detector = measure.open_detector(folder / measure.DETECTOR)
    backend = open_reference(folder / measure.DETECTOR, measure.DETECTOR_INPUT)
    return [
        (
            detector.faces(backend.infer(images[index : index + 1]), one.scale),
            detector.faces([array[index] for array in raw], one.scale),
        )
        for index, one in enumerate(fitted)
    ]


def _run(
    model: Path,
    input: Input,
    calibration: list[NDArray[np.uint8]],
    images: NDArray[np.uint8],
    *,
    work: Path,
    recipe: Recipe,
) -> tuple[NDArray[np.float32], ...]:
    work.mkdir(parents=True, exist_ok=True)
    for index, image in enumerate(calibration):
        cv2.imwrite(str(work / f"{index}.png"), image)
    dataset = work / "dataset.txt"
    dataset.write_text("".join(f"{index}.png\n" for index in range(len(calibration))), encoding="utf-8")
    np.save(work / "images.npy", images)
    fit = tune(model, input, dataset, work / "tuned.onnx").path if recipe.tuned else model
    job = Job(
        onnx=fit, output=work / "model.rknn", target=TARGET, input=input, custom_string="{}", dataset=dataset,
        algorithm=recipe.algorithm, evaluate=work / "images.npy",
    )  # fmt: skip
    with stage(f"quantise {model.stem}"):
        return quantize(job, work / "toolkit.log").outputs


def _rgb(image: NDArray[np.uint8]) -> NDArray[np.uint8]:
    return np.ascontiguousarray(image[..., ::-1])


def main() -> int:
    parser = argparse.ArgumentParser(prog="python -m rkface.convert.demo.int8", description=__doc__)
    parser.add_argument("--models", type=Path, default=Path(__file__).parent, help="folder with the models and figures")
    parser.add_argument("--recipe", choices=RECIPES, default=TUNED.name)
    options = parser.parse_args()
    with tempfile.TemporaryDirectory() as work:
        kept = compare(options.models.resolve(), Path(work), RECIPES[options.recipe])
    figures = {name: round(value, 5) if isinstance(value, float) else value for name, value in asdict(kept).items()}
    print(json.dumps(figures, indent=2))
    path = options.models / measure.FIGURES
    if path.is_file() and options.recipe == TUNED.name:
        whole = json.loads(path.read_text(encoding="utf-8"))
        path.write_text(json.dumps(whole | {"int8": figures}, indent=2) + "\n", encoding="utf-8")
    return 0


if __name__ == "__main__":
    sys.exit(main())
