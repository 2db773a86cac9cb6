"""A board that is deployed to."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True)
class TargetBoard:
    """A board: its ``name`` in reports, and its ``host`` for ssh.

    groups   of its inventory
    options  of ssh, which this board needs
    problem  why it cannot be deployed to, although its inventory names it; "" if it can
    """

    name: str
    host: str
    groups: tuple[str, ...] = ()
    options: tuple[str, ...] = ()
    problem: str = ""
