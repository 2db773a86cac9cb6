"""Folders of photos of several people: who is on which photo, by the names of folders and files."""

from __future__ import annotations

import re
import unicodedata
from collections.abc import Collection, Iterator
from dataclasses import dataclass
from pathlib import Path, PurePath
from typing import Literal

from ..core.errors import InputError
from ..core.text import in_a_line
from ..vision.photo_files import LeftOut, count_left_out, list_photos

Nested = Literal["ask", "person", "group"]
TOP = PurePath()


@dataclass(frozen=True)
class PersonPhoto:
    """A photo of a person: the name and the file. ``problem``: why the file is not read; "" if it is."""

    person: str
    path: Path
    problem: str = ""


def find_photos(folder: Path, nested: Nested = "ask") -> list[PersonPhoto]:
    """All photos in ``folder`` with the names of their people, and pictures that are not read, with the reason.

    A subfolder is a person. A photo beside the subfolders is named after its person, with a number if there are
    several: ada.jpg, ada-2.jpg, jean-luc-01.jpg.

    ``nested`` says what a subfolder is that has folders of photos: a "person", with all photos below it, or a "group"
    of people, which is organized as ``folder``. With "ask", it is a person if it has photos itself and one folder.
    Raises InputError if it has no photos itself, or several folders, and ``nested`` is "ask"; if two groups have people
    of the same name; or if there are no photos.
    """
    files = list_photos(folder)
    if not files.photos:
        more = count_left_out(files.left_out)
        raise InputError(
            f"{folder}: no photos in this folder (JPEG, PNG, WebP, BMP or HEIC){f'; {more}' if more else ''}"
        )
    entries = [*(LeftOut(path, "") for path in files.photos), *files.left_out]
    places = [PurePath(entry.path).relative_to(folder) for entry in entries]
    groups = {TOP}.union(*(place.parents[1:] for place in places if place.parent != TOP))
    if nested == "ask":
        _refuse_groups(folder, places)
    if nested != "group":
        groups = {TOP}
    people = [_person_of(place, groups) for place in places]
    if nested == "group":
        _refuse_twice(folder, zip(people, places, strict=True), groups)
    found = [PersonPhoto(person, entry.path, entry.reason) for person, entry in zip(people, entries, strict=True)]
    return sorted(found, key=lambda photo: photo.path)


def _person_of(place: PurePath, groups: Collection[PurePath]) -> str:
    """The name of the person on the photo at ``place``: of the highest folder except groups, or of the file."""
    above = [one for one in place.parents if one not in groups]
    return above[-1].name if above else re.sub(r"-\d+$", "", place.stem)


def find_group(places: Collection[PurePath]) -> tuple[str, str] | None:
    """The first subfolder that may be a group of people, and its folders, as text; None without one.

    ``places``: photos, relative to the folder of the people. A subfolder may be a group if it has no photos itself, but
    folders with photos, or if it has several such folders. A person's folder may have one more, for older photos.
    """
    for top in sorted({place.parts[0] for place in places if len(place.parts) > 2}):
        below = [place.parts[1:] for place in places if place.parts[0] == top]
        inside = sorted({parts[0] for parts in below if len(parts) > 1})
        if len(inside) > 1 or all(len(parts) > 1 for parts in below):
            return in_a_line(top), in_a_line(", ".join(inside[:3]) + (", …" if len(inside) > 3 else ""))
    return None


def _refuse_groups(folder: Path, places: Collection[PurePath]) -> None:
    if group := find_group(places):
        first, listed = group
        raise InputError(
            f"{folder}: {first} has folders with photos ({listed}). Use --nested group if {first} is a group and these "
            f"are people, or --nested person if all photos in {first} are of one person. Nothing was enrolled"
        )


def _refuse_twice(folder: Path, photos: Iterator[tuple[str, PurePath]], groups: Collection[PurePath]) -> None:
    """InputError if a name is in two groups: these may be two people."""
    homes: dict[str, PurePath] = {}
    for person, place in photos:
        home = next(one for one in place.parents if one in groups)
        other = homes.setdefault(unicodedata.normalize("NFC", person).casefold(), home)
        if other != home:
            names = " and ".join(in_a_line(str(folder / one)) for one in (other, home))
            raise InputError(
                f"{names} both have {in_a_line(person)}: if these are two people, rename one; if they are one person, "
                "move the photos into one folder. Nothing was enrolled"
            )
