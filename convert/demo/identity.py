"""Synthetic people: everything about a rendered face that is the same in all images."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

# The people for each purpose. The ranges do not overlap, so the models are never measured on people of the training.
TRAIN = range(0, 2_000)
CALIBRATE = range(100_000, 101_000)
EVALUATE = range(200_000, 201_000)
BYSTANDERS = range(300_000, 301_000)

Color = tuple[float, float, float]  # blue, green, red in 0..255

# Skin from very light to very dark. Colors are interpolated, so all tones in between occur, too.
_SKIN = np.array(
    [
        (205, 219, 247),
        (182, 205, 243),
        (160, 188, 233),
        (133, 166, 219),
        (105, 141, 201),
        (82, 114, 172),
        (64, 88, 141),
        (50, 68, 110),
        (40, 53, 84),
    ],
    np.float64,
)
_HAIR = np.array(
    [
        (28, 24, 26), (40, 38, 48), (36, 48, 76), (42, 66, 110), (62, 100, 152), (108, 160, 205), (150, 194, 226),
        (46, 78, 172), (60, 52, 140), (168, 166, 164), (222, 220, 216), (140, 84, 70), (130, 60, 120),
    ],
    np.float64,
)  # fmt: skip
_IRIS = np.array(
    [(30, 46, 84), (40, 72, 128), (70, 112, 120), (88, 138, 92), (186, 140, 78), (206, 172, 120), (150, 140, 128)],
    np.float64,
)
_FRAMES = np.array(
    [(30, 30, 34), (40, 60, 110), (70, 60, 150), (150, 110, 60), (90, 140, 180), (60, 110, 60)], np.float64
)

HAIR_STYLES = (
    "bald", "buzz", "side", "fringe", "long", "long-fringe", "bob", "curls", "bun", "spikes", "receding", "quiff",
)  # fmt: skip
BEARDS = ("none", "stubble", "full", "goatee", "moustache", "chinstrap")
GLASSES = ("none", "round", "square", "wide")


@dataclass(frozen=True)
class Identity:
    """One synthetic person. Lengths are in face units: half the width of an average head.

    Colors are BGR in 0..255; ``freckles`` is F×3 and ``moles`` M×3 float64: x, y, radius, in face units, the origin
    between the eyes' height and the nose, x to the viewer's right, y down.
    """

    number: int
    skin: Color
    width: float
    crown: float
    chin: float
    jaw: float
    taper: float
    ears: float
    hair_style: str
    hair: Color
    hairline: float
    hair_volume: float
    part: float
    hair_waves: NDArray[np.float64]
    iris: Color
    eye_spacing: float
    eye_width: float
    eye_height: float
    eye_tilt: float
    eye_y: float
    brow: Color
    brow_height: float
    brow_thickness: float
    brow_tilt: float
    brow_arch: float
    brow_length: float
    nose_length: float
    nose_width: float
    nose_bridge: float
    mouth_y: float
    mouth_width: float
    lip_upper: float
    lip_lower: float
    lips: Color
    cupid: float
    blush: float
    freckles: NDArray[np.float64]
    moles: NDArray[np.float64]
    beard: str
    beard_length: float
    glasses: str
    frame: Color
    earrings: bool


def identity(number: int) -> Identity:
    """The person with this ``number`` (0 or greater): always the same."""
    random = np.random.default_rng([0xFACE, number])
    uniform = random.uniform
    tone = uniform()
    skin = np.clip(_between(_SKIN, tone) * uniform(0.96, 1.04, 3), 0, 255)
    # Dark skin and fair hair are rarely seen together, so a mild correlation keeps the images plausible.
    choices = np.r_[np.arange(7), np.arange(13)] if tone < 0.55 else np.r_[np.arange(5), np.arange(5), np.arange(13)]
    hair = np.clip(_HAIR[random.choice(choices)] * uniform(0.8, 1.2) * uniform(0.92, 1.08, 3), 8, 245)
    lips = np.clip(skin * (0.74, 0.66, 0.86) * uniform(0.8, 1.12) + (18, 2, 26) * uniform(0, 1, 1), 0, 255)
    style = HAIR_STYLES[random.integers(len(HAIR_STYLES))]
    bearded = style not in ("long", "long-fringe", "bob", "bun") and uniform() < 0.5
    return Identity(
        number=number,
        skin=_color(skin),
        width=uniform(0.86, 1.1),
        crown=uniform(1.12, 1.4),
        chin=uniform(1.2, 1.56),
        jaw=uniform(1.9, 3.2),
        taper=uniform(0.02, 0.26),
        ears=uniform(0.13, 0.25),
        hair_style=style,
        hair=_color(hair),
        hairline=uniform(-0.98, -0.66),
        hair_volume=uniform(0.08, 0.3),
        part=uniform(-0.6, 0.6),
        hair_waves=random.normal(0, 1, 10),
        iris=_color(_between(_IRIS, uniform()) * uniform(0.85, 1.15)),
        eye_spacing=uniform(0.36, 0.5),
        eye_width=uniform(0.15, 0.225),
        eye_height=uniform(0.075, 0.145),
        eye_tilt=uniform(-0.26, 0.3),
        eye_y=uniform(-0.2, -0.04),
        brow=_color(np.clip(hair * 0.45 + skin * uniform(0.1, 0.35), 0, 255)),
        brow_height=uniform(0.2, 0.36),
        brow_thickness=uniform(0.025, 0.095),
        brow_tilt=uniform(-0.3, 0.22),
        brow_arch=uniform(0.0, 0.1),
        brow_length=uniform(0.2, 0.31),
        nose_length=uniform(0.34, 0.56),
        nose_width=uniform(0.1, 0.23),
        nose_bridge=uniform(0.2, 1.0),
        mouth_y=uniform(0.66, 0.86),
        mouth_width=uniform(0.24, 0.43),
        lip_upper=uniform(0.03, 0.095),
        lip_lower=uniform(0.045, 0.13),
        lips=_color(lips),
        cupid=uniform(0, 0.6),
        blush=uniform(0, 0.24),
        freckles=_spots(random, int(uniform(14, 40)) if uniform() < 0.22 else 0, (0.012, 0.026)),
        moles=_spots(random, int(random.integers(1, 4)) if uniform() < 0.45 else 0, (0.022, 0.036)),
        beard=BEARDS[random.integers(1, len(BEARDS))] if bearded else "none",
        beard_length=uniform(0.02, 0.3),
        glasses=GLASSES[random.integers(1, len(GLASSES))] if uniform() < 0.3 else "none",
        frame=_color(_FRAMES[random.integers(len(_FRAMES))] * uniform(0.7, 1.2)),
        earrings=bool(uniform() < 0.2),
    )


def _between(anchors: NDArray[np.float64], place: float) -> NDArray[np.float64]:
    """``anchors`` (A×3) interpolated at ``place`` in 0..1."""
    at = place * (len(anchors) - 1)
    return np.array([np.interp(at, np.arange(len(anchors)), channel) for channel in anchors.T])


def _color(values: NDArray[np.float64]) -> Color:
    blue, green, red = (float(value) for value in values)
    return blue, green, red


def _spots(random: np.random.Generator, count: int, radius: tuple[float, float]) -> NDArray[np.float64]:
    """Freckles or moles on the cheeks and forehead, away from the eyes and the mouth: count×3 of x, y, radius."""
    side = random.choice([-1.0, 1.0], count)
    x = side * random.uniform(0.14, 0.66, count)
    y = np.where(random.uniform(size=count) < 0.8, random.uniform(0.14, 0.6, count), random.uniform(0.9, 1.05, count))
    return np.stack([x, y, random.uniform(*radius, count)], axis=1)
