"""``rkface doctor --report``: one file with all that a maintainer needs to know about a board, and no secrets.

It has doctor's checks, the versions, what the kernel logged about the NPU, and with a bundle the selftest and the
latencies of `rkface bench`. It has no photo, embedding, address, host name or setting; names of users are replaced.
"""

from __future__ import annotations

import contextlib
import getpass
import os
import re
import tempfile
from collections.abc import Collection
from dataclasses import replace
from pathlib import Path

from rkface.runtime.core.addresses import mask_secrets
from rkface.runtime.core.atomic import write_atomically
from rkface.runtime.core.errors import InputError
from rkface.runtime.core.installed import package_version
from rkface.runtime.core.paths import require_folder

from .report import DoctorReport, render_report

WIDTH = 110  # columns of doctor's text in the file
# Users that images come with: their names say nothing about a person, and some are parts of the names of boards.
USUAL_USERS = ("root", "radxa", "rock", "orangepi", "ubuntu", "debian", "pi", "khadas", "firefly", "linaro", "rkface")
AS_ROOT = "Doctor ran as root, who may use every device: it did not check the permissions of other users."
ROWS = (
    ("board", "model"),
    ("device tree", "compatible"),
    ("system", "system"),
    ("kernel", "kernel"),
    ("NPU driver", "driver"),
    ("librknnrt", "librknnrt_version"),
    ("rknn-toolkit-lite2", "rknnlite"),
    ("Python", "python"),
)


def check_place(path: Path) -> None:
    """Raise InputError if the file cannot be written at ``path``: before minutes of work, not after."""
    require_folder(path, f"--report {path}")
    if path.is_dir():
        raise InputError(f"--report {path} is a folder: name a new file in it")
    try:
        tempfile.TemporaryFile(dir=path.parent).close()
    except OSError as error:
        raise InputError(
            f"--report {path}: nothing can be written to the folder {path.parent.absolute()} ({error.strerror}): "
            "choose another one"
        ) from error


def write_attachment(path: Path, report: DoctorReport, bench: str) -> None:
    """Write the file. ``bench`` is what was measured, in Markdown, or why nothing was."""
    write_atomically(path, render_attachment(report, bench).encode(), mode=0o666)


def render_attachment(report: DoctorReport, bench: str) -> str:
    """The file in Markdown. ``bench`` is what was measured, in Markdown, or why nothing was."""
    as_root = report.facts.get("user") == "root"
    users = {report.facts.get("user", ""), *local_users()}
    report, bench = hide_in_report(report, users), hide_names(bench, users)
    facts = {name: " ".join(value.split()) for name, value in report.facts.items()}
    rows = [f"| {title} | {facts.get(name) or 'unknown'} |" for title, name in ROWS]
    shown = {name: value for name, value in report.facts.items() if name not in ("user", "driver_log")}
    return "\n".join(
        [
            f"# Report of a board, by rkface {package_version(('rkface',)) or 'of unknown version'}",
            "",
            "| | |",
            "|---|---|",
            *rows,
            "",
            "## Selftest and speed",
            "",
            bench.strip(),
            "",
            "## rkface doctor",
            "",
            *([AS_ROOT, ""] if as_root else []),
            _block(render_report(report, width=WIDTH, color=False)),
            "",
            "## What the kernel logged about the NPU",
            "",
            _block(report.facts.get("driver_log") or "nothing, or only root may read it: run doctor with sudo"),
            "",
            "## For programs",
            "",
            _block(replace(report, facts=shown, fixes=()).to_json(), "json"),
            "",
        ]
    )


def local_users() -> set[str]:
    """The names of this machine's user: the one that runs the program, and with sudo also the one that logged in."""
    names = {os.environ.get("SUDO_USER", "")}
    for get in (getpass.getuser, os.getlogin):
        with contextlib.suppress(OSError, KeyError, ImportError):  # no terminal, or a user without a name
            names.add(get())
    return names


def hide_in_report(report: DoctorReport, users: Collection[str]) -> DoctorReport:
    """``report`` with ``hide_names`` of each text. An address in one text must not hide others, as it may in a document
    with all of them, and wrapping would split names at their hyphens."""
    return replace(
        report,
        checks=tuple(
            replace(one, found=hide_names(one.found, users), fix=hide_names(one.fix, users)) for one in report.checks
        ),
        facts={name: hide_names(value, users) for name, value in report.facts.items()},
    )


def hide_names(text: str, users: Collection[str]) -> str:
    """``text`` without secrets of addresses, home folders, and the names of ``users`` unless images come with them."""
    text = re.sub(r"/(home|Users)/[^/\s\"'`]+", "~", mask_secrets(text))
    for user in sorted({*users} - {"", *USUAL_USERS}, key=len, reverse=True):  # a name may be a part of another one
        text = re.sub(rf"(?<!\w){re.escape(user)}(?!\w)", "USER", text)
    return text


def _block(text: str, language: str = "") -> str:
    return f"```{language}\n{text}\n```"
