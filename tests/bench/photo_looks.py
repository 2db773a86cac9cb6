"""What the additional looks at photos find, cost and add: sideways photos, close-ups and pictures without faces.

    make bench-photos OPTIONS='--detector det.onnx --recognizer rec.onnx --photos photos/'

Every photo with a face at least 100 px wide is searched as it is, turned, and cropped around its largest face (the
detector's box, made larger or smaller). Pictures without faces are parts of the photos outside all faces, and drawn
textures. "one look" is the detector alone, as for frames of a camera; "photo" is rkface.runtime.vision.photo. A face is
"right" if its cosine with the face of the photo as it is reaches --match; a wrong one embeds nobody. "runs" is the mean
number of detector runs for a picture in the column "photo".
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

import cv2
import numpy as np
from numpy.typing import NDArray
from program import add_model_options, create_parser, format_table, has_own_models, write_results

from rkface.runtime.core.faces import Faces
from rkface.runtime.vision.align import align
from rkface.runtime.vision.bare_onnx import open_detector, open_recognizer
from rkface.runtime.vision.detect import Detector
from rkface.runtime.vision.image import read_image
from rkface.runtime.vision.photo import TURNS, PhotoFaces, find_faces, turn_image
from rkface.runtime.vision.photo_files import find_images

WIDE = 100  # pixels: smaller faces cannot be cropped tightly and enlarged
CROPS = (1.25, 1.1, 1.0, 0.9, 0.8)  # sides of the crop in sides of the detector's box
TEXTURES = 150
Image = NDArray[np.uint8]


class Models:
    """A detector that counts its runs, and a recognizer."""

    def __init__(self, detector: Path, recognizer: Path) -> None:
        backend, input, outputs = open_detector(detector)
        infer = backend.infer

        def count(images: NDArray[np.uint8]) -> list[NDArray[np.float32]]:
            self.runs += 1
            return infer(images)

        backend.infer = count  # type: ignore[method-assign]
        self.runs = 0
        self.detector = Detector(backend, input, outputs)
        self._embedder = open_recognizer(recognizer).embedder()

    def embed(self, image: Image, faces: Faces) -> NDArray[np.float32]:
        """The embedding of the face with the best score."""
        return self._embedder.embed([align(image, faces.landmarks[0], self._embedder.crop)])[0]


@dataclass(frozen=True)
class Subject:
    """A photo, the box of its largest face, and its embedding."""

    image: Image
    box: tuple[float, ...]
    embedding: NDArray[np.float32]


@dataclass
class Row:
    """The counts of one kind of pictures."""

    pictures: str
    count: int = 0
    one_look: int = 0
    one_right: int = 0
    photo: int = 0
    photo_right: int = 0
    unsure: int = 0
    runs: int = 0


def measure(
    models: Models, name: str, pictures: Sequence[tuple[Image, NDArray[np.float32] | None]], match: float
) -> Row:
    row = Row(name)
    for image, person in pictures:
        row.count += 1
        plain = models.detector.detect(image)
        row.one_look += bool(len(plain))
        row.one_right += is_right(models, PhotoFaces(image, plain), person, match)
        before = models.runs
        found = find_faces(models.detector, image, models.detector.threshold)
        row.runs += models.runs - before
        row.photo += bool(len(found.faces))
        row.photo_right += is_right(models, found, person, match)
        row.unsure += bool(len(found.faces)) and not found.sure
    return row


def is_right(models: Models, found: PhotoFaces, person: NDArray[np.float32] | None, match: float) -> bool:
    if person is None or not len(found.faces):
        return False
    return float(models.embed(found.image, found.faces) @ person) >= match


def find_subjects(models: Models, photos: Path) -> Iterator[Subject]:
    for path in find_images(photos):
        image = read_image(path)
        faces = models.detector.detect(image)
        if len(faces):
            largest = faces.largest()
            x1, y1, x2, y2 = faces.boxes[largest].tolist()
            if min(x2 - x1, y2 - y1) >= WIDE:
                one = faces[largest : largest + 1]
                yield Subject(image, (x1, y1, x2, y2), models.embed(image, one))


def crop(subject: Subject, share: float) -> Image:
    """The part of the photo around the face whose sides are ``share`` of those of its box."""
    x1, y1, x2, y2 = subject.box
    width, height = (x2 - x1) * share / 2, (y2 - y1) * share / 2
    x, y = (x1 + x2) / 2, (y1 + y2) / 2
    rows = slice(max(0, int(y - height)), int(y + height))
    return subject.image[rows, max(0, int(x - width)) : int(x + width)]


def backgrounds(models: Models, subjects: Sequence[Subject], random: np.random.Generator) -> Iterator[Image]:
    """Up to six square parts of each photo that contain no part of a face, however doubtful."""
    for subject in subjects:
        height, width = subject.image.shape[:2]
        boxes = models.detector.detect(subject.image, 0.3).boxes
        sides = (boxes[:, 2:] - boxes[:, :2]) * 0.3
        boxes = np.concatenate([boxes[:, :2] - sides, boxes[:, 2:] + sides], axis=1)
        found = 0
        for _ in range(400):
            side = int(random.uniform(0.2, 0.7) * min(height, width))
            x, y = int(random.integers(0, width - side + 1)), int(random.integers(0, height - side + 1))
            apart = (boxes[:, 2] < x) | (boxes[:, 0] > x + side) | (boxes[:, 3] < y) | (boxes[:, 1] > y + side)
            if apart.all() and found < 6:
                found += 1
                yield subject.image[y : y + side, x : x + side]


def textures(random: np.random.Generator, side: int = 256) -> Iterator[Image]:
    """Noise, clouds, shapes, one color, and waves."""
    across = np.linspace(0, 1, side)
    for index in range(TEXTURES):
        image = np.full((side, side, 3), random.integers(0, 256, 3), np.uint8)
        kind = index % 5
        if kind == 0:
            image = random.integers(0, 256, (side, side, 3)).astype(np.uint8)
        elif kind == 1:
            noise = random.uniform(0, 255, (side, side, 3)).astype(np.float32)
            clouds = cv2.GaussianBlur(noise, (0, 0), random.uniform(2, 20))
            image = cv2.normalize(clouds, clouds, 0, 255, cv2.NORM_MINMAX).astype(np.uint8)
        elif kind == 2:
            for x, y, size, *color in random.integers(0, side, (random.integers(3, 30), 6)).tolist():
                cv2.circle(image, (x, y), size // 5 + 2, color, cv2.FILLED)
        elif kind == 3:
            waves = np.outer(np.sin(across * random.uniform(5, 60)), np.cos(across * random.uniform(5, 60)))
            image = np.repeat((waves[..., None] * 127 + 128), 3, axis=2).astype(np.uint8)
        yield image


def main() -> int:
    parser = create_parser(__doc__, "build/bench/photos")
    add_model_options(parser)
    parser.add_argument("--match", type=float, default=0.43, help="cosine of the same person (default: %(default)s)")
    options = parser.parse_args()
    if not has_own_models(parser, options):
        parser.error("rendered faces say nothing about photos: give --detector, --recognizer and --photos")
    models = Models(options.detector, options.recognizer)
    subjects = list(find_subjects(models, options.photos))
    random = np.random.default_rng(0)
    turned: dict[str, Callable[[Image], Image]] = {
        f"turned by {turn}°" if turn else "as they are": lambda image, turn=turn: turn_image(image, turn)  # type: ignore[misc]
        for turn in TURNS
    }
    pictures = {name: [(turn(one.image), one.embedding) for one in subjects] for name, turn in turned.items()}
    for share in CROPS:
        pictures[f"cropped to {share} of the box"] = [(crop(one, share), one.embedding) for one in subjects]
    pictures["cropped to the box, upside down"] = [(turn_image(crop(one, 1), 180), one.embedding) for one in subjects]
    pictures["parts without faces"] = [(part, None) for part in backgrounds(models, subjects, random)]
    pictures["textures"] = [(part, None) for part in textures(random)]
    rows = [measure(models, name, found, options.match) for name, found in pictures.items()]
    write_results(options.out, to_markdown(rows), [vars(row) for row in rows])
    return 0


def to_markdown(rows: Sequence[Row]) -> str:
    headings = ["pictures", "number", "one look: faces", "right", "photo: faces", "right", "unsure", "runs"]
    return "\n".join(
        format_table(
            headings,
            [
                [row.pictures, row.count, row.one_look, row.one_right, row.photo, row.photo_right, row.unsure,
                 f"{row.runs / row.count:.2f}"]
                for row in rows
            ],
        )
    )  # fmt: skip


if __name__ == "__main__":
    raise SystemExit(main())
