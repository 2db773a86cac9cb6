"""Records the results of InsightFace's own Python code for the test photos and weights into insightface.json.

To record again, use a separate environment (insightface is not a dependency of rkface):

    python3.11 -m venv /tmp/insightface
    /tmp/insightface/bin/pip install insightface==2.1 onnx==1.18.0 onnxruntime==1.26.0 opencv-python==4.11.0.86
    /tmp/insightface/bin/python tests/parity/record_insightface.py ../shared

The record contains only positions: no photo, no weight, and no embedding of a person. Embeddings are recorded only for
images that this file draws from a seed; the test loads this file and draws them again.
"""

from __future__ import annotations

import hashlib
import json
import sys
import tempfile
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

RECORD = Path(__file__).with_name("insightface.json")
RECOGNIZER = "mobilefacenet_128.onnx"
# Model, width, height, score threshold, and n to use every n-th photo. One size at a time: insightface detects at 128
# and 640 by default. At a threshold of 0.02, crowds of uncertain small faces overlap, which tests the details of NMS.
DETECTIONS = (
    ("scrfd_2.5g_kps.onnx", 640, 640, 0.5, 1),
    ("scrfd_500m_kps.onnx", 640, 640, 0.5, 1),
    ("scrfd_2.5g_kps.onnx", 320, 320, 0.5, 4),
    ("scrfd_500m_kps.onnx", 640, 384, 0.5, 4),
    ("scrfd_2.5g_kps.onnx", 640, 640, 0.02, 13),
)
CROPS = 6
SCENES = 6
GRID = 8  # a recorded crop is the mean of GRID×GRID blocks


def photos(shared: Path) -> list[Path]:
    return sorted((shared / "data/people").glob("*.jpg"))


def sha256(path: Path) -> str:
    return hashlib.sha256(path.read_bytes()).hexdigest()


def resized(model: Path, width: int, height: int, folder: Path) -> Path:
    """A copy of the ONNX ``model`` in ``folder`` that declares width×height; its Reshape nodes follow the input."""
    import onnx

    proto = onnx.load(model)
    shape = proto.graph.input[0].type.tensor_type.shape.dim
    shape[2].dim_value, shape[3].dim_value = height, width
    del proto.graph.value_info[:]
    for index, output in enumerate(proto.graph.output):  # scores, boxes, landmarks, each at strides 8, 16, 32
        stride, channels = (8, 16, 32)[index % 3], (1, 4, 10)[index // 3]
        dimensions = output.type.tensor_type.shape.dim
        del dimensions[:]
        for size in (1, width // stride * (height // stride) * 2, channels):
            dimensions.add().dim_value = size
    path = folder / f"{width}x{height}_{model.name}"
    onnx.save(proto, path)
    return path


def drawn(seed: int, width: int, height: int) -> NDArray[np.uint8]:
    """An image (H×W×3 uint8 BGR) of smooth colors and noise, which is the same on every machine: it uses only NumPy."""
    random = np.random.default_rng(seed)
    x, y = np.meshgrid(np.arange(width) / 112, np.arange(height) / 112)
    waves = [
        sum(np.sin(random.uniform(1, 12) * x + random.uniform(1, 12) * y + random.uniform(0, 6)) for _ in range(4))
        for _ in range(3)
    ]
    picture = 127 + random.uniform(20, 45, 3) * np.stack(waves, axis=-1) + random.normal(0, 6, (height, width, 3))
    return np.clip(np.rint(picture), 0, 255).astype(np.uint8)


def scene(seed: int) -> tuple[NDArray[np.uint8], NDArray[np.float32]]:
    """An image and five landmarks (5×2) in it: those of a face, randomly rotated, scaled, moved and distorted; some are
    outside the image."""
    picture = drawn(seed, 360, 280)
    random = np.random.default_rng(seed)
    face = np.array([[-18, -20], [17, -20], [0, 0], [-14, 20], [15, 20]]) + random.normal(0, 2, (5, 2))
    angle, scale = random.uniform(-0.9, 0.9), random.uniform(0.5, 3)
    turn = scale * np.array([[np.cos(angle), -np.sin(angle)], [np.sin(angle), np.cos(angle)]])
    points = face @ turn.T + random.uniform([60, 60], [300, 220])
    return picture, np.round(points, 2).astype(np.float32)


def blocks(crop: NDArray[np.uint8]) -> NDArray[np.float64]:
    """The means of GRID×GRID×3 blocks of an S×S×3 crop."""
    side = len(crop) // GRID
    means: NDArray[np.float64] = crop.reshape(GRID, side, GRID, side, 3).mean(axis=(1, 3))
    return means


def rounded(values: NDArray[Any], digits: int) -> Any:
    return np.round(np.asarray(values, np.float64), digits).tolist()


def record(shared: Path) -> dict[str, Any]:
    import cv2
    import insightface
    import onnxruntime
    from insightface.model_zoo.arcface_onnx import ArcFaceONNX
    from insightface.model_zoo.scrfd import SCRFD
    from insightface.utils.face_align import estimate_norm, norm_crop

    runs = []
    with tempfile.TemporaryDirectory() as folder:
        for model, width, height, threshold, step in DETECTIONS:
            source = shared / "models" / model
            detector = SCRFD(str(resized(source, width, height, Path(folder))))
            detector.prepare(-1, nms_thresh=0.4, det_thresh=threshold)
            faces = {}
            for path in photos(shared)[::step]:
                found, landmarks = detector.detect(cv2.imread(str(path)), input_size=(width, height))
                # The matrix is that of the rounded landmarks, so that rounding does not affect the test.
                written = np.round(landmarks.astype(np.float64), 3).astype(np.float32)
                faces[path.name] = {
                    "boxes": rounded(found[:, :4], 3),
                    "scores": rounded(found[:, 4], 5),
                    "landmarks": rounded(landmarks, 3),
                    "similarity": [rounded(estimate_norm(points), 6) for points in written],
                }
            runs.append(
                {
                    "model": model,
                    "sha256": sha256(source),
                    "width": width,
                    "height": height,
                    "threshold": threshold,
                    "faces": faces,
                }
            )
    source = shared / "models" / RECOGNIZER
    recognizer = ArcFaceONNX(str(source))
    recognizer.prepare(-1)
    crops = [drawn(seed, 112, 112) for seed in range(CROPS)]
    scenes = [norm_crop(*scene(seed)) for seed in range(SCENES)]
    return {
        "insightface": insightface.__version__,
        "opencv": cv2.__version__,
        "onnxruntime": onnxruntime.__version__,
        "photos": {path.name: sha256(path) for path in photos(shared)},
        "detections": runs,
        "recognizer": {
            "model": RECOGNIZER,
            "sha256": sha256(source),
            "crops": [rounded(recognizer.get_feat(crop)[0], 5) for crop in crops],
            "scenes": [
                {"blocks": rounded(blocks(crop), 2), "embedding": rounded(recognizer.get_feat(crop)[0], 5)}
                for crop in scenes
            ],
        },
    }


def main() -> int:
    if len(sys.argv) != 2 or not (Path(sys.argv[1]) / "models").is_dir():
        print(__doc__, file=sys.stderr)
        return 2
    said = record(Path(sys.argv[1]))
    # A line for each photo, so that the diff of a new record is readable.
    text = json.dumps(said, separators=(",", ":")).replace('},"', '},\n"')
    RECORD.write_text(text + "\n", encoding="utf-8")
    count = sum(len(photo["scores"]) for run in said["detections"] for photo in run["faces"].values())
    print(f"{RECORD.name}: {count} faces, {RECORD.stat().st_size} bytes")
    return 0


if __name__ == "__main__":
    sys.exit(main())
