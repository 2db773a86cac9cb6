"""Deploy's half on the board. It goes there over ssh and is never installed: standard library only, Python 3.8 on.

Requests come as JSON objects, one a line, {"do": NAME, …}; each is answered by a line "rkface: " with {"ok": …} or
{"error": TEXT}. An empty line only says that the workstation is still there. The connection *is* the deploy: it holds
the lock, and when it ends, for whatever reason, an unfinished release is removed and the lock is free. Switching and
returning are one request, so that they come to an end here whether or not anyone still listens.

Below BASE (/opt/rkface): releases/NAME/{bundle,wheels,venv,requirements.txt,rkface.service,rkface.toml,release.json},
current → one of them, lock. A release without release.json is unfinished and nobody's.
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

from .onboard import (
    ANSWER,
    SEAL,
    UNIT,
    StepError,
    check,
    discard,
    last,
    pythons,
    restart,
    run,
    try_as_service,
    withdraw,
    write,
)

SILENCE = 120  # seconds without a line after which the workstation counts as gone; it writes one every 20
CONFIG = "rkface.toml"
MODE = 0o750  # of what holds faces: the owner, and the group that the service belongs to


class Agent:
    """One deploy to one board."""

    def __init__(self, root: Path) -> None:
        self.root = root
        self.base = (root / "opt/rkface").resolve()  # /opt may be a link to a larger disk
        self.lock: Any = None
        self.unfinished: Path | None = None

    # What can be asked, by the name of the request.

    def look(self) -> dict[str, Any]:
        """Who and what this is, before anything is changed."""
        current = self._current()
        return {
            "user": pwd.getpwuid(os.geteuid()).pw_name,
            "machine": platform.machine(),
            "pythons": pythons(),
            "rsync": shutil.which("rsync") is not None,
            "current": current.name if current else None,
            "writable": os.access(str(self.base if self.base.is_dir() else self._nearest()), os.W_OK),
        }

    def begin(self, name: str, folders: list[str], size: int, who: str) -> str:
        """Take the lock, clear away what others left unfinished, make room for ``size`` bytes; the release's folder."""
        self._take_lock(who)
        releases = self.base / "releases"
        releases.mkdir(exist_ok=True)
        for left in releases.iterdir():
            if not (left / SEAL).is_file():
                discard(left)
        free = shutil.disk_usage(str(releases)).free
        if free < size:
            raise StepError(
                f"disk full: {free / 1e6:.0f} MB free at {self.base}, this release takes {size / 1e6:.0f}: "
                "make room there (sudo apt clean), or use a larger card"
            )
        release = releases / name
        try:
            release.mkdir(MODE)
        except FileExistsError:
            raise StepError(f"a release {name} is there already: try again in a second") from None
        self.unfinished = release
        for folder in folders:
            (release / folder).mkdir(parents=True, exist_ok=True)
        return str(release)

    def install(self, python: str) -> None:
        """The virtual environment, out of the wheels that came along; pip compares each with its SHA-256. Where no
        configuration came along, that of the current release goes on."""
        release, current = self._release(), self._current()
        if current and (current / CONFIG).is_file() and not (release / CONFIG).is_file():
            shutil.copy2(str(current / CONFIG), str(release / CONFIG))
        check([python, "-m", "venv", "--without-pip", str(release / "venv")], "the virtual environment")
        pip = next((release / "wheels").glob("pip-*.whl"), None)
        if pip is None:
            raise StepError("the wheels came without pip")
        check(
            [str(release / "venv/bin/python"), f"{pip}/pip", "install", "--quiet", "--no-index", "--no-deps",
             "--no-cache-dir", "--disable-pip-version-check", "--require-hashes", "--find-links",
             str(release / "wheels"), "--requirement", str(release / "requirements.txt")],
            "installing the wheels",
        )  # fmt: skip

    def verify(self) -> None:
        """Is the bundle whole, after its journey?"""
        release = self._release()
        check([str(release / "venv/bin/rkface"), "verify", str(release / "bundle")], "rkface verify")

    def selftest(self, backend: str) -> dict[str, Any]:
        """Does this machine compute with the bundle what was proven? What `rkface selftest --json` says."""
        return self._selftest(self._release(), backend)

    def activate(self, service: bool, healthy: int, about: dict[str, Any]) -> str | None:
        """Make the release the current one; restart the service where there is one. Back again if that fails."""
        release, previous = self._release(), self._current()
        if service:
            self._serviceable(release)
        write(release / SEAL, {**about, "previous": previous.name if previous else None})
        os.sync()  # a card that loses power now must not be left with a current release of empty files
        self._serve(release, previous, service, healthy)
        self.unfinished = None
        return previous.name if previous else None

    def rollback(self, backend: str, healthy: int, who: str) -> dict[str, Any]:
        """Return to the release before the current one, once it has passed its selftest again."""
        self._take_lock(who)
        current = self._current()
        name = self._seal(current).get("previous") if current else None
        if not current or not name:
            raise StepError("there is no release to return to" + (f" before {current.name}" if current else ""))
        target = self.base / "releases" / str(name)
        if not (target / SEAL).is_file():
            raise StepError(f"the release before, {name}, is no longer there")
        tested = self._selftest(target, backend)
        self._serve(target, current, False, healthy)
        return {"release": target.name, "from": current.name, "selftest": tested}

    def prune(self, keep: int) -> list[str]:
        """Remove releases, but the current one and those before it, ``keep`` in all."""
        kept: list[str] = []
        release = self._current()
        while release and len(kept) < keep and (release / SEAL).is_file() and release.name not in kept:
            kept.append(release.name)
            name = self._seal(release).get("previous")
            release = self.base / "releases" / str(name) if name else None
        if not kept:
            return []
        gone = [one for one in sorted((self.base / "releases").iterdir()) if one.name not in kept]
        for one in gone:
            discard(one)
        return [one.name for one in gone]

    def end(self) -> None:
        """Whatever happened: what is unfinished goes, unless it is what ``current`` points at after all, and with this
        process the lock."""
        if self.unfinished and self.unfinished != self._current():
            discard(self.unfinished)
        self.unfinished = None

    # How.

    def _nearest(self) -> Path:
        return next(folder for folder in self.base.parents if folder.is_dir())

    def _take_lock(self, who: str) -> None:
        try:
            if not self.base.is_dir():
                self.base.mkdir(mode=MODE, parents=True)
            lock = open(str(self.base / "lock"), "a+")  # noqa: SIM115, PTH123 (held as long as this process lives)
        except OSError as error:
            raise StepError(
                f"{pwd.getpwuid(os.geteuid()).pw_name} may not write {self.base} ({error.strerror}): prepare the board "
                "once with `rkface deploy --prepare`, which shows what it runs there with sudo and asks first"
            ) from error
        try:
            fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except OSError:
            lock.seek(0)
            raise StepError(
                f"another deploy to this board is under way ({lock.read().strip() or 'nothing says whose'}): "
                "wait for it to end"
            ) from None
        lock.truncate(0)
        lock.write(f"{who}, since {time.strftime('%Y-%m-%d %H:%M:%S %Z')}\n")
        lock.flush()
        self.lock = lock

    def _release(self) -> Path:
        if self.unfinished is None:
            raise StepError("no release was begun")
        return self.unfinished

    def _current(self) -> Path | None:
        link = self.base / "current"
        return link.resolve() if link.exists() else None

    def _seal(self, release: Path) -> dict[str, Any]:
        try:
            found: dict[str, Any] = json.loads((release / SEAL).read_text(encoding="utf-8"))
            return found
        except (OSError, ValueError) as error:
            raise StepError(f"{release / SEAL} cannot be read ({error}): deploy again") from error

    def _selftest(self, release: Path, backend: str) -> dict[str, Any]:
        command = [str(release / "venv/bin/rkface"), "selftest", "--bundle", str(release / "bundle"), "--json"]
        done = run([*command, *(["--backend", backend] if backend else [])])
        try:
            said: dict[str, Any] = json.loads(done.stdout)
        except ValueError:
            said = {}
        if done.returncode:
            problems = said.get("problems") or [last(done)]
            raise StepError(f"the selftest failed: {'; '.join(map(str, problems))}")
        return said

    def _serviceable(self, release: Path) -> None:
        if shutil.which("systemctl") is None:
            raise StepError("--service needs systemd, and there is no systemctl here")
        if run([str(release / "venv/bin/rkface"), "run", "--help"]).returncode:
            raise StepError("this rkface has no `run` command for a service to run: deploy without --service")

    def _serve(self, release: Path, previous: Path | None, service: bool, healthy: int) -> None:
        """Point ``current`` at ``release`` and run the service from there; at ``previous`` again if that fails."""
        unit = self.root / "etc/systemd/system" / UNIT
        there = unit.is_file()
        if service or there:
            try_as_service(release)
        self._switch(release)
        if not service and not there:
            return
        try:
            restart(unit, release / UNIT, healthy)
        except BaseException as error:
            raise StepError(f"{error}; {self._return(unit if there else None, previous, healthy)}") from error
        finally:
            if not there and self._current() != release:
                withdraw(unit)

    def _return(self, unit: Path | None, previous: Path | None, healthy: int) -> str:
        """Take up ``previous`` again, and its service where there was a ``unit``; says what came of it."""
        if previous is None:
            (self.base / "current").unlink()
            return "there was no release before it, so nothing is current"
        self._switch(previous)
        if unit is None:
            return f"{previous.name} is current again"
        try:
            restart(unit, previous / UNIT, healthy)
        except StepError as error:
            return f"{previous.name} is current again, but its service does not start either: {error}"
        return f"{previous.name} serves again"

    def _switch(self, release: Path) -> None:
        """``current`` is always there, and always whole: a new link is renamed over the old one (rename(2))."""
        new = self.base / f".current.{os.getpid()}"
        if new.is_symlink():
            new.unlink()
        new.symlink_to(Path("releases") / release.name)
        os.replace(str(new), str(self.base / "current"))  # noqa: PTH105
        os.sync()


def serve(agent: Agent, requests: BinaryIO, answer: Callable[[str], None]) -> None:
    """Answer requests until there are no more."""

    def silent(*_: object) -> None:
        raise EOFError

    signal.signal(signal.SIGALRM, silent)
    try:
        while True:
            signal.alarm(SILENCE)
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
    os.umask(0o027)
    for hangup in (signal.SIGHUP, signal.SIGTERM):
        signal.signal(hangup, signal.SIG_IGN)  # an end comes as the end of the requests
    serve(Agent(Path(arguments[0])), sys.stdin.buffer, lambda text: print(ANSWER + text, flush=True))


if __name__ == "__main__":
    main(sys.argv[1:])
