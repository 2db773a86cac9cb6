"""What `rkface calibrate --resume` has found so far, so that an interrupted run can go on.

A file beside the set, which only its owner can read and which is deleted when the set is written. It has no pictures,
no names and no embeddings: for each photo, the SHA-256 of its file, and where its faces and their landmarks lie.
"""

from __future__ import annotations

import json
import os
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import IO, Any

import numpy as np
from numpy.typing import NDArray

from rkface.runtime.core.atomic import write_error
from rkface.runtime.core.errors import InputError, WorkError
from rkface.runtime.core.faces import Faces
from rkface.runtime.core.files import append, parse_json
from rkface.runtime.core.turns import TURNS, Turn
from rkface.runtime.vision.photo import PhotoFaces, turn_image

MOST_LINE = 4 << 20  # bytes: a photo with 5,000 faces has less


@dataclass(frozen=True, eq=False)
class KnownPhoto:
    """What was found in a photo: see ``PhotoFaces``."""

    faces: Faces
    turned: Turn
    sure: bool
    again: bool

    def show(self, image: NDArray[np.uint8]) -> PhotoFaces:
        """What was found, with the photo's ``image`` (H×W×3 uint8 BGR), which is turned as it was then."""
        return PhotoFaces(turn_image(image, self.turned), self.faces, self.turned, self.sure, self.again)


@dataclass(eq=False)
class ProgressFile:
    """The open file. ``known``: what earlier runs have found, by the SHA-256 of the photo's file."""

    path: Path
    file: IO[bytes]
    known: dict[str, KnownPhoto]
    _lock: threading.Lock = field(default_factory=threading.Lock)

    def add(self, digest: str, photo: PhotoFaces) -> None:
        """Add what was found in a photo. Threads may call this. Raises WorkError if it cannot be written."""
        faces = photo.faces
        arrays = [array.astype(float).tolist() for array in (faces.boxes, faces.scores, faces.landmarks)]
        line = json.dumps([digest, *arrays, photo.turned, photo.sure, photo.again])
        try:
            with self._lock:
                append(self.file, line.encode() + b"\n")
        except OSError as error:
            raise _unwritable(self.path, error) from error


@contextmanager
def open_progress(out: Path, search: dict[str, Any]) -> Iterator[ProgressFile]:
    """Open the file for the set ``out``, and delete it if the block succeeds.

    ``search``: what decides what is found, such as the detector. A file of another search is emptied. A damaged line,
    and those behind it, are left out: their photos are searched again. Raises WorkError if it cannot be written.
    """
    path = out.resolve().parent / f".{out.name}.progress"
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        descriptor = os.open(path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC | os.O_NOFOLLOW, 0o600)
    except OSError as error:
        raise _unwritable(path, error) from error
    with os.fdopen(descriptor, "r+b") as file:
        head = json.dumps(search, sort_keys=True).encode() + b"\n"
        same = file.readline(MOST_LINE) == head
        known, end = _read(file, len(head)) if same else ({}, 0)
        file.truncate(end)
        if not same:
            append(file, head)
        yield ProgressFile(path, file, known)
    path.unlink(missing_ok=True)


def _read(file: IO[bytes], end: int) -> tuple[dict[str, KnownPhoto], int]:
    """The photos in ``file`` from ``end`` on, and where the last good line ends."""
    known = {}
    while (line := file.readline(MOST_LINE)).endswith(b"\n"):
        try:
            digest, photo = _parse(line)
        except (InputError, ValueError, TypeError):
            break
        known[digest] = photo
        end += len(line)
    return known, end


def _parse(line: bytes) -> tuple[str, KnownPhoto]:
    digest, boxes, scores, landmarks, turned, sure, again = parse_json(line)
    arrays = [
        np.array(values, np.float32).reshape(-1, *shape)
        for values, shape in ((boxes, (4,)), (scores, ()), (landmarks, (5, 2)))
    ]
    count = len(arrays[1])
    finite = all(np.isfinite(array).all() for array in arrays)
    if not isinstance(digest, str) or turned not in TURNS or [len(one) for one in arrays] != [count] * 3 or not finite:
        raise ValueError("not a line of this file")
    return digest, KnownPhoto(Faces(*arrays), turned, bool(sure), bool(again))


def _unwritable(path: Path, error: OSError) -> WorkError:
    return WorkError(f"{write_error(path, error)}, or leave out --resume")
