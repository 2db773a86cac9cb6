"""Renders the HTML reports from the templates beside this file: one file each, without scripts and without a
network."""

from __future__ import annotations

import base64
from collections.abc import Sequence
from dataclasses import dataclass
from functools import cache
from typing import Any

import cv2
import numpy as np
from jinja2 import Environment, PackageLoader, StrictUndefined
from numpy.typing import NDArray


@dataclass(frozen=True)
class Table:
    """A table of a report. Columns from ``numbers`` on (counted from 0) are numbers, set to the right; None: no column
    is."""

    head: Sequence[str]
    rows: Sequence[Sequence[object]]
    numbers: int | None = None

    def is_number(self, column: int) -> bool:
        return self.numbers is not None and column >= self.numbers


@cache
def _environment() -> Environment:
    return Environment(
        loader=PackageLoader(__package__ or "", "templates"),
        autoescape=True,
        undefined=StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
    )


def render(template: str, **values: Any) -> str:
    """The HTML page that ``template`` makes of ``values``. Text is escaped; only ``markupsafe.Markup`` is not."""
    return _environment().get_template(template).render(values)


def jpeg(image: NDArray[np.uint8]) -> str:
    """An H×W×3 BGR image as a data URI."""
    data = cv2.imencode(".jpg", image, [cv2.IMWRITE_JPEG_QUALITY, 85])[1]
    return f"data:image/jpeg;base64,{base64.b64encode(data.tobytes()).decode('ascii')}"


def png(data: bytes) -> str:
    """An encoded PNG file as a data URI."""
    return f"data:image/png;base64,{base64.b64encode(data).decode('ascii')}"
