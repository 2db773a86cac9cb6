"""The result of ``rkface convert`` on the terminal: for people, and as JSON. Imports nothing heavy."""

from __future__ import annotations

import shlex
import sys
from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING, Any

from rkface.runtime.core.debug_build import default_folder
from rkface.runtime.core.text import in_a_line

if TYPE_CHECKING:
    from .evaluate.parity import DetectionParity
    from .report.conversion_report import ConversionReport
    from .settings import OutputBundle


def to_dict(report: ConversionReport, output: OutputBundle, *, debug: bool) -> dict[str, Any]:
    """The summary of one bundle for --json; ``debug``: whether it has a debug build, too. report.json in the bundle has
    all details."""
    from .evaluate.parity import without_cosines

    return {
        "target": output.target.name,
        "bundle": str(output.folder),
        "debug_build": str(default_folder(output.folder)) if debug else None,
        "report": str(output.folder / "report.html"),
        "synthetic": report.manifest.synthetic,
        "match_threshold": report.manifest.thresholds.match,
        "models": [
            {
                "role": facts.role,
                "precision": report.manifest.model(facts.role).precision,
                "recipe": next(one.recipe.name for one in facts.recipes if one.chosen),
                "onnx_bytes": report.manifest.model(facts.role).source.bytes,
                "rknn_bytes": facts.rknn_bytes,
            }
            for facts in report.models
        ],
        "detector_shapes": [asdict(one) for one in report.shapes],
        "parity": without_cosines(report.parity),
        "notes": list(report.notes),
        "fault": report.fault,
    }


def describe(found: DetectionParity) -> str:
    """How close a detector is to FP32, in a line."""
    error = f"landmark error {found.landmark_error:.1%}"
    return f"{found.matched} of {found.faces} faces matched, {found.extra} extra, {error}"


def print_summary(report: ConversionReport, output: OutputBundle, work: Path) -> None:
    """The result of one conversion, for people."""
    from .evaluate.grades import grade_liveness

    manifest, parity = report.manifest, report.parity
    unseen = ", on faces that calibration never saw" if manifest.provenance["calibration"] else ""
    rows = [(output.target.name, "size", "", f"against FP32{unseen}")]
    results = {
        "detector": describe(parity.detection),
        "recognizer": "cosine with FP32's embedding:",
        "liveness": grade_liveness(parity.liveness).summary if parity.liveness else "",
    }
    for facts in report.models:
        model = manifest.model(facts.role)
        sizes = f"{model.source.bytes / 1e6:.1f} → {facts.rknn_bytes / 1e6:.1f} MB"
        rows.append((facts.role, sizes, model.precision, results[facts.role]))
        if facts.role == "detector":
            rows += [
                (
                    f"  {one.width}×{one.height}",
                    f"      → {one.rknn_bytes / 1e6:.1f} MB",
                    model.precision,
                    describe(one.detection),
                )
                for one in report.shapes
            ]
        if facts.role == "recognizer":
            named = {f"{group} faces": found.same_crop for group, found in parity.groups.items()}
            for name, found in {**named, "end to end": parity.end_to_end}.items():
                about = f"  {name}: mean {found.mean:.4f}, min {found.minimum:.4f} ({found.faces})"
                rows.append(("", "", "", about))
    rows += [("", "", "", str(drop)) for drop in parity.drops]
    widths = [max(len(row[column]) for row in rows) for column in range(3)]
    print()
    for row in rows:
        print("  ".join([*(cell.ljust(width) for cell, width in zip(row, widths, strict=False)), row[3]]).rstrip())
    print()
    if manifest.synthetic:
        print("synthetic: the demo models know only rendered faces; these figures say nothing about people")
    for note in [*report.notes, *([f"accepted, although {report.fault}"] if report.fault else [])]:
        print(f"note: {in_a_line(note)}")
    for license in dict.fromkeys(manifest.model(role).source.license for role in manifest.roles):
        print(f"license: {license}")
    print(f"bundle:  {output.folder}")
    print(f"report:  {output.folder / 'report.html'}")
    example = work / "photos/evaluation/person-0000-00.jpg" if manifest.synthetic else Path("PHOTO.jpg")
    command = [sys.argv[0], "detect", "--bundle", str(output.folder), str(example), "--draw", "faces.jpg"]
    print(f"next:    {shlex.join(command)}")
