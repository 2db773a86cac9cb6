"""The options of ``rkface convert``. Imports nothing heavy."""

from __future__ import annotations

import math
from argparse import ArgumentParser, ArgumentTypeError
from pathlib import Path

from rkface.calibration.commands import face_count
from rkface.runtime.core.arguments import (
    fraction,
    image_size,
    integer_from,
    positive_integer,
    positive_number,
    recognizer_crop,
)
from rkface.runtime.core.crop_template import TEMPLATES

from .metric_bar import metric_bars
from .recipe import PLANS, AccuracyBar, RecipePlan

CAMERA = (1920, 1080)  # width and height of the camera's frame for --min-face


def add_model_options(parser: ArgumentParser) -> None:
    """Add the options that choose the models."""
    models = parser.add_argument_group("models")
    models.add_argument("--pack", metavar="NAME", help="a pack that `rkface packs` lists (default: demo)")
    models.add_argument("--accept-license", action="store_true", help="you have read and accept the pack's license")
    models.add_argument(
        "--detector", type=Path, metavar="D.onnx", help="a face detector with landmarks: SCRFD, YuNet or RetinaFace"
    )
    models.add_argument("--recognizer", type=Path, metavar="R.onnx", help="an ArcFace-like model")
    models.add_argument(
        "--recognizer-input",
        choices=("rgb", "bgr"),
        help="order of the channels that R.onnx was trained on (default: measured on the photos, or else rgb). Models "
        "for InsightFace take RGB; many that were trained with OpenCV or Caffe take BGR",
    )
    models.add_argument(
        "--recognizer-mean",
        type=stated_mean,
        metavar="A[,B,C]|none",
        help="mean of values 0..255 that R.onnx expects to be subtracted, in its own channel order; none if it "
        "normalizes by itself and takes 0..255 (default: read from the model or measured, otherwise 127.5)",
    )
    models.add_argument(
        "--recognizer-std",
        type=stated_std,
        metavar="A[,B,C]|none",
        help="standard deviation that it expects to be divided by, likewise. A model that takes 0..1 has the mean 0 "
        "and the std 255; one that takes -1..1 has 127.5 and 127.5; torchvision's mean 0.485,0.456,0.406 and std "
        "0.229,0.224,0.225 are 123.675,116.28,103.53 and 58.395,57.12,57.375",
    )
    models.add_argument(
        "--recognizer-crop",
        type=recognizer_crop,
        metavar="NAME|POINTS",
        help=f"how faces are aligned for R.onnx: {', '.join(TEMPLATES)}, or where left eye, right eye, nose, left and "
        "right mouth corner lie in its crop, in pixels: 'x,y x,y x,y x,y x,y' (default: by the size of its input)",
    )
    models.add_argument(
        "--center",
        metavar="BUNDLE|new|none",
        help="the constant that is taken off the embeddings of recognizers that need it (docs/convert.md): that of a "
        "bundle, so that its galleries stay valid; a new one; or none (default: that of the bundle being replaced, or "
        "else measured on the photos)",
    )
    models.add_argument("--license", metavar="TEXT", help="license of your own models, for the manifest")
    models.add_argument("--cache", type=Path, metavar="DIR", help="folder for downloads (default: ~/.cache/rkface)")


def add_liveness_options(parser: ArgumentParser) -> None:
    """Add the options of a liveness model."""
    live = parser.add_argument_group("liveness (a third model, which tells a live face from a picture of a face)")
    live.add_argument("--liveness", type=Path, metavar="L.onnx", help="a classifier such as Silent-Face's MiniFASNet")
    live.add_argument("--live-scale", type=positive_number, metavar="X", help="size of its crop, in face box sizes")
    live.add_argument(
        "--live-class", type=integer_from(0), metavar="N", help="index of the class of live faces, counted from 0"
    )
    live.add_argument("--live-color", choices=("RGB", "BGR"), help="order of its input channels")
    live.add_argument(
        "--live-mean", type=channel_values, metavar="A[,B,C]", help="mean of values 0..255, in its channel order"
    )
    live.add_argument("--live-std", type=channel_values, metavar="A[,B,C]", help="standard deviation, likewise")
    live.add_argument(
        "--live-threshold",
        type=fraction,
        metavar="T",
        help="minimum probability of a live face (default: 0.5)",
    )


def add_photo_options(parser: ArgumentParser) -> None:
    """Add the options that choose the photos."""
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
        "--people",
        type=Path,
        metavar="DIR",
        help="a folder with a subfolder for each person, which says who is on its photos: the photos to evaluate on, "
        "instead of --evaluation. If it is also the folder of --calibration, some people are held back",
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


def add_conversion_options(parser: ArgumentParser) -> None:
    """Add the options that say how to convert, and where to write."""
    how = parser.add_argument_group("conversion")
    how.add_argument(
        "--target",
        default="rk3588",
        metavar="CHIP[,CHIP]",
        help="the board's chip; several, separated by commas, give a bundle each (default: %(default)s)",
    )
    how.add_argument(
        "--size",
        type=image_size,
        metavar="WxH",
        help="one detector input, multiples of 32, for pictures of every aspect (default: the model's own; if it is a "
        "square, as 640x640, also one for 16:9 and one for 4:3, each lying and upright, and each picture gets the one "
        "that fits it)",
    )
    how.add_argument(
        "--min-face",
        type=positive_integer,
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
    known = "; ".join(f"{one.name}: {one.about}" for one in PLANS.values()).replace("%", "%%")
    how.add_argument("--recipe", type=recipe_plan, metavar="NAME", help=f"how to quantize. {known} (default: auto)")
    how.add_argument(
        "--min-cosine",
        type=accuracy_bar,
        metavar="MEAN[,MIN]",
        help="required cosine between the quantized recognizer and FP32 on the evaluation faces: the mean, and that of "
        f"the worst face (default: {AccuracyBar().mean:g},{AccuracyBar().minimum:g})",
    )
    how.add_argument(
        "--max-drop",
        type=metric_bars,
        default=(),
        metavar="FIGURE=POINTS",
        help="instead of --min-cosine: your own figure, and by how many percentage points it may be worse than FP32's "
        "on the labeled photos of --people or --pairs. tar@1e-3=0.5: the share of pairs of one person that are "
        "accepted at a FAR of 1e-3; eer=0.3: the equal error rate; accuracy=0.5: at the best threshold; several are "
        "separated by commas. The 95 %% interval of the difference must be within it (docs/evaluate.md)",
    )
    how.add_argument(
        "--match-threshold", type=fraction, metavar="T", help="minimum cosine for a match (default: the pack's)"
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
    how.add_argument(
        "--debug-outputs",
        action="store_true",
        help="also write the folder OUT.debug, in which the models have inner tensors as further outputs, for `rkface "
        "selftest --layers` on a board that computes wrongly (docs/boards.md). The bundle stays as it is",
    )


def stated_mean(text: str) -> tuple[float, ...]:
    return () if text.lower() == "none" else channel_values(text)


def stated_std(text: str) -> tuple[float, ...]:
    values = stated_mean(text)
    if values and min(values) <= 0:
        raise ArgumentTypeError(f"{text!r}: values are divided by it, so it must be greater than 0")
    return values


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
