"""What the appearance log keeps of a face, if the settings allow it: its picture and its embedding."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from ..core.errors import WorkError
from ..gallery.encryption import NoCipher

PNG = b"\x89PNG\r\n\x1a\n"  # the start of a picture that is not encrypted
EMBEDDING = b"rkface\x00e"  # the start of an embedding that is not encrypted
STORED = "<f4"  # embeddings are stored as little-endian float32


@dataclass(frozen=True, eq=False)
class Sighting:
    """A face of an appearance.

    face       the aligned face as PNG; None to keep the picture that is stored
    embedding  D float32, unit length; None to keep the embedding that is stored
    identity   ``embedding_identity`` of the bundle that computed the embedding
    """

    face: bytes | None = None
    embedding: NDArray[np.float32] | None = None
    identity: str = ""


@dataclass(frozen=True, eq=False)
class StoredEmbeddings:
    """The embeddings of N appearances, oldest start first.

    ids      of the appearances
    people   who was named; None for an unknown person
    sources  names of the cameras
    started  N float64, seconds since 1970
    quality  N float64 of the best shots, 0 to 1
    faces    N bool: whether a picture is stored
    vectors  N×D float32, unit length
    """

    ids: tuple[str, ...]
    people: tuple[str | None, ...]
    sources: tuple[str, ...]
    started: NDArray[np.float64]
    quality: NDArray[np.float64]
    faces: NDArray[np.bool_]
    vectors: NDArray[np.float32]

    def __len__(self) -> int:
        return len(self.ids)


def pack_embedding(embedding: NDArray[np.float32]) -> bytes:
    """``embedding`` (D float32) as it is stored, without encryption."""
    return EMBEDDING + embedding.astype(STORED).tobytes()


def unpack_embedding(stored: bytes, cipher: NoCipher) -> NDArray[np.float32] | None:
    """The embedding in ``stored``, D float32. None if it cannot be right: encrypted with another key, or damaged."""
    try:
        plain = stored if stored.startswith(EMBEDDING) else cipher.decrypt(stored)
    except WorkError:
        return None
    numbers = plain[len(EMBEDDING) :]
    if not plain.startswith(EMBEDDING) or not numbers or len(numbers) % 4:
        return None
    vector = np.frombuffer(numbers, STORED).astype(np.float32)
    with np.errstate(all="ignore"):
        return vector if abs(float(vector @ vector) - 1) < 1e-3 else None  # a comparison with NaN is False
