"""The settings of the camera service, their defaults, valid ranges and help texts (docs/service.md)."""

from __future__ import annotations

import os
import platform
import re
from collections.abc import Sequence
from dataclasses import dataclass, field, replace
from importlib.util import find_spec
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Literal

from ..alerts.rule import Rule
from ..cameras.source_names import place_source
from ..core.addresses import is_this_machine, mask_address
from ..core.text import in_a_line
from ..core.toml import Below, Range
from ..core.turns import Turn
from ..core.weekly import WeeklyHours
from ..gallery.companions import default_path
from ..hub.embedded import place_embedded
from .receiver_settings import AlertPictureSettings, Events, NotifySettings, Port, place_secret

if TYPE_CHECKING:
    from ..core.manifest import Thresholds
    from ..tracking.rules import RecognitionRules
    from ..vision.liveness import LivenessModel

ON_BOARD = Path("/opt/rkface/current/bundle")  # installed by `rkface deploy`
DAY = 86_400.0


Share = Annotated[float, Range(0, 1)]
Days = Annotated[float, Range(0, 3650)]


@dataclass(frozen=True)
class Polygon:
    """A part of a camera's picture."""

    points: Annotated[
        tuple[tuple[Share, ...], ...],
        "corners in order, such as [[0, 0], [0.5, 0], [0.5, 1]]: fractions of the picture's width and height, as it is "
        "after the setting rotate",
    ]


@dataclass(frozen=True)
class CameraSettings:
    """One camera: its source, the format to request, how often to look for faces, and where and when."""

    source: Annotated[
        str,
        Below(place_source),
        "/dev/video0, a name in /dev/v4l/by-id, rtsp://…, a video, a folder of photos, or - for JPEGs on stdin",
    ]
    width: Annotated[int, Range(16, 16_384), "in pixels; a V4L2 camera delivers the nearest size that it has"] = 1280
    height: Annotated[int, Range(16, 16_384), "in pixels; see width"] = 720
    rate: Annotated[
        float, Range(0.1, 1000), "frames per second; a V4L2 camera delivers the nearest rate; for a folder: see hold"
    ] = 15.0
    hold: Annotated[
        float, Range(0, 60), "seconds to show each photo of a folder; 0: show them as a video, as the setting rate says"
    ] = 2.0
    format: Annotated[Literal["MJPG", "YUYV", "NV12"], "pixel format of a V4L2 camera: MJPG, YUYV or NV12"] = "MJPG"
    decoder: Annotated[
        Literal["", "software", "h264", "h265"],
        "of an RTSP camera; empty: hardware if it works, else software; h264 or h265: only hardware, for this codec",
    ] = ""
    loop: Annotated[bool, "repeat a video or a folder at its own speed; false: process every frame, then end"] = False
    looks: Annotated[
        float, Range(0.1, 1000), "detections per second, at most, while somebody is there; otherwise a third of it"
    ] = 15.0
    motion: Annotated[bool, "while nobody is there, detect only where something moves, and every 3 seconds"] = False
    rotate: Annotated[Turn, "degrees, clockwise, to turn the pictures of a camera that is not mounted upright"] = 0
    near: Annotated[
        bool, "also find faces that fill the picture: look a second time while no face is found or one is cut off"
    ] = False
    min_face: Annotated[
        Share, "ignore faces lower than this fraction of the picture's height, such as 0.1; 0: ignore none"
    ] = 0.0
    hide_masks: Annotated[bool, "black out the masks in the pictures that the console shows and that alerts send"] = (
        False
    )
    zones: Annotated[
        dict[str, Polygon], "parts of the picture with names: an appearance says in which of them its face was"
    ] = field(default_factory=dict)
    masks: Annotated[dict[str, Polygon], "parts of the picture in which faces are ignored"] = field(
        default_factory=dict
    )
    schedule: Annotated[
        dict[str, WeeklyHours], "when the camera is on, each with a name of your choice; without any: always"
    ] = field(default_factory=dict)


@dataclass(frozen=True)
class Recognition:
    """When a face counts as a known person."""

    match: Annotated[
        Share,
        "minimum cosine for a match; 0: the threshold of the bundle. The console's view Gallery shows what answers "
        "about appearances measured; `rkface evaluate` finds a good value from photos",
    ] = 0.0
    hysteresis: Annotated[
        Share, "a person who was recognized stays recognized until the cosine is this far below match"
    ] = 0.05
    window: Annotated[float, Range(0, 3600), "seconds out of sight after which a person counts as gone"] = 15.0

    def rules(self, thresholds: Thresholds) -> RecognitionRules:
        from ..tracking.rules import RecognitionRules  # with numpy, which a configuration alone does not need

        rules = RecognitionRules.of(thresholds)
        return replace(rules, match=self.match or rules.match, hysteresis=self.hysteresis, window=self.window)


@dataclass(frozen=True)
class Liveness:
    """Whether a face is a photo of a face. It needs a bundle with a liveness model; without, a photo fools a camera."""

    enabled: Annotated[bool, "check every face that is embedded"] = False
    threshold: Annotated[Share, "minimum score of a live face; 0: the threshold of the bundle"] = 0.0
    require: Annotated[
        bool, "recognize only live faces; faces below the threshold, and faces without a score, count as unknown"
    ] = False

    def rules(self, rules: RecognitionRules, judge: LivenessModel | None) -> RecognitionRules:
        """``rules`` with these settings; ``judge`` is the liveness model, or None without one."""
        live = self.threshold or (judge.threshold if judge else rules.live)
        return replace(rules, live=live, need_live=self.require)


def _place_hub(address: str, folder: Path) -> str:
    return place_secret(place_embedded(address, folder), folder)


@dataclass(frozen=True)
class HubSettings:
    """The hub of many boards: people come from it, and events go to it; needs rkface[hub] (docs/hub.md)."""

    address: Annotated[
        str,
        Below(_place_hub),
        "what `rkface hub add-board` printed, as env:NAME or file:PATH; or embedded:DIR",
    ]
    key: Annotated[Path | None, "the key file of `rkface hub encrypt`, if the hub's embeddings are encrypted"] = None


@dataclass(frozen=True)
class Keep:
    """How long data is kept, in days."""

    appearances: Annotated[Days, "days to keep who was seen where and when, known people included"] = 30.0
    unknown_faces: Annotated[
        Days, "days to keep the best shot of people who were not recognized, to enroll them from; 0: keep none"
    ] = 1.0
    known_faces: Annotated[
        Days, "days to keep the best shot of people who were recognized, to compare it with the gallery; 0: keep none"
    ] = 0.0
    embeddings: Annotated[
        Days, "days to keep the embedding of each appearance, to find strangers who come again; 0: keep none"
    ] = 0.0
    reviews: Annotated[
        Days,
        "days to keep what users said about appearances, with the embedding if the log had it; time while no service "
        "runs does not count",
    ] = 365.0


@dataclass(frozen=True)
class Web:
    """The web console; needs rkface[web]."""

    enabled: Annotated[bool, "serve the console, if rkface[web] is installed"] = True
    host: Annotated[
        str, "address to listen on; 127.0.0.1 is only this machine, and any other address needs password_file"
    ] = "127.0.0.1"
    port: Annotated[Port, "port to listen on"] = 8080
    password_file: Annotated[Path | None, "file with the argon2 hash that `rkface web-password` writes"] = None
    token_file: Annotated[
        Path | None, "file with a token that lets Prometheus read /metrics although there is a password"
    ] = None
    certificate: Annotated[Path | None, "PEM file of the certificate, for https; needs key"] = None
    key: Annotated[Path | None, "PEM file of the private key, for https; needs certificate"] = None


def _key() -> Path | None:
    named = os.environ.get("RKFACE_GALLERY_KEY")
    return Path(named) if named else None


def _device() -> str:
    return platform.node().partition(".")[0] or "rkface"


@dataclass(frozen=True)
class Settings:
    """All settings of the service."""

    bundle: Annotated[Path, "folder from `rkface convert` or `rkface deploy`"] = field(
        default_factory=lambda: ON_BOARD if ON_BOARD.is_dir() else Path("build/rk3588")
    )
    backend: Annotated[
        Literal["", "npu", "reference"], "npu, reference (ONNX Runtime), or empty for the best one on this machine"
    ] = ""
    cores: Annotated[int, Range(0, 8), "NPU cores to use; 0: all; fewer cores need less memory"] = 0
    gallery: Annotated[Path, "file of the gallery; the service keeps its other files in the same folder"] = field(
        default_factory=default_path
    )
    key: Annotated[Path | None, "file with the key of an encrypted gallery (`rkface gallery encrypt`)"] = field(
        default_factory=_key
    )
    device: Annotated[str, "name of this machine in MQTT topics; no other machine at the broker may have the same"] = (
        field(default_factory=_device)
    )
    camera: dict[str, CameraSettings] = field(default_factory=dict)
    recognition: Recognition = Recognition()
    liveness: Liveness = Liveness()
    events: Events = field(default_factory=Events)
    notify: dict[str, NotifySettings] = field(default_factory=dict)
    alert_pictures: AlertPictureSettings = field(default_factory=AlertPictureSettings)
    rules: dict[str, Rule] = field(default_factory=dict)
    keep: Keep = Keep()
    hub: Annotated[HubSettings | None, "one directory of people for many boards (docs/hub.md)"] = None
    web: Web = Web()

    @property
    def receivers(self) -> tuple[str, ...]:
        """Names of the receivers of events that are configured, as ``Delivery.name``. Rules name them."""
        events = self.events
        used = {"stdout": events.stdout, "file": events.file, "webhook": events.webhook, "mqtt": events.mqtt} | {
            "hub": self.hub
        }
        return (*(name for name, one in used.items() if one), *(f"notify.{name}" for name in self.notify))


def console_address(web: Web) -> str:
    """The address of the web console for other machines; "" if it is not served to them."""
    installed = all(find_spec(name) for name in ("fastapi", "uvicorn"))
    if not web.enabled or not installed or not web.port or is_this_machine(web.host):
        return ""
    host = platform.node() if web.host in ("0.0.0.0", "::", "") else web.host
    return f"http{'s' if web.certificate else ''}://{f'[{host}]' if ':' in host else host}:{web.port}/"


def named_cameras(specs: Sequence[str], rotate: Turn = 0, *, near: bool = False) -> dict[str, CameraSettings]:
    """Cameras from the command line, each SOURCE or NAME=SOURCE.

    A camera without a name is named after its source, with a number if two names would be equal.
    """
    cameras: dict[str, CameraSettings] = {}
    for spec in specs:
        name, sign, source = spec.partition("=")
        if not sign or not name.replace("-", "").replace("_", "").isalnum():
            name, source = _name_of(spec), spec
        number, stem = 2, name
        while name in cameras:
            name, number = f"{stem}-{number}", number + 1
        cameras[name] = CameraSettings(source, rotate=rotate, near=near)
    return cameras


def _name_of(spec: str) -> str:
    if spec == "-":
        return "stdin"
    if " ! " in spec:
        return "gstreamer"
    if spec.isdecimal():
        return f"video{spec}"
    shown = mask_address(spec)  # a name is in every event
    rest = shown.partition("://")[2]
    if rest:
        host = re.sub(r":\d+$", "", re.split(r"[/?#]", rest)[0])
        return re.sub(r"[^\w.-]+", "-", host).strip("-") or "network"
    return "usb" if spec.startswith("/dev/v4l/by-id/") else in_a_line(Path(shown).stem) or "camera"
