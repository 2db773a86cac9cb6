"""The files from which `--resume` goes on after an interruption, which a crash may have left in any state."""

from __future__ import annotations

import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import numpy as np
from fuzz_target import Target

from rkface.calibration.progress_file import open_progress
from rkface.runtime.cli.embeddings_file import open_embeddings_file
from rkface.runtime.core.faces import Faces
from rkface.runtime.vision.photo import PhotoFaces

MODEL, SEARCH = "1" * 32, {"detector": "0" * 64, "threshold": 0.5}
PICTURE = np.zeros((4, 6, 3), np.uint8)
OUT, PROGRESS = "set", ".set.progress"


@contextmanager
def folder() -> Iterator[Path]:
    memory = Path("/dev/shm")
    with tempfile.TemporaryDirectory(dir=memory if memory.is_dir() else None) as there:
        yield Path(there)


def embeddings() -> list[bytes]:
    with folder() as there:
        with open_embeddings_file(there / "out", MODEL, resume=False) as file:
            file.add({"image": "a.jpg", "model": MODEL, "faces": []})
            file.add({"image": "žofie.jpg", "model": MODEL, "faces": [{"embedding": [0.6, 0.8]}]})
        return [(there / "out").read_bytes()]


def read_embeddings(data: bytes) -> None:
    """Go on with the file; what is added then must be read the next time, with all that was there."""
    with folder() as there:
        (path := there / "out").write_bytes(data)
        with open_embeddings_file(path, MODEL, resume=True) as file:
            before = file.photos
            file.add({"image": "new.jpg", "model": MODEL, "faces": []})
        with open_embeddings_file(path, MODEL, resume=True) as file:
            assert file.photos == before | {"new.jpg"}


def progress() -> list[bytes]:
    faces = Faces(
        np.array([[1, 2, 3, 4]], np.float32), np.array([0.9], np.float32), np.ones((1, 5, 2), np.float32), None
    )
    with folder() as there, open_progress(there / OUT, SEARCH) as file:
        file.add("a" * 64, PhotoFaces(PICTURE, faces, 90, True, False))
        file.add("b" * 64, PhotoFaces(PICTURE, faces, 0, False, True))
        return [(there / PROGRESS).read_bytes()]


def read_progress(data: bytes) -> None:
    """Go on with the file, and use what it says about each photo."""
    with folder() as there:
        (path := there / PROGRESS).write_bytes(data)
        with open_progress(there / OUT, SEARCH) as file:
            for photo in file.known.values():
                file.add("c" * 64, photo.show(PICTURE))
            before = set(file.known)
            path.rename(there / "kept")  # as if the run was interrupted: otherwise the file is deleted
        (there / "kept").rename(path)
        with open_progress(there / OUT, SEARCH) as file:
            assert set(file.known) == before | ({"c" * 64} if before else set())


TARGETS = (
    Target("embeddings-file", read_embeddings, embeddings),
    Target("calibration-progress", read_progress, progress),
)
