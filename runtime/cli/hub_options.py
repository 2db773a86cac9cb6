"""Which hub the commands of ``rkface hub`` use."""

from __future__ import annotations

import os
from argparse import ArgumentParser, Namespace

from ..core.errors import InputError

ENVIRONMENT = "RKFACE_HUB"


def add_hub(parser: ArgumentParser) -> None:
    parser.add_argument(
        "--hub", metavar="HUB", help=f"address of the hub, or env:NAME or file:PATH (default: ${ENVIRONMENT})"
    )


def hub_address(options: Namespace) -> str:
    """The address that ``options`` or the environment name. Raises InputError if there is none."""
    from ..events import read_secret

    named = options.hub or os.environ.get(ENVIRONMENT, "")
    if not named:
        raise InputError(f"name the hub's database with --hub, or set {ENVIRONMENT}")
    return read_secret(named) if named.startswith(("env:", "file:")) else str(named)
