"""``/v1/strangers``, ``/v1/ignored`` and ``/v1/renamings``: people without a name, faces that are nobody, and names
that appearances get afterwards."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import asdict, dataclass
from typing import Annotated, TypeVar

from fastapi import APIRouter, HTTPException, Query, Response
from pydantic import Field

from ..core.errors import InputError
from ..gallery import ignored
from ..gallery.ignored import IgnoredFace
from ..service.console_protocol import CameraService
from ..service.renaming import Renaming
from ..service.stranger_requests import StrangerEnrollment
from ..service.strangers import Stranger
from .dependencies import BUSY, NOT_FOUND, UNAUTHORIZED, ServiceDependency, WorkloadDependency
from .schemas import PersonName, Text
from .wire import Cursor, Limit, Page, page_of

Answer = TypeVar("Answer")
Ids = Annotated[tuple[Text, ...], Field(max_length=1000)]  # a larger body would be refused

router = APIRouter(prefix="/v1", tags=["strangers"], responses=UNAUTHORIZED | BUSY)


@dataclass(frozen=True)
class StrangerName:
    """Enroll a stranger as the person ``name``, from the stored pictures of these ``appearances``; without them, of
    all. ``rename``: these appearances get the name, too. ``force``: even if the face looks like somebody else."""

    name: PersonName
    appearances: Ids = ()
    force: bool = False
    rename: bool = False


@dataclass(frozen=True)
class IgnoreStranger:
    """``note``: what you want to remember, such as "the postman". ``appearances``: only these; without them, all."""

    note: Annotated[Text, Field(max_length=ignored.MOST_NOTE)] = ""
    appearances: Ids = ()


@dataclass(frozen=True)
class PastAppearances:
    """``person``: the id of a person. ``appearances``: only these; null for all that look like the person."""

    person: Text
    appearances: Ids | None = None


@dataclass(frozen=True)
class RemovedIgnoredFace:
    """``left``: where the removed embeddings and pictures may remain, and why; one sentence each."""

    left: tuple[str, ...]


@dataclass(frozen=True)
class RenamedAppearances:
    """``renaming``: what was named, and how to undo it; null if no past appearance looks like the person."""

    renaming: Renaming | None


@router.get("/strangers")
async def list_strangers(
    *,
    service: ServiceDependency,
    workload: WorkloadDependency,
    limit: Limit = 100,
    cursor: Cursor = None,
    least: Annotated[int, Query(ge=1, le=1000, description="only who was seen so many times or more")] = 1,
) -> Page[Stranger]:
    """People without a name, last seen first. It needs embeddings in the log (the setting keep.embeddings)."""
    found = await workload.slow.run(lambda: service.strangers.strangers(least))
    return page_of(found, lambda one: (-one.last, one.id), limit, cursor)


@router.get("/strangers/{id}", responses=NOT_FOUND)
async def get_stranger(service: ServiceDependency, workload: WorkloadDependency, id: str) -> Stranger:
    """The stranger of an appearance: ``id`` may be that of any of the stranger's appearances."""
    return await workload.slow.run(lambda: _find(lambda: service.strangers.stranger(id)))


@router.post("/strangers/{id}/enroll", responses=NOT_FOUND)
async def enroll_stranger(
    service: ServiceDependency, workload: WorkloadDependency, id: str, body: StrangerName
) -> StrangerEnrollment:
    """Enroll a stranger from stored pictures, with the checks of any other enrollment."""

    def enroll() -> StrangerEnrollment:
        _find(lambda: service.strangers.stranger(id))
        return service.strangers.enroll(
            id, body.name, appearances=body.appearances, force=body.force, rename=body.rename
        )

    result = await workload.slow.run(enroll)
    if result.verdict.status == "refused":
        raise HTTPException(422, {"detail": result.verdict.reason, "verdict": asdict(result.verdict)})
    return result


@router.post("/strangers/{id}/ignore", status_code=201, responses=NOT_FOUND)
async def ignore_stranger(
    service: ServiceDependency, workload: WorkloadDependency, id: str, body: IgnoreStranger
) -> IgnoredFace:
    """Ignore a stranger for good: cameras report nothing about this face. The gallery keeps embeddings of it, and a
    picture if there is one, until the entry is deleted."""

    def ignore() -> IgnoredFace:
        _find(lambda: service.strangers.stranger(id))
        return service.strangers.ignore(id, body.note, appearances=body.appearances)

    return await workload.slow.run(ignore)


@router.get("/ignored")
def list_ignored_faces(service: ServiceDependency, limit: Limit = 100, cursor: Cursor = None) -> Page[IgnoredFace]:
    """The ignore list, oldest first."""
    return page_of(ignored.list_ignored(service.gallery), lambda one: (one.created, one.id), limit, cursor)


@router.get(
    "/ignored/{id}/face",
    responses=NOT_FOUND | {200: {"content": {"image/png": {}}}},
    response_class=Response,
)
def get_ignored_face(service: ServiceDependency, id: str) -> Response:
    """The aligned face of an entry as PNG."""
    face = ignored.read_ignored_picture(service.gallery, _find_entry(service, id).id)
    if face is None:
        raise HTTPException(404, "no picture is stored")
    return Response(face, media_type="image/png")


@router.delete("/ignored/{id}", responses=NOT_FOUND)
async def stop_ignoring_face(service: ServiceDependency, workload: WorkloadDependency, id: str) -> RemovedIgnoredFace:
    """Remove an entry of the ignore list, and delete its embeddings and pictures, also in backups."""

    def remove() -> RemovedIgnoredFace:
        left = service.strangers.stop_ignoring(_find_entry(service, id).id)
        return RemovedIgnoredFace(tuple(f"{copy.path}: {copy.reason}" for copy in left))

    return await workload.slow.run(remove)


@router.get("/renamings")
def list_renamings(service: ServiceDependency, limit: Limit = 100, cursor: Cursor = None) -> Page[Renaming]:
    """Appearances that were named afterwards, as long as they are in the log."""
    return page_of(service.strangers.renamings(), lambda one: (-one.started, one.id), limit, cursor)


@router.post("/renamings", responses=NOT_FOUND)
async def rename_past_appearances(
    service: ServiceDependency, workload: WorkloadDependency, body: PastAppearances
) -> RenamedAppearances:
    """Name a person in past appearances in which they were a stranger. Events that were sent stay as they are."""

    def rename() -> RenamedAppearances:
        if body.person not in [person.id for person in service.gallery.people()]:
            raise HTTPException(404, "this person does not exist, or no longer exists")
        return RenamedAppearances(service.strangers.rename(body.person, body.appearances))

    return await workload.slow.run(rename)


@router.delete("/renamings/{id}", status_code=204, responses=NOT_FOUND)
def undo_renaming(service: ServiceDependency, id: str) -> None:
    """Undo a renaming: its appearances are those of a stranger again."""
    if id not in [one.id for one in service.strangers.renamings()]:
        raise HTTPException(404, "this renaming does not exist, or its appearances are no longer in the log")
    service.strangers.undo(id)


def _find_entry(service: CameraService, id: str) -> IgnoredFace:
    """Raises HTTPException 404 if there is no such entry on the ignore list."""
    found = next((one for one in ignored.list_ignored(service.gallery) if one.id == id), None)
    if found is None:
        raise HTTPException(404, "this entry of the ignore list does not exist, or no longer exists")
    return found


def _find(read: Callable[[], Answer]) -> Answer:
    """What ``read`` returns. Raises HTTPException 404 for its InputError."""
    try:
        return read()
    except InputError as error:
        raise HTTPException(404, str(error)) from None
