"""Writes a bundle: complete or not at all, and an existing bundle stays until the new one is complete."""

from __future__ import annotations

import shutil
from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

from rkface.calibration.atomic_folder import atomic_folder, check_writable
from rkface.runtime.core.bundle import SUMS, Bundle, files, read_bundle, sha256
from rkface.runtime.core.errors import InputError
from rkface.runtime.core.manifest import MANIFEST, Manifest

from .report.page import add_later_note

REPORT = "report.html"


def check_replaceable(out: Path) -> None:
    """Check that a bundle can be written to ``out``.

    Raises InputError unless ``out`` does not exist, is an empty folder, or is a bundle: nothing else is ever replaced.
    Raises WorkError if ``out`` cannot be written.
    """
    check_writable(out)
    if out.exists() and not (out.is_dir() and ((out / MANIFEST).is_file() or not any(out.iterdir()))):
        raise InputError(f"{out} exists and is not a bundle: choose another --out")


def write_bundle(out: Path, manifest: Manifest, content: Mapping[str, Path]) -> None:
    """Copy ``content`` (path inside the bundle → file) and ``manifest`` into a bundle at ``out``.

    The new bundle is verified, as a board would do it, before it replaces what was there.
    """
    check_replaceable(out)
    with atomic_folder(out) as folder:
        for name, source in content.items():
            (folder / name).parent.mkdir(parents=True, exist_ok=True)
            shutil.copyfile(source, folder / name)
        (folder / MANIFEST).write_text(manifest.to_json(), encoding="utf-8")
        write_sums(folder)
        read_bundle(folder)


def write_sums(folder: Path) -> None:
    """Write SHA256SUMS of all files in ``folder``."""
    sums = "".join(f"{sha256(folder / name)}  {name}\n" for name in files(folder))
    (folder / SUMS).write_text(sums, encoding="utf-8")


def set_match_threshold(bundle: Bundle, threshold: float, evidence: dict[str, Any]) -> None:
    """Replace ``bundle`` by a copy with another match threshold. ``evidence`` is recorded in its manifest, and a note
    in its report says that the threshold shown there is the one before."""
    manifest = bundle.manifest
    changed = replace(
        manifest,
        thresholds=replace(manifest.thresholds, match=threshold),
        provenance={**manifest.provenance, "match_threshold": evidence},
    )
    content = {name: bundle.folder / name for name in files(bundle.folder) if name != MANIFEST}
    with TemporaryDirectory() as scratch:
        if REPORT in content:
            text = (
                f"The match threshold was changed to {threshold:.4f} after this report was written, by "
                f"{evidence['by']} on {evidence['date']}. Below, it still has the value of the conversion."
            )
            page = add_later_note(content[REPORT].read_text(encoding="utf-8"), text)
            content[REPORT] = Path(scratch) / REPORT
            content[REPORT].write_text(page, encoding="utf-8")
        write_bundle(bundle.folder, changed, content)
