"""One synthetic face with neck and shoulders, and its exact position."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from . import features
from .canvas import HeadView, PaintLayer, band, ellipse, mix
from .hair import draw_back, draw_front, outline
from .identity import Identity
from .look import FaceLook

# Below this number of pixels per face unit, faces are drawn larger and averaged down, to keep details as a lens does.
_FINE = 44.0
_SHADE_GRID = 36  # cells along each side of the shading, which is smooth


@dataclass(frozen=True)
class Truth:
    """The exact position of a face.

    box        4 float32: x1, y1, x2, y2 around the skin, from the hairline to the chin
    landmarks  5×2 float32
    """

    box: NDArray[np.float32]
    landmarks: NDArray[np.float32]


def view_of(look: FaceLook, scale: float, x: float, y: float) -> HeadView:
    return HeadView(look.yaw, look.pitch, look.roll, scale, x, y)


def truth(who: Identity, look: FaceLook, view: HeadView) -> Truth:
    """The exact position of the face and its landmarks in ``view``."""
    skin = outline(who)
    skin[:, 1] = np.maximum(skin[:, 1], -0.95)
    edge = view.outline(skin)
    points = np.concatenate(
        [
            view.surface(features.eye_centers(who)),
            view.surface(features.nose_tip(who), features.NOSE_LIFT),
            view.surface(features.mouth_corners(who, look)),
        ]
    )
    return Truth(np.concatenate([edge.min(axis=0), edge.max(axis=0)]).astype(np.float32), points.astype(np.float32))


def draw_face(image: NDArray[np.uint8], who: Identity, look: FaceLook, view: HeadView) -> Truth:
    """Draw the person over ``image`` (H×W×3 uint8 BGR, changed in place)."""
    factor = int(np.clip(np.ceil(_FINE / view.scale), 1, 4))
    reach = 2.75 * view.scale
    left, top = int(np.floor(view.x - reach)), int(np.floor(view.y - reach))
    size = int(np.ceil(2 * reach))
    # Pixel centers: a point at p on the image is at (p + ½)·f − ½ on a layer f times finer.
    shift = 0.5 * factor - 0.5
    local = HeadView(
        look.yaw,
        look.pitch,
        look.roll,
        view.scale * factor,
        (view.x - left) * factor + shift,
        (view.y - top) * factor + shift,
    )
    layer = PaintLayer(size * factor, size * factor)
    _draw(layer, local, who, look)
    (layer.shrunk(factor) if factor > 1 else layer).onto(image, left, top)
    return truth(who, look, view)


def _draw(layer: PaintLayer, view: HeadView, who: Identity, look: FaceLook) -> None:
    draw_back(layer, view, who)
    _draw_body(layer, view, who, look)
    for side in (-1.0, 1.0):
        # When the head turns, the far ear moves behind it, and the near ear moves forward.
        x = side * (who.width + 0.35 * who.ears) - 0.12 * np.sin(view.yaw)
        layer.polygon(
            view.outline(ellipse(x, who.eye_y + 0.16, who.ears, 0.27, tilt=0.2 * side)), np.multiply(who.skin, 0.93)
        )
        layer.polygon(
            view.outline(ellipse(x, who.eye_y + 0.16, who.ears * 0.55, 0.16, tilt=0.2 * side)),
            np.multiply(who.skin, 0.78),
        )
    layer.polygon(view.outline(outline(who)), who.skin)
    features.draw_beard(layer, view, who, look)
    layer.multiply(_shading(layer, view, who, look))
    features.draw_spots(layer, view, who)
    features.draw_mouth(layer, view, who, look)
    features.draw_eyes(layer, view, who, look)
    features.draw_nose(layer, view, who)
    features.draw_brows(layer, view, who, look)
    draw_front(layer, view, who)
    if who.earrings and not who.hair_style.startswith("long"):
        for side in (-1.0, 1.0):
            ring = ellipse(side * (who.width + 0.3 * who.ears), who.eye_y + 0.5, 0.05, 0.06, 14)
            layer.polygon(view.outline(ring), (90, 205, 245))
    features.draw_glasses(layer, view, who)
    _draw_cover(layer, view, who, look)


def _draw_body(layer: PaintLayer, view: HeadView, who: Identity, look: FaceLook) -> None:
    neck = 0.5 * who.width
    # Shoulders stay level when the head tilts: their position follows the base of the neck in the image.
    foot = view.outline(np.array([[0.0, who.chin + 0.25]]))[0] + (0.25 * np.sin(view.roll) * view.scale, 0)
    body = HeadView(0, 0, view.roll * 0.15, view.scale, float(foot[0]), float(foot[1]))
    left = np.array([(-0.5, -0.05), (-1.15, 0.12), (-1.6, 0.42), (-1.8, 0.95), (-1.9, 3.0)])
    shoulders = band(left, left * np.array([-1.0, 1.0]))
    layer.polygon(body.outline(shoulders), look.cloth)
    top = view.outline(np.array([(-neck, who.chin - 0.75), (neck, who.chin - 0.75)]))
    bottom = body.outline(np.array([(-neck * 1.15, 0.1), (0.0, 0.36), (neck * 1.15, 0.1)]))
    layer.polygon(np.concatenate([top, bottom[::-1]]), np.multiply(who.skin, 0.88))
    shadow = view.outline(
        np.array(
            [(-neck, who.chin - 0.6), (neck, who.chin - 0.6), (neck, who.chin), (0, who.chin + 0.2), (-neck, who.chin)]
        )
    )
    layer.polygon(shadow, np.multiply(who.skin, (0.66, 0.66, 0.72)))
    collar = body.outline(np.array([(-neck * 1.2, 0.06), (0.0, 0.36), (neck * 1.2, 0.06)]))
    layer.line(collar, np.multiply(look.cloth, 0.75), 0.07 * view.scale)


def _shading(layer: PaintLayer, view: HeadView, who: Identity, look: FaceLook) -> NDArray[np.float32]:
    """Factors for the colors, G×G×3: light on a rounded head, darker eye sockets, warmer cheeks."""
    size = layer.pixels.shape[0]
    grid = (np.arange(_SHADE_GRID) + 0.5) * size / _SHADE_GRID
    x, y = np.meshgrid((grid - view.x) / view.scale, (grid - view.y) / view.scale)
    across, down = x / 1.3, (y - 0.1) / 1.65
    towards = np.sqrt(np.maximum(0.04, 1 - across**2 - down**2))
    lit = across * look.light[0] + down * look.light[1] + towards * look.light[2]
    shade = 1 + look.contrast * (np.clip(lit, -0.2, 1) - 0.78)
    factors = np.repeat(shade[..., None], 3, axis=2)
    soft = [(point, 0.2, (0.9, 0.9, 0.93)) for point in features.eye_centers(who) - (0, 0.05)]
    warm = (1 - 1.1 * who.blush, 1 - who.blush, 1 + 0.1 * who.blush)
    soft += [(np.array([side * 0.56, 0.42]), 0.24, warm) for side in (-1.0, 1.0)]
    soft.append((np.array([0.0, who.mouth_y + 0.26]), 0.13, (0.88, 0.88, 0.92)))
    for point, radius, factor in soft:
        px, py = (view.surface(point[None])[0] - (view.x, view.y)) / view.scale
        blob = np.exp(-((x - px) ** 2 + (y - py) ** 2) / (2 * radius**2))
        factors *= 1 + blob[..., None] * (np.array(factor) - 1)
    return factors.astype(np.float32)


def _draw_cover(layer: PaintLayer, view: HeadView, who: Identity, look: FaceLook) -> None:
    """Sunglasses, a scarf over mouth and chin, or a hand at one cheek."""
    if look.cover == "sunglasses":
        for x, y in features.eye_centers(who):
            layer.polygon(view.surface(ellipse(x, y + 0.03, 0.33, 0.25, 24), 0.05), (26, 24, 24))
            shine = np.array([(x - 0.14, y - 0.04), (x - 0.04, y - 0.12)])
            layer.line(view.surface(shine, 0.05), (120, 110, 105), 0.03 * view.scale)
        layer.line(
            view.surface(np.array([(-who.width * 0.95, who.eye_y), (who.width * 0.95, who.eye_y)]), 0.06),
            (26, 24, 24),
            0.06 * view.scale,
        )
    elif look.cover == "scarf":
        jaw = outline(who, 0.1)
        jaw = jaw[jaw[:, 1] > 0.45]
        jaw = jaw[np.argsort(jaw[:, 0])]
        top = np.stack([np.linspace(-0.92, 0.92, 15), who.mouth_y + 0.05 + 0.05 * np.sin(np.linspace(0, 6, 15))], 1)
        layer.polygon(band(view.surface(top), view.outline(jaw * (1.05, 1.15))), look.cover_color)
        fold = top[2:-2] + np.array([0, 0.22])
        layer.line(view.surface(fold), np.multiply(look.cover_color, 0.8), 0.05 * view.scale)
    elif look.cover == "hand":
        side = 1.0 if look.gaze > 0 else -1.0
        skin, line = mix(who.skin, (60, 70, 110), 0.1), np.multiply(who.skin, 0.7)
        for finger in range(4):
            x = side * (0.5 + 0.17 * finger)
            tip = ellipse(x, 0.95 - 0.08 * (finger % 3), 0.1, 0.5, 22, tilt=0.16 * side)
            layer.polygon(view.outline(tip), skin)
            layer.line(view.outline(tip), line, 0.02 * view.scale, closed=True)
