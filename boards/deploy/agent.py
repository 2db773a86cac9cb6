"""The part of `rkface deploy` that runs on the board. It is sent over ssh and never installed.

Standard library only, syntax of Python 3.8.

Requests are JSON objects, one per line: {"do": NAME, …arguments}. Each is answered by one line: "rkface: " and
{"ok": result} or {"error": text}. An empty line only shows that the workstation is still connected. The connection *is*
the deploy: it holds the lock. When it ends, for any reason, an unfinished release is removed and the lock is released.
Switching to a release and switching back are one request, so they finish on the board even if the connection is lost.

Below /opt/rkface: releases/NAME/{bundle,wheels,venv,requirements.txt,rkface.service,rkface.toml,release.sums,
release.sums.sig,release.json}, a link ``current`` to one of them, and ``lock``. A release without release.json is
unfinished and may be removed.
"""

from __future__ import annotations

import fcntl
import json
import os
import platform
import pwd
import shutil
import signal
import sys
import time
from pathlib import Path
from typing import Any, BinaryIO, Callable, Sequence  # noqa: UP035 (Python 3.8)

from .agent_steps import (
    ANSWER,
    RELEASE_RECORD,
    StepError,
    check_service_command,
    find_pythons,
    read_record,
    remove_release,
    run_or_fail,
    run_selftest,
    service_state,
    write_json,
)
from .current_release import CurrentRelease
from .release_files import check_release

SILENCE_SECONDS = 120  # without a line, the workstation counts as gone; it sends one every 20 s (session.py)
CONFIG = "rkface.toml"
FOLDER_MODE = 0o750  # for folders with photos and embeddings: their owner, and the group of the service


class DeployAgent:
    """One deploy to one board. ``root`` is the folder to use as /."""

    def __init__(self, root: Path) -> None:
        self.root = root
        self.base = (root / "opt/rkface").resolve()  # /opt may be a link to a larger disk
        self.current = CurrentRelease(root, self.base)
        self.lock: Any = None
        self.unfinished: Path | None = None

    # Requests, by their names.

    def describe(self) -> dict[str, Any]:
        """The user and the machine; changes nothing."""
        current = self.current.find()
        return {
            "user": pwd.getpwuid(os.geteuid()).pw_name,
            "machine": platform.machine(),
            "pythons": find_pythons(),
            "rsync": shutil.which("rsync") is not None,
            "current": current.name if current else None,
            "writable": os.access(str(self.base if self.base.is_dir() else self._nearest_folder()), os.W_OK),
        }

    def status(self) -> dict[str, Any]:
        """The current release, its record, and the state of the service; changes nothing, and needs no lock."""
        current = self.current.find()
        return {
            "release": current.name if current else None,
            "record": read_record(current) if current and (current / RELEASE_RECORD).is_file() else {},
            "service": (service_state()[0] or "not active") if self.current.unit.is_file() else "",
        }

    def begin(self, name: str, folders: list[str], size: int, who: str) -> str:
        """Take the lock, remove unfinished releases, and create the release ``name`` with these ``folders``.

        Returns the path of the release. StepError if ``size`` bytes do not fit on the disk.
        """
        self._take_lock(who)
        releases = self.base / "releases"
        releases.mkdir(exist_ok=True)
        for other in releases.iterdir():
            if not (other / RELEASE_RECORD).is_file():
                remove_release(other)
        free = shutil.disk_usage(str(releases)).free
        if free < size:
            raise StepError(
                f"disk full: {free / 1e6:.0f} MB free at {self.base}, this release needs {size / 1e6:.0f} MB: "
                "free some space there (sudo apt clean), or use a larger card"
            )
        release = releases / name
        try:
            release.mkdir(FOLDER_MODE)
        except FileExistsError:
            raise StepError(f"a release {name} already exists: try again in a second") from None
        self.unfinished = release
        for folder in folders:
            (release / folder).mkdir(parents=True, exist_ok=True)
        return str(release)

    def check_signature(self) -> str | None:
        """Who signed the release; None if this board takes any. Before anything of the release is run."""
        return check_release(self._release(), self.root, complete=True)

    def install(self, python: str) -> None:
        """Create the virtual environment from the wheels of the release; pip compares each with its SHA-256.

        If the release has no configuration, it gets that of the current release.
        """
        release, current = self._release(), self.current.find()
        if current and (current / CONFIG).is_file() and not (release / CONFIG).is_file():
            shutil.copy2(str(current / CONFIG), str(release / CONFIG))
        run_or_fail([python, "-m", "venv", "--without-pip", str(release / "venv")], "creating the virtual environment")
        pip = next((release / "wheels").glob("pip-*.whl"), None)
        if pip is None:
            raise StepError("the release has no wheel of pip: deploy again")
        run_or_fail(
            [str(release / "venv/bin/python"), f"{pip}/pip", "install", "--quiet", "--no-index", "--no-deps",
             "--no-cache-dir", "--disable-pip-version-check", "--require-hashes", "--find-links",
             str(release / "wheels"), "--requirement", str(release / "requirements.txt")],
            "installing the wheels",
        )  # fmt: skip

    def verify(self) -> None:
        """Compare the copied bundle with its checksums (`rkface verify`)."""
        release = self._release()
        run_or_fail([str(release / "venv/bin/rkface"), "verify", str(release / "bundle")], "rkface verify")

    def selftest(self, backend: str) -> dict[str, Any]:
        """Run `rkface selftest --json` of the release; its result."""
        return run_selftest(self._release(), backend)

    def activate(self, service: bool, healthy: int, about: dict[str, Any]) -> str | None:
        """Make the release the current one, and restart the service if there is one; switch back if that fails.

        ``service``: install the systemd unit. ``healthy``: seconds that the service must stay up. ``about`` is stored
        in release.json. Returns the name of the previous release.
        """
        release, previous = self._release(), self.current.find()
        signer = check_release(release, self.root, complete=False)  # nothing was changed since it was installed
        if service:
            check_service_command(release)
        record = {**about, "signer": signer, "previous": previous.name if previous else None}
        write_json(release / RELEASE_RECORD, record)
        os.sync()  # after a power cut, ``current`` must not point to a release of empty files
        self.current.switch(release, service, healthy)
        self.unfinished = None
        return previous.name if previous else None

    def rollback(self, backend: str, healthy: int, who: str) -> dict[str, Any]:
        """Return to the release before the current one, if it is signed where it must be, and passes its selftest."""
        self._take_lock(who)
        current = self.current.find()
        name = read_record(current).get("previous") if current else None
        if not current or not name:
            raise StepError("there is no release to return to" + (f" before {current.name}" if current else ""))
        target = self.base / "releases" / str(name)
        if not (target / RELEASE_RECORD).is_file():
            raise StepError(f"the previous release, {name}, no longer exists")
        check_release(target, self.root, complete=False)
        selftest = run_selftest(target, backend)
        self.current.switch(target, False, healthy)
        return {"release": target.name, "from": current.name, "selftest": selftest}

    def prune(self, keep: int) -> list[str]:
        """Remove all releases but the current one and those before it, ``keep`` in all; returns the removed names."""
        kept: list[str] = []
        release = self.current.find()
        while release and len(kept) < keep and (release / RELEASE_RECORD).is_file() and release.name not in kept:
            kept.append(release.name)
            name = read_record(release).get("previous")
            release = self.base / "releases" / str(name) if name else None
        if not kept:
            return []
        old = [one for one in sorted((self.base / "releases").iterdir()) if one.name not in kept]
        for one in old:
            remove_release(one)
        return [one.name for one in old]

    def end(self) -> None:
        """Remove an unfinished release, unless ``current`` points to it. The lock ends with this process."""
        if self.unfinished and self.unfinished != self.current.find():
            remove_release(self.unfinished)
        self.unfinished = None

    # Steps.

    def _nearest_folder(self) -> Path:
        return next(folder for folder in self.base.parents if folder.is_dir())

    def _take_lock(self, who: str) -> None:
        try:
            if not self.base.is_dir():
                self.base.mkdir(mode=FOLDER_MODE, parents=True)
            lock = open(str(self.base / "lock"), "a+")  # noqa: SIM115, PTH123 (held as long as this process lives)
        except OSError as error:
            raise StepError(
                f"{pwd.getpwuid(os.geteuid()).pw_name} may not write to {self.base} ({error.strerror}): prepare the "
                "board once with `rkface deploy --prepare`, which shows its sudo commands and asks first"
            ) from error
        try:
            fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except OSError:
            lock.seek(0)
            raise StepError(
                f"another deploy to this board is running ({lock.read().strip() or 'by an unknown user'}): "
                "wait until it ends"
            ) from None
        lock.truncate(0)
        lock.write(f"{who}, since {time.strftime('%Y-%m-%d %H:%M:%S %Z')}\n")
        lock.flush()
        self.lock = lock

    def _release(self) -> Path:
        if self.unfinished is None:
            raise StepError("no release was begun")
        return self.unfinished


def answer_requests(agent: DeployAgent, requests: BinaryIO, answer: Callable[[str], None]) -> None:
    """Answer requests until they end, or until none has come for ``SILENCE_SECONDS``; then clean up."""

    def on_silence(*_: object) -> None:
        raise EOFError

    signal.signal(signal.SIGALRM, on_silence)
    try:
        while True:
            signal.alarm(SILENCE_SECONDS)
            line = requests.readline()
            signal.alarm(0)
            if not line:
                return
            if not line.strip():
                continue
            request = json.loads(line)
            try:
                reply: dict[str, Any] = {"ok": getattr(agent, request.pop("do"))(**request)}
            except StepError as error:
                reply = {"error": str(error)}
            except OSError as error:
                reply = {"error": f"{error.filename or agent.base}: {error.strerror or error}"}
            answer(json.dumps(reply))
    except (EOFError, BrokenPipeError):
        return
    finally:
        signal.alarm(0)
        agent.end()


def main(arguments: Sequence[str]) -> None:
    """Run the agent on stdin and stdout; the argument is the folder to use as /."""
    os.umask(0o027)
    for hangup in (signal.SIGHUP, signal.SIGTERM):
        signal.signal(hangup, signal.SIG_IGN)  # the end of the requests ends the agent, not a signal of the session
    answer_requests(DeployAgent(Path(arguments[0])), sys.stdin.buffer, lambda text: print(ANSWER + text, flush=True))


if __name__ == "__main__":
    main(sys.argv[1:])
