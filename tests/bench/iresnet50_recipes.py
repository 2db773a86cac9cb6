"""Whether an IResNet-50 with generated weights orders the recipes as a trained one does.

    make bench-iresnet
    make bench-iresnet OPTIONS='--photos photos/ --pairs pairs.csv --detector det.onnx'
    make bench-iresnet OPTIONS='--models w600k_r50.onnx'                              also your own recognizer

Each recipe quantizes each network for rk3588. INT8 in the toolkit's simulator is compared with FP32 in ONNX Runtime, on
faces of people that do not calibrate, and on the same faces changed as by distillation's augmentation. Without photos,
the faces are rendered. With photos, those that the pairs do not name calibrate, and the others are evaluated: the
trained network (`make trained-iresnet` with the same options) has seen neither those people nor their faces.

`make bench-recipes` is the more thorough comparison for a network that tells faces apart. It refuses generated weights,
as `rkface convert` does.
"""

from __future__ import annotations

import argparse
import sys
import tempfile
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray
from program import create_parser, format_table, write_results

from rkface.convert.acquire import own_sources
from rkface.convert.demo.identity import CALIBRATE, EVALUATE
from rkface.convert.demo.iresnet50.export import MODEL, default_folder
from rkface.convert.demo.iresnet50.photos import read_photo_faces
from rkface.convert.demo.models import export_iresnet50
from rkface.convert.demo.render import render_crop
from rkface.convert.evaluate.parity import compare_embeddings
from rkface.convert.image_lists import to_rgb, write_image_list
from rkface.convert.packs.pack import DEMO
from rkface.convert.prepared_model import prepare_model
from rkface.convert.recipe import RECIPES
from rkface.convert.run_recipe import RecipeRunner
from rkface.convert.targets import find_target
from rkface.convert.tuning.distill.augment import augment

W8A8 = ("normal", "tuned", "tuned-wide", "tuned-margin", "bias-clip", "bias-wide", "bias-margin")
COLUMNS = ("others mean", "others min", "changed mean", "changed min")
Images = NDArray[np.uint8]


@dataclass(frozen=True)
class Faces:
    """N×112×112×3 uint8 RGB faces that ``calibrate``, of other people, and those ``changed``."""

    calibrate: Images
    others: Images
    changed: Images


def main() -> int:
    parser = create_parser(__doc__, "build/bench/iresnet50-recipes")
    parser.add_argument("--models", nargs="*", type=Path, default=[], metavar="ONNX", help="also these recognizers")
    parser.add_argument("--no-generated", action="store_true", help="only trained networks")
    parser.add_argument("--recipes", nargs="+", choices=RECIPES, default=W8A8, metavar="NAME", help="default: all w8a8")
    parser.add_argument("--photos", type=Path, metavar="FOLDER", help="photos of faces (default: rendered faces)")
    parser.add_argument("--pairs", type=Path, metavar="CSV", help="labeled pairs of these photos")
    parser.add_argument("--detector", type=Path, metavar="ONNX", help="finds the faces in the photos")
    parser.add_argument("--calibrate", type=int, default=40, help="faces that calibrate (default: %(default)s)")
    parser.add_argument("--evaluate", type=int, default=25, help="faces to evaluate on (default: %(default)s)")
    options = parser.parse_args()
    if len({bool(one) for one in (options.photos, options.pairs, options.detector)}) > 1:
        parser.error("--photos, --pairs and --detector belong together")
    faces = read_faces(options)
    rows = []
    with tempfile.TemporaryDirectory() as scratch:
        for path in list_models(options, Path(scratch)):
            rows += measure_recipes(path, faces, options.recipes)
    write_results(options.out, to_markdown(rows, faces, "photos" if options.photos else "rendered faces"), rows)
    return 0


def read_faces(options: argparse.Namespace) -> Faces:
    if options.photos:
        found = read_photo_faces(options.photos, options.detector, options.pairs)
        assert found.labeled is not None
        calibrate, others = found.training, found.labeled.crops
    else:
        calibrate, others = (
            np.stack([render_crop(3, number) for number in people[:count]])
            for people, count in ((CALIBRATE, options.calibrate), (EVALUATE, options.evaluate))
        )
    random = np.random.default_rng(0)
    others = others[: options.evaluate]
    return Faces(to_rgb(calibrate[: options.calibrate]), to_rgb(others), to_rgb(augment(one, random) for one in others))


def list_models(options: argparse.Namespace, scratch: Path) -> list[Path]:
    trained = default_folder() / MODEL
    models = [*([trained] if trained.is_file() else []), *options.models]
    if not options.no_generated:
        export_iresnet50(scratch / "iresnet50-generated.onnx", seed=0)
        models.append(scratch / "iresnet50-generated.onnx")
    return models


def measure_recipes(path: Path, faces: Faces, recipes: tuple[str, ...]) -> list[dict[str, Any]]:
    target, images = find_target("rk3588"), np.concatenate([faces.others, faces.changed])
    rows = []
    with tempfile.TemporaryDirectory() as name:
        work = Path(name)
        model = prepare_model(path, "recognizer", work)
        reference = np.concatenate([model.backend.infer(face[None])[0] for face in images])
        model.backend.close()
        dataset = write_image_list((np.ascontiguousarray(face[..., ::-1]) for face in faces.calibrate), work / "faces")
        sources = own_sources(DEMO / "detector.onnx", path, "not stated")
        run = RecipeRunner({"recognizer": model}, sources, work, work, analyze=False).for_target(target)
        for recipe in recipes:
            print(f"  {path.stem}: {recipe} …", file=sys.stderr, flush=True)
            found = run("recognizer", RECIPES[recipe], dataset, images).outputs[0]
            row: dict[str, Any] = {"model": path.stem, "recipe": recipe}
            for group, part in (("others", slice(len(faces.others))), ("changed", slice(len(faces.others), None))):
                parity = compare_embeddings(reference[part], found[part])
                row |= {f"{group} mean": parity.mean, f"{group} min": parity.minimum}
            rows.append(row)
            print("    " + ", ".join(f"{one} {row[one]:.4f}" for one in COLUMNS), file=sys.stderr, flush=True)
    return rows


def to_markdown(rows: list[dict[str, Any]], faces: Faces, kind: str) -> str:
    table = [[row["model"], row["recipe"], *(f"{row[one]:.4f}" for one in COLUMNS)] for row in rows]
    head = f"{len(faces.calibrate)} faces calibrate, {len(faces.others)} of other people are evaluated ({kind})."
    return "\n".join([head, "", *format_table(["recognizer", "recipe", *COLUMNS], table)])


if __name__ == "__main__":
    raise SystemExit(main())
