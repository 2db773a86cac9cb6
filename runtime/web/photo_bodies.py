"""Photos in the body of a request: as it is, in a form (multipart/form-data), or as base64 in JSON."""

from __future__ import annotations

import base64
import binascii
import io
import json
import logging
from collections.abc import Sequence
from typing import Any

from fastapi import HTTPException
from python_multipart import FormParser
from python_multipart.exceptions import FormParserError
from python_multipart.multipart import File, parse_options_header

from .access import MAX_PHOTO_BODY

MOST_PARTS = 16  # of a form, files or not: two photos, and what forms of browsers add
MOST_VALUES = 100  # of a JSON body: Python needs up to 70 bytes for each, so that 24 MiB of "{}" would need 600 MB

# It warns about each wrong form, in the log of the whole process. The client is told, and nobody else needs to know.
logging.getLogger("python_multipart").setLevel(logging.CRITICAL)


def photo_body(*names: str) -> dict[str, Any]:
    """The OpenAPI description of a body with the photos ``names``. A single one may be the whole body."""
    fields = {name: {"type": "string", "format": "binary"} for name in names}
    encoded = {
        name: {"type": "string", "format": "byte", "contentEncoding": "base64", "description": "base64, no data: URL"}
        for name in names
    }
    required = {"type": "object", "required": list(names)}
    content: dict[str, Any] = {
        "multipart/form-data": {"schema": {**required, "properties": fields}},
        "application/json": {"schema": {**required, "properties": encoded}},
    }
    if len(names) == 1:
        content["application/octet-stream"] = {"schema": {"type": "string", "format": "binary"}}  # also image/jpeg etc.
    return {"requestBody": {"required": True, "content": content}}


def read_photos(body: bytes, content_type: str, names: Sequence[str]) -> list[bytes]:
    """The photos called ``names``, in this order.

    Raises HTTPException 422 if one is missing, and 400 if the body is not what ``content_type`` says.
    """
    kind, options = parse_options_header(content_type)
    if kind == b"multipart/form-data":
        found = _read_form(body, options.get(b"boundary", b""))
    elif kind == b"application/json":
        found = _read_json(body)
    elif len(names) == 1:
        return [body]
    else:
        raise HTTPException(415, f"send {' and '.join(names)} as multipart/form-data, or as base64 in application/json")
    missing = [name for name in names if name not in found]
    if missing:
        raise HTTPException(422, f"the body has no field {missing[0]!r}")
    return [found[name] for name in names]


def _read_form(body: bytes, boundary: bytes) -> dict[str, bytes]:
    found: dict[str, bytes] = {}

    def keep(file: File) -> None:
        file.file_object.seek(0)
        found[(file.field_name or b"").decode("utf-8", "replace")] = file.file_object.read()

    if not boundary:
        raise HTTPException(400, "the form cannot be read: its content-type has no boundary")
    if body.count(b"--" + boundary) > MOST_PARTS + 1:  # one more at the end
        raise HTTPException(400, f"the form has more than {MOST_PARTS} parts")
    # Parts stay in memory: a photo must not be written to the disk.
    config = {"MAX_MEMORY_FILE_SIZE": MAX_PHOTO_BODY + 1, "MAX_BODY_SIZE": MAX_PHOTO_BODY + 1}
    try:
        parser = FormParser("multipart/form-data", lambda _: None, keep, boundary=boundary, config=config)
        parser.write(body)
        parser.finalize()
    except FormParserError as error:
        raise HTTPException(400, f"the form cannot be read: {error}") from None
    return found


def _read_json(body: bytes) -> dict[str, bytes]:
    if sum(body.count(sign) for sign in (b",", b"[", b"{")) > MOST_VALUES:  # none of them occurs in base64
        raise HTTPException(422, f"the JSON has more than {MOST_VALUES} values")
    try:
        values = json.load(io.BytesIO(body))
    except (ValueError, RecursionError):
        raise HTTPException(400, "the body is not JSON") from None
    if not isinstance(values, dict):
        raise HTTPException(422, "the body must be a JSON object")
    try:
        return {name: base64.b64decode(text, validate=True) for name, text in values.items() if isinstance(text, str)}
    except (binascii.Error, ValueError):
        raise HTTPException(422, "a photo must be plain base64, without a data: URL in front of it") from None
