"""What the web console asks of the camera service. The service knows nothing of the web."""

from __future__ import annotations

import queue
from collections.abc import Mapping, Sequence
from contextlib import AbstractContextManager
from dataclasses import dataclass, field
from typing import Any, Protocol

import numpy as np
from numpy.typing import NDArray

from ..enrollment.enroll import Verdict
from ..enrollment.guidance import Guidance
from ..gallery.gallery import Gallery
from ..inference.frames import Frame
from ..tracking.watcher import VisibleFace
from .erasure import ErasureReport


@dataclass(frozen=True)
class CameraHealth:
    """How one camera fares now.

    connected   whether frames come
    width       and ``height`` of its pictures in pixels, 0 while there was none
    fps         frames a second that were looked at, over the last seconds; ``offered`` how many came
    latency     milliseconds from capture until it was known who is there, the median of the last seconds
    dropped     frames that newer ones replaced, since the start
    reconnects  since the start
    error       the last one, "" for none; ``error_time`` seconds since 1970, 0 for none
    skipped     frames that were not worth a look, since the start: there are enough a second, or nothing moved
    pace        "busy" while somebody is there, else "idle", or "still" where nothing moves and motion counts; "" for a
                recording, of which every frame is looked at
    """

    name: str
    connected: bool
    width: int = 0
    height: int = 0
    fps: float = 0.0
    offered: float = 0.0
    latency: float = 0.0
    dropped: int = 0
    reconnects: int = 0
    error: str = ""
    error_time: float = 0.0
    skipped: int = 0
    pace: str = ""


@dataclass(frozen=True)
class SinkHealth:
    """How one way for events fares: JSON lines, a webhook, a broker. ``waiting`` are events not delivered yet."""

    name: str
    connected: bool
    sent: int = 0
    waiting: int = 0
    lost: int = 0
    error: str = ""


@dataclass(frozen=True)
class Health:
    """The service as a whole.

    ok        whether everything that was asked for works
    problems  what does not, each a sentence for a person
    started   seconds since 1970
    backend   "npu", "reference"
    bundle    its name; ``synthetic`` says that its models know rendered faces only
    board     "" off a board
    npu_load  as the driver words it, "" where nothing says
    celsius   of each thermal zone
    memory    resident, in MiB
    queue     frames that wait for the NPU
    people    in the gallery, and ``samples`` of them
    """

    ok: bool
    problems: tuple[str, ...]
    started: float
    version: str
    backend: str
    bundle: str
    synthetic: bool
    board: str = ""
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
    """One thing that can be changed while the service runs. Its kind is that of ``value``.

    minimum, maximum and step are for numbers; choices for texts that are one of a few
    """

    key: str
    label: str
    help: str
    value: bool | int | float | str
    minimum: float | None = None
    maximum: float | None = None
    step: float | None = None
    choices: tuple[str, ...] = ()


class CameraService(Protocol):
    """Every method may be called from any thread, and none takes long except the two that enroll and ``guide``.

    ``source`` is a camera's name; KeyError for one that there is not. Times are seconds since 1970, UTC.
    """

    @property
    def gallery(self) -> Gallery: ...

    @property
    def cameras(self) -> Mapping[str, CameraHealth]:
        """By name, in the order in which they were given."""

    def latest(self, source: str) -> tuple[Frame | None, tuple[VisibleFace, ...]]:
        """The newest frame that was looked at, and who is in it. None before the first."""

    def face(self, appearance: str) -> bytes | None:
        """The best shot's aligned face as PNG, or None where none is kept (any more)."""

    def appearances(
        self, limit: int = 50, before: float | None = None, person: str | None = None, source: str | None = None
    ) -> list[dict[str, Any]]:
        """The last stage of each appearance (``Appearance.as_event``), newest start first, at most ``limit``, with
        "face": whether ``face`` has one.

        before  only those that started earlier
        person  an id of the gallery, or "" for those of nobody known
        """

    def enroll(self, name: str, image: NDArray[np.uint8], source: str, *, force: bool = False) -> Verdict:
        """``enrollment.enroll.enroll`` of a photo, H×W×3 uint8 BGR; ``source`` is stored with the sample."""

    def enroll_seen(self, name: str, appearance: str, *, force: bool = False) -> Verdict:
        """As ``enroll``, from the best shots of an appearance that lasts or has just ended."""

    def guide(self, source: str) -> Guidance:
        """What who stands before the camera should do (``enrollment.guidance.assess_face`` of the newest frame)."""

    def forget(self, person: str) -> ErasureReport:
        """Delete the person with this id for good: samples, backups, appearances and pictures, and the name in events
        that wait and at the broker. May wait for that one some seconds."""

    def health(self) -> Health: ...

    def metrics(self) -> str:
        """In Prometheus' text format."""

    def subscribe(self) -> AbstractContextManager[queue.Queue[dict[str, Any]]]:
        """Events from now on, as ``Appearance.as_event`` has them. A queue that nobody reads loses its oldest."""

    def settings(self) -> Sequence[Setting]: ...

    def change(self, values: Mapping[str, bool | int | float | str]) -> None:
        """Change settings by key, all or none, now and for the next start. InputError names the wrong one."""
