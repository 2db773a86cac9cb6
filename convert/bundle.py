"""Writes a bundle: whole or not at all, and never at the cost of the last good one."""

from __future__ import annotations

import shutil
from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any

from rkface.calibration.atomic_folder import atomic_folder, check_writable
from rkface.runtime.core.bundle import MANIFEST, SUMS, Bundle, Manifest, files, read_bundle, sha256
from rkface.runtime.core.errors import InputError


def check_replaceable(out: Path) -> None:
    """Raise InputError unless ``out`` is free, empty, or an earlier bundle: nothing else is ever overwritten.
    WorkError where it could not be written."""
    check_writable(out)
    if out.exists() and not (out.is_dir() and ((out / MANIFEST).is_file() or not any(out.iterdir()))):
        raise InputError(f"{out} exists and is no bundle: give another --out")


def write_bundle(out: Path, manifest: Manifest, content: Mapping[str, Path]) -> None:
    """Copy ``content`` (path inside the bundle → file) and ``manifest`` into a bundle at ``out``.

    It is verified as a board would before it takes the place of what was there.
    """
    check_replaceable(out)
    with atomic_folder(out) as folder:
        for name, source in content.items():
            (folder / name).parent.mkdir(parents=True, exist_ok=True)
            shutil.copyfile(source, folder / name)
        (folder / MANIFEST).write_text(manifest.to_json(), encoding="utf-8")
        sums = "".join(f"{sha256(folder / name)}  {name}\n" for name in files(folder))
        (folder / SUMS).write_text(sums, encoding="utf-8")
        read_bundle(folder)


def set_match(bundle: Bundle, threshold: float, evidence: dict[str, Any]) -> None:
    """Write ``bundle`` again in its place, with ``threshold`` for matching faces and the ``evidence`` for it."""
    manifest = bundle.manifest
    changed = replace(
        manifest,
        thresholds=replace(manifest.thresholds, match=threshold),
        provenance={**manifest.provenance, "match_threshold": evidence},
    )
    kept = [name for name in files(bundle.folder) if name != MANIFEST]
    write_bundle(bundle.folder, changed, {name: bundle.folder / name for name in kept})
