"""``rkface convert``. Imports nothing heavy before it runs."""

from __future__ import annotations

import json
import math
import shlex
import sys
from argparse import ArgumentParser, ArgumentTypeError, Namespace
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

from rkface.calibration.commands import face_count, image_size
from rkface.runtime.cli.detect_embed_compare import unit_interval
from rkface.runtime.core.bundle import MANIFEST
from rkface.runtime.core.errors import InputError

from .recipe import PLANS, UNQUANTIZED, AccuracyBar, RecipePlan

if TYPE_CHECKING:
    from .acquire import ModelSources
    from .datasets import PhotoOptions
    from .report.conversion_report import ConversionReport
    from .settings import OutputBundle

CAMERA = (1920, 1080)


def convert(parser: ArgumentParser) -> None:
    """Convert a detector and a recognizer to an INT8 RKNN bundle, and compare it with FP32 in ONNX Runtime.

    Without options, the demo pack is converted: small models trained on rendered faces. This shows the whole process
    without a download. The InsightFace packs are downloaded once; you have to accept their license (non-commercial
    research). You can also give your own models: an SCRFD detector with landmarks, and any ArcFace-like recognizer with
    a 112x112 input and one embedding as its output.

    Real models are calibrated on your photos: --calibration takes a folder of photos of many people, with the light and
    the distance of your camera. The photos of some people are held back, and the result is evaluated on them. Or give
    other photos with --evaluation, and say which of them show the same person with --pairs.

    The bundle is written only if the quantized models are close enough to FP32 (--min-cosine). Read its report.html
    before you trust it.

    examples:
      rkface convert
      rkface convert --pack buffalo_l --accept-license --calibration photos/ --target rk3588
      rkface convert --detector det.onnx --recognizer arc.onnx --calibration photos/ --target rk3576 --size 640x384
      rkface convert --pack buffalo_m --accept-license --calibration photos/ --min-face 60 --camera 1920x1080
      rkface convert --pack demo --target rk3588,rk3566 --out bundles --json
    """
    _model_options(parser)
    _liveness_options(parser)
    _photo_options(parser)
    _conversion_options(parser)
    parser.add_argument("--json", action="store_true", help="print a summary of each bundle as JSON")
    parser.set_defaults(run=_convert)


def _model_options(parser: ArgumentParser) -> None:
    models = parser.add_argument_group("models")
    models.add_argument("--pack", metavar="NAME", help="demo, buffalo_l, buffalo_m or buffalo_sc (default: demo)")
    models.add_argument("--accept-license", action="store_true", help="you have read and accept the pack's license")
    models.add_argument("--detector", type=Path, metavar="D.onnx", help="an SCRFD model with landmarks")
    models.add_argument("--recognizer", type=Path, metavar="R.onnx", help="an ArcFace-like model")
    models.add_argument("--license", "--licence", metavar="TEXT", help="license of your own models, for the manifest")
    models.add_argument("--cache", type=Path, metavar="DIR", help="folder for downloads (default: ~/.cache/rkface)")


def _liveness_options(parser: ArgumentParser) -> None:
    live = parser.add_argument_group("liveness (a third model, which tells a live face from a picture of a face)")
    live.add_argument("--liveness", type=Path, metavar="L.onnx", help="a classifier such as Silent-Face's MiniFASNet")
    live.add_argument("--live-scale", type=positive_number, metavar="X", help="size of its crop, in face box sizes")
    live.add_argument("--live-class", type=int, metavar="N", help="index of the class of live faces, counted from 0")
    live.add_argument("--live-color", "--live-colour", choices=("RGB", "BGR"), help="order of its input channels")
    live.add_argument(
        "--live-mean", type=channel_values, metavar="A[,B,C]", help="mean of values 0..255, in its channel order"
    )
    live.add_argument("--live-std", type=channel_values, metavar="A[,B,C]", help="standard deviation, likewise")
    live.add_argument(
        "--live-threshold",
        type=unit_interval,
        metavar="T",
        help="minimum probability of a live face (default: 0.5)",
    )


def _photo_options(parser: ArgumentParser) -> None:
    photos = parser.add_argument_group("photos")
    photos.add_argument(
        "--calibration", type=Path, metavar="DIR", help="a folder of photos, or a set made by `rkface calibrate`"
    )
    photos.add_argument(
        "--evaluation",
        type=Path,
        metavar="DIR",
        help="other photos to evaluate on (default: some of the calibration photos, held back)",
    )
    photos.add_argument(
        "--pairs", type=Path, metavar="CSV", help="lines of photo,photo,Yes|No: which photos show the same person"
    )
    photos.add_argument(
        "--count", type=face_count, default=100, metavar="N", help="number of calibration faces (default: %(default)s)"
    )
    photos.add_argument(
        "--evaluate",
        type=face_count,
        default=100,
        metavar="N",
        help="maximum number of evaluation faces (default: %(default)s)",
    )


def _conversion_options(parser: ArgumentParser) -> None:
    how = parser.add_argument_group("conversion")
    how.add_argument(
        "--target",
        default="rk3588",
        metavar="SOC[,SOC]",
        help="the board's chip; several, separated by commas, give a bundle each (default: %(default)s)",
    )
    how.add_argument(
        "--size",
        type=image_size,
        metavar="WxH",
        help="detector input, multiples of 32, such as 640x384 for a 16:9 camera (default: the model's own)",
    )
    how.add_argument(
        "--min-face",
        type=pixel_count,
        metavar="PX",
        help="instead of --size: choose the smallest detector input in which a face of PX pixels of the camera's frame "
        "is found (docs/detector-size.md)",
    )
    how.add_argument(
        "--camera",
        type=image_size,
        metavar="WxH",
        help=f"with --min-face: the size of the camera's frame (default: {CAMERA[0]}x{CAMERA[1]})",
    )
    how.add_argument(
        "--no-quantize", action="store_true", help="FP16 instead of INT8: larger and slower, for comparison"
    )
    known = "; ".join(f"{one.name}: {one.about}" for one in PLANS.values())
    how.add_argument("--recipe", type=recipe_plan, metavar="NAME", help=f"how to quantize. {known} (default: auto)")
    how.add_argument(
        "--min-cosine",
        type=accuracy_bar,
        default=AccuracyBar(),
        metavar="MEAN[,MIN]",
        help="required cosine between the quantized recognizer and FP32 on the evaluation faces: the mean, and that of "
        f"the worst face (default: {AccuracyBar().mean:g},{AccuracyBar().minimum:g})",
    )
    how.add_argument(
        "--match-threshold", type=unit_interval, metavar="T", help="minimum cosine for a match (default: the pack's)"
    )
    how.add_argument(
        "--out",
        type=Path,
        metavar="DIR",
        help="the bundle's folder (default: build/TARGET); with several targets, the folder that contains the bundles",
    )
    how.add_argument(
        "--work",
        type=Path,
        metavar="DIR",
        help="folder for logs, the calibration set and the cache (default: OUT.work, of the first target)",
    )
    how.add_argument("--accept", action="store_true", help="write the bundle even if it is too far from FP32")


def positive_number(text: str) -> float:
    try:
        value = float(text)
    except ValueError:
        value = 0.0
    if not 0 < value < math.inf:
        raise ArgumentTypeError(f"{text!r} must be a number greater than 0")
    return value


def channel_values(text: str) -> tuple[float, ...]:
    try:
        values = tuple(map(float, text.split(",")))
    except ValueError:
        values = ()
    if len(values) not in (1, 3) or not all(map(math.isfinite, values)):
        raise ArgumentTypeError(f"{text!r} must be one number, or three numbers such as 104,117,123")
    return values if len(values) == 3 else values * 3


def recipe_plan(text: str) -> RecipePlan:
    if text not in PLANS:
        raise ArgumentTypeError(f"unknown recipe {text!r}: choose from {', '.join(PLANS)}")
    return PLANS[text]


def pixel_count(text: str) -> int:
    if not text.isdecimal() or not int(text):
        raise ArgumentTypeError(f"{text!r} must be a number of pixels, 1 or greater")
    return int(text)


def accuracy_bar(text: str) -> AccuracyBar:
    mean, _, minimum = text.partition(",")
    default_distance = AccuracyBar.mean - AccuracyBar.minimum
    try:
        found = AccuracyBar(float(mean), float(minimum) if minimum else float(mean) - default_distance)
    except ValueError:
        found = AccuracyBar(-1, -1)
    if not -1 < found.minimum <= found.mean < 1:
        raise ArgumentTypeError(f"{text!r} must be a cosine such as 0.995, or a mean and a minimum such as 0.995,0.99")
    return found


def _convert(options: Namespace) -> int:
    from .conversion import convert
    from .settings import ConversionSettings

    outputs = _outputs(options)
    work = options.work or outputs[0].folder.with_name(f"{outputs[0].folder.name}.work")
    for output in outputs:
        if work.resolve().is_relative_to(output.folder.resolve()):
            raise InputError(
                f"--work {work} is inside the bundle {output.folder}, which is replaced as a whole: choose a folder "
                "outside it"
            )
    sources = _sources(options)
    detector_size = _detector_size(options, sources)
    photos = _photos(options, sources)
    plan = UNQUANTIZED if options.no_quantize else options.recipe or PLANS["auto"]
    settings = ConversionSettings(outputs, work, plan, options.min_cosine, detector_size, options.accept)
    if not options.json:
        convert(sources, photos, settings, print_summary)
        return 0
    written: list[dict[str, Any]] = []
    try:
        convert(sources, photos, settings, lambda report, output, work: written.append(to_dict(report, output)))
    finally:
        if written:  # also those before a failure
            print(json.dumps({"bundles": written}, indent=2, ensure_ascii=False))
    return 0


def _outputs(options: Namespace) -> tuple[OutputBundle, ...]:
    """The bundle to make for each target."""
    from .settings import OutputBundle
    from .targets import find_target

    if options.no_quantize and options.recipe is not None:
        raise InputError("--recipe says how to quantize, and --no-quantize says not to: leave one out")
    found = (find_target(name.strip(), quantized=not options.no_quantize) for name in options.target.split(","))
    targets = list(dict.fromkeys(found))
    folder = options.out or Path("build")
    if len(targets) > 1 and (folder / MANIFEST).is_file():
        raise InputError(
            f"{folder} is a bundle; with several targets, --out is the folder that contains the bundles: choose another"
        )
    if options.out and len(targets) == 1:
        return (OutputBundle(targets[0], options.out),)
    return tuple(OutputBundle(target, folder / target.name) for target in targets)


def _sources(options: Namespace) -> ModelSources:
    from .acquire import default_cache, own_sources, pack_sources
    from .catalog import find_pack

    own = (options.detector, options.recognizer)
    if not any(own):
        pack = find_pack(options.pack or "demo")
        sources = pack_sources(pack, options.cache or default_cache(), accepted=options.accept_license)
    elif options.pack or not all(own):
        raise InputError("to convert your own models, give both --detector and --recognizer, and no --pack")
    else:
        sources = own_sources(*own, options.license or "not stated")
    sources = _with_liveness(options, sources)
    if options.match_threshold is None:
        return sources
    return replace(sources, match=options.match_threshold, evidence="given with --match-threshold")


def _with_liveness(options: Namespace, sources: ModelSources) -> ModelSources:
    from .acquire import with_liveness
    from .liveness_model import choose_profile, explain_profile

    fields = {
        "scale": options.live_scale,
        "live": options.live_class,
        "mean": options.live_mean,
        "std": options.live_std,
        "threshold": options.live_threshold,
        "bgr": options.live_color and options.live_color == "BGR",
    }
    given = {name: value for name, value in fields.items() if value is not None}
    if options.liveness is None:
        if given:
            raise InputError(
                "--live-… options describe the model of --liveness: also give --liveness, or leave them out"
            )
        return sources
    if min(given.get("std", (1,))) <= 0:
        raise InputError("--live-std: values are divided by it, so it must be greater than 0")
    profile = choose_profile(options.liveness, given)
    print(explain_profile(profile), file=sys.stderr)
    return with_liveness(sources, options.liveness, profile, options.license or "not stated")


def _detector_size(options: Namespace, sources: ModelSources) -> tuple[int, int] | None:
    """(width, height) of the detector's input, from --size or from --min-face; None keeps the model's own."""
    from .input_size import choose_input_size, explain_input_size

    if options.min_face is None:
        if options.camera is not None:
            raise InputError(
                "--camera is the frame in which --min-face is measured: also give --min-face, or use --size"
            )
        given: tuple[int, int] | None = options.size
        return given
    if options.size is not None:
        raise InputError("--size and --min-face both choose the size of the detector's input: leave one out")
    if sources.synthetic:
        raise InputError("--min-face is measured for SCRFD, and the demo pack's detector is not SCRFD: leave it out")
    camera = options.camera or CAMERA
    chosen = choose_input_size(options.min_face, camera)
    print(explain_input_size(options.min_face, camera, chosen), file=sys.stderr)
    return chosen


def _photos(options: Namespace, sources: ModelSources) -> PhotoOptions | None:
    """The user's photos; None if the demo pack renders its own."""
    from .datasets import PhotoOptions

    if options.calibration is not None:
        return PhotoOptions(options.calibration, options.evaluation, options.pairs, options.count, options.evaluate)
    if not sources.synthetic:
        raise InputError(
            "--calibration is needed: INT8 ranges are measured on faces like those that the camera will see, and "
            "rendered faces would ruin a real recognizer. Give a folder with photos of many people (100 or more)"
        )
    if options.evaluation or options.pairs:
        raise InputError("--evaluation and --pairs need --calibration; the demo pack renders its own photos")
    return None


def to_dict(report: ConversionReport, output: OutputBundle) -> dict[str, Any]:
    """The summary of one bundle for --json. report.json in the bundle has all details."""
    parity = report.to_dict()["parity"]
    for part in ("embedding", "end_to_end"):
        del parity[part]["cosines"]
    return {
        "target": output.target.name,
        "bundle": str(output.folder),
        "report": str(output.folder / "report.html"),
        "synthetic": report.manifest.synthetic,
        "match_threshold": report.manifest.thresholds.match,
        "models": [
            {
                "role": facts.role,
                "precision": report.manifest.model(facts.role).precision,
                "recipe": next(one.recipe.name for one in facts.tries if one.chosen),
                "onnx_bytes": report.manifest.model(facts.role).source.bytes,
                "rknn_bytes": facts.rknn_bytes,
            }
            for facts in report.models
        ],
        "parity": parity,
        "notes": list(report.notes),
        "accepted": report.fault,
    }


def print_summary(report: ConversionReport, output: OutputBundle, work: Path) -> None:
    """The result of one conversion, for people."""
    from .evaluate.parity import grade_liveness

    manifest, parity = report.manifest, report.parity
    rows = [(output.target.name, "size", "", "against FP32, on faces that calibration never saw")]
    results = {
        "detector": f"{parity.detection.matched} of {parity.detection.faces} faces matched, "
        f"{parity.detection.extra} extra, landmark error {parity.detection.landmark_error:.1%}",
        "recognizer": f"cosine mean {parity.embedding.mean:.4f}, p1 {parity.embedding.p1:.4f}, "
        f"min {parity.embedding.minimum:.4f} over {parity.embedding.faces} faces",
        "liveness": grade_liveness(parity.liveness).said if parity.liveness else "",
    }
    for facts in report.models:
        model = manifest.model(facts.role)
        sizes = f"{model.source.bytes / 1e6:.1f} → {facts.rknn_bytes / 1e6:.1f} MB"
        rows.append((facts.role, sizes, model.precision, results[facts.role]))
    widths = [max(len(row[column]) for row in rows) for column in range(3)]
    print()
    for row in rows:
        print("  ".join([*(cell.ljust(width) for cell, width in zip(row, widths, strict=False)), row[3]]).rstrip())
    print()
    if manifest.synthetic:
        print("synthetic: the demo models know only rendered faces; these figures say nothing about people")
    for note in [*report.notes, *([f"accepted, although {report.fault}"] if report.fault else [])]:
        print(f"note: {note}")
    print(f"license: {manifest.recognizer.source.license}")
    print(f"bundle:  {output.folder}")
    print(f"report:  {output.folder / 'report.html'}")
    example = work / "photos/evaluation/person-0000-00.jpg" if manifest.synthetic else Path("PHOTO.jpg")
    command = [sys.argv[0], "detect", "--bundle", str(output.folder), str(example), "--draw", "faces.jpg"]
    print(f"next:    {shlex.join(command)}")
