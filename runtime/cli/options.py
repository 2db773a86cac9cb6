"""What commands share: the default bundle."""

from __future__ import annotations

BUNDLE = "build/rk3588"
