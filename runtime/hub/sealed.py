"""Embeddings that the hub cannot read: boards, which have the key, encrypt them before they are sent.

AES-SIV (RFC 5297; extra ``[crypto]``) with a key in a file as that of an encrypted gallery. It is deterministic: the
same embedding is the same value, so that the hub notices a sample that comes twice, without reading it. A value is
bound to the identity of its model, and not to a person, so that people can be merged without the key.
"""

from __future__ import annotations

from collections.abc import Callable
from importlib.util import find_spec
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from ..core.errors import InputError, WorkError
from ..gallery.encryption import Key
from ..gallery.people import Sample
from .connection import hub_errors
from .people import SEALED, as_vector
from .search_index import drop_indices

if TYPE_CHECKING:
    from .connection import Hub

BATCH = 1_000  # rows
_PROOF, _CONTEXT = b"rkface hub", b"rkface hub embeddings"


class PlainEmbeddings:
    """Of a hub that is not encrypted."""

    def write(self, sample: Sample) -> dict[str, str]:
        """The column of the embedding and its value, as ``rkface.enroll`` takes them."""
        return {"embedding": as_vector(sample)}

    def read(self, identity: str, embedding: bytes | None, sealed: bytes | None) -> NDArray[np.float32]:
        """The embedding (D float32) from pgvector's binary format. Raises InputError if it is encrypted."""
        if embedding is None:
            raise InputError("the hub was encrypted meanwhile: name the file of its key")
        return np.frombuffer(embedding, ">f4", offset=4).astype(np.float32)  # behind two uint16: the numbers, 0


PLAIN = PlainEmbeddings()


class SealedEmbeddings(PlainEmbeddings):
    """Of an encrypted hub. Raises InputError without the package cryptography."""

    def __init__(self, key: bytes) -> None:
        if find_spec("cryptography") is None:
            raise InputError("an encrypted hub needs the package cryptography: pip install 'rkface[crypto]'")
        from cryptography.hazmat.primitives.ciphers.aead import AESSIV
        from cryptography.hazmat.primitives.hashes import SHA256
        from cryptography.hazmat.primitives.kdf.hkdf import HKDF

        # 64 bytes: AES-256 for both halves of SIV. The same file may be the key of a gallery: another key from it.
        self._cipher: Any = AESSIV(HKDF(SHA256(), 64, None, _CONTEXT).derive(key))

    def write(self, sample: Sample) -> dict[str, str]:
        vector = np.asarray(sample.embedding, np.float32).astype("<f4")
        return {"sealed": self.encrypt(sample.identity, vector.tobytes()).hex()}

    def read(self, identity: str, embedding: bytes | None, sealed: bytes | None) -> NDArray[np.float32]:
        """Raises WorkError if the value was altered, or has another key."""
        from cryptography.exceptions import InvalidTag

        try:
            data = self._cipher.decrypt(sealed or b"", [identity.encode()])
        except (InvalidTag, ValueError) as error:
            raise WorkError("an encrypted embedding of the hub was altered, or has another key") from error
        return np.frombuffer(data, "<f4").astype(np.float32)

    def encrypt(self, identity: str, embedding: bytes) -> bytes:
        """16 bytes longer than ``embedding``."""
        return bytes(self._cipher.encrypt(embedding, [identity.encode()]))

    def proof(self) -> str:
        """What an encrypted hub stores, to check later that a key is the right one."""
        return self.encrypt("", _PROOF).hex()


def open_embeddings(hub: Hub, key: Key | None) -> PlainEmbeddings:
    """How embeddings of ``hub`` are read and written. Raises InputError if ``key`` is missing, wrong, or not needed."""
    with hub_errors():
        proof = read_proof(hub)
    if proof is None:
        if key is not None:
            raise InputError(
                f"the hub is not encrypted, but {key.path} is named as its key: `rkface hub encrypt` encrypts it"
            )
        return PLAIN
    if key is None:
        raise InputError("the embeddings of the hub are encrypted: name the file of their key ([hub] key)")
    embeddings = SealedEmbeddings(key.value)
    if embeddings.proof() != proof:
        raise InputError(f"the embeddings of the hub have another key, not {key.path}")
    return embeddings


def read_proof(hub: Hub) -> str | None:
    """The proof of the key of ``hub``; None if it is not encrypted."""
    row = hub.execute("SELECT value FROM rkface.setting WHERE name = %s", [SEALED]).fetchone()
    return str(row[0]) if row else None


def check_plain(hub: Hub) -> None:
    """Raise InputError if ``hub`` is encrypted."""
    with hub_errors():
        if read_proof(hub) is not None:
            raise InputError("the embeddings of the hub are encrypted already")


def encrypt_hub(hub: Hub, key: Key, on_progress: Callable[[int, int], None] = lambda done, total: None) -> int:
    """Encrypt all embeddings of ``hub``, in one transaction, and return how many. Indices of them are deleted, and the
    tables are rewritten, without what was deleted from them. ``on_progress`` gets embeddings done and all.

    Raises InputError if it is encrypted already.
    """
    cipher, done = SealedEmbeddings(key.value), 0
    with hub_errors(), hub.transaction():
        hub.execute("LOCK TABLE rkface.setting, rkface.sample, rkface.review_sample IN SHARE ROW EXCLUSIVE MODE")
        check_plain(hub)
        hub.execute("INSERT INTO rkface.setting VALUES (%s, %s)", [SEALED, cipher.proof()])
        row = hub.execute(
            "SELECT (SELECT count(*) FROM rkface.sample) + (SELECT count(*) FROM rkface.review_sample)"
        ).fetchone()
        total = int(row[0]) if row else 0
        for table in ("sample", "review_sample"):
            while rows := hub.cursor(binary=True).execute(
                f"SELECT ctid::text, identity, embedding FROM rkface.{table} WHERE embedding IS NOT NULL "
                f"LIMIT {BATCH}".encode()
            ).fetchall():  # fmt: skip
                values = [
                    (cipher.encrypt(identity, _little_endian(embedding)), place) for place, identity, embedding in rows
                ]
                with hub.cursor() as cursor:
                    cursor.executemany(
                        f"UPDATE rkface.{table} SET embedding = NULL, sealed = %s WHERE ctid = %s::tid".encode(), values
                    )
                done += len(rows)
                on_progress(done, total)
    with hub_errors():
        drop_indices(hub)
        for table in ("sample", "review_sample"):
            # Rewrites the table with living rows only. VACUUM FULL keeps those that an older transaction may see.
            hub.execute(f"ALTER TABLE rkface.{table} ALTER quality TYPE real USING quality + 0::real".encode())
    return done


def _little_endian(embedding: bytes) -> bytes:
    return np.frombuffer(embedding, ">f4", offset=4).astype("<f4").tobytes()
