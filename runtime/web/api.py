"""``/v1``: people, enrollment, appearances, health and settings, for the page and for other programs.

tests/runtime/web/openapi.json is the contract: additions are compatible, a removal or a new meaning needs a ``/v2``.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import asdict
from typing import Annotated, Any

import numpy as np
from fastapi import APIRouter, HTTPException, Query, Request, Response
from pydantic import AwareDatetime

from ..core.errors import InputError
from ..enrollment.enroll import Verdict
from ..enrollment.guidance import Guidance
from ..gallery.match import Match
from ..gallery.people import Person
from ..gallery.people_search import find_people, select_page
from ..gallery.split import move_samples
from ..service.appearance_log import LoggedAppearance
from ..service.console_protocol import CameraService
from ..service.enrollment_requests import OfferedShot
from ..service.erasure import ErasureReport
from ..service.states import CameraHealth, Health, Setting
from ..vision.image import decode_image
from .dependencies import BUSY, NOT_FOUND, UNAUTHORIZED, ServiceDependency, WorkloadDependency
from .photo_bodies import photo_body, read_photos
from .schemas import (
    AppearanceChoice,
    AppearanceEnrollment,
    DeletedAppearances,
    MergeTarget,
    NewName,
    PersonDetails,
    PersonSearch,
    SampleMove,
    StoredSample,
    Text,
)
from .uploads import MAX_PIXELS, UPLOAD, read_upload
from .wire import Cursor, Limit, Page, read_number, read_place, write_cursor

NEAREST = 3  # other people who look similar
REFUSED: dict[int | str, dict[str, Any]] = {422: {"description": "refused: `verdict` says why; or a wrong request"}}
PNG: dict[int | str, dict[str, Any]] = {200: {"content": {"image/png": {}}}}

router = APIRouter(prefix="/v1", responses=UNAUTHORIZED)


@router.get("/people", tags=["people"])
def list_people(service: ServiceDependency, limit: Limit = 100, cursor: Cursor = None) -> Page[Person]:
    """The enrolled people, in the order of enrollment."""
    # A cursor must not contain a name: it is in the address of the request, which proxies log.
    people = select_page(service.gallery, limit + 1, read_place(cursor, float))
    last = people[:limit][-1] if len(people) > limit else None
    return Page(items=people[:limit], next=write_cursor([last.created, last.id]) if last else None)


@router.post("/people/search", tags=["people"])
def search_people(service: ServiceDependency, body: PersonSearch) -> Page[Person]:
    """People by a part of their name, sorted by name. It changes nothing; it is a POST because addresses of requests,
    which proxies log, must not contain names."""
    people, after = find_people(service.gallery, body.text, body.limit, read_place(body.cursor, str))
    return Page(items=people, next=write_cursor(after) if after else None)


@router.get("/people/{id}", tags=["people"], responses=NOT_FOUND)
def get_person(service: ServiceDependency, id: str) -> PersonDetails:
    """One person with all samples, and the people who look most similar."""
    person = find_person(service, id)
    samples = service.gallery.samples(person)
    identity = service.gallery.identity
    vectors = [sample.embedding for sample in samples if sample.identity == identity]
    nearest: dict[str, Match] = {}
    rows = service.gallery.search(np.stack(vectors), NEAREST + 1) if vectors else []
    for match in (match for row in rows for match in row):
        if match.person != id and match.cosine > nearest.get(match.person, Match("", "", -2.0)).cosine:
            nearest[match.person] = match
    return PersonDetails(
        person,
        [StoredSample(one.id, one.quality, one.source, one.created, one.crop is not None) for one in samples],
        sorted(nearest.values(), key=lambda match: -match.cosine)[:NEAREST],
    )


@router.patch("/people/{id}", tags=["people"], responses=NOT_FOUND)
def rename_person(service: ServiceDependency, id: str, body: NewName) -> Person:
    """Change the name. The id never changes."""
    service.gallery.rename(find_person(service, id), body.name)
    return find_person(service, id)


@router.post("/people/{id}/merge", tags=["people"], responses=NOT_FOUND)
def merge_people(service: ServiceDependency, id: str, body: MergeTarget) -> Person:
    """Merge a person who was enrolled twice: all samples move to the person ``into``."""
    service.gallery.merge(find_person(service, id), find_person(service, body.into))
    return find_person(service, body.into)


@router.post("/people/{id}/split", tags=["people"], responses=NOT_FOUND)
def split_person(service: ServiceDependency, id: str, body: SampleMove) -> Person:
    """Give some samples to another person: two people were enrolled as one, or a photo shows somebody else. Returns the
    person who gets them. Existing backups still contain them as samples of this person."""
    return move_samples(service.gallery, find_person(service, id), body.samples, body.name)


@router.delete("/people/{id}", tags=["people"], responses=NOT_FOUND | BUSY)
async def forget_person(service: ServiceDependency, workload: WorkloadDependency, id: str) -> ErasureReport:
    """Delete permanently: samples, pictures, appearances, their data in backups, and their name in unsent events."""
    return await workload.slow.run(lambda: service.erasure.forget(find_person(service, id).id))


@router.delete("/people/{id}/samples/{sample}", tags=["people"], responses=NOT_FOUND)
def remove_sample(service: ServiceDependency, id: str, sample: int) -> Person:
    """Delete one sample, such as a photo of somebody else. Existing backups still contain it."""
    person = find_person(service, id)
    if sample not in [one.id for one in service.gallery.samples(person)]:
        raise HTTPException(404, "this sample does not exist, or no longer exists")
    service.gallery.remove_samples(person, [sample])
    return find_person(service, id)


@router.get("/people/{id}/face", tags=["people"], responses=PNG | NOT_FOUND, response_class=Response)
def get_person_face(service: ServiceDependency, id: str, sample: int | None = None) -> Response:
    """The aligned face of one sample as PNG; without ``sample``, the one of best quality."""
    samples = [
        one for one in service.gallery.samples(find_person(service, id)) if one.crop and sample in (None, one.id)
    ]
    if not samples:
        raise HTTPException(404, "no picture is stored")
    return Response(max(samples, key=lambda one: one.quality).crop, media_type="image/png")


@router.post("/enrolments/photo", include_in_schema=False)  # the path of rkface 0.1
@router.post(
    "/enrollments/photo", tags=["people"], openapi_extra=photo_body("photo"), responses=BUSY | UPLOAD | REFUSED
)
async def enroll_photo(
    *,
    request: Request,
    service: ServiceDependency,
    workload: WorkloadDependency,
    name: Annotated[str, Query(min_length=1, max_length=200)],
    source: Annotated[
        str, Query(max_length=200, description="where the sample comes from; stored with it")
    ] = "web upload",
    force: bool = False,
    face: Annotated[
        int | None, Query(ge=1, le=10_000, description="the number of the face, if the photo shows several")
    ] = None,
) -> Verdict:
    """Check one photo and enroll the face in it. If it is not clear which of several faces to
    enroll, the photo is refused, and ``faces`` of the verdict lists them."""

    def enroll(body: bytes) -> Verdict:
        (data,) = read_photos(body, request.headers.get("content-type", ""), ("photo",))
        try:
            image = decode_image(data, source, MAX_PIXELS)
        except InputError as error:
            return Verdict("refused", name, source, str(error).removeprefix(f"{source}: "))
        return service.enrollment.enroll_photo(name, image, source, face=face, force=force)

    async with workload.uploads.place():  # before the body is read: as many as have a place are in memory
        data = await read_upload(request)
        return _accepted(await workload.photos.run(lambda: enroll(data)))


@router.post("/enrolments/seen", include_in_schema=False)  # the path of rkface 0.1
@router.post("/enrollments/seen", tags=["people"], responses=NOT_FOUND | BUSY | REFUSED)
async def enroll_from_appearance(
    service: ServiceDependency, workload: WorkloadDependency, body: AppearanceEnrollment
) -> Verdict:
    """Enroll from the best shots of an appearance."""
    try:
        verdict = await workload.slow.run(
            lambda: service.enrollment.enroll_appearance(body.name, body.appearance, shots=body.shots, force=body.force)
        )
    except KeyError:
        raise HTTPException(404, "this appearance has ended and its pictures are deleted") from None
    return _accepted(verdict)


@router.get("/appearances", tags=["appearances"])
def list_appearances(
    *,
    service: ServiceDependency,
    limit: Annotated[int, Query(ge=1, le=200, description="how many, at most; a few more if they start together")] = 50,
    cursor: Cursor = None,
    person: Annotated[str | None, Query(description="a person's id; empty for unknown people only")] = None,
    source: Annotated[str | None, Query(description="a camera's name")] = None,
    since: Annotated[AwareDatetime | None, Query(description="only those that started then or later")] = None,
    until: Annotated[AwareDatetime | None, Query(description="only those that started earlier")] = None,
) -> Page[LoggedAppearance]:
    """Newest first."""
    before = read_number(cursor, float)
    since_seconds, until_seconds = (time.timestamp() if time else None for time in (since, until))
    found = service.appearances.newest(limit, before, person, source, since=since_seconds, until=until_seconds)
    return Page(items=found, next=write_cursor([found[-1].started]) if len(found) >= limit else None)


@router.post("/appearances/delete", tags=["appearances"])
def delete_appearances(service: ServiceDependency, body: AppearanceChoice) -> DeletedAppearances:
    """Delete appearances from the log, with their pictures. Events that were sent, and reviews, stay."""
    return DeletedAppearances(service.appearances.delete(body.appearances))


@router.get("/appearances/{id}/face", tags=["appearances"], responses=PNG | NOT_FOUND, response_class=Response)
def get_appearance_face(service: ServiceDependency, id: str, shot: str | None = None) -> Response:
    """The aligned face as PNG: of the best shot now, or of this ``shot`` from ``GET /v1/appearances/{id}/shots``."""
    face = service.appearances.face(id) if shot is None else service.enrollment.offered_face(id, shot)
    if face is None:
        raise HTTPException(404, "no picture is stored")
    return Response(face, media_type="image/png")


@router.get("/appearances/{id}/shots", tags=["appearances"])
def list_shots(service: ServiceDependency, id: str) -> Page[OfferedShot]:
    """The pictures from which this appearance can be enrolled, best first; empty if no good picture is stored. They are
    kept for some minutes, so that an enrollment can name exactly the pictures that a person has looked at."""
    return Page(items=service.enrollment.offer_shots(id), next=None)


@router.get("/cameras", tags=["cameras"])
def list_cameras(service: ServiceDependency) -> Page[CameraHealth]:
    """All cameras, in the order of the configuration."""
    return Page(items=list(service.cameras.values()), next=None)


@router.get("/cameras/{name}/guidance", tags=["cameras"], responses=NOT_FOUND | BUSY)
async def get_guidance(service: ServiceDependency, workload: WorkloadDependency, name: str) -> Guidance:
    """What the person in front of the camera should do to be enrolled from it."""
    find_camera(service, name)
    return await workload.slow.run(lambda: service.enrollment.guide(name))


@router.get("/health", tags=["service"])
def get_health(service: ServiceDependency) -> Health:
    """State of the service, its cameras, the NPU and the receivers of events."""
    return service.health()


@router.get("/settings", tags=["service"])
def list_settings(service: ServiceDependency) -> Page[Setting]:
    """The settings that can change while the service runs."""
    return Page(items=service.settings(), next=None)


@router.patch("/settings", tags=["service"])
def change_settings(
    service: ServiceDependency, values: Mapping[Text, bool | int | float | Text | None]
) -> Page[Setting]:
    """Change settings by key, now and for the next start; null: back to the configuration. If one value is wrong,
    nothing changes."""
    service.change_settings(values)
    return list_settings(service)


def _accepted(verdict: Verdict) -> Verdict:
    """``verdict``, if the face was enrolled or known. Raises HTTPException 422, with the verdict, if it was refused."""
    if verdict.status == "refused":
        raise HTTPException(422, {"detail": verdict.reason, "verdict": asdict(verdict)})
    return verdict


def find_camera(service: CameraService, name: str) -> CameraHealth:
    """Raises HTTPException 404 if there is no camera with this name."""
    try:
        return service.cameras[name]
    except KeyError:
        raise HTTPException(404, f"there is no camera {name!r}") from None


def find_person(service: CameraService, id: str) -> Person:
    """Raises HTTPException 404 if there is no person with this id."""
    try:
        person = service.gallery.person(id)
    except InputError:
        person = None
    if person is None or person.id != id:  # the gallery also finds people by name
        raise HTTPException(404, "this person does not exist, or no longer exists")
    return person
