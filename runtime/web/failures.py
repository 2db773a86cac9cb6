"""What a client hears, and what the log says, when a request fails. No client gets an error 500 or a traceback."""

from __future__ import annotations

import logging
import sqlite3
import threading
import time
import traceback
from collections import OrderedDict
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path
from typing import Any

from fastapi import FastAPI, Request, Response
from fastapi.exceptions import RequestValidationError
from starlette.exceptions import HTTPException as StarletteHTTPException
from starlette.requests import ClientDisconnect
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from ..core.errors import InputError, RkfaceError
from ..service.states import SettingsError
from .access import SECURITY_HEADERS
from .places import RETRY_AFTER
from .wire import problem

REPEAT = 60.0  # seconds after which the log may say the same again
REMEMBERED = 200  # different lines of the log
# The machine has no memory, no file descriptor or no thread left: another time, the same request may be answered.
RESOURCES = (OSError, MemoryError, sqlite3.OperationalError)

log = logging.getLogger("rkface.web")


class RareLog:
    """Logs each text at most once per ``REPEAT`` seconds, however often clients cause it. Any thread may use it."""

    def __init__(self, clock: Callable[[], float] = time.monotonic) -> None:
        self._clock, self._lock = clock, threading.Lock()
        self._said: OrderedDict[str, tuple[float, int]] = OrderedDict()  # when, and how often it was left out since

    def warn(self, text: str) -> None:
        now = self._clock()
        with self._lock:
            said, left_out = self._said.pop(text, (now - REPEAT, 0))
            due = now - said >= REPEAT
            self._said[text] = (now, 0) if due else (said, left_out + 1)
            while len(self._said) > REMEMBERED:
                self._said.popitem(last=False)
        if due:
            log.warning("%s%s", text, f" ({left_out} more times since the last message)" if left_out else "")


class ServerLog(logging.Handler):
    """Passes on what the web server logs, on one line, without a traceback, and not again and again."""

    def __init__(self, rare: RareLog) -> None:
        super().__init__(logging.WARNING)
        self._rare = rare

    def emit(self, record: logging.LogRecord) -> None:
        error = record.exc_info[1] if record.exc_info else None
        text = record.getMessage().strip()
        self._rare.warn(f"{text}: {describe(error)}" if error else text)


class FailureMiddleware:
    """Answers 503 if ``app`` raises anything. The log gets a line, and with --verbose the traceback."""

    def __init__(self, app: ASGIApp, rare: RareLog) -> None:
        self._app, self._rare = app, rare

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        started = False

        async def sending(message: Message) -> None:
            nonlocal started
            started = True
            await send(message)

        try:
            await self._app(scope, receive, sending)
        except ClientDisconnect:
            pass
        except Exception as error:
            self._rare.warn(f"{scope.get('method', 'WebSocket')} {scope['path'][:200]!r} failed: {describe(error)}")
            log.debug("the traceback", exc_info=error)
            with suppress(Exception):  # the client may be gone, or has the start of another answer
                await _answer_failure(scope, receive, send, error, started)


async def _answer_failure(scope: Scope, receive: Receive, send: Send, error: Exception, started: bool) -> None:
    if scope["type"] == "websocket":
        await send({"type": "websocket.close", "code": 1011, "reason": "failed"})
    elif not started:
        scarce = isinstance(error, RESOURCES)
        detail = "the machine is out of a resource: try again later" if scarce else "this failed: see the service's log"
        headers = {"retry-after": str(RETRY_AFTER)} if scarce else {}
        await problem(503, detail, headers | SECURITY_HEADERS)(scope, receive, send)


def describe(error: BaseException) -> str:
    """The kind of the error and where it arose. Its text only if it cannot contain what a client sent."""
    frames = traceback.extract_tb(error.__traceback__)
    place = f" at {Path(frames[-1].filename).name}:{frames[-1].lineno}" if frames else ""
    reason = f" ({error.strerror})" if isinstance(error, OSError) and error.strerror else ""
    return f"{type(error).__name__}{reason}{place}"


def _plainly(error: dict[str, Any]) -> str:
    """What is wrong, in words of JSON instead of Python."""
    if error["type"] == "json_invalid":
        return f"the body is not valid JSON: {error['ctx']['error']}"
    return str(error["msg"]).replace("Tuple should", "List should").replace("valid tuple", "valid list")


def add_error_handlers(app: FastAPI) -> None:
    """Answers for the errors that clients cause, with a message in ``detail``."""

    @app.exception_handler(RkfaceError)
    def refuse_rkface_error(_: Request, error: RkfaceError) -> Response:
        return problem(400 if isinstance(error, InputError) else 503, str(error))

    @app.exception_handler(SettingsError)
    def refuse_settings(_: Request, error: SettingsError) -> Response:
        errors = [
            {"type": "value_error", "loc": ("body", key), "msg": text.removeprefix(f"{key} ")}
            for key, text in error.problems.items()
        ]
        return problem(400, str(error), errors=errors)

    @app.exception_handler(RequestValidationError)
    def refuse_invalid_request(_: Request, error: RequestValidationError) -> Response:
        errors = [{"type": one["type"], "loc": one["loc"], "msg": _plainly(one)} for one in error.errors()]
        detail = "; ".join(f"{'.'.join(map(str, one['loc'][1:])) or one['loc'][0]}: {one['msg']}" for one in errors)
        return problem(422, detail, errors=errors)

    @app.exception_handler(StarletteHTTPException)
    def refuse_http_exception(_: Request, error: StarletteHTTPException) -> Response:
        more = error.detail if isinstance(error.detail, dict) else {"detail": error.detail}
        return problem(error.status_code, headers=error.headers, **more)
