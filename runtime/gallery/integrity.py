"""Checking a gallery for damage."""

from __future__ import annotations

from ..core.sqlite import find_damage
from .gallery import Gallery
from .schema import gallery_errors


def find_problems(gallery: Gallery) -> list[str]:
    """Check the whole file of ``gallery`` and the consistency of its rows. Returns one sentence for each problem."""
    with gallery.lock, gallery_errors(gallery.path):
        found = [problem] if (problem := find_damage(gallery.database)) is not None else []
        orphans = gallery.database.execute("PRAGMA foreign_key_check").fetchall()
    found += [f"{len(orphans)} samples belong to nobody"] if orphans else []
    lengths = gallery.read(
        "SELECT identity, count(DISTINCT length(embedding)), max(length(embedding) % 4) FROM sample GROUP BY identity"
    )
    found += [f"embeddings of {identity[:8]} differ in length" for identity, kinds, odd in lengths if kinds > 1 or odd]
    return found
