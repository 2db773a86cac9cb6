"""``rkface packs``. Imports nothing heavy."""

from __future__ import annotations

import textwrap
from argparse import ArgumentParser, Namespace
from pathlib import Path
from typing import Any, Literal

from rkface.runtime.cli.options import print_json
from rkface.runtime.core.manifest import ROLES
from rkface.runtime.core.paths import cache_folder

from .packs.known_packs import find_pack, list_packs
from .packs.pack import Download, KnownModel, Pack
from .packs.pack_files import cache_path, find_cached

State = Literal["part of rkface", "verified", "another file is there", "empty"]
WIDTH = 100  # columns


def packs(parser: ArgumentParser) -> None:
    """List the packs of models that `rkface convert --pack` knows: license, size, accuracy, and what is in the cache.

    With names, everything that rkface knows about these packs: addresses of the licenses and downloads, what the models
    were trained on, and where files are put by hand. Accuracy is as published; nothing was measured here. Files in the
    cache are verified by their SHA-256. The license is what the publisher of the weights says, not legal advice
    (docs/packs.md).

    examples:
      rkface packs
      rkface packs open --json
    """
    parser.add_argument("names", nargs="*", metavar="NAME", help="only these packs")
    parser.add_argument("--cache", type=Path, metavar="DIR", help="folder for downloads (default: ~/.cache/rkface)")
    parser.add_argument("--json", action="store_true", help="print everything that rkface knows about them as JSON")
    parser.set_defaults(run=_run)


def _run(options: Namespace) -> int:
    cache = options.cache or cache_folder()
    chosen = [find_pack(name) for name in dict.fromkeys(options.names)]
    if options.json:
        print_json({"cache": str(cache), "packs": [_to_dict(pack, cache) for pack in chosen or list_packs()]}, indent=2)
        return 0
    if not chosen:
        _print_table(list_packs(), cache)
    for pack in chosen:
        _print_pack(pack, cache)
    print("accuracy is as published, not measured here; a license is not legal advice (docs/packs.md)")
    return 0


def _print_table(packs: tuple[Pack, ...], cache: Path) -> None:
    rows = [("pack", "license", "commercial use", "download", "cache", "recognizer", "for")]
    for pack in packs:
        licenses = dict.fromkeys(pack.model(role).license.name for role in ROLES)
        use = "yes" if pack.commercial else "no"
        size, lfw = _download_size(pack), pack.recognizer.published.split(",")[0]
        rows.append((pack.name, " + ".join(licenses), use, size, _cached(pack, cache), lfw, pack.summary))
    widths = [max(map(len, column)) for column in zip(*rows, strict=True)]
    for row in rows:
        print("  ".join(cell.ljust(width) for cell, width in zip(row, widths, strict=True)).rstrip())
    print()


def _cached(pack: Pack, cache: Path) -> str:
    states = [_state(pack, pack.model(role), cache) for role in ROLES]
    if len(set(states)) == 1:
        return states[0]
    return (
        "another file is there" if "another file is there" in states else f"{states.count('verified')} of {len(states)}"
    )


def _download_size(pack: Pack) -> str:
    size = sum(one.bytes for one in pack.downloads)
    return f"{size / 1e6:.1f} MB" if size else "none"


def _print_pack(pack: Pack, cache: Path) -> None:
    use = "commercial use allowed" if pack.commercial else "no commercial use"
    print(f"{pack.name}: {pack.summary} ({use}, download: {_download_size(pack)})")
    for role in ROLES:
        model = pack.model(role)
        print(f"  {role:10}  {model.file}, {model.bytes / 1e6:.1f} MB; cache: {_state(pack, model, cache)}")
        rows = {
            "license": str(model.license),
            "accuracy": model.published and f"{model.published} ({model.source})",
            "trained on": model.trained_on,
            "SHA-256": model.sha256,
            "download": "" if model.download is None else _address(model.download),
            "by hand": "" if model.download is None else _by_hand(pack, model, cache),
        }
        for title, text in rows.items():
            if text:
                lines = textwrap.wrap(text, WIDTH - 26, break_long_words=False, break_on_hyphens=False)
                print("\n".join([f"              {title:10}  {lines[0]}", *(f"{'':26}{line}" for line in lines[1:])]))
    print()


def _address(download: Download) -> str:
    """Where it comes from, for a person without a network."""
    if download.requirement:
        return f"pip download --no-deps --no-binary :all: {download.requirement}"
    return " or ".join(download.urls)


def _by_hand(pack: Pack, model: KnownModel, cache: Path) -> str:
    """Where a file is put that was downloaded elsewhere."""
    download = model.download
    assert download is not None
    archive = f", or {download.file} into {cache}" if download.is_archive else ""
    return f"{model.file} into {cache_path(pack, model, cache).parent}{archive}"


def _state(pack: Pack, model: KnownModel, cache: Path) -> State:
    if model.download is None:
        return "part of rkface"
    if find_cached(pack, model, cache):
        return "verified"
    return "another file is there" if cache_path(pack, model, cache).exists() else "empty"


def _to_dict(pack: Pack, cache: Path) -> dict[str, Any]:
    return {
        "name": pack.name,
        "summary": pack.summary,
        "commercial": pack.commercial,
        "synthetic": pack.synthetic,
        "download_bytes": sum(one.bytes for one in pack.downloads),
        "models": {role: _model_to_dict(pack, pack.model(role), cache) for role in ROLES},
    }


def _model_to_dict(pack: Pack, model: KnownModel, cache: Path) -> dict[str, Any]:
    state = _state(pack, model, cache)
    return {
        "file": model.file,
        "sha256": model.sha256,
        "bytes": model.bytes,
        "license": {"name": model.license.name, "url": model.license.url, "commercial": model.license.commercial},
        "published": model.published,
        "source": model.source,
        "trained_on": model.trained_on,
        "state": state,
        "path": None if model.download is None else str(cache_path(pack, model, cache)),
        "download": model.download
        and {"urls": model.download.urls, "package": model.download.requirement, "file": model.download.file},
        "verified": state in ("part of rkface", "verified"),
    }
