"""``rkface verify``: whether a bundle is complete and unchanged. Imports nothing heavy before it runs."""

from __future__ import annotations

from argparse import ArgumentParser, Namespace
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from .options import add_json, print_json

if TYPE_CHECKING:
    from ..core.bundle import Bundle
    from ..core.manifest import Role


def verify(parser: ArgumentParser) -> None:
    """Check that a bundle is complete and unchanged, and show what it contains.

    Compares the checksums of all files; the models are not run (`rkface selftest` runs them). Exit code: 0 if the
    bundle is good, 2 if it is not.

    examples:
      rkface verify build/rk3588
      rkface verify build/rk3588 --soc rk3588
      rkface verify build/rk3588 --json
    """
    parser.add_argument("bundle", type=Path, metavar="BUNDLE", help="the folder that `rkface convert` wrote")
    parser.add_argument("--soc", metavar="CHIP", help="also check that it was made for this chip, such as rk3588")
    add_json(parser, "one object")
    parser.set_defaults(run=_verify)


@dataclass(frozen=True)
class ModelSummary:
    """What ``rkface verify`` shows of one model; ``width`` and ``height`` are those of its input in pixels,
    ``crop`` is the name of a recognizer's crop."""

    role: Role
    precision: str
    width: int
    height: int
    bytes: int
    source: str
    license: str
    crop: str | None = None


def _verify(options: Namespace) -> int:
    from ..core.bundle import read_bundle

    bundle = read_bundle(options.bundle, options.soc)
    manifest = bundle.manifest
    models = [_summary(bundle, name) for name in manifest.models]
    if options.json:
        facts = {
            name: getattr(manifest, name) for name in ("name", "synthetic", "created", "target", "toolkit", "rkface")
        }
        print_json({"bundle": str(options.bundle), **facts, "models": [asdict(model) for model in models]})
        return 0
    print(f"{options.bundle}: unchanged since {manifest.created}")
    print(
        f"  {manifest.name}{' (synthetic)' if manifest.synthetic else ''} for {manifest.target}, "
        f"toolkit {manifest.toolkit}, rkface {manifest.rkface}"
    )
    for model in models:
        print(
            f"  {model.role:10} {model.precision}, {model.width}×{model.height}"
            f"{f' ({model.crop})' if model.crop else ''}, {model.bytes / 1e6:.1f} MB, "
            f"from {model.source} ({model.license})"
        )
    return 0


def _summary(bundle: Bundle, name: str) -> ModelSummary:
    from ..core.manifest import RecognizerSpec, role_of

    model = bundle.manifest.model(name)
    size = bundle.path(name).stat().st_size
    width, height = model.input.width, model.input.height
    crop = model.crop.name if isinstance(model, RecognizerSpec) else None
    return ModelSummary(
        role_of(name), model.precision, width, height, size, model.source.file, model.source.license, crop
    )
