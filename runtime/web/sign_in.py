"""``/v1/session``: sign in and out."""

from __future__ import annotations

from fastapi import APIRouter, HTTPException, Request, Response

from ..core.errors import WorkError
from .access import OWNER
from .audit import address_of, note
from .dependencies import BUSY, UNAUTHORIZED, AccessDependency, WorkloadDependency
from .password import PasswordCheck
from .schemas import Credentials, SessionState
from .scopes import ROLES

BROWSER_KNOWN = 365 * 24 * 3600  # seconds after which a browser forgets that it has signed in

router = APIRouter(prefix="/v1", responses=UNAUTHORIZED)


@router.get("/session", tags=["session"])
def get_session(request: Request, access: AccessDependency) -> SessionState:
    """Whether this client is signed in, what it may do, and the token of its session."""
    caller = access.caller(request.headers)
    needed = access.password is not None
    if caller is None:
        return SessionState(False, needed, "")
    return SessionState(True, needed, caller.csrf_token or "", caller.who, sorted(caller.scopes))


@router.post(
    "/session",
    tags=["session"],
    responses=BUSY
    | {403: {"description": "wrong password"}, 429: {"description": "too many wrong passwords: wait (Retry-After)"}},
)
async def sign_in(
    request: Request,
    response: Response,
    credentials: Credentials,
    access: AccessDependency,
    workload: WorkloadDependency,
) -> SessionState:
    """Sign in; the session is a cookie. After five wrong passwords, a client has to wait, longer each time. A client is
    an address, an IPv6 /64 network, or a browser that has signed in before."""
    password, attempts = access.password, access.attempts
    if password is None:
        return get_session(request, access)
    client = access.signing_in(request.headers, address_of(request.scope), credentials.user)
    wait = attempts.begin(client)
    if wait:
        seconds = str(int(wait) + 1)
        raise HTTPException(429, f"too many attempts; wait {seconds} s", {"retry-after": seconds})
    found = access.accounts.find_user(credentials.user) if access.accounts and credentials.user else None
    # For an unknown user, compare with the owner's password: so that the answer takes as long as any other.
    check = PasswordCheck(found.password) if found else password
    try:
        right = await workload.guesses.run(lambda: check.matches(credentials.password), attempts.suspicion(client))
    except (HTTPException, WorkError):
        attempts.withdraw(client)
        raise
    if not right or (credentials.user and not found):
        who = credentials.user if found else "an unknown user" if credentials.user else OWNER
        await note(access, who, "wrong password", address_of(request.scope))
        raise HTTPException(403, "wrong password" if not credentials.user else "wrong user or password")
    if credentials.user:
        attempts.withdraw(client)  # wrong passwords of others still count: a user must not guess the owner's
    else:
        attempts.succeed(client)
    access.sessions.end(access.session_secret(request.headers))
    secret = access.sessions.start(credentials.user, found.password if found else "")
    await note(access, credentials.user or OWNER, "signed in", address_of(request.scope))
    browser = access.browsers.issue(credentials.user)
    cookies = {access.cookie_name: (secret, None), access.browser_cookie_name: (browser, BROWSER_KNOWN)}
    for name, (value, age) in cookies.items():
        response.set_cookie(name, value, age, httponly=True, samesite="strict", secure=access.secure, path="/")
    session = access.sessions.find(secret)
    scopes = ROLES[found.user.role if found else "admin"]
    return SessionState(True, True, session.token if session else "", credentials.user or OWNER, sorted(scopes))


@router.delete("/session", tags=["session"], status_code=204)
def sign_out(request: Request, response: Response, access: AccessDependency) -> None:
    """Sign out: the session ends."""
    access.sessions.end(access.session_secret(request.headers))
    response.delete_cookie(access.cookie_name, httponly=True, samesite="strict", secure=access.secure, path="/")
