"""Request and response bodies of ``/v1`` for which the runtime has no class."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Annotated

from pydantic import AfterValidator, Field

from ..alerts.rule import Rule
from ..enrollment.enroll import Verdict
from ..gallery.match import Match
from ..gallery.people import Person
from ..gallery.reviews import Outcome, Review
from .accounts_file import Token
from .scopes import Role, Scope
from .wire import LARGEST, MOST


def check_text(text: str) -> str:
    """``text``, if it can be stored. JSON can contain half a character (\\ud800), which UTF-8 cannot."""
    try:
        text.encode()
    except UnicodeEncodeError:
        raise ValueError("contains half a character") from None
    return text


Text = Annotated[str, AfterValidator(check_text)]
PersonName = Annotated[Text, Field(min_length=1, max_length=200)]


@dataclass(frozen=True)
class SessionState:
    """``token`` must be sent in the header X-CSRF-Token with every request that changes something. It is empty if
    nobody is signed in, and for programs with a token of their own.

    ``who``: the user, "owner" for who knows the password of the password file, or "token NAME"; "" for nobody.
    ``scopes``: what they may do.
    """

    signed_in: bool
    password_needed: bool
    token: str
    who: str = ""
    scopes: Sequence[Scope] = ()


@dataclass(frozen=True)
class Credentials:
    """``user``: empty for the owner of the password file."""

    password: Text
    user: Text = ""


@dataclass(frozen=True)
class StoredSample:
    """A sample without its embedding, which the API never returns. ``crop``: whether a picture is stored."""

    id: int
    quality: float
    source: str
    created: float
    crop: bool


@dataclass(frozen=True)
class PersonDetails:
    """``nearest``: the other people who look most similar, with the cosine between the two most similar samples."""

    person: Person
    samples: list[StoredSample]
    nearest: list[Match]


@dataclass(frozen=True)
class NewName:
    name: PersonName


@dataclass(frozen=True)
class MergeTarget:
    """``into``: the id of the person who keeps name and id."""

    into: Text


@dataclass(frozen=True)
class PersonSearch:
    """``text``: words that the name contains, without regard to accents and case; empty: everybody. ``cursor``:
    ``next`` of the page before."""

    text: Annotated[Text, Field(max_length=200)] = ""
    limit: Annotated[int, Field(ge=1, le=MOST)] = 50
    cursor: Annotated[Text | None, Field(max_length=3000)] = None


@dataclass(frozen=True)
class SampleMove:
    """``samples``: numbers of samples of the person. ``name``: who gets them; a new person if nobody has this name."""

    name: PersonName
    samples: Annotated[tuple[Annotated[int, Field(ge=1, lt=LARGEST)], ...], Field(min_length=1, max_length=MOST)]


@dataclass(frozen=True)
class AppearanceEnrollment:
    """Enroll the person of a current appearance, or of one that has just ended. ``shots``: exactly these pictures, by
    their ids from ``GET /v1/appearances/{id}/shots``; without them, the best ones now. ``force``: even if the person
    looks like somebody else who is enrolled."""

    name: PersonName
    appearance: Text
    force: bool = False
    shots: Annotated[tuple[Text, ...], Field(max_length=10)] = ()


@dataclass(frozen=True)
class AppearanceChoice:
    """``appearances``: ids."""

    appearances: Annotated[tuple[Text, ...], Field(min_length=1, max_length=MOST)]


@dataclass(frozen=True)
class DeletedAppearances:
    """``deleted``: how many of them were in the log."""

    deleted: int


@dataclass(frozen=True)
class OwnThreshold:
    """``threshold``: the minimum cosine at which this person is recognized; null: that of the service."""

    threshold: Annotated[float, Field(ge=0, le=1)] | None


@dataclass(frozen=True)
class NewReview:
    """Who an appearance was.

    ``person``: the id; null: nobody who is enrolled. ``add``: also make the face a sample of this person. ``ignore``:
    also put the face of nobody on the ignore list, so that it is not taken for anybody again; the appearance log must
    have kept its embedding.
    """

    person: Text | None
    add: bool = False
    ignore: bool = False


@dataclass(frozen=True)
class ReviewedAppearance:
    """A review. ``outcome``: what the camera did, as the user says."""

    review: Review
    outcome: Outcome


@dataclass(frozen=True)
class ReviewResult:
    """A review that was stored. ``verdict``: on the face that became a sample, with ``add``; null without. ``ignored``:
    whether the face was put on the ignore list."""

    review: Review
    outcome: Outcome
    verdict: Verdict | None
    ignored: bool


@dataclass(frozen=True)
class NewToken:
    """``name``: which program uses it."""

    name: PersonName
    scopes: Annotated[tuple[Scope, ...], Field(min_length=1)]


@dataclass(frozen=True)
class CreatedToken:
    """``secret`` is shown only once: send it as ``Authorization: Bearer SECRET``."""

    token: Token
    secret: str


@dataclass(frozen=True)
class UserChange:
    """``password``: null keeps the one of a user who exists."""

    role: Role
    password: Text | None = None


@dataclass(frozen=True)
class TriedRule:
    """A rule for alerts to try on the appearances of the last ``days``."""

    rule: Rule
    days: Annotated[float, Field(gt=0, le=3650)] = 7.0


@dataclass(frozen=True)
class AlertReceiver:
    """``name``: as rules name the receiver."""

    name: str


@dataclass(frozen=True)
class SentTest:
    """Whether a receiver has the test message. ``problem``: why it does not; null if it does."""

    delivered: bool
    problem: str | None


@dataclass(frozen=True)
class GroupSize:
    """A group of people. ``people``: the number of its members."""

    name: str
    people: int


@dataclass(frozen=True)
class NewGroups:
    """``groups``: names of all groups to which the person belongs from now on."""

    groups: Annotated[tuple[PersonName, ...], Field(max_length=100)]
