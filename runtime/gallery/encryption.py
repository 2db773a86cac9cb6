"""Embeddings and faces encrypted at rest, with a key that lies in a file elsewhere (`[crypto]`: cryptography).

AES-256 in GCM (NIST SP 800-38D) with a random nonce of 96 bits for each value, which is safe for 2^32 values under one
key; what was altered is noticed. Names, metadata, times and sources are not encrypted.
"""

from __future__ import annotations

import base64
import os
import secrets
from dataclasses import dataclass
from importlib.util import find_spec
from pathlib import Path
from typing import Any

from ..core.atomic import write_atomically
from ..core.errors import InputError, WorkError
from ..core.text import shell_quoted

SETTING, ENVIRONMENT = "sealed", "RKFACE_GALLERY_KEY"
NONCE, TAG, KEY = 12, 16, 32
_PROOF = b"rkface gallery"


class NoCipher:
    """No encryption: what is stored is what is meant."""

    overhead = 0

    def encrypt(self, data: bytes) -> bytes:
        return data

    def decrypt(self, data: bytes) -> bytes:
        return data

    def proof(self) -> str:
        """What an encrypted gallery keeps to know its key by."""
        return base64.b64encode(self.encrypt(_PROOF)).decode()


class Cipher(NoCipher):
    """Encrypts with a key of 32 bytes; an encrypted value is ``overhead`` bytes longer."""

    overhead = NONCE + TAG

    def __init__(self, key: bytes) -> None:
        if find_spec("cryptography") is None:
            raise InputError("an encrypted gallery needs the package cryptography: pip install 'rkface[crypto]'")
        from cryptography.hazmat.primitives.ciphers.aead import AESGCM

        self._cipher: Any = AESGCM(key)

    def encrypt(self, data: bytes) -> bytes:
        nonce = secrets.token_bytes(NONCE)
        return nonce + bytes(self._cipher.encrypt(nonce, data, None))

    def decrypt(self, data: bytes) -> bytes:
        """WorkError where the value was made with another key, or altered since."""
        from cryptography.exceptions import InvalidTag

        try:
            return bytes(self._cipher.decrypt(data[:NONCE], data[NONCE:], None))
        except (InvalidTag, ValueError) as error:
            raise WorkError("an encrypted value of the gallery was altered: restore a backup") from error

    def fits(self, proof: str) -> bool:
        try:
            return self.decrypt(base64.b64decode(proof)) == _PROOF
        except WorkError:
            return False


@dataclass(frozen=True)
class Key:
    """A key and the file it came from."""

    path: Path
    value: bytes


def read_key(path: Path) -> Key:
    """The key in ``path``, as ``make_key`` wrote it. InputError for anything else."""
    try:
        value = base64.b64decode(path.read_text(encoding="ascii").strip(), validate=True)
    except OSError as error:
        raise InputError(f"{path}: the key cannot be read: {error.strerror or error}") from error
    except ValueError:
        value = b""
    if len(value) != KEY:
        raise InputError(f"{path} is no key of a gallery: that is one line of base64, 32 bytes")
    return Key(path, value)


def key_from_environment() -> Key | None:
    """That of the file that RKFACE_GALLERY_KEY names, for the service and for commands without --key."""
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
    """What the gallery at ``path`` is encrypted with, given the ``proof`` it keeps, if it is."""
    if proof is None:
        if key is not None:
            raise InputError(
                f"{path} is not encrypted: run `rkface gallery encrypt --gallery {shell_quoted(path)} "
                f"--key {shell_quoted(key.path)}`"
            )
        return NoCipher()
    if key is None:
        raise InputError(f"{path} is encrypted: say --key FILE, or {ENVIRONMENT}=FILE in the environment")
    cipher = Cipher(key.value)
    if not cipher.fits(proof):
        raise InputError(f"{path} is encrypted with another key than {key.path}")
    return cipher
