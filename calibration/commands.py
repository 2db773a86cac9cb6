"""``rkface calibrate``. Heavy modules are imported when the command runs."""

from __future__ import annotations

import json
import shlex
import sys
from argparse import ArgumentParser, ArgumentTypeError, Namespace
from contextlib import ExitStack
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from rkface.runtime.cli.options import BUNDLE
from rkface.runtime.core.arguments import fraction, image_size, recognizer_crop
from rkface.runtime.core.errors import InputError

from . import COUNT, MINIMUM

if TYPE_CHECKING:
    from rkface.runtime.core.crop_template import CropTemplate, StatedCrop
    from rkface.runtime.core.manifest import Input
    from rkface.runtime.vision.detect import Detector
    from rkface.runtime.vision.embed import Embedder

    from .collect import CandidateFace, Collection, Skipped
    from .dataset import CalibrationSet
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

    _check_separate(options.photos, options.out)
    check_output_folder(options.out)
    with stage("open the models"):
        models = _open_models(options)
    with ExitStack() as opened:
        return _make_set(options, models, _open_progress(options, models, opened) if options.resume else None)


def _open_progress(options: Namespace, models: _Models, opened: ExitStack) -> ProgressFile:
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


def _make_set(options: Namespace, models: _Models, earlier: ProgressFile | None) -> int:
    from rkface.runtime.core.onnx_file import onnx_digest
    from rkface.runtime.core.progress import stage

    from .choose import choose_faces, choose_frames, require_enough_faces
    from .collect import collect_faces, embed_faces
    from .same_person import SamePerson, find_same_person
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
        print(_to_json(written, faces, left_out))
    else:
        print(_render(options.out, written, faces, left_out, found.notes))
    return 0


def _why_faceless(found: Collection, models: _Models, *, own: bool) -> str:
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


@dataclass(frozen=True)
class _Models:
    """``input`` and ``path`` belong to the detector; ``embedder`` is None if no model tells people apart. ``crop``: how
    faces are aligned for the recognizer."""

    detector: Detector
    input: Input
    path: Path
    embedder: Embedder | None
    crop: CropTemplate
    synthetic: bool = False


def _open_models(options: Namespace) -> _Models:
    from rkface.runtime.backends.reference import open_reference
    from rkface.runtime.core.bundle import read_bundle
    from rkface.runtime.vision.bare_onnx import open_detector, open_recognizer
    from rkface.runtime.vision.detect import Detector
    from rkface.runtime.vision.embed import Embedder

    providers, threads = (options.provider,), 1  # each core works on a photo of its own
    stated, embedder = options.recognizer_crop, None
    if options.recognizer is not None:
        embedder = open_recognizer(options.recognizer, providers, threads, stated).embedder()
    if options.detector is not None:
        width, height = options.size or (None, None)
        backend, input, outputs = open_detector(options.detector, width, height, providers, threads)
        return _Models(Detector(backend, input, outputs), input, options.detector, embedder, _crop(embedder, stated))
    if options.size is not None:
        raise InputError("--size only works with --detector: the detector of a bundle has a fixed size")
    if stated is not None and embedder is None:
        raise InputError("--recognizer-crop describes a model of your own: the recognizer of a bundle has its crop")
    if not options.bundle.is_dir():
        raise InputError(f"{options.bundle}: this bundle does not exist: give a face detector with --detector")
    bundle = read_bundle(options.bundle)
    path, model, face = bundle.reference("detector"), bundle.manifest.detector, bundle.manifest.recognizer
    detector = Detector(open_reference(path, model.input, providers, threads), model.input, model.outputs)
    if embedder is None:
        backend = open_reference(bundle.reference("recognizer"), face.input, providers, threads)
        embedder = Embedder(backend, face.crop, face.outputs[0].shape[-1])
    return _Models(detector, model.input, path, embedder, embedder.crop, bundle.manifest.synthetic)


def _crop(embedder: Embedder | None, stated: StatedCrop | None) -> CropTemplate:
    """The crop of the faces in the set: the recognizer's, or what the user says about the one that the set is for."""
    from rkface.runtime.core.crop_template import ARCFACE_112, CropTemplate

    if embedder is not None:
        return embedder.crop
    if stated is not None and not isinstance(stated, CropTemplate):
        raise InputError("five points in --recognizer-crop need the size of the crop: also give --recognizer")
    return stated or ARCFACE_112


def _render(
    out: Path,
    written: CalibrationSet,
    faces: tuple[CandidateFace, ...],
    left_out: tuple[Skipped, ...],
    notes: tuple[str, ...],
) -> str:
    from .dataset import CONTACT, SPREAD
    from .write_set import count_reasons

    photos = len({face.sha256 for face in faces})
    scores = [face.quality.score for face in faces]
    size = f"{written.width}×{written.height}"
    next_command = ["rkface", "convert", "--calibration", str(out)]
    return "\n".join(
        [
            f"{out}: {written.faces} faces from {photos} photos, {written.frames} frames of {size}",
            *(f"  {note}" for note in notes),
            f"  quality    {max(scores):.2f} to {min(scores):.2f}",
            f"  left out   {', '.join(f'{n} × {reason}' for reason, n in count_reasons(left_out)) or 'nothing'}",
            f"  check      {out / CONTACT}: these are faces of people, so protect the folder like the photos",
            f"  check      {out / SPREAD}: pose, light, skin tone, size and quality, beside those of all usable faces",
            f"next: {shlex.join(next_command)} --detector D.onnx --recognizer R.onnx",
        ]
    )


def _to_json(written: CalibrationSet, faces: tuple[CandidateFace, ...], left_out: tuple[Skipped, ...]) -> str:
    from .write_set import count_reasons

    scores = [face.quality.score for face in faces]
    report = {
        "folder": str(written.folder),
        "digest": written.digest,
        "faces": written.faces,
        "photos": len({face.sha256 for face in faces}),
        "frames": written.frames,
        "width": written.width,
        "height": written.height,
        "quality": {"highest": round(max(scores), 4), "lowest": round(min(scores), 4)},
        "left_out": dict(count_reasons(left_out)),
        "turned": len({face.sha256 for face in faces if face.turned}),
        "second_look": len({face.sha256 for face in faces if face.again}),
    }
    return json.dumps(report, ensure_ascii=False)
