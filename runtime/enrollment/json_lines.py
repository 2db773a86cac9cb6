"""Reading the JSON lines that `rkface gallery export` writes. They come from outside: each line is right, or an error
with its number.
"""

from __future__ import annotations

import base64
import binascii
import codecs
import json
import math
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, BinaryIO

import numpy as np

from ..core.checks import describe_type
from ..core.crop_template import known_crops
from ..core.errors import InputError
from ..core.files import parse_json, read_file, require_file
from ..core.text import in_a_line
from ..gallery.groups import MOST_GROUPS, clean_group
from ..gallery.people import Sample, clean_name
from .stored_crop import read_stored_crop

SCHEMA, VERSION = "rkface.person", 1
MOST_LINE = 4 << 20  # bytes: a person with more than 1000 embeddings of 512 numbers; it bounds the memory for parsing
MOST_NUMBERS = 8192  # of an embedding
MOST_CROP = 8 << 20  # bytes of a crop's file
LATEST = 1e11  # seconds since 1970: the year 5138
MOST_SOURCE, MOST_IDENTITY = 1000, 100  # characters


@dataclass(frozen=True)
class GalleryRecord:
    """The content of one line about one person. ``photos`` must still be enrolled. ``threshold``: the person's own."""

    name: str
    metadata: dict[str, Any]
    samples: list[Sample]
    photos: list[Path]
    line: int = 0
    threshold: float | None = None
    groups: tuple[str, ...] = ()


def read_json_lines(source: Path, crops: Path) -> Iterator[GalleryRecord | InputError]:
    """The records of the file ``source``; an InputError for each line that cannot be used. ``crops``: the folder of the
    crops. Raises InputError if the whole file cannot be read, or if its first line is not of an export: it is a picture
    or a list in another format then, and has thousands of such lines."""
    first_lines: dict[str, GalleryRecord] = {}
    try:
        require_file(source)
        with source.open("rb") as file:
            for place, (number, line) in enumerate(_split_lines(file, source)):
                try:
                    yield _read_record(_parse_line(line), crops, number, first_lines)
                except _OtherLineError as error:
                    refusal = InputError(
                        f"{source}, line {number}: {error}: use a file that `rkface gallery export` wrote"
                    )
                    if place == 0:
                        raise refusal from error
                    yield refusal
                except (InputError, ValueError) as error:
                    yield InputError(f"{source}, line {number}: {error}")
    except OSError as error:
        raise InputError(f"{source}: cannot be read: {error.strerror or error}") from error


class _OtherLineError(Exception):
    """A line is not of an export."""


def _parse_line(line: bytes | None) -> dict[str, Any]:
    """The fields of a line; None: it is too long. Raises _OtherLineError."""
    if line is None:
        raise _OtherLineError(f"longer than {MOST_LINE >> 20} MiB, which is the limit for a line")
    try:
        fields = parse_json(line)
    except json.JSONDecodeError as error:
        raise _OtherLineError(f"not valid JSON at character {error.pos + 1}") from error
    except ValueError as error:
        raise _OtherLineError(str(error)) from error
    if not isinstance(fields, dict):
        raise _OtherLineError(f"this is not an object of {SCHEMA}")
    if fields.get("schema") != SCHEMA or fields.get("version") != VERSION:
        raise _OtherLineError(f"this is not {SCHEMA}, version {VERSION}")
    return fields


def _split_lines(file: BinaryIO, source: Path) -> Iterator[tuple[int, bytes | None]]:
    """The lines with content, with their numbers; None for a line that is too long. LF or CR LF ends a line."""
    number = 0
    while line := file.readline(MOST_LINE + 1):
        number += 1
        if number == 1 and line.startswith((codecs.BOM_UTF16_LE, codecs.BOM_UTF16_BE)):
            raise InputError(f"{source}: this is UTF-16, not UTF-8: save it as UTF-8")
        if number == 1:
            line = line.removeprefix(codecs.BOM_UTF8)
        if len(line) > MOST_LINE:
            while not line.endswith(b"\n") and (line := file.readline(MOST_LINE)):
                pass
            yield number, None
        elif line.strip():
            yield number, line.strip()


def _read_record(
    fields: dict[str, Any], crops: Path, line: int, first_lines: dict[str, GalleryRecord]
) -> GalleryRecord:
    """Raises InputError or ValueError, with a reason, if ``fields`` are not those of a person."""
    name = clean_name(_text(fields, "name"))
    metadata, listed = fields.get("metadata", {}), fields.get("samples")
    if not isinstance(metadata, dict):
        raise ValueError(f"metadata must be an object, not {describe_type(metadata)}")
    if not isinstance(listed, list):
        raise ValueError(f"samples must be a list, not {describe_type(listed)}")
    samples = []
    for number, each in enumerate(listed, 1):
        try:
            sample = read_sample(each, crops)
        except ValueError as error:
            raise ValueError(f"sample {number}: {error}") from None
        samples += [sample] if sample is not None else []
    threshold = None if fields.get("threshold") is None else read_number(fields, "threshold", 1)
    record = GalleryRecord(name, metadata, samples, [], line, threshold, read_groups(fields.get("groups", [])))
    if "id" in fields:
        first = first_lines.setdefault(_text(fields, "id"), record)
        if first.name != name:
            raise ValueError(f"line {first.line} has the same id for another person")
    return record


def read_groups(value: Any) -> tuple[str, ...]:
    """The names of groups in a list. Raises InputError or ValueError if they cannot be that."""
    if not isinstance(value, list) or not all(isinstance(one, str) for one in value):
        raise ValueError("groups must be a list of texts")
    if len(value) > MOST_GROUPS:
        raise ValueError(f"{len(value)} groups are too many for a person; {MOST_GROUPS} are the limit")
    return tuple(map(clean_group, value))


def read_sample(fields: Any, crops: Path) -> Sample | None:
    """The sample with these fields; None if it has neither an embedding nor a crop. Numbers may be texts, as in CSV.
    Raises ValueError."""
    if not isinstance(fields, dict):
        raise ValueError(f"a sample must be an object, not {describe_type(fields)}")
    crop, embedding = _text(fields, "crop", ""), _text(fields, "embedding", "")
    picture = _read_crop(crops, crop) if crop else None
    try:
        vector = np.frombuffer(base64.b64decode(embedding, validate=True), "<f4").astype(np.float32)
    except (binascii.Error, ValueError):
        raise ValueError("the embedding is not base64 of float32 numbers") from None
    if len(vector) > MOST_NUMBERS:
        raise ValueError(f"the embedding has {len(vector)} numbers; {MOST_NUMBERS} are the limit")
    if not np.isfinite(vector).all() or (len(vector) and not np.any(vector)):
        raise ValueError("the embedding is all zeros, or contains NaN or infinity")
    if picture is None and not len(vector):
        return None
    source, identity = in_a_line(_text(fields, "source", "")), _text(fields, "identity", "")
    if len(source) > MOST_SOURCE or len(identity) > MOST_IDENTITY or in_a_line(identity) != identity:
        raise ValueError("the source or the identity of the model is too long, or contains invalid characters")
    quality, created = read_number(fields, "quality", 1), read_number(fields, "created", LATEST)
    return Sample(vector, picture, quality, source, created, identity)


def _read_crop(crops: Path, file: str) -> bytes:
    path = crops / Path(file).name  # only the name: a line must not read files outside of this folder
    try:
        crop = read_file(path, MOST_CROP)
    except InputError as error:
        raise ValueError(f"{error} (use --crops to name the folder)") from None
    if read_stored_crop(crop) is None:
        raise ValueError(f"{path} is not an aligned face: it cannot be decoded, or it is not {known_crops()}")
    return crop


def _text(fields: Mapping[str, Any], name: str, default: str | None = None) -> str:
    """The text ``name``; ``default`` if it is missing or null. Raises ValueError for other types, and if it is missing
    without a default."""
    value = fields.get(name)
    if value is None and default is not None:
        return default
    if not isinstance(value, str):
        raise ValueError(
            f"{name} must be a text, not {describe_type(value)}" if name in fields else f"{name} is missing"
        )
    return value


def read_number(fields: Mapping[str, Any], name: str, most: float) -> float:
    """The number ``name``, 0 to ``most``; 0 if it is missing, null or an empty text. Raises ValueError."""
    value = fields.get(name)
    if value is None or value == "":
        return 0.0
    try:
        number = math.nan if isinstance(value, bool | list | dict) else float(value)
    except (ValueError, OverflowError):
        number = math.nan
    if not 0 <= number <= most:
        raise ValueError(f"{name} must be a number from 0 to {most:g}")
    return number
