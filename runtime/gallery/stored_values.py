"""The values in the rows of a gallery file, and what cannot be right about them.

SQLite notices damaged pages, but not a flipped bit inside of a value. The functions here raise DamagedContentError for
values that rkface never writes; the message names the row and contains nothing of its content.
"""

from __future__ import annotations

import json
import math
import sqlite3
from collections.abc import Callable, Iterable, Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from ..core.sqlite import DamagedContentError
from .bound_values import is_encrypted
from .people import Person

STORED = "<f4"  # embeddings are stored as little-endian float32
LENGTH_ERROR = 1e-3  # of the squared length of an embedding: more than rounding can cause
BATCH = 2048  # samples (4 MB) at a time, so that little memory is needed

# The embedding of a sample as it was before it was encrypted: (row of SELECT_EMBEDDINGS) → bytes.
OpenEmbedding = Callable[[Sequence[Any]], bytes]
TEXTS = (  # tables and columns
    ("setting", "name, value"),
    ("former", "id, coalesce(person, '')"),
    ("moved", "person"),
    ("backup", "path"),
    ("membership", "person, name"),
    ("ignored", "id, note"),
    ("former_ignored", "id"),
)
SELECT_ANCHORS = "SELECT id, ignored, identity, embedding FROM anchor"
SELECT_EMBEDDINGS = (
    "SELECT sample.id, sample.person, person.name, sample.identity, sample.embedding "
    "FROM sample CROSS JOIN person ON person.id = sample.person"  # CROSS: in the order of the samples
)

SELECT_REVIEWS = (
    "SELECT appearance, source, started, named, person, cosine, threshold, quality, created, embedding IS NOT NULL "
    "FROM review"
)
SELECT_REVIEW_EMBEDDINGS = "SELECT appearance, embedding FROM review WHERE embedding IS NOT NULL"


def person_from_row(row: Sequence[Any]) -> Person:
    """The person in a row: id, name, metadata, created, changed, number of samples, own threshold or None, and
    the groups as JSON."""
    id, name, metadata, created, changed, samples, threshold, groups = row
    if not (isinstance(id, str) and isinstance(name, str) and _is_finite(created) and _is_finite(changed)):
        raise DamagedContentError("a person's id, name or time")
    try:
        values = json.loads(metadata)
    except (TypeError, ValueError, RecursionError):
        values = None
    if not isinstance(values, dict):
        raise DamagedContentError(f"metadata of the person {id[:32]!a}")
    if threshold is not None and not (_is_finite(threshold) and 0 <= threshold <= 1):
        raise DamagedContentError(f"the threshold of the person {id[:32]!a}")
    names = json.loads(groups)
    if not all(isinstance(group, str) for group in names):
        raise DamagedContentError(f"a group of the person {id[:32]!a}")
    return Person(id, name, values, created, changed, samples, threshold, tuple(sorted(names)))


def check_sample_row(id: Any, quality: Any, source: Any, created: Any, identity: Any) -> None:
    """Raise DamagedContentError if these columns of the sample ``id`` have a wrong type or are no numbers."""
    texts = isinstance(source, str) and isinstance(identity, str)
    if not (texts and _is_finite(created) and _is_finite(quality)):
        raise DamagedContentError(f"quality, source, time or model of sample {id}")


def embeddings_from_bytes(
    ids: Sequence[int | str], stored: Iterable[bytes], dimensions: int = 0, what: str = "sample"
) -> NDArray[np.float32]:
    """The embeddings of the samples ``ids``, N×D float32, from their stored form without encryption. ``dimensions``: D,
    or 0 for that of the first one. ``what`` has the ids, for errors: "sample" or "anchor"."""
    rows = list(stored)
    size = 4 * dimensions or (len(rows[0]) if rows else 0)
    for id, row in zip(ids, rows, strict=True):
        if not isinstance(row, bytes) or len(row) != size or not size or size % 4:
            raise DamagedContentError(f"the embedding of {what} {id} has a wrong length")
    vectors = np.frombuffer(b"".join(rows), STORED).reshape(len(rows), size // 4 if size else 0)
    with np.errstate(all="ignore"):
        lengths = np.einsum("nd,nd->n", vectors, vectors)
        # A vector of zeros is like nobody. Older versions of rkface stored it; a comparison with NaN is False.
        wrong = ~((np.abs(lengths - 1) < LENGTH_ERROR) | (lengths == 0))
    if wrong.any():
        raise DamagedContentError(f"the embedding of {what} {ids[int(wrong.argmax())]} does not have unit length")
    return np.asarray(vectors, np.float32)


def find_row_damage(database: sqlite3.Connection) -> str | None:
    """The first value in the rows of a gallery that cannot be right, or None. Reads all rows except crops, and not the
    embeddings of an encrypted gallery. Raises sqlite3.Error if the tables cannot be read."""
    try:
        if database.execute("PRAGMA foreign_key_check").fetchone() is not None:
            raise DamagedContentError("a sample or a crop belongs to nobody")
        present = {name for (name,) in database.execute("SELECT name FROM sqlite_schema WHERE type = 'table'")}
        for table, columns in (one for one in TEXTS if one[0] in present):  # older versions have fewer tables
            if any(
                not isinstance(text, str) for row in database.execute(f"SELECT {columns} FROM {table}") for text in row
            ):
                raise DamagedContentError(f"a row of the table {table}")
        thresholds = "(SELECT cosine FROM threshold WHERE person = id)" if _has(database, "threshold") else "NULL"
        for row in database.execute(f"SELECT id, name, metadata, created, changed, 0, {thresholds}, '[]' FROM person"):
            person_from_row(row)
        for row in database.execute("SELECT id, quality, source, created, identity FROM sample"):
            check_sample_row(*row)
        reviewed = _has(database, "review")  # a backup may be older than this table
        for row in database.execute(SELECT_REVIEWS) if reviewed else ():
            check_review_row(row)
        if is_encrypted(database):
            return None
        for appearance, stored in database.execute(SELECT_REVIEW_EMBEDDINGS) if reviewed else ():
            embeddings_from_bytes([appearance], [stored])
        for (identity,) in database.execute("SELECT DISTINCT identity FROM sample").fetchall():
            rows, dimensions = database.execute(f"{SELECT_EMBEDDINGS} WHERE identity = ?", [identity]), 0
            while some := rows.fetchmany(BATCH):
                ids, stored = [row[0] for row in some], [row[-1] for row in some]
                dimensions = embeddings_from_bytes(ids, stored, dimensions).shape[1]
        for id, _, _, embedding in database.execute(SELECT_ANCHORS).fetchall() if "anchor" in present else ():
            embeddings_from_bytes([id], [embedding], what="anchor")
    except DamagedContentError as error:
        return str(error)
    return None


def check_review_row(row: Sequence[Any]) -> None:
    """Raise DamagedContentError if a value in this row of ``SELECT_REVIEWS`` cannot be right."""
    appearance, source, started, named, person, cosine, threshold, quality, created, _ = row
    texts = [appearance, source, *(one for one in (named, person) if one is not None)]
    numbers = [started, threshold, quality, created, *([] if cosine is None else [cosine])]
    if not (all(isinstance(one, str) for one in texts) and all(map(_is_finite, numbers))):
        raise DamagedContentError("a review of an appearance")


def _has(database: sqlite3.Connection, table: str) -> bool:
    return database.execute("SELECT 1 FROM sqlite_schema WHERE name = ?", [table]).fetchone() is not None


def _is_finite(value: Any) -> bool:
    return isinstance(value, float) and math.isfinite(value)
