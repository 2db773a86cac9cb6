"""``rkface evaluate``. Imports nothing heavy before it runs."""

from __future__ import annotations

import json
import os
import shlex
import sys
from argparse import ArgumentParser, ArgumentTypeError, Namespace
from dataclasses import asdict, replace
from datetime import datetime, timezone
from pathlib import Path
from typing import TYPE_CHECKING, Any

from rkface.runtime.cli.options import BUNDLE
from rkface.runtime.core.errors import InputError

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray

    from rkface.calibration.dataset import CalibrationSet
    from rkface.runtime.core.bundle import Bundle

    from .evaluation import Evaluation
    from .labeled import Labeled


def rate(text: str) -> float:
    try:
        value = float(text)
    except ValueError:
        value = 0.0
    if not 1e-6 <= value <= 0.5:
        raise ArgumentTypeError(f"{text!r} is not a rate from 1e-6 to 0.5, such as 1e-3")
    return value


def evaluate(parser: ArgumentParser) -> None:
    """Measure on labeled photos how well a bundle tells people apart, and find the threshold for it.

    FP32 runs in ONNX Runtime, INT8 in rknn-toolkit2's simulator: the recognizer is built again from the bundle with the
    calibration set that `rkface convert` left in its work folder, and trusted where it answers the bundle's golden
    inputs as recorded. Both are given the same crops, aligned at the landmarks that the FP32 detector finds for the
    largest face of each photo.

    One of three inputs says who is who:
      --people DIR   a sub-folder for each person, with two photos and more; all pairs of photos count
      --pairs CSV    photo,photo,Yes|No with a header line, photos below --photos
      --bin FILE     InsightFace's lfw.bin, cfp_fp.bin, agedb_30.bin …: crops as they are, 10 folds in the file's order,
                     the embeddings of each crop and its mirror image summed: its protocol, for figures to compare.
                     The file is a pickle; it is read without running anything in it

    A threshold needs pairs: for a FAR of 1e-3 at least 1,000 of different people (150 photos of 50 people make 11,000),
    and 30,000 to know that FAR to a third. Where there are fewer, it says so.

    --groups says who belongs to which group (ages, origins, glasses, sites …): a threshold that is right for all
    together can be wrong for one of them.

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
        help="what `rkface convert` wrote (default: %(default)s)",
    )
    data = parser.add_mutually_exclusive_group(required=True)
    data.add_argument("--people", type=Path, metavar="DIR", help="a folder with a sub-folder of photos for each person")
    data.add_argument("--pairs", type=Path, metavar="CSV", help="photo,photo,Yes|No: which photos show one person")
    data.add_argument("--bin", type=Path, metavar="FILE", help="an InsightFace verification file")
    parser.add_argument(
        "--photos", type=Path, metavar="DIR", help="where the photos of --pairs are (default: beside the CSV)"
    )
    parser.add_argument(
        "--groups",
        type=Path,
        metavar="CSV",
        help="name,group with a header line, the name that of a "
        "person's folder, or of a photo of --pairs: figures by group too",
    )
    parser.add_argument(
        "--far",
        type=rate,
        default=1e-3,
        metavar="F",
        help="share of different people that may pass as one (default: %(default)g)",
    )
    parser.add_argument(
        "--calibration",
        type=Path,
        metavar="SET",
        help="the calibration set of the bundle (default: the one that fits in a .work folder beside it)",
    )
    parser.add_argument("--fp32", action="store_true", help="FP32 alone: needs neither toolkit nor calibration set")
    parser.add_argument(
        "--provider", default="cpu", metavar="P", help="of ONNX Runtime: cpu, openvino, cuda (default: %(default)s)"
    )
    parser.add_argument("--json", action="store_true", help="for programs instead of for people")
    parser.add_argument("--out", type=Path, metavar="OUT", help="a report with plots: an .html file, or a folder")
    parser.add_argument(
        "--write-threshold",
        action="store_true",
        help="put the threshold into the bundle, with its evidence: INT8's, where it was evaluated",
    )
    parser.add_argument("--accept", action="store_true", help="write the threshold even where there are too few pairs")
    parser.set_defaults(run=_evaluate)


def _evaluate(options: Namespace) -> int:
    from rkface.runtime.core.bundle import SUMS, read_bundle, sha256

    from .evaluation import Asked
    from .evaluation import evaluate as work_out
    from .evaluation_report import to_html, to_text, verdict
    from .groups import grouped, read_groups

    out = _out(options.out, options.bundle)
    if options.photos is not None and options.pairs is None:
        raise InputError("--photos goes with --pairs")
    if options.groups is not None and options.bin is not None:
        raise InputError("--groups goes with --people or --pairs")
    named = None if options.groups is None else read_groups(options.groups)
    bundle = read_bundle(options.bundle)
    manifest = bundle.manifest
    calibration, notes = _calibration(options, bundle)
    labeled = _labeled(options, bundle)
    groups = None if named is None else grouped(labeled, named)
    cosines, more = _cosines(options, bundle, labeled, calibration)
    asked = Asked(
        f"{manifest.name} for {manifest.target}",
        sha256(bundle.folder / SUMS),
        manifest.synthetic,
        options.far,
        manifest.thresholds.match,
    )
    found = work_out(asked, labeled, cosines, (*notes, *more), groups)
    found = replace(found, command=shlex.join(["rkface", *sys.argv[1:]]))
    print(json.dumps(found.to_dict(), indent=1) if options.json else f"\n{to_text(found)}\n\n{verdict(found)}")
    if out is not None:
        out.write_text(to_html(found), encoding="utf-8")
    if options.write_threshold:
        _write(options, bundle, found)
    if not options.json:
        if manifest.synthetic:
            print("synthetic: the demo models know rendered faces only, and these figures say nothing about people")
        if out is not None:
            print(f"report: {out}")
    return 0


def _out(path: Path | None, bundle: Path) -> Path | None:
    """Where the report goes. InputError, before any work, for a place that cannot be meant."""
    if path is None:
        return None
    if path.resolve().is_relative_to(bundle.resolve()):
        raise InputError(f"--out {path} lies inside the bundle, which holds what its SHA256SUMS lists: put it beside")
    file = path / "evaluation.html" if path.is_dir() else path
    if file.suffix.lower() not in (".html", ".htm") or not file.parent.is_dir():
        raise InputError(f"--out {path}: give an existing folder, or a file in one whose name ends in .html")
    if not os.access(file if file.exists() else file.parent, os.W_OK):
        raise InputError(f"--out {path}: you may not write there")
    return file


def _calibration(options: Namespace, bundle: Bundle) -> tuple[CalibrationSet | None, list[str]]:
    """The bundle's set, and what to say where INT8 cannot be evaluated; ``options.fp32`` is set then."""
    from .quantize import require_toolkit
    from .rebuild import find_set

    if options.fp32:
        return None, []
    if bundle.manifest.recognizer.precision == "fp16":
        require_toolkit()
        return None, []
    found = find_set(bundle, options.calibration)
    if found is None:
        options.fp32 = True
        return None, [
            f"INT8 was not evaluated: the calibration set of {bundle.folder} is gone, without which its recognizer "
            "cannot be built again. Give it with --calibration, or convert again. These figures are FP32's"
        ]
    require_toolkit()
    return found, []


def _labeled(options: Namespace, bundle: Bundle) -> Labeled:
    from rkface.runtime.backends.reference import open_reference
    from rkface.runtime.vision.detect import Detector

    from .labeled import Finder, from_bin, from_pairs, from_people

    manifest = bundle.manifest
    size = manifest.recognizer.input.height
    if options.bin is not None:
        return from_bin(options.bin, size)
    model = manifest.detector
    backend = open_reference(bundle.reference("detector"), model.input, (options.provider,))
    try:
        detector = Detector(backend, model.input, model.outputs, manifest.thresholds.nms)
        finder = Finder(detector, manifest.thresholds.detection, size)
        if options.people is not None:
            return from_people(options.people, finder)
        return from_pairs(options.pairs, options.photos or options.pairs.parent, finder)
    finally:
        backend.close()


def _cosines(
    options: Namespace, bundle: Bundle, labeled: Labeled, calibration: CalibrationSet | None
) -> tuple[dict[str, NDArray[np.float32]], list[str]]:
    """Of every pair, FP32's and, unless it cannot be, the quantized recognizer's; and what to note."""
    from rkface.runtime.core.progress import stage

    from .evaluation import cosines_of, faces_of, questions
    from .rebuild import embed_all, embed_rebuilt, open_recognizer, read_golden

    golden = None if options.fp32 else read_golden(bundle).inputs
    asked = questions(labeled, golden)
    model = open_recognizer(bundle, options.provider)
    with stage("FP32 embeddings") as shown:
        raw = embed_all(model, asked[0 if golden is None else len(golden) :], shown.advance)
    model.backend.close()  # the toolkit needs the memory
    cosines = {"FP32": cosines_of(faces_of(raw, labeled), labeled)}
    if golden is None:
        return cosines, []
    name = bundle.manifest.recognizer.precision.upper().replace("+", " + ")
    work = bundle.folder.resolve().with_name(f"{bundle.folder.resolve().name}.work") / "evaluation"
    raw = embed_rebuilt(bundle, model, calibration, asked, work)
    cosines[name] = cosines_of(faces_of(raw, labeled), labeled)
    seen = len(labeled.digests & calibration.sources) if calibration else 0
    note = f"{seen} of the photos also calibrated {name}, which flatters it a little: evaluate on others"
    return cosines, [note] if seen else []


def _write(options: Namespace, bundle: Bundle, found: Evaluation) -> None:
    """Put the threshold into the manifest, unless there is too little to trust it."""
    from .bundle import set_match

    if found.few and not options.accept:
        raise InputError(
            f"the threshold was not written: {'; '.join(found.few)}. Add photos, ask for another --far, or insist with "
            "--accept"
        )
    best = found.decisive
    evidence: dict[str, Any] = {
        "by": "rkface evaluate",
        "date": datetime.now(timezone.utc).strftime("%Y-%m-%dT%H:%M:%SZ"),
        "model": best.model,
        "far": found.far,
        "interval": [best.chosen.threshold.low, best.chosen.threshold.high],
        "accepted": {"different": asdict(best.chosen.far), "same": asdict(best.chosen.tar)},
        "data": {
            "kind": found.kind,
            "people": found.people,
            "photos": found.photos,
            "faces": found.faces,
            "same": found.same,
            "different": found.different,
        },
        "before": bundle.manifest.thresholds.match,
    }
    if found.few:
        evidence["accepted_although"] = list(found.few)
    threshold = round(best.chosen.threshold.value, 4)
    set_match(bundle, threshold, evidence)
    before = bundle.manifest.thresholds.match
    print(
        f"written: {bundle.folder} now has the match threshold {threshold:.4f} (before: {before:.4f})",
        file=sys.stderr if options.json else sys.stdout,
    )
