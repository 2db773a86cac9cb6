"""``/v1/gallery/health``, ``/v1/reviews`` and a person's own threshold: how well people are told apart."""

from __future__ import annotations

from typing import Annotated

from fastapi import APIRouter, HTTPException, Query

from ..core.errors import InputError
from ..gallery.people import Person
from ..gallery.reviews import list_reviews, remove_reviews, set_threshold
from ..service.gallery_health import GalleryHealth, limit_people
from .api import find_person
from .dependencies import BUSY, NOT_FOUND, UNAUTHORIZED, ServiceDependency, WorkloadDependency
from .schemas import NewReview, OwnThreshold, ReviewedAppearance, ReviewResult
from .wire import Cursor, Limit, Page, page_of

MOST_PEOPLE = 100  # in an answer about the gallery
MOST_APPEARANCES = 200  # in the address of a request

Appearances = Annotated[
    list[Annotated[str, Query(max_length=100)]] | None,
    Query(max_length=MOST_APPEARANCES, description="only those of these appearances (ids); may be repeated"),
]

router = APIRouter(prefix="/v1", responses=UNAUTHORIZED)


@router.get("/gallery/health", tags=["people"], responses=BUSY)
async def get_gallery_health(service: ServiceDependency, workload: WorkloadDependency) -> GalleryHealth:
    """Each sample compared with all others, what reviews measured, and the scores of the cameras week by week. Of the
    people, the 100 who are nearest to others are listed."""
    return limit_people(await workload.slow.run(service.reviews.gallery_health), MOST_PEOPLE)


@router.put("/people/{id}/threshold", tags=["people"], responses=NOT_FOUND)
def set_person_threshold(service: ServiceDependency, id: str, body: OwnThreshold) -> Person:
    """Recognize this person only from a cosine of their own, for people who look alike. It counts where it is higher
    than the threshold of the service."""
    return set_threshold(service.gallery, find_person(service, id), body.threshold)


@router.get("/reviews", tags=["appearances"])
def list_appearance_reviews(
    service: ServiceDependency, limit: Limit = 100, cursor: Cursor = None, appearance: Appearances = None
) -> Page[ReviewedAppearance]:
    """What users said about appearances, newest first."""
    page = page_of(
        list_reviews(service.gallery, appearances=appearance), lambda one: (-one.created, one.appearance), limit, cursor
    )
    return Page(items=[ReviewedAppearance(one, one.outcome) for one in page.items], next=page.next)


@router.put("/appearances/{id}/review", tags=["appearances"], responses=NOT_FOUND | BUSY)
async def review_appearance(
    service: ServiceDependency, workload: WorkloadDependency, id: str, body: NewReview
) -> ReviewResult:
    """Say who an appearance was. It replaces an earlier review of the same appearance. A face that cannot become a
    sample does not prevent the review: see ``verdict``."""
    if body.add and body.person is None:
        raise InputError("add needs a person: only a face of somebody who is enrolled becomes a sample")
    if body.ignore and body.person is not None:
        raise InputError("ignore needs the person null: a person of the gallery cannot be ignored")

    def store() -> ReviewResult:
        person = None if body.person is None else find_person(service, body.person)
        if body.ignore:  # first: if its embedding is not stored, nothing is
            service.reviews.ignore(id)
        review = service.reviews.review(id, person.id if person else None)
        verdict = service.enrollment.enroll_appearance(person.name, id, force=True) if person and body.add else None
        return ReviewResult(review, review.outcome, verdict, body.ignore)

    try:
        return await workload.slow.run(store)
    except KeyError:
        raise HTTPException(404, "this appearance does not exist, or no longer exists") from None


@router.delete("/appearances/{id}/review", tags=["appearances"], status_code=204, responses=NOT_FOUND)
def withdraw_review(service: ServiceDependency, id: str) -> None:
    """Delete a review. Samples that were made of it stay, and so does the ignore list."""
    if not remove_reviews(service.gallery, [id]):
        raise HTTPException(404, "this appearance was not reviewed")
