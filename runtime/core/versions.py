"""Versions that rkface is made for: the only place that states them. The Makefile reads this file, too.

Standard library only and syntax of Python 3.8: `rkface doctor` and `rkface deploy` send this file to boards.
tests/boards/test_versions.py checks the files that cannot read it (pyproject.toml, boards/Dockerfile, chips.toml).
"""

from __future__ import annotations

TOOLKIT = "2.5.0"  # rknn-toolkit2 that converts, and rknn-toolkit-lite2 and librknnrt that run its models

# CPython for which both rkface (3.10 or newer) and rknn-toolkit-lite2 (wheels for 3.7 to 3.12) exist.
PYTHON_OLDEST, PYTHON_NEWEST = (3, 10), (3, 12)
PYTHONS = ("3.11", "3.12", "3.10")  # in the order of preference: tests run on 3.11
