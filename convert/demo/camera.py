"""A rendered camera: synthetic people walk by, stop, look and walk on, in an endless loop; JPEG images on stdout.

    python -m rkface.convert.demo.camera --size 1280x720 --rate 15 | rkface run --bundle build/rk3588 --camera -

The images repeat after each round, so a file with one round can be played in a loop.
"""

from __future__ import annotations

import argparse
import os
import sys
import time
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

import cv2
import numpy as np
from numpy.typing import NDArray

from rkface.runtime.core.errors import InputError

from .background import background, develop
from .face import draw_face, view_of
from .identity import EVALUATE, identity
from .look import FaceLook, random_look
from .render import Scene

NAMES = ("Ada", "Bela", "Chike", "Dana", "Emre", "Fenna", "Goro", "Hana", "Ines", "Jomo", "Kai", "Lena")
ARRIVE, STAY, LEAVE = 2.5, 3.0, 2.5  # seconds in which a person walks in, stands and looks, and walks out
APART = 4.0  # seconds between two people: two people are in the image at the same time
TALL = (0.16, 0.3)  # height of a face, as a share of the image height
SIDE_ON = np.radians(24)  # yaw of the face of a walking person


@dataclass(frozen=True)
class _Walker:
    number: int
    look: FaceLook
    start: float
    leftwards: bool
    tall: float
    stop: float
    level: float


class DemoCamera:
    """A scene, chosen by ``seed``, with ``people`` synthetic people that no demo model was trained on. Another
    ``place`` is another scene with the same people.

    ``render(time)`` gives the image at ``time`` in seconds, and its contents; it repeats after ``round`` seconds.
    """

    def __init__(self, width: int = 1280, height: int = 720, people: int = 4, seed: int = 1, place: int = 0) -> None:
        if not 1 <= people <= len(NAMES):
            raise InputError(f"--people {people}: must be 1 to {len(NAMES)}")
        if not (160 <= width <= 3840 and 120 <= height <= 2160):
            raise InputError(f"--size {width}x{height}: must be 160x120 to 3840x2160")
        random = np.random.default_rng([0xCA3E2A, seed, *([place] if place else [])])
        self.width, self.height, self.seed = width, height, seed
        self.round = max(people * APART, ARRIVE + STAY + LEAVE)
        self._backdrop = background(random, width, height)
        self._walkers = [
            _Walker(
                number=EVALUATE[(seed * len(NAMES) + index) % len(EVALUATE)],
                look=random_look(random, covered=0.0),
                start=index * APART,
                leftwards=bool(random.uniform() < 0.5),
                tall=float(random.uniform(*TALL)),
                stop=float(random.uniform(0.25, 0.75)),
                level=float(random.uniform(0.35, 0.55)),
            )
            for index in range(people)
        ]

    @property
    def cast(self) -> dict[str, int]:
        """The people who walk by: name → synthetic identity."""
        return {NAMES[index]: walker.number for index, walker in enumerate(self._walkers)}

    def render(self, moment: float) -> Scene:
        """The image at ``moment`` seconds. The scene lists the faces whose landmarks are all inside the image."""
        image = self._backdrop.copy()
        boxes, landmarks, numbers = [], [], []
        # People farther away first, because nearer people cover them.
        for walker in sorted(self._walkers, key=lambda one: one.tall):
            since = (moment - walker.start) % self.round
            if since >= ARRIVE + STAY + LEAVE:
                continue
            who = identity(walker.number)
            x, y, look = self._pose(walker, since)
            scale = walker.tall * self.height / (0.95 + who.chin)
            found = draw_face(image, who, look, view_of(look, scale, x, y))
            # The body below the chest, where the renderer of portraits ends.
            chest, left, right = round(y + 2.7 * scale), max(0, round(x - 1.8 * scale)), max(0, round(x + 1.8 * scale))
            image[chest:, left:right] = image[chest : chest + 1, left:right]
            inside = (found.landmarks >= 0).all() and (found.landmarks < (self.width, self.height)).all()
            if inside:
                boxes.append(found.box)
                landmarks.append(found.landmarks)
                numbers.append(walker.number)
        return Scene(
            # The same seed for every frame: the exposure of a camera does not change randomly.
            develop(image, np.random.default_rng([0xCA3E2A, self.seed, 1])),
            np.array(boxes, np.float32).reshape(-1, 4),
            np.array(landmarks, np.float32).reshape(-1, 5, 2),
            np.array(numbers, np.int64),
        )

    def portraits(self, name: str, count: int) -> list[NDArray[np.uint8]]:
        """``count`` 480×480 photos of the person ``name``, to enroll; light and pose differ from those in the
        camera."""
        number = self.cast[name]
        photos = []
        for index in range(count):
            random = np.random.default_rng([0xCA3E2A, self.seed, number, index])
            image = background(random, 480, 480)
            look = random_look(random, covered=0.0)
            draw_face(image, identity(number), look, view_of(look, 80.0, 240.0, 230.0))
            photos.append(develop(image, random, (85, 96)))
        return photos

    def _pose(self, walker: _Walker, since: float) -> tuple[float, float, FaceLook]:
        """Position of a walking person's head in pixels, and the look."""
        edge = 0.15 + walker.tall * self.height / self.width  # outside the image
        towards = -1.0 if walker.leftwards else 1.0
        first, last = (1 + edge, -edge) if walker.leftwards else (-edge, 1 + edge)
        if since < ARRIVE:
            part = since / ARRIVE
            x, walking = first + (walker.stop - first) * (2 * part - part**2), 1 - part  # slowing down
        elif since < ARRIVE + STAY:
            x, walking = walker.stop, 0.0
        else:
            part = (since - ARRIVE - STAY) / LEAVE
            x, walking = walker.stop + (last - walker.stop) * part**2, part
        sway = np.sin(2.1 * since)
        look = replace(
            walker.look,
            yaw=float(towards * SIDE_ON * min(1.0, 2 * walking) + 0.12 * sway),
            pitch=float(0.07 * np.sin(1.3 * since)),
            roll=float(0.05 * np.sin(1.7 * since + 1)),
            smile=float(np.clip(walker.look.smile + 0.3 * sway, -0.5, 1)),
            eyes=0.1 if since % 3.1 < 0.12 else max(walker.look.eyes, 0.75),  # blinks
        )
        y = walker.level + 0.012 * walking * np.sin(2 * np.pi * 1.8 * since)  # steps
        return x * self.width, float(y * self.height), look


def stream(
    render: Callable[[float], NDArray[np.uint8]], rate: float, seconds: float | None, fast: bool
) -> Iterator[bytes]:
    """The images that ``render`` gives (BGR, by time in seconds) as JPEG, ``rate`` per second, or as quickly as they
    are rendered if ``fast``.

    If rendering is slower than ``rate``, images are left out, and people walk at the same speed.
    """
    start, count = time.monotonic(), 0
    while True:
        passed = time.monotonic() - start
        if not fast:
            count = max(count, int(passed * rate))
        if seconds is not None and count >= seconds * rate:
            return
        if not fast:
            time.sleep(max(0.0, count / rate - passed))
        yield cv2.imencode(".jpg", render(count / rate), [cv2.IMWRITE_JPEG_QUALITY, 90])[1].tobytes()
        count += 1


def write_to_stdout(pictures: Iterable[bytes]) -> None:
    """Write ``pictures`` to stdout, until its reader has gone or the program is interrupted."""
    try:
        for picture in pictures:
            sys.stdout.buffer.write(picture)
            sys.stdout.buffer.flush()
    except BrokenPipeError:  # the reader has closed the pipe: do not flush at exit
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
    except KeyboardInterrupt:
        pass


def write_portraits(camera: DemoCamera, folder: Path, count: int) -> None:
    """Write photos to enroll the people: ``folder``/NAME/1.jpg and so on."""
    for name in camera.cast:
        (folder / name).mkdir(parents=True, exist_ok=True)
        for index, photo in enumerate(camera.portraits(name, count), 1):
            cv2.imwrite(str(folder / name / f"{index}.jpg"), photo, [cv2.IMWRITE_JPEG_QUALITY, 95])


def main(arguments: Sequence[str] | None = None) -> int:
    parser = argparse.ArgumentParser(
        prog="python -m rkface.convert.demo.camera",
        description="A rendered camera: synthetic people walk by; writes JPEG images to stdout.",
        epilog="example: python -m rkface.convert.demo.camera | rkface run --bundle build/rk3588 --camera -",
    )
    parser.add_argument("--size", default="1280x720", metavar="WxH", help="size of the image (default: %(default)s)")
    parser.add_argument("--rate", type=float, default=15.0, help="images per second (default: %(default)g)")
    parser.add_argument("--people", type=int, default=4, help=f"number of people, 1 to {len(NAMES)} (default: 4)")
    parser.add_argument(
        "--seed", type=int, default=1, help="another seed gives other people and another place (default: 1)"
    )
    parser.add_argument("--place", type=int, default=0, help="another number gives another place with the same people")
    parser.add_argument("--seconds", type=float, help="end after this time (default: never)")
    parser.add_argument(
        "--slow", type=float, default=1.0, metavar="TIMES", help="people walk so many times slower, for a slow board"
    )
    parser.add_argument("--fast", action="store_true", help="write images as quickly as they are rendered")
    parser.add_argument("--portraits", type=Path, metavar="DIR", help="only write photos of the people, to enroll them")
    options = parser.parse_args(arguments)
    try:
        width, height = (int(side) for side in options.size.lower().split("x"))
    except ValueError:
        parser.error(f"--size {options.size}: two numbers with an x between, as in 1280x720")
    if not 0 < options.rate <= 120:
        parser.error(f"--rate {options.rate:g}: above 0, at most 120")
    if not options.slow >= 1:
        parser.error(f"--slow {options.slow:g}: 1 or more")
    try:
        camera = DemoCamera(width, height, options.people, options.seed, options.place)
    except InputError as error:
        parser.error(str(error))
    if options.portraits:
        write_portraits(camera, options.portraits, 3)
        return 0
    if sys.stdout.isatty():
        parser.error("stdout is a terminal: pipe it into rkface, or > round.mjpg")

    def render(moment: float) -> NDArray[np.uint8]:
        return camera.render(moment / options.slow).image

    write_to_stdout(stream(render, options.rate, options.seconds, options.fast))
    return 0


if __name__ == "__main__":
    sys.exit(main())
