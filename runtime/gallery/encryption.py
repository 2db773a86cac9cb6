"""Encryption of embeddings and crops on the disk, with a key in a separate file (extra ``[crypto]``: cryptography).

AES-256-GCM (NIST SP 800-38D) with a random 96-bit nonce for each value, which is safe for 2^32 values with one key. It
detects altered values. Each value is bound to its place (the associated data of GCM): the column, the id and the name
of the person, the number of the sample and, for an embedding, the model. A value that was copied to another place, or
whose person was exchanged, is refused like an altered one. Names, metadata, times and sources are not encrypted.

Before schema version 2, values were not bound. The migration marks encrypted galleries with the setting ``UNBOUND``,
and ``bind_all`` encrypts their values again as soon as the key is at hand.
"""

from __future__ import annotations

import base64
import binascii
import json
import os
import secrets
import sqlite3
from collections.abc import Collection, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from importlib.util import find_spec
from pathlib import Path
from typing import Any, NamedTuple

from ..core.atomic import write_atomically
from ..core.errors import InputError, WorkError
from ..core.private_file import read_private_file
from ..core.text import shell_quoted

SETTING = "sealed"  # row of the table ``setting`` of an encrypted gallery; the value proves which key it uses
UNBOUND = "unbound"  # row of the table ``setting`` of an encrypted gallery whose values are not bound to their places
ENVIRONMENT = "RKFACE_GALLERY_KEY"
BINDING_VERSION = 2  # of the schema: older galleries do not have the setting ``UNBOUND``
NONCE, TAG, KEY = 12, 16, 32  # bytes
_PROOF = b"rkface gallery"


class AlteredError(WorkError):
    """An encrypted value is not the one that was stored at its place with this key."""


class NoCipher:
    """For galleries that are not encrypted: values are stored unchanged."""

    overhead = 0

    def encrypt(self, data: bytes, place: bytes = b"") -> bytes:
        """``data``, unchanged."""
        return data

    def decrypt(self, data: bytes, place: bytes = b"") -> bytes:
        """``data``, unchanged."""
        return data

    def proof(self) -> str:
        """A text that an encrypted gallery stores, to check later that a key is the right one."""
        return base64.b64encode(self.encrypt(_PROOF)).decode()


class Cipher(NoCipher):
    """Encrypts with a key of 32 bytes. An encrypted value is ``overhead`` bytes longer than the plain value."""

    overhead = NONCE + TAG

    def __init__(self, key: bytes) -> None:
        if find_spec("cryptography") is None:
            raise InputError("an encrypted gallery needs the package cryptography: pip install 'rkface[crypto]'")
        from cryptography.hazmat.primitives.ciphers.aead import AESGCM

        self._cipher: Any = AESGCM(key)

    def encrypt(self, data: bytes, place: bytes = b"") -> bytes:
        """A random nonce, the encrypted ``data``, and a tag. Only the same ``place`` decrypts it again."""
        nonce = secrets.token_bytes(NONCE)
        return nonce + bytes(self._cipher.encrypt(nonce, data, place or None))

    def decrypt(self, data: bytes, place: bytes = b"") -> bytes:
        """Raises AlteredError if the value was encrypted with another key or for another place, or was altered."""
        from cryptography.exceptions import InvalidTag

        try:
            return bytes(self._cipher.decrypt(data[:NONCE], data[NONCE:], place or None))
        except (InvalidTag, TypeError, ValueError) as error:
            raise AlteredError(
                "an encrypted value of the gallery was altered or belongs to another key: restore a backup"
            ) from error

    def matches(self, proof: str) -> bool:
        """Whether this key made ``proof``."""
        try:
            return self.decrypt(base64.b64decode(proof)) == _PROOF
        except (WorkError, binascii.Error, TypeError, ValueError):
            return False


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


@dataclass(frozen=True)
class Key:
    """A key and the file that it was read from."""

    path: Path
    value: bytes


def read_key(path: Path) -> Key:
    """Read the key that ``make_key`` wrote to ``path``. Raises InputError if the file is not a key, or if other users
    may read it."""

    def parse(content: bytes) -> Key:
        try:
            value = base64.b64decode(content.strip(), validate=True)
        except ValueError:
            value = b""
        if len(value) != KEY:
            raise InputError(f"{path} is not a gallery key: a key is 32 bytes as one line of base64")
        return Key(path, value)

    return read_private_file(path, "the key", parse)


def key_from_environment() -> Key | None:
    """The key in the file named by the environment variable RKFACE_GALLERY_KEY, or None if it is not set."""
    path = os.environ.get(ENVIRONMENT)
    return read_key(Path(path)) if path else None


def make_key(path: Path) -> Key:
    """Write a new random key to the new file ``path``, mode 0600. Raises InputError if the file exists, or if its disk
    lets other users read it."""
    value = secrets.token_bytes(KEY)
    try:
        # Safely on the disk before anything is encrypted with it.
        write_atomically(path, base64.b64encode(value) + b"\n", overwrite=False)
    except FileExistsError as error:
        raise InputError(f"{path}: the key cannot be written: the file exists: choose a new file") from error
    try:
        return read_key(path)
    except InputError:  # before anything is encrypted with a key that will be refused later
        path.unlink()
        raise


def open_cipher(path: Path, proof: str | None, key: Key | None) -> NoCipher:
    """The cipher of the gallery at ``path``, which stores ``proof``, or None if it is not encrypted. Raises InputError
    if ``key`` is missing, wrong, or not needed."""
    if proof is None:
        if key is not None:
            raise InputError(
                f"{path} is not encrypted; to encrypt it, run `rkface gallery encrypt --gallery {shell_quoted(path)} "
                f"--key {shell_quoted(key.path)}`"
            )
        return NoCipher()
    if key is None:
        raise InputError(f"{path} is encrypted: use --key FILE, or set {ENVIRONMENT}=FILE in the environment")
    cipher = Cipher(key.value)
    if not cipher.matches(proof):
        raise InputError(f"{path} is encrypted with another key, not with {key.path}")
    return cipher


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
