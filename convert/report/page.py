"""HTML for the report: style, tables, pictures. One file, no network; light and dark, on a desk and on a phone."""

from __future__ import annotations

import base64
from collections.abc import Iterable, Sequence
from html import escape
from typing import Any

import cv2

STYLE = """
:root { color-scheme: light dark; --line: #8884; --soft: #767676; --good: #2a8f5c; --bad: #c8402f; }
@media (prefers-color-scheme: dark) { :root { --soft: #999; --good: #45b87c; --bad: #e8604f; } }
body { font: 15px/1.5 system-ui, sans-serif; max-width: 62rem; margin: 2rem auto; padding: 0 1rem; }
body { overflow-wrap: break-word; }
h1 { font-size: 1.5rem; margin-bottom: .2rem; } h2 { font-size: 1.1rem; margin: 2rem 0 .5rem; }
h3 { font-size: 1rem; margin: 1.2rem 0 .3rem; }
.wide { overflow-x: auto; } table { border-collapse: collapse; width: 100%; }
td, th { padding: .25rem .7rem .25rem 0; border-bottom: 1px solid var(--line); text-align: left; vertical-align: top; }
th { font-weight: 600; vertical-align: bottom; }
td.n, th.n { text-align: right; font-variant-numeric: tabular-nums; }
code { font-size: .85em; overflow-wrap: anywhere; } .soft { color: var(--soft); }
.verdict { border-left: 4px solid var(--good); padding: .3rem .8rem; } .verdict.bad { border-color: var(--bad); }
.faces { display: flex; flex-wrap: wrap; gap: .4rem; } figure { margin: 0; text-align: center; font-size: .8rem; }
figure img { display: block; max-width: 100%; } svg { display: block; width: 100%; max-width: 40rem; height: auto; }
@media (max-width: 45rem) { .wide table { width: max-content; min-width: 100% } .wide td { max-width: 15rem } }
details { margin: .4rem 0; } summary { cursor: pointer; }
"""


def page(title: str, body: Iterable[str]) -> str:
    return (
        f"<!doctype html><html lang=en><meta charset=utf-8><title>{escape(title)}</title>"
        f"<meta name=viewport content='width=device-width'><style>{STYLE}</style>" + "\n".join(body) + "</html>\n"
    )


def table(head: Sequence[str], rows: Iterable[Sequence[object]], numbers: int | None = None, raw: bool = False) -> str:
    """``numbers`` is the first column set as numbers, to the right."""

    def cells(tag: str, row: Sequence[object]) -> str:
        shown = [
            f"<{tag}{' class=n' if numbers is not None and index >= numbers else ''}>"
            f"{value if raw else escape(str(value))}</{tag}>"
            for index, value in enumerate(row)
        ]
        return f"<tr>{''.join(shown)}</tr>"

    top = cells("th", head) if any(head) else ""
    return f"<div class=wide><table>{top}{''.join(cells('td', row) for row in rows)}</table></div>"


def soft(text: str) -> str:
    return f"<p class=soft>{escape(text)}</p>"


def jpeg(image: Any) -> str:
    data = cv2.imencode(".jpg", image, [cv2.IMWRITE_JPEG_QUALITY, 85])[1]
    return f"data:image/jpeg;base64,{b64(data.tobytes())}"


def b64(data: bytes) -> str:
    return base64.b64encode(data).decode("ascii")
