"""Whom an id of the gallery means now: people can be renamed, merged or deleted while a camera sees them."""

from __future__ import annotations

from dataclasses import replace

from ..alerts.matching import SeenPerson
from ..gallery.gallery import Gallery
from ..gallery.match import Match


def find_current(gallery: Gallery, person: str) -> tuple[str, str] | None:
    """Return the id and the name that ``person`` (an id) has now, after merges and renamings; None if the person was
    deleted. Raises RkfaceError if the gallery cannot be read."""
    rows = gallery.read(
        "SELECT id, name FROM person WHERE id = coalesce((SELECT person FROM former WHERE id = ?1), ?1)", [person]
    )
    return (rows[0][0], rows[0][1]) if rows else None


def refresh_match(gallery: Gallery, match: Match) -> Match | None:
    """Return ``match`` with the current id and name; None if the person was deleted, whose name must not be published
    again, or if this board was without its hub for too long. Raises RkfaceError if the gallery cannot be read."""
    current = find_current(gallery, match.person)
    if current is None or not gallery.lease.may_name(current[0]):
        return None
    return replace(match, person=current[0], name=current[1])


def identify(gallery: Gallery, person: str) -> SeenPerson:
    """Return all ids of ``person``, also those of people who were merged into this one, and the groups. Raises
    RkfaceError if the gallery cannot be read."""
    rows = gallery.read(
        "SELECT id, 0 FROM former WHERE person = ?1 UNION ALL SELECT name, 1 FROM membership WHERE person = ?1",
        [person],
    )
    ids, groups = ({text for text, kind in rows if kind == wanted} for wanted in (0, 1))
    return SeenPerson(frozenset({person, *ids}), frozenset(groups))
