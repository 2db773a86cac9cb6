"""The settings of receivers of events and alerts, a part of the service's settings (docs/events.md)."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, Literal

from ..core.picture_kind import PictureKind
from ..core.toml import Below, Range


def place_secret(where: str, folder: Path) -> str:
    """``where``, env:NAME or file:PATH, with a relative PATH below ``folder``."""
    kind, _, name = where.partition(":")
    return f"file:{folder / name}" if kind == "file" and name else where


Secret = Annotated[str, Below(place_secret)]
Port = Annotated[int, Range(0, 65_535)]
Picture = Annotated[
    PictureKind,
    "picture with each alert: none, face, or frame (the whole picture, with all other faces blurred); docs/events.md",
]


@dataclass(frozen=True)
class WebhookSettings:
    """An HTTP POST for each event (docs/events.md)."""

    url: Annotated[str, "URL of the receiver"]
    secret: Annotated[Secret, "signs each event: env:NAME or file:PATH; empty: no signature"] = ""
    ca: Annotated[Path | None, "file with certificates to trust instead of the system's"] = None
    picture: Picture = "none"
    picture_as: Annotated[
        Literal["inline", "url"], "inline: as base64 in the event; url: as a link to the console that expires"
    ] = "inline"


@dataclass(frozen=True)
class MqttSettings:
    """An MQTT broker, and Home Assistant through it; needs rkface[mqtt]."""

    host: Annotated[str, "host name of the broker"]
    port: Annotated[Port, "0: 8883 with tls, otherwise 1883"] = 0
    user: Annotated[str, "user name at the broker"] = ""
    password: Annotated[Secret, "env:NAME or file:PATH"] = ""
    tls: Annotated[bool, "encrypt the connection"] = False
    ca: Annotated[Path | None, "file with certificates to trust instead of the system's"] = None
    certificate: Annotated[Path | None, "file with the client's certificate"] = None
    key: Annotated[Path | None, "file with the client's private key"] = None
    protocol: Annotated[Literal["5", "3.1.1"], 'version of MQTT: "5" or "3.1.1"'] = "5"
    prefix: Annotated[str, "start of all topics"] = "rkface"
    discovery_root: Annotated[str, "topic of Home Assistant's MQTT discovery; empty: send it nothing"] = "homeassistant"
    picture: Picture = "none"


@dataclass(frozen=True)
class NotifySettings:
    """Alerts as messages to people, by Apprise (mail, ntfy, Telegram, …); needs rkface[notify]."""

    url: Annotated[Secret, "env:NAME or file:PATH of the Apprise URL, which contains secrets"]
    picture: Picture = "none"


@dataclass(frozen=True)
class AlertPictureSettings:
    """Pictures of alerts, while they wait for receivers and while links to them work."""

    hours: Annotated[float, Range(0.1, 168), "hours to keep them; the same for links and for the broker's snapshot"] = (
        24.0
    )
    megabytes: Annotated[float, Range(1, 1000), "space on the disk, at most; then the oldest are deleted"] = 32.0
    address: Annotated[
        str, "address of the console in links, such as https://faces.example.org; empty: as [web] says"
    ] = ""


@dataclass(frozen=True)
class Events:
    """Where to send events."""

    stdout: Annotated[bool, "print them as JSON lines"] = True
    file: Annotated[Path | None, "append them to this file as JSON lines; rotated at 16 MiB"] = None
    webhook: Annotated[WebhookSettings | None, "an HTTP POST for each event (docs/events.md)"] = None
    mqtt: Annotated[MqttSettings | None, "an MQTT broker, and Home Assistant through it (docs/events.md)"] = None
