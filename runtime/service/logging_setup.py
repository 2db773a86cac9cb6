"""The service's log, on stderr. It never contains a name, an embedding or a picture; events do not pass through it."""

from __future__ import annotations

import json
import logging
import os
import sys
import time
from collections.abc import Mapping
from typing import Literal, TextIO

from ..core.addresses import mask_secrets
from ..core.text import in_lines

Form = Literal["text", "json", "journal"]
# sd-daemon(3): the journal reads the level from the start of the line. It knows the time and the process by itself.
JOURNAL = {logging.DEBUG: 7, logging.INFO: 6, logging.WARNING: 4, logging.ERROR: 3, logging.CRITICAL: 2}


class OneLineFormatter(logging.Formatter):
    """Writes each record on one line, even one with line breaks or a traceback, without secrets of addresses, and
    without characters that a terminal would execute."""

    def __init__(self, form: Form) -> None:
        super().__init__()
        self._form = form

    def format(self, record: logging.LogRecord) -> str:
        text = record.getMessage()
        if record.exc_info:
            text += "\n" + self.formatException(record.exc_info)
        text = in_lines(mask_secrets(text))
        part = record.name.removeprefix("rkface.")
        if self._form == "json":
            line = {"time": record.created, "level": record.levelname.lower(), "part": part, "message": text}
            return json.dumps(line, ensure_ascii=False)
        text = text.replace("\n", "\\n")
        if self._form == "journal":
            return f"<{JOURNAL.get(record.levelno, 6)}>{part}: {text}"
        moment = time.strftime("%Y-%m-%d %H:%M:%S", time.localtime(record.created))
        return f"{moment} {record.levelname.lower():7} {part}: {text}"


def start_logs(form: Form | None = None, stream: TextIO | None = None) -> logging.Handler:
    """Log the records of rkface of level INFO and above to ``stream`` (stderr by default), and return the handler.

    The default of ``form`` is "journal" if stderr goes to systemd's journal, and "text" otherwise.
    """
    handler = logging.StreamHandler(sys.stderr if stream is None else stream)
    handler.setFormatter(OneLineFormatter(form or ("journal" if under_journal() else "text")))
    logger = logging.getLogger("rkface")
    logger.addHandler(handler)
    logger.setLevel(logging.INFO)
    logger.propagate = False
    return handler


def under_journal(environment: Mapping[str, str] = os.environ) -> bool:
    """Return whether stderr goes to systemd's journal (JOURNAL_STREAM in systemd.exec(5))."""
    try:
        status = os.fstat(2)
    except OSError:
        return False
    return environment.get("JOURNAL_STREAM") == f"{status.st_dev}:{status.st_ino}"
