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
from rkface.convert.material import to_rgb
from rkface.convert.prove import compare_embeddings, compare_faces
from rkface.convert.quantize import Job, quantize
from rkface.convert.recipe import RECIPES, TUNED, Recipe
from rkface.convert.tune import tune
from rkface.runtime.backends.reference import open_reference
from rkface.runtime.bundle import Input
from rkface.runtime.detect import letterbox
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
    finds at IoU 0.9; extra and landmark_error as in DetectionParity."""

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
    calibration = [render_crop(90_000, CALIBRATE[index]) for index in range(CALIBRATION)]
    crops = to_rgb(render_crop(91_000, EVALUATE[index]) for index in range(CROPS))
    model, input = folder / measure.RECOGNIZER, measure.RECOGNIZER_INPUT
    (simulated,) = _run(model, input, calibration, crops, work=work / "recognizer", recipe=recipe)
    embedding = compare_embeddings(open_reference(model, input).infer(crops)[0], simulated)
    detection = compare_faces(*_faces(folder, work, recipe))
    return Kept(
        TARGET, recipe.name, CALIBRATION, embedding.faces, embedding.mean, embedding.p1, embedding.minimum,
        detection.images, detection.faces, detection.tight / detection.faces, detection.extra, detection.landmark_error,
    )  # fmt: skip


def _faces(folder: Path, work: Path, recipe: Recipe) -> tuple[list[Faces], list[Faces]]:
    """FP32's and INT8's faces in each held-out scene."""
    model, input = folder / measure.DETECTOR, measure.DETECTOR_INPUT
    people = np.random.default_rng(92_000).choice(np.asarray(CALIBRATE), (CALIBRATION, 3))
    calibration = [
        letterbox(render_scene(92_000 + index, sorted(set(row.tolist()))).image, input.width, input.height).image
        for index, row in enumerate(people)
    ]
    scenes = [measure.scene(10_000 + index).image for index in range(SCENES)]
    fitted = [letterbox(scene, input.width, input.height) for scene in scenes]
    frames = to_rgb(one.image for one in fitted)
    raw = _run(model, input, calibration, frames, work=work / "detector", recipe=recipe)
    detector = measure.open_detector(model)
    simulated = [detector.faces([array[index] for array in raw], one.scale) for index, one in enumerate(fitted)]
    return [detector.detect(scene) for scene in scenes], simulated


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
