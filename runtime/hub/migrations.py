"""The tables of the hub in PostgreSQL, and their numbered migrations.

All of them are in the schema ``rkface``, so that the database can have tables of others. Triggers number every change:
a program that writes people with SQL, and knows nothing of rkface, has told all boards.

The folder ``sql`` has the statements. ``NNN_NAME.sql`` migrates the tables to version NNN; a released file never
changes. The files without a number are written again by each ``rkface hub init``; a change there that other
programs need goes with a new number.
"""

from __future__ import annotations

from functools import cache
from importlib.resources import files
from typing import TYPE_CHECKING

from ..core.errors import InputError, WorkError
from .connection import hub_errors, import_psycopg

if TYPE_CHECKING:
    from .connection import Hub

OLDEST_SERVER, OLDEST_VECTOR = 150_000, (0, 7)
LOCK = 0x726B6661  # of the migrations, as an advisory lock
ADMIN, BOARD = "rkface_admin", "rkface_board"
REPEATED = ("functions.sql", "changes_of_boards.sql", "rights.sql")


def migrate(connection: Hub) -> int:
    """Create or migrate the tables, in one transaction, and return their version. The user must own the database.

    Raises WorkError for a server or a pgvector that is too old, and InputError if a newer rkface made the tables.
    """
    with hub_errors(), connection.transaction():
        connection.execute("SELECT pg_advisory_xact_lock(%s)", [LOCK])
        _check_server(connection)
        _create_roles(connection)
        connection.execute("CREATE SCHEMA IF NOT EXISTS rkface")
        connection.execute("CREATE TABLE IF NOT EXISTS rkface.version (number int NOT NULL)")
        version = read_version(connection)
        connection.execute("SET LOCAL search_path = rkface, public")
        for file in (*find_migrations()[version:], *REPEATED):
            connection.execute(_read(file))
        connection.execute("DELETE FROM rkface.version")
        connection.execute("INSERT INTO rkface.version VALUES (%s)", [latest_version()])
    return latest_version()


def latest_version() -> int:
    """The version of the tables of this rkface."""
    return len(find_migrations())


def read_version(connection: Hub) -> int:
    """The version of the tables; 0 if they do not exist. Raises InputError for tables of a newer rkface."""
    row = connection.execute("SELECT number FROM rkface.version").fetchone()
    version = int(row[0]) if row else 0
    if version > latest_version():
        raise InputError(
            f"a newer rkface made the hub's tables (version {version}, here {latest_version()}): update rkface here"
        )
    return version


def check_version(connection: Hub) -> None:
    """Raise InputError unless the hub has the tables of this rkface."""
    psycopg = import_psycopg()
    missing = psycopg.errors.UndefinedTable, psycopg.errors.InvalidSchemaName, psycopg.errors.InsufficientPrivilege
    with hub_errors():
        try:
            version = read_version(connection)
        except missing:
            raise InputError("this database is not a hub: make it one with `rkface hub init DSN`") from None
    if version < latest_version():
        raise InputError(
            f"the hub's tables are of an older rkface (version {version}, here {latest_version()}): `rkface hub init "
            "DSN` migrates them"
        )


def _check_server(connection: Hub) -> None:
    if connection.info.server_version < OLDEST_SERVER:
        raise WorkError(
            f"the hub needs PostgreSQL {OLDEST_SERVER // 10_000} or newer; this server is "
            f"{connection.info.server_version // 10_000}"
        )
    known = connection.execute("SELECT 1 FROM pg_available_extensions WHERE name = 'vector'").fetchone()
    if known is None:
        raise WorkError(
            "the server has no pgvector: install it there (Debian: postgresql-NN-pgvector from apt.postgresql.org, or "
            "github.com/pgvector/pgvector)"
        )
    connection.execute("CREATE EXTENSION IF NOT EXISTS vector")
    row = connection.execute("SELECT extversion FROM pg_extension WHERE extname = 'vector'").fetchone()
    version = str(row[0]) if row else "0"
    if tuple(int(part) for part in version.split(".")[:2]) < OLDEST_VECTOR:
        raise WorkError(
            f"the hub needs pgvector 0.7 or newer; this server has {version}: install a newer one, then run "
            "ALTER EXTENSION vector UPDATE"
        )


def _create_roles(connection: Hub) -> None:
    for role in (ADMIN, BOARD):
        if connection.execute("SELECT 1 FROM pg_roles WHERE rolname = %s", [role]).fetchone() is None:
            connection.execute(f"CREATE ROLE {role} NOLOGIN".encode())


@cache
def find_migrations() -> tuple[str, ...]:
    """The names of the files that migrate the tables, in their order."""
    names = (file.name for file in files(__package__).joinpath("sql").iterdir())
    return tuple(sorted(name for name in names if name[0].isdigit()))


def _read(file: str) -> bytes:  # bytes: psycopg wants to know that the text is not put together
    return files(__package__).joinpath("sql").joinpath(file).read_bytes()
