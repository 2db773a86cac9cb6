"""``/v1/tokens``, ``/v1/users`` and ``/v1/audit``: who may use the console and its API, and what they did."""

from __future__ import annotations

from typing import Annotated

from fastapi import APIRouter, HTTPException, Path

from .access import Access
from .accounts import NAME_LENGTH, Accounts, AuditNote
from .accounts_file import Token, User
from .dependencies import BUSY, NOT_FOUND, UNAUTHORIZED, AccessDependency, WorkloadDependency
from .schemas import CreatedToken, NewToken, UserChange
from .wire import Cursor, Limit, Page, page_of, read_number, write_cursor

Name = Annotated[str, Path(min_length=1, max_length=NAME_LENGTH)]

router = APIRouter(prefix="/v1", tags=["access"], responses=UNAUTHORIZED | BUSY)


@router.get("/tokens")
def list_tokens(access: AccessDependency, limit: Limit = 100, cursor: Cursor = None) -> Page[Token]:
    """The tokens of programs, newest first, without their secrets."""
    return page_of(_accounts(access).tokens(), lambda one: (-one.created, one.id), limit, cursor)


@router.post("/tokens", status_code=201)
def create_token(access: AccessDependency, body: NewToken) -> CreatedToken:
    """Create a token for a program. Its secret is in this answer and nowhere else."""
    token, secret = _accounts(access).create_token(body.name, body.scopes)
    return CreatedToken(token, secret)


@router.delete("/tokens/{id}", status_code=204, responses=NOT_FOUND)
def revoke_token(access: AccessDependency, id: str) -> None:
    """Revoke a token: the next request with it is refused."""
    accounts = _accounts(access)
    if id not in [token.id for token in accounts.tokens()]:
        raise HTTPException(404, "this token does not exist, or was revoked")
    accounts.revoke_token(id)


@router.get("/users")
def list_users(access: AccessDependency, limit: Limit = 100, cursor: Cursor = None) -> Page[User]:
    """The users of the console, by name. The owner of the password file is not among them."""
    return page_of(_accounts(access).users(), lambda one: (one.name,), limit, cursor)


@router.put("/users/{name}")
async def set_user(access: AccessDependency, workload: WorkloadDependency, name: Name, body: UserChange) -> User:
    """Add a user, or change role and password. A new password ends their sessions; a new role counts at once."""
    return await workload.guesses.run(lambda: _accounts(access).set_user(name, body.role, body.password))


@router.delete("/users/{name}", status_code=204, responses=NOT_FOUND)
def remove_user(access: AccessDependency, name: Name) -> None:
    """Remove a user, which ends their sessions."""
    accounts = _accounts(access)
    if accounts.find_user(name) is None:
        raise HTTPException(404, "this user does not exist, or no longer exists")
    accounts.remove_user(name)


@router.get("/audit")
def list_audit_notes(access: AccessDependency, limit: Limit = 100, cursor: Cursor = None) -> Page[AuditNote]:
    """Who signed in and changed what, newest first. It names no person of the gallery."""
    notes = _accounts(access).notes(limit + 1, read_number(cursor, int))
    shown = notes[:limit]
    return Page(items=shown, next=write_cursor([shown[-1].id]) if len(notes) > limit else None)


def _accounts(access: Access) -> Accounts:
    """Raises HTTPException 503 if the file of the accounts cannot be used."""
    if access.accounts is None:
        raise HTTPException(503, "users and tokens are not available: see the service's log")
    return access.accounts
