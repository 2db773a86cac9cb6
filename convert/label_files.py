"""CSV files in which a user labels photos: pairs that show one person or two, and groups of people."""

from __future__ import annotations

import csv
import io
from dataclasses import dataclass
from pathlib import Path

from rkface.runtime.core.errors import InputError
from rkface.runtime.core.files import read_text

MAX_BYTES = 200_000_000  # 2 million pairs of long names
ANSWERS = {"yes": True, "true": True, "1": True, "no": False, "false": False, "0": False}


@dataclass(frozen=True)
class CsvRow:
    """A row of a CSV file, and its line in the file."""

    line: int
    cells: tuple[str, ...]

    @property
    def shown(self) -> str:
        """The start of the row, for messages."""
        return "".join(one if one.isprintable() else "?" for one in ",".join(self.cells)[:80])


def read_pairs(path: Path) -> list[tuple[str, str, bool]]:
    """Read labeled pairs: three columns: photo, photo, Yes (the same person) or No. A header line may come first.

    Raises InputError, with the line number, if a line has another form.
    """
    rows = read_csv_rows(path)
    if rows and not _is_pair(rows[0]):
        rows = rows[1:]  # the header
    for row in rows:
        if not _is_pair(row):
            raise InputError(
                f"{path}, line {row.line}: expected «photo,photo,Yes» or «photo,photo,No», found {row.shown}"
            )
    return [(row.cells[0], row.cells[1], ANSWERS[row.cells[2].lower()]) for row in rows]


def _is_pair(row: CsvRow) -> bool:
    return len(row.cells) == 3 and all(row.cells) and row.cells[2].lower() in ANSWERS


def read_csv_rows(path: Path) -> list[CsvRow]:
    """The rows of a CSV file; spaces around each cell are removed, and empty lines are left out.

    Cells are separated by commas, semicolons or tabs, whichever the first line has. Raises InputError if the file is
    unreadable, too large or not CSV.
    """
    text = read_text(path, MAX_BYTES)
    first = text.partition("\n")[0]
    separator = max(",;\t", key=first.count)
    try:
        reader = csv.reader(io.StringIO(text, newline=""), delimiter=separator)
        rows = [CsvRow(reader.line_num, tuple(cell.strip() for cell in row)) for row in reader]
    except (ValueError, csv.Error) as error:
        raise InputError(f"{path}: cannot be read as CSV ({error})") from error
    return [row for row in rows if any(row.cells)]
