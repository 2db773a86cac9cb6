"""What users said about appearances: "this was Ada" or "this was somebody else", and a person's own threshold.

A review is evidence about the thresholds. It is deleted with each person that it is about, and after some time. It has
the embedding of the face only if the appearance log had it.
"""

from __future__ import annotations

import json
import time
from collections.abc import Collection, Iterable, Sequence
from dataclasses import dataclass, replace
from typing import Literal

import numpy as np
from numpy.typing import NDArray

from ..core.errors import InputError
from ..core.sqlite import DamagedContentError
from .bound_values import ReviewPlace
from .database import GalleryDatabase
from .encryption import AlteredError
from .gallery import Gallery
from .people import Person, check_person
from .rows import embedding_to_bytes
from .schema import gallery_errors
from .stored_values import SELECT_REVIEWS, check_review_row, embeddings_from_bytes

Outcome = Literal["right", "false match", "missed match", "wrong person", "rightly unknown"]


@dataclass(frozen=True)
class Review:
    """What a user said about one appearance.

    Attributes:
        appearance: Id of the appearance.
        source: Name of the camera.
        started: When the appearance began, in seconds since 1970 (UTC).
        named: Id of the person whom the camera recognized; None: it recognized nobody.
        person: Id of the person who it really was; None: nobody who is enrolled.
        cosine: Cosine of ``named``; None without one.
        threshold: Minimum cosine for a match at that time.
        quality: Quality of the best shot, 0 to 1.
        created: When the user said so, in seconds since 1970 (UTC).
        embedding: Whether the embedding of the face is stored.
    """

    appearance: str
    source: str
    started: float
    named: str | None
    person: str | None
    cosine: float | None
    threshold: float
    quality: float
    created: float = 0.0
    embedding: bool = False

    @property
    def outcome(self) -> Outcome:
        """What the camera did: "right" (the right person), "false match" (it named somebody, but it was nobody who is
        enrolled), "missed match" (it named nobody), "wrong person" (both), "rightly unknown"."""
        if self.named == self.person:
            return "right" if self.named else "rightly unknown"
        if self.named is None:
            return "missed match"
        return "false match" if self.person is None else "wrong person"


def add_review(
    gallery: Gallery, review: Review, embedding: NDArray[np.float32] | None = None, identity: str = ""
) -> Review:
    """Store ``review``, in place of an earlier one of the same appearance, and return it as it was stored.

    ``embedding``: D float32 of unit length, by the model ``identity``; None if it is not known. Raises InputError if a
    person is not in the gallery, or if the gallery is encrypted and was opened without its key.
    """
    stored = None
    with gallery.transaction() as database:
        for id in filter(None, (review.named, review.person)):
            if not database.execute("SELECT 1 FROM person WHERE id = ?", [id]).fetchone():
                raise InputError(f"{gallery.path}: the person {id} does not exist, or no longer exists")
        if embedding is not None:
            place = ReviewPlace(review.appearance, identity, review.named or "", review.person or "")
            stored = gallery.cipher.encrypt(embedding_to_bytes(embedding), place.embedding)
        review = replace(review, created=review.created or time.time(), embedding=stored is not None)
        database.execute(
            "INSERT OR REPLACE INTO review VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, 0.0)",
            [review.appearance, review.source, review.started, review.named, review.person, review.cosine,
             review.threshold, review.quality, identity, stored, review.created],
        )  # fmt: skip
    return review


def remove_reviews(gallery: Gallery, appearances: Iterable[str]) -> int:
    """Delete the reviews of ``appearances``. Returns how many there were. Backups keep them."""
    ids = json.dumps(list(appearances))
    with gallery.transaction() as database:
        return database.execute(
            "DELETE FROM review WHERE appearance IN (SELECT value FROM json_each(?))", [ids]
        ).rowcount


def list_reviews(
    gallery: GalleryDatabase, person: str | None = None, appearances: Collection[str] | None = None
) -> list[Review]:
    """All reviews, newest first; only those about ``person`` (an id), and those of these ``appearances``, if given."""
    rows = gallery.read(
        f"{SELECT_REVIEWS} WHERE (?1 IS NULL OR ?1 IN (named, person)) "
        "AND (?2 IS NULL OR appearance IN (SELECT value FROM json_each(?2))) ORDER BY created DESC, appearance",
        [person, None if appearances is None else json.dumps([*appearances])],
    )
    with gallery_errors(gallery.path):
        for row in rows:
            check_review_row(row)
    return [replace(Review(*row), embedding=bool(row[-1])) for row in rows]


def read_review_embeddings(
    gallery: GalleryDatabase, identity: str | None, appearances: Sequence[str]
) -> dict[str, NDArray[np.float32]]:
    """The stored embeddings of the model ``identity``, by appearance. Raises InputError without the key of an encrypted
    gallery, and AlteredError for a value that was tampered with."""
    found: dict[str, NDArray[np.float32]] = {}
    for appearance in appearances:
        for *place, stored in gallery.read(
            "SELECT appearance, identity, ifnull(named, ''), ifnull(person, ''), embedding FROM review "
            "WHERE appearance = ? AND identity = ? AND embedding IS NOT NULL",
            [appearance, identity],
        ):
            with gallery_errors(gallery.path):
                found[appearance] = _open_embedding(gallery, ReviewPlace(*place), stored)
    return found


def find_damaged_reviews(gallery: GalleryDatabase) -> list[str]:
    """A sentence for each review with a value that cannot be right, or that was tampered with. Raises InputError
    without the key of an encrypted gallery."""
    problems = []
    for *place, stored in gallery.read(
        "SELECT appearance, identity, ifnull(named, ''), ifnull(person, ''), embedding FROM review "
        "WHERE embedding IS NOT NULL"
    ):
        try:
            _open_embedding(gallery, ReviewPlace(*place), stored)
        except DamagedContentError as error:
            problems.append(f"damaged: {error}")
        except AlteredError as error:
            problems.append(str(error))
    return problems


def age_reviews(gallery: Gallery, seconds: float, most: float) -> int:
    """Let ``seconds`` pass for all reviews, and delete those that are older than ``most`` seconds. Returns how many.

    Their age is the time that a service ran since, so no clock that jumps deletes a young one.
    """
    if not gallery.read("SELECT 1 FROM review LIMIT 1"):
        return 0
    with gallery.transaction() as database:
        database.execute("UPDATE review SET age = age + ?", [max(0.0, seconds)])
        return database.execute("DELETE FROM review WHERE age > ?", [most]).rowcount


def set_threshold(gallery: Gallery, person: Person, cosine: float | None) -> Person:
    """Recognize ``person`` only from this ``cosine`` (0 to 1); None: the threshold for everybody. Returns the person.

    It counts only where it is higher than the threshold for everybody. Raises InputError for another number.
    """
    check_person(person)
    if cosine is not None and not 0 <= cosine <= 1:
        raise InputError(f"the threshold of a person must be a cosine from 0 to 1, not {cosine:g}")
    with gallery.transaction() as database:
        database.execute("DELETE FROM threshold WHERE person = ?", [person.id])
        if cosine is not None:
            database.execute("INSERT INTO threshold VALUES (?, ?)", [person.id, float(cosine)])
        database.execute("UPDATE person SET changed = ? WHERE id = ?", [time.time(), person.id])
    gallery.update_index()
    return gallery.person(person.id)


def _open_embedding(gallery: GalleryDatabase, place: ReviewPlace, stored: bytes) -> NDArray[np.float32]:
    try:
        plain = gallery.cipher.decrypt(stored, place.embedding)
    except AlteredError as error:
        raise AlteredError(
            f"{gallery.path} was tampered with: the embedding of the review of the appearance {place.appearance} was "
            "altered, or belongs to other people. Restore a backup, or delete the review: "
            f"`rkface gallery review --undo {place.appearance}`"
        ) from error
    vector: NDArray[np.float32] = embeddings_from_bytes([place.appearance], [plain])[0]
    return vector
