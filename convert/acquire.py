"""Gets the models to convert: those of a pack, verified, from the cache or downloaded; or the user's own."""

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

from rkface.runtime.core.bundle import sha256
from rkface.runtime.core.errors import InputError, WorkError
from rkface.runtime.core.manifest import ROLES, UNMEASURED, Role, Source
from rkface.runtime.core.onnx_file import onnx_digest, read_onnx_file
from rkface.runtime.core.progress import Stage, stage

from .catalog import DEFAULT_MATCH, DEMO, KnownModel, LivenessProfile, Pack, find_known_model
from .preprocessing import StatedPreprocessing
from .recognizer_crop import StatedCrop

CHUNK = 1 << 18
TIMEOUT = 30.0  # seconds without any data


@dataclass(frozen=True)
class ModelSources:
    """ONNX models that belong together.

    paths      by role
    licenses   by role
    match      minimum cosine for a match
    evidence   where ``match`` comes from
    synthetic  trained on rendered faces
    liveness   how the liveness model was trained; None without one
    known      rkface knows the recognizer: its input is InsightFace's
    stated     what the user says about the recognizer's input; None if nothing
    crop       how a face is aligned for the recognizer; None: the size of its input decides
    center     whether a constant must be taken off the recognizer's embeddings; None: it is measured
    """

    name: str
    paths: dict[Role, Path]
    licenses: dict[Role, str]
    match: float = DEFAULT_MATCH
    evidence: str = UNMEASURED
    synthetic: bool = False
    liveness: LivenessProfile | None = None
    known: bool = False
    stated: StatedPreprocessing | None = None
    crop: StatedCrop | None = None
    center: bool | None = None

    def source(self, role: Role) -> Source:
        """The provenance of the model of ``role``. Digest and size include external data."""
        path = self.paths[role]
        model = read_onnx_file(path)
        return Source(path.name, model.sha256, len(model.data), self.licenses[role])


def pack_sources(pack: Pack, cache: Path, *, accepted: bool) -> ModelSources:
    """The models of ``pack``. Raises the same errors as ``acquire``."""
    paths = acquire(pack, cache, accepted=accepted)
    return ModelSources(
        pack.name,
        paths,
        dict.fromkeys(ROLES, pack.license),
        pack.match,
        pack.evidence,
        pack.synthetic,
        known=True,
        center=pack.center,
    )


def own_sources(detector: Path, recognizer: Path, license: str) -> ModelSources:
    """The user's own files. The license and the match threshold of a known model are those in the catalog.

    Raises ModelError if a file is missing, or if it is not an ONNX model.
    """
    paths: dict[Role, Path] = {"detector": detector, "recognizer": recognizer}
    found = {role: find_known_model(onnx_digest(path)) for role, path in paths.items()}
    licenses: dict[Role, str] = {role: hit[1].license if (hit := found[role]) else license for role in ROLES}
    entry = found["recognizer"]
    match, evidence = (entry[1].match, entry[1].evidence) if entry else (DEFAULT_MATCH, UNMEASURED)
    name = f"{detector.stem} + {recognizer.stem}"
    return ModelSources(
        name, paths, licenses, match, evidence, known=entry is not None, center=entry[1].center if entry else None
    )


def with_liveness(sources: ModelSources, path: Path, profile: LivenessProfile, license: str) -> ModelSources:
    """``sources`` with the liveness model at ``path``, which was trained as ``profile`` says."""
    paths, licenses = {**sources.paths, "liveness": path}, {**sources.licenses, "liveness": license}
    return replace(sources, paths=paths, licenses=licenses, liveness=profile)


def default_cache() -> Path:
    """The folder for downloads: $RKFACE_CACHE, or else rkface's folder in the XDG cache."""
    own = os.environ.get("RKFACE_CACHE")
    return Path(own) if own else Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache") / "rkface"


def acquire(pack: Pack, cache: Path, *, accepted: bool) -> dict[Role, Path]:
    """The verified model files of ``pack``, from rkface itself, from ``cache``, or downloaded.

    Raises InputError if the license was not accepted, or if an archive that the user put into the cache is not the
    right one. Raises WorkError if the download fails; the next call resumes it.
    """
    if pack.url is None:
        paths = {role: DEMO / pack.model(role).file for role in ROLES}
        for role, path in paths.items():
            if sha256(path) != pack.model(role).sha256:
                raise InputError(
                    f"{path} was changed after it was trained: restore the file, or train the models again"
                )
        return paths
    if not accepted:
        raise InputError(
            f"{pack.name} contains {pack.license}. If this allows your use, accept it with --accept-license "
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
            raise InputError(f"{archive} is not InsightFace's {pack.name}.zip (its SHA-256 differs): delete it")
        unpack(archive, [pack.model(role) for role in ROLES], folder)
        if not put_by_hand:
            archive.unlink()
    return paths


def download(pack: Pack, archive: Path) -> None:
    """Download the archive of ``pack``. An interrupted download stays as ``….part``; the next call resumes it.

    Raises WorkError if the download fails, or if the file is not the known one.
    """
    assert pack.url is not None
    archive.parent.mkdir(parents=True, exist_ok=True)
    partial = archive.with_suffix(".zip.part")
    with stage(f"download {pack.name}") as shown:
        try:
            _fetch(pack.url, partial, pack.bytes, shown)
        except (urllib.error.URLError, HTTPException, OSError) as error:
            reason = getattr(error, "reason", None) or error
            raise WorkError(
                f"{pack.url}: the download failed ({reason}). Run the same command again to resume it, or download the "
                f"file on another machine and copy it to {archive}"
            ) from error
        shown.note = f"{partial.stat().st_size / 1e6:.0f} MB"
    if sha256(partial) != pack.sha256:
        partial.unlink()
        raise WorkError(
            f"{pack.url}: the downloaded file is not {pack.name}.zip (its SHA-256 differs): try again later"
        )
    partial.replace(archive)


def _fetch(url: str, partial: Path, expected: int, shown: Stage) -> None:
    have = partial.stat().st_size if partial.is_file() else 0
    request = urllib.request.Request(url, headers={"Range": f"bytes={have}-"} if have else {})
    try:
        answer = urllib.request.urlopen(request, timeout=TIMEOUT)
    except urllib.error.HTTPError as error:
        if have and error.code == 416:  # the file is already complete: the checksum decides
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
    """Extract ``models`` from ``archive`` into ``folder``; each is verified before it appears there.

    Raises InputError if the archive is damaged, lacks a model, contains another file under its name, or has an entry
    that would be written outside the folder.
    """
    try:
        with zipfile.ZipFile(archive) as packed:
            names = [name for name in packed.namelist() if not name.endswith("/")]
            unsafe = [name for name in names if _leaves(name)]
            if unsafe:
                raise InputError(
                    f"{archive} contains {unsafe[0]!r}, which would be written outside its folder: do not use this file"
                )
            for model in models:
                entry = next((name for name in names if PurePosixPath(name).name == model.file), None)
                if entry is None:
                    raise InputError(f"{archive} has no {model.file}: delete it and download again")
                _extract(packed, entry, folder / model.file, model.sha256)
    except zipfile.BadZipFile as error:
        raise InputError(f"{archive} is a damaged archive ({error}): delete it and download again") from error


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
