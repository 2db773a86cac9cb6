"""What the camera service tells about itself: the state of its cameras, receivers and settings."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

from ..core.errors import InputError
from ..core.weekly import WeeklyHours
from ..inference.frames import Frame
from .camera_changes import CameraArea, SwitchState

if TYPE_CHECKING:
    from ..tracking.watcher import VisibleFace
    from ..tracking.zones import Points


@dataclass(frozen=True, eq=False)
class WatchedFrame:
    """A frame that was processed, and the faces that were tracked in it. ``hidden``: polygons that must be black
    wherever the picture is shown; corners as fractions of its width and height."""

    frame: Frame
    faces: tuple[VisibleFace, ...]
    hidden: tuple[Points, ...] = ()


@dataclass(frozen=True)
class CameraHealth:
    """The current state of one camera. Counts are since the start of the service.

    connected   whether frames arrive
    width       of its pictures in pixels, null before the first one
    height      likewise
    fps         frames per second that were processed, over the last seconds
    offered     frames per second that the camera delivered, over the last seconds
    latency     median milliseconds from capture until the people are recognized, over the last frames
    dropped     frames that were replaced by newer ones before they were processed
    reconnects  attempts to open the camera again
    error       the last error, null before the first one
    error_time  when it happened, in seconds since 1970, null before the first one
    skipped     frames that were not processed, because enough frames per second were, or because nothing moved
    pace        "busy" while somebody is there; otherwise "idle", or "still" if the camera is set to wait for motion; ""
                for a recording, of which every frame is processed
    decoder     how an RTSP camera's video is decoded: "hardware (h264_rkmpp)" or "software"; "" for other cameras
    on          false while the camera is switched off: no picture is read then, which is not a problem
    """

    name: str
    connected: bool
    width: int | None = None
    height: int | None = None
    fps: float = 0.0
    offered: float = 0.0
    latency: float = 0.0
    dropped: int = 0
    reconnects: int = 0
    error: str | None = None
    error_time: float | None = None
    skipped: int = 0
    pace: str = ""
    decoder: str = ""
    on: bool = True


@dataclass(frozen=True)
class CameraSetup:
    """Which parts of a camera's picture count, and when it is on.

    area          in effect now
    area_source   "console" if it was changed there, otherwise "configuration"
    area_changed  when it was changed in the console, as text; "" if it was not
    switch        whether it is on, and until when
    schedule      in effect now: the hours in which it is on, by name; empty: always
    schedule_source   as ``area_source``
    schedule_changed  as ``area_changed``
    """

    name: str
    area: CameraArea
    area_source: str
    area_changed: str
    switch: SwitchState
    schedule: Mapping[str, WeeklyHours]
    schedule_source: str = "configuration"
    schedule_changed: str = ""


@dataclass(frozen=True)
class SinkHealth:
    """The current state of a receiver of events: JSON lines, a webhook or a broker.

    connected  whether the last attempt succeeded
    sent       events that were delivered
    waiting    events that were not delivered yet
    lost       events that were dropped, or refused by the receiver
    error      the last error, null if the last attempt succeeded
    """

    name: str
    connected: bool
    sent: int = 0
    waiting: int = 0
    lost: int = 0
    error: str | None = None


@dataclass(frozen=True)
class Health:
    """The current state of the service.

    ok         whether all configured parts work
    problems   what does not work and what to do, one sentence each
    started    seconds since 1970
    version    of rkface
    backend    "npu" or "reference"
    bundle     name of the bundle
    synthetic  whether its models were trained only on rendered faces
    board      name of the board, "" on other machines
    binding    what opens models on the NPU, "" with the reference backend
    npu_load   as the driver reports it, "" if it does not
    celsius    temperature of each thermal zone
    memory     of the process, in MiB
    queue      frames that wait for the NPU or are in it
    people     people in the gallery
    samples    samples in the gallery
    """

    ok: bool
    problems: tuple[str, ...]
    started: float
    version: str
    backend: str
    bundle: str
    synthetic: bool
    board: str = ""
    binding: str = ""
    npu_load: str = ""
    celsius: Mapping[str, float] = field(default_factory=dict)
    memory: float = 0.0
    queue: int = 0
    people: int = 0
    samples: int = 0
    cameras: tuple[CameraHealth, ...] = ()
    sinks: tuple[SinkHealth, ...] = ()


@dataclass(frozen=True)
class Setting:
    """A setting that can be changed while the service runs. The type of ``value`` is the type of the setting.

    key      table and name, such as recognition.match
    label    short text for a form
    help     what the setting means
    minimum  of a number, None without a limit
    maximum  likewise
    step     of a form's number field
    choices  the valid texts, for a text that has only a few

    source      where the value comes from: "console" if it was changed there, "configuration", or "default"
    configured  the value without a change in the console; a change to null returns to it
    changed     when it was changed in the console, as text; "" if it was not, or if that is not known
    """

    key: str
    label: str
    help: str
    value: bool | int | float | str
    minimum: float | None = None
    maximum: float | None = None
    step: float | None = None
    choices: tuple[str, ...] = ()
    source: str = "default"
    configured: bool | int | float | str | None = None
    changed: str = ""


class SettingsError(InputError):
    """Settings cannot be changed as asked. ``problems``: a sentence for each wrong one, which starts with its key."""

    def __init__(self, problems: Mapping[str, str]) -> None:
        super().__init__("; ".join(problems.values()))
        self.problems = problems
