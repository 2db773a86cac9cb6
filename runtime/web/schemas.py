"""What requests and answers of ``/v1`` hold, where no class of the runtime says it."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Annotated

from pydantic import Field

from ..gallery.match import Match
from ..gallery.people import Person
from ..tracking.appearance import Appearance

Name = Annotated[str, Field(min_length=1, max_length=200)]


@dataclass(frozen=True)
class SignIn:
    """``token`` belongs into the header X-CSRF-Token of every request that changes something; "" when not signed in."""

    signed_in: bool
    password_needed: bool
    token: str


@dataclass(frozen=True)
class Credentials:
    password: str


@dataclass(frozen=True)
class StoredSample:
    """A sample without its embedding, which never leaves the board this way. ``crop``: whether there is a picture."""

    id: int
    quality: float
    source: str
    created: float
    crop: bool


@dataclass(frozen=True)
class Known:
    """``nearest`` are the other people who look most alike, the cosine between their nearest samples."""

    person: Person
    samples: list[StoredSample]
    nearest: list[Match]


@dataclass(frozen=True)
class Renamed:
    name: Name


@dataclass(frozen=True)
class Merged:
    """``into``: the id of who keeps name and id."""

    into: str


@dataclass(frozen=True)
class Seen:
    """Enroll who is in an appearance that lasts or has just ended. ``force``: even if someone else looks alike."""

    name: Name
    appearance: str
    force: bool = False


@dataclass(frozen=True)
class Logged(Appearance):
    """``face``: whether there is a picture of the best shot."""

    face: bool = False
