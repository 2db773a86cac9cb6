"""A gallery of random people, and where the bytes of a person are."""

from dataclasses import replace

import numpy as np
import pytest

from rkface.runtime.gallery.gallery import Gallery
from rkface.runtime.gallery.people import Sample

ONE = "1" * 32  # identity of the model
D = 64  # numbers of an embedding


def vector(seed):
    values = np.random.default_rng(seed).standard_normal(D)
    return (values / np.linalg.norm(values)).astype(np.float32)


def sample(seed, crop=True, **more):
    return Sample(vector(seed), crop_of(seed) if crop else None, 0.8, f"photo-{seed}.jpg", **more)


def crop_of(seed):
    # Larger than a page of 8192 bytes, as real crops are: SQLite keeps these in overflow pages.
    return np.random.default_rng(1000 + seed).bytes(9000)


@pytest.fixture
def path(tmp_path):
    return tmp_path / "gallery.sqlite"


@pytest.fixture
def gallery(path):
    with Gallery(path, ONE, create=True) as opened:
        yield opened


def names(gallery, seed, k=1):
    return [match.name for match in gallery.search(vector(seed)[None], k)[0]]


def traces(folder, seeds):
    """The people (seeds) of whom a part of an embedding or a crop is in any file below ``folder``."""
    pieces = {}
    for seed in seeds:
        pieces[vector(seed).tobytes()[:128]] = seed
        pieces[vector(seed).tobytes()[128:]] = seed
        crop = crop_of(seed)
        pieces |= {crop[start : start + 64]: seed for start in range(0, len(crop) - 64, 512)}
    found = set()
    for file in folder.rglob("*"):
        if file.is_file():
            content = file.read_bytes()
            found |= {seed for piece, seed in pieces.items() if piece in content}
    return found


def stored(seed):
    # add() stores an embedding of unit length, whose last bits may differ: look for exactly these bytes.
    return replace(sample(seed), embedding=vector(seed))
