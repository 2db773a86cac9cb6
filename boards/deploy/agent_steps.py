"""The steps of the agent on the board (agent.py): commands, Python interpreters, releases, the systemd service.

This file is sent to boards with the agent: standard library only, syntax of Python 3.8.
"""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import time
from contextlib import suppress
from pathlib import Path
from typing import Any, Sequence  # noqa: UP035 (Python 3.8)

from rkface.runtime.core.versions import PYTHON_NEWEST, PYTHON_OLDEST, PYTHONS

COMMAND_SECONDS = 1800  # pip needs minutes on a slow card, but never half an hour
UNIT = "rkface.service"
ACCOUNT = "rkface"  # User= of the unit
ANSWER = "rkface: "  # starts each answer of the agent; other output comes from login scripts
RELEASE_RECORD = "release.json"  # marks a release as finished
REMOVE_ATTEMPTS = 50  # 0.1 s apart


class StepError(Exception):
    """A step failed. The text says which, and what to do."""


def as_root(command: Sequence[str]) -> list[str]:
    """``command`` with sudo if needed; with -n, because no user is there to type a password."""
    return [*([] if os.geteuid() == 0 else ["sudo", "-n"]), *command]


def find_pythons() -> list[tuple[str, str]]:
    """(path, version) of the installed Pythons that a release can run on, the system's own first."""
    found = []
    search_path = os.pathsep.join([os.environ.get("PATH", os.defpath), str(Path.home() / ".local/bin")])
    for name in ("python3", *("python" + version for version in PYTHONS)):
        path = shutil.which(name, path=search_path)
        answer = run_command([path, "-c", "import platform, venv; print(platform.python_version())"]) if path else None
        if path and answer and answer.returncode == 0:
            version = answer.stdout.strip()
            if PYTHON_OLDEST <= tuple(map(int, version.split(".")[:2])) <= PYTHON_NEWEST:
                # Resolve links: the service's user may not enter ~/.local/bin, but may read what the link points to.
                found.append((os.path.realpath(path), version))
    return found


def run_command(command: Sequence[str]) -> subprocess.CompletedProcess[str]:
    """Run ``command`` without the settings of pip and Python in our environment; exit code 127 if it cannot start."""
    environment = {key: value for key, value in os.environ.items() if not key.startswith(("PIP_", "PYTHON"))}
    environment.update(PIP_CONFIG_FILE=os.devnull, LC_ALL="C.UTF-8", PYTHONUTF8="1")
    try:
        return subprocess.run(
            command,
            check=False,
            capture_output=True,
            stdin=subprocess.DEVNULL,
            text=True,
            errors="replace",
            timeout=COMMAND_SECONDS,
            env=environment,
        )
    except (OSError, subprocess.TimeoutExpired) as error:
        return subprocess.CompletedProcess(command, 127, "", str(error))


def run_or_fail(command: Sequence[str], what: str) -> None:
    """Run ``command``; StepError that names ``what`` if it fails."""
    done = run_command(command)
    if done.returncode:
        raise StepError(f"{what} failed (exit code {done.returncode}): {error_line(done)}")


def error_line(done: subprocess.CompletedProcess[str]) -> str:
    """The last line of a command's output that reports an error, or its last line."""
    lines = [line.strip() for line in (done.stdout + "\n" + done.stderr).splitlines() if line.strip()]
    errors = [line for line in lines if "error" in line.lower() or line.startswith("rkface: ")]
    return (errors or lines or ["no message"])[-1]


def write_json(path: Path, value: dict[str, Any]) -> None:
    """Write ``value`` by atomic replace."""
    new = path.with_name(f".{path.name}")
    new.write_text(json.dumps(value, indent=2) + "\n", encoding="utf-8")
    os.replace(str(new), str(path))  # noqa: PTH105


def read_record(release: Path) -> dict[str, Any]:
    """What release.json says of a ``release``. StepError if it cannot be read."""
    try:
        record: dict[str, Any] = json.loads((release / RELEASE_RECORD).read_text(encoding="utf-8"))
        return record
    except (OSError, ValueError) as error:
        raise StepError(f"{release / RELEASE_RECORD} cannot be read ({error}): deploy again") from error


def run_selftest(release: Path, backend: str) -> dict[str, Any]:
    """Run `rkface selftest --json` of a ``release``; its result. StepError if it fails."""
    command = [str(release / "venv/bin/rkface"), "selftest", "--bundle", str(release / "bundle"), "--json"]
    done = run_command([*command, *(["--backend", backend] if backend else [])])
    try:
        result: dict[str, Any] = json.loads(done.stdout)
    except ValueError:
        result = {}
    if done.returncode:
        problems = result.get("problems") or [error_line(done)]
        raise StepError(f"the selftest failed: {'; '.join(map(str, problems))}")
    return result


def remove_release(release: Path) -> None:
    """Remove a release; its record first, so that a partly removed release counts as unfinished.

    A copy that lost its connection may still be writing into it, so one attempt may not be enough.
    """
    with suppress(OSError):
        (release / RELEASE_RECORD).unlink()
    for _ in range(REMOVE_ATTEMPTS):
        shutil.rmtree(str(release), ignore_errors=True)
        if not release.exists():
            return
        time.sleep(0.1)


def check_service_command(release: Path) -> None:
    """StepError if ``release`` or this board cannot have a service."""
    if shutil.which("systemctl") is None:
        raise StepError("--service needs systemd, but there is no systemctl on this board")
    if run_command([str(release / "venv/bin/rkface"), "run", "--help"]).returncode:
        raise StepError("this rkface has no command `rkface run` for a service: deploy without --service")


def check_service_user(release: Path) -> None:
    """Run rkface of ``release`` as the service's user; StepError with a fix if that user may not.

    Without this check, systemd would fail after the switch, and only report exit code 203 or 217.
    """
    if run_command(["getent", "passwd", ACCOUNT]).returncode:
        raise StepError(f"the service needs a user {ACCOUNT}, which does not exist: deploy once with --prepare")
    as_service, program = as_root(["runuser", "-u", ACCOUNT, "--"]), release / "venv/bin/rkface"
    done = run_command([*as_service, str(program), "--version"])
    if not done.returncode:
        return
    reason, python = error_line(done), (release / "venv/bin/python").resolve()
    if done.stderr.startswith(("sudo: ", "Sorry, user ")):
        raise StepError(
            f"{reason}: for a service, deploy must run runuser, install and systemctl as root without a password"
        )
    if run_command([*as_service, str(python), "-c", ""]).returncode:
        raise StepError(
            f"the service's user {ACCOUNT} may not execute {python}, the Python of this release ({reason}): install a "
            "Python that all users may execute: `sudo apt install python3`, or "
            "`UV_PYTHON_INSTALL_DIR=/opt/python uv python install 3.11`"
        )
    raise StepError(
        f"the service's user {ACCOUNT} cannot run {program} ({reason}): deploy once with --prepare, which "
        "gives it the right to read"
    )


def restart_service(unit: Path, source: Path, healthy: int) -> None:
    """Install the unit file ``source`` as ``unit`` and restart the service.

    StepError if it does not stay up for ``healthy`` seconds.
    """
    run_or_fail(as_root(["install", "-D", "-m", "644", str(source), str(unit)]), "installing the unit")
    for words in (["daemon-reload"], ["enable", "--quiet", UNIT], ["restart", UNIT]):
        run_or_fail(as_root(["systemctl", *words]), f"systemctl {words[0]}")
    _, restarts_before = service_state()  # systemd does not reset its count if the previous release kept crashing
    for _ in range(healthy):
        time.sleep(1)
        active, restarts = service_state()
        if not active or restarts != restarts_before:
            restarted = "" if restarts == restarts_before else ", restarted by systemd"
            raise StepError(f"the service did not stay up ({active or 'not active'}{restarted}): journalctl -u {UNIT}")


def service_state() -> tuple[str, str]:
    """ "active" or an empty string, and how often systemd has restarted the service."""
    words = run_command(["systemctl", "show", "--property=ActiveState,NRestarts", UNIT]).stdout.split()
    properties = dict(word.partition("=")[::2] for word in words)
    return "active" if properties.get("ActiveState") == "active" else "", properties.get("NRestarts", "")


def remove_service(unit: Path) -> None:
    """Stop the service and remove its unit file; errors are ignored."""
    run_command(as_root(["systemctl", "disable", "--now", UNIT]))
    run_command(as_root(["rm", "-f", str(unit)]))
