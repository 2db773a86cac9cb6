"""One name stands for one thing."""

import ast
import re
from collections import Counter, defaultdict
from pathlib import Path

ROOT = Path(__file__).resolve().parents[1]
CLASS = re.compile(r"^ *class (\w+)", re.MULTILINE)


def test_no_two_classes_have_the_same_name():
    parts = ("runtime", "calibration", "boards", "convert")
    sources = {path: path.read_text(encoding="utf-8") for part in parts for path in sorted((ROOT / part).rglob("*.py"))}
    counts = Counter(name for text in sources.values() for name in CLASS.findall(text))  # in docstrings, too
    places = defaultdict(list)
    for path, text in sources.items():
        if any(counts[name] > 1 for name in CLASS.findall(text)):  # parsing all files would take a second
            for node in ast.walk(ast.parse(text)):
                if isinstance(node, ast.ClassDef):
                    places[node.name].append(path.relative_to(ROOT).as_posix())
    assert {name: found for name, found in places.items() if len(found) > 1} == {}
