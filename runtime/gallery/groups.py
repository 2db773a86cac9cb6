"""Groups of people, such as a family: who belongs to which. A group exists as long as it has members."""

from __future__ import annotations

import time
from collections.abc import Collection, Sequence

from ..core.errors import InputError
from .gallery import Gallery
from .people import Person, clean_name

MOST_GROUPS = 100  # of one person


def list_groups(gallery: Gallery) -> dict[str, tuple[str, ...]]:
    """The groups by name, sorted, each with the ids of its members."""
    groups: dict[str, list[str]] = {}
    for name, person in gallery.read("SELECT name, person FROM membership ORDER BY name, person"):
        groups.setdefault(name, []).append(person)
    return {name: tuple(people) for name, people in groups.items()}


def clean_group(name: str) -> str:
    """``name`` as galleries store it, see ``clean_name``. Raises InputError if it cannot be the name of a group."""
    if not name.strip():
        raise InputError("a group needs a name")
    return clean_name(name)


def add_to_group(gallery: Gallery, group: str, people: Sequence[Person]) -> None:
    """Make ``people`` members of ``group``, which comes to exist with its first member. Raises InputError if the name
    is invalid, or a person has too many groups: nothing is changed then."""
    group = clean_group(group)
    for person in people:
        if len({*person.groups, group}) > MOST_GROUPS:
            raise InputError(f"{person.name} has {len(person.groups)} groups; {MOST_GROUPS} are the limit")
    with gallery.transaction() as database:
        database.executemany("INSERT OR IGNORE INTO membership VALUES (?, ?)", [(one.id, group) for one in people])
        _note_change(gallery, people)


def remove_from_group(gallery: Gallery, group: str, people: Sequence[Person]) -> None:
    """End the membership of ``people`` in ``group``. Raises InputError, and changes nothing, if one is not a member."""
    if outside := next((person for person in people if group not in person.groups), None):
        raise InputError(f"{outside.name} does not belong to the group {group!r}: see `rkface gallery group list`")
    with gallery.transaction() as database:
        database.executemany(
            "DELETE FROM membership WHERE person = ? AND name = ?", [(one.id, group) for one in people]
        )
        _note_change(gallery, people)


def set_groups(gallery: Gallery, person: Person, groups: Collection[str]) -> None:
    """Make ``groups`` the groups of ``person``. Raises InputError if a name is invalid, or they are too many."""
    cleaned = {clean_group(group) for group in groups}
    if len(cleaned) > MOST_GROUPS:
        raise InputError(f"{len(cleaned)} groups are too many for a person; {MOST_GROUPS} are the limit")
    with gallery.transaction() as database:
        database.execute("DELETE FROM membership WHERE person = ?", [person.id])
        database.executemany("INSERT INTO membership VALUES (?, ?)", [(person.id, group) for group in sorted(cleaned)])
        _note_change(gallery, [person])


def rename_group(gallery: Gallery, group: str, name: str) -> None:
    """Give ``group`` another name. If a group has that name, both become one. Raises InputError if there is no such
    group, or the name is invalid."""
    name = clean_group(name)
    with gallery.transaction() as database:
        if not database.execute("SELECT 1 FROM membership WHERE name = ?", [group]).fetchone():
            raise InputError(f"there is no group {group!r}: see `rkface gallery group list`")
        moved = "SELECT person, ?1 FROM membership WHERE name = ?2 AND ?1 <> ?2"
        database.execute(
            "UPDATE person SET changed = ? WHERE id IN (SELECT person FROM membership WHERE name = ?)",
            [time.time(), group],
        )
        database.execute(f"INSERT OR IGNORE INTO membership {moved}", [name, group])
        database.execute("DELETE FROM membership WHERE name = ?2 AND ?1 <> ?2", [name, group])


def _note_change(gallery: Gallery, people: Sequence[Person]) -> None:
    now = time.time()
    gallery.database.executemany("UPDATE person SET changed = ? WHERE id = ?", [(now, person.id) for person in people])
