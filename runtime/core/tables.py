"""CSV files as spreadsheets and people write them: any separator, byte order marks, UTF-16, and other column names."""

from __future__ import annotations

import codecs
import csv
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TextIO

from .errors import InputError
from .files import require_file
from .text import show_value

SEPARATORS = ",;\t|"
MOST_CELL = 200_000  # characters of a cell: an embedding has some thousand
MOST_LINE = 4_000_000  # characters of a line
SAMPLE = 65_536  # bytes that show how a file is encoded
FORMULAS = ("=", "+", "-", "@", "\t", "\r", "\n", "\uff1d", "\uff0b", "\uff0d", "\uff20")  # the last four: full width
BOMS = (
    (codecs.BOM_UTF8, "utf-8-sig"),
    (codecs.BOM_UTF16_LE, "utf-16"),
    (codecs.BOM_UTF16_BE, "utf-16"),
)


@dataclass(frozen=True)
class TableRow:
    """A row of a CSV file: the number of its first line, and its cells, without spaces around them."""

    line: int
    cells: tuple[str, ...]


def read_rows(path: Path) -> Iterator[TableRow]:
    """``read_rows_and_errors``, but raises the first InputError."""
    for row in read_rows_and_errors(path):
        if isinstance(row, InputError):
            raise row
        yield row


def read_rows_and_errors(path: Path) -> Iterator[TableRow | InputError]:
    """The rows of the CSV file ``path`` that have a cell with content, the header too, and an InputError, with line and
    column, for each line that is not CSV.

    The separator is a comma, a semicolon, a tab or a vertical bar, whichever the first row has most of. Raises
    InputError where the file cannot be read, or is not text.
    """
    try:
        require_file(path)
        encoding = _find_encoding(path)
        with path.open(encoding=encoding, newline="") as file:
            first = file.readline(SAMPLE)
            separator = _find_separator(first)
            if not first.lower().startswith("sep="):  # a line that Excel writes, and does not show
                file.seek(0)
                yield from _split_rows(path, file, separator, 1)
            else:
                yield from _split_rows(path, file, separator, 2)
    except OSError as error:
        raise InputError(f"{path}: cannot be read: {error.strerror or error}") from error
    except UnicodeDecodeError as error:
        raise InputError(f"{path}, {_find_undecodable(path)}: save the file as CSV in UTF-8") from error


def _split_rows(path: Path, file: TextIO, separator: str, line: int) -> Iterator[TableRow | InputError]:
    """The rows of ``file`` from its position, which is the start of line number ``line``.

    A row that is not CSV costs its first line only: a missing quote would else take all lines up to the next quote.
    """
    csv.field_size_limit(MOST_CELL)
    while True:
        start = file.tell()
        rows = csv.reader(_limit_lines(file), delimiter=separator, strict=True)
        try:
            cells = next(rows, None)
        except (ValueError, csv.Error) as error:
            if isinstance(error, UnicodeDecodeError):
                raise
            hint = "is a quote missing or too many?" if "NUL" not in str(error) else "is this a text file?"
            yield InputError(f"{path}, line {line}: cannot be read as CSV ({error}): {hint}")
            file.seek(start)
            if len(file.readline(MOST_LINE + 1)) > MOST_LINE:  # no table
                return
            line += 1
            continue
        if cells is None:
            return
        row = TableRow(line, tuple(cell.strip() for cell in cells))
        line += rows.line_num
        problem = _find_nul(path, row)
        if problem or any(row.cells):
            yield problem or row


def find_columns(path: Path, header: TableRow, known: Mapping[str, Sequence[str]]) -> dict[str, int]:
    """The place of each column of ``known`` that ``header`` has.

    ``known``: the name of each column, and its other names. Case, spaces, hyphens and underscores do not matter. Raises
    InputError if two columns mean the same.
    """
    meanings = {_plain(other): name for name, others in known.items() for other in (name, *others)}
    found: dict[str, int] = {}
    for place, cell in enumerate(header.cells):
        name = meanings.get(_plain(cell))
        if name in found:
            first = header.cells[found[name]]
            raise InputError(
                f"{path}, line {header.line}: the columns {show_value(first)} and {show_value(cell)} mean the same: "
                "remove one"
            )
        if name:
            found[name] = place
    return found


def column_letter(place: int) -> str:
    """The letter of a column as spreadsheets show it: 0 → A, 27 → AB."""
    letters = ""
    while place >= 0:
        place, digit = divmod(place, 26)
        letters, place = chr(ord("A") + digit) + letters, place - 1
    return letters


def as_plain_text(cell: str) -> str:
    """``cell`` so that a spreadsheet shows it: one that begins like a formula gets an apostrophe in front, after OWASP,
    "CSV Injection". Who can choose a name could otherwise run a formula at those who open the file."""
    return f"'{cell}" if cell.startswith(FORMULAS) else cell


def check_width(path: Path, row: TableRow, header: TableRow) -> None:
    """Raise InputError if ``row`` has more cells with content than ``header`` has columns."""
    if any(row.cells[len(header.cells) :]):
        raise InputError(
            f"{path}, line {row.line}: {len(row.cells)} cells, but the header has {len(header.cells)}: put quotes "
            "around a text that contains the separator"
        )


def _plain(name: str) -> str:
    return "".join(one for one in name.casefold() if one not in " -_\u00a0\ufeff\"'")


def _find_encoding(path: Path) -> str:
    with path.open("rb") as file:
        sample = file.read(SAMPLE)
    for mark, encoding in BOMS:
        if sample.startswith(mark):
            return encoding
    for encoding, low in (("utf-16-le", sample[1::2]), ("utf-16-be", sample[::2])):  # Latin text without a mark
        if len(sample) > 3 and low.count(0) > 0.8 * len(low):
            return encoding
    return "utf-8"


def _limit_lines(file: TextIO) -> Iterator[str]:
    """The lines of ``file``. Raises ValueError for one that is too long: it would fill the memory."""
    while line := file.readline(MOST_LINE + 1):
        if len(line) > MOST_LINE:
            raise ValueError(f"the line has more than {MOST_LINE:,} characters")
        yield line


def _find_separator(line: str) -> str:
    if line.lower().startswith("sep=") and len(line) > 4 and line[4] in SEPARATORS:
        return line[4]
    unquoted = "".join(line.split('"')[::2])
    return max(SEPARATORS, key=unquoted.count)


def _find_nul(path: Path, row: TableRow) -> InputError | None:
    for place, cell in enumerate(row.cells):
        if "\0" in cell:
            where = f"{path}, line {row.line}, column {column_letter(place)}"
            return InputError(f"{where}: there is a NUL character: is this a text file?")
    return None


def _find_undecodable(path: Path) -> str:
    """Where the first byte is that is not UTF-8."""
    before = 0
    with path.open("rb") as file:
        for number, line in enumerate(iter(lambda: file.readline(4 * MOST_LINE), b""), 1):
            try:
                line.decode("utf-8")
            except UnicodeDecodeError as error:
                character = len(line[: error.start].decode("utf-8")) + 1
                return f"line {number}, character {character}: not UTF-8 at byte {before + error.start}"
            before += len(line)
    return "the last line: not UTF-16"
