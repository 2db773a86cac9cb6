"""The appearance of a synthetic person in one image: everything that differs between images of the same person."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

COVERS = ("none", "sunglasses", "scarf", "hand")


@dataclass(frozen=True)
class FaceLook:
    """One appearance. Angles are in radians.

    smile               -0.5..1
    mouth_open          0..1
    gaze                -1..1
    eyes                0..1: how far the lids are open
    light               unit vector towards the light (x right, y down, z towards the camera)
    contrast            strength of the light
    cloth, cover_color  BGR in 0..255
    """

    yaw: float
    pitch: float
    roll: float
    smile: float
    mouth_open: float
    eyes: float
    gaze: float
    brows: float
    light: tuple[float, float, float]
    contrast: float
    cloth: tuple[float, float, float]
    cover: str
    cover_color: tuple[float, float, float]


def random_look(random: np.random.Generator, covered: float = 0.1) -> FaceLook:
    """A random look. In a share ``covered`` of them, something covers a part of the face."""
    degrees = np.pi / 180
    light = np.array([random.normal(0, 0.55), random.normal(-0.35, 0.3), 1.0])
    light /= np.linalg.norm(light)
    cover = COVERS[random.integers(1, len(COVERS))] if random.uniform() < covered else "none"
    return FaceLook(
        yaw=float(np.clip(random.normal(0, 12), -28, 28)) * degrees,
        pitch=float(np.clip(random.normal(0, 8), -18, 18)) * degrees,
        roll=float(np.clip(random.normal(0, 12), -30, 30)) * degrees,
        smile=float(random.uniform(-0.4, 1.0)),
        mouth_open=float(random.uniform(0.15, 1) if random.uniform() < 0.3 else 0),
        eyes=float(random.uniform(0.1, 0.5) if random.uniform() < 0.06 else random.uniform(0.75, 1.1)),
        gaze=float(random.uniform(-1, 1)),
        brows=float(random.uniform(-0.5, 1)),
        light=(float(light[0]), float(light[1]), float(light[2])),
        contrast=float(random.uniform(0.25, 0.6)),
        cloth=_three(_muted(random.uniform(25, 225, 3))),
        cover=cover,
        cover_color=_three(_muted(random.uniform(20, 220, 3))),
    )


def _muted(color: NDArray[np.float64]) -> NDArray[np.float64]:
    return np.asarray(color.mean() + 0.75 * (color - color.mean()))


def _three(values: NDArray[np.float64]) -> tuple[float, float, float]:
    first, second, third = (float(value) for value in values)
    return first, second, third
