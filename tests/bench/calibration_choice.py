"""What the choice of calibration faces is worth: the tables of docs/calibration.md.

    make bench-calibration
    make bench-calibration OPTIONS='--detector det.onnx --recognizer rec.onnx --photos photos/'

Faces that `rkface calibrate` chooses are compared with random ones, and with choices that are bad on purpose. INT8 in
the toolkit's simulator is compared with FP32, on people who are not in the calibration set. Each seed has other people
for evaluation and other random faces. Both choices of a seed are evaluated on the same people.

Without options, the faces are rendered and the recognizer is the demo pack's: both are synthetic. With --detector,
--recognizer and --photos, the program measures your models and photos first: two thirds of the people are used for
calibration, the others for evaluation.
"""

from __future__ import annotations

import argparse
import hashlib
import sys
import tempfile
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

import cv2
import numpy as np
from program import add_model_options, create_parser, format_table, has_own_models, write_results

from rkface.calibration.appearance_stats import measure_appearance
from rkface.calibration.choose import choose_faces, hold_out
from rkface.calibration.collect import CandidateFace, collect_faces, embed_faces
from rkface.calibration.facility_location import appearance_space
from rkface.calibration.histograms import histogram_sheet
from rkface.calibration.write_set import count_reasons
from rkface.convert.acquire import ModelSources, own_sources
from rkface.convert.demo.render import CALIBRATE, EVALUATE, render_scene
from rkface.convert.evaluate.parity import compare_embeddings
from rkface.convert.image_lists import to_rgb
from rkface.convert.packs.pack import DEMO
from rkface.convert.prepared_model import PreparedModel, prepare_model
from rkface.convert.recipe import NORMAL, TUNED, Recipe
from rkface.convert.run_recipe import RecipeRunner
from rkface.convert.targets import find_target
from rkface.runtime.core.faces import Faces
from rkface.runtime.vision.align import align
from rkface.runtime.vision.bare_onnx import open_detector
from rkface.runtime.vision.detect import Detector
from rkface.runtime.vision.embed import Embedder
from rkface.runtime.vision.quality import measure

PEOPLE, SHOTS, EVALUATION_PEOPLE = 150, 2, 30  # rendered people of a seed
# A second set, as a camera at a door collects it: some people with many photos each, among PEOPLE with one photo.
FREQUENT_PEOPLE, FREQUENT_SHOTS = 4, 50
COUNT = 20  # calibration faces in the comparisons with bad choices
FIGURES = ("mean", "p1", "min")  # of the cosines between INT8 and FP32

Candidates = list[CandidateFace]
# (faces, their embeddings, number to choose, random generator) → indices of the chosen faces
ChooseIndices = Callable[[Candidates, np.ndarray, int, np.random.Generator], Sequence[int]]


@dataclass(frozen=True)
class SeedData:
    """``faces`` to choose from with their ``embeddings``; evaluation ``crops`` (RGB) with FP32's ``reference``."""

    faces: Candidates
    embeddings: np.ndarray
    crops: np.ndarray
    reference: np.ndarray


@dataclass(frozen=True)
class Recognizer:
    name: str
    sources: ModelSources
    model: PreparedModel

    def embed(self, faces: Candidates) -> np.ndarray:
        dimensions = self.model.simplified.outputs[0].shape[-1]
        return embed_faces(faces, Embedder(self.model.backend, self.model.fixed.known_crop(), dimensions))

    def prepare_seed(self, faces: Candidates, embeddings: np.ndarray, evaluation: Candidates) -> SeedData:
        crops = to_rgb(face.crop for face in evaluation)
        return SeedData(faces, embeddings, crops, self.model.backend.infer(crops)[0])

    def measure(self, seed: SeedData, chosen: Sequence[int], recipe: Recipe) -> dict[str, float]:
        """Calibrate on the faces at the indices ``chosen``, and compare INT8 with FP32."""
        with tempfile.TemporaryDirectory() as scratch:
            work = Path(scratch)
            for place, index in enumerate(chosen):
                cv2.imwrite(str(work / f"{place}.png"), seed.faces[index].crop)
            dataset = work / "dataset.txt"
            dataset.write_text("".join(f"{place}.png\n" for place in range(len(chosen))))
            runner = RecipeRunner({"recognizer": self.model}, self.sources, work, work, analyze=False)
            quantized = runner.run(find_target("rk3588"), "recognizer", recipe, dataset, seed.crops)
        parity = compare_embeddings(seed.reference, quantized.outputs[0])
        return {"mean": parity.mean, "p1": parity.p1, "min": parity.minimum}


def open_recognizer(name: str, path: Path, detector: Path, scratch: Path) -> Recognizer:
    return Recognizer(name, own_sources(detector, path, "not stated"), prepare_model(path, "recognizer", scratch))


def choose_as_rkface(faces: Candidates, embeddings: np.ndarray, count: int, _: np.random.Generator) -> Sequence[int]:
    places = {id(face): index for index, face in enumerate(faces)}
    return [places[id(face)] for face in choose_faces(faces, count, embeddings).faces]


def choose_randomly(
    faces: Candidates, embeddings: np.ndarray, count: int, random: np.random.Generator
) -> Sequence[int]:
    return list(random.permutation(len(faces))[:count])


def choose_k_center(faces: Candidates, embeddings: np.ndarray, count: int, _: np.random.Generator) -> Sequence[int]:
    """Start with the most central face; then always take the face that is furthest from those taken."""
    points = appearance_space([face.appearance for face in faces], embeddings)
    chosen = [int(np.argmin(np.linalg.norm(points - np.median(points, axis=0), axis=1)))]
    while len(chosen) < count:
        chosen.append(int(np.argmax(np.linalg.norm(points[:, None] - points[chosen], axis=2).min(axis=1))))
    return chosen


def choose_lowest(measure_of: Callable[[CandidateFace], float]) -> ChooseIndices:
    def choose(faces: Candidates, embeddings: np.ndarray, count: int, _: np.random.Generator) -> Sequence[int]:
        return sorted(range(len(faces)), key=lambda index: measure_of(faces[index]))[:count]

    return choose


CHOICES: dict[str, ChooseIndices] = {"chosen": choose_as_rkface, "random": choose_randomly}
DARKEST = {"the darkest": choose_lowest(lambda face: face.appearance.light)}
BAD_CHOICES: dict[str, ChooseIndices] = {
    **DARKEST,
    "all turned to one side": choose_lowest(lambda face: face.appearance.yaw),
    "the worst by quality": choose_lowest(lambda face: face.quality.score),
}


def main() -> int:
    parser = create_parser(__doc__, "build/bench/calibration")
    add_model_options(parser)
    parser.add_argument("--seeds", type=int, default=3, help="number of seeds, 2 or more (default: %(default)s)")
    options = parser.parse_args()
    own = has_own_models(parser, options)
    start, rows = time.monotonic(), []
    with tempfile.TemporaryDirectory() as scratch:
        if own:
            rows += measure_photos(options, Path(scratch))
        rows += measure_rendered(options, Path(scratch))
    text = f"{to_markdown(rows)}\n{options.seeds} seeds, {time.monotonic() - start:.0f} s in total.\n"
    write_results(options.out, text, rows)
    return 0


def measure_photos(options: argparse.Namespace, scratch: Path) -> list[dict[str, object]]:
    recognizer = open_recognizer(options.recognizer.stem, options.recognizer, options.detector, scratch)
    crop, detector = recognizer.model.fixed.known_crop(), Detector(*open_detector(options.detector))
    faces = list(collect_faces(options.photos, detector, crop).candidates)
    embeddings = recognizer.embed(faces)
    seeds = []
    for seed in range(options.seeds):
        # hold_out orders people by the hashes of their photos, so other hashes select other people.
        salted = [replace(face, sha256=hashlib.sha256(f"{seed} {face.sha256}".encode()).hexdigest()) for face in faces]
        calibration, evaluation = hold_out(salted, embeddings, 1 / 3)
        candidates = [faces[index] for index in calibration]
        seeds.append(
            recognizer.prepare_seed(candidates, embeddings[calibration], [faces[index] for index in evaluation])
        )
    rows = compare_choices(recognizer, seeds, (10, 20, 40), (TUNED, NORMAL), CHOICES)
    return rows + compare_choices(recognizer, seeds, (10,), (TUNED,), {"k-center": choose_k_center, **DARKEST})


def measure_rendered(options: argparse.Namespace, scratch: Path) -> list[dict[str, object]]:
    recognizer = open_recognizer("demo (synthetic)", DEMO / "recognizer.onnx", DEMO / "detector.onnx", scratch)
    mixed, crowded, single = [], [], []
    for seed in range(options.seeds):
        print(f"  rendering faces, seed {seed} …", file=sys.stderr, flush=True)
        people = CALIBRATE[PEOPLE * seed : PEOPLE * (seed + 1)]
        faces = [render_face(number, shot) for number in people for shot in range(SHOTS)]
        embeddings = recognizer.embed(faces)
        evaluation_people = EVALUATE[EVALUATION_PEOPLE * seed : EVALUATION_PEOPLE * (seed + 1)]
        evaluation = [render_face(number, 0) for number in evaluation_people]
        mixed.append(recognizer.prepare_seed(faces, embeddings, evaluation))
        frequent = [
            render_face(number, shot) for number in people[:FREQUENT_PEOPLE] for shot in range(SHOTS, FREQUENT_SHOTS)
        ]
        known = np.vstack([embeddings[::SHOTS], recognizer.embed(frequent)])
        crowded.append(recognizer.prepare_seed([*faces[::SHOTS], *frequent], known, evaluation))
        one = slice(FREQUENT_SHOTS - SHOTS)  # the photos of the first person
        single.append(recognizer.prepare_seed(frequent[one], known[-len(frequent) :][one], evaluation))
    draw_spread(mixed[0], options.out.with_suffix(".png"))
    rows = compare_choices(recognizer, mixed, (20, 50, 100, 200), (TUNED, NORMAL), CHOICES)
    rows += compare_choices(recognizer, mixed, (COUNT,), (TUNED,), {"k-center": choose_k_center, **BAD_CHOICES})
    rows += compare_choices(recognizer, single, (COUNT,), (TUNED,), {"all of one person": choose_randomly})
    suffix = f"where {FREQUENT_PEOPLE} people have {FREQUENT_SHOTS} photos each"
    from_crowded = {f"{name} {suffix}": choose for name, choose in CHOICES.items()}
    return rows + compare_choices(recognizer, crowded, (COUNT,), (TUNED,), from_crowded)


def draw_spread(seed: SeedData, path: Path) -> None:
    """The picture of docs/calibration.md."""
    choice = choose_faces(seed.faces, 100, seed.embeddings)
    lines = [f"left out: {number} x {reason}" for reason, number in count_reasons(choice.left_out)]
    path.parent.mkdir(parents=True, exist_ok=True)
    cv2.imwrite(str(path), histogram_sheet(choice.faces, seed.faces, lines))


def render_face(number: int, shot: int) -> CandidateFace:
    """A rendered face with its true landmarks."""
    scene = render_scene(number * 1000 + shot, [number], 320, 320, sizes=(160.0, 560.0))
    crop = align(scene.image, scene.landmarks[0])
    name = f"{number}-{shot}"
    return CandidateFace(
        Path(name),
        name,
        hashlib.sha256(name.encode()).hexdigest(),
        Faces(scene.boxes, np.ones(1, np.float32), scene.landmarks),
        crop,
        measure(crop, scene.landmarks[0], 1.0),
        measure_appearance(crop, scene.landmarks[0]),
    )


def compare_choices(
    recognizer: Recognizer,
    seeds: list[SeedData],
    counts: Sequence[int],
    recipes: Sequence[Recipe],
    choices: dict[str, ChooseIndices],
) -> list[dict[str, object]]:
    """A row with the figures of all ``seeds`` for each recipe, number of faces and choice."""
    rows = []
    for recipe in recipes:
        for count in counts:
            for name, choose in choices.items():
                print(f"  {recognizer.name}, {recipe.name}, {count} faces, {name} …", file=sys.stderr, flush=True)
                figures = []
                for number, seed in enumerate(seeds):
                    chosen = choose(seed.faces, seed.embeddings, count, np.random.default_rng(number))
                    figures.append(recognizer.measure(seed, chosen, recipe))
                row = {"model": recognizer.name, "recipe": recipe.name, "count": count, "choice": name}
                rows.append(row | {"seeds": figures})
    return rows


def to_markdown(rows: list[dict[str, object]]) -> str:
    """All figures, and then the differences between chosen and random faces."""
    table = []
    for row in rows:
        figures = {name: np.array([seed[name] for seed in row["seeds"]]) for name in FIGURES}
        cells = [f"{values.mean():.4f} ± {values.std(ddof=1):.4f}" for values in figures.values()]
        case = [row[name] for name in ("model", "recipe", "count", "choice")]
        table.append([*case, *cells, f"{figures['min'].min():.4f}"])
    lines = format_table(["recognizer", "recipe", "faces", "choice", *FIGURES, "worst min"], table)
    return "\n".join([*lines, "", *_tabulate_differences(rows)]) + "\n"


def _tabulate_differences(rows: list[dict[str, object]]) -> list[str]:
    """Chosen minus random, seed by seed, so that it does not matter how difficult a seed's evaluation faces are."""
    table = []
    by_choice = {(row["model"], row["recipe"], row["count"], row["choice"]): row["seeds"] for row in rows}
    for (*case, choice), seeds in by_choice.items():
        if choice == "chosen":
            pairs = list(zip(seeds, by_choice[(*case, "random")], strict=True))
            differences = [np.array([chosen[name] - random[name] for chosen, random in pairs]) for name in FIGURES]
            table.append([*case, *(f"{values.mean():+.4f} ± {values.std(ddof=1):.4f}" for values in differences)])
    return format_table(["recognizer", "recipe", "faces", *FIGURES], table)


if __name__ == "__main__":
    raise SystemExit(main())
