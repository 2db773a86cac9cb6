"""Make a calibration set from photos: collect.py finds faces, choose.py selects them, dataset.py writes the set."""

from __future__ import annotations

# Rockchip's user guide recommends 20 to 100 images for `normal` and 20 to 50 for `mmse`. INT8 ranges from too few faces
# clip the values of other people, lights and poses, so accuracy drops for everyone who is not in the set.
MINIMUM = 20
COUNT = 100  # the default: the upper end of that recommendation
