"""The ignore list of a gallery: faces that are nobody, for good or until they are removed from the list.

An entry keeps embeddings and pictures of a face whose person was not asked. They are encrypted if the gallery is, and
removing the entry deletes them from the gallery and from its backups.
"""

from __future__ import annotations

import math
import time
import uuid
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from ..core.errors import InputError
from ..core.sqlite import DamagedContentError
from ..core.text import find_hidden, shell_quoted
from .anchors import insert_anchor, read_anchor_crops
from .backup import Left, finish
from .gallery import Gallery
from .people import Sample
from .schema import SCRUB, gallery_errors

MOST_NOTE = 200  # characters
MOST_FACES = 8  # embeddings of one entry: the first ones of a larger list would only repeat each other


@dataclass(frozen=True)
class IgnoredFace:
    """An entry of the ignore list.

    Attributes:
        id: 32 hexadecimal digits.
        note: What a user wrote, such as "the postman"; may be empty.
        created: When the face was ignored, in seconds since 1970 (UTC).
        embeddings: Number of embeddings that are kept.
        face: Whether a picture is kept.
    """

    id: str
    note: str
    created: float
    embeddings: int
    face: bool


def ignore_face(gallery: Gallery, faces: Sequence[Sample], note: str = "") -> IgnoredFace:
    """Put a face on the ignore list: from now on, a face that is nearer to it than to every person is nobody.

    ``faces``: samples of one person, best first; at most ``MOST_FACES`` are kept. Raises InputError without any,
    if the note is invalid, or if an embedding is of another model. Nothing was stored then.
    """
    if not faces:
        raise InputError("nothing to ignore: no embedding of this face is stored")
    note = clean_note(note)
    id = uuid.uuid4().hex
    with gallery.lock:
        with gallery.transaction() as database:
            database.execute("INSERT INTO ignored VALUES (?, ?, ?)", [id, note, time.time()])
            for face in faces[:MOST_FACES]:
                insert_anchor(gallery, id, face)
        gallery.update_index()
        return find_ignored(gallery, id)


def list_ignored(gallery: Gallery) -> list[IgnoredFace]:
    """The ignore list, oldest first."""
    rows = gallery.read(
        "SELECT ignored.id, note, created, count(anchor.id), count(image) FROM ignored "
        "LEFT JOIN anchor ON ignored = ignored.id GROUP BY ignored.id ORDER BY created, ignored.id"
    )
    with gallery_errors(gallery.path):
        return [_from_row(*row) for row in rows]


def find_ignored(gallery: Gallery, id: str) -> IgnoredFace:
    """The entry with this id, or the only one whose id starts with it. Raises InputError."""
    found = [one for one in list_ignored(gallery) if id and one.id.startswith(id)]
    if len(found) != 1:
        problem = "several entries of the ignore list start with" if found else "the ignore list has no entry"
        raise InputError(
            f"{gallery.path}: {problem} {id!r}: `rkface strangers ignored --gallery {shell_quoted(gallery.path)}` "
            "lists them"
        )
    return found[0]


def read_ignored_picture(gallery: Gallery, id: str) -> bytes | None:
    """The best picture of the entry with this id as PNG; None if no picture is kept. Raises AlteredError."""
    crops = read_anchor_crops(gallery, id)
    return crops[0][1] if crops else None


def stop_ignoring(gallery: Gallery, entry: IgnoredFace) -> list[Left]:
    """Delete an entry of the ignore list, its embeddings and its pictures, from the gallery and its backups. Returns
    the backups that could not be reached. Raises WorkError as ``backup.forget``."""
    with gallery.transaction() as database:
        database.execute("DELETE FROM ignored WHERE id = ?", [entry.id])  # a foreign key deletes the anchors too
        database.execute("INSERT OR REPLACE INTO former_ignored VALUES (?, ?)", [entry.id, time.time()])
        database.execute("INSERT OR REPLACE INTO setting VALUES (?, '1')", [SCRUB])
    gallery.update_index()
    return finish(gallery)


def _from_row(*row: Any) -> IgnoredFace:
    """Raises DamagedContentError if a value cannot be right."""
    id, note, created, count, pictures = row
    texts = isinstance(id, str) and isinstance(note, str)
    if not (texts and isinstance(created, float) and math.isfinite(created)):
        raise DamagedContentError("an entry of the ignore list")
    return IgnoredFace(id, note, created, count, pictures > 0)


def clean_note(note: str) -> str:
    """``note`` on one line without spaces at its ends. Raises InputError."""
    note = " ".join(note.split())
    if len(note) > MOST_NOTE or find_hidden(note) is not None:
        raise InputError(f"the note must have at most {MOST_NOTE} characters, all of them visible")
    return note
