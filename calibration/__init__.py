"""Photos in, calibration set out: collect.py → choose.py → dataset.py."""

from __future__ import annotations

# Rockchip's user guide recommends 20 to 100 images for `normal` and 20 to 50 for `mmse`. Ranges read off a handful of
# faces cut off whatever those few people, lights and poses did not show, and accuracy falls on everyone else unseen.
MINIMUM = 20
COUNT = 100  # what is taken when nobody asks otherwise: the guide's upper end
