"""Encryption of embeddings and crops on the disk, with a key in a separate file (extra ``[crypto]``: cryptography).

AES-256-GCM (NIST SP 800-38D) with a random 96-bit nonce for each value, which is safe for 2^32 values with one key. It
detects altered values. Names, metadata, times and sources are not encrypted.
"""

from __future__ import annotations

import base64
import os
import secrets
import sqlite3
from dataclasses import dataclass
from importlib.util import find_spec
from pathlib import Path
from typing import Any

from ..core.atomic import write_atomically
from ..core.errors import InputError, WorkError
from ..core.text import shell_quoted

SETTING = "sealed"  # row of the table ``setting`` of an encrypted gallery; the value proves which key it uses
ENVIRONMENT = "RKFACE_GALLERY_KEY"
NONCE, TAG, KEY = 12, 16, 32  # bytes
_PROOF = b"rkface gallery"


class NoCipher:
    """For galleries that are not encrypted: values are stored unchanged."""

    overhead = 0

    def encrypt(self, data: bytes) -> bytes:
        """``data``, unchanged."""
        return data

    def decrypt(self, data: bytes) -> bytes:
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

    def encrypt(self, data: bytes) -> bytes:
        """A random nonce, the encrypted ``data``, and a tag."""
        nonce = secrets.token_bytes(NONCE)
        return nonce + bytes(self._cipher.encrypt(nonce, data, None))

    def decrypt(self, data: bytes) -> bytes:
        """Raises WorkError if the value was encrypted with another key or altered."""
        from cryptography.exceptions import InvalidTag

        try:
            return bytes(self._cipher.decrypt(data[:NONCE], data[NONCE:], None))
        except (InvalidTag, ValueError) as error:
            raise WorkError(
                "an encrypted value of the gallery was altered or belongs to another key: restore a backup"
            ) from error

    def matches(self, proof: str) -> bool:
        """Whether this key made ``proof``."""
        try:
            return self.decrypt(base64.b64decode(proof)) == _PROOF
        except WorkError:
            return False


@dataclass(frozen=True)
class Key:
    """A key and the file that it was read from."""

    path: Path
    value: bytes


def read_key(path: Path) -> Key:
    """Read the key that ``make_key`` wrote to ``path``. Raises InputError if the file is not a key."""
    try:
        value = base64.b64decode(path.read_text(encoding="ascii").strip(), validate=True)
    except OSError as error:
        raise InputError(f"{path}: the key cannot be read: {error.strerror or error}") from error
    except ValueError:
        value = b""
    if len(value) != KEY:
        raise InputError(f"{path} is not a gallery key: a key is 32 bytes as one line of base64")
    return Key(path, value)


def key_from_environment() -> Key | None:
    """The key in the file named by the environment variable RKFACE_GALLERY_KEY, or None if it is not set."""
    path = os.environ.get(ENVIRONMENT)
    return read_key(Path(path)) if path else None


def make_key(path: Path) -> Key:
    """Write a new random key to the new file ``path``, mode 0600. Raises InputError if the file exists."""
    value = secrets.token_bytes(KEY)
    try:
        # Safely on the disk before anything is encrypted with it.
        write_atomically(path, base64.b64encode(value) + b"\n", overwrite=False)
    except FileExistsError as error:
        raise InputError(f"{path}: the key cannot be written: the file exists: choose a new file") from error
    return Key(path, value)


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
    """Encrypt all embeddings and crops of a gallery. Call it inside a transaction."""
    for table, id, column in (("sample", "id", "embedding"), ("crop", "sample", "image")):
        for (number,) in database.execute(f"SELECT {id} FROM {table}").fetchall():
            (plain,) = database.execute(f"SELECT {column} FROM {table} WHERE {id} = ?", [number]).fetchone()
            database.execute(f"UPDATE {table} SET {column} = ? WHERE {id} = ?", [cipher.encrypt(plain), number])
    database.execute("INSERT INTO setting VALUES (?, ?)", [SETTING, cipher.proof()])
