"""Run the commands that doctor or deploy offers, after showing them and asking."""

from __future__ import annotations

import shlex
import subprocess
import sys
from collections.abc import Callable, Sequence

from rkface.runtime.core.errors import WorkError

from .report import FixCommand


def apply_fixes(commands: Sequence[FixCommand], transport: Sequence[str], ask: Callable[[str], str] = input) -> bool:
    """Show ``commands``, ask, and run them: on this machine, or through ``transport`` (an ssh command line).

    Returns False if the user did not agree, or if there is no terminal to ask on; then nothing was changed. Raises
    WorkError if a command fails; the commands after it are not run.
    """
    print("\ncommands to run:")
    for command in commands:
        print(f"  {command}\n      {command.why}")
    if ask is input and not sys.stdin.isatty():
        print("nothing was changed: there is no terminal to ask on")
        return False
    try:
        agreed = ask("run them? [y/N] ").strip().lower() in ("y", "yes")
    except EOFError:
        agreed = False
    if not agreed:
        print("nothing was changed")
        return False
    for command in commands:
        argv = [*transport, shlex.join(command.argv)] if transport else list(command.argv)
        try:
            code = subprocess.run(argv, check=False).returncode
        except OSError as error:
            raise WorkError(f"{argv[0]}: {error.strerror}; run the command yourself: {command}") from error
        if code:
            raise WorkError(f"exit code {code} from: {command}; the commands after it were not run")
    return True
