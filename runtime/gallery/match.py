"""Whom the gallery found for a face."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True)
class Match:
    """Who the gallery says it is. ``person`` stays the same for life, ``name`` may change."""

    person: str
    name: str
    cosine: float
