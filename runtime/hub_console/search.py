"""``/v1/search``: who is in a photo, of all people of the hub. Nothing of the photo is kept."""

from __future__ import annotations

from typing import Annotated

import numpy as np
from fastapi import APIRouter, HTTPException, Query, Request
from numpy.typing import NDArray

from ..hub.search import UnsearchableError
from ..inference.pipeline import Pipeline
from ..service.photo_search import SearchedPhoto, search_photo
from ..web.dependencies import BUSY, UNAUTHORIZED, WorkloadDependency
from ..web.photo_bodies import photo_body
from ..web.recognition import UNUSABLE, Aligned, answer_photos
from ..web.uploads import UPLOAD
from .hub_connections import HubConnections

NO_BUNDLE = "this server has no recognizer: start it with `rkface hub serve --bundle DIR`"

router = APIRouter(prefix="/v1", tags=["photos"], responses=UNAUTHORIZED | BUSY | UPLOAD | UNUSABLE)


@router.post("/search", openapi_extra=photo_body("photo"))
async def search_hub(
    *,
    request: Request,
    workload: WorkloadDependency,
    people: Annotated[int, Query(ge=1, le=100, description="how many similar people to list for each face")] = 5,
    site: Annotated[
        list[str], Query(max_length=100, description="only people who are known there now; again for more sites")
    ] = [],  # noqa: B006 - FastAPI copies it
    threshold: Annotated[
        float | None, Query(ge=-1, le=1, description="minimum cosine of a match; without it, the bundle's")
    ] = None,
    exact: Annotated[bool, Query(description="compare all samples, however many there are")] = False,
    aligned: Aligned = False,
) -> SearchedPhoto:
    """Who is in a photo, of all people of the hub. An unknown face is not an error: ``reason`` says why nobody was
    recognized. The server needs a bundle (`rkface hub serve --bundle`)."""
    pipeline: Pipeline | None = request.app.state.pipeline
    connections: HubConnections = request.app.state.hub
    if pipeline is None:
        raise HTTPException(503, NO_BUNDLE)

    def search(photos: list[NDArray[np.uint8]]) -> SearchedPhoto:
        with connections.open() as hub:  # not before: a photo may arrive slowly
            try:
                return search_photo(
                    pipeline, hub, photos[0], people=people, sites=site, threshold=threshold, aligned=aligned,
                    method="exact" if exact else None,
                )  # fmt: skip
            except UnsearchableError as error:  # the client cannot change it
                raise HTTPException(503, str(error)) from error

    # The pool for photos has one thread, and nothing else uses the pipeline.
    return await answer_photos(request, workload, ("photo",), search)
