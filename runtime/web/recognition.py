"""``/v1/detect``, ``/v1/identify`` and ``/v1/compare``: answers about photos of other programs. Nothing is kept."""

from __future__ import annotations

from collections.abc import Callable
from typing import Annotated, Any, TypeVar

import numpy as np
from fastapi import APIRouter, HTTPException, Query, Request
from numpy.typing import NDArray

from ..core.errors import InputError
from ..service.photo_requests import DetectedPhoto, IdentifiedPhoto, PhotoComparison
from ..vision.image import decode_image
from .dependencies import BUSY, UNAUTHORIZED, ServiceDependency, WorkloadDependency
from .photo_bodies import photo_body, read_photos
from .places import Workload
from .uploads import MAX_PIXELS, UPLOAD, read_upload

Answer = TypeVar("Answer")
Aligned = Annotated[bool, Query(description="the photo is one face, aligned for the recognizer already")]
MinCosine = Annotated[
    float | None, Query(ge=-1, le=1, description="minimum cosine of a match; without it, that of the service")
]

UNUSABLE: dict[int | str, dict[str, Any]] = {422: {"description": "the photo cannot be used, or a wrong request"}}

router = APIRouter(prefix="/v1", tags=["photos"], responses=UNAUTHORIZED | BUSY | UPLOAD | UNUSABLE)


@router.post("/detect", openapi_extra=photo_body("photo"))
async def detect_faces(
    request: Request, service: ServiceDependency, workload: WorkloadDependency, aligned: Aligned = False
) -> DetectedPhoto:
    """The faces in a photo, with their quality."""
    return await answer_photos(
        request, workload, ("photo",), lambda photos: service.photos.detect(photos[0], aligned=aligned)
    )


@router.post("/identify", openapi_extra=photo_body("photo"))
async def identify_faces(
    *,
    request: Request,
    service: ServiceDependency,
    workload: WorkloadDependency,
    people: Annotated[int, Query(ge=1, le=100, description="how many similar people to list for each face")] = 1,
    threshold: MinCosine = None,
    aligned: Aligned = False,
) -> IdentifiedPhoto:
    """Who is in a photo. An unknown face is not an error: ``reason`` says why nobody was recognized."""

    def identify(photos: list[NDArray[np.uint8]]) -> IdentifiedPhoto:
        return service.photos.identify(photos[0], people=people, threshold=threshold, aligned=aligned)

    return await answer_photos(request, workload, ("photo",), identify)


@router.post("/compare", openapi_extra=photo_body("first", "second"))
async def compare_faces(
    request: Request,
    service: ServiceDependency,
    workload: WorkloadDependency,
    threshold: MinCosine = None,
    aligned: Aligned = False,
) -> PhotoComparison:
    """Whether the largest faces of two photos show one person."""

    def compare(photos: list[NDArray[np.uint8]]) -> PhotoComparison:
        return service.photos.compare((photos[0], photos[1]), threshold=threshold, aligned=aligned)

    return await answer_photos(request, workload, ("first", "second"), compare)


async def answer_photos(
    request: Request,
    workload: Workload,
    names: tuple[str, ...],
    answer: Callable[[list[NDArray[np.uint8]]], Answer],
) -> Answer:
    """Read the photos ``names`` of the request, decode them and return the ``answer`` about them. A body that cannot be
    read is refused by ``read_photos``; a photo that cannot be used, with 422, as everywhere."""
    content_type = request.headers.get("content-type", "")

    def work(body: bytes) -> Answer:
        photos = read_photos(body, content_type, names)
        try:
            return answer([decode_image(data, name, MAX_PIXELS) for data, name in zip(photos, names, strict=True)])
        except InputError as error:
            raise HTTPException(422, str(error)) from error

    async with workload.uploads.place():  # before the body is read: as many as have a place are in memory
        body = await read_upload(request)
        return await workload.photos.run(lambda: work(body))
