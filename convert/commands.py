"""``rkface convert``. Imports nothing heavy before it runs."""

from __future__ import annotations

import math
import sys
from argparse import ArgumentParser, ArgumentTypeError, Namespace
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING

from rkface.calibration.commands import face_count
from rkface.runtime.core.arguments import fraction, image_size
from rkface.runtime.core.bundle import MANIFEST
from rkface.runtime.core.errors import InputError

from .recipe import PLANS, UNQUANTIZED, Bar, Plan

if TYPE_CHECKING:
    from .acquire import Sources
    from .convert import Order
    from .material import Photos
    from .report import Report

CAMERA = (1920, 1080)


def convert(parser: ArgumentParser) -> None:
    """Convert a detector and a recognizer to an INT8 RKNN bundle, and prove it against ONNX Runtime.

    Without models, the demo pack is converted: small models trained on rendered faces, to see the whole way work.
    InsightFace's packs are downloaded once; their license (non-commercial research) has to be accepted. Own models:
    SCRFD with keypoints, and any ArcFace-like ONNX with a 112x112 input and one embedding.

    Real models are calibrated on your photos: --calibration takes a folder of photos of many people, in the light and
    at the distance of your camera. Some of the people are held back, and the result is judged on them; or give other
    photos with --evaluation, and which of them show the same person with --pairs.

    examples:
      rkface convert
      rkface convert --pack buffalo_l --accept-license --calibration photos/ --target rk3588
      rkface convert --detector det.onnx --recognizer arc.onnx --calibration photos/ --target rk3576 --size 640x384
      rkface convert --pack buffalo_m --calibration photos/ --min-face 60 --camera 1920x1080
    """
    models = parser.add_argument_group("models")
    models.add_argument("--pack", metavar="NAME", help="demo, buffalo_l, buffalo_m or buffalo_sc (default: demo)")
    models.add_argument("--accept-license", action="store_true", help="you have read and accept the pack's license")
    models.add_argument("--detector", type=Path, metavar="D.onnx", help="an SCRFD model with keypoints")
    models.add_argument("--recognizer", type=Path, metavar="R.onnx", help="an ArcFace-like model")
    models.add_argument("--license", "--licence", metavar="TEXT", help="license of your own models, for the manifest")
    models.add_argument("--cache", type=Path, metavar="DIR", help="downloads (default: ~/.cache/rkface)")
    _liveness_options(parser)
    photos = parser.add_argument_group("photos")
    photos.add_argument("--calibration", type=Path, metavar="DIR", help="photos, or a set from `rkface calibrate`")
    photos.add_argument(
        "--evaluation",
        type=Path,
        metavar="DIR",
        help="other photos to judge by (default: some of the calibration photos, held back)",
    )
    photos.add_argument("--pairs", type=Path, metavar="CSV", help="photo,photo,Yes|No: which photos show one person")
    photos.add_argument(
        "--count", type=face_count, default=100, metavar="N", help="calibration faces (default: %(default)s)"
    )
    photos.add_argument(
        "--evaluate", type=face_count, default=100, metavar="N", help="evaluation faces at most (default: %(default)s)"
    )
    how = parser.add_argument_group("conversion")
    how.add_argument(
        "--target",
        default="rk3588",
        metavar="SOC[,SOC]",
        help="the board's chip; with commas several, a bundle each (default: %(default)s)",
    )
    how.add_argument(
        "--size",
        type=image_size,
        metavar="WxH",
        help="detector input, multiples of 32, such as 640x384 for a 16:9 camera (default: the model's own)",
    )
    how.add_argument(
        "--min-face",
        type=pixels,
        metavar="PX",
        help="instead of --size: the smallest input in which a "
        "face of PX pixels of the camera's frame is found (docs/detector-size.md)",
    )
    how.add_argument(
        "--camera",
        type=image_size,
        metavar="WxH",
        help=f"with --min-face: the camera's frame (default: {CAMERA[0]}x{CAMERA[1]})",
    )
    how.add_argument(
        "--no-quantize", action="store_true", help="FP16 instead of INT8: larger and slower, for comparison"
    )
    known = "; ".join(f"{one.name}: {one.about}" for one in PLANS.values())
    how.add_argument("--recipe", type=plan, metavar="NAME", help=f"how to quantize. {known} (default: auto)")
    how.add_argument(
        "--min-cosine",
        type=bar,
        default=Bar(),
        metavar="MEAN[,MIN]",
        help="what the recognizer has to "
        "reach against FP32 on the evaluation faces, on average and for the worst one "
        f"(default: {Bar().mean:g},{Bar().minimum:g})",
    )
    how.add_argument(
        "--match-threshold",
        type=fraction,
        metavar="T",
        help="cosine from which two faces are one person (default: the pack's)",
    )
    how.add_argument(
        "--out",
        type=Path,
        metavar="DIR",
        help="the bundle (default: build/TARGET); for several targets the folder that gets one for each",
    )
    how.add_argument(
        "--work", type=Path, metavar="DIR", help="logs, calibration set (default: OUT.work, of the first target)"
    )
    how.add_argument("--accept", action="store_true", help="write the bundle even where nothing reaches that")
    parser.set_defaults(run=_convert)


def _liveness_options(parser: ArgumentParser) -> None:
    live = parser.add_argument_group("liveness (a third model: is it a face, or a picture of one?)")
    live.add_argument("--liveness", type=Path, metavar="L.onnx", help="a classifier such as Silent-Face's MiniFASNet")
    live.add_argument("--live-scale", type=positive, metavar="X", help="it is shown X times the face's box")
    live.add_argument("--live-class", type=int, metavar="N", help="which class, from 0, is a live face")
    live.add_argument("--live-color", "--live-colour", choices=("RGB", "BGR"), help="its order of channels")
    live.add_argument("--live-mean", type=triple, metavar="A[,B,C]", help="of values 0..255, in its order of channels")
    live.add_argument("--live-std", type=triple, metavar="A[,B,C]", help="likewise")
    live.add_argument(
        "--live-threshold",
        type=fraction,
        metavar="T",
        help="probability from which a face counts as live (default: 0.5)",
    )


def positive(text: str) -> float:
    try:
        value = float(text)
    except ValueError:
        value = 0.0
    if not 0 < value < math.inf:
        raise ArgumentTypeError(f"{text!r} is not a number above 0")
    return value


def triple(text: str) -> tuple[float, ...]:
    try:
        values = tuple(map(float, text.split(",")))
    except ValueError:
        values = ()
    if len(values) not in (1, 3) or not all(map(math.isfinite, values)):
        raise ArgumentTypeError(f"{text!r} is not one number, nor three such as 104,117,123")
    return values if len(values) == 3 else values * 3


def plan(text: str) -> Plan:
    if text not in PLANS:
        raise ArgumentTypeError(f"{text!r} is none of {', '.join(PLANS)}")
    return PLANS[text]


def pixels(text: str) -> int:
    if not text.isdecimal() or not int(text):
        raise ArgumentTypeError(f"{text!r} is not a number of pixels")
    return int(text)


def bar(text: str) -> Bar:
    mean, _, minimum = text.partition(",")
    try:
        found = Bar(float(mean), float(minimum) if minimum else float(mean) - (Bar.mean - Bar.minimum))
    except ValueError:
        found = Bar(-1, -1)
    if not -1 < found.minimum <= found.mean < 1:
        raise ArgumentTypeError(f"{text!r} is no cosine such as 0.995, nor two of them such as 0.995,0.99")
    return found


def _convert(options: Namespace) -> int:
    from .targets import find_target

    if options.no_quantize and options.recipe is not None:
        raise InputError("--recipe says how to quantize, and --no-quantize not to: leave one out")
    found = (find_target(name.strip(), quantized=not options.no_quantize) for name in options.target.split(","))
    targets = list(dict.fromkeys(found))
    folder = options.out or Path("build")
    if len(targets) > 1 and (folder / MANIFEST).is_file():
        raise InputError(f"{folder} is a bundle; for several targets --out is the folder that gets a bundle for each")
    outs = [options.out] if options.out and len(targets) == 1 else [folder / target.name for target in targets]
    work = options.work or outs[0].with_name(f"{outs[0].name}.work")
    for out in outs:
        if work.resolve().is_relative_to(out.resolve()):
            raise InputError(f"--work {work} lies inside the bundle {out}, which is replaced whole: put it beside")
    sources = _sources(options)
    detector_size = _detector_size(options, sources)
    photos = _photos(options, sources)
    from .convert import Order, Settings, convert

    orders = tuple(Order(target, out) for target, out in zip(targets, outs, strict=True))
    how = UNQUANTIZED if options.no_quantize else options.recipe or PLANS["auto"]
    convert(sources, photos, Settings(orders, work, how, options.min_cosine, detector_size, options.accept), tell)
    return 0


def _sources(options: Namespace) -> Sources:
    from .acquire import default_cache, own_sources, pack_sources
    from .catalog import find_pack

    own = (options.detector, options.recognizer)
    if not any(own):
        pack = find_pack(options.pack or "demo")
        sources = pack_sources(pack, options.cache or default_cache(), accepted=options.accept_license)
    elif options.pack or not all(own):
        raise InputError("own models: give both --detector and --recognizer, and no --pack")
    else:
        sources = own_sources(*own, options.license or "not stated")
    sources = _with_liveness(options, sources)
    if options.match_threshold is None:
        return sources
    return replace(sources, match=options.match_threshold, evidence="given with --match-threshold")


def _with_liveness(options: Namespace, sources: Sources) -> Sources:
    from .acquire import with_liveness
    from .spoofing import describe, explain

    given = {
        "scale": options.live_scale,
        "live": options.live_class,
        "mean": options.live_mean,
        "std": options.live_std,
        "threshold": options.live_threshold,
        "bgr": options.live_color and options.live_color == "BGR",
    }
    said = {name: value for name, value in given.items() if value is not None}
    if options.liveness is None:
        if said:
            raise InputError("--live-… say how the model of --liveness is asked: give that too, or leave them out")
        return sources
    if min(said.get("std", (1,))) <= 0:
        raise InputError("--live-std: values are divided by it, so that it has to be above 0")
    spoofing = describe(options.liveness, said)
    print(explain(spoofing), file=sys.stderr)
    return with_liveness(sources, options.liveness, spoofing, options.license or "not stated")


def _detector_size(options: Namespace, sources: Sources) -> tuple[int, int] | None:
    """The size asked for, outright or by the smallest face; None for the model's own."""
    if options.min_face is None:
        if options.camera is not None:
            raise InputError("--camera says in which frame --min-face is counted: give that too, or --size alone")
        given: tuple[int, int] | None = options.size
        return given
    if options.size is not None:
        raise InputError("--size and --min-face both say how large the detector's input is: leave one out")
    if sources.synthetic:
        raise InputError("--min-face is measured for SCRFD; the demo pack's detector is another: leave it out")
    from .size import explain, input_for

    camera = options.camera or CAMERA
    chosen = input_for(options.min_face, camera)
    print(explain(options.min_face, camera, chosen), file=sys.stderr)
    return chosen


def _photos(options: Namespace, sources: Sources) -> Photos | None:
    """The photos asked for; None where the demo pack renders its own."""
    from .material import Photos

    if options.calibration is not None:
        return Photos(options.calibration, options.evaluation, options.pairs, options.count, options.evaluate)
    if not sources.synthetic:
        raise InputError(
            "--calibration is needed: INT8 ranges are read off faces like those the camera will see. Calibrated on "
            "rendered faces, a real recognizer would be ruined. Give a folder of photos of many people (100 and more)"
        )
    if options.evaluation or options.pairs:
        raise InputError("--evaluation and --pairs go with --calibration; the demo pack renders its own photos")
    return None


def tell(report: Report, order: Order, work: Path) -> None:
    """The end of a conversion, for people."""
    from .prove import grade_liveness

    manifest, parity = report.manifest, report.parity
    rows = [(order.target.name, "size", "", "against FP32 on faces that calibration never saw")]
    said = {
        "detector": f"{parity.detection.matched} of {parity.detection.faces} faces matched, "
        f"{parity.detection.extra} extra, landmarks {parity.detection.landmark_error:.1%} off",
        "recognizer": f"cosine mean {parity.embedding.mean:.4f}, p1 {parity.embedding.p1:.4f}, "
        f"min {parity.embedding.minimum:.4f} over {parity.embedding.faces} faces",
        "liveness": grade_liveness(parity.liveness).said if parity.liveness else "",
    }
    for facts in report.models:
        model = manifest.model(facts.role)
        sizes = f"{model.source.bytes / 1e6:.1f} → {facts.rknn_bytes / 1e6:.1f} MB"
        rows.append((facts.role, sizes, model.precision, said[facts.role]))
    widths = [max(len(row[column]) for row in rows) for column in range(3)]
    print()
    for row in rows:
        print("  ".join([*(cell.ljust(width) for cell, width in zip(row, widths, strict=False)), row[3]]).rstrip())
    print()
    if manifest.synthetic:
        print("synthetic: the demo models know rendered faces only, and these figures say nothing about people")
    for note in [*report.notes, *([f"accepted although {report.fault}"] if report.fault else [])]:
        print(f"note: {note}")
    print(f"license: {manifest.recognizer.source.license}")
    print(f"bundle:  {order.out}")
    print(f"report:  {order.out / 'report.html'}")
    example = work / "photos/evaluation/person-0000-00.jpg" if manifest.synthetic else "PHOTO.jpg"
    print(f"next:    {sys.argv[0]} detect --bundle {order.out} {example} --draw faces.jpg")
