"""``rkface hub serve``: the page of the hub. Imports nothing heavy before it runs."""

from __future__ import annotations

import signal
import threading
from argparse import ArgumentParser, Namespace
from contextlib import ExitStack
from pathlib import Path
from typing import Any

from ..core.arguments import integer_from
from ..core.errors import InputError
from ..core.missing_package import import_error
from .hub_options import add_hub, hub_address
from .options import add_backend, add_bundle


def serve(parser: ArgumentParser) -> None:
    """Serve the hub's page and API: all boards, who was seen where, and the people.

    Without a password it listens on this machine only. With --password-file (from `rkface web-password`) it can listen
    on the network, best with TLS. `rkface access --accounts FILE` manages users and tokens for it. /metrics is for
    Prometheus. It needs rkface[web]. With --bundle, which has the recognizer of the boards, POST /v1/search says who is
    in a photo. boards/rkface-hub.service runs it as a systemd service.

    examples:
      rkface hub serve
      rkface hub serve --bundle build/rk3588
      rkface hub serve --host 0.0.0.0 --password-file hub-password --certificate hub.pem --key hub.key
    """
    add_hub(parser)
    parser.add_argument("--host", default="127.0.0.1", help="address to listen on (default: %(default)s)")
    parser.add_argument(
        "--port",
        type=integer_from(0, 65_535),
        default=8090,
        metavar="N",
        help="port to listen on (default: %(default)s); 0: any free one, which the log tells",
    )
    parser.add_argument(
        "--password-file", type=Path, metavar="FILE", help="what `rkface web-password --file FILE` wrote"
    )
    parser.add_argument(
        "--token-file", type=Path, metavar="FILE", help="a token that lets Prometheus read /metrics despite a password"
    )
    parser.add_argument("--certificate", type=Path, metavar="FILE", help="PEM certificate, for https; needs --key")
    parser.add_argument("--key", type=Path, metavar="FILE", help="PEM private key, for https; needs --certificate")
    parser.add_argument("--accounts", type=Path, metavar="FILE", help="users and tokens, of `rkface access --accounts`")
    add_bundle(parser, default=None)
    add_backend(parser)
    parser.set_defaults(run=_serve, starts_logs=True)


def _serve(options: Namespace) -> int:
    from ..service.logging_setup import start_logs
    from ..service.systemd import notify

    if (options.certificate is None) != (options.key is None):
        raise InputError("--certificate and --key belong together: give both for https, or neither")
    start_logs(None)
    ended = threading.Event()
    for number in (signal.SIGTERM, signal.SIGINT):
        signal.signal(number, lambda *_: ended.set())
    with ExitStack() as opened:
        _open(options, opened)
        notify("READY=1")
        ended.wait()
        notify("STOPPING=1")
    return 0


def _open(options: Namespace, opened: ExitStack) -> Any:
    """Serve until ``opened`` is closed; return the server."""
    address = hub_address(options)  # first: importing the web framework takes seconds on a board
    try:
        from ..hub_console.app import open_hub_console
    except ModuleNotFoundError as error:
        raise import_error(error, f"the page of the hub needs {error.name}", "pip install 'rkface[web,hub]'") from error
    from ..inference.open_bundle import open_bundle
    from ..web.accounts import Accounts

    return opened.enter_context(
        open_hub_console(
            address,
            options.host,
            options.port,
            pipeline=opened.enter_context(open_bundle(options.bundle, options.backend)) if options.bundle else None,
            password_file=options.password_file,
            token_file=options.token_file,
            tls=(options.certificate, options.key) if options.certificate else None,
            accounts=opened.enter_context(Accounts(options.accounts)) if options.accounts else None,
        )
    )
