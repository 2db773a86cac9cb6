"""``rkface detect``, ``embed``, ``compare`` and ``verify``. Imports nothing heavy before a command runs."""

from __future__ import annotations

import json
import sys
from argparse import ArgumentParser, ArgumentTypeError, Namespace
from collections.abc import Sequence
from itertools import chain, count
from pathlib import Path
from typing import TYPE_CHECKING, Any

from ..core.errors import InputError
from .options import BUNDLE

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray

    from ..core.faces import Faces
    from ..inference.pipeline import Pipeline


def unit_interval(text: str) -> float:
    try:
        value = float(text)
    except ValueError:
        value = -1.0
    if not 0 <= value <= 1:
        raise ArgumentTypeError(f"{text!r} is not a number from 0 to 1")
    return value


def detect(parser: ArgumentParser) -> None:
    """Find the faces in photos: boxes, scores and five landmarks.

    With --json, one object a line for each photo, in pixels of the photo as a person sees it, best score first:
      {"image", "width", "height", "faces": [{"box": [x1,y1,x2,y2], "score", "landmarks": [[x,y] x 5]}], "backend"}

    examples:
      rkface detect --bundle build/rk3588 party.jpg --draw faces.jpg
      rkface detect --bundle build/rk3588 --json photos/*.jpg > faces.jsonl
    """
    parser.add_argument("images", nargs="+", type=Path, metavar="IMAGE", help="JPEG, PNG, WebP or BMP")
    _common(parser)
    parser.set_defaults(run=lambda options: _photos(options, embed=False))


def embed(parser: ArgumentParser) -> None:
    """Find the faces in photos and compute their embeddings.

    As `rkface detect`, with "embedding" (unit length) for each face in the --json output. Embeddings are biometric
    data: keep what you redirect into a file as you would keep the photos.

    examples:
      rkface embed --bundle build/rk3588 --json ada.jpg
    """
    parser.add_argument("images", nargs="+", type=Path, metavar="IMAGE", help="JPEG, PNG, WebP or BMP")
    _common(parser)
    parser.set_defaults(run=lambda options: _photos(options, embed=True))


def compare(parser: ArgumentParser) -> None:
    """Tell whether the largest faces of two photos are the same person.

    Prints their cosine (1 = identical, around 0 = unrelated) and "same" or "different" at the bundle's threshold.

    examples:
      rkface compare --bundle build/rk3588 ada.jpg visitor.jpg
      rkface compare --bundle build/rk3588 --json --draw pair.jpg ada.jpg visitor.jpg
    """
    parser.add_argument("a", type=Path, metavar="A", help="a photo")
    parser.add_argument("b", type=Path, metavar="B", help="another photo")
    _common(parser)
    parser.set_defaults(run=_compare)


def verify(parser: ArgumentParser) -> None:
    """Check that a bundle is complete and unchanged, and say what is in it.

    examples:
      rkface verify build/rk3588
      rkface verify build/rk3588 --soc rk3588
    """
    parser.add_argument("bundle", type=Path, metavar="BUNDLE", help="the folder that `rkface convert` wrote")
    parser.add_argument("--soc", help="also check that it was made for this chip, such as rk3588")
    parser.set_defaults(run=_verify)


def _common(parser: ArgumentParser) -> None:
    parser.add_argument(
        "--bundle",
        type=Path,
        default=Path(BUNDLE),
        metavar="DIR",
        help="what `rkface convert` wrote (default: %(default)s)",
    )
    parser.add_argument(
        "--backend", metavar="B", help="npu, or reference = ONNX Runtime (default: what this machine has)"
    )
    parser.add_argument(
        "--provider", default="cpu", metavar="P", help="of ONNX Runtime: cpu, openvino, cuda (default: %(default)s)"
    )
    parser.add_argument("--threshold", type=unit_interval, metavar="T", help="detection score (default: the bundle's)")
    parser.add_argument("--json", action="store_true", help="for programs instead of for people")
    parser.add_argument(
        "--draw", type=Path, metavar="OUT", help="draw the faces: a .jpg or .png, or a folder for several"
    )


def _open(options: Namespace) -> Pipeline:
    from ..inference.pipeline import open_bundle

    return open_bundle(options.bundle, options.backend, (options.provider,))


def _photos(options: Namespace, *, embed: bool) -> int:
    from ..vision.image import read_image

    failed = 0
    targets = _targets(options.draw, options.images) if options.draw else [None] * len(options.images)
    with _open(options) as pipeline:
        for path, target in zip(options.images, targets, strict=True):
            try:
                image = read_image(path)
            except InputError as error:  # the other photos are still worth an answer
                print(f"rkface: {error}", file=sys.stderr)
                failed = error.exit_code
                continue
            faces = (pipeline.recognize if embed else pipeline.detect)(image, options.threshold)
            _show(options, path, image, faces, pipeline.backend)
            if embed and not len(faces):
                print(f"rkface: {path}: no face found, so nothing to embed", file=sys.stderr)
                failed = InputError.exit_code
            if target is not None:
                _draw(target, image, faces)
    return failed


def _targets(draw: Path, images: Sequence[Path]) -> list[Path]:
    """Where the drawing of each photo goes. InputError, before any work, for a place that cannot be meant."""
    if draw.is_dir():
        stems: list[str] = []
        for image in images:  # a/ada.jpg and b/ada.png: neither may replace the other
            numbered = (f"{image.stem}-{number}" for number in count(2))
            stems.append(next(stem for stem in chain([image.stem], numbered) if stem not in stems))
        targets = [draw / f"{stem}.jpg" for stem in stems]
    elif len(images) > 1:
        raise InputError(f"--draw {draw}: for several photos this must be an existing folder")
    else:
        targets = [_picture(draw)]
    photos = {image.resolve(): image for image in images}
    lost = next((photos[target.resolve()] for target in targets if target.resolve() in photos), None)
    if lost is not None:
        raise InputError(f"--draw {draw} would overwrite the photo {lost}: choose another place")
    return targets


def _picture(path: Path) -> Path:
    if path.suffix.lower() not in (".jpg", ".jpeg", ".png"):
        raise InputError(f"--draw {path}: a picture's name should end in .jpg or .png")
    if not path.parent.is_dir():
        raise InputError(f"--draw {path}: there is no folder {path.parent}")
    return path


def _show(options: Namespace, path: Path, image: NDArray[np.uint8], faces: Faces, backend: str) -> None:
    if options.json:
        print(json.dumps(describe(path, image, faces) | {"backend": backend}, ensure_ascii=False), flush=True)
        return
    found = len(faces)
    print(
        f"{path}: {found} face{'s' * (found != 1)} in {image.shape[1]}×{image.shape[0]}"
        if found
        else f"{path}: no face"
    )
    for index in range(found):
        x1, y1, x2, y2 = faces.boxes[index]
        line = f"  {index + 1}: score {faces.scores[index]:.3f}, {x2 - x1:.0f}×{y2 - y1:.0f} px at ({x1:.0f}, {y1:.0f})"
        if faces.embeddings is not None:
            line += f", embedding of {faces.embeddings.shape[1]} numbers (--json prints them)"
        print(line)


def describe(path: Path, image: NDArray[np.uint8], faces: Faces) -> dict[str, Any]:
    """The JSON object that ``--json`` prints for one photo."""
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
    return {"image": str(path), "width": image.shape[1], "height": image.shape[0], "faces": found}


def _draw(target: Path, image: NDArray[np.uint8], faces: Faces, labels: list[str] | None = None) -> None:
    from ..vision.draw import draw_faces, write_image

    write_image(target, draw_faces(image, faces, labels))


def _compare(options: Namespace) -> int:
    from ..vision.draw import draw_faces, side_by_side, write_image
    from ..vision.image import read_image

    if options.draw and _picture(options.draw).resolve() in (options.a.resolve(), options.b.resolve()):
        raise InputError(f"--draw {options.draw} would overwrite a photo: choose another place")
    largest = []
    images = [read_image(path) for path in (options.a, options.b)]
    with _open(options) as pipeline:
        for path, image in zip((options.a, options.b), images, strict=True):
            faces = pipeline.detect(image, options.threshold)
            if not len(faces):
                raise InputError(
                    f"{path}: no face found: use a photo in which the face is larger, or a lower --threshold"
                )
            index = faces.largest()
            largest.append(faces[index : index + 1])
        crops = [pipeline.align(image, faces.landmarks[0]) for image, faces in zip(images, largest, strict=True)]
        first, second = pipeline.embed(crops)
        threshold = pipeline.thresholds.match
    cosine = float(first @ second)
    verdict = "same" if cosine >= threshold else "different"
    if options.json:
        print(
            json.dumps(
                {
                    "a": str(options.a),
                    "b": str(options.b),
                    "cosine": round(cosine, 6),
                    "threshold": threshold,
                    "same": verdict == "same",
                },
                ensure_ascii=False,
            )
        )
    else:
        print(f"{verdict}: cosine {cosine:.4f}, threshold {threshold:.4f}")
    if options.draw:
        label = [f"{verdict} {cosine:.3f}"]
        left, right = (draw_faces(image, faces, label) for image, faces in zip(images, largest, strict=True))
        write_image(options.draw, side_by_side(left, right))
    return 0


def _verify(options: Namespace) -> int:
    from ..core.bundle import read_bundle

    bundle = read_bundle(options.bundle, options.soc)
    manifest = bundle.manifest
    print(f"{options.bundle}: unchanged since {manifest.created}")
    print(
        f"  {manifest.name}{' (synthetic)' if manifest.synthetic else ''} for {manifest.target}, "
        f"toolkit {manifest.toolkit}, rkface {manifest.rkface}"
    )
    for role in manifest.roles:
        model = manifest.model(role)
        size = bundle.path(role).stat().st_size / 1e6
        shape = f"{model.input.width}×{model.input.height}"
        print(
            f"  {role:10} {model.precision}, {shape}, {size:.1f} MB, from {model.source.file} ({model.source.license})"
        )
    return 0
