"""The workstation's end of a deploy: an ssh session with the agent on the board."""

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

from rkface.runtime.core.errors import InputError, WorkError

from .onboard import ANSWER
from .remote import program, ssh
from .transfer import OPTIONS, cause

AGENT = ("boards/onboard.py", "boards/agent.py")
# The program comes first on the agent's standard input, its length as an argument; the requests follow.
START = "import sys; exec(compile(sys.stdin.buffer.read(int(sys.argv.pop(1))), 'agent', 'exec'))"
BEAT_SECONDS = 20  # agent.SILENCE is six of them
UNREACHED = 255  # ssh's own exit code for a connection that it could not make or hold


class LostError(WorkError):
    """No answer came, and none will."""


class Session:
    """One board, for as long as one deploy takes. ``root``: a folder there to take for /."""

    def __init__(self, host: str, root: str = "/") -> None:
        if not re.fullmatch(r"/[\w./-]*", root):
            raise InputError(f"--root {root}: give an absolute path of letters, digits, '.', '-' and '_'")
        self.host = host
        source = program(AGENT, "agent").encode("ascii")
        command = shlex.join(["python3", "-c", START, str(len(source)), root])
        self._said = tempfile.TemporaryFile()  # noqa: SIM115 (closed with the session)
        try:
            self._process = subprocess.Popen(
                [*ssh(host, *OPTIONS), command], stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=self._said
            )
        except FileNotFoundError as error:
            raise WorkError("ssh is not installed here: sudo apt install openssh-client") from error
        self._writing = threading.Lock()
        self._closed = threading.Event()
        self._send(source)
        threading.Thread(target=self._beat, daemon=True).start()

    def ask(self, do: str, /, **arguments: Any) -> Any:
        """Have the agent do one thing, and wait for it. WorkError with the agent's words, LostError with ssh's."""
        self._send((json.dumps({"do": do, **arguments}) + "\n").encode())
        assert self._process.stdout is not None
        for line in self._process.stdout:
            text = line.decode(errors="replace")
            if text.startswith(ANSWER):
                reply: dict[str, Any] = json.loads(text[len(ANSWER) :])
                if "error" in reply:
                    raise WorkError(str(reply["error"]))
                return reply["ok"]
        raise LostError(self._why())

    def close(self) -> None:
        """The agent sees the end of its requests, clears up and lets the lock go; that much is waited for."""
        self._closed.set()
        with suppress(OSError), self._writing:
            assert self._process.stdin is not None
            self._process.stdin.close()
        self._process.wait()
        assert self._process.stdout is not None
        self._process.stdout.close()
        self._said.close()

    def __enter__(self) -> Session:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()

    def _send(self, text: bytes) -> None:
        with suppress(OSError, ValueError), self._writing:  # why it broke is known when the answer fails to come
            assert self._process.stdin is not None
            self._process.stdin.write(text)
            self._process.stdin.flush()

    def _beat(self) -> None:
        while not self._closed.wait(BEAT_SECONDS):
            self._send(b"\n")

    def _why(self) -> str:
        code = self._process.wait()
        self._said.seek(0)
        said = self._said.read().decode(errors="replace")
        if code == UNREACHED:
            return unreachable(self.host, said)
        if code == 127:
            return f"no Python 3 there ({cause(said)}): sudo apt install python3"
        return f"the agent ended (exit code {code}): {cause(said)}"


def unreachable(host: str, said: str) -> str:
    """ssh's refusal, with what to do about it."""
    lines = [line.strip() for line in said.splitlines() if line.strip()] or ["no message"]
    if "Host key verification failed" in said or "IDENTIFICATION HAS CHANGED" in said:
        return (
            f"its host key is not known here, or not this one: run `ssh {host}` once and compare the fingerprint "
            "with the one that the board shows"
        )
    if "Permission denied" in said:
        return f"{lines[-1]}; deploy needs a key that asks nothing: `ssh-copy-id {host}`, and ssh-add for a passphrase"
    return f"the connection failed or was lost: {lines[-1]}; does `ssh {host}` work?"
