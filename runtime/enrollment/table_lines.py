"""Reading the people of a CSV file: samples of `rkface gallery export --csv`, or a list of names and photos."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

from ..core.checks import describe_type
from ..core.errors import InputError
from ..core.files import parse_json
from ..core.tables import check_width, column_letter, find_columns, read_rows_and_errors
from ..core.text import show_value
from ..gallery.people import clean_name
from .json_lines import GalleryRecord, read_groups, read_number, read_sample

COLUMNS = (
    "name", "metadata", "groups", "threshold", "reviews",
    "source", "quality", "created", "identity", "embedding", "crop",
)  # fmt: skip
TABLE_SUFFIXES = (".csv", ".tsv")
OTHER_NAMES = {
    **dict.fromkeys(COLUMNS, ()),
    "name": ("person", "label", "full name", "who", "identity name"),
    "photo": ("file", "path", "image", "picture", "filename", "photo path", "image path", "img", "photo file"),
}


def read_table(source: Path, crops: Path) -> Iterator[GalleryRecord | InputError]:
    """The records of the CSV file ``source``, a sample or a photo each; an InputError for each line that cannot be
    used. ``crops``: the folder of the crops. Raises InputError if the whole file cannot be read."""
    rows = read_rows_and_errors(source)
    header = next(rows, None)
    if isinstance(header, InputError):
        raise header
    places = find_columns(source, header, OTHER_NAMES) if header else {}
    if header is None or "name" not in places or not places.keys() & {"photo", "embedding", "crop"}:
        found = f", found {show_value(' | '.join(header.cells))}" if header else ", but the file is empty"
        raise InputError(
            f"{source}, line {header.line if header else 1}: the first line must be a header with the columns name and "
            f"photo (or {', '.join(COLUMNS[1:])}){found}"
        )
    for row in rows:
        if isinstance(row, InputError):
            yield row
            continue
        try:
            check_width(source, row, header)
            cells = {name: row.cells[at] for name, at in places.items() if at < len(row.cells)}
            yield replace(_read_csv_row(cells, source, crops), line=row.line)
        except InputError as error:
            yield error
        except _CellError as error:
            at = places.get(error.column)
            column = f", column {column_letter(at)} ({error.column})" if at is not None else ""
            yield InputError(f"{source}, line {row.line}{column}: {error}")
        except ValueError as error:
            yield InputError(f"{source}, line {row.line}: {error}")


class _CellError(Exception):
    def __init__(self, column: str, reason: str) -> None:
        super().__init__(reason)
        self.column = column


def _read_csv_row(cells: dict[str, str], source: Path, crops: Path) -> GalleryRecord:
    """Raises _CellError for a cell that is wrong, and the errors of ``read_sample``."""
    filled = {name: cell for name, cell in cells.items() if cell}
    if "name" not in filled:
        raise _CellError("name", "the name is empty")
    try:
        name = clean_name(filled["name"])
    except InputError as error:
        raise _CellError("name", str(error)) from None
    try:
        metadata = parse_json(filled.get("metadata", "{}"))
        if not isinstance(metadata, dict):
            raise ValueError(f"but {describe_type(metadata)}")
    except ValueError as error:
        raise _CellError("metadata", f"this is not an object in JSON ({error})") from None
    try:
        groups = read_groups(parse_json(filled.get("groups", "[]")))
    except (InputError, ValueError) as error:
        raise _CellError("groups", f"this is not a list of groups in JSON ({error})") from None
    sample = read_sample(filled, crops)
    photos = [_find_photo(source.parent, filled["photo"])] if "photo" in filled else []
    if sample is None and not photos:
        raise _CellError("photo", f"{name} has no photo, embedding or crop in this line: nobody is added without one")
    threshold = read_number(filled, "threshold", 1) if "threshold" in filled else None
    return GalleryRecord(name, metadata, [sample] if sample else [], photos, threshold=threshold, groups=groups)


def _find_photo(folder: Path, written: str) -> Path:
    """The photo that a table in ``folder`` calls ``written``, possibly with the separators of Windows."""
    path = folder / written
    return folder / written.replace("\\", "/") if "\\" in written and not path.exists() else path
