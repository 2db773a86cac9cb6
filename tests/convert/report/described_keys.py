"""The keys of a report's JSON, and those that docs/report.md describes."""

import re
from pathlib import Path

DOCS = Path(__file__).resolve().parents[3] / "docs/report.md"
OTHERS = ("manifest", "recipe", "toolkit_seconds", "cosines")  # described elsewhere, or their keys are data
DATA = ("groups", "tar")  # their keys may be data, and their values are described


def keys_of(value):
    """The keys of nested mappings, except those that are data."""
    if isinstance(value, list | tuple):
        return set().union(*map(keys_of, value))
    if not isinstance(value, dict):
        return set()
    found = set(value)
    for key, inner in value.items():
        by_data = key in DATA and isinstance(inner, dict) and "value" not in inner
        found |= set() if key in OTHERS else keys_of(list(inner.values()) if by_data else inner)
    return found


def described_keys(heading):
    """The names in code under ``heading``."""
    (section,) = re.findall(rf"^## {re.escape(heading)}$(.*?)(?:^## |\Z)", DOCS.read_text("utf-8"), re.M | re.S)
    return set(re.findall(r"`(\w+)`", section)) - {"null"}
