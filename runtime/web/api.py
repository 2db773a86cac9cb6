"""``/v1``: people, enrollment, appearances, health and settings, for the page and for programs.

The interface is what tests/runtime/web/openapi.json says: what is added there is compatible, what goes or changes its
meaning needs a ``/v2``.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Annotated, Any

import numpy as np
from fastapi import APIRouter, Depends, HTTPException, Query, Request, Response
from fastapi.concurrency import run_in_threadpool

from ..core.errors import InputError
from ..enrollment.enroll import Verdict
from ..enrollment.guidance import Guidance
from ..gallery.match import Match
from ..gallery.people import Person
from ..service.console_protocol import CameraHealth, CameraService, Health, Setting
from ..service.erasure import ErasureReport
from ..vision.image import decode_image
from .access import Access
from .schemas import Credentials, Known, Logged, Merged, Renamed, Seen, SignIn, StoredSample

MOST_PIXELS = 50_000_000  # of an uploaded photo: 150 MB while it is looked at, one at a time
PNG: dict[int | str, dict[str, Any]] = {200: {"content": {"image/png": {}}}}
ABSENT: dict[int | str, dict[str, Any]] = {404: {"description": "no such thing (any more)"}}

router = APIRouter(prefix="/v1", responses={401: {"description": "not signed in"}})


def service_of(request: Request) -> CameraService:
    service: CameraService = request.app.state.service
    return service


def access_of(request: Request) -> Access:
    access: Access = request.app.state.access
    return access


Served = Annotated[CameraService, Depends(service_of)]
Door = Annotated[Access, Depends(access_of)]


@router.get("/session", tags=["session"])
def session(request: Request, access: Door) -> SignIn:
    """Whether this is a session, and its token."""
    token = access.token(request.headers)
    return SignIn(token is not None, access.passwords is not None, token or "")


@router.post("/session", tags=["session"], responses={403: {"description": "wrong"}, 429: {"description": "wait"}})
def sign_in(request: Request, response: Response, given: Credentials, access: Door) -> SignIn:
    """Sign in: the session is a cookie. After five wrong passwords an address has to wait, longer each time."""
    if access.passwords is None:
        return session(request, access)
    address = request.client.host if request.client else ""
    wait = access.attempts.begin(address)
    if wait:
        seconds = str(int(wait) + 1)
        raise HTTPException(429, f"too many attempts: wait {seconds} s", {"retry-after": seconds})
    if not access.passwords.right(given.password):
        raise HTTPException(403, "that is not the password")
    access.attempts.right(address)
    access.sessions.end(access.secret(request.headers))
    secret = access.sessions.begin()
    response.set_cookie(access.cookie, secret, httponly=True, samesite="strict", secure=access.secure, path="/")
    begun = access.sessions.find(secret)
    return SignIn(True, True, begun.token if begun else "")


@router.delete("/session", tags=["session"], status_code=204)
def sign_out(request: Request, response: Response, access: Door) -> None:
    access.sessions.end(access.secret(request.headers))
    response.delete_cookie(access.cookie, httponly=True, samesite="strict", secure=access.secure, path="/")


@router.get("/people", tags=["people"])
def people(service: Served) -> list[Person]:
    """Everyone, by name."""
    return service.gallery.people()


@router.get("/people/{id}", tags=["people"], responses=ABSENT)
def person(service: Served, id: str) -> Known:
    found = _person(service, id)
    samples = service.gallery.samples(found)
    own = service.gallery.identity
    vectors = [sample.embedding for sample in samples if sample.identity == own]
    nearest: dict[str, Match] = {}
    rows = service.gallery.search(np.stack(vectors), 4) if vectors else []
    for match in (match for row in rows for match in row):
        if match.person != id and match.cosine > nearest.get(match.person, Match("", "", -2.0)).cosine:
            nearest[match.person] = match
    return Known(
        found,
        [StoredSample(one.id, one.quality, one.source, one.created, one.crop is not None) for one in samples],
        sorted(nearest.values(), key=lambda match: -match.cosine)[:3],
    )


@router.patch("/people/{id}", tags=["people"], responses=ABSENT)
def rename(service: Served, id: str, wanted: Renamed) -> Person:
    """The id stays for life."""
    service.gallery.rename(_person(service, id), wanted.name)
    return _person(service, id)


@router.post("/people/{id}/merge", tags=["people"], responses=ABSENT)
def merge(service: Served, id: str, wanted: Merged) -> Person:
    """Make one person of two who were enrolled under two names."""
    service.gallery.merge(_person(service, id), _person(service, wanted.into))
    return _person(service, wanted.into)


@router.delete("/people/{id}", tags=["people"], responses=ABSENT)
def forget(service: Served, id: str) -> ErasureReport:
    """Delete for good: samples, pictures, appearances, what backups hold of them, and what waits to be told of them."""
    return service.forget(_person(service, id).id)


@router.delete("/people/{id}/samples/{sample}", tags=["people"], responses=ABSENT)
def remove(service: Served, id: str, sample: int) -> Person:
    """Delete one sample, such as a photo of somebody else. Backups keep it until they grow old."""
    found = _person(service, id)
    if sample not in [one.id for one in service.gallery.samples(found)]:
        raise HTTPException(404, "there is no such sample (any more)")
    service.gallery.remove(found, [sample])
    return _person(service, id)


@router.get("/people/{id}/face", tags=["people"], responses=PNG | ABSENT, response_class=Response)
def face_of_person(service: Served, id: str, sample: int | None = None) -> Response:
    """The aligned face of one sample, or of the best one, as PNG."""
    samples = [one for one in service.gallery.samples(_person(service, id)) if one.crop and sample in (None, one.id)]
    if not samples:
        raise HTTPException(404, "no picture was kept")
    return Response(max(samples, key=lambda one: one.quality).crop, media_type="image/png")


@router.post("/enrolments/photo", include_in_schema=False)  # the path of rkface 0.1
@router.post("/enrollments/photo", tags=["people"], openapi_extra={
    "requestBody": {"required": True, "content": {
        kind: {"schema": {"type": "string", "format": "binary"}} for kind in ("image/jpeg", "image/png", "image/webp")
    }}
}, responses={413: {"description": "too large"}})  # fmt: skip
async def enroll_photo(
    request: Request,
    service: Served,
    name: Annotated[str, Query(min_length=1, max_length=200)],
    source: Annotated[str, Query(max_length=200, description="what the sample says of itself")] = "web upload",
    force: bool = False,
) -> Verdict:
    """Judge one photo, the request's body, and enroll the largest face in it. A refusal is an answer, not an error."""
    data, one_at_a_time = await request.body(), request.app.state.photos

    def judge() -> Verdict:
        with one_at_a_time:
            try:
                image = decode_image(data, source, MOST_PIXELS)
            except InputError as error:
                return Verdict("refused", name, source, str(error).removeprefix(f"{source}: "))
            return service.enroll(name, image, source, force=force)

    return await run_in_threadpool(judge)


@router.post("/enrolments/seen", include_in_schema=False)  # the path of rkface 0.1
@router.post("/enrollments/seen", tags=["people"], responses=ABSENT)
def enroll_seen(service: Served, wanted: Seen) -> Verdict:
    """Enroll from the best shots of an appearance."""
    try:
        return service.enroll_seen(wanted.name, wanted.appearance, force=wanted.force)
    except KeyError:
        raise HTTPException(404, "that appearance is over and its shots are gone") from None


@router.get("/appearances", tags=["appearances"])
def appearances(
    service: Served,
    limit: Annotated[int, Query(ge=1, le=200)] = 50,
    before: Annotated[float | None, Query(description="only those that started earlier, seconds since 1970")] = None,
    person: Annotated[str | None, Query(description="an id; empty for those of nobody known")] = None,
    source: Annotated[str | None, Query(description="a camera")] = None,
) -> list[Logged]:
    """Newest first. For the next page, ask ``before`` the last one's start."""
    return [logged(event) for event in service.appearances(limit, before, person, source)]


@router.get("/appearances/{id}/face", tags=["appearances"], responses=PNG | ABSENT, response_class=Response)
def face_of_appearance(service: Served, id: str) -> Response:
    """The aligned face of the best shot, as PNG."""
    face = service.face(id)
    if face is None:
        raise HTTPException(404, "no picture was kept")
    return Response(face, media_type="image/png")


@router.get("/cameras", tags=["cameras"])
def cameras(service: Served) -> list[CameraHealth]:
    return list(service.cameras.values())


@router.get("/cameras/{name}/guidance", tags=["cameras"], responses=ABSENT)
def guidance(service: Served, name: str) -> Guidance:
    """What who stands before the camera should do to be enrolled from it."""
    camera_of(service, name)
    return service.guide(name)


@router.get("/health", tags=["service"])
def health(service: Served) -> Health:
    return service.health()


@router.get("/settings", tags=["service"])
def settings(service: Served) -> Sequence[Setting]:
    """What can be changed while the service runs."""
    return service.settings()


@router.patch("/settings", tags=["service"])
def change(service: Served, values: Mapping[str, bool | int | float | str]) -> Sequence[Setting]:
    """All or none, for now and for the next start."""
    service.change(values)
    return service.settings()


def camera_of(service: CameraService, name: str) -> CameraHealth:
    try:
        return service.cameras[name]
    except KeyError:
        raise HTTPException(404, f"no camera {name!r}") from None


def logged(event: Mapping[str, Any]) -> Logged:
    """What ``Appearance.as_event`` made, back; fields of a later version are left out."""
    match = event["match"]
    said = {name: event[name] for name in Logged.__dataclass_fields__ if name in event}
    return Logged(**{**said, "match": Match(**match) if match else None, "box": tuple(event["box"])})


def _person(service: CameraService, id: str) -> Person:
    try:
        found = service.gallery.person(id)
    except InputError:
        found = None
    if found is None or found.id != id:  # a name is no id
        raise HTTPException(404, "there is no such person (any more)")
    return found
