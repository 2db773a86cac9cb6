"""The pictures of the documentation: 2 MB in total at most, and each one is shown on a page."""

import re
from pathlib import Path

ROOT = Path(__file__).resolve().parents[1]
PICTURES = {path for path in (ROOT / "docs").iterdir() if path.suffix in {".gif", ".jpg", ".png", ".svg", ".webp"}}
PAGES = [ROOT / "README.md", *(ROOT / "docs").glob("*.md")]


def test_each_picture_is_shown_and_each_shown_picture_exists():
    shown = {
        (page.parent / target).resolve()
        for page in PAGES
        for target in re.findall(r"!\[[^\]]*\]\(([^)\s]+)\)", page.read_text(encoding="utf-8"))
        if "://" not in target
    }
    assert shown == PICTURES


def test_pictures_have_2_megabytes_at_most():
    assert sum(path.stat().st_size for path in [*PICTURES, *(ROOT / "examples").glob("*.ipynb")]) <= 2_000_000


def test_each_picture_has_a_description_for_people_who_cannot_see_it():
    for page in PAGES:
        for text in re.findall(r"!\[([^\]]*)\]", page.read_text(encoding="utf-8")):
            assert len(text.split()) >= 5, f"{page.name}: {text!r} does not describe the picture"
