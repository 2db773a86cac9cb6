"""Encryption of values on the disk, with a key in a separate file (extra ``[crypto]``: cryptography).

AES-256-GCM (NIST SP 800-38D) with a random 96-bit nonce for each value, which is safe for 2^32 values with one key. It
detects altered values. A value can be bound to its place: ``bound_values.py`` says where that is.
"""

from __future__ import annotations

import base64
import binascii
import os
import secrets
from dataclasses import dataclass
from importlib.util import find_spec
from pathlib import Path
from typing import Any

from ..core.atomic import write_atomically
from ..core.errors import InputError, WorkError
from ..core.private_file import read_private_file
from ..core.text import shell_quoted

SETTING = "sealed"  # row of the table ``setting`` of an encrypted gallery; the value proves which key it uses
ENVIRONMENT = "RKFACE_GALLERY_KEY"
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


def find_key(path: Path | None) -> Key | None:
    """The key in the file ``path``, else in the one that the environment variable RKFACE_GALLERY_KEY names; None if
    there is neither. Errors are those of ``read_key``."""
    named = path or os.environ.get(ENVIRONMENT)
    return read_key(Path(named)) if named else None


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
