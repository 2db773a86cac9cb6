"""``rkface run`` and ``rkface config …``. Imports nothing heavy before a command runs."""

from __future__ import annotations

import argparse
import signal
import sys
from argparse import ArgumentParser, Namespace
from contextlib import ExitStack, nullcontext
from dataclasses import replace
from inspect import getdoc
from logging import getLogger
from pathlib import Path
from typing import TYPE_CHECKING

from ..core.errors import InputError

if TYPE_CHECKING:
    from ..service.service import Service
    from ..service.settings import Settings

CONFIG = Path("/etc/rkface/rkface.toml")
DEPLOYED = "rkface.toml"  # in a release, beside the bundle: what `rkface deploy --config` brought


def run(parser: ArgumentParser) -> None:
    """Recognize people before cameras: the service, until it is stopped or its recordings have ended.

    Tells every appearance as a line of JSON on stdout (docs/events.md), and wherever the configuration says; what it
    has to say of itself goes to stderr. It serves a web console for this machine only where rkface[web] is installed.
    Everything has a default, the first USB camera too. What is given here goes before the configuration.

    SPEC is /dev/video0, a name out of /dev/v4l/by-id, rtsp://…, a video file, a folder of photos, or - for JPEG
    pictures on stdin; NAME=SPEC gives it a name. Of a file every frame is looked at, of a camera the newest.

    examples:
      rkface run --bundle build/rk3588 --camera /dev/video0
      rkface run --bundle build/rk3588 --camera door=rtsp://10.0.0.7/stream --camera yard=/dev/video2
      rkface run --config /etc/rkface/rkface.toml
    """
    parser.add_argument(
        "--config",
        type=Path,
        metavar="FILE",
        help=f"TOML (default: {DEPLOYED} beside the bundle, or {CONFIG}, if there); `rkface config show` explains it",
    )
    parser.add_argument("--bundle", type=Path, metavar="DIR", help="what `rkface convert` wrote")
    parser.add_argument("--camera", action="append", metavar="SPEC", default=[], help="instead of those configured")
    parser.add_argument("--gallery", type=Path, metavar="FILE", help="who is known (`rkface enroll`)")
    parser.add_argument("--key", type=Path, metavar="FILE", help="if it is encrypted (default: $RKFACE_GALLERY_KEY)")
    parser.add_argument("--backend", choices=("npu", "reference"), help="default: what this machine has")
    parser.add_argument(
        "--liveness",
        action="store_true",
        help="judge whether a face is a picture of one, by the bundle's liveness model",
    )
    parser.add_argument("--no-web", action="store_true", help="serve no console")
    parser.add_argument("--log", choices=("text", "json", "journal"), help="form of what it says of itself")
    parser.set_defaults(run=_run)


def config(parser: ArgumentParser) -> None:
    """Check a configuration, or show all settings with what they mean.

    examples:
      rkface config show > rkface.toml        # every setting and its default, to begin with
      rkface config check rkface.toml
    """
    actions = parser.add_subparsers(metavar="ACTION", required=True)
    for declare in (check, show):
        text = getdoc(declare) or ""
        action = actions.add_parser(
            declare.__name__,
            help=text.splitlines()[0],
            description=text,
            formatter_class=argparse.RawDescriptionHelpFormatter,
        )
        declare(action)


def check(parser: ArgumentParser) -> None:
    """Say all that is wrong with a configuration, with the nearest key for a typo. Exit code 2 where something is."""
    parser.add_argument("file", type=Path, nargs="?", default=CONFIG, metavar="FILE", help="(default: %(default)s)")
    parser.set_defaults(run=_check)


def show(parser: ArgumentParser) -> None:
    """Print all settings as TOML: those of FILE, or the defaults."""
    parser.add_argument("file", type=Path, nargs="?", metavar="FILE")
    parser.set_defaults(run=_show)


def _check(options: Namespace) -> int:
    from ..service.config import check_settings

    settings, problems = check_settings(options.file)
    for problem in problems:
        print(f"rkface: {problem}", file=sys.stderr)
    if settings is None:
        return InputError.exit_code
    for doubt in _doubts(settings):
        print(f"{options.file}: but {doubt}")
    print(f"{options.file}: good, {len(settings.camera)} cameras")
    return 0


def _doubts(settings: Settings) -> list[str]:
    """What may be meant so, here or on another machine."""
    from ..events import read_secret

    found = [] if settings.bundle.is_dir() else [f"there is no bundle at {settings.bundle}"]
    if settings.liveness.require and not settings.liveness.enabled:
        found.append("[liveness] require = true needs enabled = true as well, or `rkface run --liveness`")
    webhook, mqtt = settings.events.webhook, settings.events.mqtt
    for secret in (webhook.secret if webhook else "", mqtt.password if mqtt else ""):
        try:
            if secret:
                read_secret(secret)
        except InputError as error:
            found.append(str(error))
    if not settings.camera:
        found.append("it names no camera: `rkface run` takes the first USB camera")
    return found


def _show(options: Namespace) -> int:
    from ..core.toml import dump
    from ..service.config import read_settings
    from ..service.settings import CameraSettings, Settings

    settings = read_settings(options.file) if options.file else Settings(camera={"door": CameraSettings("/dev/video0")})
    print(dump(settings, explain=True), end="")
    return 0


def _run(options: Namespace) -> int:
    settings = _settings(options)
    from ..core.progress import stage
    from ..service.logging_setup import start_logs
    from ..service.service import Service

    start_logs(options.log)
    service = Service(settings)
    for number in (signal.SIGTERM, signal.SIGINT):
        signal.signal(number, lambda *_: service.stop())
    with ExitStack() as opened:
        with nullcontext() if options.log or not sys.stderr.isatty() else stage("starting"):
            opened.enter_context(service)
        log = getLogger("rkface.service")
        log.info("watching %s; %d people are known", ", ".join(service.views), service.gallery.state().people)
        if settings.web.enabled:
            _serve(service, settings, opened)
        service.run()
    return 0


def _settings(options: Namespace) -> Settings:
    from ..service.config import read_settings
    from ..service.settings import Settings, default_camera, named_cameras

    usual = [options.bundle.parent / DEPLOYED, CONFIG] if options.bundle else [CONFIG]
    file = options.config or next((path for path in usual if path.is_file()), None)
    settings = read_settings(file) if file else Settings()
    if options.camera or not settings.camera:
        settings = replace(settings, camera=named_cameras(options.camera or [default_camera()]))
    if options.liveness:
        settings = replace(settings, liveness=replace(settings.liveness, enabled=True))
    if options.no_web:
        settings = replace(settings, web=replace(settings.web, enabled=False))
    return replace(
        settings,
        bundle=options.bundle or settings.bundle,
        gallery=options.gallery or settings.gallery,
        backend=options.backend or settings.backend,
        key=options.key or settings.key,
    )


def _serve(service: Service, settings: Settings, opened: ExitStack) -> None:
    """The console, where it is installed. It is no reason not to watch, unless somebody set it up."""
    web = settings.web
    from ..service.settings import Web

    try:
        from ..web.serve import serve
    except ImportError as error:
        if web != Web():
            raise InputError(f"[web] needs {error.name or error}: pip install 'rkface[web]'") from error
        getLogger("rkface.web").info("no console: pip install 'rkface[web]' brings it")
        return
    if (web.certificate is None) != (web.key is None):
        raise InputError("[web] certificate and key belong together: give both for https, or neither")
    tls = (web.certificate, web.key) if web.certificate and web.key else None
    console = serve(service, web.host, web.port, password_file=web.password_file, token_file=web.token_file, tls=tls)
    opened.enter_context(console)
