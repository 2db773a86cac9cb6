"""Renders the HTML reports from the templates beside this file: one file each, without scripts and without a
network."""

from __future__ import annotations

import base64
import re
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from functools import cache
from html import escape
from typing import Any, Literal

import cv2
import numpy as np
from jinja2 import Environment, PackageLoader, StrictUndefined
from numpy.typing import NDArray

from rkface.runtime.core.text import readable

LATER_NOTE = '<p id=later class="verdict warn">[^<]*</p>\n'  # what add_later_note writes
CONTENTS = "<nav aria-label=Contents>"  # in templates/page.html


@dataclass(frozen=True)
class ReportVerdict:
    """The answer of a report. ``level`` sets its color: use the result, use it with care, or do not use it."""

    level: Literal["good", "warn", "bad"]
    headline: str
    text: str


@dataclass(frozen=True)
class Card:
    """A figure that stands at the top of a report: what it is, its value, and what it is based on."""

    title: str
    value: str
    detail: str


@dataclass(frozen=True)
class Section:
    """A section of a report: the anchor that the contents link to, its title, and the template of its content."""

    anchor: str
    title: str
    template: str


def sections(folder: str, titles: Mapping[str, str]) -> tuple[Section, ...]:
    """The sections of a report, in the order of ``titles``: the title of each anchor. Its template is ANCHOR.html in
    the ``folder`` of templates."""
    return tuple(Section(anchor, title, f"{folder}/{anchor}.html") for anchor, title in titles.items())


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


def render(verdict: ReportVerdict, sections: Sequence[Section], **values: Any) -> str:
    """The HTML page with ``verdict`` and ``sections``, whose templates see ``values``. Text is escaped; only
    ``markupsafe.Markup`` is not."""
    page = _environment().get_template("page.html").render(verdict=verdict, sections=sections, **values)
    return readable(page)  # file names may have bytes that UTF-8 cannot encode


def add_later_note(page: str, text: str) -> str:
    """``page``, which ``render`` made earlier, with ``text`` in front of its contents, in place of an earlier note. A
    page without contents stays as it is."""
    note = f'<p id=later class="verdict warn">{escape(text)}</p>\n'
    return re.sub(f"(?:{LATER_NOTE})?(?={CONTENTS})", lambda _: note, page, count=1)


def jpeg(image: NDArray[np.uint8]) -> str:
    """An H×W×3 BGR image as a data URI."""
    data = cv2.imencode(".jpg", image, [cv2.IMWRITE_JPEG_QUALITY, 85])[1]
    return f"data:image/jpeg;base64,{base64.b64encode(data.tobytes()).decode('ascii')}"


def png(data: bytes) -> str:
    """An encoded PNG file as a data URI."""
    return f"data:image/png;base64,{base64.b64encode(data).decode('ascii')}"


def named_values(values: Mapping[str, object], prefix: str = "") -> list[tuple[str, str]]:
    """The leaves of nested mappings as rows of a name and a value. The name has the keys on the way to the leaf, with
    spaces instead of underscores. Rows without a value (None, or an empty list) are left out."""
    rows: list[tuple[str, str]] = []
    for key, value in values.items():
        name = f"{prefix}{key}".replace("_", " ")
        if isinstance(value, Mapping):
            rows += named_values(value, f"{name}: ")
        elif (text := _value_text(value)) != "":
            rows.append((name, text))
    return rows


def _value_text(value: object) -> str:
    if value is None:
        return ""
    if isinstance(value, bool):
        return "yes" if value else "no"
    if isinstance(value, float):
        return f"{value:.6g}"
    if isinstance(value, str) or not isinstance(value, Iterable):
        return str(value)
    return ", ".join(map(_value_text, value))
