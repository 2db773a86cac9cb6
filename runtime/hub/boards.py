"""Sites and boards of the hub. Every board has credentials of its own, which can be revoked."""

from __future__ import annotations

import re
import secrets
from typing import TYPE_CHECKING

from ..core.errors import InputError
from .connection import hub_errors
from .migrations import BOARD

if TYPE_CHECKING:
    from .connection import Hub

ROLE = "rkface_board_"  # start of the role of a board
CONNECTIONS = 10  # that a board may have open: it needs two, and some that were lost may not be closed yet
# Of boards and sites, as in the tables: a part of the name of a role, which has 63 characters at most.
ID = r"^[a-z0-9][a-z0-9-]{0,47}$"


def add_site(hub: Hub, site: str) -> None:
    """Add a site; nothing happens if it exists. Raises InputError for a wrong name."""
    check_id(site, "site")
    with hub_errors(), hub.transaction():
        hub.execute("INSERT INTO rkface.site VALUES (%s) ON CONFLICT DO NOTHING", [site])


def add_board(hub: Hub, board: str, site: str, lease: float) -> tuple[str, str]:
    """Add a board at ``site``, which is added if it is new. Returns its user and password at the database; only a hash
    of the password is kept. Raises InputError if there is such a board, here or at another hub of the
    server: users belong to the server."""
    check_id(board, "board")
    role, password = ROLE + board.replace("-", "_"), secrets.token_urlsafe(32)
    with hub_errors(), hub.transaction():
        taken = hub.execute("SELECT id FROM rkface.board WHERE id = %s OR role = %s", [board, role]).fetchone()
        if taken:
            raise InputError(
                f"there is a board {taken[0]!r} already: two boards must not have one name, also if one of them was "
                "revoked; choose another name"
            )
        if hub.execute("SELECT 1 FROM pg_roles WHERE rolname = %s", [role]).fetchone():
            raise InputError(
                f"another hub on this server has a board with the user {role}: choose another name, or, if that hub is "
                f'gone, run DROP ROLE "{role}"'
            )
        add_site(hub, site)
        _write_role(hub, role, password)
        hub.execute("INSERT INTO rkface.board (id, site, role, lease) VALUES (%s, %s, %s, %s)",
                    [board, site, role, lease])  # fmt: skip
    return role, password


def revoke_board(hub: Hub, board: str) -> None:
    """End the credentials of ``board`` at once: it syncs no more, and names nobody when its lease has ended. Raises
    InputError if there is no such board."""
    with hub_errors(), hub.transaction():
        row = hub.execute("UPDATE rkface.board SET revoked = coalesce(revoked, now()) WHERE id = %s RETURNING role",
                          [board]).fetchone()  # fmt: skip
        if row is None:
            raise InputError(f"the hub has no board {board!r}: `rkface hub boards` lists them")
        hub.execute(f'ALTER ROLE "{row[0]}" NOLOGIN'.encode())
    with hub_errors():
        hub.execute("SELECT pg_terminate_backend(pid) FROM pg_stat_activity WHERE usename = %s", [row[0]])


def check_id(name: str, what: str) -> None:
    """Raise InputError unless ``name`` can be that of a board or a site."""
    if not re.fullmatch(ID, name):
        raise InputError(
            f"{name!r} cannot be the name of a {what}: write up to 48 small letters, digits and hyphens, as in door-3"
        )


def _write_role(hub: Hub, role: str, password: str) -> None:
    # The server must not see the password: it may write statements into its log. ``role`` has only letters, digits and
    # _, and the hash only those of base64, $, : and -: nothing needs an escape.
    hashed = hub.pgconn.encrypt_password(password.encode(), role.encode(), b"scram-sha-256").decode()
    hub.execute(
        f"CREATE ROLE \"{role}\" LOGIN CONNECTION LIMIT {CONNECTIONS} PASSWORD '{hashed}' IN ROLE {BOARD}".encode()
    )
