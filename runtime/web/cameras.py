"""``/v1/cameras/{name}``: zones, masks and the minimum size of faces of a camera, its schedule and its switch."""

from __future__ import annotations

from dataclasses import dataclass

from fastapi import APIRouter

from ..service.camera_changes import CameraArea, CameraSchedule
from ..service.console_protocol import CameraService
from ..service.states import CameraSetup
from .api import find_camera
from .dependencies import NOT_FOUND, UNAUTHORIZED, ServiceDependency

router = APIRouter(prefix="/v1/cameras/{name}", tags=["cameras"], responses=UNAUTHORIZED | NOT_FOUND)


@dataclass(frozen=True)
class SwitchChange:
    """``on``: null lets the schedule decide; without a schedule, the camera is then on."""

    on: bool | None


@router.get("")
def get_camera(service: ServiceDependency, name: str) -> CameraSetup:
    """Which parts of the camera's picture count, and when the camera is on."""
    return _setup(service, name)


@router.put("/area")
def change_area(service: ServiceDependency, name: str, body: CameraArea) -> CameraSetup:
    """Replace zones, masks and the minimum size of faces, now and for the next start. Corners are fractions of the
    picture's width and height. If one value is wrong, nothing changes."""
    find_camera(service, name)
    service.camera_control.change_area(name, body)
    return _setup(service, name)


@router.delete("/area")
def reset_area(service: ServiceDependency, name: str) -> CameraSetup:
    """Return to the zones, masks and minimum size of the configuration."""
    find_camera(service, name)
    service.camera_control.change_area(name, None)
    return _setup(service, name)


@router.put("/schedule")
def change_schedule(service: ServiceDependency, name: str, body: CameraSchedule) -> CameraSetup:
    """Replace the hours in which the camera is on, now and for the next start; without any, it is always on. What
    somebody switched by hand ends. If one value is wrong, nothing changes."""
    find_camera(service, name)
    service.camera_control.change_schedule(name, body)
    return _setup(service, name)


@router.delete("/schedule")
def reset_schedule(service: ServiceDependency, name: str) -> CameraSetup:
    """Return to the schedule of the configuration."""
    find_camera(service, name)
    service.camera_control.change_schedule(name, None)
    return _setup(service, name)


@router.put("/switch")
def switch_camera(service: ServiceDependency, name: str, body: SwitchChange) -> CameraSetup:
    """Switch the camera on or off. It holds until the schedule changes the next time; without a schedule, until
    somebody switches it again. While a camera is off, its device is released and no picture is read."""
    find_camera(service, name)
    service.camera_control.switch(name, body.on)
    return _setup(service, name)


def _setup(service: CameraService, name: str) -> CameraSetup:
    find_camera(service, name)
    return service.camera_control.setup(name)
