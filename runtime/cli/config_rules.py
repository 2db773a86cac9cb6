"""What ``rkface config check`` says about the rules for alerts. Imports nothing heavy at first."""

from __future__ import annotations

from contextlib import ExitStack
from dataclasses import asdict, dataclass
from typing import TYPE_CHECKING, Any

from ..core.errors import InputError, RkfaceError
from ..core.text import counted

if TYPE_CHECKING:
    from ..alerts.rule import Rule
    from ..gallery.gallery import Gallery
    from ..service.alert_rules import RuleTrial
    from ..service.appearance_log import AppearanceLog
    from ..service.settings import Settings


@dataclass(frozen=True)
class ExplainedRule:
    """A rule in words, what may be wrong with it, and what it would have sent (None: that was not asked)."""

    name: str
    enabled: bool
    words: str
    notes: tuple[str, ...]
    trial: RuleTrial | None

    def as_json(self) -> dict[str, Any]:
        """The fields of ``--json``."""
        trial = self.trial and {name: value for name, value in asdict(self.trial).items() if name != "words"}
        return {"name": self.name, "enabled": self.enabled, "words": self.words, "notes": self.notes, "dry_run": trial}

    def lines(self) -> list[str]:
        """The lines for people."""
        lines = [f"rule {self.name}: {self.words}", *(f"rule {self.name}: note: {note}" for note in self.notes)]
        if self.trial:
            quiet = f"; {self.trial.quiet} more were in the cool-down" if self.trial.quiet else ""
            among = f"among {counted(self.trial.appearances, 'appearance')}"
            fired = f"would have sent {counted(self.trial.alerts, 'alert')}"
            lines.append(f"rule {self.name}: in the last {self.trial.days:g} days, it {fired} {among}{quiet}")
        return lines


def explain_rules(settings: Settings, days: float | None) -> list[ExplainedRule]:
    """The rules of ``settings`` and of its console. ``days``: also try them on so many of the last days. Raises
    RkfaceError if that is impossible."""
    from ..service.alert_rules import explain, find_doubts, try_rule
    from ..service.live_settings import load_changes

    current = load_changes(settings).current
    with ExitStack() as opened:
        gallery = _open_gallery(current, opened, required=days is not None)
        log = _open_log(current, opened) if gallery and days is not None else None

        def explained(name: str, rule: Rule) -> ExplainedRule:
            trial = try_rule(rule, gallery, log, days) if gallery and log and days is not None else None
            notes = tuple(find_doubts(rule, current, gallery))
            return ExplainedRule(name, rule.enabled, explain(rule, gallery), notes, trial)

        return [explained(name, rule) for name, rule in current.rules.items()]


def _open_gallery(settings: Settings, opened: ExitStack, *, required: bool) -> Gallery | None:
    """The gallery, which names people and groups. A configuration can be checked without it."""
    from ..gallery.gallery import Gallery

    try:
        return opened.enter_context(Gallery(settings.gallery))
    except RkfaceError:
        if required:
            raise
        return None


def _open_log(settings: Settings, opened: ExitStack) -> AppearanceLog:
    from ..service.appearance_log import AppearanceLog
    from ..service.log_files import log_path

    path = log_path(settings.gallery)
    if not path.exists():
        raise InputError(f"{path}: no appearances are logged yet, so rules cannot be tried: `rkface run` logs them")
    return opened.enter_context(AppearanceLog(path))
