"""What the choice of calibration faces is worth: the tables and the picture of docs/calibration.md.

    make bench-calibration        (python tests/bench/calibration_choice.py --help)

Faces chosen by `rkface calibrate` beside random ones, and beside choices that are bad on purpose, in the toolkit's
simulator against FP32, on people that calibration never saw. Each seed draws other people to judge by, and other random
faces; both choices of a seed are judged by the same ones.

Without arguments the faces are rendered and the recognizer is the demo pack's: synthetic, both. With --detector,
--recognizer and --photos yours come first: two thirds of the people calibrate, the others judge.
"""

from __future__ import annotations

import argparse
import hashlib
import json
import sys
import tempfile
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

import cv2
import numpy as np

from rkface.calibration.appearance_stats import measure_appearance
from rkface.calibration.choose import choose_faces, hold_out
from rkface.calibration.collect import CandidateFace, collect_faces, embed_faces
from rkface.calibration.dataset import count_reasons
from rkface.calibration.facility_location import appearance_space
from rkface.calibration.histograms import histogram_sheet
from rkface.convert.demo.measure import RECOGNIZER_INPUT
from rkface.convert.demo.render import CALIBRATE, EVALUATE, render_scene
from rkface.convert.evaluate.parity import compare_embeddings
from rkface.convert.image_lists import to_rgb
from rkface.convert.recipe import NORMAL, TUNED, Recipe
from rkface.convert.simplify import fix_input, simplify
from rkface.convert.toolkit.quantize import QuantizeJob, quantize
from rkface.convert.tuning.tune import tune
from rkface.runtime.backends.reference import ReferenceBackend, open_reference
from rkface.runtime.core.bundle import Input
from rkface.runtime.core.faces import Faces
from rkface.runtime.vision.align import align
from rkface.runtime.vision.bare_onnx import open_detector
from rkface.runtime.vision.detect import Detector
from rkface.runtime.vision.embed import Embedder
from rkface.runtime.vision.quality import measure

DEMO = Path(__file__).resolve().parents[2] / "convert/demo/recognizer.onnx"
PEOPLE, SHOTS, JUDGES = 150, 2, 30  # of a seed, rendered
CROWDED, CROWD = 4, 50  # people with many photos each, among PEOPLE with one: what a camera at a door collects
MANY = 20

Candidates = list[CandidateFace]
Pick = Callable[[Candidates, np.ndarray, int, np.random.Generator], Sequence[int]]


@dataclass(frozen=True)
class Case:
    """One seed's faces with their embeddings, and the crops to judge by (RGB) with what FP32 says to them."""

    faces: Candidates
    embeddings: np.ndarray
    crops: np.ndarray
    reference: np.ndarray


@dataclass(frozen=True)
class Recognizer:
    name: str
    path: Path
    input: Input
    backend: ReferenceBackend

    def embed(self, faces: Candidates) -> np.ndarray:
        return embed_faces(
            faces, Embedder(self.backend, self.input, self.backend.infer(black(self.input))[0].shape[-1])
        )

    def case(self, faces: Candidates, embeddings: np.ndarray, judges: Candidates) -> Case:
        crops = to_rgb(face.crop for face in judges)
        return Case(faces, embeddings, crops, self.backend.infer(crops)[0])

    def quantized(self, case: Case, picked: Sequence[int], recipe: Recipe) -> dict[str, float]:
        with tempfile.TemporaryDirectory() as scratch:
            work = Path(scratch)
            for place, index in enumerate(picked):
                cv2.imwrite(str(work / f"{place}.png"), case.faces[index].crop)
            dataset = work / "dataset.txt"
            dataset.write_text("".join(f"{place}.png\n" for place in range(len(picked))))
            np.save(work / "images.npy", case.crops)
            tuned = tune(self.path, self.input, dataset, work / "tuned.onnx", clip=True) if recipe.tuned else None
            job = QuantizeJob(
                onnx=tuned.path if tuned else self.path,
                output=work / "model.rknn",
                target="rk3588",
                input=self.input,
                custom_string="{}",
                dataset=dataset,
                algorithm=recipe.algorithm,
                evaluate=work / "images.npy",
                shrinks=tuned.shrinks if tuned else {},
            )
            kept = compare_embeddings(case.reference, quantize(job, work / "toolkit.log").outputs[0])
        return {"mean": kept.mean, "p1": kept.p1, "min": kept.minimum}


def black(input: Input) -> np.ndarray:
    return np.zeros((1, input.height, input.width, 3), np.uint8)


def chosen(faces: Candidates, embeddings: np.ndarray, count: int, random: np.random.Generator) -> Sequence[int]:
    places = {id(face): index for index, face in enumerate(faces)}
    return [places[id(face)] for face in choose_faces(faces, count, embeddings).faces]


def at_random(faces: Candidates, embeddings: np.ndarray, count: int, random: np.random.Generator) -> Sequence[int]:
    return list(random.permutation(len(faces))[:count])


def k_center(faces: Candidates, embeddings: np.ndarray, count: int, random: np.random.Generator) -> Sequence[int]:
    points = appearance_space([face.appearance for face in faces], embeddings)
    picked = [int(np.argmin(np.linalg.norm(points - np.median(points, axis=0), axis=1)))]
    while len(picked) < count:
        picked.append(int(np.argmax(np.linalg.norm(points[:, None] - points[picked], axis=2).min(axis=1))))
    return picked


def extreme(measure_of: Callable[[CandidateFace], float]) -> Pick:
    def pick(faces: Candidates, embeddings: np.ndarray, count: int, random: np.random.Generator) -> Sequence[int]:
        return sorted(range(len(faces)), key=lambda index: measure_of(faces[index]))[:count]

    return pick


CHOICES: dict[str, Pick] = {"chosen": chosen, "random": at_random}
DARKEST = {"the darkest": extreme(lambda face: face.appearance.light)}
WORST: dict[str, Pick] = {
    **DARKEST,
    "all turned to one side": extreme(lambda face: face.appearance.yaw),
    "the worst by quality": extreme(lambda face: face.quality.score),
}


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--out", type=Path, default=Path("build/bench/calibration"), help="results, .md and .json")
    parser.add_argument("--detector", type=Path)
    parser.add_argument("--recognizer", type=Path)
    parser.add_argument("--photos", type=Path, help="of many people, with faces")
    parser.add_argument("--seeds", type=int, default=3)
    options = parser.parse_args()
    own = (options.detector, options.recognizer, options.photos)
    if any(own) != all(own):
        parser.error("give --detector, --recognizer and --photos, or none of them")
    start, rows = time.monotonic(), []
    with tempfile.TemporaryDirectory() as scratch:
        if all(own):
            rows += real(options, Path(scratch))
        rows += rendered(options)
    options.out.parent.mkdir(parents=True, exist_ok=True)
    options.out.with_suffix(".json").write_text(json.dumps(rows, indent=2) + "\n")
    text = markdown(rows) + f"\n{options.seeds} seeds, {time.monotonic() - start:.0f} s in all.\n"
    options.out.with_suffix(".md").write_text(text)
    print(text)
    return 0


def real(options: argparse.Namespace, work: Path) -> list[dict[str, object]]:
    model = simplify(fix_input(options.recognizer, "recognizer"), work / "recognizer.onnx")
    recognizer = Recognizer(options.recognizer.stem, model.path, model.input, open_reference(model.path, model.input))
    found = list(collect_faces(options.photos, Detector(*open_detector(options.detector))).candidates)
    embeddings = recognizer.embed(found)
    cases = []
    for seed in range(options.seeds):
        # hold_out goes by the photos' hashes: others draw other people.
        salted = [replace(face, sha256=hashlib.sha256(f"{seed} {face.sha256}".encode()).hexdigest()) for face in found]
        calibrate, judge = hold_out(salted, embeddings, 1 / 3)
        cases.append(recognizer.case([found[i] for i in calibrate], embeddings[calibrate], [found[i] for i in judge]))
    rows = compare(recognizer, cases, (10, 20, 40), (TUNED, NORMAL), CHOICES)
    return rows + compare(recognizer, cases, (10,), (TUNED,), {"k-center": k_center, **DARKEST})


def rendered(options: argparse.Namespace) -> list[dict[str, object]]:
    recognizer = Recognizer("demo (synthetic)", DEMO, RECOGNIZER_INPUT, open_reference(DEMO, RECOGNIZER_INPUT))
    cases, crowded, single = [], [], []
    for seed in range(options.seeds):
        print(f"  rendering faces, seed {seed} …", file=sys.stderr, flush=True)
        people = CALIBRATE[PEOPLE * seed : PEOPLE * (seed + 1)]
        faces = [render(number, shot) for number in people for shot in range(SHOTS)]
        embeddings = recognizer.embed(faces)
        judges = [render(number, 0) for number in EVALUATE[JUDGES * seed : JUDGES * (seed + 1)]]
        cases.append(recognizer.case(faces, embeddings, judges))
        again = [render(number, shot) for number in people[:CROWDED] for shot in range(SHOTS, CROWD)]
        everyone, known = [*faces[::SHOTS], *again], np.vstack([embeddings[::SHOTS], recognizer.embed(again)])
        crowded.append(recognizer.case(everyone, known, judges))
        single.append(recognizer.case(again[: CROWD - SHOTS], known[-len(again) :][: CROWD - SHOTS], judges))
    draw(cases[0], options.out.with_suffix(".png"))
    rows = compare(recognizer, cases, (20, 50, 100, 200), (TUNED, NORMAL), CHOICES)
    rows += compare(recognizer, cases, (MANY,), (TUNED,), {"k-center": k_center, **WORST})
    rows += compare(recognizer, single, (MANY,), (TUNED,), {"all of one person": at_random})
    from_crowd = {f"{name} where {CROWDED} people have {CROWD} photos each": pick for name, pick in CHOICES.items()}
    return rows + compare(recognizer, crowded, (MANY,), (TUNED,), from_crowd)


def draw(case: Case, path: Path) -> None:
    """The picture of docs/calibration.md."""
    choice = choose_faces(case.faces, 100, case.embeddings)
    lines = [f"left out: {number} x {reason}" for reason, number in count_reasons(choice.left_out)]
    path.parent.mkdir(parents=True, exist_ok=True)
    cv2.imwrite(str(path), histogram_sheet(choice.faces, case.faces, lines))


def render(number: int, shot: int) -> CandidateFace:
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


def compare(
    recognizer: Recognizer,
    cases: list[Case],
    counts: Sequence[int],
    recipes: Sequence[Recipe],
    choices: dict[str, Pick],
) -> list[dict[str, object]]:
    rows = []
    for recipe in recipes:
        for count in counts:
            for name, pick in choices.items():
                print(f"  {recognizer.name}, {recipe.name}, {count} faces, {name} …", file=sys.stderr, flush=True)
                found = [
                    recognizer.quantized(
                        case, pick(case.faces, case.embeddings, count, np.random.default_rng(seed)), recipe
                    )
                    for seed, case in enumerate(cases)
                ]
                rows.append(
                    {"model": recognizer.name, "recipe": recipe.name, "count": count, "choice": name, "seeds": found}
                )
    return rows


def markdown(rows: list[dict[str, object]]) -> str:
    lines = ["| recognizer | recipe | faces | choice | mean | p1 | min | worst min |", "|---" * 8 + "|"]
    for row in rows:
        figures = {name: np.array([one[name] for one in row["seeds"]]) for name in ("mean", "p1", "min")}
        cells = [f"{values.mean():.4f} ± {values.std(ddof=1):.4f}" for values in figures.values()]
        start = " | ".join(str(row[name]) for name in ("model", "recipe", "count", "choice"))
        lines.append(f"| {start} | {' | '.join(cells)} | {figures['min'].min():.4f} |")
    return "\n".join(lines) + "\n\n" + differences(rows)


def differences(rows: list[dict[str, object]]) -> str:
    """Chosen minus random, seed by seed: how hard the people to judge by are falls out."""
    lines = ["| recognizer | recipe | faces | mean | p1 | min |", "|---" * 6 + "|"]
    by_choice = {(row["model"], row["recipe"], row["count"], row["choice"]): row["seeds"] for row in rows}
    for (*case, choice), seeds in by_choice.items():
        if choice == "chosen":
            others = by_choice[(*case, "random")]
            cells = []
            for name in ("mean", "p1", "min"):
                apart = np.array([ours[name] - theirs[name] for ours, theirs in zip(seeds, others, strict=True)])
                cells.append(f"{apart.mean():+.4f} ± {apart.std(ddof=1):.4f}")
            lines.append(f"| {' | '.join(map(str, case))} | {' | '.join(cells)} |")
    return "\n".join(lines) + "\n"


if __name__ == "__main__":
    raise SystemExit(main())
