"""Compares INT8 with FP32 on the demo models, in the toolkit's simulator: ``python -m rkface.convert.demo.int8``."""

from __future__ import annotations

import argparse
import json
import sys
import tempfile
from dataclasses import asdict, dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from rkface.convert.acquire import own_sources
from rkface.convert.evaluate.parity import compare_embeddings, compare_faces
from rkface.convert.image_lists import to_rgb, write_image_list
from rkface.convert.prepared_model import build_face_finder, prepare_model
from rkface.convert.recipe import RECIPES, TUNED, Recipe
from rkface.convert.run_recipe import RecipeRunner
from rkface.convert.targets import find_target
from rkface.runtime.core.manifest import ROLES
from rkface.runtime.vision.letterbox import Letterbox, letterbox

from . import measure
from .identity import CALIBRATE, EVALUATE
from .render import render_crop, render_scene

TARGET = "rk3588"
CALIBRATION, CROPS, SCENES = 40, 150, 60


@dataclass(frozen=True)
class Int8Figures:
    """INT8 against FP32 on the same images, which calibration never saw.

    cosine_*               of the embeddings
    matched                share of FP32's faces that INT8 finds at an IoU of 0.9
    extra, landmark_error  as in DetectionParity
    """

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


def compare(folder: Path, work: Path, recipe: Recipe = TUNED) -> Int8Figures:
    """Quantize both models in ``folder`` as `rkface convert` does, and compare them with FP32.

    People in CALIBRATE are used to calibrate, people in EVALUATE to compare. ``work`` is a folder for temporary files.
    """
    sources = own_sources(folder / measure.DETECTOR, folder / measure.RECOGNIZER, "")
    models = {role: prepare_model(sources.paths[role], role, work) for role in ROLES}
    quantize = RecipeRunner(models, sources, work, work, analyze=False).for_target(find_target(TARGET))
    crops = to_rgb(render_crop(91_000, EVALUATE[index]) for index in range(CROPS))
    faces = [render_crop(90_000, CALIBRATE[index]) for index in range(CALIBRATION)]
    (simulated,) = quantize("recognizer", recipe, write_image_list(faces, work / "faces"), crops).outputs
    embedding = compare_embeddings(models["recognizer"].backend.infer(crops)[0], simulated)
    scenes = [measure.scene(10_000 + index).image for index in range(SCENES)]
    fitted = [_fitted(scene) for scene in scenes]
    frames = write_image_list([one.image for one in map(_fitted, _crowds())], work / "frames")
    raw = quantize("detector", recipe, frames, to_rgb(one.image for one in fitted)).outputs
    detector = build_face_finder(models, sources).detector
    found = [detector.faces([array[index] for array in raw], one.scale) for index, one in enumerate(fitted)]
    detection = compare_faces([detector.detect(scene) for scene in scenes], found)
    return Int8Figures(
        TARGET, recipe.name, CALIBRATION, embedding.faces, embedding.mean, embedding.p1, embedding.minimum,
        detection.images, detection.faces, detection.tight / detection.faces, detection.extra, detection.landmark_error,
    )  # fmt: skip


def _fitted(image: NDArray[np.uint8]) -> Letterbox:
    return letterbox(image, measure.DETECTOR_INPUT.width, measure.DETECTOR_INPUT.height)


def _crowds() -> list[NDArray[np.uint8]]:
    """Scenes to calibrate on, with up to three people each."""
    people = np.random.default_rng(92_000).choice(np.asarray(CALIBRATE), (CALIBRATION, 3))
    return [render_scene(92_000 + index, sorted(set(row.tolist()))).image for index, row in enumerate(people)]


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
