"""A cache of conversions in the work folder, so that no conversion runs twice."""

from __future__ import annotations

import hashlib
import json
import os
import shutil
import tempfile
import threading
from collections.abc import Iterable
from dataclasses import asdict
from pathlib import Path

import numpy as np

from rkface.runtime.core.bundle import sha256

from .quantize import LayerError, QuantizedModel

NEW = "new-"  # start of the names of entries that are being written
# Conversions; an INT8 model has a quarter of the size of the FP32 model. `--recipe thorough` makes about 30 for a chip,
# `auto` up to 14 and then some for the detector and the recognizer together. A second run must find all of them.
KEPT = 40

_storing = threading.Lock()  # a thread must not delete what another one is writing


def cache_key(parts: Iterable[bytes | memoryview | str]) -> str:
    """A name for a conversion that is determined by ``parts``: 32 hexadecimal digits of a SHA-256."""
    digest = hashlib.sha256()
    for part in parts:
        data = part.encode() if isinstance(part, str) else part
        digest.update(len(data).to_bytes(8, "big"))
        digest.update(data)  # not concatenated: it may be a gigabyte
    return digest.hexdigest()[:32]


def load_cached(folder: Path, key: str, output: Path) -> QuantizedModel | None:
    """The conversion stored under ``key``, with its ``.rknn`` copied to ``output``; None if it is missing or
    damaged."""
    entry = folder / key
    try:
        record = json.loads((entry / "result.json").read_text(encoding="utf-8"))
        if any(sha256(entry / name) != digest for name, digest in record.pop("sha256").items()):
            return None
        with np.load(entry / "outputs.npz") as arrays:
            outputs = tuple(arrays[f"{index}"] for index in range(len(arrays.files)))
        layers = tuple(LayerError(**layer) for layer in record.pop("layers"))
        done = QuantizedModel(output, outputs, layers=layers, warnings=tuple(record.pop("warnings")), **record)
        shutil.copyfile(entry / "model.rknn", output)
        os.utime(entry)
    except (OSError, ValueError, KeyError, TypeError):  # of another version, or damaged: convert again
        return None
    return done


def store(folder: Path, key: str, done: QuantizedModel) -> None:
    """Store ``done`` under ``key``; only the ``KEPT`` conversions that were used last stay in the cache."""
    with _storing:
        _store(folder, key, done)


def _store(folder: Path, key: str, done: QuantizedModel) -> None:
    folder.mkdir(exist_ok=True, mode=0o700)  # it will contain embeddings of faces
    with tempfile.TemporaryDirectory(dir=folder, prefix=NEW) as name:
        entry = Path(name) / key
        entry.mkdir()
        shutil.copyfile(done.rknn, entry / "model.rknn")
        np.savez(entry / "outputs.npz", **{f"{index}": array for index, array in enumerate(done.outputs)})
        record = asdict(done)
        del record["rknn"], record["outputs"]
        record["sha256"] = {name: sha256(entry / name) for name in ("model.rknn", "outputs.npz")}
        (entry / "result.json").write_text(json.dumps(record), encoding="utf-8")
        shutil.rmtree(folder / key, ignore_errors=True)
        entry.rename(folder / key)
    entries = sorted(folder.iterdir(), key=lambda one: one.stat().st_mtime, reverse=True)
    for old in entries[KEPT:]:
        shutil.rmtree(old, ignore_errors=True)
