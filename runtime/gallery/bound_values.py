"""The encrypted values of a gallery: its embeddings and crops, each bound to its place.

The place is the associated data of GCM (see ``encryption.py``): the column, the id and the name of the person, the
number of the sample and, for an embedding, the model. A value that was copied to another place, or whose person was
exchanged, is refused like an altered one. Names, metadata, times and sources are not encrypted.

Before schema version 2, values were not bound. The migration marks encrypted galleries with the setting ``UNBOUND``,
and ``bind_all`` encrypts their values again as soon as the key is at hand.
"""

from __future__ import annotations

import json
import sqlite3
from collections.abc import Collection, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import NamedTuple

from ..core.text import shell_quoted
from .encryption import SETTING, AlteredError, NoCipher

UNBOUND = "unbound"  # row of the table ``setting`` of an encrypted gallery whose values are not bound to their places
BINDING_VERSION = 2  # of the schema: older galleries do not have the setting ``UNBOUND``


class Place(NamedTuple):
    """The place of the values of one sample: its number, its person (id and name), and its model.

    ``embedding`` and ``crop`` are the associated data of the sample's values. A crop belongs to no model."""

    sample: int
    person: str
    name: str
    identity: str

    @property
    def embedding(self) -> bytes:
        return json.dumps(["rkface embedding", *self]).encode("ascii")

    @property
    def crop(self) -> bytes:
        return json.dumps(["rkface crop", *self[:3]]).encode("ascii")


class AnchorPlace(NamedTuple):
    """The place of the values of one anchor: its number, its entry of the ignore list (an id), and its model."""

    anchor: int
    ignored: str
    identity: str

    @property
    def embedding(self) -> bytes:
        return json.dumps(["rkface anchor", *self]).encode("ascii")

    @property
    def crop(self) -> bytes:
        return json.dumps(["rkface anchor crop", *self[:2]]).encode("ascii")


class ReviewPlace(NamedTuple):
    """The place of the embedding of a review: its appearance, its model, who the camera named, and who it was ("" for
    nobody)."""

    appearance: str
    identity: str
    named: str
    person: str

    @property
    def embedding(self) -> bytes:
        return json.dumps(["rkface review", *self]).encode("ascii")


def is_encrypted(database: sqlite3.Connection) -> bool:
    """Whether the embeddings and crops of a gallery are encrypted."""
    return database.execute("SELECT 1 FROM setting WHERE name = ?", [SETTING]).fetchone() is not None


def encrypt_all(database: sqlite3.Connection, cipher: NoCipher) -> None:
    """Encrypt all embeddings and crops of a gallery of the current schema. Call it inside a transaction."""
    _rewrite(database, None, cipher, Path())
    for (id,) in database.execute("SELECT id FROM anchor").fetchall():
        row = database.execute("SELECT id, ignored, identity, embedding, image FROM anchor WHERE id = ?", [id])
        *where, embedding, image = row.fetchone()
        place = AnchorPlace(*where)
        encrypted = [cipher.encrypt(embedding, place.embedding), image and cipher.encrypt(image, place.crop), id]
        database.execute("UPDATE anchor SET embedding = ?, image = ? WHERE id = ?", encrypted)
    _rewrite_reviews(database, None, cipher)
    database.execute("INSERT INTO setting VALUES (?, ?)", [SETTING, cipher.proof()])


def is_bound(database: sqlite3.Connection) -> bool:
    """Whether the encrypted values of a gallery, of any schema version, are bound to their places."""
    (version,) = database.execute("PRAGMA user_version").fetchone()
    unbound = database.execute("SELECT 1 FROM setting WHERE name = ?", [UNBOUND]).fetchone()
    return bool(version >= BINDING_VERSION and unbound is None)


def bind_all(database: sqlite3.Connection, cipher: NoCipher, path: Path) -> None:
    """Encrypt all values of the unbound gallery at ``path`` again, bound to their places. Call it inside a transaction.
    Raises AlteredError."""
    if not is_bound(database):  # another process may have done it in the meantime
        _rewrite(database, cipher, cipher, path, bound=False)
        database.execute("DELETE FROM setting WHERE name = ?", [UNBOUND])


def bind_to(
    database: sqlite3.Connection,
    cipher: NoCipher,
    path: Path,
    person: str,
    new: tuple[str, str],
    *,
    samples: Collection[int] | None = None,
) -> None:
    """Bind the values of ``person`` (an id) to the person with the id and the name ``new``, who gets these ``samples``;
    None: all. Call it inside a transaction, before the rows of the tables person and sample change. Raises
    AlteredError."""
    _rewrite(database, cipher, cipher, path, person=person, new=new, samples=samples)
    if samples is None and new[0] != person:
        _rewrite_reviews(database, cipher, cipher, merged=(person, new[0]))


def _rewrite(
    database: sqlite3.Connection,
    old: NoCipher | None,
    cipher: NoCipher,
    path: Path,
    *,
    bound: bool = True,
    person: str | None = None,
    new: tuple[str, str] | None = None,
    samples: Collection[int] | None = None,
) -> None:
    """Decrypt the values of ``person``, or of all people, with ``old``, and encrypt them with ``cipher``.

    ``old``: None if the values are not encrypted. ``bound``: whether they are bound to their places. ``new``: id and
    name of the person to bind to. ``samples``: only these."""
    if not cipher.overhead:
        return
    rows = database.execute(
        "SELECT sample.id, person.id, person.name, identity FROM sample JOIN person ON person.id = person "
        "WHERE ?1 IS NULL OR person.id = ?1",
        [person],
    ).fetchall()
    for row in rows:
        if samples is not None and row[0] not in samples:
            continue
        place = Place(*row)
        after = place if new is None else place._replace(person=new[0], name=new[1])
        for table, key, column, old_place, new_place in (
            ("sample", "id", "embedding", place.embedding, after.embedding),
            ("crop", "sample", "image", place.crop, after.crop),
        ):
            for (value,) in database.execute(
                f"SELECT {column} FROM {table} WHERE {key} = ?", [place.sample]
            ).fetchall():
                with altered_value(path, place):
                    plain = value if old is None else old.decrypt(value, old_place if bound else b"")
                changed = [cipher.encrypt(plain, new_place), place.sample]
                database.execute(f"UPDATE {table} SET {column} = ? WHERE {key} = ?", changed)


def _rewrite_reviews(
    database: sqlite3.Connection, old: NoCipher | None, cipher: NoCipher, merged: tuple[str, str] | None = None
) -> None:
    """As ``_rewrite``, for the embeddings of reviews. ``merged``: a person who becomes another one (both ids)."""
    rows = database.execute(
        "SELECT appearance, identity, ifnull(named, ''), ifnull(person, '') FROM review WHERE embedding IS NOT NULL"
    ).fetchall()
    for place in (ReviewPlace(*row) for row in rows if cipher.overhead):
        people = [merged[1] if merged and one == merged[0] else one for one in (place.named, place.person)]
        after = place._replace(named=people[0], person=people[1])
        if old is not None and after == place:
            continue
        (value,) = database.execute("SELECT embedding FROM review WHERE appearance = ?", [place.appearance]).fetchone()
        plain = value if old is None else old.decrypt(value, place.embedding)
        changed = [cipher.encrypt(plain, after.embedding), place.appearance]
        database.execute("UPDATE review SET embedding = ? WHERE appearance = ?", changed)


@contextmanager
def altered_value(path: Path, place: Place) -> Iterator[None]:
    """Name the sample at ``place`` of the gallery at ``path`` in an AlteredError, and say what to do."""
    try:
        yield
    except AlteredError as error:
        raise AlteredError(
            f"{path} was tampered with: the encrypted value of sample {place.sample} of the person {place.person} was "
            "altered, or belongs to another person, sample, model or key. Restore a backup (`rkface gallery backup "
            "--list` shows all), or delete the sample: "
            f"`rkface gallery remove --gallery {shell_quoted(path)} {place.person} {place.sample}`"
        ) from error


@contextmanager
def altered_anchor(path: Path, place: AnchorPlace) -> Iterator[None]:
    """Name the entry of the ignore list at ``place`` in an AlteredError, and say what to do."""
    try:
        yield
    except AlteredError as error:
        raise AlteredError(
            f"{path} was tampered with: an encrypted value of the entry {place.ignored} of the ignore list was "
            "altered, or belongs to another entry, model or key. Restore a backup, or delete the entry: "
            f"`rkface strangers restore --gallery {shell_quoted(path)} {place.ignored}`"
        ) from error
