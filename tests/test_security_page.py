"""docs/security.md names every fuzz target, and only tests that exist."""

import re
from pathlib import Path

ROOT = Path(__file__).resolve().parents[1]
PAGE = (ROOT / "docs/security.md").read_text(encoding="utf-8")


def test_every_reader_that_is_fuzzed_is_on_the_page():
    sources = "".join(path.read_text(encoding="utf-8") for path in (ROOT / "tests/fuzz").glob("targets_*.py"))
    targets = set(re.findall(r'\bTarget\(\s*"([\w-]+)"', sources))
    assert targets and targets <= set(re.findall(r"`([\w-]+)`", PAGE))


def test_every_test_on_the_page_exists():
    named = set(re.findall(r"`((?:tests|runtime)/[\w/.]+)`", PAGE))
    missing = [path for path in named if not (ROOT / path).exists()]
    assert named and missing == []
    alone = set(re.findall(r"`(test_\w+\.py)`", PAGE))
    assert [name for name in alone if not list((ROOT / "tests").rglob(name))] == []
