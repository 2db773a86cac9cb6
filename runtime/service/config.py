"""The service's settings from a TOML file: every mistake is reported, and nothing is used in part."""

from __future__ import annotations

import re
from collections.abc import Callable
from dataclasses import replace
from functools import partial
from pathlib import Path

from ..alerts.check import find_rule_mistakes
from ..cameras.hardware_decoder import check_decoder
from ..cameras.source_names import check_network_address
from ..core.addresses import check_host, check_webhook_url, mask_address
from ..core.errors import InputError
from ..core.text import find_hidden, in_a_line
from ..core.toml import list_problems, load_file, load_table, read_toml
from .settings import Settings

MOST_NAME = 100  # characters of a camera's name


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
    """What is wrong with values that have the right type: addresses that cannot be used. No sentence has a secret."""
    problems = []
    for name, camera in settings.camera.items():
        if not name or find_hidden(name) or len(name) > MOST_NAME:
            problems.append(
                f"camera.{in_a_line(name[:40])}: the name of a camera must be visible text, at most 100 characters"
            )
        if re.match(r"(?i)(rtsps?|https?)://", camera.source):
            problems += _explain(f"camera.{name}.source", check_network_address, camera.source)
        problems += _explain(f"camera.{name}.decoder", partial(check_decoder, camera.source), camera.decoder)
    for name, rule in settings.rules.items():
        problems += find_rule_mistakes(name, rule, settings.camera, settings.receivers)
    webhook, mqtt = settings.events.webhook, settings.events.mqtt
    if webhook:
        problems += _explain("events.webhook.url", check_webhook_url, webhook.url)
    if mqtt:
        problems += _explain("events.mqtt.host", check_host, mqtt.host)
    return problems


def _explain(key: str, check: Callable[[str], object], value: str) -> list[str]:
    try:
        check(value)
    except InputError as error:
        return [f"{key}: {error}"]
    return []


def hide_secrets(settings: Settings) -> Settings:
    """``settings`` with "…" for secrets in addresses, to be shown."""
    cameras = {name: replace(camera, source=mask_address(camera.source)) for name, camera in settings.camera.items()}
    events = settings.events
    if events.webhook:
        events = replace(events, webhook=replace(events.webhook, url=mask_address(events.webhook.url)))
    return replace(settings, camera=cameras, events=events)
