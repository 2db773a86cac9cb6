"""What a board answers is checked before it becomes a path, an argument or a line on the terminal: it may be anything.

A board is reached over a network, and may have been taken over, or be another machine than the user thinks.
"""

from __future__ import annotations

import re
import subprocess
import threading
from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import IO, Any

from rkface.boards.doctor.report import VERDICTS, CheckResult, DoctorReport, FixCommand
from rkface.runtime.core.errors import WorkError
from rkface.runtime.core.text import in_lines, show_value

MOST_TEXT = 2000  # characters of one text of a board that is shown
MOST_LOG = 8000  # characters of the kernel's log that are shown: 20 lines of a board have 2000, and may have more
MOST_OUTPUT = 4_000_000  # bytes that a command on a board may print
MOST_CHECKS = 100  # of a report of doctor

USER = r"[A-Za-z0-9_][\w.$-]{0,63}"
MACHINE = r"[a-z0-9][a-z0-9_]{0,19}"  # as `uname -m` prints it
PYTHON = r"3\.\d{1,2}(\.\d{1,3})?\S{0,8}"
PATH = r"/[\w.+/-]{1,300}"
RELEASE = r"[A-Za-z0-9][\w.-]{0,99}"


@dataclass(frozen=True)
class BoardFacts:
    """The answer to ``describe``. ``pythons``: paths and versions; ``current``: the current release, or None."""

    user: str
    machine: str
    pythons: tuple[tuple[str, str], ...]
    rsync: bool
    current: str | None
    writable: bool


@dataclass(frozen=True)
class BoardOutput:
    """What a command on a board printed, and its exit code."""

    code: int
    stdout: str
    stderr: str


def parse_facts(answer: Any) -> BoardFacts:
    """Raises WorkError if ``answer`` is not what the agent answers to ``describe``."""
    found = check_type(answer, dict, "the description of the board")
    pythons = check_type(found.get("pythons"), list, "its Pythons")
    pairs = [check_type(pair, list, "a Python") for pair in pythons[:20]]
    if any(len(pair) != 2 for pair in pairs):
        raise wrong_answer("its Pythons", pythons)
    current = found.get("current")
    return BoardFacts(
        user=check_word(found.get("user"), USER, "its user"),
        machine=check_word(found.get("machine"), MACHINE, "its processor"),
        pythons=tuple((check_path(path), check_word(number, PYTHON, "a version")) for path, number in pairs),
        rsync=check_type(found.get("rsync"), bool, "whether it has rsync"),
        current=None if current is None else check_word(current, RELEASE, "its release"),
        writable=check_type(found.get("writable"), bool, "whether the folder can be written"),
    )


def check_word(value: Any, pattern: str, what: str) -> str:
    """``value`` if it is text that matches all of ``pattern``. Raises WorkError, which calls it ``what``."""
    if not isinstance(value, str) or re.fullmatch(pattern, value, re.ASCII) is None or ".." in value:
        raise wrong_answer(what, value)
    return value


def check_path(value: Any, end: str = "") -> str:
    """``value`` if it is an absolute path of plain characters that ends in ``end``. Raises WorkError."""
    path = check_word(value, PATH, "a path")
    if not path.endswith(end):
        raise wrong_answer("a path", value)
    return path


def check_type(value: Any, kind: type, what: str) -> Any:
    """``value`` if it is a ``kind``. Raises WorkError, which calls it ``what``."""
    if type(value) is not kind:
        raise wrong_answer(what, value)
    return value


def wrong_answer(what: str, value: Any) -> WorkError:
    return WorkError(f"the board answers with {show_value(value)} for {what}: is this the right machine?")


def clean_text(text: Any, most: int = MOST_TEXT) -> str:
    """A text of a board for the terminal: nothing in it is executed, and it is not longer than ``most``."""
    shown = in_lines(str(text)[: most + 1])
    return shown if len(shown) <= most else f"{shown[:most]}…"


def clean_report(report: DoctorReport) -> DoctorReport:
    """``report`` with texts that can be shown. Raises ValueError if it is not a report."""
    checks = report.checks[:MOST_CHECKS]
    if any(check.verdict not in VERDICTS for check in checks) or not isinstance(report.facts, dict):
        raise ValueError("this is not a report of rkface doctor")
    facts = {
        clean_text(key, 40): in_lines(str(value)[-MOST_LOG:]) if key == "driver_log" else clean_text(value)
        for key, value in list(report.facts.items())[:MOST_CHECKS]
    }
    return replace(
        report,
        checks=tuple(
            CheckResult(clean_text(one.name, 40), one.verdict, clean_text(one.found), clean_text(one.fix))
            for one in checks
        ),
        facts={"compatible": "", **facts},
        fixes=tuple(
            FixCommand(clean_text(one.why), tuple(map(clean_text, one.argv))) for one in report.fixes[:MOST_CHECKS]
        ),
    )


def run_limited(command: Sequence[str], given: bytes, seconds: float) -> BoardOutput:
    """Run ``command`` with ``given`` as its input. Raises subprocess.TimeoutExpired if it takes longer than
    ``seconds``, and WorkError if it prints more than ``MOST_OUTPUT`` bytes; then it was killed."""
    with subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=subprocess.PIPE) as process:
        readers = [OutputReader(stream, process) for stream in (process.stdout, process.stderr) if stream]
        writer = threading.Thread(target=_write, args=(process.stdin, given), daemon=True)
        writer.start()
        try:
            code = process.wait(seconds)
        except BaseException:
            process.kill()
            raise
        texts = [reader.text() for reader in readers]
        writer.join()
    if any(reader.overflowed for reader in readers):
        raise WorkError(f"the board printed more than {MOST_OUTPUT // 1_000_000} MB: is this the right machine?")
    return BoardOutput(code, *texts)


class OutputReader:
    """Reads what ``process`` prints to ``stream``, in a thread. More than ``MOST_OUTPUT`` bytes kill the process."""

    def __init__(self, stream: IO[bytes], process: subprocess.Popen[bytes]) -> None:
        self.overflowed = False
        self._stream, self._process = stream, process
        self._read = bytearray()
        self._thread = threading.Thread(target=self._read_all, daemon=True)
        self._thread.start()

    def text(self) -> str:
        """All that was printed, when the process has ended."""
        self._thread.join()
        return bytes(self._read).decode(errors="replace")

    def _read_all(self) -> None:
        while chunk := self._stream.read1(65_536):  # type: ignore[attr-defined] # a BufferedReader
            self._read += chunk
            if len(self._read) > MOST_OUTPUT:
                self.overflowed = True
                self._process.kill()
                return


def _write(pipe: IO[bytes] | None, given: bytes) -> None:
    assert pipe is not None
    try:
        pipe.write(given)
        pipe.close()
    except OSError:  # the command has ended; its exit code says why
        pass
