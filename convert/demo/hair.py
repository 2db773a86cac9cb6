"""Hair of a synthetic head: behind the head, and over the forehead."""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray

from .canvas import HeadView, PaintLayer, Points, band, ellipse, mix
from .identity import Identity

_LONG = {"long": 1.75, "long-fringe": 1.6, "bob": 0.85}


def outline(who: Identity, grow: float = 0.0, count: int = 64) -> Points:
    """The head's silhouette without ears, ``count``×2 face units, clockwise from the right; ``grow`` makes it larger.

    A superellipse: ``jaw`` makes the lower half boxy, ``taper`` narrows it towards the chin.
    """
    angle = np.linspace(0, 2 * np.pi, count, endpoint=False)
    cosine, sine = np.cos(angle), np.sin(angle)
    exponent = 2 / np.where(sine > 0, who.jaw, 2.15)
    x = np.sign(cosine) * np.abs(cosine) ** exponent * (who.width + grow)
    y = np.sign(sine) * np.abs(sine) ** exponent * np.where(sine > 0, who.chin + grow, who.crown + grow)
    return np.stack([x * (1 - who.taper * np.maximum(y, 0) / who.chin), y], axis=1)


def draw_back(layer: PaintLayer, view: HeadView, who: Identity) -> None:
    """Draw the visible hair behind the head and the neck."""
    shade = np.multiply(who.hair, 0.72)
    volume = who.hair_volume
    style = who.hair_style
    if style in _LONG:
        wide, bottom = who.width + 0.12 + volume, _LONG[style] + 0.3 * volume
        down = np.linspace(-0.4, bottom, 14)
        waves = 0.05 * who.hair_waves[0] * np.sin(3 * down + who.hair_waves[1])
        side = wide * (1 + 0.1 * np.sin(2.2 * down) * who.hair_waves[2] * 0.5) + waves
        top = ellipse(0, -0.3, wide, who.crown + volume - 0.25, 40)
        layer.polygon(view.outline(top), shade)
        layer.polygon(view.outline(band(np.stack([-side, down], 1), np.stack([side, down], 1))), shade)
    elif style == "curls":
        for x, y, radius in _curls(who):
            layer.polygon(view.outline(ellipse(x, y, radius, radius, 18)), shade)
    elif style == "bun":
        radius = 0.3 + volume
        tip = (0.15 * who.hair_waves[0], -who.crown - 0.75 * radius)
        layer.polygon(view.outline(ellipse(*tip, radius, radius * 0.9)), shade)
        layer.polygon(view.outline(ellipse(*tip, radius * 0.72, radius * 0.6)), mix(who.hair, (255, 255, 255), 0.05))
    elif style not in ("bald", "buzz", "receding"):
        layer.polygon(view.outline(_cap(who, 0.06 + 0.5 * volume)), shade)


def draw_front(layer: PaintLayer, view: HeadView, who: Identity) -> None:
    """Draw the hair over the forehead and the skull."""
    style = who.hair_style
    if style == "bald":
        return
    if style == "receding":
        _draw_sides(layer, view, who)
        return
    color: Any = mix(who.hair, who.skin, 0.28) if style == "buzz" else who.hair
    across = np.linspace(-1, 1, 33)
    grow = 0.015 if style == "buzz" else 0.05 + 0.45 * who.hair_volume
    crown = _arch(who, across, grow, style)
    line = _hairline(who, across)
    # The hairline is on the curved forehead, and its ends are at the temples, on the silhouette.
    edge = view.surface(np.stack([across * who.width * 0.97, line], axis=1))
    rim = view.outline(crown)
    edge[0], edge[-1] = view.outline(np.array([[-who.width - 0.02, line[0]], [who.width + 0.02, line[-1]]]))
    layer.polygon(band(rim, edge), color)
    if style == "curls":
        for x, y, radius in _curls(who):
            if y < who.hairline + 0.12:
                layer.polygon(view.outline(ellipse(x * 0.93, y, radius * 0.8, radius * 0.8, 16)), color)
    if style != "buzz":
        _strands(layer, view, who, rim, edge)
    if style in _LONG:
        _draw_locks(layer, view, who, float(line[0]), float(line[-1]))


def _cap(who: Identity, grow: float) -> Points:
    points = outline(who, grow)
    return points[points[:, 1] < 0.05]


def _arch(who: Identity, across: NDArray[np.float64], grow: float, style: str) -> Points:
    """The top edge of the hair from the left to the right temple, 33×2."""
    waves = who.hair_waves
    wide = who.width + grow * 0.7
    height = (who.crown + grow) * np.maximum(0, 1 - np.abs(across) ** 2.15) ** (1 / 2.15)
    if style == "spikes":
        teeth = np.abs(np.mod(np.arange(33) * (0.22 + 0.02 * waves[3]), 1.0) - 0.5) * 2
        height = height + (0.12 + who.hair_volume * 0.9) * teeth * (1 - np.abs(across) ** 4)
    elif style == "quiff":
        height = height + (0.16 + who.hair_volume) * np.exp(-(((across - who.part * 0.6) / 0.45) ** 2))
    elif style in ("side", "fringe"):
        height = height + 0.05 * waves[4] * np.sin(2.4 * across + waves[5])
    return np.stack([across * wide, -height + who.hairline * 0.3 * np.abs(across) ** 12], axis=1)


def _hairline(who: Identity, across: NDArray[np.float64]) -> NDArray[np.float64]:
    """y of the hair's lower edge over the forehead at ``across`` in -1..1, in face units."""
    base, waves = who.hairline, who.hair_waves
    temple = -0.24 + 0.06 * waves[6]
    round_line = base + (temple - base) * np.abs(across) ** (3.2 + 0.4 * waves[7])
    style = who.hair_style
    if style in ("fringe", "long-fringe"):
        cut = who.eye_y - who.brow_height - 0.1 - 0.1 * abs(waves[8])
        teeth = 0.07 * np.abs(np.mod(across * (3.5 + 0.5 * waves[9]), 1.0) - 0.5)
        return np.asarray(np.maximum(round_line, cut - 0.12 * across * waves[8]) + teeth)
    if style in ("side", "bob"):
        swoop = 0.34 * np.exp(-(((across + np.sign(who.part) * 0.5) / 0.42) ** 2))
        return np.asarray(np.minimum(round_line + swoop, who.eye_y - 0.26 + np.abs(across) ** 6 * 0.3))
    if style == "long":
        return np.asarray(round_line + 0.25 * np.minimum(1, np.abs(across - who.part) * 1.3) ** 1.5 - 0.12)
    if style == "spikes":
        return np.asarray(round_line + 0.06 * np.abs(np.mod(across * 4 + waves[9], 1.0) - 0.5))
    return np.asarray(round_line)


def _strands(layer: PaintLayer, view: HeadView, who: Identity, rim: Points, edge: Points) -> None:
    """A few lighter and darker strokes from the rim towards the hairline: they look like gloss."""
    light, dark = mix(who.hair, (235, 240, 245), 0.2), np.multiply(who.hair, 0.8)
    for index, start in enumerate(range(5, 29, 4)):
        end = int(np.clip(start + 3 * np.sign(who.part), 1, 31))
        steps = np.linspace(0.14, 0.8, 5)[:, None]
        path = rim[start] * (1 - steps) + edge[end] * steps
        layer.line(path, light if index % 2 else dark, 0.03 * view.scale)


def _draw_locks(layer: PaintLayer, view: HeadView, who: Identity, left: float, right: float) -> None:
    """The strands that frame the cheeks of long hair."""
    for sign, top in ((-1.0, left), (1.0, right)):
        down = np.linspace(top - 0.25, _LONG[who.hair_style], 12)
        outer = who.width + 0.1 + 0.75 * who.hair_volume + 0.03 * who.hair_waves[1] * np.sin(3 * down)
        inner = who.width * 0.9 - 0.04 * who.hair_waves[2] * np.sin(2 * down) + 0.1 * np.maximum(down, 0) ** 2 * 0.3
        points = band(np.stack([sign * outer, down], 1), np.stack([sign * np.minimum(inner, outer), down], 1))
        layer.polygon(view.outline(points), np.multiply(who.hair, 0.94))


def _draw_sides(layer: PaintLayer, view: HeadView, who: Identity) -> None:
    for sign in (-1.0, 1.0):
        points = np.array([(0.9, -0.62), (1.04, -0.3), (1.03, 0.12), (0.97, 0.1), (0.9, -0.22), (0.8, -0.6)])
        layer.polygon(view.outline(points * (sign * who.width, 1.0)), who.hair)


def _curls(who: Identity) -> Points:
    """N×3: x, y and radius of the balls of curly hair around the skull."""
    random = np.random.default_rng([1, who.number])
    angle = np.linspace(-0.12, np.pi + 0.12, 13)
    ring = np.stack([np.cos(angle) * (who.width + 0.08), -np.sin(angle) * (who.crown + 0.02) - 0.15], axis=1)
    radius = 0.22 + 0.6 * who.hair_volume + random.uniform(-0.05, 0.05, 13)
    inner = np.stack([np.linspace(-0.7, 0.7, 6), np.full(6, -who.crown + 0.1)], axis=1)
    rows = np.concatenate([ring, inner])
    return np.column_stack([rows, np.concatenate([radius, np.full(6, 0.3)])])
