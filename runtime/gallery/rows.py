"""Rows of the tables person, sample and crop: reading them, and checking and inserting new ones."""

from __future__ import annotations

import json
import uuid
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from ..core.checks import check_type
from ..core.errors import InputError
from ..core.files import TOO_DEEP, parse_json
from ..core.sqlite import DamagedContentError
from ..core.text import in_a_line, readable
from ..vision.embed import unit
from .bound_values import AnchorPlace, Place, altered_value
from .database import GalleryDatabase
from .encryption import AlteredError, NoCipher
from .people import Person, PersonName, Sample, check_sample, clean_name
from .schema import gallery_errors
from .stored_values import (
    SELECT_EMBEDDINGS,
    STORED,
    OpenEmbedding,
    check_sample_row,
    embeddings_from_bytes,
    person_from_row,
)

_PERSON = (
    "SELECT id, name, metadata, created, changed, (SELECT count(*) FROM sample WHERE person = person.id), "
    "(SELECT cosine FROM threshold WHERE person = person.id)"
)
SELECT_PEOPLE = (
    f"{_PERSON}, (SELECT json_group_array(membership.name) FROM membership WHERE person = person.id) FROM person"
)
SELECT_PEOPLE_WITHOUT_GROUPS = f"{_PERSON}, '[]' FROM person"
SELECT_SAMPLES = (
    "SELECT sample.id, person.id, person.name, identity, embedding, image, quality, source, sample.created "
    "FROM sample JOIN person ON person.id = sample.person LEFT JOIN crop ON crop.sample = sample.id"
)
MOST_METADATA = 100_000  # characters of JSON
SHORTEST, LONGEST = 1e-4, 1e6  # lengths of embeddings that float32 can scale to unit length


def select_people(gallery: GalleryDatabase, clause: str, parameters: Sequence[Any] = ()) -> list[Person]:
    """The people that the SQL ``clause`` ("WHERE …", "ORDER BY …") selects."""
    rows = gallery.read(f"{SELECT_PEOPLE} {clause}", parameters)
    with gallery_errors(gallery.path):
        return [person_from_row(row) for row in rows]


def select_names(gallery: GalleryDatabase) -> tuple[PersonName, ...]:
    """All people, sorted by name. As many as there may be are never in memory with all of their values."""
    with gallery_errors(gallery.path):
        rows = map(person_from_row, gallery.database.execute(f"{SELECT_PEOPLE_WITHOUT_GROUPS} ORDER BY name"))
        return tuple(PersonName(person.id, person.name, person.threshold) for person in rows)


def select_samples(gallery: GalleryDatabase, person: str) -> list[Sample]:
    """The samples of the person with the id ``person``, oldest first."""
    rows = gallery.read(f"{SELECT_SAMPLES} WHERE sample.person = ? ORDER BY sample.id", [person])
    cipher = gallery.cipher
    with gallery_errors(gallery.path):
        return [_sample_from_row(row, cipher, gallery.path) for row in rows]


def find_damaged_people(gallery: GalleryDatabase) -> Iterator[str]:
    """A sentence for each person with a value that cannot be right."""
    for row in gallery.read(SELECT_PEOPLE):
        try:
            person_from_row(row)
        except DamagedContentError as error:
            yield f"damaged: {error}"


def find_damaged_samples(gallery: GalleryDatabase, cipher: NoCipher) -> Iterator[str]:
    """A sentence for each sample with a value that cannot be right, or that was tampered with."""
    dimensions: dict[str, int] = {}
    for (id,) in gallery.read("SELECT id FROM sample ORDER BY id"):
        for row in gallery.read(f"{SELECT_SAMPLES} WHERE sample.id = ?", [id]):
            try:
                sample = _sample_from_row(row, cipher, gallery.path)
                if dimensions.setdefault(sample.identity, len(sample.embedding)) != len(sample.embedding):
                    raise DamagedContentError(f"the embedding of sample {id} has a wrong length")
                if not np.any(sample.embedding):
                    yield f"sample {id} is all zeros and never matches: `rkface gallery remove {row[1]} {id}`"
            except (DamagedContentError, AlteredError) as error:
                yield f"damaged: {error}" if isinstance(error, DamagedContentError) else str(error)


def _sample_from_row(row: Sequence[Any], cipher: NoCipher, path: Path) -> Sample:
    """The sample in a row of ``SELECT_SAMPLES``. Raises DamagedContentError or AlteredError."""
    *where, embedding, image, quality, source, created = row
    place = Place(*where)
    check_sample_row(place.sample, quality, source, created, place.identity)
    with altered_value(path, place):
        stored = cipher.decrypt(embedding, place.embedding)
        crop = None if image is None else cipher.decrypt(image, place.crop)
    if crop is not None and not isinstance(crop, bytes):
        raise DamagedContentError(f"the crop of sample {place.sample}")
    (vector,) = embeddings_from_bytes([place.sample], [stored])
    return Sample(vector, crop, quality, source, created, place.identity, place.sample)


def embedding_opener(gallery: GalleryDatabase) -> OpenEmbedding:
    """A function that returns the stored embedding in a row of ``SELECT_EMBEDDINGS``, decrypted. It raises
    AlteredError.

    Raises InputError if the gallery is encrypted, and was opened without its key."""
    cipher, path = gallery.cipher, gallery.path
    if not cipher.overhead:
        return lambda row: row[-1]

    def open_embedding(row: Sequence[Any]) -> bytes:
        place = Place(*row[:4])
        with altered_value(path, place):
            return cipher.decrypt(row[-1], place.embedding)

    return open_embedding


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
        f"{SELECT_EMBEDDINGS} WHERE sample.id IN (SELECT value FROM json_each(?))", [json.dumps(ids.tolist())]
    )
    found, open_embedding = [row[0] for row in rows], embedding_opener(gallery)
    with gallery_errors(gallery.path):
        vectors = embeddings_from_bytes(found, map(open_embedding, rows))
    return np.array(found, np.int64), vectors


def read_crop(gallery: GalleryDatabase, sample: int) -> bytes | None:
    """The crop of the sample with this number; None if no crop is stored. Raises AlteredError."""
    rows = gallery.read(f"{SELECT_SAMPLES} WHERE sample.id = ? AND image IS NOT NULL", [sample])
    for *where, _, image, _, _, _ in rows:
        place = Place(*where)
        with altered_value(gallery.path, place):
            return gallery.cipher.decrypt(image, place.crop)
    return None


def replace_embeddings(
    gallery: GalleryDatabase,
    new: Mapping[int, NDArray[np.float32]],
    identity: str,
    anchors: Sequence[tuple[AnchorPlace, NDArray[np.float32]]] = (),
) -> None:
    """Replace the embeddings of the samples ``new`` (number → D float32) and of ``anchors`` by those of the model
    ``identity``, and search only these from now on, in one transaction. What was deleted in the meantime stays so."""
    with gallery.transaction() as database:
        cipher = gallery.cipher
        rows = database.execute("SELECT sample.id, person.id, name FROM sample JOIN person ON person.id = person")
        for sample, person, name in rows.fetchall():
            if sample in new:
                place = Place(sample, person, name, identity)
                value = cipher.encrypt(embedding_to_bytes(new[sample]), place.embedding)
                database.execute(
                    "UPDATE sample SET embedding = ?, identity = ? WHERE id = ?", [value, identity, sample]
                )
        for anchor, vector in anchors:
            after = anchor._replace(identity=identity)
            changed = [cipher.encrypt(embedding_to_bytes(vector), after.embedding), identity, anchor.anchor]
            database.execute("UPDATE anchor SET embedding = ?, identity = ? WHERE id = ?", changed)
        gallery.set_identity(identity)


def insert_person(gallery: GalleryDatabase, name: str, metadata: Mapping[str, Any], now: float) -> str:
    """Insert the person ``name``, or add ``metadata`` to an existing person, inside a transaction. Returns the id."""
    name = find_spelling(gallery, name)
    found = select_people(gallery, "WHERE name = ?", [name])
    id, known = (found[0].id, found[0].metadata) if found else (uuid.uuid4().hex, {})
    check_type(metadata, Mapping, "metadata must be a dictionary", 'pass values such as {"room": 3}')
    text = metadata_to_json(name, {**known, **metadata})
    gallery.database.execute(
        "INSERT INTO person VALUES (?1, ?2, ?3, ?4, ?4) ON CONFLICT (id) DO UPDATE SET metadata = ?3, changed = ?4",
        [id, name, text, now],
    )
    return id


def insert_sample(gallery: GalleryDatabase, person: str, sample: Sample, now: float) -> int:
    """Insert ``sample`` for the person with the id ``person``, inside a transaction. Returns the id of the sample.

    Raises InputError if it is not a Sample, is of another model, has the wrong shape, is zero, or contains NaN or
    infinity.
    """
    check_sample(sample)
    identity = identity_of(sample, gallery)
    check_embedding(sample.embedding, gallery, identity)
    ((name,),) = gallery.read("SELECT name FROM person WHERE id = ?", [person])
    place = Place(_next_sample(gallery), person, name, identity)
    embedding = gallery.cipher.encrypt(embedding_to_bytes(sample.embedding), place.embedding)
    gallery.database.execute(
        "INSERT INTO sample (id, person, identity, embedding, quality, source, created) VALUES (?, ?, ?, ?, ?, ?, ?)",
        [place.sample, person, identity, embedding, float(sample.quality), sample.source, sample.created or now],
    )
    if sample.crop is not None:
        crop = gallery.cipher.encrypt(sample.crop, place.crop)
        gallery.database.execute("INSERT INTO crop VALUES (?, ?)", [place.sample, crop])
    return place.sample


def metadata_to_json(name: str, metadata: Mapping[str, Any]) -> str:
    """``metadata`` of the person ``name`` as it is stored. Raises InputError if JSON cannot hold it, or if it is larger
    than ``MOST_METADATA``."""
    try:
        text = json.dumps(metadata, ensure_ascii=False)
        parse_json(text)  # JSON that other programs and later versions can read
    except (TypeError, ValueError, RecursionError) as error:
        problem = TOO_DEEP if isinstance(error, RecursionError) else in_a_line(str(error))
        raise InputError(
            f"the metadata of {in_a_line(name)!r} cannot be stored as JSON ({problem}): use strings and numbers"
        ) from error
    if len(text) > MOST_METADATA:
        raise InputError(
            f"the metadata of {in_a_line(name)!r} has {len(text)} characters; {MOST_METADATA} are the limit"
        )
    return text


def _next_sample(gallery: GalleryDatabase) -> int:
    """The number of the next sample. It is needed before the row exists, because its values are bound to it."""
    (row,) = gallery.read("SELECT max((SELECT coalesce(max(id), 0) FROM sample), (SELECT coalesce(max(seq), 0) FROM "
                          "sqlite_sequence WHERE name = 'sample')) + 1")  # fmt: skip
    return int(row[0])


def embedding_to_bytes(embedding: NDArray[np.float32]) -> bytes:
    """``embedding`` as it is stored, scaled to unit length. If it has unit length already, its bits do not change, so
    that an exported sample is the same after an import."""
    with np.errstate(over="ignore"):  # such a length is refused when the sample is added
        scaled = embedding if abs(float(embedding @ embedding) - 1) < 1e-6 else unit(embedding)
    return scaled.astype(STORED).tobytes()


def identity_of(sample: Sample, gallery: GalleryDatabase) -> str:
    """The identity to store with ``sample``. If the gallery has no samples yet, it becomes the gallery's identity."""
    own = gallery.identity
    identity = sample.identity or gallery.expected_identity or own
    if identity is None:
        raise InputError(f"{gallery.path}: the first sample needs the identity of its model: use --bundle")
    gallery.check_identity(identity)
    if identity != own:
        gallery.set_identity(identity)
    return identity


def check_embedding(embedding: NDArray[np.float32], gallery: GalleryDatabase, identity: str) -> None:
    """Raise InputError if ``embedding`` cannot be compared with those of the model ``identity`` in ``gallery``, is
    zero, or contains NaN or infinity."""
    rows = gallery.read(
        "SELECT length(embedding) FROM sample WHERE identity = ?1 "
        "UNION ALL SELECT length(embedding) FROM anchor WHERE identity = ?1 LIMIT 1",
        [identity],
    )
    numbers = (rows[0][0] - gallery.cipher.overhead) // 4 if rows else len(embedding)
    if embedding.shape != (numbers,):
        raise InputError(
            f"an embedding has the shape {embedding.shape}, but the gallery's embeddings have {numbers} numbers"
        )
    if not np.isfinite(embedding).all():  # NaN in the index would hide all other people from a search
        raise InputError("an embedding contains NaN or infinity: the recognizer fails on this face")
    length = float(np.linalg.norm(embedding.astype(np.float64)))
    if not SHORTEST < length < LONGEST:
        raise InputError(
            f"an embedding has the length {length:g}, which is like nobody: the recognizer fails on this face"
        )
