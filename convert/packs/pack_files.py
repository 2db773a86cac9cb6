"""The model files of a pack: given by the user, part of rkface, in the cache, or downloaded. Each is verified."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from rkface.runtime.core.bundle import sha256
from rkface.runtime.core.errors import InputError, WorkError
from rkface.runtime.core.manifest import ROLES, Role
from rkface.runtime.core.progress import stage

from .pack import DEMO, Download, KnownModel, Pack


@dataclass(frozen=True)
class ModelFile:
    """A known model, and the verified file that is this model."""

    model: KnownModel
    path: Path


def get_models(
    pack: Pack, cache: Path, *, accepted: bool, given: Mapping[Role, Path] | None = None
) -> dict[Role, ModelFile]:
    """The ONNX models of ``pack``, verified: those ``given``, those of rkface, those in ``cache``; others are
    downloaded into it.

    Raises InputError if the license must be accepted and was not, if a given file is not one of the pack's, if an
    archive that the user put into the cache is not the right one, or if the cache cannot be written. Raises WorkError
    if a download fails; the next call resumes it.
    """
    check_license(pack, accepted=accepted)
    given = given or {}
    found = {role: check_given(pack, role, path) for role, path in given.items()}
    models = {role: pack.model(role) for role in ROLES if role not in given}
    folder = cache / pack.name
    try:
        _fill_cache(pack, list(models.values()), cache)
        for role, model in models.items():
            path = find_cached(pack, model, cache)
            assert path is not None
            found[role] = ModelFile(model, path)
        return {role: _as_onnx(found[role], folder) for role in ROLES}
    except OSError as error:
        raise InputError(
            f"{error.filename or cache}: {error.strerror or error}. The models of {pack.name} are stored in {folder}: "
            "choose another folder with --cache"
        ) from error


def check_license(pack: Pack, *, accepted: bool) -> None:
    """Raise InputError if the license of ``pack`` does not allow commercial use and was not accepted."""
    if not pack.commercial and not accepted:
        license = pack.recognizer.license
        raise InputError(
            f"the models of {pack.name} are for {license.name} only{f' ({license.note})' if license.note else ''}: "
            f"`rkface packs {pack.name}` has the address of the license. If it allows your use, accept it with "
            f"--accept-license (make convert PACK={pack.name} ACCEPT_LICENSE=yes)"
        )


def check_given(pack: Pack, role: Role, path: Path) -> ModelFile:
    """The file at ``path``, if it is one of the models that ``pack`` can have as ``role``. Raises InputError."""
    try:
        digest = sha256(path)
    except OSError as error:
        raise InputError(f"--{role} {path}: cannot be read: {error.strerror or error}") from error
    for model in pack.choices(role):
        if digest in model.digests:
            return ModelFile(model, path)
    names = " or ".join(f"{model.file} (SHA-256 {model.sha256[:12]}…)" for model in pack.choices(role))
    raise InputError(
        f"--{role} {path} is not a {role} of the pack {pack.name}, which takes {names}; the SHA-256 of this file is "
        f"{digest[:12]}…. To convert models of your own, leave --pack out"
    )


def cache_path(pack: Pack, model: KnownModel, cache: Path) -> Path:
    """Where ``model`` is in ``cache``, or is put by hand."""
    return cache / pack.name / model.file


def find_cached(pack: Pack, model: KnownModel, cache: Path) -> Path | None:
    """The verified file of ``model`` in ``cache``, or in rkface itself; None without one."""
    if model.download is None:
        return DEMO / model.file if sha256(DEMO / model.file) == model.sha256 else None
    path = cache_path(pack, model, cache)
    for file, digest in ((path.with_name(model.onnx_file), model.onnx_sha256), (path, model.sha256)):
        if digest and file.is_file() and sha256(file) == digest:
            return file
    return None


def _fill_cache(pack: Pack, models: Sequence[KnownModel], cache: Path) -> None:
    """Download what is missing of ``models``."""
    missing = [model for model in models if find_cached(pack, model, cache) is None]
    for source in dict.fromkeys(model.download for model in missing):
        if source is None:
            raise InputError(
                f"{DEMO / missing[0].file} was changed after it was trained: restore the file, or train the models "
                "again"
            )
        _obtain(source, [model for model in missing if model.download == source], cache, cache / pack.name)


def _obtain(source: Download, models: Sequence[KnownModel], cache: Path, folder: Path) -> None:
    """Put ``models`` into ``folder``. An archive that the user put into ``cache`` is used and kept."""
    from .download import download  # `rkface --help` imports this module, but neither HTTP nor archives
    from .unpack import unpack

    folder.mkdir(parents=True, exist_ok=True)
    if not source.is_archive:
        download(source, folder / source.file)
        return
    archive = cache / source.file
    put_by_hand = archive.is_file()
    if not put_by_hand:
        download(source, archive)
    elif sha256(archive) != source.sha256:
        raise InputError(f"{archive} is not the known {source.file} (its SHA-256 differs): delete it")
    unpack(archive, models, folder)
    if not put_by_hand:
        archive.unlink()


def _as_onnx(found: ModelFile, folder: Path) -> ModelFile:
    """The ONNX model of ``found``, in ``folder`` if rkface has to make it."""
    model = found.model
    if not model.onnx_sha256 or sha256(found.path) == model.onnx_sha256:
        return found
    target = folder / model.onnx_file
    if not target.is_file() or sha256(target) != model.onnx_sha256:
        from .dlib_resnet import write_dlib_onnx

        with stage(f"read {model.file}"):
            write_dlib_onnx(found.path, target)
        if sha256(target) != model.onnx_sha256:  # then its embeddings would not be those of other machines
            raise WorkError(
                f"{target}: this is not the model that rkface makes of {found.path.name} elsewhere (its SHA-256 "
                "differs): install the versions of onnx and protobuf that rkface asks for"
            )
    return ModelFile(model, target)
