"""``rkface run``: the camera service. Imports nothing heavy before it runs."""

from __future__ import annotations

import gc
import signal
import sys
from argparse import ArgumentParser, Namespace
from contextlib import ExitStack, nullcontext
from dataclasses import replace
from functools import partial
from importlib.util import find_spec
from logging import DEBUG, WARNING, getLogger
from pathlib import Path
from typing import TYPE_CHECKING

from ..core.arguments import integer_from
from ..core.errors import InputError, RkfaceError, WorkError
from ..core.missing_package import import_error
from .options import add_camera_position

if TYPE_CHECKING:
    from concurrent.futures import Future

    from ..core.bundle import Bundle
    from ..service.service import Service
    from ..service.settings import Settings, Web
    from ..web.accounts import Accounts
    from ..web.entry import Entry

CONFIG = Path("/etc/rkface/rkface.toml")
WEB_PACKAGES = ("fastapi", "uvicorn", "websockets", "python_multipart")  # of rkface[web]
# Seconds after which a thread that runs Python lets another one run, while the service starts. With Python's default
# of 0.005, a thread that processes a frame waits that long for the main thread, which imports without a pause,
# each time it comes back from a library or a lock: after a picture is decoded, after an inference, for each result.
START_SWITCH_INTERVAL = 0.0005
DEPLOYED = "rkface.toml"  # in a release, next to the bundle: the file of `rkface deploy --config`


def run(parser: ArgumentParser) -> None:
    """Recognize people in front of cameras: the service. It runs until it is stopped or its recordings have ended.

    Each appearance is a line of JSON on stdout (docs/events.md), and is also sent to the receivers in the
    configuration. Log messages go to stderr; --quiet leaves only warnings, --verbose adds details. If rkface[web] is
    installed, there is a web console for this machine on http://127.0.0.1:8080. Nothing has to be configured: without
    a camera, the first USB camera is used. Options of the command line take precedence over the configuration.

    SPEC is /dev/video0, a name in /dev/v4l/by-id, rtsp://…, a video file, a folder of photos, or - for JPEG pictures on
    stdin. NAME=SPEC gives the camera a name. Every frame of a file is processed, but only the newest of a camera.

    examples:
      rkface run --bundle build/rk3588 --camera /dev/video0
      rkface run --bundle build/rk3588 --camera door=rtsp://10.0.0.7/stream --camera yard=/dev/video2
      rkface run --config /etc/rkface/rkface.toml
    """
    _add_service_options(parser)
    parser.add_argument(
        "--camera", action="append", metavar="SPEC", default=[], help="replaces the configured cameras; repeatable"
    )
    add_camera_position(parser)
    parser.add_argument(
        "--liveness",
        action="store_true",
        help="use the bundle's liveness model to detect faces that are pictures of a face",
    )
    parser.add_argument("--no-web", action="store_true", help="do not serve the web console")
    parser.set_defaults(run=_run, starts_logs=True)


def serve(parser: ArgumentParser) -> None:
    """Answer requests about photos over HTTP, without cameras: the API and the web console only.

    Programs send a photo and are told whose faces it shows (POST /v1/identify), whether two photos show one person
    (/v1/compare), or where the faces are (/v1/detect). `rkface run` answers them too. docs/web.md explains the API
    and `rkface access` makes tokens for programs. Cameras of the configuration are not opened. It needs rkface[web].

    examples:
      rkface serve --bundle build/rk3588 --gallery gallery.sqlite
      curl -F photo=@visitor.jpg "http://127.0.0.1:8080/v1/identify?people=3" -H "Authorization: Bearer $TOKEN"
    """
    _add_service_options(parser)
    parser.set_defaults(run=_run, starts_logs=True, camera=None, rotate=0, near=False, liveness=False, no_web=False)


def _add_service_options(parser: ArgumentParser) -> None:
    parser.add_argument(
        "--config",
        type=Path,
        metavar="FILE",
        help=f"TOML file (default: {DEPLOYED} next to the bundle, or {CONFIG}, if it exists); "
        "`rkface config show` explains all settings",
    )
    parser.add_argument("--bundle", type=Path, metavar="DIR", help="the bundle, a folder that `rkface convert` wrote")
    parser.add_argument("--gallery", type=Path, metavar="FILE", help="the known people, from `rkface enroll`")
    parser.add_argument(
        "--key", type=Path, metavar="FILE", help="key file of an encrypted gallery (default: $RKFACE_GALLERY_KEY)"
    )
    parser.add_argument(
        "--backend", choices=("npu", "reference"), help="default: npu on a board, reference (ONNX Runtime) elsewhere"
    )
    parser.add_argument(
        "--web-port",
        type=integer_from(0, 65_535),
        metavar="N",
        help="port of the web console (default: [web] port of the configuration, else 8080); "
        "0: any free one, which the log tells",
    )
    parser.add_argument(
        "--log",
        choices=("text", "json", "journal"),
        help="format of log messages (default: journal below systemd, text elsewhere)",
    )


def _run(options: Namespace) -> int:
    usual_interval = sys.getswitchinterval()
    with ExitStack() as opened:
        opened.callback(gc.enable)
        gc.disable()  # nothing of what is imported and opened now becomes garbage
        opened.callback(sys.setswitchinterval, usual_interval)
        sys.setswitchinterval(START_SWITCH_INTERVAL)
        # The checksums of the bundle take as long as all imports, so they begin as soon as its folder is known.
        named = _read_in_background(options.bundle) if options.bundle else None
        settings = run_settings(options)
        reading = named or _read_in_background(settings.bundle)
        from ..core.progress import stage
        from ..service.logging_setup import start_logs
        from ..service.service import Service
        from ..service.startup import lock_gallery, open_service_scheduler

        start_logs(options.log)
        if options.quiet or options.verbose:
            getLogger("rkface").setLevel(WARNING if options.quiet else DEBUG)
        service = Service(settings, open_scheduler=partial(open_service_scheduler, read=lambda _: reading.result()))
        for number in (signal.SIGTERM, signal.SIGINT):
            signal.signal(number, lambda *_: service.stop())
        with lock_gallery(settings.gallery):  # a second service would otherwise be told about the port
            entry = _open_entry(settings.web, opened)
        if entry is None and not settings.camera:
            raise InputError("rkface serve needs rkface[web]: pip install 'rkface[web]'")
        with nullcontext() if options.log or not sys.stderr.isatty() else stage("starting"):
            opened.enter_context(service)
        gc.freeze()  # it stays, and no later collection looks at it
        gc.enable()
        log = getLogger("rkface.service")
        watched = ", ".join(service.workers) or "no camera"
        log.info("watching %s; %d people are known", watched, service.gallery.state().people)
        if entry is not None:  # after the cameras: importing the web framework takes as long as starting them
            _show_console(service, entry, settings, opened)
        sys.setswitchinterval(usual_interval)
        service.run()
    if lost := service.losses():
        raise WorkError(f"the recordings have ended, but {'; '.join(lost)}")
    return 0


def _read_in_background(folder: Path) -> Future[Bundle]:
    """The bundle in ``folder``, verified in a thread, or the error that says why it cannot be used."""
    from ..core.background import in_background
    from ..core.bundle import read_bundle

    return in_background("bundle", partial(read_bundle, folder))


def run_settings(options: Namespace) -> Settings:
    """The configuration, with the settings that the options of ``rkface run`` replace. InputError if it is invalid."""
    from ..cameras.source_names import default_camera
    from ..service.config import find_shared_devices, read_settings
    from ..service.settings import Settings, named_cameras

    usual = [options.bundle.parent / DEPLOYED, CONFIG] if options.bundle else [CONFIG]
    file = options.config or next((path for path in usual if path.is_file()), None)
    settings = read_settings(file) if file else Settings()
    if options.camera is None:  # `rkface serve`
        settings = replace(settings, camera={}, web=replace(settings.web, enabled=True))
    elif options.camera or not settings.camera:
        cameras = named_cameras(options.camera or [default_camera()], options.rotate, near=options.near)
        if shared := find_shared_devices(cameras):
            raise InputError(f"--camera: {shared[0]}")
        settings = replace(settings, camera=cameras)
    elif options.rotate or options.near:
        raise InputError("--rotate and --near are for --camera: set rotate and near of configured cameras in the file")
    if options.liveness:
        settings = replace(settings, liveness=replace(settings.liveness, enabled=True))
    if options.no_web and options.web_port is not None:
        raise InputError("--no-web and --web-port contradict each other: use one of them")
    if options.no_web:
        settings = replace(settings, web=replace(settings.web, enabled=False))
    if options.web_port is not None:
        settings = replace(settings, web=replace(settings.web, enabled=True, port=options.web_port))
    return replace(
        settings,
        bundle=options.bundle or settings.bundle,
        gallery=options.gallery or settings.gallery,
        backend=options.backend or settings.backend,
        key=options.key or settings.key,
    )


def _open_entry(web: Web, opened: ExitStack) -> Entry | None:
    """Listen for the web console until ``opened`` is closed: before the models load, so that a taken port is an error
    of the first moment. Without rkface[web], it is an error only if the console is configured."""
    from ..service.settings import Web

    if not web.enabled:
        return None
    if missing := next((name for name in WEB_PACKAGES if find_spec(name) is None), None):
        if web != Web():
            raise _web_error(ModuleNotFoundError(name=missing))
        getLogger("rkface.web").info("no web console; to install it: pip install 'rkface[web]'")
        return None
    if (web.certificate is None) != (web.key is None):
        raise InputError("[web] certificate and key belong together: set both for https, or neither")
    from ..web.entry import open_entry

    tls = (web.certificate, web.key) if web.certificate and web.key else None
    entry = open_entry(web.host, web.port, password_file=web.password_file, token_file=web.token_file, tls=tls)
    return opened.enter_context(entry)


def _show_console(service: Service, entry: Entry, settings: Settings, opened: ExitStack) -> None:
    """Serve the console of ``service``, which runs, until ``opened`` is closed."""
    try:
        from ..web.serve import open_console
    except ImportError as error:
        raise _web_error(error) from error
    opened.enter_context(open_console(entry, service, _open_accounts(settings, opened)))


def _web_error(error: ImportError) -> RkfaceError:
    return import_error(error, f"[web] needs {error.name or 'rkface[web]'}", "pip install 'rkface[web]'")


def _open_accounts(settings: Settings, opened: ExitStack) -> Accounts | None:
    """The users and tokens. If their file cannot be used, only the owner's password works: cameras go on."""
    from ..web.accounts import Accounts, accounts_path

    try:
        return opened.enter_context(Accounts(accounts_path(settings.gallery)))
    except RkfaceError as error:
        getLogger("rkface.web").error("no users and tokens: %s", error)
        return None
