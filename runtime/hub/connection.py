"""The connection to the hub: a PostgreSQL database with pgvector, that other people may keep."""

from __future__ import annotations

import ipaddress
import os
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any, TypeAlias

from ..core.addresses import mask_secrets
from ..core.errors import InputError, RkfaceError, WorkError
from ..core.missing_package import import_error
from ..events import read_secret
from .embedded import place_embedded, start_if_embedded

if TYPE_CHECKING:
    import psycopg

    Hub: TypeAlias = psycopg.Connection[Any]

INSTALL = "pip install 'rkface[hub]'"
CONNECT_SECONDS = 10
# A partition ends a connection after half a minute: without these, after a quarter of an hour or never.
ALIVE: Mapping[str, int] = {
    "keepalives_idle": 10, "keepalives_interval": 5, "keepalives_count": 4, "tcp_user_timeout": 30_000,
}  # fmt: skip
FILES = ("sslrootcert", "sslcert", "sslkey", "sslcrl", "sslcrldir", "passfile")  # options of libpq that are paths
VERIFIED = "verify-full"
ANYBODY = ("disable", "allow", "prefer", "require", "verify-ca")  # values of sslmode that let another host answer
# SQLSTATE codes (PostgreSQL's documentation, appendix A) and what a user can do.
ADVICE: Mapping[str, str] = {
    "28P01": "the user or the password is wrong",
    "28000": "the server does not let this user in: is the board revoked, or does pg_hba.conf refuse it?",
    "3D000": "there is no such database: create it first (`createdb NAME`)",
    "42501": "this user lacks the right: use the owner of the hub's database",
    "53100": "the disk of the hub is full: make room there; nothing was changed",
    "57P01": "the hub is being stopped",
    "57P03": "the hub is starting: try again",
}
# An attempt to connect that fails has no code in libpq, only the server's text.
REFUSED: Mapping[str, str] = {
    "password authentication failed": ADVICE["28P01"],
    "no password supplied": "the address has no password",
    "is not permitted to log in": ADVICE["28000"],
    "no pg_hba.conf entry": ADVICE["28000"],
    "database system is starting up": ADVICE["57P03"],
    "database system is shutting down": ADVICE["57P01"],
    "server does not support SSL": "switch TLS on there (ssl = on, with a certificate for the name in the address)",
    "certificate": "name the certificate of the hub's authority with sslrootcert=FILE in its address",
}


def connect(dsn: str) -> psycopg.Connection[tuple[Any, ...]]:
    """Open a connection to the hub at ``dsn``, a PostgreSQL URL, "host=… dbname=…", or "embedded:DIR". It is in
    autocommit mode: what belongs together is written in ``transaction()``.

    Other hosts than this one must prove who they are: ``sslmode`` is verify-full, with the system's certificates unless
    ``sslrootcert`` names others. Raises InputError for a DSN that cannot be right or that allows less, and WorkError if
    the server cannot be reached or refuses.
    """
    library = import_psycopg()
    try:
        options = library.conninfo.conninfo_to_dict(start_if_embedded(dsn))
    except library.Error:
        raise InputError(
            "the address of the hub is not one of PostgreSQL: write postgresql://USER@HOST/DATABASE, and "
            "percent-encode special characters of a password"
        ) from None
    with hub_errors():
        opened: psycopg.Connection[tuple[Any, ...]] = library.connect(
            **{"connect_timeout": CONNECT_SECONDS, "application_name": "rkface", **ALIVE, **secure(options)},
            autocommit=True,
        )
    return opened


def read_address(where: str) -> str:
    """The address of the hub that ``where`` names: embedded:DIR, or env:NAME or file:PATH, which contain one. Relative
    paths in the file PATH are below its folder. Raises InputError as ``read_secret``."""
    if where.startswith("embedded:"):
        return where
    address = read_secret(where)
    return _place_files(address, Path(where.removeprefix("file:")).parent) if where.startswith("file:") else address


def _place_files(address: str, folder: Path) -> str:
    """``address``, with its relative paths below ``folder``: libpq takes them from the working folder."""
    if address.startswith("embedded:"):
        return place_embedded(address, folder)
    library = import_psycopg()
    try:
        options = library.conninfo.conninfo_to_dict(address)
        placed = {name: str(folder.absolute() / options[name]) for name in FILES if options.get(name)}
        if options.get("sslrootcert") == "system":
            del placed["sslrootcert"]
        return str(library.conninfo.make_conninfo(address, **placed)) if placed else address
    except library.Error:
        return address  # ``connect`` says what is wrong


def secure(options: Mapping[str, Any]) -> dict[str, Any]:
    """The connection ``options`` with TLS that checks the server, unless all hosts are this machine. Raises InputError
    if they ask for less.

    libpq takes hosts that are not in ``options`` from the environment, and from its file of services, which is not
    read here: a service counts as another machine.
    """
    found = dict(options)
    named = [found.get("hostaddr") or os.environ.get("PGHOSTADDR"), found.get("host") or os.environ.get("PGHOST")]
    service = found.get("service") or os.environ.get("PGSERVICE")
    places = ",".join(place for place in named if place).split(",")
    if not service and all(_is_this_machine(place) for place in places if place):
        return found
    mode = found.setdefault("sslmode", VERIFIED)
    if mode != VERIFIED:
        raise InputError(
            f"sslmode={mode} lets any machine on the way answer as the hub: leave it out, or write "
            "sslmode=verify-full, and name the certificate of your own authority with sslrootcert=FILE"
        )
    found.setdefault("sslrootcert", "system")
    return found


def _is_this_machine(host: str) -> bool:
    if host.startswith(("/", "@")) or host == "localhost":
        return True
    try:
        return ipaddress.ip_address(host).is_loopback
    except ValueError:
        return False


def import_psycopg() -> Any:
    """The package psycopg. Raises InputError, with the command that installs it, if it is missing."""
    try:
        import psycopg
    except ImportError as error:
        raise import_error(error, "the hub needs psycopg", INSTALL) from error
    return psycopg


@contextmanager
def hub_errors() -> Iterator[None]:
    """Turn psycopg's errors in the block into WorkError, without secrets, or InputError for a text that PostgreSQL
    cannot hold. The code of PostgreSQL says what to do."""
    psycopg = import_psycopg()
    try:
        yield
    except psycopg.Error as error:
        raise explain(error) from error


def explain(error: psycopg.Error) -> RkfaceError:
    """The error for a user. The message contains no secret, and no value of a row: PostgreSQL's details are left
    out."""
    if isinstance(error, import_psycopg().DataError) and not error.sqlstate:  # psycopg refused a value, not the server
        return InputError(f"the hub cannot take this text: {error}")
    lines = [line.strip() for line in str(error).splitlines() if line.strip()]
    said = mask_secrets(lines[0] if lines else type(error).__name__)[:300]
    advice = ADVICE.get(error.sqlstate or "", "")
    if not advice and not error.sqlstate:
        advice = next((what for text, what in REFUSED.items() if text in said), "")
        if " database " in said and "does not exist" in said:
            advice = ADVICE["3D000"]
    return WorkError(f"the hub: {said}{f': {advice}' if advice else ''}")
