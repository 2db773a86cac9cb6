"""A folder of photos with a subfolder for each person."""

from __future__ import annotations

from collections.abc import Iterable
from pathlib import Path

from rkface.runtime.core.errors import InputError
from rkface.runtime.enrollment.photo_folders import find_group


def people_in_folders(folder: Path, photos: Iterable[Path]) -> dict[Path, str]:
    """The name of the subfolder of ``folder`` that each of its ``photos`` is in: that of the person. Photos in no
    subfolder are left out.

    Raises InputError if there are fewer than two people, or if a subfolder seems to be a group of people.
    """
    places = {photo: photo.relative_to(folder) for photo in photos}
    if group := find_group(list(places.values())):
        raise InputError(
            f"{folder}: {group[0]} has folders with photos ({group[1]}), but each folder must be one person: "
            "move the folders of people up, or name the folder that has them"
        )
    people = {photo: place.parts[0] for photo, place in places.items() if len(place.parts) > 1}
    if (count := len({*people.values()})) < 2:
        raise InputError(
            f"{folder} has photos of {count} people, but at least two are needed: make a subfolder for each "
            "person, and put the person's photos into it"
        )
    return people
