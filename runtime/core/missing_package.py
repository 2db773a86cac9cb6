"""Errors of packages that are not installed, or that are installed and cannot be loaded."""

from __future__ import annotations

from .errors import InputError, RkfaceError, WorkError


def import_error(error: ImportError, needs: str, install: str) -> RkfaceError:
    """The error for a failed import.

    ``needs`` says what needs which package: "MQTT needs paho-mqtt". ``install`` is the command that installs it. A
    package that is there, but whose libraries could not be loaded, is not missing: often the memory is full.
    """
    if isinstance(error, ModuleNotFoundError):
        return InputError(f"{needs}: {install}")
    lines = [line.strip() for line in str(error).splitlines() if line.strip()]
    reason = (lines[0] if lines else "no reason given")[:200]
    return WorkError(
        f"{needs}, which is installed, but cannot be loaded ({reason}): is there enough memory, and is the limit of "
        "this process high enough (ulimit -a)?"
    )
