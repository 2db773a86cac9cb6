"""The settings that can be changed while the service runs, and the file with the changes.

Each gallery has a file of its own. It contains only what was changed in the console, so that everything else follows
the configuration.
"""

from __future__ import annotations

import math
import time
from collections.abc import Mapping
from dataclasses import asdict, dataclass, field, fields, replace
from logging import getLogger
from pathlib import Path
from typing import Any

from ..alerts.check import find_rule_mistakes
from ..alerts.rule import Rule
from ..core.atomic import sync_to_disk, write_atomically
from ..core.errors import InputError
from ..core.text import in_a_line
from ..core.toml import Range, describe_fields, load_table, read_toml
from ..core.toml_writer import dump_key, dump_value
from ..gallery.companions import Companion, companion_path
from .camera_changes import (
    NO_CHANGES,
    CameraArea,
    CameraChanges,
    CameraSchedule,
    Switched,
    area_of,
    check_area,
    check_schedule,
    is_on,
    load_camera_changes,
    switch_state,
)
from .rule_changes import NO_RULES, RuleChanges, load_rule_changes
from .settings import CameraSettings, Keep, Recognition, Settings
from .states import CameraSetup, Setting, SettingsError

OLD_FILE = "changed.toml"  # of rkface 0.1: all settings, for every gallery of the folder
TIMES = "changed"  # the table with the time of each change
TABLES: dict[str, type[Any]] = {"recognition": Recognition, "keep": Keep}
LABELS = {
    "recognition.match": "Match threshold (cosine)",
    "recognition.hysteresis": "Hysteresis (cosine)",
    "recognition.window": "Gone after (seconds)",
    "keep.appearances": "Keep appearances (days)",
    "keep.unknown_faces": "Keep unknown faces (days)",
    "keep.known_faces": "Keep known faces (days)",
    "keep.embeddings": "Keep embeddings (days)",
    "keep.reviews": "Keep reviews (days)",
}

log = getLogger("rkface.service")


@dataclass(frozen=True)
class Change:
    """A value that was set in the console. ``time``: when, as text for people; "" if that is not known."""

    value: float
    time: str = ""


@dataclass(frozen=True)
class LiveSettings:
    """The settings of the configuration, and what was changed in the console.

    changes      by key, such as recognition.match
    cameras      what was changed about cameras
    rules        rules for alerts that were made or changed
    problems     what the file with the changes contains that cannot be used
    from_old     the changes come from the file of rkface 0.1
    """

    configured: Settings
    changes: Mapping[str, Change] = field(default_factory=dict)
    cameras: CameraChanges = NO_CHANGES
    rules: RuleChanges = NO_RULES
    problems: tuple[str, ...] = ()
    from_old: bool = False

    @property
    def current(self) -> Settings:
        """The settings that are in effect."""
        tables = {table: asdict(getattr(self.configured, table)) for table in TABLES}
        for key, change in self.changes.items():
            table, _, name = key.partition(".")
            tables[table][name] = change.value
        cameras = self.cameras.apply(self.configured.camera)
        rules = self.rules.apply(self.configured.rules)
        changed = {table: kind(**tables[table]) for table, kind in TABLES.items()}
        return replace(self.configured, camera=cameras, rules=rules, **changed)

    def list_settings(self) -> list[Setting]:
        """Return the settings that can be changed, with their current values and where these come from."""
        current = self.current
        return [
            self._setting(table, kind, one.name, getattr(getattr(current, table), one.name))
            for table, kind in TABLES.items()
            for one in fields(kind)
        ]

    def changed(self, values: Mapping[str, Any], when: float) -> LiveSettings:
        """Return the settings with ``values``, by their keys, changed at ``when`` (seconds since 1970). None, and the
        value of the configuration, end a change. Raises SettingsError that names all wrong ones."""
        wrong: dict[str, str] = {}
        changes = dict(self.changes)
        at = _as_text(when)
        for key, value in values.items():
            problems: list[str] = []
            loaded = self._configured(key) if value is None and key in LABELS else _load(key, value, problems)
            if problems:
                wrong[key] = "; ".join(problems)
            if loaded is None:
                continue
            if loaded == self._configured(key):
                changes.pop(key, None)
            else:
                changes[key] = Change(loaded, at)
        if wrong:
            raise SettingsError(wrong)
        return replace(self, changes=changes, problems=())

    def with_area(self, camera: str, area: CameraArea | None, when: float) -> LiveSettings:
        """Return the settings with this ``area`` of a camera, changed at ``when``; None: that of the configuration.
        Raises InputError if it cannot be used."""
        if area:
            check_area(area)
        return replace(self, cameras=self.cameras.changed(camera, area=area, area_time=_as_text(when) if area else ""))

    def with_switch(self, camera: str, on: bool | None, when: float) -> LiveSettings:
        """Return the settings with a camera switched on or off at ``when``; None: it follows its schedule, or is on."""
        default = on is None or (on and not self._camera(camera).schedule)
        switched = None if default else Switched(bool(on), when)
        return replace(self, cameras=self.cameras.changed(camera, switched=switched))

    def with_schedule(self, camera: str, schedule: CameraSchedule | None, when: float) -> LiveSettings:
        """Return the settings with this ``schedule`` of a camera, changed at ``when``; None: that of the configuration.
        What somebody has switched by hand ends: the schedule decides from now on. Raises InputError if it cannot be
        used."""
        if schedule:
            check_schedule(schedule)
        time = _as_text(when) if schedule else ""
        changes = self.cameras.changed(camera, schedule=schedule, schedule_time=time, switched=None)
        return replace(self, cameras=changes)

    def with_rule(self, name: str, rule: Rule | None) -> LiveSettings:
        """Return the settings with this ``rule`` for alerts; None: that of the configuration, if it has one. Raises
        InputError if the rule cannot be used."""
        configured = self.configured
        if rule and (problems := list(find_rule_mistakes(name, rule, configured.camera, configured.receivers))):
            raise InputError("; ".join(problems))
        return replace(self, rules=self.rules.changed(name, rule, configured.rules))

    def is_on(self, camera: str, now: float) -> bool:
        """Whether a camera is on at ``now`` (seconds since 1970)."""
        return is_on(self._camera(camera), self.cameras.of(camera).switched, now)

    def camera_setup(self, camera: str, now: float) -> CameraSetup:
        """Return what is in effect for a camera. Raises KeyError for an unknown one."""
        settings, change = self._camera(camera), self.cameras.of(camera)
        return CameraSetup(
            name=camera,
            area=area_of(settings),
            area_source="console" if change.area else "configuration",
            area_changed=change.area_time,
            switch=switch_state(settings, change.switched, now),
            schedule=settings.schedule,
            schedule_source="console" if change.schedule else "configuration",
            schedule_changed=change.schedule_time,
        )

    def _camera(self, name: str) -> CameraSettings:
        """The settings of a camera that are in effect. Raises KeyError for an unknown one."""
        return self.cameras.of(name).apply(self.configured.camera[name])

    def _configured(self, key: str) -> float | None:
        table, _, name = key.partition(".")
        return getattr(getattr(self.configured, table), name) if key in LABELS else None

    def _setting(self, table: str, kind: type[Any], name: str, value: Any) -> Setting:
        key, info = f"{table}.{name}", describe_fields(kind)[name]
        limits = info.limits or Range(-math.inf, math.inf)
        step = 0.01 if limits.most <= 1 else 0.5
        configured, change = self._configured(key), self.changes.get(key)
        source = "console" if change else "default" if configured == getattr(kind(), name) else "configuration"
        when = change.time if change else ""
        return Setting(
            key, LABELS[key], info.help, value, limits.least, limits.most, step, (), source, configured, when
        )


def _as_text(when: float) -> str:
    return time.strftime("%Y-%m-%d %H:%M UTC", time.gmtime(when))


def changes_path(gallery: Path) -> Path:
    """The file with the changes for the gallery at this path."""
    return companion_path(gallery, Companion.CHANGED_SETTINGS)


def load_changes(settings: Settings) -> LiveSettings:
    """Return ``settings`` with the changes that were made in the console. Changes that cannot be used are problems, and
    do not count."""
    path, old = changes_path(settings.gallery), settings.gallery.with_name(OLD_FILE)
    from_old = not path.exists() and old.exists()
    if not path.exists() and not from_old:
        return LiveSettings(settings)
    return replace(read_changes(old if from_old else path, settings), from_old=from_old)


def read_changes(path: Path, settings: Settings) -> LiveSettings:
    """Return ``settings`` with the changes in the file at ``path``; those equal to ``settings`` do not count."""
    try:
        content = read_toml(path)
    except InputError as error:
        return LiveSettings(settings, problems=(f"{error}: changes made in the console do not count",))
    problems: list[str] = []
    times = content.pop(TIMES, {})
    cameras = load_camera_changes(content.pop("camera", {}), problems)
    rules = load_rule_changes(content.pop("rules", {}), problems)
    for name, rule in list(rules.rules.items()):
        # A camera or receiver that is gone may come back: the rule is kept, and the console shows what it lacks.
        if mistakes := list(find_rule_mistakes(name, rule, (), rule.receivers)):
            problems += mistakes
            rules = rules.changed(name, None, settings.rules)
    live, found = LiveSettings(settings), {}
    for table, values in content.items():
        if not isinstance(values, Mapping):
            problems.append(f"unknown key {in_a_line(table)}")
            continue
        for name, value in values.items():
            key = f"{table}.{name}"
            loaded = _load(key, value, problems)
            if loaded is not None and loaded != live._configured(key):
                when = times.get(key) if isinstance(times, Mapping) else ""
                found[key] = Change(loaded, when if isinstance(when, str) and when.isprintable() else "")
    unusable = tuple(f"{path}: {one}: it does not count" for one in problems)
    return replace(live, changes=found, cameras=cameras, rules=rules, problems=unusable)


def _load(key: str, value: object, problems: list[str]) -> float | None:
    table, _, name = key.partition(".")
    if key not in LABELS:
        problems.append(f"{in_a_line(key)} cannot be changed while the service runs")
        return None
    loaded = load_table(TABLES[table], {name: value}, problems, where=f"{table}.")
    return None if loaded is None else float(getattr(loaded, name))


def save_changes(live: LiveSettings) -> None:
    """Write the changes, for the next start. Raises WorkError if the file cannot be written."""
    lines = [
        "# Written by the console: what was changed there. It takes precedence over the configuration.",
        "# To undo a change while no service runs, delete its line, or this file.",
    ]
    for table in TABLES:
        mine = {key: change for key, change in live.changes.items() if key.startswith(f"{table}.")}
        if mine:
            lines += ["", f"[{table}]"]
            lines += [f"{key.partition('.')[2]} = {dump_value(change.value)}" for key, change in mine.items()]
    if live.changes:
        lines += ["", f"[{TIMES}]", *(f"{dump_key(key)} = {dump_value(one.time)}" for key, one in live.changes.items())]
    lines += ["", live.cameras.dump(), live.rules.dump()]
    write_atomically(changes_path(live.configured.gallery), "\n".join(lines).encode())


def take_over_old_file(live: LiveSettings) -> None:
    """Write what comes from the file of rkface 0.1 to the file of this gallery. The old file is deleted, unless another
    gallery in the folder may still need it. Raises WorkError if a file cannot be written."""
    if not live.from_old:
        return
    save_changes(live)
    gallery, old = live.configured.gallery, live.configured.gallery.with_name(OLD_FILE)
    own = companion_path(gallery, Companion.LOCK).name
    others = [path for path in gallery.parent.glob(".*.lock") if path.name != own]
    log.info("%s: changes of the console were taken over into %s", old, changes_path(gallery).name)
    if others:
        log.info("%s: kept for other galleries in this folder; delete it if there is no other", old)
        return
    old.unlink(missing_ok=True)
    sync_to_disk(old.parent)


def log_sources(live: LiveSettings) -> None:
    """Say in the log which settings do not come from the configuration."""
    for one in live.list_settings():
        if one.source == "console":
            when = f" at {one.changed}" if one.changed else ""
            log.info(
                "%s = %g, as changed in the console%s (%s); the configuration says %g",
                one.key, one.value, when, changes_path(live.configured.gallery), one.configured,
            )  # fmt: skip
