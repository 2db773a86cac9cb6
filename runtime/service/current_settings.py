"""The settings of a running service: those of the configuration, with what the console has changed."""

from __future__ import annotations

import threading
from collections.abc import Callable

from . import live_settings
from .live_settings import LiveSettings
from .problems import Problems
from .settings import Settings

PART = "settings"  # of the problems


class CurrentSettings:
    """The settings that are in effect. Thread-safe. ``problems`` gets those of the file with the changes."""

    def __init__(self, configured: Settings, problems: Problems) -> None:
        self._problems = problems
        self._changing = threading.Lock()
        self._live = live_settings.load_changes(configured)
        self._settings = self._live.current

    @property
    def live(self) -> LiveSettings:
        """The settings, with where each comes from."""
        return self._live

    @property
    def settings(self) -> Settings:
        """The settings that are in effect."""
        return self._settings

    def start(self) -> None:
        """Report what the file with the changes says, and what in it cannot be used."""
        with self._problems.of(PART):
            live_settings.take_over_old_file(self._live)
        if self._live.problems:
            self._problems.note(PART, "; ".join(self._live.problems))
        live_settings.log_sources(self._live)

    def change(self, make: Callable[[LiveSettings], LiveSettings]) -> Settings:
        """Change the settings, now and for the next start, to what ``make`` returns for the current ones. Return those
        from before. Raises what ``make`` raises, and WorkError if the file cannot be written; then nothing changes."""
        with self._changing:
            live, before = make(self._live), self._settings
            live_settings.save_changes(live)
            self._problems.clear(PART)
            self._live, self._settings = live, live.current
        return before

    def change_at_once(self, make: Callable[[LiveSettings], LiveSettings]) -> None:
        """As ``change``; but if the file cannot be written, the settings change all the same, and that is a problem."""
        with self._changing:
            self._live = make(self._live)
            self._settings = self._live.current
            with self._problems.of(PART):
                live_settings.save_changes(self._live)
