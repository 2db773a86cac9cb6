"""``rkface frigate``: names for the people whom Frigate sees. Imports nothing heavy before it runs."""

from __future__ import annotations

import signal
import threading
from argparse import ArgumentParser, Namespace
from contextlib import suppress
from pathlib import Path
from typing import TYPE_CHECKING

from ..core.addresses import check_host, check_topic_start
from ..core.arguments import fraction, integer_from
from ..core.errors import InputError
from .gallery_options import add_gallery, open_gallery
from .options import add_backend, add_bundle

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray

    from ..gallery.match import Match


def frigate(parser: ArgumentParser) -> None:
    """Identify the people whom Frigate (frigate.video) sees, and write their names into its events as sub labels.

    It listens to Frigate's events at its MQTT broker, takes the pictures over Frigate's API, and searches the gallery.
    Nothing of a picture is kept. With a board's NPU, this takes the work of recognizing faces off Frigate's machine.

    Frigate's port 5000 asks for no password: use it inside your network. On port 8971, give a user with the role admin,
    and with --ca the certificate that Frigate made for itself (tls/ in its configuration).

    examples:
      rkface frigate --url http://frigate:5000 --broker mosquitto
      rkface frigate --url https://nvr:8971 --ca nvr.pem --user rkface --password env:FRIGATE_PASSWORD --broker 10.0.0.2
    """
    parser.add_argument("--url", required=True, metavar="URL", help="Frigate, such as http://frigate:5000")
    parser.add_argument("--user", default="", metavar="NAME", help="a user of Frigate, for port 8971")
    parser.add_argument("--password", default="", metavar="WHERE", help="the user's password: env:NAME or file:PATH")
    parser.add_argument(
        "--ca", type=Path, metavar="FILE", help="certificates to trust for Frigate, instead of the system's"
    )
    parser.add_argument("--broker", required=True, metavar="HOST", help="Frigate's MQTT broker")
    parser.add_argument(
        "--broker-port", type=integer_from(0, 65_535), default=0, metavar="PORT", help="default: 1883, or 8883 with TLS"
    )
    parser.add_argument("--broker-user", default="", metavar="NAME", help="user name at the broker")
    parser.add_argument("--broker-password", default="", metavar="WHERE", help="env:NAME or file:PATH")
    parser.add_argument("--broker-tls", action="store_true", help="encrypt the connection to the broker")
    parser.add_argument("--broker-ca", type=Path, metavar="FILE", help="certificates to trust for the broker")
    parser.add_argument("--prefix", default="frigate", help="Frigate's topic_prefix (default: %(default)s)")
    parser.add_argument("--camera", action="append", default=[], metavar="NAME", help="only this camera; repeatable")
    parser.add_argument(
        "--threshold",
        type=fraction,
        metavar="COSINE",
        help="minimum cosine of a match (default: the threshold of the bundle)",
    )
    parser.add_argument(
        "--replace-names", action="store_true", help="also replace names that somebody else wrote into an event"
    )
    add_gallery(parser)
    add_bundle(parser)
    add_backend(parser)
    parser.set_defaults(run=_frigate, starts_logs=True)


def _frigate(options: Namespace) -> int:
    from ..events import read_secret
    from ..events.broker import Broker
    from ..frigate.api import FrigateApi
    from ..frigate.event_namer import EventNamer
    from ..frigate.listen import listen
    from ..inference.open_bundle import open_bundle
    from ..service.photo_requests import identify_photo

    if not 0 <= options.broker_port < 65_536:
        raise InputError(f"--broker-port {options.broker_port}: a port is a number from 1 to 65535")
    for option, check, value in (
        ("--broker", check_host, options.broker),
        ("--prefix", check_topic_start, options.prefix),
    ):
        try:
            check(value)
        except InputError as error:
            raise InputError(f"{option}: {error}") from error
    if options.broker_ca and not options.broker_tls:
        raise InputError("--broker-ca needs --broker-tls: without it, the connection is not encrypted")
    password = read_secret(options.password) if options.password else ""
    secret = read_secret(options.broker_password) if options.broker_password else ""
    api = FrigateApi(options.url, options.user, password, options.ca)
    broker = Broker(
        options.broker, options.broker_port, options.broker_user, secret, options.broker_tls, options.broker_ca
    )
    stopping = threading.Event()
    with suppress(ValueError):  # not in the main thread
        for number in (signal.SIGINT, signal.SIGTERM):
            signal.signal(number, lambda *_: stopping.set())
    with open_bundle(options.bundle, options.backend) as pipeline, open_gallery(options, pipeline) as gallery:
        threshold = pipeline.thresholds.match if options.threshold is None else options.threshold

        def identify(image: NDArray[np.uint8]) -> Match | None:
            gallery.refresh()
            found = identify_photo(pipeline, gallery.search, image, threshold)
            people = [face.person for face in found.faces if face.person is not None]
            return max(people, key=lambda match: match.cosine, default=None)

        namer = EventNamer(api, identify, replace_names=options.replace_names)
        working = threading.Thread(target=namer.work, name="frigate", daemon=True)
        working.start()
        try:
            listen(broker, options.prefix, namer, stopping, cameras=tuple(options.camera))
        finally:
            namer.stop()
            working.join(timeout=15)
    return 0
