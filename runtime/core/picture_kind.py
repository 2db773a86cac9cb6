"""Which picture goes with an alert."""

from __future__ import annotations

from typing import Literal

# "frame" is the whole picture, with all other faces blurred.
PictureKind = Literal["none", "face", "frame"]
