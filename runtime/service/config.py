"""The service's settings from a TOML file: every mistake is reported, and nothing is used in part."""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping
from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import Protocol, TypeVar

from ..alerts.check import find_rule_mistakes
from ..cameras.hardware_decoder import check_decoder
from ..cameras.source_names import check_network_address
from ..core.addresses import check_host, check_http_address, check_topic_start, mask_address
from ..core.errors import InputError
from ..core.polygons import find_flaw
from ..core.text import can_be_in_address, find_hidden, in_a_line
from ..core.toml import list_problems, load_file, load_table, read_toml
from ..core.toml_writer import dump_key
from ..core.weekly import WeeklyHours, check_weekly_hours
from ..gallery.companions import is_receiver_name
from .settings import CameraSettings, Polygon, Settings, console_address

T = TypeVar("T")
MOST_NAME = 100  # characters of the name of a camera or zone
MOST_POLYGONS = 16  # zones, and masks, of a camera
MOST_HOURS = 50  # entries of a schedule, and hours of one entry


def read_settings(path: Path) -> Settings:
    """The settings in the file ``path``; relative paths in it are below its folder.

    Raises InputError with all mistakes, one per line.
    """
    settings = load_file(Settings, path)
    if problems := find_mistakes(settings):
        raise InputError(list_problems(path, problems))
    return settings


def check_settings(path: Path) -> tuple[Settings | None, list[str]]:
    """The settings in ``path``, or None and all mistakes in the file, each with the file's name and the key."""
    try:
        table = read_toml(path)
    except InputError as error:
        return None, [str(error)]
    problems: list[str] = []
    settings = load_table(Settings, table, problems, folder=path.parent)
    if settings is not None:
        problems = find_mistakes(settings)
    return settings if not problems else None, [f"{path}: {problem}" for problem in problems]


def find_mistakes(settings: Settings) -> list[str]:
    """What is wrong with values that have the right type: addresses that cannot be used, polygons that cross
    themselves. No sentence has a secret."""
    problems = []
    for name, camera in settings.camera.items():
        if not can_be_in_address(name, MOST_NAME):
            problems.append(
                f"camera.{in_a_line(name[:40])}: the name of a camera must be visible text without / (not . "
                f"or ..), at most {MOST_NAME} characters"
            )
        if not camera.source.strip():
            problems.append(f"camera.{name}.source is empty: name a camera, such as /dev/video0")
        if re.match(r"(?i)(rtsps?|https?)://", camera.source):
            problems += _explain(f"camera.{name}.source", check_network_address, camera.source)
        problems += _explain(f"camera.{name}.decoder", partial(check_decoder, camera.source), camera.decoder)
        where = f"camera.{dump_key(name)}."
        problems += find_area_mistakes(where, camera)
        problems += find_schedule_mistakes(where, camera.schedule)
    problems += find_shared_devices(settings.camera)
    for name, rule in settings.rules.items():
        problems += find_rule_mistakes(name, rule, settings.camera, settings.receivers)
    webhook, mqtt = settings.events.webhook, settings.events.mqtt
    if webhook:
        problems += _explain("events.webhook.url", check_http_address, webhook.url)
    if mqtt:
        problems += _explain("events.mqtt.host", check_host, mqtt.host)
        for key, topic in (("prefix", mqtt.prefix), ("discovery_root", mqtt.discovery_root)):
            problems += _explain(f"events.mqtt.{key}", check_topic_start, topic)
    for key, file in (("gallery", settings.gallery), ("events.file", settings.events.file)):
        if file and file.is_dir():
            problems.append(f"{key}: {file} is a folder: name a file in it")
    if not settings.device.strip():
        problems.append("device is empty: write the name of this machine, or leave it out")
    problems += _find_receiver_mistakes(settings)
    return problems


def find_shared_devices(cameras: Mapping[str, CameraSettings]) -> list[str]:
    """Cameras with the device, or the stdin, of another one, which only one can read."""
    problems, used = [], dict[str, str]()
    for name, camera in cameras.items():
        if re.match(r"-$|\d+$|/dev/", camera.source) and (other := used.setdefault(camera.source, name)) != name:
            shown = "stdin" if camera.source == "-" else camera.source
            problems.append(
                f"camera.{in_a_line(dump_key(name))}.source: {shown} is read by the camera {in_a_line(other)} already"
            )
    return problems


def _find_receiver_mistakes(settings: Settings) -> list[str]:
    """What is wrong with the receivers of alerts."""
    problems = []
    for name, notify in settings.notify.items():
        if not is_receiver_name(name):
            problems.append(
                f"notify.{in_a_line(name[:40])}: the name of a receiver must be 1 to 40 letters, digits, - or _"
            )
        if not re.match(r"(env|file):.", notify.url):
            problems.append(
                f"notify.{in_a_line(name[:40])}.url: write env:NAME or file:PATH, where the Apprise URL is, because it "
                "contains secrets"
            )
    address, webhook = settings.alert_pictures.address, settings.events.webhook
    if address:
        problems += _explain("alert_pictures.address", partial(check_http_address, what="the address"), address)
    elif webhook and webhook.picture != "none" and webhook.picture_as == "url" and not console_address(settings.web):
        problems.append(
            "events.webhook.picture_as: links lead to the console, which other machines cannot reach: set [web] host "
            'and password_file, or alert_pictures.address if a proxy serves it, or write picture_as = "inline"'
        )
    return problems


class HasPolygons(Protocol):
    """The settings of a camera, or a part of them."""

    @property
    def zones(self) -> Mapping[str, Polygon]: ...

    @property
    def masks(self) -> Mapping[str, Polygon]: ...


def find_area_mistakes(where: str, camera: HasPolygons) -> list[str]:
    """What is wrong with the zones and masks of ``camera``. Each sentence starts with ``where`` ("camera.door.")."""
    problems = []
    for kind, polygons in (("zones", camera.zones), ("masks", camera.masks)):
        problems += [f"{where}{kind}.{problem}" for problem in _find_polygon_mistakes(polygons)]
        if len(polygons) > MOST_POLYGONS:
            problems.append(f"{where}{kind}: a camera may have {MOST_POLYGONS} of them, not {len(polygons)}")
    return problems


def find_schedule_mistakes(where: str, schedule: Mapping[str, WeeklyHours]) -> list[str]:
    """What is wrong with the ``schedule`` of a camera. Each sentence starts with ``where`` ("camera.door.")."""
    problems = []
    if len(schedule) > MOST_HOURS or any(len(one.hours) > MOST_HOURS for one in schedule.values()):
        problems.append(f"{where}schedule: a camera may have {MOST_HOURS} of them, with {MOST_HOURS} hours each")
        return problems
    for name, hours in schedule.items():
        key = f"{where}schedule.{in_a_line(dump_key(name[:40]))}"
        if not name.strip() or find_hidden(name) or len(name) > MOST_NAME:
            problems.append(f"{key}: the name must be visible text, at most {MOST_NAME} characters")
        problems += _explain(key, check_weekly_hours, hours)
    return problems


def _find_polygon_mistakes(polygons: Mapping[str, Polygon]) -> list[str]:
    problems = []
    for name, polygon in polygons.items():
        shown = in_a_line(dump_key(name[:40]))
        if not name.strip() or find_hidden(name) or len(name) > MOST_NAME:
            problems.append(f"{shown}: the name must be visible text, at most {MOST_NAME} characters")
        if flaw := find_flaw(polygon.points):
            problems.append(f"{shown}.points: {flaw}")
    return problems


def _explain(key: str, check: Callable[[T], object], value: T) -> list[str]:
    try:
        check(value)
    except InputError as error:
        return [f"{key}: {error}"]
    return []


def hide_secrets(settings: Settings) -> Settings:
    """``settings`` with "…" for secrets in addresses, and for secrets that should be somewhere else, to be shown."""
    cameras = {name: replace(camera, source=mask_address(camera.source)) for name, camera in settings.camera.items()}
    events, hub = settings.events, settings.hub
    if webhook := events.webhook:
        shown = replace(webhook, url=mask_address(webhook.url), secret=_hide_secret(webhook.secret))
        events = replace(events, webhook=shown)
    if events.mqtt:
        events = replace(events, mqtt=replace(events.mqtt, password=_hide_secret(events.mqtt.password)))
    receivers = {name: replace(one, url=_hide_secret(one.url)) for name, one in settings.notify.items()}
    hub = hub and replace(
        hub, address=hub.address if hub.address.startswith("embedded:") else _hide_secret(hub.address)
    )
    return replace(settings, camera=cameras, events=events, notify=receivers, hub=hub)


def _hide_secret(value: str) -> str:
    """``value`` if it only says where the secret is; somebody may have written the secret itself, which is refused
    later."""
    return value if not value or re.match(r"(env|file):", value) else "…"
