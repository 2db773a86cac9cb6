"""What ``rkface calibrate`` prints about a set that it has written."""

from __future__ import annotations

import json
import shlex

from .collect import CandidateFace, Skipped
from .dataset import CONTACT, SPREAD, CalibrationSet
from .write_set import count_reasons


def to_text(
    written: CalibrationSet,
    faces: tuple[CandidateFace, ...],
    left_out: tuple[Skipped, ...],
    notes: tuple[str, ...],
) -> str:
    """What `rkface calibrate` prints about the set ``written``: its ``faces``, what was ``left_out``, and ``notes``."""
    out = written.folder
    photos = len({face.sha256 for face in faces})
    scores = [face.quality.score for face in faces]
    size = f"{written.width}×{written.height}"
    next_command = ["rkface", "convert", "--calibration", str(out)]
    return "\n".join(
        [
            f"{out}: {written.faces} faces from {photos} photos, {written.frames} frames of {size}",
            *(f"  {note}" for note in notes),
            f"  quality    {max(scores):.2f} to {min(scores):.2f}",
            f"  left out   {', '.join(f'{n} × {reason}' for reason, n in count_reasons(left_out)) or 'nothing'}",
            f"  check      {out / CONTACT}: these are faces of people, so protect the folder like the photos",
            f"  check      {out / SPREAD}: pose, light, skin tone, size and quality, beside those of all usable faces",
            f"next: {shlex.join(next_command)} --detector D.onnx --recognizer R.onnx",
        ]
    )


def to_json(written: CalibrationSet, faces: tuple[CandidateFace, ...], left_out: tuple[Skipped, ...]) -> str:
    """The same for programs."""
    scores = [face.quality.score for face in faces]
    report = {
        "folder": str(written.folder),
        "digest": written.digest,
        "faces": written.faces,
        "photos": len({face.sha256 for face in faces}),
        "frames": written.frames,
        "width": written.width,
        "height": written.height,
        "quality": {"highest": round(max(scores), 4), "lowest": round(min(scores), 4)},
        "left_out": dict(count_reasons(left_out)),
        "turned": len({face.sha256 for face in faces if face.turned}),
        "second_look": len({face.sha256 for face in faces if face.again}),
    }
    return json.dumps(report, ensure_ascii=False)
