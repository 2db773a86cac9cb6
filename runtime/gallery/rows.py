"""Rows of the tables person, sample and crop: reading them, and checking and inserting new ones."""

from __future__ import annotations

import json
import uuid
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from ..core.checks import check_type
from ..core.errors import InputError
from ..core.text import readable
from ..vision.embed import unit
from .database import GalleryDatabase
from .people import Person, Sample, check_sample, clean_name

STORED = "<f4"  # embeddings are stored as little-endian float32


def select_people(gallery: GalleryDatabase, clause: str, parameters: Sequence[Any] = ()) -> list[Person]:
    """The people that the SQL ``clause`` ("WHERE …", "ORDER BY …") selects."""
    rows = gallery.read(
        "SELECT id, name, metadata, created, changed, (SELECT count(*) FROM sample WHERE person = person.id) "
        f"FROM person {clause}",
        parameters,
    )
    return [Person(id, name, json.loads(metadata), *rest) for id, name, metadata, *rest in rows]


def find_spelling(gallery: GalleryDatabase, name: str) -> str:
    """The name that the gallery has for ``name``: ``name`` itself, its clean form, or another form of the same text.

    It is the clean form if there is no such person. rkface 0.1 stored names as they were given, so a gallery may have
    names with double spaces, and accents as characters of their own. Raises InputError if the name is new and invalid.
    """
    check_type(name, str, "a person's name must be a string", 'pass a name such as "Ada"')
    if readable(name) == name and gallery.read("SELECT 1 FROM person WHERE name = ?", [name]):
        return name
    cleaned = clean_name(name)
    if gallery.read("SELECT 1 FROM person WHERE name = ?", [cleaned]):
        return cleaned
    odd = gallery.read("SELECT name FROM person WHERE name GLOB '*[^!-~ ]*' OR name GLOB '*  *' OR trim(name) <> name")
    return next((stored for (stored,) in odd if _same_text(stored, cleaned)), cleaned)


def _same_text(stored: str, cleaned: str) -> bool:
    try:
        return clean_name(stored) == cleaned
    except InputError:  # a name that rkface 0.1 allowed
        return False


def read_embeddings(gallery: GalleryDatabase, ids: NDArray[np.int64]) -> tuple[NDArray[np.int64], NDArray[np.float32]]:
    """Those of the samples ``ids`` that still exist, and their embeddings, M×D float32."""
    rows = gallery.read(
        "SELECT id, embedding FROM sample WHERE id IN (SELECT value FROM json_each(?))", [json.dumps(ids.tolist())]
    )
    decrypt = gallery.cipher.decrypt
    vectors = [np.frombuffer(decrypt(embedding), STORED) for _, embedding in rows]
    shape = len(rows), -1 if rows else 0
    return np.array([id for id, _ in rows], np.int64), np.array(vectors, np.float32).reshape(shape)


def insert_person(gallery: GalleryDatabase, name: str, metadata: Mapping[str, Any], now: float) -> str:
    """Insert the person ``name``, or add ``metadata`` to an existing person, inside a transaction. Returns the id."""
    name = find_spelling(gallery, name)
    found = select_people(gallery, "WHERE name = ?", [name])
    id, known = (found[0].id, found[0].metadata) if found else (uuid.uuid4().hex, {})
    check_type(metadata, Mapping, "metadata must be a dictionary", 'pass values such as {"room": 3}')
    try:
        text = json.dumps({**known, **metadata}, ensure_ascii=False)
    except (TypeError, ValueError) as error:
        raise InputError(
            f"the metadata of {name!r} cannot be stored as JSON ({error}): use strings and numbers"
        ) from error
    gallery.database.execute(
        "INSERT INTO person VALUES (?1, ?2, ?3, ?4, ?4) ON CONFLICT (id) DO UPDATE SET metadata = ?3, changed = ?4",
        [id, name, text, now],
    )
    return id


def insert_sample(gallery: GalleryDatabase, person: str, sample: Sample, now: float) -> int:
    """Insert ``sample`` for the person with the id ``person``, inside a transaction. Returns the id of the sample.

    Raises InputError if it is not a Sample, is of another model, has the wrong shape, or contains NaN or infinity.
    """
    check_sample(sample)
    identity = _identity_of(sample, gallery)
    _check_embedding(sample.embedding, gallery, identity)
    embedding = gallery.cipher.encrypt(embedding_to_bytes(sample.embedding))
    cursor = gallery.database.execute(
        "INSERT INTO sample (person, identity, embedding, quality, source, created) VALUES (?, ?, ?, ?, ?, ?)",
        [person, identity, embedding, float(sample.quality), sample.source, sample.created or now],
    )
    id = int(cursor.lastrowid or 0)
    if sample.crop is not None:
        gallery.database.execute("INSERT INTO crop VALUES (?, ?)", [id, gallery.cipher.encrypt(sample.crop)])
    return id


def embedding_to_bytes(embedding: NDArray[np.float32]) -> bytes:
    """``embedding`` as it is stored, scaled to unit length. If it has unit length already, its bits do not change, so
    that an exported sample is the same after an import."""
    scaled = embedding if abs(float(embedding @ embedding) - 1) < 1e-6 else unit(embedding)
    return scaled.astype(STORED).tobytes()


def _identity_of(sample: Sample, gallery: GalleryDatabase) -> str:
    """The identity to store with ``sample``. If the gallery has no samples yet, it becomes the gallery's identity."""
    own = gallery.identity
    identity = sample.identity or gallery.expected_identity or own
    if identity is None:
        raise InputError(f"{gallery.path}: the first sample needs the identity of its model: use --bundle")
    gallery.check_identity(identity)
    if identity != own:
        gallery.set_identity(identity)
    return identity


def _check_embedding(embedding: NDArray[np.float32], gallery: GalleryDatabase, identity: str) -> None:
    rows = gallery.read("SELECT length(embedding) FROM sample WHERE identity = ? LIMIT 1", [identity])
    numbers = (rows[0][0] - gallery.cipher.overhead) // 4 if rows else len(embedding)
    if embedding.shape != (numbers,):
        raise InputError(
            f"an embedding has the shape {embedding.shape}, but the gallery's embeddings have {numbers} numbers"
        )
    if not np.isfinite(embedding).all():  # NaN in the index would hide all other people from a search
        raise InputError("an embedding contains NaN or infinity: the recognizer fails on this face")
