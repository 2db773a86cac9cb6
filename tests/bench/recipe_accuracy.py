"""What each way to quantize keeps of a model, side by side: the table of docs/accuracy.md.

    make bench-recipes        (python tests/bench/recipe_accuracy.py --help)

Without arguments the demo pack (synthetic) is quantized by every recipe, calibrated and judged on rendered photos. With
--detector, --recognizer and --photos, yours is: some people of the photos calibrate, the others judge. INT8 in the
toolkit's simulator, against FP32 in ONNX Runtime. Seconds are wall time of tuning and of the toolkit's process, all but
simulation. small: faces in mosaics of the photos at a score of 0.6. bound: predicted milliseconds on one NPU core
(docs/cost-model.md).
"""

from __future__ import annotations

import argparse
import json
import os
import tempfile
import time
from pathlib import Path

from rkface.convert.acquire import own_sources, pack_sources
from rkface.convert.catalog import find_pack
from rkface.convert.compare_models import (
    ConversionContext,
    decode_faces,
    measure_detector_errors,
    run_reference,
)
from rkface.convert.datasets import PhotoOptions, prepare_datasets, render_demo_photos
from rkface.convert.evaluate.parity import compare_embeddings, compare_faces
from rkface.convert.prepared_model import build_face_finder, prepare_model
from rkface.convert.recipe import RECIPES
from rkface.convert.recipe_cost import predict_cost
from rkface.convert.run_recipe import RecipeRunner
from rkface.convert.targets import find_target
from rkface.runtime.core.bundle import ROLES


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--out", type=Path, default=Path("build/bench/recipes"), help="results, .md and .json")
    parser.add_argument("--detector", type=Path)
    parser.add_argument("--recognizer", type=Path)
    parser.add_argument("--photos", type=Path, help="of many people, with faces")
    parser.add_argument("--target", default="rk3588")
    parser.add_argument(
        "--slow", action="store_true", help="mmse on the detector as well: it did not end while we waited"
    )
    options = parser.parse_args()
    own = (options.detector, options.recognizer, options.photos)
    if any(own) != all(own):
        parser.error("give --detector, --recognizer and --photos, or none of them")
    with tempfile.TemporaryDirectory() as scratch:
        rows = measure(options, Path(scratch))
    options.out.parent.mkdir(parents=True, exist_ok=True)
    options.out.with_suffix(".json").write_text(json.dumps(rows, indent=2) + "\n")
    text = markdown(rows)
    options.out.with_suffix(".md").write_text(text)
    print(text)
    return 0


def measure(options: argparse.Namespace, work: Path) -> list[dict[str, object]]:
    if options.detector:
        sources, photos = own_sources(options.detector, options.recognizer, "not stated"), PhotoOptions(options.photos)
    else:
        sources, photos = pack_sources(find_pack("demo"), work, accepted=False), render_demo_photos(work / "photos")
    target = find_target(options.target)
    models = {role: prepare_model(sources.paths[role], role, work) for role in ROLES}
    finder = build_face_finder(models, sources)
    datasets = prepare_datasets(photos, finder, work / "set")
    reference = run_reference(models, finder.detector, datasets.evaluation)
    context = ConversionContext(sources, models, finder.detector, datasets, reference)
    runner = RecipeRunner(models, sources, work, work, analyze=False)
    rows = []
    for role in ROLES:
        for recipe in RECIPES.values():
            if role == "detector" and recipe.name == "mmse" and not options.slow:
                continue
            start = time.monotonic()
            done = runner.run(target, role, recipe, datasets.image_list(role), datasets.evaluation.images(role))
            seconds = time.monotonic() - start - done.seconds["simulate"]
            bound = predict_cost(models[role].graph, target, recipe).milliseconds
            row = {"model": sources.paths[role].stem, "recipe": recipe.name, "seconds": seconds, "bound": bound}
            if role == "detector":
                found = compare_faces(reference.faces, decode_faces(finder.detector, done.outputs, datasets.evaluation))
                row |= {
                    "faces": found.faces,
                    "missed": found.missed,
                    "extra": found.extra,
                    "iou": found.mean_iou,
                    "iou_min": found.minimum_iou,
                    "landmarks": found.landmark_error,
                    "landmarks_max": found.landmark_error_max,
                }
                strict = mosaics(context, done)
                row |= {"small": strict.faces, "small_missed": strict.missed}
            else:
                kept = compare_embeddings(reference.embeddings, done.outputs[0])
                row |= {"faces": kept.faces, "mean": kept.mean, "p1": kept.p1, "min": kept.minimum}
            rows.append(row)
    return rows


def mosaics(context, done):
    """Faces of the mosaics at a score of 0.6, where a detector that cuts off high scores loses them."""
    evidence = measure_detector_errors(context, done)
    return next(one for one in evidence.mosaics.thresholds if one.threshold == 0.6)


def markdown(rows: list[dict[str, object]]) -> str:
    lines = [f"{os.cpu_count()} cores.", ""]
    for role, columns in (
        ("recognizer", {"faces": "d", "mean": ".4f", "p1": ".4f", "min": ".4f", "bound": ".2f"}),
        ("detector", {"faces": "d", "missed": "d", "extra": "d", "iou": ".3f", "iou_min": ".3f", "landmarks": ".2%",
                      "landmarks_max": ".1%", "small": "d", "small_missed": "d", "bound": ".2f"}),
    ):  # fmt: skip
        lines += [f"| {role} | recipe | {' | '.join(columns)} | seconds |", "|---" * (len(columns) + 3) + "|"]
        for row in rows:
            if set(columns) <= set(row):
                cells = [format(row[name], form) for name, form in columns.items()]
                lines.append(f"| {row['model']} | {row['recipe']} | {' | '.join(cells)} | {row['seconds']:.0f} |")
        lines.append("")
    return "\n".join(lines)


if __name__ == "__main__":
    raise SystemExit(main())
