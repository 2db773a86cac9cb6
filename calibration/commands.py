"""``rkface calibrate``. Imports nothing heavy before it runs."""

from __future__ import annotations

import sys
from argparse import ArgumentParser, ArgumentTypeError, Namespace
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from rkface.runtime.cli.options import BUNDLE
from rkface.runtime.core.arguments import fraction
from rkface.runtime.core.errors import InputError

from . import COUNT, MINIMUM

if TYPE_CHECKING:
    from rkface.runtime.core.bundle import Input
    from rkface.runtime.vision.detect import Detector
    from rkface.runtime.vision.embed import Embedder

    from .collect import Candidate, Skipped
    from .dataset import CalibrationSet


def count(text: str) -> int:
    number = int(text) if text.isdecimal() else 0
    if number < MINIMUM:
        raise ArgumentTypeError(f"{text!r} is not a number of faces from {MINIMUM} on: fewer do not cover people")
    return number


def size(text: str) -> tuple[int, int]:
    width, _, height = text.lower().partition("x")
    if not (width.isdecimal() and height.isdecimal() and int(width) and int(height)):
        raise ArgumentTypeError(f"{text!r} is not a size such as 640x640")
    return int(width), int(height)


def calibrate(parser: ArgumentParser) -> None:
    """Make a calibration set from a folder of photos: aligned faces for the recognizer, frames for the detector.

    INT8 ranges are read off these images, so take photos like those the camera will see: many people, its light, its
    distance. Faces are found by the detector of a bundle or by an SCRFD ONNX of your own. Those are taken that stand
    best for all in pose, light and skin tone, clear ones before unclear ones, near-duplicates left out; a recognizer
    also keeps one person from taking the place of others. The same photos give the same set, byte for byte.

    Look at two pictures in it: contact.png shows every face taken, spread.png how they are spread beside all that there
    were.

    examples:
      rkface calibrate photos/ --out build/calibration --detector det_2.5g.onnx --recognizer w600k_r50.onnx
      rkface calibrate photos/ --out build/calibration --count 50 --bundle build/rk3588
    """
    parser.add_argument("photos", type=Path, metavar="PHOTOS", help="a folder; photos in its sub-folders count too")
    parser.add_argument(
        "--out", type=Path, required=True, metavar="DIR", help="where the set goes; an older one there is replaced"
    )
    parser.add_argument("--count", type=count, default=COUNT, metavar="N", help="faces to take (default: %(default)s)")
    parser.add_argument(
        "--recognizer",
        type=Path,
        metavar="ARCFACE.onnx",
        help="tell people apart with this model (default: that of the bundle; with --detector nobody is told apart)",
    )
    finder = parser.add_mutually_exclusive_group()
    finder.add_argument("--detector", type=Path, metavar="SCRFD.onnx", help="find the faces with this model")
    finder.add_argument(
        "--bundle",
        type=Path,
        default=Path(BUNDLE),
        metavar="DIR",
        help="or with the detector of a bundle (default: %(default)s)",
    )
    parser.add_argument(
        "--size", type=size, metavar="WxH", help="of a --detector with dynamic input (default: 640x640)"
    )
    parser.add_argument(
        "--provider", default="cpu", metavar="P", help="of ONNX Runtime: cpu, openvino, cuda (default: %(default)s)"
    )
    parser.add_argument(
        "--threshold", type=fraction, default=0.5, metavar="T", help="detection score (default: %(default)s)"
    )
    parser.set_defaults(run=_calibrate)


def _calibrate(options: Namespace) -> int:
    from rkface.runtime.core.bundle import sha256
    from rkface.runtime.core.progress import stage

    from .choose import choose, choose_frames, require_enough
    from .collect import collect, embed
    from .dataset import Provenance, check_out, write_set

    _check_apart(options.photos, options.out)
    check_out(options.out)
    with stage("open the models"):
        models = _open(options)
    with stage("find faces") as now:
        found = collect(options.photos, models.detector, threshold=options.threshold, progress=now.advance)
        now.note = f"{len(found.candidates)} usable in {len(found.photos)} photos"
    embeddings = None
    if models.embedder is not None and len(found.candidates) > options.count:
        with stage("tell people apart") as now:
            embeddings = embed(found.candidates, models.embedder, now.advance)
    with stage("choose"):
        choice = choose(found.candidates, options.count, embeddings)
        hint = "; the demo bundle's detector knows rendered faces only, give a real one with --detector"
        require_enough(choice, found, hint if models.synthetic else "")
    faces, rest = choice.faces, (*found.skipped, *choice.left_out)
    with stage("write"):
        made = write_set(
            options.out,
            faces,
            choose_frames(faces, found, options.count),
            models.input.width,
            models.input.height,
            provenance=Provenance(options.photos, sha256(models.path), options.threshold, rest),
            among=found.candidates,
        )
    if len(faces) < options.count:
        print(
            f"rkface: {len(faces)} faces instead of {options.count}: no more usable, different ones were found",
            file=sys.stderr,
        )
    _tell(options.out, made, faces, rest)
    return 0


def _check_apart(photos: Path, out: Path) -> None:
    inner, outer = out.resolve(), photos.resolve()
    if inner.is_relative_to(outer):
        raise InputError(f"--out {out} lies inside {photos}: its images would count as photos next time; put it beside")
    if outer.is_relative_to(inner):
        raise InputError(f"--out {out} holds {photos}, which writing would replace: choose another folder")


@dataclass(frozen=True)
class _Models:
    """``input`` and ``path`` are the detector's. ``embedder`` is None where nobody is told apart."""

    detector: Detector
    input: Input
    path: Path
    embedder: Embedder | None
    synthetic: bool = False


def _open(options: Namespace) -> _Models:
    from rkface.runtime.backends.reference import open_reference
    from rkface.runtime.core.bundle import read_bundle
    from rkface.runtime.vision.bare_onnx import open_detector, open_recognizer
    from rkface.runtime.vision.detect import Detector
    from rkface.runtime.vision.embed import Embedder

    providers = (options.provider,)
    own = Embedder(*open_recognizer(options.recognizer, providers)) if options.recognizer else None
    if options.detector is not None:
        width, height = options.size or (None, None)
        backend, input, outputs = open_detector(options.detector, width, height, providers)
        return _Models(Detector(backend, input, outputs), input, options.detector, own)
    if options.size is not None:
        raise InputError("--size goes with --detector; a bundle's detector has its own size")
    if not options.bundle.is_dir():
        raise InputError(f"{options.bundle}: no such bundle to find faces with: give an SCRFD model with --detector")
    bundle = read_bundle(options.bundle)
    path, model, face = bundle.reference("detector"), bundle.manifest.detector, bundle.manifest.recognizer
    detector = Detector(open_reference(path, model.input, providers), model.input, model.outputs)
    if own is None:
        backend = open_reference(bundle.reference("recognizer"), face.input, providers)
        own = Embedder(backend, face.input, face.outputs[0].shape[-1])
    return _Models(detector, model.input, path, own, bundle.manifest.synthetic)


def _tell(out: Path, made: CalibrationSet, faces: tuple[Candidate, ...], rest: tuple[Skipped, ...]) -> None:
    photos = len({face.sha256 for face in faces})
    print(f"{out}: {made.faces} faces from {photos} photos, {made.frames} frames of {made.width}×{made.height}")
    from .dataset import reasons

    scores = [face.quality.score for face in faces]
    print(f"  quality    {max(scores):.2f} down to {min(scores):.2f}")
    print(f"  left out   {', '.join(f'{number} × {reason}' for reason, number in reasons(rest)) or 'nothing'}")
    print(f"  look at    {out / 'contact.png'}: these are people's faces, keep the folder as you keep the photos")
    print(f"  and at     {out / 'spread.png'}: their pose, light, skin tone, size and quality beside all there were")
    print(f"next: rkface convert --calibration {out} --detector SCRFD.onnx --recognizer ARCFACE.onnx")
