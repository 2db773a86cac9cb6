"""CSV files in which a user labels photos: pairs that show one person or two, and groups of people."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from rkface.calibration.choose import connected_components
from rkface.runtime.core.errors import InputError
from rkface.runtime.core.tables import TableRow, read_rows
from rkface.runtime.core.text import in_a_line
from rkface.runtime.vision.photo_files import SUFFIXES

WORDS = {"yes": True, "true": True, "1": True, "no": False, "false": False, "0": False}


def read_pairs(path: Path) -> list[tuple[str, str, bool]]:
    """Read labeled pairs in three columns: photo, photo, Yes (the same person) or No. A header line is allowed.

    Raises InputError, with the line number, if a line has another form, and if there is no pair.
    """
    pairs = []
    for number, row in enumerate(read_rows(path)):
        cells = _used_cells(row)
        if len(cells) == 3 and all(cells) and cells[2].lower() in WORDS:
            pairs.append((cells[0], cells[1], WORDS[cells[2].lower()]))
        elif number or not _is_header(cells):
            raise InputError(
                f"{path}, line {row.line}: expected «photo,photo,Yes» or «photo,photo,No», found {show_row(row)}"
            )
    if not pairs:
        raise InputError(f"{path} has no pairs: write lines of «photo,photo,Yes» or «photo,photo,No» into it")
    return pairs


def find_people(path: Path, pairs: Sequence[tuple[str, str, bool]]) -> dict[str, int]:
    """A number for the person in each photo of ``pairs``, which ``read_pairs`` read from ``path``: photos that pairs of
    one person connect, directly or through other photos, show the same person.

    Raises InputError if a pair of two people contradicts that.
    """
    names = sorted({name for left, right, _ in pairs for name in (left, right)})
    number = {name: index for index, name in enumerate(names)}
    joined = connected_components(len(names), [(number[left], number[right]) for left, right, same in pairs if same])
    for left, right, same in pairs:
        if not same and left == right:
            raise InputError(f"{path}: {left!r} and the same photo are labeled as two people: correct the wrong label")
        if not same and joined[number[left]] == joined[number[right]]:
            raise InputError(
                f"{path}: {left!r} and {right!r} are labeled as two people, but other pairs say that they show one "
                "person: correct the wrong label"
            )
    return dict(zip(names, joined, strict=True))


def require_both_labels(where: Path, same: Sequence[bool], advice: str) -> None:
    """Raise InputError if all labels in the file ``where`` are the same. ``advice`` says what to do."""
    if len(set(same)) > 1:
        return
    kind, missing = ("one person", "two people") if same[0] else ("two people", "one person")
    raise InputError(
        f"every pair in {where} ({len(same):,}) is labeled as {kind}, but pairs of {missing} are needed, too: {advice}"
    )


def read_csv_rows(path: Path) -> list[TableRow]:
    """The rows of a CSV file without its header line. Raises InputError if the file is unreadable or not CSV."""
    return list(read_rows(path))[1:]


def _used_cells(row: TableRow) -> tuple[str, ...]:
    """The cells without empty ones at the end, which spreadsheets add."""
    cells = row.cells
    while cells and not cells[-1]:
        cells = cells[:-1]
    return cells


def _is_header(cells: tuple[str, ...]) -> bool:
    """Whether these are names of columns: "photo.1" is one that pandas writes, and no photo."""
    return len(cells) == 3 and not any(Path(cell).suffix.lower() in SUFFIXES for cell in cells)


def show_row(row: TableRow) -> str:
    """The start of a row, for messages."""
    return in_a_line(",".join(row.cells)[:80])
