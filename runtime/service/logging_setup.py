"""What the service says of itself, on stderr. Events are told elsewhere: no name, embedding or picture is logged."""

from __future__ import annotations

import json
import logging
import os
import sys
import time
from collections.abc import Mapping
from typing import Literal, TextIO

Form = Literal["text", "json", "journal"]
# sd-daemon(3): the journal takes the level from the line's beginning, and the time and the process it knows itself.
JOURNAL = {logging.DEBUG: 7, logging.INFO: 6, logging.WARNING: 4, logging.ERROR: 3, logging.CRITICAL: 2}


class Lines(logging.Formatter):
    """One line a record, whatever it holds."""

    def __init__(self, form: Form) -> None:
        super().__init__()
        self._form = form

    def format(self, record: logging.LogRecord) -> str:
        text = record.getMessage()
        if record.exc_info:
            text += "\n" + self.formatException(record.exc_info)
        part = record.name.removeprefix("rkface.")
        if self._form == "json":
            said = {"time": record.created, "level": record.levelname.lower(), "part": part, "message": text}
            return json.dumps(said, ensure_ascii=False)
        text = text.replace("\n", "\\n")
        if self._form == "journal":
            return f"<{JOURNAL.get(record.levelno, 6)}>{part}: {text}"
        moment = time.strftime("%Y-%m-%d %H:%M:%S", time.localtime(record.created))
        return f"{moment} {record.levelname.lower():7} {part}: {text}"


def start_logs(form: Form | None = None, stream: TextIO | None = None) -> logging.Handler:
    """Log what rkface says from level info on. ``form`` of None is "journal" below systemd and "text" elsewhere."""
    handler = logging.StreamHandler(sys.stderr if stream is None else stream)
    handler.setFormatter(Lines(form or ("journal" if under_journal() else "text")))
    logger = logging.getLogger("rkface")
    logger.addHandler(handler)
    logger.setLevel(logging.INFO)
    logger.propagate = False
    return handler


def under_journal(environment: Mapping[str, str] = os.environ) -> bool:
    """Whether stderr goes to systemd's journal (JOURNAL_STREAM in systemd.exec(5))."""
    try:
        about = os.fstat(2)
    except OSError:
        return False
    return environment.get("JOURNAL_STREAM") == f"{about.st_dev}:{about.st_ino}"
