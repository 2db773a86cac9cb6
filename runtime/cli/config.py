"""``rkface config``: check, show and describe configurations of the service. Imports nothing heavy at first."""

from __future__ import annotations

import sys
from argparse import ArgumentParser, Namespace
from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING

from ..core.arguments import number_in
from ..core.errors import InputError
from ..core.messages import safe_message, show_message
from ..core.text import counted, in_a_line
from .config_rules import explain_rules
from .config_secrets import find_secret_problems
from .options import add_json, print_json
from .parser import add_actions
from .run import CONFIG

if TYPE_CHECKING:
    from ..service.live_settings import LiveSettings
    from ..service.settings import Settings


def config(parser: ArgumentParser) -> None:
    """Check a configuration of `rkface run`, or show all settings with their meaning.

    examples:
      rkface config show > rkface.toml        # a file to start with: every setting and its default
      rkface config check rkface.toml
      rkface config schema > rkface.schema.json    # for editors: they complete keys and mark mistakes
    """
    add_actions(parser, (check, show, schema))


def check(parser: ArgumentParser) -> None:
    """Report everything that is wrong with a configuration, with the nearest valid key for a typo.

    It also says in words what each rule for alerts does and, with --days, how many alerts it would have sent in the
    last days, from the log of appearances beside the gallery.

    Secrets that the configuration names (env:NAME, file:PATH, keys, passwords) are looked at, too: a note says which
    are missing here, cannot be what they should be, or can be read by other users.

    With --json, prints one object: {"file", "valid", "problems", "notes", "cameras", "rules": [{"name", "enabled",
    "words", "notes", "dry_run"}]}. Exit code: 2 if something is wrong. Notes, such as a bundle that does not exist on
    this machine, do not change it.

    examples:
      rkface config check rkface.toml
      rkface config check --days 7 rkface.toml
    """
    parser.add_argument("file", type=Path, nargs="?", default=CONFIG, metavar="FILE", help="(default: %(default)s)")
    parser.add_argument(
        "--days", type=number_in(0, 3650), metavar="DAYS", help="try the rules on the appearances of the last DAYS days"
    )
    add_json(parser, "one object")
    parser.set_defaults(run=_check)


def show(parser: ArgumentParser) -> None:
    """Print all settings as TOML with their meaning: those of FILE, or the defaults.

    A line that starts with "#" and no space is a setting or a table that is not there: remove the "#" to use it. With
    FILE, a comment behind each value says where it comes from: the default, FILE, or a change in the console of
    its gallery, which takes precedence. Passwords and tokens in addresses are shown as "…", unless you add
    --with-secrets. With --json, prints the settings as one object, without their meaning; its "sources" has the source
    of each value.

    examples:
      rkface config show
      rkface config show /etc/rkface/rkface.toml
    """
    parser.add_argument("file", type=Path, nargs="?", metavar="FILE", help="a TOML file (default: the defaults)")
    parser.add_argument("--with-secrets", action="store_true", help="show the passwords in addresses too")
    add_json(parser, "one object")
    parser.set_defaults(run=_show)


def schema(parser: ArgumentParser) -> None:
    """Print the JSON Schema of a configuration, for editors.

    An editor that knows taplo, such as VS Code with "Even Better TOML", then completes keys, shows what they mean, and
    marks mistakes: the first line of the configuration must be #:schema ./rkface.schema.json then.

    examples:
      rkface config schema > rkface.schema.json
    """
    parser.set_defaults(run=_schema)


def _check(options: Namespace) -> int:
    from ..core.soc import read_soc
    from ..service.config import check_settings

    settings, found = check_settings(options.file)
    notes = [] if settings is None else _notes(settings)
    if settings is not None and (lacking := _lacking_decoders(settings)):
        if read_soc():  # on a board, this cannot work; elsewhere, the file may be meant for a board
            settings, found = None, [f"{options.file}: {one}" for one in lacking]
        else:
            notes += lacking
    rules = [] if settings is None else explain_rules(settings, options.days)
    problems = [safe_message(problem) for problem in found]
    cameras = 0 if settings is None else len(settings.camera)
    for problem in found:
        show_message(problem)
    if options.json:
        result = {"file": options.file, "valid": settings is not None, "problems": problems}
        print_json({**result, "notes": notes, "cameras": cameras, "rules": [rule.as_json() for rule in rules]})
    elif settings is not None:
        for note in notes:
            print(f"{options.file}: note: {note}")
        for line in (line for rule in rules for line in rule.lines()):
            print(in_a_line(line))
        print(f"{options.file}: valid, {counted(cameras, 'camera')}")
    return InputError.exit_code if settings is None else 0


def _notes(settings: Settings) -> list[str]:
    """What may be a mistake, or may be right on another machine."""
    notes = [] if settings.bundle.is_dir() else [f"there is no bundle at {settings.bundle}"]
    if settings.liveness.require and not settings.liveness.enabled:
        notes.append("[liveness] require = true also needs enabled = true, or `rkface run --liveness`")
    notes += find_secret_problems(settings)
    notes += _find_useless_settings(settings)
    if not settings.camera:
        notes.append("no camera is configured: `rkface run` takes the first USB camera")
    return notes


def _find_useless_settings(settings: Settings) -> list[str]:
    """What about the security of connections has no effect, or keeps `rkface run` from starting with a console."""
    from ..web.listening import LOOPBACK

    web, webhook, mqtt = settings.web, settings.events.webhook, settings.events.mqtt
    found = []
    if web.enabled and web.password_file is None and web.host not in LOOPBACK:
        needed = "a password is needed to listen on other addresses than 127.0.0.1"
        found.append(f"web.host: {needed}: run `rkface web-password` and set password_file")
    if web.enabled and (web.certificate is None) != (web.key is None):
        found.append("web.certificate and web.key belong together: set both for https, or neither")
    if webhook and webhook.ca and webhook.url.startswith("http:"):
        found.append("events.webhook.ca is not used: with http://, nothing is encrypted")
    if mqtt and not mqtt.tls and (mqtt.ca or mqtt.certificate or mqtt.key):
        found.append("events.mqtt: ca, certificate and key are not used: without tls = true, nothing is encrypted")
    return found


def _lacking_decoders(settings: Settings) -> list[str]:
    """The cameras whose setting requires hardware decoding that this machine does not have."""
    from ..cameras.hardware_decoder import require_hardware
    from ..core.ffmpeg import DECODERS

    lacking = []
    for name, camera in settings.camera.items():
        if camera.decoder in DECODERS:
            try:
                require_hardware(camera.decoder)
            except InputError as error:
                lacking.append(f"camera.{name}.decoder: {error}")
    return lacking


def _show(options: Namespace) -> int:
    from ..core.toml_writer import dump
    from ..service.config import hide_secrets, read_settings
    from ..service.live_settings import LiveSettings, load_changes
    from ..service.settings import CameraSettings, Settings

    live = (
        load_changes(read_settings(options.file))
        if options.file
        else LiveSettings(Settings(camera={"door": CameraSettings("/dev/video0")}))
    )
    sources = _find_sources(live, options.file) if options.file else {}
    for problem in live.problems:
        show_message(problem)
    shown = live.current if options.with_secrets else hide_secrets(live.current)
    if shown != live.current:
        print('rkface: secrets in addresses are shown as "…": --with-secrets prints them', file=sys.stderr)
    if options.json:
        print_json({**asdict(shown), "sources": sources}, indent=2)
    else:
        print(dump(shown, explain=True, notes=sources), end="")
    return 0


def _schema(_: Namespace) -> int:
    from ..core.json_schema import make_schema
    from ..service.settings import Settings

    print_json(make_schema(Settings, "Configuration of rkface run"), indent=2)
    return 0


def _find_sources(live: LiveSettings, file: Path) -> dict[str, str]:
    """Where each value comes from, by its key."""
    from ..core.toml import read_toml
    from ..core.toml_writer import list_keys
    from ..service.live_settings import changes_path

    given = set(list_keys(read_toml(file)))
    sources = {key: f"from {file.name}" if key in given else "default" for key in list_keys(asdict(live.current))}
    for one in live.list_settings():
        if one.source == "console":
            when = f" at {one.changed}" if one.changed else ""
            path = changes_path(live.configured.gallery)
            sources[one.key] = f"changed in the console{when} ({path}); otherwise {one.configured}"
    return sources | _find_camera_sources(live)


def _find_camera_sources(live: LiveSettings) -> dict[str, str]:
    """Where zones, masks, the minimum size and the schedule come from that were changed in the console."""
    from ..core.toml_writer import dump_key, list_keys
    from ..service.live_settings import changes_path

    sources: dict[str, str] = {}
    for name, change in live.cameras.camera.items():
        where, path = f"camera.{dump_key(name)}.", changes_path(live.configured.gallery)
        if change.area:
            note = f"changed in the console at {change.area_time} ({path})"
            sources |= dict.fromkeys(list_keys(asdict(change.area), where), note)
        if change.schedule:
            note = f"changed in the console at {change.schedule_time} ({path})"
            sources |= dict.fromkeys(list_keys({"schedule": asdict(change.schedule)["hours"]}, where), note)
    return sources
