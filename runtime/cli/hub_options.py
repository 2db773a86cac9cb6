"""The hub that a command of ``rkface hub`` works on."""

from __future__ import annotations

import os
from argparse import ArgumentParser, Namespace
from collections.abc import Iterator
from contextlib import contextmanager
from typing import TYPE_CHECKING

from ..core.errors import InputError

if TYPE_CHECKING:
    from ..hub.connection import Hub

ENVIRONMENT = "RKFACE_HUB"


def add_hub(parser: ArgumentParser) -> None:
    """The option --hub."""
    parser.add_argument(
        "--hub", metavar="HUB", help=f"address of the hub, or env:NAME or file:PATH (default: ${ENVIRONMENT})"
    )


def hub_address(options: Namespace) -> str:
    """The address of the hub that the user named. Raises InputError without one."""
    from ..hub.connection import read_address

    named = options.hub or os.environ.get(ENVIRONMENT, "")
    if not named:
        raise InputError(f"name the hub's database with --hub, or set {ENVIRONMENT}")
    return read_address(named) if named.startswith(("env:", "file:")) else str(named)


@contextmanager
def open_hub(options: Namespace) -> Iterator[Hub]:
    """A connection to the hub that the user named. Raises InputError or WorkError as ``connect``, and InputError for
    tables of another version."""
    from ..hub.connection import connect
    from ..hub.migrations import check_version

    with connect(hub_address(options)) as connection:
        check_version(connection)
        yield connection
