"""Accuracy of each recipe on the same models and faces: the tables of docs/accuracy.md.

    make bench-recipes
    make bench-recipes OPTIONS='--detector det.onnx --recognizer rec.onnx --photos photos/'
    make bench-recipes OPTIONS='--recipes tuned normal'
    make bench-recipes OPTIONS='… --photos photos/ --evaluation others/ --roles detector'
    make bench-recipes OPTIONS='--roles recognizer --recipes tuned distilled'

Every recipe quantizes both models. Without options, these are the models of the demo pack (synthetic), calibrated and
evaluated on rendered photos. With --detector, --recognizer and --photos, they are yours: some of the people in the
photos are used for calibration, the others for evaluation, unless --evaluation names other photos. INT8 in the
toolkit's simulator is compared with FP32 in ONNX Runtime.

Columns: a recognizer's faces, mean and minimum cosine are those of three groups: held-out faces of the kind that
calibrates ("in-domain"), faces of other people with an appearance that calibration does not have ("unlike"), and
changed faces ("augmented"). "rank" orders recipes of the same cost for --recipe auto. "lost" counts the faces of photos
that a detector loses at scores of 0.3, 0.5 and 0.7 in total. "small" counts faces in mosaics of the photos at a score
of 0.6. "bound" is the predicted time on one NPU core in milliseconds (docs/cost-model.md). "seconds" is the wall time
of tuning and of the toolkit's process, without the
simulation.
"""

from __future__ import annotations

import argparse
import os
import tempfile
import time
from pathlib import Path
from typing import get_args

from program import add_model_options, create_parser, format_table, has_own_models, write_results

from rkface.convert.acquire import own_sources, pack_sources
from rkface.convert.compare_models import (
    ConversionContext,
    decode_faces,
    measure_detector_errors,
)
from rkface.convert.conversion import prepare_conversion
from rkface.convert.datasets import render_demo_photos
from rkface.convert.evaluate.grades import WELL_THRESHOLDS, grade_embeddings
from rkface.convert.evaluate.parity import FaceGroup, compare_faces, compare_groups
from rkface.convert.face_finder import PhotoOptions
from rkface.convert.packs.known_packs import find_pack
from rkface.convert.recipe import FP16, RECIPES, AccuracyBar
from rkface.convert.recipe_cost import predict_cost
from rkface.convert.run_recipe import RecipeRunner
from rkface.convert.settings import ConversionSettings
from rkface.convert.targets import find_target
from rkface.convert.toolkit.quantize import QuantizedModel
from rkface.runtime.core.manifest import ROLES

KNOWN = {**RECIPES, FP16.name: FP16}


def main() -> int:
    parser = create_parser(__doc__, "build/bench/recipes")
    add_model_options(parser)
    parser.add_argument("--target", default="rk3588", help="chip (default: %(default)s)")
    parser.add_argument(
        "--recipes", nargs="+", choices=KNOWN, metavar="NAME", help="only these (default: all but fp16)"
    )
    parser.add_argument("--evaluation", type=Path, metavar="FOLDER", help="evaluate on these photos, with --photos")
    parser.add_argument(
        "--roles", nargs="+", choices=ROLES, default=ROLES, metavar="ROLE", help="only these models (default: both)"
    )
    parser.add_argument(
        "--slow", action="store_true", help="also run mmse on the detector, which did not end while we waited"
    )
    options = parser.parse_args()
    own = has_own_models(parser, options)
    with tempfile.TemporaryDirectory() as scratch:
        rows = measure_recipes(options, own, Path(scratch))
    write_results(options.out, to_markdown(rows), rows)
    return 0


def measure_recipes(options: argparse.Namespace, own: bool, work: Path) -> list[dict[str, object]]:
    if own:
        sources = own_sources(options.detector, options.recognizer, "not stated")
        photos = PhotoOptions(options.photos, options.evaluation)
    else:
        sources, photos = pack_sources(find_pack("demo"), work, accepted=False), render_demo_photos(work / "photos")
    target = find_target(options.target)
    context = prepare_conversion(sources, photos, ConversionSettings((), work), work)
    models, datasets = context.models, context.datasets
    runner = RecipeRunner(models, sources, work, work, analyze=False)
    rows = []
    for role in options.roles:
        for recipe in (KNOWN[name] for name in options.recipes or RECIPES):
            if role == "detector" and (recipe.distilled or (recipe.slow and not options.slow)):
                continue
            if role == "recognizer" and recipe.coarse > 1:
                continue
            start = time.monotonic()
            dataset = datasets.image_list(role) if recipe.quantized else None
            done = runner.run(target, role, recipe, dataset, datasets.evaluation.images(role))
            seconds = time.monotonic() - start - done.seconds["simulate"]
            bound = predict_cost(models[role].graph, target, recipe).milliseconds
            row = {"model": sources.paths[role].stem, "recipe": recipe.name, "seconds": seconds, "bound": bound}
            accuracy = measure_detector if role == "detector" else measure_recognizer
            rows.append(row | accuracy(context, done))
    return rows


def measure_detector(context: ConversionContext, quantized: QuantizedModel) -> dict[str, float]:
    faces = decode_faces(context.detector, quantized.outputs, context.datasets.evaluation)
    parity = compare_faces(context.reference.faces, faces)
    # At a score of 0.6, a detector that cuts off high scores loses the faces of the mosaics.
    evidence = measure_detector_errors(context, quantized)
    mosaics = next(one for one in evidence.mosaics.thresholds if one.threshold == 0.6)
    return {
        "faces": parity.faces,
        "missed": parity.missed,
        "extra": parity.extra,
        "lost": sum(one.lost for one in evidence.photos.thresholds if one.threshold in WELL_THRESHOLDS),
        "iou": parity.mean_iou,
        "iou_min": parity.minimum_iou,
        "landmarks": parity.landmark_error,
        "landmarks_max": parity.landmark_error_max,
        "small": mosaics.faces,
        "small_missed": mosaics.missed,
    }


def measure_recognizer(context: ConversionContext, quantized: QuantizedModel) -> dict[str, float]:
    groups = compare_groups(context.datasets.evaluation.crop_groups, context.reference.embeddings, quantized.outputs[0])
    figures = {
        f"{group} {name}".strip(): value
        for group, found in groups.items()
        for name, value in (("", found.faces), ("mean", found.mean), ("min", found.minimum))
    }
    return figures | {"rank": grade_embeddings(groups, AccuracyBar()).rank[0]}


def to_markdown(rows: list[dict[str, object]]) -> str:
    lines = [f"{os.cpu_count()} cores.", ""]
    for role, columns in (
        ("recognizer", {f"{group}{part}": form for group in get_args(FaceGroup)
                        for part, form in (("", "d"), (" mean", ".4f"), (" min", ".4f"))}
                       | {"rank": ".4f", "bound": ".2f"}),
        ("detector", {"faces": "d", "missed": "d", "extra": "d", "lost": "d", "iou": ".3f", "iou_min": ".3f",
                      "landmarks": ".2%", "landmarks_max": ".1%", "small": "d", "small_missed": "d", "bound": ".2f"}),
    ):  # fmt: skip
        table = [
            [row["model"], row["recipe"], *(format(row[name], form) for name, form in columns.items()),
             f"{row['seconds']:.0f}"]
            for row in rows
            if set(columns) <= set(row)
        ]  # fmt: skip
        lines += [*format_table([role, "recipe", *columns, "seconds"], table), ""]
    return "\n".join(lines)


if __name__ == "__main__":
    raise SystemExit(main())
