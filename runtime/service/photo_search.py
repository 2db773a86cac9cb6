"""Who is in a photo, of all people of the hub. Nothing of the photo is kept."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray

from ..gallery.match import Match
from ..gallery.people import embedding_identity
from ..hub.search import HubMatch, HubMatches, Method, open_search
from ..inference.pipeline import Pipeline
from .photo_requests import IdentifiedFace, PhotoFace, identify_photo

if TYPE_CHECKING:
    from ..hub.connection import Hub


@dataclass(frozen=True)
class FoundPerson:
    """A person of the hub who looks like a face.

    Attributes:
        person: Id of the person. It never changes.
        name: Name of the person.
        cosine: Cosine similarity of the face and the person's most similar sample, -1 to 1.
        sites: Where the person is known now; empty if nowhere.
        same: Whether the cosine reaches the threshold, and the face is good enough to tell.
    """

    person: str
    name: str
    cosine: float
    sites: tuple[str, ...]
    same: bool


@dataclass(frozen=True)
class SearchedFace(PhotoFace):
    """``matches`` are the most similar people, whatever their cosine, most similar first."""

    matches: tuple[FoundPerson, ...]


@dataclass(frozen=True)
class SearchedPhoto:
    """As IdentifiedPhoto, for the people of the hub.

    ``method``: "exact", or "index" if an index chose the people whose cosines were computed; null without a face.
    ``lacks_index``: the search was slow only because the hub has no index: `rkface hub index` builds it.
    """

    width: int
    height: int
    turned: int
    threshold: float
    faces: tuple[SearchedFace, ...]
    reason: str | None
    method: Method | None
    lacks_index: bool


def search_photo(
    pipeline: Pipeline,
    hub: Hub,
    image: NDArray[np.uint8],
    *,
    people: int = 5,
    sites: Sequence[str] = (),
    threshold: float | None = None,
    aligned: bool = False,
    method: Method | None = None,
) -> SearchedPhoto:
    """Who of the hub is in ``image`` (H×W×3 uint8 BGR).

    people     the number of most similar people for each face, 1 or more
    sites      only people who are known now at one of these; empty: all
    threshold  minimum cosine of a match, 0 to 1; None: the bundle's
    aligned    the image is one face, aligned for the recognizer already
    method     as in ``HubSearch.find``

    Raises UnsearchableError if the hub's embeddings are of another model than ``pipeline``'s, and as ``open_search``.
    """
    opened, searched = open_search(hub, embedding_identity(pipeline.manifest), sites), list[HubMatches]()
    least = pipeline.thresholds.match if threshold is None else threshold

    def search(embeddings: NDArray[np.float32], count: int) -> Sequence[Sequence[Match]]:
        for one in embeddings:
            searched.append(opened.find(one, people=count, method=method, certain=least))
        return [one.matches for one in searched]

    found = identify_photo(pipeline, search, image, least, people=people, aligned=aligned)
    faces = tuple(_describe(face, matches.matches, least) for face, matches in zip(found.faces, searched, strict=True))
    reason = found.reason
    if any(not face.flaw for face in faces) and not any(face.matches for face in faces):
        reason = "nobody is known at this site" if sites else "the hub has no embeddings: enroll people first"
    methods = {one.method for one in searched}
    return SearchedPhoto(
        found.width, found.height, found.turned, least, faces, reason,
        "index" if "index" in methods else "exact" if methods else None,
        any(one.lacks_index for one in searched),
    )  # fmt: skip


def _describe(face: IdentifiedFace, matches: Sequence[HubMatch], least: float) -> SearchedFace:
    sure = face.person is not None  # neither the face nor its direction is in doubt
    people = tuple(
        FoundPerson(one.person, one.name, one.cosine, one.sites, sure and one.counts(least)) for one in matches
    )
    own = {name: getattr(face, name) for name in PhotoFace.__dataclass_fields__}
    return SearchedFace(**own, matches=people)
