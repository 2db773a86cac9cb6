"""CSV files in which a user labels photos: pairs that show one person or two, and groups of people."""

from __future__ import annotations

import csv
from pathlib import Path

from rkface.runtime.core.errors import InputError


def read_pairs(path: Path) -> list[tuple[str, str, bool]]:
    """Read labeled pairs: a header line, then three columns: photo, photo, Yes (the same person) or No.

    Raises InputError, with the line number, if a line has another form.
    """
    words = {"yes": True, "true": True, "1": True, "no": False, "false": False, "0": False}
    rows = read_csv_rows(path)
    for number, row in enumerate(rows, 2):
        if len(row) != 3 or row[2].lower() not in words:
            raise InputError(
                f"{path}, line {number}: expected «photo,photo,Yes» or «photo,photo,No», found {','.join(row)[:80]}"
            )
    return [(row[0], row[1], words[row[2].lower()]) for row in rows]


def read_csv_rows(path: Path) -> list[list[str]]:
    """The rows of a CSV file without its header line; spaces around each cell are removed.

    Raises InputError if the file is unreadable or not CSV.
    """
    try:
        with path.open(newline="", encoding="utf-8") as file:
            return [[cell.strip() for cell in row] for row in csv.reader(file) if row][1:]
    except OSError as error:
        raise InputError(f"{path}: cannot be read as CSV: {error.strerror or error}") from error
    except UnicodeDecodeError as error:
        raise InputError(f"{path}: not UTF-8 at byte {error.start}: save it as CSV in UTF-8") from error
    except (ValueError, csv.Error) as error:
        raise InputError(f"{path}: cannot be read as CSV ({error})") from error
