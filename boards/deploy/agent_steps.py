"""What deploy's half on the board (agent.py) is made of: commands, Pythons, the service's unit. Sent with it."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import time
from contextlib import suppress
from pathlib import Path
from typing import Any, Sequence  # noqa: UP035 (Python 3.8)

COMMAND_SECONDS = 1800  # pip on a slow card takes minutes, never this
OLDEST, NEWEST = (3, 10), (3, 12)  # CPython that rkface needs and rknn-toolkit-lite2 has wheels for
PYTHONS = ("python3", "python3.11", "python3.12", "python3.10")
UNIT = "rkface.service"
ACCOUNT = "rkface"  # the unit's User=
ANSWER = "rkface: "  # before each of the agent's answers; what else comes is a login script's
SEAL = "release.json"  # makes a release whole; without it a folder is nobody's
ATTEMPTS = 50  # to remove a folder, a tenth of a second apart


class StepError(Exception):
    """A step failed; the text says what, and what to do."""


def as_root(command: Sequence[str]) -> list[str]:
    """With sudo where needed: -n, because nobody is there to type a password."""
    return [*([] if os.geteuid() == 0 else ["sudo", "-n"]), *command]


def pythons() -> list[tuple[str, str]]:
    """(path, version) of the Pythons here that a release can run on, the system's own first."""
    found = []
    where = os.pathsep.join([os.environ.get("PATH", os.defpath), str(Path.home() / ".local/bin")])
    for name in PYTHONS:
        path = shutil.which(name, path=where)
        answer = run([path, "-c", "import platform, venv; print(platform.python_version())"]) if path else None
        if path and answer and answer.returncode == 0:
            number = answer.stdout.strip()
            if OLDEST <= tuple(map(int, number.split(".")[:2])) <= NEWEST:
                # Without links: ~/.local/bin, which may lead to where all may read, is closed to the service itself.
                found.append((os.path.realpath(path), number))
    return found


def run(command: Sequence[str]) -> subprocess.CompletedProcess[str]:
    """What a command answers. It inherits no settings of pip or Python, and no signal that was meant for us."""
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


def check(command: Sequence[str], what: str) -> None:
    done = run(command)
    if done.returncode:
        raise StepError(f"{what} failed (exit code {done.returncode}): {last(done)}")


def last(done: subprocess.CompletedProcess[str]) -> str:
    lines = [line.strip() for line in (done.stdout + "\n" + done.stderr).splitlines() if line.strip()]
    errors = [line for line in lines if "error" in line.lower() or line.startswith("rkface: ")]
    return (errors or lines or ["no message"])[-1]


def write(path: Path, value: dict[str, Any]) -> None:
    """Whole or not at all."""
    new = path.with_name(f".{path.name}")
    new.write_text(json.dumps(value, indent=2) + "\n", encoding="utf-8")
    os.replace(str(new), str(path))  # noqa: PTH105


def discard(release: Path) -> None:
    """Remove a release; its seal first, so that one half removed is nobody's. A copy that lost its connection may still
    be writing what had arrived: then more than one attempt is needed."""
    with suppress(OSError):
        (release / SEAL).unlink()
    for _ in range(ATTEMPTS):
        shutil.rmtree(str(release), ignore_errors=True)
        if not release.exists():
            return
        time.sleep(0.1)


def try_as_service(release: Path) -> None:
    """Run ``release`` as the service's user. What that user may not execute, systemd would tell by exit code 203 or 217
    alone, and only after the switch. StepError with the remedy."""
    if run(["getent", "passwd", ACCOUNT]).returncode:
        raise StepError(f"there is no user {ACCOUNT} for the service to run as: deploy once with --prepare")
    user, program = as_root(["runuser", "-u", ACCOUNT, "--"]), release / "venv/bin/rkface"
    done = run([*user, str(program), "--version"])
    if not done.returncode:
        return
    why, python = last(done), (release / "venv/bin/python").resolve()
    if done.stderr.startswith(("sudo: ", "Sorry, user ")):
        raise StepError(f"{why}: a service takes runuser, install and systemctl as root without a question")
    if run([*user, str(python), "-c", ""]).returncode:
        raise StepError(
            f"the service's user {ACCOUNT} may not execute {python}, this release's Python ({why}): install one that "
            "all may, by `sudo apt install python3`, or by `UV_PYTHON_INSTALL_DIR=/opt/python uv python install 3.11`"
        )
    raise StepError(
        f"the service's user {ACCOUNT} cannot run {program} ({why}): deploy once with --prepare, which "
        "gives it the right to read"
    )


def restart(unit: Path, source: Path, healthy: int) -> None:
    """Install the unit ``source`` as ``unit``, start it anew, and see it stay up for ``healthy`` seconds."""
    check(as_root(["install", "-D", "-m", "644", str(source), str(unit)]), "installing the unit")
    for words in (["daemon-reload"], ["enable", "--quiet", UNIT], ["restart", UNIT]):
        check(as_root(["systemctl", *words]), f"systemctl {words[0]}")
    _, begun = _state()  # systemd goes on counting where the release before crashed again and again
    for _ in range(healthy):
        time.sleep(1)
        active, restarts = _state()
        if not active or restarts != begun:
            again = "" if restarts == begun else ", restarted meanwhile"
            raise StepError(f"the service did not stay up ({active or 'not active'}{again}): journalctl -u {UNIT}")


def _state() -> tuple[str, str]:
    """Of the service: "active" or nothing, and how often systemd started it again."""
    words = run(["systemctl", "show", "--property=ActiveState,NRestarts", UNIT]).stdout.split()
    said = dict(word.partition("=")[::2] for word in words)
    return "active" if said.get("ActiveState") == "active" else "", said.get("NRestarts", "")


def withdraw(unit: Path) -> None:
    """Stop the service and take its unit away, as far as that goes."""
    run(as_root(["systemctl", "disable", "--now", UNIT]))
    run(as_root(["rm", "-f", str(unit)]))
