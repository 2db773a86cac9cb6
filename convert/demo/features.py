"""Eyes, brows, nose, mouth, beard and glasses of a synthetic face, drawn on the front of its head."""

from __future__ import annotations

import numpy as np

from .canvas import HeadView, PaintLayer, Points, band, ellipse, mix
from .hair import outline
from .identity import Identity
from .look import FaceLook

WHITE = (255.0, 255.0, 255.0)


def eye_centers(who: Identity) -> Points:
    """2×2 face units; the viewer's left eye is first."""
    return np.array([[-who.eye_spacing, who.eye_y], [who.eye_spacing, who.eye_y]])


def nose_tip(who: Identity) -> Points:
    """Position of the nose tip: 1×2 face units."""
    return np.array([[0.0, who.eye_y + who.nose_length]])


def mouth_corners(who: Identity, look: FaceLook) -> Points:
    """2×2 face units; the viewer's left corner is first."""
    half = who.mouth_width * (1 + 0.16 * look.smile - 0.14 * look.mouth_open)
    y = who.mouth_y - 0.055 * look.smile + 0.03 * look.mouth_open
    return np.array([[-half, y], [half, y]])


NOSE_LIFT = 0.16  # height of the nose tip above the face, in face units


def draw_eyes(layer: PaintLayer, view: HeadView, who: Identity, look: FaceLook) -> None:
    lid = mix(who.skin, (40, 40, 60), 0.62)
    across = np.linspace(-1, 1, 13)
    for side, (x, y) in zip((-1.0, 1.0), eye_centers(who), strict=True):
        open_by = who.eye_height * look.eyes
        upper = -open_by * (1 - np.abs(across + 0.12 * side) ** 2.3 / 1.3)
        lower = open_by * 0.62 * (1 - np.abs(across) ** 2)
        upper[[0, -1]] = lower[[0, -1]] = 0
        slope = -side * who.eye_tilt * across * who.eye_width * 0.6
        base = x + across * who.eye_width
        top = np.stack([base, y + slope + upper], 1)
        bottom = np.stack([base, y + slope + lower], 1)
        layer.polygon(view.surface(band(top, bottom)), mix((238, 240, 244), who.skin, 0.08))
        radius = min(0.088, 0.62 * who.eye_width)
        gaze = (x + look.gaze * 0.35 * who.eye_width, y)
        for share, color in ((1.0, np.multiply(who.iris, 0.62)), (0.84, who.iris), (0.42, (14, 12, 12))):
            disc = ellipse(*gaze, radius * share, radius * share, 20)
            disc[:, 1] = np.clip(
                disc[:, 1], np.interp(disc[:, 0], base, top[:, 1]), np.interp(disc[:, 0], base, bottom[:, 1])
            )
            layer.polygon(view.surface(disc), color)
        if look.eyes > 0.5:
            glint = (gaze[0] - 0.3 * radius, y - 0.28 * open_by)
            layer.polygon(view.surface(ellipse(*glint, 0.02, 0.02, 10)), WHITE)
        layer.line(view.surface(top), lid, 0.028 * view.scale)
        crease = top[2:-2] - (0, 0.045 + 0.1 * who.eye_height)
        layer.line(view.surface(crease), mix(who.skin, lid, 0.35), 0.014 * view.scale)


def draw_brows(layer: PaintLayer, view: HeadView, who: Identity, look: FaceLook) -> None:
    along = np.linspace(0, 1, 9)
    for side in (-1.0, 1.0):
        x = side * (who.eye_spacing - who.brow_length * 0.62 + along * who.brow_length * 1.45)
        y = who.eye_y - who.brow_height - 0.05 * look.brows
        y = y + who.brow_tilt * (along - 0.5) * 0.4 - who.brow_arch * np.sin(np.pi * along**1.3)
        thick = who.brow_thickness * (1 - 0.75 * along**2.2)
        shape = band(np.stack([x, y - thick / 2], 1), np.stack([x, y + thick / 2], 1))
        layer.polygon(view.surface(shape), who.brow)


def draw_nose(layer: PaintLayer, view: HeadView, who: Identity) -> None:
    dark, deep = mix(who.skin, (30, 40, 80), 0.25), mix(who.skin, (20, 20, 50), 0.55)
    light = mix(who.skin, WHITE, 0.22)
    tip = who.eye_y + who.nose_length
    half = who.nose_width
    base = np.array([(-half, tip + 0.02), (-0.6 * half, tip + 0.085), (0, tip + 0.1), (0.6 * half, tip + 0.085),
                     (half, tip + 0.02), (0.45 * half, tip - 0.03), (-0.45 * half, tip - 0.03)])  # fmt: skip
    layer.polygon(view.surface(base, 0.07), mix(who.skin, dark, 0.55))
    top = who.eye_y - 0.02 + 0.1 * (1 - who.nose_bridge)
    # The side of the bridge that is turned away from the camera is in the shade.
    away = -1.0 if view.yaw > 0 else 1.0
    bridge = view.surface(np.array([(away * 0.1, top), (away * 0.075, (top + tip) / 2)]), 0.03)
    wing = view.surface(np.array([(away * half * 0.8, tip - 0.03)]), 0.08)
    ridge = view.surface(np.array([(0.0, tip - 0.06), (0.0, top + 0.05)]), NOSE_LIFT * 0.8)
    shade = np.concatenate([bridge, wing, ridge])
    layer.polygon(shade, mix(who.skin, dark, 0.25 + 0.5 * who.nose_bridge))
    layer.polygon(view.surface(ellipse(0, tip, half * 0.62, 0.085), NOSE_LIFT), mix(who.skin, light, 0.25))
    layer.polygon(view.surface(ellipse(-0.02, tip - 0.03, half * 0.22, 0.028, 14), NOSE_LIFT), light)
    for side in (-1.0, 1.0):
        hole = ellipse(side * half * 0.52, tip + 0.06, half * 0.2, 0.022, 14)
        layer.polygon(view.surface(hole, 0.1), deep)


def draw_mouth(layer: PaintLayer, view: HeadView, who: Identity, look: FaceLook) -> None:
    (left, y), (right, _) = mouth_corners(who, look)
    across = np.linspace(-1, 1, 17)
    x = (left + right) / 2 + across * (right - left) / 2
    swell = 1 - across**2
    middle = y + (who.mouth_y + 0.03 * look.smile - y) * swell
    gap = 0.2 * look.mouth_open * swell
    bow = 1 - who.cupid * 0.55 * np.exp(-((across / 0.2) ** 2))
    edges = [middle - who.lip_upper * swell**0.7 * bow, middle, middle + gap, middle + gap + who.lip_lower * swell**0.8]
    top, upper, lower, bottom = (np.stack([x, edge], 1) for edge in edges)
    if look.mouth_open > 0.05:
        layer.polygon(view.surface(band(upper, lower)), (38, 28, 70))
        teeth = band(upper, np.stack([x, middle + np.minimum(gap * 0.5, 0.055)], 1))
        layer.polygon(view.surface(teeth), (228, 236, 240))
    layer.polygon(view.surface(band(top, upper)), np.multiply(who.lips, 0.88))
    layer.polygon(view.surface(band(lower, bottom)), who.lips)
    layer.line(view.surface(upper), mix(who.lips, (20, 10, 40), 0.55), 0.018 * view.scale)
    gloss = np.stack([x[5:11], (edges[2] + 0.45 * (edges[3] - edges[2]))[5:11]], 1)
    layer.line(view.surface(gloss), mix(who.lips, WHITE, 0.3), 0.016 * view.scale)


def draw_spots(layer: PaintLayer, view: HeadView, who: Identity) -> None:
    for color, spots in ((mix(who.skin, (40, 70, 130), 0.45), who.freckles), ((34, 40, 62), who.moles)):
        for x, y, radius in spots:
            layer.polygon(view.surface(ellipse(x, y, radius, radius, 10)), color)


def draw_beard(layer: PaintLayer, view: HeadView, who: Identity, look: FaceLook) -> None:
    if who.beard == "none":
        return
    color = mix(who.hair, who.skin, 0.62 if who.beard == "stubble" else 0.12)
    mouth = mouth_corners(who, look)[0, 1]
    if who.beard in ("full", "stubble", "chinstrap"):
        _draw_jaw_beard(layer, view, who, look, color)
    if who.beard == "goatee":
        drop = min(who.chin + 0.35 * who.beard_length, who.mouth_y + 0.85)
        top = who.mouth_y + 0.2 + 0.2 * look.mouth_open
        chin = np.array(
            [(-0.16, top), (0.16, top), (0.24, (top + drop) / 2), (0.1, drop), (-0.1, drop), (-0.24, (top + drop) / 2)]
        )
        layer.polygon(view.surface(chin), color)
    if who.beard in ("full", "goatee", "moustache"):
        lip = who.mouth_y - who.lip_upper - 0.02
        half = who.mouth_width * 1.05
        across = half * np.array([-1, -0.6, 0, 0.6, 1, 0.5, 0, -0.5])
        down = np.array([0, lip - 0.07, lip - 0.075, lip - 0.07, 0, lip + 0.02, lip + 0.005, lip + 0.02])
        down[[0, 4]] = mouth + 0.03
        shape = np.stack([across, down], 1)
        layer.polygon(view.surface(shape), color)


def _draw_jaw_beard(layer: PaintLayer, view: HeadView, who: Identity, look: FaceLook, color: object) -> None:
    length = 0.0 if who.beard == "stubble" else 0.6 * who.beard_length
    jaw = outline(who, 0.02)
    jaw = jaw[(jaw[:, 1] > -0.02)]
    jaw = jaw[np.argsort(jaw[:, 0])]
    jaw = jaw * (1, 1 + length / who.chin)
    across = np.linspace(-1, 1, 21)
    if who.beard == "chinstrap":
        top = who.chin * 0.9 - (who.chin * 0.9 + 0.02) * np.abs(across) ** 3.2
    else:
        hole = who.mouth_y - who.lip_upper - 0.06
        top = hole - (hole + 0.05) * np.abs(across) ** 3
    edge = view.surface(np.stack([across * who.width * 0.9, top], 1))
    layer.polygon(band(view.outline(jaw), edge), color)


def draw_glasses(layer: PaintLayer, view: HeadView, who: Identity) -> None:
    if who.glasses == "none":
        return
    wide, high, power = {"round": (0.3, 0.29, 1.0), "square": (0.31, 0.23, 0.45), "wide": (0.36, 0.2, 0.65)}[
        who.glasses
    ]
    angle = np.linspace(0, 2 * np.pi, 32, endpoint=False)
    rim = np.stack(
        [
            np.sign(np.cos(angle)) * np.abs(np.cos(angle)) ** power * wide,
            np.sign(np.sin(angle)) * np.abs(np.sin(angle)) ** power * high,
        ],
        1,
    )
    wide = min(wide, who.eye_spacing - 0.04)
    rim[:, 0] *= wide / np.abs(rim[:, 0]).max()
    width = 0.045 * view.scale
    for x, y in eye_centers(who):
        layer.line(view.surface(rim + np.array([x, y + 0.02]), 0.05), who.frame, width, closed=True)
    inner = who.eye_spacing - wide
    layer.line(
        view.surface(np.array([(-inner, who.eye_y), (0, who.eye_y - 0.03), (inner, who.eye_y)]), 0.06), who.frame, width
    )
    for side in (-1.0, 1.0):
        hinge = view.surface(np.array([(side * (who.eye_spacing + wide), who.eye_y)]), 0.05)
        ear = view.outline(np.array([(side * who.width, who.eye_y - 0.05)]))
        layer.line(np.concatenate([hinge, ear]), who.frame, width)
