"""``/v1/session``: sign in and out."""

from __future__ import annotations

from fastapi import APIRouter, HTTPException, Request, Response

from ..core.errors import WorkError
from .dependencies import BUSY, UNAUTHORIZED, AccessDependency, WorkloadDependency
from .schemas import Credentials, SessionState

BROWSER_KNOWN = 365 * 24 * 3600  # seconds after which a browser forgets that it has signed in

router = APIRouter(prefix="/v1", responses=UNAUTHORIZED)


@router.get("/session", tags=["session"])
def get_session(request: Request, access: AccessDependency) -> SessionState:
    """Whether this client is signed in, and the token of its session."""
    token = access.change_token(request.headers)
    return SessionState(token is not None, access.password is not None, token or "")


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
    client = access.signing_in(request.headers, request.client.host if request.client else "")
    wait = attempts.begin(client)
    if wait:
        seconds = str(int(wait) + 1)
        raise HTTPException(429, f"too many attempts; wait {seconds} s", {"retry-after": seconds})
    try:
        right = await workload.guesses.run(lambda: password.matches(credentials.password), attempts.suspicion(client))
    except (HTTPException, WorkError):
        attempts.withdraw(client)
        raise
    if not right:
        raise HTTPException(403, "wrong password")
    attempts.succeed(client)
    access.sessions.end(access.session_secret(request.headers))
    secret = access.sessions.start()
    session = access.sessions.find(secret)
    cookies = {access.cookie_name: (secret, None), access.browser_cookie_name: (access.browsers.issue(), BROWSER_KNOWN)}
    for name, (value, age) in cookies.items():
        response.set_cookie(name, value, age, httponly=True, samesite="strict", secure=access.secure, path="/")
    return SessionState(True, True, session.token if session else "")


@router.delete("/session", tags=["session"], status_code=204)
def sign_out(request: Request, response: Response, access: AccessDependency) -> None:
    """Sign out: the session ends."""
    access.sessions.end(access.session_secret(request.headers))
    response.delete_cookie(access.cookie_name, httponly=True, samesite="strict", secure=access.secure, path="/")
