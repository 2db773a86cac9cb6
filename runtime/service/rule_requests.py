"""The console's requests about rules for alerts: list them, change them, and try one on past appearances."""

from __future__ import annotations

from logging import getLogger

from ..alerts.rule import Rule
from ..gallery.gallery import Gallery
from . import alert_rules
from .alert_history import AlertHistory
from .alert_rules import RuleState, RuleTrial
from .appearance_log import AppearanceLog
from .current_settings import CurrentSettings
from .receiver_trial import send_test_message, testable_receivers

log = getLogger("rkface.service")


class RuleRequests:
    """The methods may be called from any thread."""

    def __init__(self, current: CurrentSettings, gallery: Gallery, appearances: AppearanceLog) -> None:
        self._current, self._gallery, self._log = current, gallery, appearances

    def list_rules(self) -> list[RuleState]:
        """Return the rules for alerts, by name, those that are switched off too."""
        live = self._current.live
        sent = AlertHistory(self._log).counts()
        return alert_rules.list_rules(live.current, live.configured.rules, live.rules, self._gallery, sent)

    def change(self, name: str, rule: Rule | None) -> None:
        """Make or change a rule for alerts, now and for the next start; None: back to that of the configuration, or
        delete it if the configuration has none. Raises InputError, and changes nothing, if it cannot be used."""
        self._current.change(lambda live: live.with_rule(name, rule))
        log.info("rule %s: changed", name)

    def testable_receivers(self) -> list[str]:
        """Names of the receivers that can get a test message."""
        return testable_receivers(self._current.settings)

    def send_test_message(self, receiver: str) -> None:
        """As ``send_test_message`` of ``receiver_trial.py``, with the settings that are in effect."""
        send_test_message(self._current.settings, receiver)
        log.info("receiver %s: a test message was sent", receiver)

    def try_rule(self, rule: Rule, days: float) -> RuleTrial:
        """Return what ``rule`` would have sent for the appearances of the last ``days``."""
        return alert_rules.try_rule(rule, self._gallery, self._log, days)
