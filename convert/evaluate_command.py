"""``rkface evaluate``. Imports nothing heavy before it runs."""

from __future__ import annotations

import json
import os
import shlex
import sys
from argparse import ArgumentParser, Namespace
from contextlib import ExitStack
from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING

from rkface.runtime.cli.options import BUNDLE
from rkface.runtime.core.arguments import number_in
from rkface.runtime.core.atomic import write_atomically
from rkface.runtime.core.errors import InputError
from rkface.runtime.core.text import in_lines

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray

    from rkface.calibration.dataset import CalibrationSet
    from rkface.runtime.core.bundle import Bundle

    from .evaluate.labeled_faces import LabeledFaces


def evaluate(parser: ArgumentParser) -> None:
    """Measure on labeled photos how well a bundle tells people apart, and find its match threshold.

    FP32 runs in ONNX Runtime, INT8 in rknn-toolkit2's simulator. The INT8 recognizer is built again, with the
    calibration set that `rkface convert` left in its work folder; it is used only if its outputs for the bundle's
    golden inputs are those in the bundle. Both models get the same crops: one face of each photo, aligned at the
    landmarks that the FP32 detector finds. Photos on their side are turned, and close-ups are found. Of several faces,
    the largest is taken. If another is half as wide or more, the photo is left out and counted.

    Give the labels in one of three ways:
      --people DIR   a subfolder for each person, with two or more photos; all pairs of photos count
      --pairs CSV    a header line, then lines of photo,photo,Yes|No; the photos are in the folder --photos
      --bin FILE     InsightFace's lfw.bin, cfp_fp.bin, agedb_30.bin and so on, by InsightFace's protocol, so that you
                     can compare with published figures: the file's crops, 10 folds in the file's order, and the sum of
                     the embeddings of each crop and its mirror image. The file is a pickle; nothing in it is executed

    A threshold needs many pairs: for a FAR of 1e-3 at least 1,000 pairs of different people (150 photos of 50 people
    make 11,000), and 30,000 pairs to determine that FAR to within a third. You are told if there are too few.

    --groups says who belongs to which group (age, origin, glasses, site and so on): a threshold that is right for
    everybody together can be wrong for a group.

    examples:
      rkface evaluate --bundle build/rk3588 --people staff/ --out evaluation.html
      rkface evaluate --bundle build/rk3588 --pairs pairs.csv --photos photos/ --far 1e-2 --write-threshold
      rkface evaluate --bundle build/rk3588 --bin lfw.bin --json
    """
    parser.add_argument(
        "--bundle",
        type=Path,
        default=Path(BUNDLE),
        metavar="DIR",
        help="a bundle made by `rkface convert` (default: %(default)s)",
    )
    data = parser.add_mutually_exclusive_group(required=True)
    data.add_argument(
        "--people", type=Path, metavar="DIR", help="a folder that has a subfolder with photos for each person"
    )
    data.add_argument(
        "--pairs", type=Path, metavar="CSV", help="lines of photo,photo,Yes|No: which photos show the same person"
    )
    data.add_argument("--bin", type=Path, metavar="FILE", help="an InsightFace verification file")
    parser.add_argument(
        "--photos",
        type=Path,
        metavar="DIR",
        help="the folder with the photos of --pairs (default: the folder of the CSV file)",
    )
    parser.add_argument(
        "--groups",
        type=Path,
        metavar="CSV",
        help="a header line, then lines of name,group: also give figures by group. The name is that of a person's "
        "folder, or of a photo as in --pairs",
    )
    parser.add_argument(
        "--far",
        type=number_in(1e-6, 0.5),
        default=1e-3,
        metavar="F",
        help="requested FAR: the share of pairs of different people that may be accepted (default: %(default)g)",
    )
    parser.add_argument(
        "--calibration",
        type=Path,
        metavar="SET",
        help="the bundle's calibration set (default: the matching set in a .work folder next to the bundle)",
    )
    parser.add_argument(
        "--fp32", action="store_true", help="evaluate only FP32: this needs neither the toolkit nor the calibration set"
    )
    parser.add_argument(
        "--provider",
        default="cpu",
        metavar="P",
        help="execution provider of ONNX Runtime: cpu, openvino, cuda (default: %(default)s)",
    )
    parser.add_argument("--json", action="store_true", help="print the result as JSON")
    parser.add_argument(
        "--out",
        type=Path,
        metavar="OUT",
        help="write a report with plots and the worst pairs as pictures: an .html file, or a folder",
    )
    parser.add_argument(
        "--no-pictures",
        action="store_true",
        help="leave the faces and the names of photos out of --out and --json, so that the result can be shared",
    )
    parser.add_argument(
        "--write-threshold",
        action="store_true",
        help="write the threshold and its evidence into the bundle: INT8's threshold, if INT8 was evaluated",
    )
    parser.add_argument("--accept", action="store_true", help="write the threshold even if there are too few pairs")
    parser.set_defaults(run=_evaluate)


def _evaluate(options: Namespace) -> int:
    from rkface.runtime.core.bundle import SUMS, read_bundle, sha256

    from .evaluate.evaluation import EvaluationRequest, evaluate_pairs
    from .evaluate.groups import group_of_faces, read_groups
    from .report.evaluation_report import to_html, to_text, verdict
    from .write_threshold import write_threshold

    out = _report_file(options.out, options.bundle)
    if options.photos is not None and options.pairs is None:
        raise InputError("--photos is the folder of the photos in --pairs: also give --pairs, or leave it out")
    if options.groups is not None and options.bin is not None:
        raise InputError("--groups needs --people or --pairs: a verification file has no names")
    named = None if options.groups is None else read_groups(options.groups)
    bundle = read_bundle(options.bundle)
    manifest = bundle.manifest
    calibration, notes = _calibration(options, bundle)
    labeled = _labeled(options, bundle)
    groups = None if named is None else group_of_faces(labeled, named)
    cosines, more = _cosines(options, bundle, labeled, calibration)
    request = EvaluationRequest(
        f"{manifest.name} for {manifest.target}",
        sha256(bundle.folder / SUMS),
        manifest.synthetic,
        options.far,
        manifest.thresholds.match,
    )
    found = evaluate_pairs(request, labeled, cosines, (*notes, *more), groups)
    found = replace(found, command=shlex.join(["rkface", *sys.argv[1:]]))
    if options.no_pictures:
        found = replace(found, worst_pairs=())
    if options.json:
        print(json.dumps(found.to_dict(), indent=1))
    else:
        answer = verdict(found)
        print(in_lines(f"\n{to_text(found)}\n\n{answer.headline} {answer.text}"))
    if out is not None:
        write_atomically(out, to_html(found, labeled.crops).encode(), mode=0o666 if options.no_pictures else 0o600)
    if options.write_threshold:
        threshold = write_threshold(bundle, found, accept=options.accept)
        print(
            f"written: {bundle.folder} now has the match threshold {threshold:.4f} "
            f"(before: {manifest.thresholds.match:.4f})",
            file=sys.stderr if options.json else sys.stdout,
        )
    if not options.json:
        if manifest.synthetic:
            print("synthetic: the demo models know only rendered faces; these figures say nothing about people")
        if out is not None:
            print(f"report: {out}")
    return 0


def _report_file(path: Path | None, bundle: Path) -> Path | None:
    """The file to write the report to. Raises InputError, before any work, if it cannot be written there."""
    if path is None:
        return None
    if path.resolve().is_relative_to(bundle.resolve()):
        raise InputError(
            f"--out {path} is inside the bundle, which must contain only what its SHA256SUMS lists: choose another "
            "folder"
        )
    file = path / "evaluation.html" if path.is_dir() else path
    if file.suffix.lower() not in (".html", ".htm") or not file.parent.is_dir():
        raise InputError(f"--out {path}: give an existing folder, or an .html file in an existing folder")
    if not os.access(file if file.exists() else file.parent, os.W_OK):
        raise InputError(f"--out {path}: you have no permission to write there")
    return file


def _calibration(options: Namespace, bundle: Bundle) -> tuple[CalibrationSet | None, list[str]]:
    """The bundle's calibration set, and a note if INT8 cannot be evaluated; then ``options.fp32`` is set."""
    from .evaluate.rebuild import find_calibration_set
    from .toolkit.quantize import require_toolkit

    if options.fp32:
        return None, []
    if bundle.manifest.recognizer.precision == "fp16":
        require_toolkit()
        return None, []
    found = find_calibration_set(bundle, options.calibration)
    if found is None:
        options.fp32 = True
        return None, [
            f"INT8 was not evaluated: the calibration set of {bundle.folder} was not found, and its recognizer cannot "
            "be "
            "built again without it. Give the set with --calibration, or convert again. These figures are FP32's"
        ]
    require_toolkit()
    return found, []


def _labeled(options: Namespace, bundle: Bundle) -> LabeledFaces:
    from rkface.runtime.inference.open_bundle import open_model
    from rkface.runtime.vision.detector_shapes import Detectors

    from .evaluate.labeled_faces import from_bin, from_pairs, from_people
    from .evaluate.labeled_photos import LabeledFaceFinder

    manifest = bundle.manifest
    crop = manifest.recognizer.crop
    if options.bin is not None:
        return from_bin(options.bin, crop)
    opening = partial(open_model, bundle, backend="reference", providers=(options.provider,))
    with ExitStack() as opened:
        opened.callback((backend := opening("detector")).close)
        opened.callback((detector := Detectors(manifest, backend, opening)).close)
        # Photos for a synthetic bundle are rendered upright, and its detector is not sure about some of them.
        finder = LabeledFaceFinder(detector, manifest.thresholds.detection, crop, one_look=manifest.synthetic)
        if options.people is not None:
            return from_people(options.people, finder)
        return from_pairs(options.pairs, options.photos or options.pairs.parent, finder)


def _cosines(
    options: Namespace, bundle: Bundle, labeled: LabeledFaces, calibration: CalibrationSet | None
) -> tuple[dict[str, NDArray[np.float32]], list[str]]:
    """The cosine of every pair by model, FP32's first and then the quantized recognizer's if possible; and notes."""
    from rkface.runtime.core.progress import stage

    from .evaluate.face_pairs import face_embeddings, pair_cosines, recognizer_inputs
    from .evaluate.rebuild import embed_fp32, embed_rebuilt, open_fp32, read_recognizer_golden

    golden = None if options.fp32 else read_recognizer_golden(bundle).inputs
    images = recognizer_inputs(labeled, golden)
    model = open_fp32(bundle, "recognizer", options.provider)
    with stage("FP32 embeddings") as shown:
        raw = embed_fp32(model, images[0 if golden is None else len(golden) :], shown.advance)
    model.backend.close()  # the toolkit needs the memory
    cosines = {"FP32": pair_cosines(face_embeddings(raw, labeled), labeled)}
    if golden is None:
        return cosines, []
    name = bundle.manifest.recognizer.precision.upper().replace("+", " + ")
    work = bundle.folder.resolve().with_name(f"{bundle.folder.resolve().name}.work") / "evaluation"
    raw = embed_rebuilt(bundle, model, calibration, images, work)
    cosines[name] = pair_cosines(face_embeddings(raw, labeled), labeled)
    seen = len(labeled.digests & calibration.sources) if calibration else 0
    note = (
        f"{seen} of the photos are also in the calibration set, so {name} looks a little too good: evaluate on others"
    )
    return cosines, [note] if seen else []
