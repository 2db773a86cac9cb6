"""Backgrounds behind the faces, with objects that a bad detector takes for faces; and the effects of a camera."""

from __future__ import annotations

import cv2
import numpy as np
from numpy.typing import NDArray

from .canvas import PaintLayer, ellipse
from .identity import identity

Image = NDArray[np.uint8]


def background(random: np.random.Generator, width: int, height: int) -> Image:
    """A height×width×3 BGR backdrop: a gradient, wall, stripes or cloud, often with objects in front."""
    kind = random.integers(4)
    first, second = _color(random), _color(random)
    if kind == 0:
        second = np.clip(first + random.normal(0, 25, 3), 0, 255)
    corners = np.stack([first, second, 0.5 * (first + second), _color(random)]).reshape(2, 2, 3)
    blend = cv2.resize(corners.astype(np.float32), (width, height), interpolation=cv2.INTER_LINEAR)
    image: Image = blend.astype(np.uint8)
    if kind == 2:
        grid = random.uniform(0.7, 1.25, (*random.integers(3, 12, 2), 1)).astype(np.float32)
        texture = cv2.resize(np.repeat(grid, 3, axis=2), (width, height), interpolation=cv2.INTER_CUBIC)
        image = cv2.multiply(image, texture, dtype=cv2.CV_8U).astype(np.uint8, copy=False)
    layer = PaintLayer(width, height)
    if kind == 3:
        _stripes(layer, random, width, height)
    for _ in range(int(random.integers(0, 9))):
        _thing(layer, random, width, height)
    layer.onto(image, 0, 0)
    if random.uniform() < 0.5:
        image = cv2.GaussianBlur(image, (0, 0), float(random.uniform(0.8, 5))).astype(np.uint8, copy=False)
    return image


def develop(image: Image, random: np.random.Generator, quality: tuple[int, int] = (45, 96)) -> Image:
    """``image`` with the effects of a camera: exposure, color temperature, uneven light, blur, noise and JPEG
    blocks."""
    warmth, gain = random.normal(0, 0.07), random.uniform(0.62, 1.2)
    tint = gain * np.array([1 - warmth, 1.0, 1 + warmth])
    slope = random.uniform(0.8, 1.2, (2, 2, 1))
    height, width = image.shape[:2]
    factors = cv2.resize((slope * tint).astype(np.float32), (width, height), interpolation=cv2.INTER_LINEAR)
    image = cv2.multiply(image, factors, dtype=cv2.CV_8U).astype(np.uint8, copy=False)
    if random.uniform() < 0.3:
        image = cv2.GaussianBlur(image, (0, 0), float(random.uniform(0.4, 1.1))).astype(np.uint8, copy=False)
    if random.uniform() < 0.5:
        tile = random.normal(0, random.uniform(1, 7), (height // 2 + 1, width // 2 + 1, 3)).astype(np.float32)
        noise = cv2.resize(tile, (width, height), interpolation=cv2.INTER_NEAREST)
        image = cv2.add(image, noise, dtype=cv2.CV_8U).astype(np.uint8, copy=False)
    if random.uniform() < 0.5:
        _, data = cv2.imencode(".jpg", image, [cv2.IMWRITE_JPEG_QUALITY, int(random.integers(*quality))])
        image = np.asarray(cv2.imdecode(data, cv2.IMREAD_COLOR), np.uint8)
    return image


def _color(random: np.random.Generator) -> NDArray[np.float64]:
    """A random BGR color of any lightness, more often muted than bright."""
    color = random.uniform(20, 240, 3)
    return np.asarray(color.mean() + (color - color.mean()) * random.uniform(0.15, 0.8))


def _stripes(layer: PaintLayer, random: np.random.Generator, width: int, height: int) -> None:
    color, step = _color(random), int(random.integers(24, 90))
    slant = random.uniform(-0.5, 0.5) * height
    for x in range(-height, width + height, 2 * step):
        layer.polygon(np.array([(x, 0), (x + step, 0), (x + step + slant, height), (x + slant, height)], float), color)


def _thing(layer: PaintLayer, random: np.random.Generator, width: int, height: int) -> None:
    x, y = random.uniform(0, width), random.uniform(0, height)
    size = random.uniform(0.03, 0.2) * width
    color = _color(random)
    kind = random.integers(6)
    if kind == 0:  # a box or a picture frame
        corners = np.array([(-1, -1), (1, -1), (1, 1), (-1, 1)]) * (size, size * random.uniform(0.4, 1.6)) + (x, y)
        layer.polygon(corners, color)
        layer.polygon((corners - (x, y)) * 0.8 + (x, y), np.clip(color * random.uniform(0.7, 1.3), 0, 255))
    elif kind == 1:  # a ball
        layer.polygon(ellipse(x, y, size, size), color)
    elif kind == 2:  # a plate or a clock
        layer.polygon(ellipse(x, y, size, size, 36), color)
        layer.polygon(ellipse(x, y, size * 0.7, size * 0.7, 36), np.clip(color + 25, 0, 255))
        layer.line(np.array([(x, y - 0.5 * size), (x, y), (x + 0.4 * size, y)]), color * 0.4, 0.06 * size)
    elif kind == 3:  # a faceless head: skin, sometimes hair, nothing else
        who = identity(int(random.integers(400_000, 410_000)))
        if random.uniform() < 0.6:
            layer.polygon(ellipse(x, y - 0.25 * size, size * 0.85, size), who.hair)
        layer.polygon(ellipse(x, y, size * 0.75, size, 36), who.skin)
    elif kind == 4:  # a plant
        for angle in random.uniform(-2.6, -0.5, 6):
            tip = np.array([np.cos(angle), np.sin(angle)]) * size
            layer.polygon(
                ellipse(x + tip[0] / 2, y + tip[1] / 2, size / 2, size / 8, 16, tilt=angle),
                (60, 120, 60) * random.uniform(0.5, 1.4, 3),
            )
    else:  # two dots and a bar without a head: they look like eyes and a mouth
        for side in (-1.0, 1.0):
            layer.polygon(ellipse(x + side * size * 0.4, y, size * 0.12, size * 0.12, 14), color)
        layer.line(np.array([(x - size * 0.3, y + size * 0.6), (x + size * 0.3, y + size * 0.6)]), color, size * 0.1)
