"""A camera made of your own photos: each passes by, stops, and leaves, in an endless loop; JPEG images on stdout.

    python -m rkface.convert.demo.photo_camera staff/ --enroll enrolled/
    rkface enroll --bundle build/rk3588 --gallery gallery.sqlite --folder enrolled/
    python -m rkface.convert.demo.photo_camera staff/ | rkface run --gallery gallery.sqlite --camera - …

`make demo PHOTOS=staff/` runs these steps. A demo that shows the same photos that were enrolled proves nothing. So, of
each person with several photos, some are kept from enrollment, and only these are shown.
"""

from __future__ import annotations

import argparse
import shutil
import sys
from collections.abc import Sequence
from dataclasses import dataclass
from itertools import zip_longest
from pathlib import Path

import cv2
import numpy as np
from numpy.typing import NDArray

from rkface.runtime.core.arguments import image_size
from rkface.runtime.core.errors import InputError
from rkface.runtime.enrollment.photo_folders import PersonPhoto, find_photos
from rkface.runtime.vision.image import read_image

from .camera import stream, write_to_stdout

Image = NDArray[np.uint8]

PASS, STAY, GAP = 1.0, 3.0, 1.5  # seconds in which a photo comes and leaves, stays, and none is shown
FILLED = 0.85  # of the image that a photo fills: a detector needs some room around a face
ZOOM = 0.06  # by which a photo grows while it stays, as a person does who steps closer
SHOWN = 1 / 3  # of a person's photos are kept from enrollment, and shown


@dataclass(frozen=True)
class Cast:
    """Photos to enroll and photos to show; people with one photo are in both."""

    enrolled: tuple[PersonPhoto, ...]
    shown: tuple[PersonPhoto, ...]

    @property
    def single(self) -> tuple[str, ...]:
        """People of whom the enrolled photo is shown, because they have no other one."""
        return tuple(photo.person for photo in self.shown if photo in self.enrolled)

    def __str__(self) -> str:
        """For people: what the demo shows, and what it does not prove."""
        people = len({photo.person for photo in self.shown})
        text = f"{people} {'person is' if people == 1 else 'people are'} enrolled from {len(self.enrolled)} photos. "
        others = len(self.shown) - len(self.single)
        if others:
            text += f"{others} other photos of them are shown, which were not enrolled. "
        if self.single:
            names = ", ".join(self.single[:5]) + (", …" if len(self.single) > 5 else "")
            text += (
                f"{len(self.single)} have one photo only, which is enrolled and shown ({names}): "
                "that they are recognized proves nothing"
            )
        return text.strip()


def cast_people(photos: Sequence[PersonPhoto]) -> Cast:
    """Choose from ``photos`` what is enrolled and what is shown: a person's last photos, and people take turns."""
    people: dict[str, list[PersonPhoto]] = {}
    for photo in photos:
        if not photo.problem:
            people.setdefault(photo.person, []).append(photo)
    enrolled, turns = [], []
    for own in people.values():
        kept = max(1, int(len(own) * SHOWN)) if len(own) > 1 else 0
        enrolled += own[: len(own) - kept]
        turns.append(own[len(own) - kept :] if kept else own)
    return Cast(tuple(enrolled), tuple(photo for turn in zip_longest(*turns) for photo in turn if photo is not None))


def copy_enrolled(cast: Cast, folder: Path) -> None:
    """Write the photos to enroll as ``rkface enroll --folder`` takes them: ``folder``/PERSON/FILE. Raises InputError if
    a photo cannot be copied."""
    for number, photo in enumerate(cast.enrolled):
        target = folder / photo.person / f"{number:04}{photo.path.suffix}"
        try:
            target.parent.mkdir(parents=True, exist_ok=True)
            shutil.copyfile(photo.path, target)
        except OSError as error:
            raise InputError(f"{error.filename or target}: cannot be copied: {error.strerror or error}") from error


class PhotoCamera:
    """Shows ``photos`` one after the other in images of ``width`` × ``height`` pixels."""

    def __init__(self, photos: Sequence[Path], width: int, height: int) -> None:
        self.round = len(photos) * (2 * PASS + STAY + GAP)  # seconds after which the images repeat
        self._photos, self._width, self._height = photos, width, height
        shade = np.linspace(70, 130, width, dtype=np.float32)[None, :, None]
        self._backdrop = np.broadcast_to(shade, (height, width, 3)).astype(np.uint8)
        self._number, self._photo = -1, self._backdrop

    def render(self, moment: float) -> Image:
        """The image at ``moment`` seconds: height × width × 3 uint8 BGR."""
        number, since = divmod(moment % self.round, 2 * PASS + STAY + GAP)
        image = self._backdrop.copy()
        if since >= 2 * PASS + STAY:
            return image
        away = max(0.0, 1 - since / PASS) - max(0.0, (since - PASS - STAY) / PASS)  # 1: still right, -1: already left
        scale = FILLED * (1 + ZOOM * min(max(since - PASS, 0.0), STAY) / STAY)
        self._paste(image, self._load(int(number)), scale, away * abs(away))
        return image

    def _load(self, number: int) -> Image:
        if number != self._number:
            try:
                photo = read_image(self._photos[number])
            except InputError as error:
                print(f"photo_camera: not shown: {error}", file=sys.stderr)
                photo = self._backdrop
            fit = min(self._width / photo.shape[1], self._height / photo.shape[0])
            size = tuple(max(1, round(side * fit)) for side in photo.shape[1::-1])
            fitted = cv2.resize(photo, size, interpolation=cv2.INTER_AREA if fit < 1 else cv2.INTER_LINEAR)
            self._number, self._photo = number, np.asarray(fitted, np.uint8)
        return self._photo

    def _paste(self, image: Image, photo: Image, scale: float, away: float) -> None:
        """Draw ``photo`` in the middle of ``image``, or ``away`` from it, in widths of the image."""
        x = self._width * (0.5 + away) - scale * photo.shape[1] / 2
        y = (self._height - scale * photo.shape[0]) / 2
        move = np.array([[scale, 0, x], [0, scale, y]], np.float64)
        cv2.warpAffine(
            photo, move, (self._width, self._height), image, cv2.INTER_LINEAR, borderMode=cv2.BORDER_TRANSPARENT
        )


def main(arguments: Sequence[str] | None = None) -> int:
    parser = argparse.ArgumentParser(
        prog="python -m rkface.convert.demo.photo_camera",
        description="A camera made of your own photos; writes JPEG images to stdout.",
        epilog="example: make demo PHOTOS=staff/",
    )
    parser.add_argument("folder", type=Path, metavar="DIR", help="photos of people, as for rkface enroll --folder")
    parser.add_argument("--nested", choices=("group", "person"), help="as for rkface enroll --folder")
    parser.add_argument("--size", type=image_size, default=(960, 540), metavar="WxH", help="default: 960x540")
    parser.add_argument("--rate", type=float, default=10.0, help="images per second (default: %(default)g)")
    parser.add_argument("--seconds", type=float, help="end after this time (default: never)")
    parser.add_argument("--fast", action="store_true", help="write images as quickly as they are made")
    parser.add_argument("--enroll", type=Path, metavar="DIR", help="only copy the photos to enroll into this folder")
    options = parser.parse_args(arguments)
    if not 0 < options.rate <= 120:
        parser.error(f"--rate {options.rate:g}: above 0, at most 120")
    try:
        cast = cast_people(find_photos(options.folder, options.nested or "ask"))
        if options.enroll:
            copy_enrolled(cast, options.enroll)
            print(cast, file=sys.stderr)
            return 0
        if sys.stdout.isatty():
            parser.error("stdout is a terminal: pipe it into rkface, or > round.mjpg")
        camera = PhotoCamera([photo.path for photo in cast.shown], *options.size)
        write_to_stdout(stream(camera.render, options.rate, options.seconds, options.fast))
    except InputError as error:
        print(f"photo_camera: {error}", file=sys.stderr)
        return error.exit_code
    return 0


if __name__ == "__main__":
    sys.exit(main())
