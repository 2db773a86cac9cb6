"""Makes the pictures of alerts, for the receivers that want one, and sends the alerts."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

import cv2
import numpy as np
from numpy.typing import NDArray

from ..core.picture_kind import PictureKind
from ..events import Delivery, PictureStore
from ..gallery.gallery import Gallery
from ..inference.frames import Result
from ..tracking.appearance import Appearance
from ..tracking.visit import Shot
from ..tracking.watcher import VisibleFace, Watcher
from ..tracking.zones import Points
from ..vision.blur import blur_faces
from ..vision.draw import black_out
from .appearance_log import AppearanceLog
from .problems import Problems

SAME = 0.5  # minimum overlap (IoU) of a detected face with the track that it continues
COVERED = 0.1  # share of a face that others may cover; with more, it is blurred where they are, and shows too little
FACE_SIDE = 320  # pixels of a picture of one face, at most
AROUND = 0.5  # of the face's size, shown on each side of it
FRAME_SIDE = 1280  # pixels of a whole picture, at most
QUALITIES = (85, 60, 30)  # of the JPEG: the first one that is small enough
MOST_BYTES = 1 << 20  # of a picture; many services take no more than a few megabytes, and base64 adds a third

Box = tuple[float, float, float, float]  # x1 y1 x2 y2 in pixels


@dataclass(frozen=True, eq=False)
class PersonInFrame:
    """A frame in which a person is seen. ``face``: the person's box. ``others``: the boxes of all other faces."""

    image: NDArray[np.uint8]
    face: Box
    others: tuple[Box, ...]


class AlertPictures:
    """Sends alerts with a picture. ``frame_side``: the longest side of a whole picture in pixels. It should be what the
    detector sees, so that a face that is too small to be detected, and is not blurred, is too small to be recognized.
    ``store``: None if no receiver gets pictures.

    ``send`` may be called from any thread.
    """

    def __init__(
        self,
        store: PictureStore | None,
        log: AppearanceLog,
        watchers: Mapping[str, Watcher],
        shots: Callable[[str], Sequence[Shot]],
        problems: Problems,
        *,
        frame_side: int = FRAME_SIDE,
    ) -> None:
        self._store, self._log, self._watchers, self._shots = store, log, watchers, shots
        self._problems = problems
        self._frame_side = min(frame_side, FRAME_SIDE)
        self._results: dict[str, tuple[Result, tuple[Points, ...]]] = {}

    def note_result(self, result: Result, hidden: tuple[Points, ...] = ()) -> None:
        """Keep the frame of ``result`` until the next one of its camera. Call it before the watcher processes it.
        ``hidden``: masks that must be black in pictures."""
        if self._store is not None and result.faces is not None:
            self._results[result.frame.source] = result, hidden

    def note_match(self, appearance: Appearance) -> None:
        """If the person of ``appearance`` was unknown in an alert, forgetting the person now deletes the picture."""
        if self._store is not None and appearance.match is not None:
            with self._problems.of("alert pictures"):
                self._store.note_person(appearance.id, appearance.match.person)

    def send(self, alert: Mapping[str, Any], appearance: Appearance, sinks: Iterable[Delivery]) -> None:
        """Send ``alert``, about ``appearance``, to ``sinks``, each with the picture that its settings allow in the
        field ``picture``. Problems with a picture never hold back the alert."""
        pictures: dict[PictureKind, dict[str, Any] | None] = {"none": None}
        for sink in sinks:
            if sink.picture not in pictures:
                pictures[sink.picture] = self._take(appearance, sink.picture)
            sink.send({**alert, "picture": pictures[sink.picture]})

    def prune(self, gallery: Gallery) -> None:
        """Delete pictures that have expired, and those of everybody who is no longer in ``gallery``."""
        if self._store is not None:
            with self._problems.of("alert pictures"):
                erase_from_pictures(gallery, self._store, self._log)

    def _take(self, appearance: Appearance, kind: PictureKind) -> dict[str, Any] | None:
        """Store a picture, and return what an alert says about it; None if that is impossible."""
        if self._store is None:
            return None
        kind, image = self._draw(appearance, kind)
        jpeg = None if image is None else encode_jpeg(image)
        if image is None or jpeg is None:
            return None
        id = None
        with self._problems.of("alert pictures"):
            id = self._store.add(jpeg, appearance.id, appearance.match.person if appearance.match else None)
        if id is None:
            return None
        height, width = image.shape[:2]
        return {"id": id, "kind": kind, "type": "image/jpeg", "width": width, "height": height}

    def _draw(self, appearance: Appearance, kind: PictureKind) -> tuple[PictureKind, NDArray[np.uint8] | None]:
        """The picture. If the person is not seen in the newest frame, or is covered there by other faces, which are
        blurred, it is the face of the best shot."""
        result, hidden = self._results.get(appearance.source, (None, ()))
        visible = self._watchers[appearance.source].visible_faces()
        found = find_in_frame(result, visible, appearance.id) if result else None
        shots = self._shots(appearance.id)
        if found is not None and not (shots and _is_covered(found)):
            found = replace(found, image=black_out(found.image, hidden))
            return kind, draw_face(found) if kind == "face" else draw_frame(found, self._frame_side)
        return "face", shots[0].crop if shots else None


def find_in_frame(result: Result, visible: Sequence[VisibleFace], appearance: str) -> PersonInFrame | None:
    """The frame of ``result`` with the person of ``appearance`` (an id), one of the ``visible`` faces. None if it is
    not certain which of the detected faces this person's is.

    Other faces are all that were detected, also with a low score or untracked, and all that are tracked, also if they
    were not detected in this frame.
    """
    image, faces = result.frame.image, result.faces
    if faces is None:
        return None
    height, width = image.shape[:2]
    scale = np.array([width, height, width, height], np.float64)
    own = [np.multiply(one.box, scale) for one in visible if one.appearance == appearance]
    tracked = [np.multiply(one.box, scale) for one in visible if one.appearance != appearance]
    if len(own) != 1 or not len(faces):
        return None
    detected = faces.boxes.astype(np.float64)
    overlap = _overlap(own[0], detected)
    best = int(overlap.argmax())
    if overlap[best] < SAME or any(_overlap(one, detected[best : best + 1])[0] >= overlap[best] for one in tracked):
        return None
    others = [box for index, box in enumerate(detected) if index != best]
    boxes = [tuple(float(value) for value in box) for box in (detected[best], *others, *tracked)]
    return PersonInFrame(image, boxes[0], tuple(boxes[1:]))  # type: ignore[arg-type]


def draw_face(found: PersonInFrame) -> NDArray[np.uint8]:
    """The face and what is around it, with all other faces blurred: at most 320×320 uint8 BGR."""
    x1, y1, x2, y2 = found.face
    half = (0.5 + AROUND) * max(x2 - x1, y2 - y1)
    height, width = found.image.shape[:2]
    left, right = (round(min(max(0.0, (x1 + x2) / 2 + side), width)) for side in (-half, half))
    top, bottom = (round(min(max(0.0, (y1 + y2) / 2 + side), height)) for side in (-half, half))
    return _fit(blur_faces(found.image, found.others, found.face)[top:bottom, left:right], FACE_SIDE)


def draw_frame(found: PersonInFrame, side: int) -> NDArray[np.uint8]:
    """The whole picture, with all faces but one blurred: uint8 BGR, no side longer than ``side`` pixels."""
    image = _fit(found.image, side)  # first: blurring many pixels takes longer
    scale = image.shape[1] / found.image.shape[1], image.shape[0] / found.image.shape[0]
    face, *others = [
        (x1 * scale[0], y1 * scale[1], x2 * scale[0], y2 * scale[1]) for x1, y1, x2, y2 in (found.face, *found.others)
    ]
    return blur_faces(image, others, face)


def encode_jpeg(image: NDArray[np.uint8]) -> bytes | None:
    """``image`` (H×W×3 uint8 BGR) as a JPEG of at most ``MOST_BYTES``; None if that is impossible."""
    for quality in QUALITIES:
        data = cv2.imencode(".jpg", image, [cv2.IMWRITE_JPEG_QUALITY, quality])[1].tobytes()
        if len(data) <= MOST_BYTES:
            return data
    return None


def erase_from_pictures(gallery: Gallery, store: PictureStore, log: AppearanceLog) -> None:
    """Delete the pictures of everybody who is no longer in ``gallery``, and those that have expired. ``log`` says who
    the unknown people of alerts were, if that was found out later; call this before people are erased from it. Raises
    WorkError if a file cannot be read or written."""
    if store.unknown:
        named = "SELECT id, person FROM appearance WHERE person IS NOT NULL AND id IN (SELECT value FROM json_each(?))"
        for appearance, person in log.read(named, [json.dumps(store.unknown)]):
            store.note_person(appearance, person)
    people = [person.id for person in gallery.people()]
    store.prune(people, dict(gallery.read("SELECT id, person FROM former WHERE person IS NOT NULL")))


def _fit(image: NDArray[np.uint8], side: int) -> NDArray[np.uint8]:
    height, width = image.shape[:2]
    scale = side / max(height, width)
    if scale >= 1:
        return image
    size = max(1, round(width * scale)), max(1, round(height * scale))
    return cv2.resize(image, size, interpolation=cv2.INTER_AREA).astype(np.uint8, copy=False)


def _is_covered(found: PersonInFrame) -> bool:
    x1, y1, x2, y2 = found.face
    shared = sum(
        max(0.0, min(x2, right) - max(x1, left)) * max(0.0, min(y2, bottom) - max(y1, top))
        for left, top, right, bottom in found.others
    )
    return shared > COVERED * (x2 - x1) * (y2 - y1)


def _overlap(box: NDArray[np.float64], others: NDArray[np.float64]) -> NDArray[np.float64]:
    """The intersection over union of ``box`` (4) with each of ``others`` (N×4)."""
    corner, end = np.maximum(box[:2], others[:, :2]), np.minimum(box[2:], others[:, 2:])
    shared = np.clip(end - corner, 0, None).prod(1)
    areas = [np.clip(one[..., 2:] - one[..., :2], 0, None).prod(-1) for one in (box, others)]
    overlap: NDArray[np.float64] = shared / np.maximum(areas[0] + areas[1] - shared, 1e-9)
    return overlap
