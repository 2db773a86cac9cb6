"""The workstation's side of a deploy: an ssh session with the agent on the board."""

from __future__ import annotations

import json
import re
import shlex
import subprocess
import threading
from collections.abc import Sequence
from contextlib import suppress
from types import TracebackType
from typing import Any

from rkface.boards.board_answers import MOST_OUTPUT, OutputReader, check_type, clean_text
from rkface.boards.source_program import build_program
from rkface.boards.ssh import (
    COMMAND_NOT_FOUND,
    CONNECTION_FAILED,
    UNATTENDED,
    explain_ssh_error,
    most_relevant_line,
    ssh_command,
)
from rkface.runtime.core.errors import InputError, WorkError
from rkface.runtime.core.files import parse_json

from .agent_steps import ANSWER

ENTRY = "rkface.boards.deploy.agent"
AGENT_MODULES = (
    "rkface.runtime.core.versions",
    "rkface.boards.deploy.agent_steps",
    "rkface.boards.deploy.current_release",
    "rkface.boards.deploy.release_files",
    ENTRY,
)
# The agent's stdin starts with its program, whose length is an argument; the requests follow.
START = "import sys; exec(compile(sys.stdin.buffer.read(int(sys.argv.pop(1))), 'agent', 'exec'))"
REQUEST_SECONDS = 1800.0  # for one request: pip on a slow card takes minutes
CLOSE_SECONDS = 120.0  # for the agent to clean up
HEARTBEAT_SECONDS = 20  # agent.SILENCE_SECONDS is six times as long


class ConnectionLostError(WorkError):
    """The connection ended before an answer came."""


def check_root(root: str) -> None:
    """Raise InputError unless ``root`` is an absolute path that every shell reads as it is written."""
    if not re.fullmatch(r"/[\w./-]*", root):
        raise InputError(f"--root {root}: give an absolute path of letters, digits, '.', '-' and '_'")


class AgentSession:
    """A connection to one board for one deploy. ``root``: the folder on the board to use as /; ``options`` of ssh."""

    def __init__(self, host: str, root: str = "/", options: Sequence[str] = ()) -> None:
        check_root(root)
        self.host = host
        source = build_program(AGENT_MODULES, ENTRY).encode("ascii")
        command = shlex.join(["python3", "-c", START, str(len(source)), root])
        try:
            self._process = subprocess.Popen(
                [*ssh_command(host, *UNATTENDED, *options), command],
                stdin=subprocess.PIPE,
                stdout=subprocess.PIPE,
                stderr=subprocess.PIPE,
            )
        except FileNotFoundError as error:
            raise WorkError("ssh is not installed here: sudo apt install openssh-client") from error
        assert self._process.stderr is not None
        self._stderr = OutputReader(self._process.stderr, self._process)
        self._write_lock = threading.Lock()
        self._closed = threading.Event()
        self._send(source)
        threading.Thread(target=self._send_heartbeats, daemon=True).start()

    def request(self, do: str, /, **arguments: Any) -> Any:
        """Have the agent do one thing and wait for its answer.

        Raises WorkError with the agent's error, or ConnectionLostError with that of ssh.
        """
        self._send((json.dumps({"do": do, **arguments}) + "\n").encode())
        late = threading.Event()
        alarm = threading.Timer(REQUEST_SECONDS, self._give_up, [late])
        alarm.daemon = True
        alarm.start()
        try:
            line = self._read_answer()
        finally:
            alarm.cancel()
        if late.is_set():
            raise WorkError(f"the board has not answered {do!r} within {REQUEST_SECONDS / 60:g} minutes")
        if line is None:
            raise ConnectionLostError(self._end_reason())
        try:
            reply = check_type(parse_json(line), dict, do)
        except ValueError as error:
            raise WorkError(f"the board answers {do!r} with something else than the agent does ({error})") from error
        if "error" in reply or "ok" not in reply:
            raise WorkError(clean_text(reply.get("error", "an answer without a result")))
        return reply["ok"]

    def _read_answer(self) -> bytes | None:
        """The next answer; None if the connection ended. What the shell on the board prints before it is skipped."""
        assert self._process.stdout is not None
        left = MOST_OUTPUT
        while line := self._process.stdout.readline(left + 1):
            left -= len(line)
            if left < 0:
                self._process.kill()
                raise WorkError(
                    f"the board printed more than {MOST_OUTPUT // 1_000_000} MB: is this the right machine?"
                )
            if line.startswith(ANSWER.encode()):
                return line[len(ANSWER) :]
        return None

    def _give_up(self, late: threading.Event) -> None:
        late.set()
        self._process.kill()

    def close(self) -> None:
        """End the requests, and wait until the agent has cleaned up and released its lock."""
        self._closed.set()
        with suppress(OSError), self._write_lock:
            assert self._process.stdin is not None
            self._process.stdin.close()
        self._wait()
        assert self._process.stdout is not None
        self._process.stdout.close()

    def __enter__(self) -> AgentSession:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()

    def _send(self, text: bytes) -> None:
        with suppress(OSError, ValueError), self._write_lock:  # ``request`` reports the reason if no answer comes
            assert self._process.stdin is not None
            self._process.stdin.write(text)
            self._process.stdin.flush()

    def _send_heartbeats(self) -> None:
        while not self._closed.wait(HEARTBEAT_SECONDS):
            self._send(b"\n")

    def _wait(self) -> int:
        """The exit code of ssh, which is ended if it does not end by itself."""
        try:
            return self._process.wait(CLOSE_SECONDS)
        except subprocess.TimeoutExpired:
            self._process.kill()
            return self._process.wait()

    def _end_reason(self) -> str:
        code = self._wait()
        stderr = self._stderr.text()
        if code == CONNECTION_FAILED:
            return explain_ssh_error(self.host, stderr)
        if code == COMMAND_NOT_FOUND:
            return f"the board has no Python 3 ({most_relevant_line(stderr)}): sudo apt install python3"
        return f"the agent on the board ended (exit code {code}): {most_relevant_line(stderr)}"
