"""``rkface calibrate``. Heavy modules are imported when the command runs."""

from __future__ import annotations

import sys
from argparse import ArgumentParser, ArgumentTypeError, Namespace
from contextlib import ExitStack
from pathlib import Path
from typing import TYPE_CHECKING

from rkface.runtime.cli.options import BUNDLE
from rkface.runtime.core.arguments import fraction, image_size, recognizer_crop
from rkface.runtime.core.errors import InputError

from . import COUNT, MINIMUM

if TYPE_CHECKING:
    from .collect import Collection
    from .models import CalibrationModels
    from .progress_file import ProgressFile


def face_count(text: str) -> int:
    """The value of an option: a number of faces that is enough for calibration."""
    number = int(text) if text.isdecimal() else 0
    if number < MINIMUM:
        raise ArgumentTypeError(f"{text!r} must be {MINIMUM} or greater: fewer faces do not represent people well")
    return number


def calibrate(parser: ArgumentParser) -> None:
    """Make a calibration set from a folder of photos: aligned faces for the recognizer, frames for the detector.

    The INT8 ranges of the models come from these images. So use photos like those that the camera will see: many
    people, its light, its distance. The detector of a bundle, or your own, finds the faces. The command
    selects faces that represent all of them in pose, light and skin tone, prefers clear ones, and leaves out
    near-duplicates. With a recognizer, it also limits the number of faces of one person. The same photos always give
    the same set, byte for byte.

    With --resume, the command keeps what it finds in a file beside the set until the set is written. If it is
    interrupted, the same command goes on: photos of the file are decoded, but not searched again. The file has the
    places of faces, but no pictures, names or embeddings.

    Look at two pictures in the set: contact.png shows every selected face, and spread.png compares their distribution
    with that of all usable faces.

    Exit code: 0 the set was written, 1 it could not be written, 2 wrong use or too few faces.

    examples:
      rkface calibrate photos/ --out build/calibration --detector det_2.5g.onnx --recognizer w600k_r50.onnx
      rkface calibrate photos/ --out build/calibration --count 50 --bundle build/rk3588
      rkface calibrate photos/ --out build/calibration --bundle build/rk3588 --json     # for programs
    """
    parser.add_argument("photos", type=Path, metavar="PHOTOS", help="folder of photos, searched with its subfolders")
    parser.add_argument(
        "--out", type=Path, required=True, metavar="DIR", help="folder of the set; an older set there is replaced"
    )
    parser.add_argument(
        "--count", type=face_count, default=COUNT, metavar="N", help="faces to select (default: %(default)s)"
    )
    parser.add_argument(
        "--recognizer",
        type=Path,
        metavar="ARCFACE.onnx",
        help="model that tells people apart (default: that of the bundle; with --detector: none)",
    )
    parser.add_argument(
        "--recognizer-crop",
        type=recognizer_crop,
        metavar="NAME|POINTS",
        help="how faces are aligned for the recognizer that the set is for, as in `rkface convert` (default: by the "
        "input size of --recognizer; without one: arcface-112)",
    )
    finder = parser.add_mutually_exclusive_group()
    finder.add_argument(
        "--detector",
        type=Path,
        metavar="D.onnx",
        help="model that finds the faces. It gets what models of its family get: of one that normalizes its input by "
        "itself, give the bundle of `rkface convert` instead",
    )
    finder.add_argument(
        "--bundle",
        type=Path,
        default=Path(BUNDLE),
        metavar="DIR",
        help="bundle whose models find faces and tell people apart (default: %(default)s)",
    )
    parser.add_argument(
        "--size",
        type=image_size,
        metavar="WxH",
        help="input size of a --detector whose size is dynamic (default: 640x640)",
    )
    parser.add_argument(
        "--provider",
        default="cpu",
        metavar="P",
        help="ONNX Runtime's execution provider: cpu, openvino, cuda (default: %(default)s)",
    )
    parser.add_argument(
        "--threshold",
        type=fraction,
        default=0.5,
        metavar="T",
        help="minimum detection score (default: %(default)s)",
    )
    parser.add_argument(
        "--resume", action="store_true", help="go on with an interrupted run; without one, let this run be resumed"
    )
    parser.add_argument("--json", action="store_true", help="print the result as JSON")
    parser.set_defaults(run=_calibrate)


def _calibrate(options: Namespace) -> int:
    from rkface.runtime.core.progress import stage

    from .dataset import check_output_folder
    from .models import open_models

    _check_separate(options.photos, options.out)
    check_output_folder(options.out)
    with stage("open the models"):
        models = open_models(
            options.bundle,
            detector=options.detector,
            size=options.size,
            recognizer=options.recognizer,
            stated=options.recognizer_crop,
            provider=options.provider,
        )
    with ExitStack() as opened:
        return _make_set(options, models, _open_progress(options, models, opened) if options.resume else None)


def _open_progress(options: Namespace, models: CalibrationModels, opened: ExitStack) -> ProgressFile:
    """What an interrupted run has found, until ``opened`` is closed. Says how many photos these are."""
    from rkface.runtime.core.onnx_file import onnx_digest

    from .progress_file import open_progress

    search = {
        "detector": onnx_digest(models.path),
        "input": [models.input.width, models.input.height],
        "threshold": options.threshold,
        "one_look": models.synthetic,
    }
    earlier = opened.enter_context(open_progress(options.out, search))
    print(f"rkface: {len(earlier.known)} photos were searched before, and are not searched again", file=sys.stderr)
    return earlier


def _make_set(options: Namespace, models: CalibrationModels, earlier: ProgressFile | None) -> int:
    from rkface.runtime.core.onnx_file import onnx_digest
    from rkface.runtime.core.progress import stage

    from .choose import choose_faces, choose_frames, require_enough_faces
    from .collect import collect_faces, embed_faces
    from .same_person import SamePerson, find_same_person
    from .set_report import to_json, to_text
    from .write_set import Provenance, write_set

    with stage("find faces") as now:
        found = collect_faces(
            options.photos,
            models.detector,
            models.crop,
            threshold=options.threshold,
            one_look=models.synthetic,  # rendered photos are upright, and the demo detector is not sure about some
            earlier=earlier,
            progress=now.advance,
        )
        now.note = f"{len(found.candidates)} usable in {len(found.photos)} photos"
    embeddings, same_person = None, SamePerson()
    if models.embedder is not None and len(found.candidates) > options.count:
        with stage("tell people apart") as now:
            embeddings = embed_faces(found.candidates, models.embedder, now.advance)
            same_person = find_same_person(found.candidates, embeddings, models.embedder)
            now.note = str(same_person)
    with stage("select faces"):
        choice = choose_faces(found.candidates, options.count, embeddings, same_person=same_person.cosine)
        hint = _why_faceless(found, models, own=options.detector is not None)
        require_enough_faces(choice, found, f"; {hint}" if hint else "")
    faces, left_out = choice.faces, (*found.skipped, *choice.left_out)
    with stage("write the set"):
        written = write_set(
            options.out,
            faces,
            choose_frames(faces, found, options.count),
            models.input.width,
            models.input.height,
            provenance=Provenance(options.photos, onnx_digest(models.path), options.threshold, models.crop, left_out),
            among=found.candidates,
        )
    if len(faces) < options.count:
        print(
            f"rkface: {len(faces)} faces instead of {options.count}: the photos have no more different usable faces",
            file=sys.stderr,
        )
    if hint and not models.synthetic:
        print(f"rkface: most photos have no face: {hint}", file=sys.stderr)
    if options.json:
        print(to_json(written, faces, left_out))
    else:
        print(to_text(written, faces, left_out, found.notes))
    return 0


def _why_faceless(found: Collection, models: CalibrationModels, *, own: bool) -> str:
    """What to do about the detector if it is probably the reason for photos without a face; "" if nothing is known.
    ``own``: the detector is the user's, not that of a bundle."""
    from .collect import NO_FACE

    if models.synthetic:
        return "the detector of the demo bundle only finds rendered faces: give a real one with --detector"
    faceless = sum(skip.reason == NO_FACE for skip in found.skipped)
    if own and 2 * faceless > len(found.photos):
        return (
            "if the photos show faces, the detector takes another input than others of its family, for example because "
            "it normalizes by itself: run `rkface convert` with it, which finds that out, and give its bundle with "
            "--bundle"
        )
    return ""


def _check_separate(photos: Path, out: Path) -> None:
    inner, outer = out.resolve(), photos.resolve()
    if inner.is_relative_to(outer):
        raise InputError(
            f"--out {out} is inside {photos}, so its images would count as photos next time: choose a folder outside"
        )
    if outer.is_relative_to(inner):
        raise InputError(f"--out {out} contains {photos}, which would be replaced: choose another folder")
