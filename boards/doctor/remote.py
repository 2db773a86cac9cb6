"""Doctor on another machine: its source goes to Python on that machine over stdin, and the report comes back as JSON.

Nothing has to be installed there and nothing is left behind. ``DOCTOR_MODULES`` lists all modules that are sent; each
uses the standard library only, and syntax of Python 3.8.
"""

from __future__ import annotations

import shlex
import subprocess
from collections.abc import Sequence

from rkface.boards.board_answers import clean_report, clean_text, run_limited
from rkface.boards.source_program import build_program
from rkface.boards.ssh import COMMAND_NOT_FOUND, CONNECTION_FAILED
from rkface.runtime.core.errors import WorkError
from rkface.runtime.core.files import parse_json
from rkface.runtime.core.manifest import Manifest
from rkface.runtime.core.text import shell_quoted

from .checks_software import BundleNeeds
from .report import DoctorReport, report_from_json

ENTRY = "rkface.boards.doctor.run_checks"
DOCTOR_MODULES = (
    "rkface.runtime.core.versions",
    "rkface.runtime.core.installed",
    "rkface.runtime.core.npu_binding",
    "rkface.runtime.core.soc",
    "rkface.runtime.core.device_access",
    "rkface.runtime.core.ffmpeg",
    "rkface.boards.doctor.v4l2",
    "rkface.boards.doctor.report",
    "rkface.boards.doctor.probe",
    "rkface.boards.doctor.checks_nodes",
    "rkface.boards.doctor.checks_npu",
    "rkface.boards.doctor.checks_software",
    "rkface.boards.doctor.checks_cameras",
    "rkface.boards.doctor.checks_machine",
    ENTRY,
)
SECONDS = 300  # time for the user to type a passphrase

# The Python of the deployed release can import rknnlite; before the first deploy, use the system's Python ($0).
DEPLOYED_PYTHON = "/opt/rkface/current/venv/bin/python3"
START = f'p={DEPLOYED_PYTHON}; [ -x "$p" ] || p=$0; exec "$p" - "$@"'


def bundle_needs(manifest: Manifest) -> BundleNeeds:
    """What the bundle with this manifest needs from a board."""
    return BundleNeeds(manifest.target, manifest.toolkit, manifest.librknnrt.oldest)


def doctor_program() -> str:
    """Doctor as one Python program, to be read from stdin."""
    return build_program(DOCTOR_MODULES, ENTRY)


def run_checks_over(
    transport: Sequence[str], needs: BundleNeeds | None = None, name: str = "the board", python: str = "python3"
) -> DoctorReport:
    """Check the machine behind ``transport``: a command that runs its last argument in a shell there, as ssh does.

    ``python`` is the interpreter to use there until a release with its own Python is deployed. Raises WorkError if the
    machine cannot be reached, has no Python 3, or does not answer with a report.
    """
    needs = needs or BundleNeeds()
    arguments = ["--target", needs.target, "--toolkit", needs.toolkit, "--oldest", needs.oldest] if needs.target else []
    command = " ".join(map(shlex.quote, ["sh", "-c", START, python, *arguments]))
    try:
        done = run_limited([*transport, command], doctor_program().encode(), SECONDS)
    except FileNotFoundError as error:
        raise WorkError(f"{transport[0]} is not installed here: sudo apt install openssh-client") from error
    except subprocess.TimeoutExpired as error:
        raise WorkError(f"{name} did not answer within {SECONDS} s: is it busy, or is the network slow?") from error
    last_line = clean_text((done.stderr.strip().splitlines() or ["no message"])[-1])
    if done.code == CONNECTION_FAILED:
        raise WorkError(f"{name} cannot be reached: {last_line}; does `ssh {shell_quoted(name)}` work?")
    if done.code == COMMAND_NOT_FOUND:
        raise WorkError(f"{name} has no Python 3 ({last_line}): run `sudo apt install python3` on it")
    try:
        return clean_report(report_from_json(parse_json(done.stdout)))
    except (ValueError, AttributeError, TypeError) as error:
        raise WorkError(f"{name}: doctor failed there (exit code {done.code}): {last_line}") from error
