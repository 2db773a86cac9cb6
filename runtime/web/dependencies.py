"""What requests to ``/v1`` use of the application, and the answers that many of them have in common.

The functions are ``async``, because FastAPI calls others in a thread, which is slow when many clients connect.
"""

from __future__ import annotations

from typing import Annotated, Any

from fastapi import Depends, Request

from ..service.console_protocol import CameraService
from .access import Access
from .places import Workload

BUSY: dict[int | str, dict[str, Any]] = {503: {"description": "busy: try again (Retry-After)"}}
NOT_FOUND: dict[int | str, dict[str, Any]] = {404: {"description": "does not exist, or no longer exists"}}
UNAUTHORIZED: dict[int | str, dict[str, Any]] = {401: {"description": "not signed in"}}


async def get_service(request: Request) -> CameraService:
    service: CameraService = request.app.state.service
    return service


async def get_access(request: Request) -> Access:
    access: Access = request.app.state.access
    return access


async def get_workload(request: Request) -> Workload:
    workload: Workload = request.app.state.workload
    return workload


ServiceDependency = Annotated[CameraService, Depends(get_service)]
AccessDependency = Annotated[Access, Depends(get_access)]
WorkloadDependency = Annotated[Workload, Depends(get_workload)]
