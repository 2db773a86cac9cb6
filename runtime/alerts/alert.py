"""An alert: an appearance to which a rule applies. docs/events.md has its JSON."""

from __future__ import annotations

import hashlib
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from ..events.event import ALERT_SCHEMA, add_digest
from ..tracking.appearance import Appearance

VERSION = 1


@dataclass(frozen=True)
class Alert:
    """A rule applies to an appearance, for the first time in this appearance.

    rule        name of the rule
    receivers   names of the receivers that get the alert, as ``Delivery.name``
    appearance  the stage at which the rule applied first
    """

    rule: str
    receivers: tuple[str, ...]
    appearance: Appearance

    @property
    def id(self) -> str:
        """32 hexadecimal digits: the same for each alert of this rule about this appearance."""
        return hashlib.sha256(f"{self.rule}\0{self.appearance.id}".encode(errors="surrogateescape")).hexdigest()[:32]

    def as_event(self, picture: Mapping[str, Any] | None = None) -> dict[str, Any]:
        """Return the alert as an event, ready for JSON, with the appearance as its own event has it. ``picture``: what
        this receiver gets to see of it; None for nothing."""
        return {
            "schema": ALERT_SCHEMA,
            "version": VERSION,
            "id": self.id,
            "rule": self.rule,
            "appearance": add_digest(self.appearance.as_event()),
            "picture": picture,
        }
