"""The file that ``rkface embed --out`` writes: a line of JSON for each photo. An interrupted run can go on."""

from __future__ import annotations

import json
import os
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import IO, Any

from ..core.atomic import sync_to_disk, write_error
from ..core.errors import InputError
from ..core.files import append
from ..core.paths import require_folder

MOST_LINE = 64 << 20  # bytes: a photo with 5,000 faces has less


@dataclass(frozen=True)
class EmbeddingsFile:
    """The open file, and the names of the photos that are in it already."""

    path: Path
    file: IO[bytes]
    photos: frozenset[str]

    def add(self, value: dict[str, Any]) -> None:
        """Add a line. It is complete for the next run even if this process is killed right after it. Raises WorkError
        if it cannot be written."""
        try:
            # Bytes of a file name that are not text (Python's \udcNN) are written as escapes.
            append(self.file, json.dumps(value, ensure_ascii=False).encode(errors="backslashreplace") + b"\n")
        except OSError as error:
            raise write_error(f"--out {self.path}", error) from error


@contextmanager
def open_embeddings_file(path: Path, model: str, *, resume: bool) -> Iterator[EmbeddingsFile]:
    """Open ``path`` to add lines. Only its owner can read a new file. ``model``: identity of the embeddings.

    ``resume``: keep the complete lines of a file that exists. Raises InputError for a file that exists without it, that
    has embeddings of another model, or that is not such a file; WorkError if it cannot be written.
    """
    require_folder(path, f"--out {path}")
    try:
        if path.exists() and not path.is_file():
            raise InputError(f"--out {path} is not a regular file: choose another name")
        descriptor = os.open(path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC | (0 if resume else os.O_EXCL), 0o600)
    except FileExistsError:
        raise InputError(f"--out {path} exists: use --resume to go on with it, or choose another name") from None
    except OSError as error:
        raise write_error(f"--out {path}", error) from error
    with os.fdopen(descriptor, "r+b") as file:
        photos, end = _read_lines(path, file, model)
        file.truncate(end)  # a line that the last run could not finish
        yield EmbeddingsFile(path, file, photos)
        sync_to_disk(path)


def _read_lines(path: Path, file: IO[bytes], model: str) -> tuple[frozenset[str], int]:
    """The photos in ``file``, and where its last complete line ends."""
    photos, end, number = set(), 0, 0
    while (line := file.readline(MOST_LINE)).endswith(b"\n"):
        number += 1
        try:
            said = json.loads(line.decode())  # parse_json refuses the escapes of a file name that is not text
            photo, made_by = said["image"], said["model"]
            if not isinstance(photo, str):
                raise TypeError("the name of a photo is not a text")
        except (ValueError, KeyError, TypeError, RecursionError) as error:
            raise InputError(
                f"--out {path}: line {number} was not written by `rkface embed --out`: choose another name"
            ) from error
        if made_by != model:
            raise InputError(
                f"--out {path} has embeddings of another model, which cannot be compared: choose another name"
            )
        photos.add(photo)
        end += len(line)
    if len(line) == MOST_LINE:
        raise InputError(f"--out {path}: line {number + 1} is longer than {MOST_LINE >> 20} MB: choose another name")
    return frozenset(photos), end
