"""Reads the bytes of an ONNX model: one file, or a file whose weights are in other files beside it (external data).

It reads protobuf's wire format (https://protobuf.dev/programming-guides/encoding) as far as needed to find external
data, with the field numbers of onnx.proto3 (https://github.com/onnx/onnx/blob/main/onnx/onnx.proto3). The onnx package
is not needed, and nothing in the file is executed.
"""

from __future__ import annotations

import errno
import hashlib
import os
import stat
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path

from .errors import ModelError

CHANNELS = "rkface.channels"  # metadata of a model that rkface has changed: "RGB", whatever its family takes
MAX_BYTES = (1 << 31) - 1  # of a model with all its weights: protobuf cannot hold more
MAX_PARTS = 1_000_000  # nodes, tensors, attributes and their fields; an IResNet-100 has about 10,000
MAX_STRUCTURE = 32_000_000  # bytes of all that is not the content of a tensor
MAX_DEPTH = 16  # graphs inside nodes inside graphs

_VARINT, _FIXED64, _BYTES, _FIXED32 = 0, 1, 2, 5
# Field numbers of the messages that contain tensors, by message: field → the message that it contains.
_INSIDE = {
    "model": {7: "graph", 25: "function"},
    "function": {7: "node"},
    "graph": {1: "node", 5: "tensor", 15: "sparse"},
    "node": {5: "attribute"},
    "attribute": {5: "tensor", 6: "graph", 10: "tensor", 11: "graph", 22: "sparse", 23: "sparse"},
    "sparse": {1: "tensor", 2: "tensor"},
}
_CONTENT = {4, 5, 6, 7, 9, 10, 11}  # of a tensor: its numbers
_RAW_DATA, _EXTERNAL_DATA, _DATA_LOCATION, _TENSOR_NAME = 9, 13, 14, 8


@dataclass(frozen=True)
class OnnxFile:
    """The bytes of a model, with all weights inside, and the files that they came from: the model's own first."""

    data: bytes
    files: tuple[Path, ...]

    @property
    def sha256(self) -> str:
        """SHA-256 of everything that the model is. For a model in a single file, it is that of the file."""
        return hashlib.sha256(self.data).hexdigest()


class DamagedProtobufError(Exception):
    """The bytes are not protobuf, or not an ONNX model."""


def onnx_digest(path: Path) -> str:
    """SHA-256 of the ONNX model at ``path`` with all its weights, as 64 hexadecimal digits.

    A model in a single file has the SHA-256 of that file. A model with external data has the SHA-256 of the same model
    with its weights inside, so other weights give another digest, and moving the weights out gives the same one.
    Raises the errors of ``read_onnx_file``.
    """
    return read_onnx_file(path).sha256


def read_onnx_file(path: Path) -> OnnxFile:
    """Read the ONNX model at ``path``; external data is read, too, and put inside.

    Raises ModelError if the file is missing, empty, truncated, too large or not an ONNX model, or if its external data
    is missing, too short, or outside the model's folder.
    """
    data = _read(path, path, MAX_BYTES)
    if not data:
        raise ModelError(f"{path} is not an ONNX model: the file is empty: copy it again")
    reader = _Reader(path, MAX_BYTES - len(data))
    try:
        whole = reader.message("model", memoryview(data), 0)
    except DamagedProtobufError as error:
        raise ModelError(
            f"{path} is not an ONNX model, or it is truncated ({error}): copy it again, or export it again"
        ) from error
    if not reader.has_graph:
        raise ModelError(f"{path} is not an ONNX model: it has no graph")
    return OnnxFile(data if whole is None else whole, (path, *reader.files))


@dataclass
class _Reader:
    """Walks through one model and puts external data inside. ``room``: bytes of external data that may be read."""

    path: Path
    room: int
    files: dict[Path, None] = field(default_factory=dict)
    has_graph: bool = False
    parts: int = 0
    structure: int = 0

    def message(self, kind: str, data: memoryview, depth: int) -> bytes | None:
        """``data``, a message of this ``kind``, with external data inside; None if it has none."""
        if depth > MAX_DEPTH * 4:  # graph, node, attribute, graph
            raise ModelError(f"{self.path}: its graphs are nested more than {MAX_DEPTH} deep: export it again")
        if kind == "tensor":
            return self._tensor(data)
        inside, changed, done = _INSIDE[kind], bytearray(), 0
        for number, wire, start, value in self._fields(data):
            end = value.stop
            if number not in inside:
                self._count_structure(value)
                continue
            if wire != _BYTES:
                raise DamagedProtobufError(f"field {number} of a {kind} is not a message")
            self.has_graph |= kind == "model" and number == 7
            new = self.message(inside[number], data[value], depth + 1)
            if new is not None:
                changed += data[done:start]
                changed += field_head(number, len(new)) + new
                done = end
        return bytes(changed + data[done:]) if done else None

    def _tensor(self, data: memoryview) -> bytes | None:
        entries: dict[str, str] = {}
        external, name, fields = False, "", []
        for number, wire, start, value in self._fields(data):
            if number not in _CONTENT:
                self._count_structure(value)
            if number == _EXTERNAL_DATA and wire == _BYTES:
                key, text = self._entry(data[value])
                entries[key] = text
            elif number == _DATA_LOCATION and wire == _VARINT:
                external = read_varint(data, value.start)[0] == 1
            elif number != _RAW_DATA:
                fields.append((number, data[start : value.stop]))
                if number == _TENSOR_NAME and wire == _BYTES:
                    name = _text(data[value])
        if not external:
            return None
        content = self._external(name, entries)
        before = [piece for number, piece in fields if number < _RAW_DATA]
        after = [piece for number, piece in fields if number > _RAW_DATA]
        return b"".join([*before, field_head(_RAW_DATA, len(content)), content, *after])

    def _external(self, name: str, entries: dict[str, str]) -> bytes:
        """The content of the tensor ``name``, from the file that ``entries`` name."""
        what = f"{self.path}: the weights {name[:80]!r}"
        location = entries.get("location", "")
        path = self.path.parent / location
        if not location or "\0" in location:
            raise ModelError(f"{what} are in another file, but the model does not name it: export it again")
        folder = self.path.parent.resolve()
        if not _resolve(path).is_relative_to(folder):
            raise ModelError(
                f"{what} are in {location[:200]!r}, outside the model's folder: do not trust this file, or put the "
                "weights beside the model and export it again"
            )
        offset, length = (_number(what, key, entries.get(key)) for key in ("offset", "length"))
        if not _exists(path):
            shown = location if len(location) <= 100 else f"{location[:100]}…"
            raise ModelError(
                f"{what} are in {shown!r}, but {self.path.parent / shown} is missing: copy it beside the model"
            )
        content = _read(path, self.path, self.room, offset or 0, length)
        if length is not None and len(content) < length:
            raise ModelError(
                f"{what} are {length:,} bytes from byte {offset or 0:,} of {path}, but the file is too short: copy it "
                "again"
            )
        self.room -= len(content)
        self.files[path] = None
        return content

    def _entry(self, data: memoryview) -> tuple[str, str]:
        found = {number: _text(data[value]) for number, wire, _, value in self._fields(data) if wire == _BYTES}
        return found.get(1, ""), found.get(2, "")

    def _fields(self, data: memoryview) -> Iterator[tuple[int, int, int, slice]]:
        """Number, wire type, start, and place of the value of each field in ``data``."""
        at = 0
        while at < len(data):
            self.parts += 1
            if self.parts > MAX_PARTS:
                raise ModelError(f"{self.path}: it has more than {MAX_PARTS:,} nodes, tensors and attributes")
            start = at
            tag, at = read_varint(data, at)
            number, wire = tag >> 3, tag & 7
            if wire == _VARINT:
                end = read_varint(data, at)[1]
            elif wire == _BYTES:
                size, at = read_varint(data, at)
                end = at + size
            elif wire in (_FIXED32, _FIXED64):
                end = at + (4 if wire == _FIXED32 else 8)
            else:
                raise DamagedProtobufError(f"byte {start:,} is no protobuf field")
            if end > len(data) or not number:
                raise DamagedProtobufError("it ends too early" if number else f"byte {start:,} is no protobuf field")
            yield number, wire, start, slice(at, end)
            at = end

    def _count_structure(self, value: slice) -> None:
        self.structure += value.stop - value.start
        if self.structure > MAX_STRUCTURE:
            raise ModelError(
                f"{self.path}: it has more than {MAX_STRUCTURE:,} bytes beside its weights: export it again"
            )


def _read(path: Path, model: Path, most: int, offset: int = 0, length: int | None = None) -> bytes:
    """``length`` bytes of ``path`` from ``offset``, or all of them. Never more than ``most``, of a regular file."""
    try:
        kind = path.stat().st_mode
        if not stat.S_ISREG(kind):  # reading a pipe or a device may never end
            reason = os.strerror(errno.EISDIR) if stat.S_ISDIR(kind) else "it is not a regular file"
            raise ModelError(f"{path}: the model cannot be read: {reason}")
        with path.open("rb") as file:
            wanted = max(0, os.fstat(file.fileno()).st_size - offset)
            wanted = wanted if length is None else min(length, wanted)
            if wanted > most:
                raise ModelError(
                    f"{model}: more than {MAX_BYTES / 1e9:.1f} GB with all weights, which an ONNX model cannot have"
                )
            file.seek(offset)
            return file.read(wanted)
    except FileNotFoundError as error:
        raise ModelError(f"{path}: no such model file") from error
    except MemoryError as error:
        raise ModelError(f"{path}: there is not enough memory to read this model") from error
    except OSError as error:
        raise ModelError(f"{path}: the model cannot be read: {error.strerror or error}") from error
    except ValueError as error:  # a path with a zero byte
        raise ModelError(f"{str(path)!r}: the model cannot be read: {error}") from error


def _exists(path: Path) -> bool:
    """Whether ``path`` is a file; False if its name is too long or its folder is closed."""
    try:
        return path.is_file()
    except OSError:
        return False


def _resolve(path: Path) -> Path:
    """``path`` without links; a loop of links is an outside path."""
    try:
        return path.resolve()
    except (OSError, RuntimeError):
        return Path("/")


def _number(what: str, key: str, text: str | None) -> int | None:
    """The number of external data called ``key``; None if it is not given."""
    if text is None:
        return None
    if not (text.isascii() and text.isdigit() and len(text) <= 12):
        raise ModelError(f"{what}: the {key} of its external data is {text[:40]!r}: export the model again")
    return int(text)


def _text(data: memoryview) -> str:
    return bytes(data).decode(errors="replace")


def read_varint(data: memoryview, at: int) -> tuple[int, int]:
    """The number at ``at``, and the place behind it. DamagedProtobufError: more than 64 bits, or no end."""
    value = 0
    for shift in range(0, 70, 7):
        if at >= len(data):
            raise DamagedProtobufError("it ends too early")
        byte = data[at]
        at += 1
        value |= (byte & 0x7F) << shift
        if byte < 0x80:
            return value, at
    raise DamagedProtobufError("a number has no end")


def field_head(number: int, size: int) -> bytes:
    """Tag and length of a field that contains ``size`` bytes."""
    head = bytearray()
    for value in (number << 3 | _BYTES, size):
        left = value
        while left >= 0x80:
            head.append(left & 0x7F | 0x80)
            left >>= 7
        head.append(left)
    return bytes(head)
