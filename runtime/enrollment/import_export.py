"""Export and import of a gallery as JSON lines or CSV, and computing its embeddings again for another model.

A JSON line is a person, a CSV row is a sample. Embeddings are base64 of little-endian float32; crops are separate PNG
files. docs/gallery.md describes the fields.
"""

from __future__ import annotations

import base64
import csv
import json
import os
from collections.abc import Callable, Iterator, Sequence
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Any, TextIO

import numpy as np
from numpy.typing import NDArray

from ..core.crop_template import CropTemplate
from ..core.errors import InputError, WorkError
from ..gallery.anchors import read_anchor_crops
from ..gallery.gallery import Gallery
from ..gallery.groups import set_groups
from ..gallery.people import Person, Sample, embedding_identity
from ..gallery.reviews import list_reviews, set_threshold
from ..gallery.rows import embedding_to_bytes, read_crop, replace_embeddings
from ..inference.pipeline import Pipeline
from .enroll import EnrollOptions, Verdict, enroll_photos
from .json_lines import SCHEMA, VERSION, GalleryRecord, read_json_lines
from .stored_crop import decode_crop
from .table_lines import COLUMNS, TABLE_SUFFIXES, read_table

BATCH = 16  # crops that are embedded at once

Embed = Callable[[Sequence[NDArray[np.uint8]]], NDArray[np.float32]]


@dataclass(frozen=True)
class ReembedResult:
    """``done``: number of samples with a new embedding. ``left``: number of samples that keep their old embedding and
    are ignored, because their crop was not stored or is damaged."""

    done: int
    left: int


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
        reviews = [asdict(review) for review in list_reviews(gallery, person.id)]
        if table:
            metadata = json.dumps(person.metadata, ensure_ascii=False)
            groups = json.dumps(person.groups, ensure_ascii=False) if person.groups else ""
            threshold = "" if person.threshold is None else person.threshold
            about: dict[str, Any] = {
                "name": person.name,
                "metadata": metadata,
                "groups": groups,
                "threshold": threshold,
            }
            rows = [about | sample for sample in samples or [{}]]
            if reviews:
                rows[0]["reviews"] = json.dumps(reviews, ensure_ascii=False)  # once for each person
            writer.writerows(rows)
        else:
            line = {
                "schema": SCHEMA,
                "version": VERSION,
                "id": person.id,
                "name": person.name,
                "metadata": person.metadata,
                "groups": person.groups,
                "created": person.created,
                "changed": person.changed,
                "threshold": person.threshold,
                "reviews": reviews,
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
    read = read_table if source.suffix.lower() in TABLE_SUFFIXES else read_json_lines
    yield from read(source, crops)


def import_record(
    gallery: Gallery, record: GalleryRecord, pipeline: Pipeline | None, rules: EnrollOptions
) -> list[Verdict]:
    """Add the person and the samples of ``record`` to ``gallery``, and return a verdict for each sample and photo.

    ``pipeline`` embeds crops that have no embedding of its model, and enrolls photos. A sample that the gallery already
    has does not change, so an interrupted import can be repeated. All new samples of the record are added in one
    transaction. A person without samples is never created. Raises InputError if the name is invalid or an embedding is
    of another model: nothing of the record was added then.
    """
    if not record.samples and not record.photos and not gallery.has_person(record.name):
        raise InputError(
            f"{record.name} has no samples with an embedding or an aligned face, so nobody is added: export again with "
            "--embeddings or --crops"
        )
    verdicts: list[Verdict] = []
    new: dict[bytes, Sample] = {}  # by the stored form of the embedding
    for sample in (_with_embedding(sample, pipeline) for sample in record.samples):
        if not len(sample.embedding):
            verdicts.append(Verdict("refused", record.name, sample.source, "no embedding: use --bundle to compute it"))
        elif (stored := embedding_to_bytes(sample.embedding)) in new or gallery.has_sample(record.name, sample):
            verdicts.append(Verdict("known", record.name, sample.source, "the gallery already has it"))
        else:
            new[stored] = sample
            verdicts.append(Verdict("enrolled", record.name, sample.source, quality=sample.quality))
    if new or (not verdicts and not record.photos):
        gallery.add(record.name, list(new.values()), record.metadata)
    if any(verdict.status != "refused" for verdict in verdicts):
        id = gallery.person(record.name).id
        verdicts = [verdict if verdict.status == "refused" else replace(verdict, id=id) for verdict in verdicts]
    if record.groups and gallery.has_person(record.name):
        person = gallery.person(record.name)
        set_groups(gallery, person, {*person.groups, *record.groups})
    if pipeline is None:
        verdicts += [Verdict("refused", record.name, str(photo), "photos need --bundle") for photo in record.photos]
    else:
        verdicts += enroll_photos(gallery, pipeline, record.name, record.photos, rules=rules, metadata=record.metadata)
    if record.threshold is not None and gallery.has_person(record.name):
        person = gallery.person(record.name)
        if person.threshold is None:  # existing data does not change
            set_threshold(gallery, person, record.threshold)
    return verdicts


def _with_embedding(sample: Sample, pipeline: Pipeline | None) -> Sample:
    """``sample`` with an embedding of the pipeline's model, computed from its crop if necessary and possible."""
    identity = embedding_identity(pipeline.manifest) if pipeline else ""
    if pipeline is None or not sample.crop or (len(sample.embedding) and sample.identity in ("", identity)):
        return sample
    image = decode_crop(sample.crop, pipeline.crop)
    return sample if image is None else replace(sample, embedding=pipeline.embed([image])[0], identity=identity)


def reembed_gallery(
    gallery: Gallery,
    embed: Embed,
    crop: CropTemplate,
    identity: str,
    progress: Callable[[int, int], None] = lambda done, total: None,
) -> ReembedResult:
    """Compute the embeddings of all stored crops again with ``embed``, and search only these from now on.

    ``crop`` and ``identity``: how faces are aligned for the model of ``embed``, and its ``embedding_identity``. A face
    that was stored in another crop is moved into it. Faces on the ignore list are computed again, too. ``progress`` is
    called with the number of finished crops and of all crops. All embeddings change in one transaction at the end.
    Samples that cannot be embedded stay; they are ignored until they are enrolled again or the old model is back.
    """
    ids = [id for (id,) in gallery.read("SELECT sample FROM crop ORDER BY sample")]
    new: dict[int, NDArray[np.float32]] = {}
    for start in range(0, len(ids), BATCH):
        batch = ids[start : start + BATCH]
        decoded = [(id, image) for id in batch if (image := _read_crop(gallery, id, crop)) is not None]
        vectors = embed([image for _, image in decoded])
        new |= {id: vector for vector, (id, _) in zip(vectors, decoded, strict=True)}
        progress(start + len(batch), len(ids))
    anchors = []
    for place, stored in read_anchor_crops(gallery):
        image = decode_crop(stored, crop)
        if image is not None:
            anchors.append((place, embed([image])[0]))
    replace_embeddings(gallery, new, identity, anchors)
    ((left,),) = gallery.read("SELECT count(*) FROM sample WHERE identity <> ?", [identity])
    gallery.update_index()
    return ReembedResult(len(new), int(left))


def _read_crop(gallery: Gallery, sample: int, template: CropTemplate) -> NDArray[np.uint8] | None:
    """The crop of the sample with this number; None if it was deleted in the meantime, or cannot be decoded."""
    crop = read_crop(gallery, sample)
    return None if crop is None else decode_crop(crop, template)
