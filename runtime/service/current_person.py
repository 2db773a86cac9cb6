"""Whom an id of the gallery means now: people can be renamed, merged or deleted while a camera sees them."""

from __future__ import annotations

from dataclasses import replace

from ..alerts.matching import SeenPerson
from ..gallery.gallery import Gallery
from ..gallery.match import Match


def refresh_match(gallery: Gallery, match: Match) -> Match | None:
    """Return ``match`` with the current id and name; None if the person was deleted, whose name must not be published
    again, or if this board was without its hub for too long. Raises RkfaceError if the gallery cannot be read."""
    rows = gallery.read(
        "SELECT id, name FROM person WHERE id = coalesce((SELECT person FROM former WHERE id = ?1), ?1)", [match.person]
    )
    if not rows or not gallery.may_name(rows[0][0]):
        return None
    return replace(match, person=rows[0][0], name=rows[0][1])


def identify(gallery: Gallery, person: str) -> SeenPerson:
    """Return all ids of ``person``, also those of people who were merged into this one, and the groups. Raises
    RkfaceError if the gallery cannot be read."""
    rows = gallery.read(
        "SELECT id, 0 FROM former WHERE person = ?1 UNION ALL SELECT name, 1 FROM membership WHERE person = ?1",
        [person],
    )
    ids, groups = ({text for text, kind in rows if kind == wanted} for wanted in (0, 1))
    return SeenPerson(frozenset({person, *ids}), frozenset(groups))
