"""The release that a board runs: finds it, switches to another one, and back if that does not run.

This file is sent to boards with the agent (agent.py): standard library only, syntax of Python 3.8.
"""

from __future__ import annotations

import os
from pathlib import Path

from .agent_steps import UNIT, StepError, check_service_user, remove_service, restart_service


class CurrentRelease:
    """The link ``current`` in ``base``, which points to one of the releases there. ``root`` is the folder to use as /,
    with the unit of the service."""

    def __init__(self, root: Path, base: Path) -> None:
        self.base = base
        self.unit = root / "etc/systemd/system" / UNIT

    def find(self) -> Path | None:
        """The current release, or None."""
        link = self.base / "current"
        return link.resolve() if link.exists() else None

    def switch(self, release: Path, service: bool, healthy: int) -> None:
        """Point ``current`` to ``release`` and restart the service if there is one; point it to the release before
        again if that fails, which raises StepError. ``service``: install the unit of the release. ``healthy``: seconds
        that the service must stay up."""
        previous, installed = self.find(), self.unit.is_file()
        if service or installed:
            check_service_user(release)
        self._point_to(release)
        if not service and not installed:
            return
        try:
            restart_service(self.unit, release / UNIT, healthy)
        except BaseException as error:
            outcome = self._switch_back(previous, installed, healthy)
            raise StepError(f"{error}; {outcome}") from error
        finally:
            if not installed and self.find() != release:
                remove_service(self.unit)

    def _switch_back(self, previous: Path | None, installed: bool, healthy: int) -> str:
        """Make ``previous`` current again, and restart its service if it was ``installed``; the outcome as text."""
        if previous is None:
            (self.base / "current").unlink()
            return "there was no release before it, so no release is current"
        self._point_to(previous)
        if not installed:
            return f"{previous.name} is current again"
        try:
            restart_service(self.unit, previous / UNIT, healthy)
        except StepError as error:
            return f"{previous.name} is current again, but its service does not start either: {error}"
        return f"{previous.name} is running again"

    def _point_to(self, release: Path) -> None:
        """Point ``current`` to ``release``, atomically: a new link is renamed over the old one (rename(2))."""
        new = self.base / f".current.{os.getpid()}"
        if new.is_symlink():
            new.unlink()
        new.symlink_to(Path("releases") / release.name)
        os.replace(str(new), str(self.base / "current"))  # noqa: PTH105
        os.sync()
