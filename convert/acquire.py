"""The models to convert: a pack's, verified, from the cache or downloaded, or the user's own."""

from __future__ import annotations

import os
import shutil
import tempfile
import urllib.error
import urllib.request
import zipfile
from dataclasses import dataclass, replace
from http.client import HTTPException
from pathlib import Path, PurePosixPath

from rkface.runtime.core.bundle import ROLES, Role, Source, sha256
from rkface.runtime.core.errors import InputError, WorkError
from rkface.runtime.core.progress import Stage, stage

from .catalog import DEMO, MATCH, UNMEASURED, KnownModel, Pack, Spoofing, known

CHUNK = 1 << 18
TIMEOUT = 30.0  # seconds without a byte


@dataclass(frozen=True)
class Sources:
    """ONNX models that belong together, and what is known of them.

    licenses  by role, as ``paths``
    spoofing  how the liveness model is asked, where there is one
    match     cosine from which two faces are the same person; ``evidence`` says where that comes from
    """

    name: str
    paths: dict[Role, Path]
    licenses: dict[Role, str]
    match: float = MATCH
    evidence: str = UNMEASURED
    synthetic: bool = False
    spoofing: Spoofing | None = None

    def source(self, role: Role) -> Source:
        path = self.paths[role]
        return Source(path.name, sha256(path), path.stat().st_size, self.licenses[role])


def pack_sources(pack: Pack, cache: Path, *, accepted: bool) -> Sources:
    """The models of ``pack``; errors as of ``acquire``."""
    paths = acquire(pack, cache, accepted=accepted)
    return Sources(pack.name, paths, dict.fromkeys(ROLES, pack.license), pack.match, pack.evidence, pack.synthetic)


def own_sources(detector: Path, recognizer: Path, license: str) -> Sources:
    """The user's own files; where one is known by its content, what we know of it. InputError where one is missing."""
    paths: dict[Role, Path] = {"detector": detector, "recognizer": recognizer}
    missing = next((path for path in paths.values() if not path.is_file()), None)
    if missing is not None:
        raise InputError(f"{missing}: no such model file")
    found = {role: known(sha256(path)) for role, path in paths.items()}
    licenses: dict[Role, str] = {role: hit[1].license if (hit := found[role]) else license for role in ROLES}
    entry = found["recognizer"]
    match, evidence = (entry[1].match, entry[1].evidence) if entry else (MATCH, UNMEASURED)
    return Sources(f"{detector.stem} + {recognizer.stem}", paths, licenses, match, evidence)


def with_liveness(sources: Sources, path: Path, spoofing: Spoofing, license: str) -> Sources:
    """``sources`` and the liveness model at ``path``, which is asked as ``spoofing`` says."""
    paths, licenses = {**sources.paths, "liveness": path}, {**sources.licenses, "liveness": license}
    return replace(sources, paths=paths, licenses=licenses, spoofing=spoofing)


def default_cache() -> Path:
    """Where downloads are kept: $RKFACE_CACHE, else the XDG cache folder."""
    own = os.environ.get("RKFACE_CACHE")
    return Path(own) if own else Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache") / "rkface"


def acquire(pack: Pack, cache: Path, *, accepted: bool) -> dict[Role, Path]:
    """The verified model files of ``pack``.

    InputError where the license was not accepted or an archive put into the cache by hand is not the right one;
    WorkError where the download fails. What was downloaded is kept, and the next call resumes it.
    """
    if pack.url is None:
        paths = {role: DEMO / pack.model(role).file for role in ROLES}
        for role, path in paths.items():
            if sha256(path) != pack.model(role).sha256:
                raise InputError(f"{path} was changed after it was trained: restore it, or train again")
        return paths
    if not accepted:
        raise InputError(
            f"{pack.name} holds {pack.license}. If that fits your use, accept it with --accept-license "
            f"(make convert PACK={pack.name} ACCEPT_LICENSE=yes)"
        )
    folder = cache / pack.name
    paths = {role: folder / pack.model(role).file for role in ROLES}
    if not all(path.is_file() and sha256(path) == pack.model(role).sha256 for role, path in paths.items()):
        archive = cache / f"{pack.name}.zip"
        put_by_hand = archive.is_file()
        if not put_by_hand:
            download(pack, archive)
        elif sha256(archive) != pack.sha256:
            raise InputError(f"{archive} is not InsightFace's {pack.name}.zip (its SHA-256 differs): remove it")
        unpack(archive, [pack.model(role) for role in ROLES], folder)
        if not put_by_hand:
            archive.unlink()
    return paths


def download(pack: Pack, archive: Path) -> None:
    """Fetch ``pack``'s archive; a broken download stays as ``….part`` and is resumed."""
    assert pack.url is not None
    archive.parent.mkdir(parents=True, exist_ok=True)
    partial = archive.with_suffix(".zip.part")
    with stage(f"download {pack.name}") as shown:
        try:
            _fetch(pack.url, partial, pack.bytes, shown)
        except (urllib.error.URLError, HTTPException, OSError) as error:
            reason = getattr(error, "reason", None) or error
            raise WorkError(
                f"{pack.url}: the download failed ({reason}); run the same command again to resume it, "
                f"or fetch the file elsewhere and put it at {archive}"
            ) from error
        shown.note = f"{partial.stat().st_size / 1e6:.0f} MB"
    if sha256(partial) != pack.sha256:
        partial.unlink()
        raise WorkError(f"{pack.url}: what came is not {pack.name}.zip (its SHA-256 differs): try again later")
    partial.replace(archive)


def _fetch(url: str, partial: Path, expected: int, shown: Stage) -> None:
    have = partial.stat().st_size if partial.is_file() else 0
    request = urllib.request.Request(url, headers={"Range": f"bytes={have}-"} if have else {})
    try:
        answer = urllib.request.urlopen(request, timeout=TIMEOUT)
    except urllib.error.HTTPError as error:
        if have and error.code == 416:  # nothing left to send: the checksum decides
            return
        raise
    with answer, partial.open("ab" if answer.status == 206 else "wb") as file:
        done = file.tell()
        total = done + int(answer.headers.get("Content-Length") or max(expected - done, 0))
        while chunk := answer.read(CHUNK):
            file.write(chunk)
            done += len(chunk)
            shown.advance(done >> 20, max(total, done) >> 20)
        if done < total:
            raise OSError(f"the connection ended after {done >> 20} of {total >> 20} MiB")


def unpack(archive: Path, models: list[KnownModel], folder: Path) -> None:
    """Take ``models`` out of ``archive`` into ``folder``, each whole and verified or not at all.

    InputError for an archive that is damaged, lacks a model, holds another under its name, or has an entry that would
    leave the folder.
    """
    try:
        with zipfile.ZipFile(archive) as packed:
            names = [name for name in packed.namelist() if not name.endswith("/")]
            unsafe = [name for name in names if _leaves(name)]
            if unsafe:
                raise InputError(f"{archive} holds {unsafe[0]!r}, which would leave its folder: do not use this file")
            for model in models:
                entry = next((name for name in names if PurePosixPath(name).name == model.file), None)
                if entry is None:
                    raise InputError(f"{archive} has no {model.file}: remove it and download again")
                _extract(packed, entry, folder / model.file, model.sha256)
    except zipfile.BadZipFile as error:
        raise InputError(f"{archive} is a damaged archive ({error}): remove it and download again") from error


def _leaves(name: str) -> bool:
    path = PurePosixPath(name.replace("\\", "/"))
    return path.is_absolute() or ".." in path.parts or ":" in path.parts[0]


def _extract(packed: zipfile.ZipFile, entry: str, target: Path, digest: str) -> None:
    target.parent.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory(dir=target.parent) as scratch:
        partial = Path(scratch) / target.name
        with packed.open(entry) as source, partial.open("wb") as file:
            shutil.copyfileobj(source, file, CHUNK)
        if sha256(partial) != digest:
            raise InputError(f"{entry} in {packed.filename} is not the known {target.name} (its SHA-256 differs)")
        partial.replace(target)
