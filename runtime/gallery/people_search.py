"""People by a part of their name, and in pages, for galleries with tens of thousands of people."""

from __future__ import annotations

import json
import unicodedata

from .database import GalleryDatabase
from .people import Person
from .rows import select_people

# Letters with a stroke or without a dot, which Unicode does not decompose.
STROKES = str.maketrans("łøđħıŧƀɨ", "lodhitbi")


def fold_name(name: str) -> str:
    """``name`` without accents and case, for comparison: "Łukasz Żal" → "lukasz zal"."""
    if name.isascii():
        return name.lower()
    letters = unicodedata.normalize("NFKD", name.casefold())
    return "".join(one for one in letters if not unicodedata.combining(one)).translate(STROKES)


def find_people(
    gallery: GalleryDatabase, text: str, limit: int, after: tuple[str, str] | None = None
) -> tuple[list[Person], tuple[str, str] | None]:
    """The first ``limit`` people whose names contain every word of ``text``, without regard to accents and case, by
    name; and the place of the last one if there are more, which is ``after`` for the next page."""
    words = fold_name(text).split()
    named = ((fold_name(name), id) for id, name in gallery.read("SELECT id, name FROM person"))
    found = sorted(one for one in named if all(word in one[0] for word in words) and (after is None or one > after))
    shown = found[:limit]
    people = {person.id: person for person in select_people(gallery, _AMONG, [json.dumps([id for _, id in shown])])}
    return [people[id] for _, id in shown if id in people], shown[-1] if len(found) > limit else None


_AMONG = "WHERE id IN (SELECT value FROM json_each(?))"


def select_page(gallery: GalleryDatabase, limit: int, after: tuple[float, str] | None = None) -> list[Person]:
    """``limit`` people in the order of enrollment, those who follow the person who was created at ``after`` and has
    this id."""
    created, id = after or (-1e308, "")
    return select_people(gallery, "WHERE (created, id) > (?, ?) ORDER BY created, id LIMIT ?", [created, id, limit])
