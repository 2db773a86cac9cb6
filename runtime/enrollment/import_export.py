"""A gallery as JSON lines or CSV, out and in; and its embeddings computed again for another model.

JSON lines hold a person each, CSV a sample each; embeddings are base64 of little-endian float32, crops are PNG files
beside. docs/gallery.md has the fields.
"""

from __future__ import annotations

import base64
import binascii
import csv
import json
import os
import sys
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, TextIO

import numpy as np
from numpy.typing import NDArray

from ..core.errors import InputError
from ..gallery.gallery import Gallery
from ..gallery.people import Person, Sample, embedding_identity
from ..inference.pipeline import Pipeline
from .enroll import EnrollOptions, Verdict, decode, enroll_photo

SCHEMA, VERSION = "rkface.person", 1
COLUMNS = ("name", "metadata", "source", "quality", "created", "identity", "embedding", "crop")
BATCH = 16

Embed = Callable[[Sequence[NDArray[np.uint8]]], NDArray[np.float32]]


@dataclass(frozen=True)
class GalleryRecord:
    """What one line says about one person; ``photos`` are still to be enrolled."""

    name: str
    metadata: dict[str, Any]
    samples: list[Sample]
    photos: list[Path]


def export(
    gallery: Gallery, people: Sequence[Person], out: TextIO, *, table: bool, embeddings: bool, crops: Path | None
) -> None:
    """Write ``people`` to ``out``: as CSV where ``table``, else as JSON lines. Embeddings and crops (into the folder
    ``crops``) only where asked for: both are biometric data, and the crops' files are for their owner only."""
    writer = csv.DictWriter(out, COLUMNS, lineterminator="\n")
    if table:
        writer.writeheader()
    for person in people:
        samples = [_sample(sample, person, embeddings, crops) for sample in gallery.samples(person)]
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


def _sample(sample: Sample, person: Person, embeddings: bool, crops: Path | None) -> dict[str, Any]:
    said: dict[str, Any] = {
        "source": sample.source,
        "quality": round(sample.quality, 4),
        "created": sample.created,
        "identity": sample.identity,
    }
    if embeddings:
        said["embedding"] = base64.b64encode(sample.embedding.astype("<f4").tobytes()).decode()
    if crops is not None and sample.crop is not None:
        file = f"{person.id}-{sample.id}.png"
        with os.fdopen(os.open(crops / file, os.O_CREAT | os.O_WRONLY | os.O_TRUNC, 0o600), "wb") as handle:
            handle.write(sample.crop)
        said["crop"] = file
    return said


def read_records(source: Path, crops: Path) -> Iterator[GalleryRecord | InputError]:
    """Line by line what a file of `rkface gallery export`, or a CSV with the columns name and photo, says; an
    InputError in the place of a line that cannot be read. ``crops`` is the folder of the crops. InputError at once for
    a file that is neither."""
    try:
        with source.open(encoding="utf-8-sig", newline="") as file:
            table = source.suffix.lower() == ".csv"
            yield from _table(file, source, crops) if table else _lines(file, source, crops)
    except (OSError, UnicodeDecodeError) as error:
        raise InputError(f"{source}: cannot be read: {error}") from error


def _lines(file: TextIO, source: Path, crops: Path) -> Iterator[GalleryRecord | InputError]:
    for number, line in enumerate(file, 1):
        if not line.strip():
            continue
        try:
            said = json.loads(line)
            if said.get("schema") != SCHEMA or said.get("version") != VERSION:
                raise ValueError(f"no {SCHEMA} of version {VERSION}")
            samples = [_read_sample(sample, crops) for sample in said["samples"]]
            yield GalleryRecord(str(said["name"]), dict(said["metadata"]), [sample for sample in samples if sample], [])
        except (ValueError, KeyError, TypeError, AttributeError) as error:
            yield InputError(f"{source}, line {number}: {_what(error)}")


def _table(file: TextIO, source: Path, crops: Path) -> Iterator[GalleryRecord | InputError]:
    csv.field_size_limit(sys.maxsize if sys.maxsize < 2**31 else 2**31 - 1)
    rows = csv.DictReader(file)
    if "name" not in (rows.fieldnames or ()):
        raise InputError(f"{source}: a CSV needs a header with the column name, and photo or {', '.join(COLUMNS[1:])}")
    for row in rows:
        try:
            sample = _read_sample({key: value for key, value in row.items() if value and key}, crops)
            photo = [source.parent / row["photo"]] if row.get("photo") else []
            metadata = dict(json.loads(row.get("metadata") or "{}"))
            yield GalleryRecord(row["name"], metadata, [sample] if sample else [], photo)
        except (ValueError, KeyError, TypeError) as error:
            yield InputError(f"{source}, line {rows.line_num}: {_what(error)}")


def _what(error: Exception) -> str:
    return f"{error.args[0]} is missing" if isinstance(error, KeyError) else str(error)


def _read_sample(said: dict[str, Any], crops: Path) -> Sample | None:
    """None where there is neither embedding nor crop to go by."""
    crop = None
    if said.get("crop"):
        path = crops / Path(said["crop"]).name  # the name alone: a line must not read any other file
        try:
            crop = path.read_bytes()
        except OSError as error:
            raise ValueError(f"{path}: {error.strerror} (--crops names the folder)") from None
        if (image := decode(crop)) is None or image.shape[0] != image.shape[1]:
            raise ValueError(f"{path} is no crop: it cannot be decoded, or is not square")
    try:
        vector = np.frombuffer(base64.b64decode(said.get("embedding") or "", validate=True), "<f4")
    except (binascii.Error, ValueError):
        raise ValueError("the embedding is no base64 of float32") from None
    if not np.isfinite(vector).all() or (len(vector) and not np.any(vector)):
        raise ValueError("the embedding is no direction: it has no length, or something that is no number")
    if crop is None and not len(vector):
        return None
    return Sample(
        vector.astype(np.float32),
        crop,
        float(said.get("quality") or 0),
        str(said.get("source") or ""),
        float(said.get("created") or 0),
        str(said.get("identity") or ""),
    )


def take(gallery: Gallery, record: GalleryRecord, pipeline: Pipeline | None, rules: EnrollOptions) -> list[Verdict]:
    """Add what ``record`` says to ``gallery``. What has a crop and no embedding of the gallery's model is embedded, and
    photos are enrolled, by ``pipeline``; a sample that is there already is left as it is."""
    verdicts = []
    identity = embedding_identity(pipeline.manifest) if pipeline else None
    if not record.samples and not record.photos:
        gallery.add(record.name, [], record.metadata)
    for sample in record.samples:
        fresh = sample
        if pipeline and sample.crop and (not len(sample.embedding) or sample.identity not in ("", identity)):
            image = decode(sample.crop)
            assert image is not None, "crops are decoded when they are read"
            fresh = replace(sample, embedding=pipeline.embed([image])[0], identity=identity or "")
        if not len(fresh.embedding):
            verdicts.append(Verdict("refused", record.name, sample.source, "no embedding, and no --bundle to make one"))
        elif gallery.holds(record.name, fresh):
            verdicts.append(Verdict("known", record.name, sample.source, "it is there already"))
        else:
            gallery.add(record.name, [fresh], record.metadata)
            verdicts.append(Verdict("enrolled", record.name, sample.source, quality=sample.quality))
    for photo in record.photos:
        if pipeline is None:
            verdicts.append(Verdict("refused", record.name, str(photo), "photos need --bundle"))
        else:
            verdicts.append(enroll_photo(gallery, pipeline, record.name, photo, rules=rules, metadata=record.metadata))
    return verdicts


def reembed(
    gallery: Gallery, embed: Embed, identity: str, progress: Callable[[int, int], None] = lambda done, of: None
) -> tuple[int, int]:
    """Compute the embeddings of all crops again and search by them from now on; all at once, in the end.

    Returns how many were, and how many could not be, because no crop was kept or it is damaged: these stay, and are
    ignored until they are enrolled again or the old model is back.
    """
    ids = [id for (id,) in gallery.read("SELECT sample FROM crop ORDER BY sample")]
    fresh: list[tuple[bytes, str, int]] = []
    for start in range(0, len(ids), BATCH):
        some = ids[start : start + BATCH]
        marks = ", ".join("?" * len(some))
        rows = gallery.read(f"SELECT sample, image FROM crop WHERE sample IN ({marks})", some)
        whole = [(id, crop) for id, data in rows if (crop := decode(gallery.cipher.decrypt(data))) is not None]
        vectors = embed([crop for _, crop in whole])
        fresh += [
            (gallery.cipher.encrypt(vector.astype("<f4").tobytes()), identity, id)
            for vector, (id, _) in zip(vectors, whole, strict=True)
        ]
        progress(start + len(some), len(ids))
    with gallery.writing() as database:
        database.executemany("UPDATE sample SET embedding = ?, identity = ? WHERE id = ?", fresh)
        gallery.set_identity(identity)
        (left,) = database.execute("SELECT count(*) FROM sample WHERE identity <> ?", [identity]).fetchone()
    gallery.changed()
    return len(fresh), int(left)
