"""Export and import of a gallery as JSON lines or CSV, and computing its embeddings again for another model.

A JSON line is a person, a CSV row is a sample. Embeddings are base64 of little-endian float32; crops are separate PNG
files. docs/gallery.md describes the fields.
"""

from __future__ import annotations

import base64
import binascii
import csv
import json
import os
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, TextIO

import numpy as np
from numpy.typing import NDArray

from ..core.errors import InputError, WorkError
from ..core.files import parse_json
from ..core.tables import check_width, column_letter, find_columns, read_rows
from ..core.text import show_value
from ..gallery.gallery import Gallery
from ..gallery.people import Person, Sample, clean_name, embedding_identity
from ..gallery.rows import read_crop, replace_embeddings
from ..inference.pipeline import Pipeline
from ..vision.image import read_image_file
from .enroll import EnrollOptions, Verdict, decode_crop, enroll_photos

SCHEMA, VERSION = "rkface.person", 1
COLUMNS = ("name", "metadata", "source", "quality", "created", "identity", "embedding", "crop")
TABLE_SUFFIXES = (".csv", ".tsv")
OTHER_NAMES = {
    **dict.fromkeys(COLUMNS, ()),
    "name": ("person", "label", "full name", "who", "identity name"),
    "photo": ("file", "path", "image", "picture", "filename", "photo path", "image path", "img", "photo file"),
}
BATCH = 16  # crops that are embedded at once

Embed = Callable[[Sequence[NDArray[np.uint8]]], NDArray[np.float32]]


@dataclass(frozen=True)
class ReembedResult:
    """``done``: number of samples with a new embedding. ``left``: number of samples that keep their old embedding and
    are ignored, because their crop was not stored or is damaged."""

    done: int
    left: int


@dataclass(frozen=True)
class GalleryRecord:
    """The content of one line about one person. ``photos`` must still be enrolled."""

    name: str
    metadata: dict[str, Any]
    samples: list[Sample]
    photos: list[Path]


def export_people(
    gallery: Gallery, people: Sequence[Person], out: TextIO, *, table: bool, embeddings: bool, crops: Path | None
) -> None:
    """Write ``people`` to ``out``, as CSV (``table``) or as JSON lines.

    Embeddings and crops are biometric data and are only written on request: with ``embeddings``, and to the folder
    ``crops`` (files with mode 0600).
    """
    writer = csv.DictWriter(out, COLUMNS, lineterminator="\n")
    if table:
        writer.writeheader()
    for person in people:
        samples = [_describe_sample(sample, person, embeddings, crops) for sample in gallery.samples(person)]
        if table:
            metadata = json.dumps(person.metadata, ensure_ascii=False)
            writer.writerows({"name": person.name, "metadata": metadata} | sample for sample in samples or [{}])
        else:
            line = {
                "schema": SCHEMA,
                "version": VERSION,
                "id": person.id,
                "name": person.name,
                "metadata": person.metadata,
                "created": person.created,
                "changed": person.changed,
                "samples": samples,
            }
            out.write(json.dumps(line, ensure_ascii=False) + "\n")


def _describe_sample(sample: Sample, person: Person, embeddings: bool, crops: Path | None) -> dict[str, Any]:
    """The fields of an exported sample. Writes its crop to the folder ``crops``."""
    fields: dict[str, Any] = {
        "source": sample.source,
        "quality": round(sample.quality, 4),
        "created": sample.created,
        "identity": sample.identity,
    }
    if embeddings:
        fields["embedding"] = base64.b64encode(sample.embedding.astype("<f4").tobytes()).decode()
    if crops is not None and sample.crop is not None:
        file = f"{person.id}-{sample.id}.png"
        try:
            with os.fdopen(os.open(crops / file, os.O_CREAT | os.O_WRONLY | os.O_TRUNC, 0o600), "wb") as handle:
                handle.write(sample.crop)
        except OSError as error:
            raise WorkError(f"{crops / file}: cannot be written: {error.strerror or error}") from error
        fields["crop"] = file
    return fields


def read_records(source: Path, crops: Path) -> Iterator[GalleryRecord | InputError]:
    """Read a file of `rkface gallery export`, or a CSV file with the columns name and photo, line by line.

    Yields an InputError for a line that cannot be read. ``crops``: the folder of the crops. Raises InputError if the
    whole file cannot be read.
    """
    if source.suffix.lower() in TABLE_SUFFIXES:
        yield from _read_csv(source, crops)
        return
    try:
        with source.open(encoding="utf-8-sig", newline="") as file:
            yield from _read_json_lines(file, source, crops)
    except UnicodeDecodeError as error:
        raise InputError(f"{source}: not UTF-8 at byte {error.start}: save it as UTF-8") from error
    except OSError as error:
        raise InputError(f"{source}: cannot be read: {error.strerror or error}") from error


def _read_json_lines(file: TextIO, source: Path, crops: Path) -> Iterator[GalleryRecord | InputError]:
    for number, line in enumerate(file, 1):
        if not line.strip():
            continue
        try:
            fields = json.loads(line)
            if not isinstance(fields, dict):
                raise ValueError(f"this is not an object of {SCHEMA}")
            if fields.get("schema") != SCHEMA or fields.get("version") != VERSION:
                raise ValueError(f"this is not {SCHEMA}, version {VERSION}")
            samples = [sample for each in fields["samples"] if (sample := _read_sample(each, crops)) is not None]
            yield GalleryRecord(str(fields["name"]), dict(fields["metadata"]), samples, [])
        except (ValueError, KeyError, TypeError, AttributeError) as error:
            yield InputError(f"{source}, line {number}: {_explain(error)}")


def _read_csv(source: Path, crops: Path) -> Iterator[GalleryRecord | InputError]:
    rows = read_rows(source)
    header = next(rows, None)
    places = find_columns(source, header, OTHER_NAMES) if header else {}
    if header is None or "name" not in places or not places.keys() & {"photo", "embedding", "crop"}:
        found = f", found {show_value(' | '.join(header.cells))}" if header else ", but the file is empty"
        raise InputError(
            f"{source}, line {header.line if header else 1}: the first line must be a header with the columns name and "
            f"photo (or {', '.join(COLUMNS[1:])}){found}"
        )
    for row in rows:
        try:
            check_width(source, row, header)
            yield _read_csv_row(
                {name: row.cells[at] for name, at in places.items() if at < len(row.cells)}, source, crops
            )
        except InputError as error:
            yield error
        except _CellError as error:
            at = places.get(error.column)
            column = f", column {column_letter(at)} ({error.column})" if at is not None else ""
            yield InputError(f"{source}, line {row.line}{column}: {error}")
        except (ValueError, KeyError, TypeError, RecursionError) as error:
            yield InputError(f"{source}, line {row.line}: {_explain(error)}")


class _CellError(Exception):
    def __init__(self, column: str, reason: str) -> None:
        super().__init__(reason)
        self.column = column


def _read_csv_row(cells: dict[str, str], source: Path, crops: Path) -> GalleryRecord:
    """Raises _CellError for a cell that is wrong, and the errors of ``_read_sample``."""
    filled = {name: cell for name, cell in cells.items() if cell}
    if "name" not in filled:
        raise _CellError("name", "the name is empty")
    try:
        name = clean_name(filled["name"])
    except InputError as error:
        raise _CellError("name", str(error)) from None
    try:
        metadata = dict(parse_json(filled.get("metadata", "{}")))
    except (ValueError, TypeError) as error:
        raise _CellError("metadata", f"this is not an object in JSON ({error})") from None
    sample = _read_sample(filled, crops)
    photos = [_find_photo(source.parent, filled["photo"])] if "photo" in filled else []
    if sample is None and not photos:
        raise _CellError("photo", f"{name} has no photo, embedding or crop in this line: nobody is added without one")
    return GalleryRecord(name, metadata, [sample] if sample else [], photos)


def _find_photo(folder: Path, written: str) -> Path:
    """The photo that a table in ``folder`` calls ``written``, possibly with the separators of Windows."""
    path = folder / written
    return folder / written.replace("\\", "/") if "\\" in written and not path.exists() else path


def _explain(error: Exception) -> str:
    if isinstance(error, KeyError):
        return f"{error.args[0]} is missing"
    if isinstance(error, json.JSONDecodeError):
        return f"not valid JSON at character {error.pos + 1}: use a file that `rkface gallery export` wrote"
    return str(error)


def _read_sample(fields: dict[str, Any], crops: Path) -> Sample | None:
    """The sample with these fields; None if it has neither an embedding nor a crop. Raises ValueError."""
    crop = None
    if fields.get("crop"):
        path = crops / Path(fields["crop"]).name  # only the name: a line must not read files outside of this folder
        try:
            crop = read_image_file(path)
        except InputError as error:
            raise ValueError(f"{error} (use --crops to name the folder)") from None
        if (image := decode_crop(crop)) is None or image.shape[0] != image.shape[1]:
            raise ValueError(f"{path} is not a crop: it cannot be decoded, or it is not square")
    try:
        vector = np.frombuffer(base64.b64decode(fields.get("embedding") or "", validate=True), "<f4")
    except (binascii.Error, ValueError):
        raise ValueError("the embedding is not base64 of float32 numbers") from None
    if not np.isfinite(vector).all() or (len(vector) and not np.any(vector)):
        raise ValueError("the embedding is all zeros, or contains NaN or infinity")
    if crop is None and not len(vector):
        return None
    return Sample(
        vector.astype(np.float32),
        crop,
        float(fields.get("quality") or 0),
        str(fields.get("source") or ""),
        float(fields.get("created") or 0),
        str(fields.get("identity") or ""),
    )


def import_record(
    gallery: Gallery, record: GalleryRecord, pipeline: Pipeline | None, rules: EnrollOptions
) -> list[Verdict]:
    """Add the person and the samples of ``record`` to ``gallery``, and return a verdict for each sample and photo.

    ``pipeline`` embeds crops that have no embedding of its model, and enrolls photos. A sample that the gallery already
    has does not change. Raises InputError if the name is invalid or an embedding is of another model.
    """
    verdicts = []
    identity = embedding_identity(pipeline.manifest) if pipeline else None
    if not record.samples and not record.photos:
        gallery.add(record.name, [], record.metadata)
    for sample in record.samples:
        new = sample
        if pipeline and sample.crop and (not len(sample.embedding) or sample.identity not in ("", identity)):
            image = decode_crop(sample.crop)
            assert image is not None, "crops are decoded when they are read"
            new = replace(sample, embedding=pipeline.embed([image])[0], identity=identity or "")
        if not len(new.embedding):
            verdicts.append(Verdict("refused", record.name, sample.source, "no embedding: use --bundle to compute it"))
        elif gallery.has_sample(record.name, new):
            verdicts.append(Verdict("known", record.name, sample.source, "the gallery already has it"))
        else:
            gallery.add(record.name, [new], record.metadata)
            verdicts.append(Verdict("enrolled", record.name, sample.source, quality=sample.quality))
    if pipeline is None:
        verdicts += [Verdict("refused", record.name, str(photo), "photos need --bundle") for photo in record.photos]
    else:
        verdicts += enroll_photos(gallery, pipeline, record.name, record.photos, rules=rules, metadata=record.metadata)
    return verdicts


def reembed_gallery(
    gallery: Gallery, embed: Embed, identity: str, progress: Callable[[int, int], None] = lambda done, total: None
) -> ReembedResult:
    """Compute the embeddings of all stored crops again with ``embed``, and search only these from now on.

    ``identity``: ``embedding_identity`` of the model of ``embed``. ``progress`` is called with the number of finished
    crops and of all crops. All embeddings change in one transaction at the end. Samples that cannot be embedded stay;
    they are ignored until they are enrolled again or the old model is back.
    """
    ids = [id for (id,) in gallery.read("SELECT sample FROM crop ORDER BY sample")]
    new: dict[int, NDArray[np.float32]] = {}
    for start in range(0, len(ids), BATCH):
        batch = ids[start : start + BATCH]
        decoded = [(id, image) for id in batch if (image := _read_crop(gallery, id)) is not None]
        vectors = embed([image for _, image in decoded])
        new |= {id: vector for vector, (id, _) in zip(vectors, decoded, strict=True)}
        progress(start + len(batch), len(ids))
    replace_embeddings(gallery, new, identity)
    ((left,),) = gallery.read("SELECT count(*) FROM sample WHERE identity <> ?", [identity])
    gallery.update_index()
    return ReembedResult(len(new), int(left))


def _read_crop(gallery: Gallery, sample: int) -> NDArray[np.uint8] | None:
    """The crop of the sample with this number; None if it was deleted in the meantime, or cannot be decoded."""
    crop = read_crop(gallery, sample)
    return None if crop is None else decode_crop(crop)
