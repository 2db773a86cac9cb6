"""insightface, used as in its README: one side of `make bench`. It runs in its own environment, without rkface."""

from __future__ import annotations

import tempfile
from collections.abc import Sequence
from importlib.metadata import version
from pathlib import Path
from typing import Any

import numpy as np
import onnx
from comparison_worker import Results, Side, serve, session_options
from insightface.app import FaceAnalysis
from insightface.utils.face_align import norm_crop

PACKAGES = ("insightface", "onnxruntime", "numpy", "opencv-python", "scikit-image")


def open_side(detectors: Sequence[Path], recognizer: Path, threads: int) -> Side:
    (detector,) = detectors
    # Since version 1.0, insightface detects at 128 and at 640 by default. Use one size, the model's.
    shape = onnx.load(detector, load_external_data=False).graph.input[0].type.tensor_type.shape.dim
    size = (shape[3].dim_value or 640, shape[2].dim_value or 640)
    with tempfile.TemporaryDirectory() as folder:
        for model in (detector, recognizer):
            (Path(folder) / model.name).symlink_to(model.resolve())
        app = FaceAnalysis(
            folder,
            allowed_modules=["detection", "recognition"],
            providers=["CPUExecutionProvider"],
            sess_options=session_options(threads),
        )
        app.prepare(ctx_id=0, det_thresh=0.5, det_size=size)
    recognition = app.models["recognition"]

    def read_results(faces: list[Any]) -> Results:
        dimensions = recognition.output_shape[-1]
        return Results(
            np.array([face.bbox for face in faces], np.float32).reshape(-1, 4),
            np.array([face.kps for face in faces], np.float32).reshape(-1, 5, 2),
            np.array([face.normed_embedding for face in faces], np.float32).reshape(-1, dimensions),
        )

    def embed(crops: Any) -> np.ndarray:
        raw = np.concatenate([recognition.get_feat(crop) for crop in crops])
        return raw / np.linalg.norm(raw, axis=1, keepdims=True)

    return Side(app.get, read_results, norm_crop, embed, {name: version(name) for name in PACKAGES})


if __name__ == "__main__":
    serve(open_side)
