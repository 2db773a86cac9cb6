"""Renders scenes of synthetic faces with exact ground truth, to train and to measure the demo models.

No photo is used, and figures that are measured on these scenes say nothing about people.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path

import cv2
import numpy as np
from numpy.typing import NDArray

from rkface.runtime.core.crop_template import ARCFACE_112, CropTemplate
from rkface.runtime.vision.align import align

from .background import background, develop
from .face import Truth, draw_face, truth, view_of
from .identity import BYSTANDERS, CALIBRATE, EVALUATE, TRAIN, Identity, identity
from .look import FaceLook, random_look

__all__ = ["BYSTANDERS", "CALIBRATE", "EVALUATE", "TRAIN", "Scene", "render_crop", "render_scene", "write_photos"]

# Heights of faces in pixels at 640×480 for which the demo detector is trained.
SMALLEST, LARGEST = 40.0, 260.0
_ATTEMPTS = 60


@dataclass(frozen=True)
class Scene:
    """A rendered image and its contents.

    image       H×W×3 uint8 BGR
    boxes       N×4 float32: x1, y1, x2, y2 in pixels
    landmarks   N×5×2 float32: left eye, right eye, nose, left and right mouth corner, as seen in the image
    identities  N int64
    """

    image: NDArray[np.uint8]
    boxes: NDArray[np.float32]
    landmarks: NDArray[np.float32]
    identities: NDArray[np.int64]


@dataclass(frozen=True)
class _Placed:
    who: Identity
    look: FaceLook
    scale: float
    x: float
    y: float


def render_scene(
    seed: int,
    identities: Sequence[int],
    width: int = 640,
    height: int = 480,
    *,
    covered: float = 0.1,
    sizes: tuple[float, float] = (SMALLEST, LARGEST),
) -> Scene:
    """An image of the people ``identities`` (0 to 6), each once; no face is hidden by another person.

    Faces are ``sizes`` pixels high (at 640×480, and in proportion for other sizes) and completely inside the image.
    People without a free place are left out, so read ``Scene.identities``. A share ``covered`` of the people wear
    sunglasses or a scarf, or hold a hand to the face. The same arguments give the same bytes.
    """
    random = np.random.default_rng([0x5CE2E, seed])
    image = background(random, width, height)
    placed = _place(random, identities, width, height, covered, sizes=sizes)
    # From top to bottom: a person in front covers the shoulders, but never the face, of a person behind.
    placed.sort(key=lambda one: one.y)
    truths = [draw_face(image, one.who, one.look, view_of(one.look, one.scale, one.x, one.y)) for one in placed]
    image = develop(image, random)
    return Scene(
        image,
        np.array([one.box for one in truths], np.float32).reshape(-1, 4),
        np.array([one.landmarks for one in truths], np.float32).reshape(-1, 5, 2),
        np.array([one.who.number for one in placed], np.int64),
    )


def render_crop(
    seed: int, number: int, jitter: float = 0.02, template: CropTemplate = ARCFACE_112
) -> NDArray[np.uint8]:
    """One face of the person ``number``, aligned to ``template``, as the recognizer gets it after detection: H×W×3 BGR.

    Normal noise of ``jitter`` times the inter-ocular distance is added to the landmarks, like the error of a detector.
    """
    random = np.random.default_rng([0xC209, seed, number])
    side = 200
    scale = float(np.exp(random.uniform(np.log(17), np.log(58))))
    image = background(random, side, side)
    look = random_look(random)
    center = side / 2 + random.uniform(-8, 8, 2)
    found = draw_face(image, identity(number), look, view_of(look, scale, float(center[0]), float(center[1])))
    image = develop(image, random)
    eyes = float(np.hypot(*(found.landmarks[1] - found.landmarks[0])))
    return align(image, found.landmarks + random.normal(0, jitter * eyes, (5, 2)), template)


def write_photos(
    folder: Path,
    identities: Sequence[int],
    per_identity: int,
    seed: int,
    progress: Callable[[int, int], None] = lambda done, total: None,
) -> None:
    """Write a folder of synthetic "photos": 640×480 JPEGs named ``person-INDEX-NN.jpg``, and ``pairs.csv``.

    Each photo shows one large face of ``identities``, and some also show smaller faces of ``BYSTANDERS``. INDEX counts
    ``identities`` from 0. ``pairs.csv`` (file_x, file_y, Decision: Yes for the same person, otherwise No) contains
    every pair of photos. The same arguments give the same bytes. ``progress`` gets the number of finished photos and of
    all.
    """
    folder.mkdir(parents=True, exist_ok=True)
    names = [f"person-{index:04d}-{shot:02d}.jpg" for index in range(len(identities)) for shot in range(per_identity)]
    for index, name in enumerate(names):
        number = identities[index // per_identity]
        image = _photo(seed, number, index % per_identity)
        cv2.imwrite(str(folder / name), image, [cv2.IMWRITE_JPEG_QUALITY, 95])
        progress(index + 1, len(names))
    owner = np.repeat(np.arange(len(identities)), per_identity)
    first, second = np.triu_indices(len(names), k=1)
    same = owner[first] == owner[second]
    rows = [f"{names[i]},{names[j]},{'Yes' if one else 'No'}" for i, j, one in zip(first, second, same, strict=True)]
    (folder / "pairs.csv").write_text("\n".join(["file_x,file_y,Decision", *rows]) + "\n", encoding="utf-8")


def _photo(seed: int, number: int, shot: int) -> NDArray[np.uint8]:
    random = np.random.default_rng([0xF070, seed, number, shot])
    image = background(random, 640, 480)
    main = _place(random, [number], 640, 480, 0.05, sizes=(150.0, LARGEST))
    strangers = random.choice(np.asarray(BYSTANDERS), int(random.choice([0, 0, 1, 2])), replace=False)
    placed = main + _place(random, strangers.tolist(), 640, 480, 0.05, sizes=(SMALLEST, 80.0), taken=main)
    for one in sorted(placed, key=lambda one: one.y):
        draw_face(image, one.who, one.look, view_of(one.look, one.scale, one.x, one.y))
    return develop(image, random, (80, 96))


def _place(
    random: np.random.Generator,
    identities: Sequence[int],
    width: int,
    height: int,
    covered: float,
    *,
    sizes: tuple[float, float],
    taken: Sequence[_Placed] = (),
) -> list[_Placed]:
    """Looks, sizes and places for ``identities`` that do not collide with each other or with ``taken``."""
    zoom = min(width / 640, height / 480)
    crowd = max(1, len(identities) + len(taken))
    placed: list[_Placed] = list(taken)
    for number in identities:
        who, look = identity(int(number)), random_look(random, covered)
        largest = max(sizes[0] * 1.2, sizes[1] / (1 if sizes[0] > 100 else crowd**0.4))
        for _ in range(_ATTEMPTS):
            tall = float(np.exp(random.uniform(np.log(sizes[0]), np.log(largest)))) * zoom
            scale = tall / (0.95 + who.chin)
            one = _Placed(who, look, scale, float(random.uniform(0, width)), float(random.uniform(0, height)))
            if _inside(one, width, height) and all(_clear(one, other) for other in placed):
                placed.append(one)
                break
    return placed[len(taken) :]


def _inside(one: _Placed, width: int, height: int) -> bool:
    found = _truth(one).box
    return bool(found[0] >= 2 and found[1] >= 2 and found[2] <= width - 2 and found[3] <= height - 2)


def _truth(one: _Placed) -> Truth:
    return truth(one.who, one.look, view_of(one.look, one.scale, one.x, one.y))


def _clear(one: _Placed, other: _Placed) -> bool:
    """Whether the heads, with their hair, do not overlap, and the shoulders of the nearer person cover no face."""
    lower, upper = (one, other) if one.y > other.y else (other, one)
    across, down = abs(one.x - other.x), lower.y - upper.y
    heads = np.hypot(across, down) > 1.75 * (one.scale + other.scale)
    shoulders = across > 2.2 * lower.scale + 1.3 * upper.scale or down > 1.75 * (lower.scale + upper.scale)
    in_front = (
        across > 2.2 * lower.scale + 1.3 * upper.scale or lower.y + 1.2 * lower.scale > upper.y + 1.6 * upper.scale
    )
    return bool(heads and (shoulders or in_front))
