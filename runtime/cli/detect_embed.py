"""``rkface detect`` and ``rkface embed``: faces in photos, as text or JSON. Imports nothing heavy before it runs."""

from __future__ import annotations

import sys
from argparse import ArgumentParser, Namespace
from collections import defaultdict
from collections.abc import Mapping, Sequence
from contextlib import ExitStack
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any

from ..core.errors import InputError, WorkError
from ..core.messages import show_message
from ..core.text import counted, in_a_line
from .embeddings_file import EmbeddingsFile, open_embeddings_file
from .options import add_json, print_json
from .photos import (
    add_photo_options,
    create_folder,
    drawing_paths,
    expand_folders,
    inference_threads,
    open_pipeline,
    photo_progress,
    print_skipped,
)

if TYPE_CHECKING:
    from ..core.faces import Faces
    from ..inference.pipeline import Pipeline
    from ..vision.image import ReadPhoto


def detect(parser: ArgumentParser) -> None:
    """Find the faces in photos: boxes, scores and five landmarks.

    A folder stands for all photos in it and in its subfolders, in the order of their paths. Hidden files are left out.
    A photo that cannot be read is named, and the others are processed.

    A photo in which no face is plainly upright is also searched turned by 90, 180 and 270 degrees, and one without a
    face, or with a face at the border, with a margin around it, in which close-ups are found.

    With --json, each photo is one object on a line of its own, faces with the highest score first. Coordinates are
    pixels of the upright photo:
      {"image", "width", "height", "faces": [{"box": [x1,y1,x2,y2], "score", "landmarks": [[x,y] x 5]}], "backend"}
    A photo that was turned also has "turned", degrees clockwise; "sure": false says that this may be wrong.

    Exit code: 1 if one of several photos failed, 2 if the only photo cannot be used.

    examples:
      rkface detect --bundle build/rk3588 party.jpg --draw faces.jpg
      rkface detect --bundle build/rk3588 photos/ --draw drawings/
      rkface detect --bundle build/rk3588 --json photos/ > faces.jsonl
    """
    _add_arguments(parser)
    parser.set_defaults(run=lambda options: _process_photos(options, embed=False), out=None, resume=False)


def embed(parser: ArgumentParser) -> None:
    """Find the faces in photos and compute their embeddings.

    Works like `rkface detect`. With --json, each face also has an "embedding" of unit length, and each photo the
    "model" that made it: only embeddings of the same model can be compared. Without --json, only its size is shown.
    Embeddings are biometric data: protect a file of them as you protect the photos. A photo without a face counts as
    failed.

    For many photos, --out writes the lines of --json into a file that only you can read. If the run is interrupted, the
    same command with --resume goes on: photos whose lines are in the file are skipped.

    examples:
      rkface embed --bundle build/rk3588 --json ada.jpg
      rkface embed --bundle build/rk3588 photos/ --out embeddings.jsonl
      rkface embed --bundle build/rk3588 photos/ --out embeddings.jsonl --resume
    """
    _add_arguments(parser)
    parser.add_argument("--out", type=Path, metavar="FILE", help="write the lines of --json into this new file")
    parser.add_argument("--resume", action="store_true", help="go on with the file of an interrupted run")
    parser.set_defaults(run=lambda options: _process_photos(options, embed=True))


def _add_arguments(parser: ArgumentParser) -> None:
    parser.add_argument(
        "images", nargs="+", type=Path, metavar="PHOTO", help="a JPEG, PNG, WebP, BMP or HEIC file, or a folder of them"
    )
    add_photo_options(parser)
    add_json(parser, "one object a line for each photo")
    parser.add_argument(
        "--draw",
        type=Path,
        metavar="OUT",
        help="draw the faces: a .jpg or .png file, or for several photos a folder, which is created if needed",
    )


def _process_photos(options: Namespace, *, embed: bool) -> int:
    from ..gallery.people import embedding_identity
    from ..vision.read_ahead import ReadAhead

    if options.resume and not options.out:
        raise InputError("--resume goes on with a file: name it with --out")
    photos = expand_folders(options.images)
    several = len(photos) > 1 or any(path.is_dir() for path in options.images)
    drawings: dict[Path, list[Path]] = defaultdict(list)  # by photo, which may be named twice
    if options.draw:
        for photo, target in zip(photos, drawing_paths(options.draw, photos, folder=several), strict=True):
            drawings[photo].append(target)
    failed = 0
    with ExitStack() as opened:
        pipeline = opened.enter_context(open_pipeline(options, inference_threads(len(photos))))
        more: dict[str, str] = {"model": embedding_identity(pipeline.manifest)} if embed else {}
        more["backend"] = pipeline.backend
        file = None
        if options.out:
            file = opened.enter_context(open_embeddings_file(options.out, more["model"], resume=options.resume))
            photos = _without_done(photos, file.photos) if options.resume else photos
        if options.draw and several:
            create_folder(options.draw)
        advance = opened.enter_context(photo_progress(len(photos), shown=bool(options.out)))
        look = partial(_look_at, pipeline, options, drawings, embed=embed)
        reader = opened.enter_context(ReadAhead(photos, look))
        for done, photo in enumerate(photos):
            advance(done)
            try:
                _show(options, reader.take(photo), more, file, embed=embed)
            except InputError as error:
                show_message(error)
                failed += 1
    if not failed:
        return 0
    if len(photos) == 1:
        return InputError.exit_code
    print(f"{len(photos)} photos, {failed} failed", file=sys.stderr)
    return WorkError.exit_code


def _without_done(photos: Sequence[Path], done: frozenset[str]) -> list[Path]:
    """``photos`` without those whose names are in ``done``. Says how many these are."""
    rest = [photo for photo in photos if str(photo) not in done]
    print_skipped(len(photos) - len(rest), len(photos), "they are in the file already")
    return rest


@dataclass(frozen=True, eq=False)
class _Found:
    """What is found in ``photo``: ``faces`` in pixels of the upright photo of this size, and what to know about it."""

    photo: Path
    width: int
    height: int
    faces: Faces
    turned: int
    sure: bool
    notes: tuple[str, ...]


def _look_at(
    pipeline: Pipeline,
    options: Namespace,
    drawings: Mapping[Path, Sequence[Path]],
    photo: ReadPhoto,
    *,
    embed: bool,
) -> _Found:
    """The faces of ``photo``, which are drawn if ``drawings`` says where."""
    look = (pipeline.recognize_photo if embed else pipeline.detect_photo)(photo.image, options.threshold)
    if photo.path in drawings:
        from ..vision.draw import draw_faces, write_image

        drawn = draw_faces(look.image, look.faces)
        for target in drawings[photo.path]:
            write_image(target, drawn)
    height, width = look.image.shape[:2]
    return _Found(photo.path, width, height, look.faces, look.turned, look.sure, look.notes)


def _show(options: Namespace, found: _Found, more: dict[str, str], file: EmbeddingsFile | None, *, embed: bool) -> None:
    """Print what is ``found`` in a photo, or write it to ``file``. ``more`` belongs to each object of --json.
    InputError for a photo in which no face is found to embed."""
    if options.json or file:
        turn = ({"turned": found.turned} if found.turned else {}) | ({} if found.sure else {"sure": False})
        said = faces_to_json(found.photo, (found.width, found.height), found.faces) | turn | more
        if file:
            file.add(said)
        else:
            print_json(said)
    else:
        _print_faces(found)
    if embed and not len(found.faces):
        raise InputError(f"{found.photo}: no face found, so there is nothing to embed")


def _print_faces(found: _Found) -> None:
    faces, shown = found.faces, in_a_line(str(found.photo))
    if not len(faces):
        print(f"{shown}: no face")
        return
    print("; ".join([f"{shown}: {counted(len(faces), 'face')} in {found.width}×{found.height}", *found.notes]))
    for index in range(len(faces)):
        x1, y1, x2, y2 = faces.boxes[index]
        line = f"  {index + 1}: score {faces.scores[index]:.3f}, {x2 - x1:.0f}×{y2 - y1:.0f} px at ({x1:.0f}, {y1:.0f})"
        if faces.embeddings is not None:
            line += f", embedding of {faces.embeddings.shape[1]} numbers (--json prints them)"
        print(line)


def faces_to_json(photo: Path, size: tuple[int, int], faces: Faces) -> dict[str, Any]:
    """The faces found in ``photo``, of ``size`` (width, height), as the object that --json prints."""
    found = []
    for index in range(len(faces)):
        face: dict[str, Any] = {
            "box": [round(float(value), 3) for value in faces.boxes[index]],
            "score": round(float(faces.scores[index]), 6),
            "landmarks": [[round(float(x), 3), round(float(y), 3)] for x, y in faces.landmarks[index]],
        }
        if faces.embeddings is not None:
            face["embedding"] = [round(float(value), 8) for value in faces.embeddings[index]]
        found.append(face)
    return {"image": str(photo), "width": size[0], "height": size[1], "faces": found}
