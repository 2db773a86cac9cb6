"""What the camera service can be told, with the defaults it has untold. docs/service.md lists them for people."""

from __future__ import annotations

import os
import platform
from collections.abc import Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Annotated, Literal

from ..core.bundle import Thresholds
from ..gallery.gallery import default_path
from ..tracking.visit import RecognitionRules
from ..vision.liveness import LivenessModel

ON_BOARD = Path("/opt/rkface/current/bundle")  # where deploy puts it
DAY = 86_400.0


@dataclass(frozen=True)
class Range:
    """The numbers that a setting may be, ends included."""

    least: float
    most: float


Share = Annotated[float, Range(0, 1)]
Days = Annotated[float, Range(0, 3650)]
Port = Annotated[int, Range(0, 65_535)]


@dataclass(frozen=True)
class CameraSettings:
    """One camera.

    source   /dev/video0, a name of /dev/v4l/by-id, rtsp://…, a video, a folder of photos, or - for JPEGs on stdin
    width    in pixels, asked of a V4L2 camera, which gives what it can
    height   likewise
    rate     frames a second, likewise; of a folder without ``hold``: photos a second
    hold     seconds that each photo of a folder is shown; 0: they are the frames of a film
    format   likewise: MJPG, YUYV or NV12
    decoder  "h264" or "h265": Rockchip's MPP decodes that of an RTSP camera, through GStreamer
    loop     a video or folder begins again at its end, at its own pace; otherwise all of it is looked at, then it ends
    looks    a second at most, for faces, while somebody is there; a third of that otherwise
    motion   while nobody is there, look only where something moves, and every 3 seconds
    """

    source: str
    width: Annotated[int, Range(16, 16_384)] = 1280
    height: Annotated[int, Range(16, 16_384)] = 720
    rate: Annotated[float, Range(0.1, 1000)] = 15.0
    hold: Annotated[float, Range(0, 60)] = 2.0
    format: Literal["MJPG", "YUYV", "NV12"] = "MJPG"
    decoder: Literal["", "h264", "h265"] = ""
    loop: bool = False
    looks: Annotated[float, Range(0.1, 1000)] = 15.0
    motion: bool = False


@dataclass(frozen=True)
class Recognition:
    """When a face is someone.

    match       cosine from which it is; 0 is the bundle's threshold (`rkface evaluate` finds the right one)
    hysteresis  who was named stays until the cosine is this far below ``match``
    window      seconds until who is out of sight counts as gone
    """

    match: Share = 0.0
    hysteresis: Share = 0.05
    window: Annotated[float, Range(0, 3600)] = 15.0

    def rules(self, thresholds: Thresholds) -> RecognitionRules:
        rules = RecognitionRules.of(thresholds)
        return replace(rules, match=self.match or rules.match, hysteresis=self.hysteresis, window=self.window)


@dataclass(frozen=True)
class Liveness:
    """Whether a face is a picture of one; needs a bundle with a liveness model. Without, a photo can fool a camera.

    enabled    judge the faces that are embedded
    threshold  from which a face counts as live; 0 is the bundle's
    require    name nobody below that, nor anybody who could not be judged: they are told as unknown people
    """

    enabled: bool = False
    threshold: Share = 0.0
    require: bool = False

    def rules(self, rules: RecognitionRules, judge: LivenessModel | None) -> RecognitionRules:
        """``rules`` with these; without a ``judge`` there is no threshold but what is set, and ``require`` holds."""
        live = self.threshold or (judge.threshold if judge else rules.live)
        return replace(rules, live=live, need_live=self.require)


@dataclass(frozen=True)
class WebhookSettings:
    """A POST for each event; docs/events.md has what it looks like.

    url     of the receiver
    secret  that signs: env:NAME or file:PATH, "" for no signature
    ca      certificates to trust in place of the system's
    """

    url: str
    secret: str = ""
    ca: Path | None = None


@dataclass(frozen=True)
class MqttSettings:
    """A broker, and Home Assistant behind it; needs rkface[mqtt].

    host            of the broker
    port            0: 8883 with ``tls``, else 1883
    user            user name there
    password        env:NAME or file:PATH
    tls             encrypt; ``ca``, ``certificate`` and ``key`` in place of the system's certificates
    protocol        of MQTT: "5" or "3.1.1"
    prefix          of all topics
    discovery_root  of Home Assistant; "" tells it nothing
    """

    host: str
    port: Port = 0
    user: str = ""
    password: str = ""
    tls: bool = False
    ca: Path | None = None
    certificate: Path | None = None
    key: Path | None = None
    protocol: Literal["5", "3.1.1"] = "5"
    prefix: str = "rkface"
    discovery_root: str = "homeassistant"


@dataclass(frozen=True)
class Events:
    """Where appearances are told.

    stdout   as JSON lines
    file     JSON lines appended to it, rotated at 16 MiB
    webhook  table [events.webhook]
    mqtt     table [events.mqtt]
    """

    stdout: bool = True
    file: Path | None = None
    webhook: WebhookSettings | None = None
    mqtt: MqttSettings | None = None


@dataclass(frozen=True)
class Keep:
    """How long things are kept, in days.

    appearances    who was where and when, also of the people known
    unknown_faces  the best shot of those who were not recognized, to enroll them from; 0 keeps none
    """

    appearances: Days = 30.0
    unknown_faces: Days = 1.0


@dataclass(frozen=True)
class Web:
    """The console; needs rkface[web].

    enabled        whether it is served, where it is installed
    host           127.0.0.1 is this machine alone; anything else demands ``password_file``
    port           to listen on
    password_file  holds the argon2 hash that `rkface web-password` writes
    token_file     holds a token with which Prometheus may read /metrics where there is a password
    certificate    and ``key``: PEM files for https
    key            see ``certificate``
    """

    enabled: bool = True
    host: str = "127.0.0.1"
    port: Port = 8080
    password_file: Path | None = None
    token_file: Path | None = None
    certificate: Path | None = None
    key: Path | None = None


def _key() -> Path | None:
    named = os.environ.get("RKFACE_GALLERY_KEY")
    return Path(named) if named else None


def _device() -> str:
    return platform.node().partition(".")[0] or "rkface"


@dataclass(frozen=True)
class Settings:
    """All of it.

    bundle   folder that `rkface convert` wrote and deploy brought
    backend  npu, reference (ONNX Runtime), or "" for what this machine has
    cores    of the NPU; 0 takes all; fewer save memory
    gallery  file; the service's other files lie beside it
    key      file with the key of an encrypted gallery (`rkface gallery encrypt`)
    device   this machine's name in MQTT topics, which no other at the broker may have
    """

    bundle: Path = field(default_factory=lambda: ON_BOARD if ON_BOARD.is_dir() else Path("build/rk3588"))
    backend: Literal["", "npu", "reference"] = ""
    cores: Annotated[int, Range(0, 8)] = 0
    gallery: Path = field(default_factory=default_path)
    key: Path | None = field(default_factory=_key)
    device: str = field(default_factory=_device)
    camera: dict[str, CameraSettings] = field(default_factory=dict)
    recognition: Recognition = Recognition()
    liveness: Liveness = Liveness()
    events: Events = Events()
    keep: Keep = Keep()
    web: Web = Web()

    def beside(self, name: str) -> Path:
        """The service's own file ``name``."""
        return self.gallery.with_name(name)


def default_camera() -> str:
    """What is watched where nobody says: the first USB camera, or /dev/video0, which may yet come."""
    usb = sorted(Path("/dev/v4l/by-id").glob("*-video-index0"))
    return str(usb[0]) if usb else "/dev/video0"


def named_cameras(specs: Sequence[str]) -> dict[str, CameraSettings]:
    """Cameras as the command line gives them: SPEC, or NAME=SPEC. Without a name it is the first part that says
    something, with a number behind where two would be the same."""
    cameras: dict[str, CameraSettings] = {}
    for spec in specs:
        name, sign, source = spec.partition("=")
        if not sign or not name.replace("-", "").replace("_", "").isalnum():
            name, source = _name_of(spec), spec
        number, stem = 2, name
        while name in cameras:
            name, number = f"{stem}-{number}", number + 1
        cameras[name] = CameraSettings(source)
    return cameras


def _name_of(spec: str) -> str:
    if spec == "-":
        return "stdin"
    if " ! " in spec:
        return "gstreamer"
    if spec.isdecimal():
        return f"video{spec}"
    rest = spec.partition("://")[2]
    if rest:
        return rest.partition("/")[0].rpartition("@")[2].partition(":")[0] or "network"
    return "usb" if spec.startswith("/dev/v4l/by-id/") else Path(spec).stem or "camera"
