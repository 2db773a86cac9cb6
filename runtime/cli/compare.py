"""``rkface compare``: whether two photos show the same person. Imports nothing heavy before it runs."""

from __future__ import annotations

from argparse import ArgumentParser, Namespace
from pathlib import Path

from ..core.errors import InputError
from ..core.manifest import UNMEASURED
from ..core.messages import show_message
from .options import add_json, print_json
from .photos import add_photo_options, check_drawing, check_not_a_photo, open_pipeline


def compare(parser: ArgumentParser) -> None:
    """Compare two photos: do their largest faces show the same person?

    Prints the cosine similarity of the two embeddings (1 = identical, around 0 = unrelated), and "same" if it reaches
    the bundle's match threshold, else "different". The exit code is 0 for both.

    A photo that lies on its side is turned. What is remarkable about a photo, such as several faces, is on stderr.

    With --json, prints one object: {"a", "b", "cosine", "threshold", "same"}.

    examples:
      rkface compare --bundle build/rk3588 ada.jpg visitor.jpg
      rkface compare --bundle build/rk3588 --json --draw pair.jpg ada.jpg visitor.jpg
    """
    parser.add_argument("a", type=Path, metavar="A", help="a photo")
    parser.add_argument("b", type=Path, metavar="B", help="another photo")
    add_photo_options(parser)
    add_json(parser, "one object")
    parser.add_argument(
        "--draw", type=Path, metavar="OUT", help="draw both photos side by side into this .jpg or .png file"
    )
    parser.set_defaults(run=_compare)


def _compare(options: Namespace) -> int:
    from ..vision.draw import draw_faces, side_by_side, write_image
    from ..vision.image import read_image

    photos = (options.a, options.b)
    if options.draw:
        check_not_a_photo(options.draw, [check_drawing(options.draw)], photos)
    largest, images = [], []
    with open_pipeline(options) as pipeline:
        for photo in photos:
            look = pipeline.detect_photo(read_image(photo), options.threshold)
            faces, notes = look.faces, look.notes
            if not len(faces):
                raise InputError(f"{photo}: no face found: use a photo with the whole face, or a lower --threshold")
            if len(faces) > 1:
                notes += (f"{len(faces)} faces: the largest is compared",)
            if notes:
                show_message(f"{photo}: {'; '.join(notes)}")
            index = faces.largest()
            images.append(look.image)
            largest.append(faces[index : index + 1])
        crops = [pipeline.align(image, faces.landmarks[0]) for image, faces in zip(images, largest, strict=True)]
        first, second = pipeline.embed(crops)
        threshold = pipeline.thresholds.match
        doubt = "" if pipeline.manifest.threshold_measured else f" ({UNMEASURED}: `rkface evaluate` measures it)"
    cosine = float(first @ second)
    same = cosine >= threshold
    verdict = "same" if same else "different"
    if options.json:
        result = {"a": str(options.a), "b": str(options.b), "cosine": round(cosine, 6), "threshold": threshold}
        print_json({**result, "same": same})
    else:
        print(f"{verdict}: cosine {cosine:.4f}, threshold {threshold:.4f}{doubt}")
    if options.draw:
        label = [f"{verdict} {cosine:.3f}"]
        left, right = (draw_faces(image, faces, label) for image, faces in zip(images, largest, strict=True))
        write_image(options.draw, side_by_side(left, right))
    return 0
