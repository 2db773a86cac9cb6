"""The system's ``ssh``, with the user's keys and ``~/.ssh/config``: command lines and explanations of errors."""

from __future__ import annotations

from rkface.runtime.core.errors import InputError
from rkface.runtime.core.text import in_a_line, shell_quoted

# For commands that run unattended: ssh never asks a question (BatchMode), so it refuses unknown host keys, and it gives
# up after 60 s without an answer from the board (15 s × 4).
UNATTENDED = ("-o", "BatchMode=yes", "-o", "ServerAliveInterval=15", "-o", "ServerAliveCountMax=4")
CONNECTION_FAILED = 255  # exit code of ssh itself (ssh(1), "EXIT STATUS")
COMMAND_NOT_FOUND = 127  # exit code of the remote shell
NO_MESSAGE = "no message"
MOST_LINE = 1000  # characters of a line of other programs


def ssh_command(host: str, *options: str) -> list[str]:
    """The command line of ssh to ``host`` with these extra ``options``; append the remote command as one argument.

    Raises InputError if ``host`` is empty or would be read as an option of ssh.
    """
    if not host or host.startswith("-") or not host.isprintable() or " " in host:
        raise InputError(f"{host!r} is not a host: give user@board, or a name from ~/.ssh/config")
    return ["ssh", "-o", "ConnectTimeout=15", *options, "--", host]


def explain_ssh_error(host: str, stderr: str) -> str:
    """Why ssh could not connect to ``host``, from its ``stderr``, and what the user can do about it."""
    lines = _lines(stderr)
    name = shell_quoted(host)
    if "Host key verification failed" in stderr or "IDENTIFICATION HAS CHANGED" in stderr:
        return (
            f"the host key is unknown here or has changed: run `ssh {name}` once and compare the fingerprint "
            "with the one that the board shows"
        )
    if "Permission denied" in stderr:
        return (
            f"{lines[-1]}; deploy needs a key that works without a password: `ssh-copy-id {name}`, and ssh-add if "
            "the key has a passphrase"
        )
    return f"the connection failed or was lost: {lines[-1]}; does `ssh {name}` work?"


def most_relevant_line(output: str) -> str:
    """The line of a program's error ``output`` that says most: a full disk, the end of a traceback, else the first."""
    lines = _lines(output)
    disk_full = next((line for line in lines if "No space left" in line), "")
    return disk_full or (lines[-1] if lines[0].startswith("Traceback") else lines[0])


def _lines(output: str) -> list[str]:
    """The lines of ``output`` that say something, for a terminal."""
    return [in_a_line(line.strip()[:MOST_LINE]) for line in output.splitlines() if line.strip()] or [NO_MESSAGE]
