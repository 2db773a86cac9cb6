"""The turns of a picture that lies on its side or upside down."""

from __future__ import annotations

from typing import Literal

Turn = Literal[0, 90, 180, 270]  # degrees, clockwise
TURNS: tuple[Turn, ...] = (0, 90, 180, 270)
