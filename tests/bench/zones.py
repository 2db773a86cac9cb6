"""What zones, masks and the minimum size of faces cost a frame: `python tests/bench/zones.py`."""

from __future__ import annotations

import timeit

import numpy as np

from rkface.runtime.core.faces import Faces
from rkface.runtime.tracking.zones import EVERYWHERE, WatchedArea

WIDTH, HEIGHT, COUNT = 1920, 1080, 5
CORNERS = 8


def polygon(x: float, y: float) -> list[list[float]]:
    angles = np.linspace(0, 2 * np.pi, CORNERS, endpoint=False)
    return [[x + 0.2 * float(np.cos(one)), y + 0.2 * float(np.sin(one))] for one in angles]


def main() -> None:
    random = np.random.default_rng(0)
    corners = random.uniform(0, 900, (COUNT, 2)).astype(np.float32)
    boxes = np.concatenate([corners, corners + 100], axis=1)
    faces = Faces(boxes, np.ones(COUNT, np.float32), np.zeros((COUNT, 5, 2), np.float32))
    areas = {
        "nothing": EVERYWHERE,
        "1 zone": WatchedArea({"a": polygon(0.5, 0.5)}),
        "1 zone, 1 mask, min_face": WatchedArea({"a": polygon(0.5, 0.5)}, [polygon(0.3, 0.3)], 0.05),
        "4 zones, 4 masks, min_face": WatchedArea(
            {str(n): polygon(0.2 + n / 10, 0.5) for n in range(4)}, [polygon(0.2 + n / 10, 0.3) for n in range(4)], 0.05
        ),
    }
    for name, area in areas.items():

        def frame(area: WatchedArea = area) -> None:
            area.counted(faces, WIDTH, HEIGHT)
            area.zones_of(boxes, WIDTH, HEIGHT)

        best = min(timeit.repeat(frame, number=200, repeat=7)) / 200
        print(f"{name:28} {1e3 * best:.3f} ms a frame with {COUNT} faces")


if __name__ == "__main__":
    main()
