"""What was changed in the console, or over MQTT, about a camera: its zones and masks, its schedule, and its switch."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field, fields, replace
from typing import Annotated, Any

from ..core.errors import InputError
from ..core.steady_clock import SET_SINCE
from ..core.text import in_a_line
from ..core.toml import load_table
from ..core.toml_writer import dump
from ..core.weekly import WeeklyHours, includes, next_change
from .config import find_area_mistakes, find_schedule_mistakes
from .settings import CameraSettings, Polygon, Share


@dataclass(frozen=True)
class CameraArea:
    """Which parts of a camera's picture count.

    min_face    faces lower than this fraction of the picture's height are ignored; 0: none
    hide_masks  whether the console, and pictures of alerts, show black instead of the masks
    zones       polygons by name; an appearance says in which of them its face was
    masks       polygons by name; faces in them are ignored
    """

    min_face: Share = 0.0
    hide_masks: bool = False
    zones: dict[str, Polygon] = field(default_factory=dict)
    masks: dict[str, Polygon] = field(default_factory=dict)


@dataclass(frozen=True)
class CameraSchedule:
    """When a camera is on. ``hours``: by names of one's choice; empty: always."""

    hours: dict[str, WeeklyHours] = field(default_factory=dict)


@dataclass(frozen=True)
class Switched:
    """That somebody switched a camera. ``time``: when, in seconds since 1970."""

    on: bool
    time: float


@dataclass(frozen=True)
class CameraChange:
    """What was changed about one camera. ``area`` and ``schedule``: None for those of the configuration;
    ``area_time`` and ``schedule_time``: when they were changed, as text. ``switched``: None for the schedule."""

    switched: Annotated[Switched | None, ""] = None
    area: Annotated[CameraArea | None, ""] = None
    area_time: str = ""
    schedule: Annotated[CameraSchedule | None, ""] = None
    schedule_time: str = ""

    def apply(self, settings: CameraSettings) -> CameraSettings:
        """The configured ``settings`` with this change."""
        changed = replace(settings, **vars(self.area)) if self.area else settings
        return replace(changed, schedule=self.schedule.hours) if self.schedule else changed


NO_CHANGE = CameraChange()


@dataclass(frozen=True)
class CameraChanges:
    """The changes by the names of the cameras, as they are in the file. Cameras that are not configured now keep
    theirs."""

    camera: dict[str, CameraChange] = field(default_factory=dict)

    def of(self, name: str) -> CameraChange:
        return self.camera.get(name, NO_CHANGE)

    def changed(self, name: str, **values: Any) -> CameraChanges:
        """The changes with these ``values`` of a ``CameraChange``."""
        after = replace(self.of(name), **values)
        others = {key: one for key, one in self.camera.items() if key != name}
        return CameraChanges(others if after == NO_CHANGE else {**others, name: after})

    def apply(self, cameras: Mapping[str, CameraSettings]) -> dict[str, CameraSettings]:
        """The configured ``cameras`` with these changes."""
        return {name: self.of(name).apply(settings) for name, settings in cameras.items()}

    def dump(self) -> str:
        """The changes as TOML."""
        return dump(self) if self.camera else ""


NO_CHANGES = CameraChanges()


def load_camera_changes(content: Any, problems: list[str]) -> CameraChanges:
    """The changes in the table ``camera`` of the file. What cannot be used is left out, and adds to ``problems``."""
    if not isinstance(content, Mapping):
        problems.append("camera must be a table")
        return CameraChanges()
    changes = {}
    for name, table in content.items():
        where = f"camera.{in_a_line(name[:40])}."
        found: list[str] = []
        change = load_table(CameraChange, table, found, where=where)
        if change and change.area:
            found = find_area_mistakes(where, change.area)
        if change and change.schedule:
            found += find_schedule_mistakes(where, change.schedule.hours)
        if change and change.switched and not abs(change.switched.time) < 1e11:
            found.append(f"{where}switched.time is no time")
        if change and not found:
            changes[name] = change
        problems += found
    return CameraChanges(changes)


def check_area(area: CameraArea) -> None:
    """Raises InputError, which says what is wrong with ``area``."""
    problems = find_area_mistakes("", area)
    if not 0 <= area.min_face <= 1:
        problems.append("min_face must be from 0 to 1: a fraction of the picture's height")
    if problems:
        raise InputError("; ".join(problems))


def check_schedule(schedule: CameraSchedule) -> None:
    """Raises InputError, which says what is wrong with ``schedule``."""
    if problems := find_schedule_mistakes("", schedule.hours):
        raise InputError("; ".join(problems))


def area_of(settings: CameraSettings) -> CameraArea:
    """The area in ``settings``."""
    return CameraArea(**{one.name: getattr(settings, one.name) for one in fields(CameraArea)})


@dataclass(frozen=True)
class SwitchState:
    """Whether a camera is on.

    on      whether it is on
    manual  whether somebody switched it; otherwise it follows its schedule, or is always on
    until   when the schedule changes it next, in seconds since 1970; None if it never does
    """

    on: bool
    manual: bool = False
    until: float | None = None


def is_on(settings: CameraSettings, switched: Switched | None, now: float) -> bool:
    """Whether a camera is on at ``now`` (seconds since 1970). What somebody has switched holds until the schedule
    changes next; without a schedule, until somebody switches it again."""
    if switched and _holds(settings, switched, now):
        return switched.on
    return not settings.schedule or includes(settings.schedule.values(), now)


def switch_state(settings: CameraSettings, switched: Switched | None, now: float) -> SwitchState:
    """As ``is_on``, with the reason and the next change."""
    manual = switched is not None and _holds(settings, switched, now)
    return SwitchState(is_on(settings, switched, now), manual, next_change(list(settings.schedule.values()), now))


def _holds(settings: CameraSettings, switched: Switched, now: float) -> bool:
    if not settings.schedule or switched.time < SET_SINCE or now < switched.time:
        return True  # a clock that was not set then, or is not set now, says nothing about the schedule
    change = next_change(list(settings.schedule.values()), switched.time)
    return change is None or now < change
