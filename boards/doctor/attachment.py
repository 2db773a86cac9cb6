"""``rkface doctor --report``: one file with all that a maintainer needs to know about a board, and no secrets.

It has doctor's checks, the versions, what the kernel logged about the NPU, and with a bundle the selftest and the
latencies of `rkface bench`. It has no photo, embedding, address, host name or setting; names of users are replaced.
"""

from __future__ import annotations

import json
import re
from dataclasses import replace
from pathlib import Path

from rkface.runtime.core.addresses import mask_secrets
from rkface.runtime.core.atomic import write_atomically
from rkface.runtime.core.errors import InputError

from .report import DoctorReport, render_report

WIDTH = 110  # columns of doctor's text in the file
# Users that images come with: their names say nothing about a person, and some are parts of the names of boards.
USUAL_USERS = ("root", "radxa", "rock", "orangepi", "ubuntu", "debian", "pi", "khadas", "firefly", "linaro", "rkface")
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
    if not path.parent.is_dir() or path.is_dir():
        raise InputError(f"--report {path}: there is no folder {path.parent}, or this is a folder: choose another name")


def write_attachment(path: Path, report: DoctorReport, bench: str) -> None:
    """Write the file. ``bench`` is what was measured, in Markdown, or why nothing was."""
    write_atomically(path, render_attachment(report, bench).encode(), mode=0o666)


def render_attachment(report: DoctorReport, bench: str) -> str:
    """The file in Markdown. ``bench`` is what was measured, in Markdown, or why nothing was."""
    from importlib.metadata import version

    facts = {name: " ".join(value.split()) for name, value in report.facts.items()}
    rows = [f"| {title} | {facts.get(name) or 'unknown'} |" for title, name in ROWS]
    shown = {name: value for name, value in report.facts.items() if name not in ("user", "driver_log")}
    document = "\n".join(
        [
            f"# Report of a board, by rkface {version('rkface')}",
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
            _block(render_report(report, width=WIDTH, color=False)),
            "",
            "## What the kernel logged about the NPU",
            "",
            _block(report.facts.get("driver_log") or "nothing, or only root may read it (sudo rkface doctor --report)"),
            "",
            "## For programs",
            "",
            _block(
                json.dumps(json.loads(replace(report, facts=shown, fixes=()).to_json()), ensure_ascii=False), "json"
            ),
            "",
        ]
    )
    return hide_names(document, report.facts.get("user", ""))


def hide_names(text: str, user: str) -> str:
    """``text`` without secrets of addresses, home folders, and the name of ``user`` unless images come with it."""
    text = re.sub(r"/(home|Users)/[^/\s\"'`]+", "~", mask_secrets(text))
    return text if user in ("", *USUAL_USERS) else re.sub(rf"(?<!\w){re.escape(user)}(?!\w)", "USER", text)


def _block(text: str, language: str = "") -> str:
    return f"```{language}\n{text}\n```"
