"""The workstation's side of a deploy: an ssh session with the agent on the board."""

from __future__ import annotations

import json
import re
import shlex
import subprocess
import tempfile
import threading
from contextlib import suppress
from types import TracebackType
from typing import Any

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

from .agent_steps import ANSWER

ENTRY = "rkface.boards.deploy.agent"
AGENT_MODULES = ("rkface.runtime.core.versions", "rkface.boards.deploy.agent_steps", ENTRY)
# The agent's stdin starts with its program, whose length is an argument; the requests follow.
START = "import sys; exec(compile(sys.stdin.buffer.read(int(sys.argv.pop(1))), 'agent', 'exec'))"
HEARTBEAT_SECONDS = 20  # agent.SILENCE_SECONDS is six times as long


class ConnectionLostError(WorkError):
    """The connection ended before an answer came."""


def check_root(root: str) -> None:
    """Raise InputError unless ``root`` is an absolute path that every shell reads as it is written."""
    if not re.fullmatch(r"/[\w./-]*", root):
        raise InputError(f"--root {root}: give an absolute path of letters, digits, '.', '-' and '_'")


class AgentSession:
    """A connection to one board for one deploy. ``root``: the folder on the board to use as /."""

    def __init__(self, host: str, root: str = "/") -> None:
        check_root(root)
        self.host = host
        source = build_program(AGENT_MODULES, ENTRY).encode("ascii")
        command = shlex.join(["python3", "-c", START, str(len(source)), root])
        self._stderr = tempfile.TemporaryFile()  # noqa: SIM115 (closed with the session)
        try:
            self._process = subprocess.Popen(
                [*ssh_command(host, *UNATTENDED), command],
                stdin=subprocess.PIPE,
                stdout=subprocess.PIPE,
                stderr=self._stderr,
            )
        except FileNotFoundError as error:
            raise WorkError("ssh is not installed here: sudo apt install openssh-client") from error
        self._write_lock = threading.Lock()
        self._closed = threading.Event()
        self._send(source)
        threading.Thread(target=self._send_heartbeats, daemon=True).start()

    def request(self, do: str, /, **arguments: Any) -> Any:
        """Have the agent do one thing and wait for its answer.

        Raises WorkError with the agent's error, or ConnectionLostError with that of ssh.
        """
        self._send((json.dumps({"do": do, **arguments}) + "\n").encode())
        assert self._process.stdout is not None
        for line in self._process.stdout:
            text = line.decode(errors="replace")
            if text.startswith(ANSWER):
                reply: dict[str, Any] = json.loads(text[len(ANSWER) :])
                if "error" in reply:
                    raise WorkError(str(reply["error"]))
                return reply["ok"]
        raise ConnectionLostError(self._end_reason())

    def close(self) -> None:
        """End the requests, and wait until the agent has cleaned up and released its lock."""
        self._closed.set()
        with suppress(OSError), self._write_lock:
            assert self._process.stdin is not None
            self._process.stdin.close()
        self._process.wait()
        assert self._process.stdout is not None
        self._process.stdout.close()
        self._stderr.close()

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

    def _end_reason(self) -> str:
        code = self._process.wait()
        self._stderr.seek(0)
        stderr = self._stderr.read().decode(errors="replace")
        if code == CONNECTION_FAILED:
            return explain_ssh_error(self.host, stderr)
        if code == COMMAND_NOT_FOUND:
            return f"the board has no Python 3 ({most_relevant_line(stderr)}): sudo apt install python3"
        return f"the agent on the board ended (exit code {code}): {most_relevant_line(stderr)}"
