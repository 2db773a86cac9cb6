"""rkface compared with InsightFace's own Python code, on the same weights, photos and crops.

record_insightface.py wrote the results of that code to insightface.json, and explains how to record them again.
"""

import importlib.util
import json
import os
from dataclasses import dataclass
from pathlib import Path

import cv2
import numpy as np
import pytest

from rkface.runtime.backends.reference import open_reference
from rkface.runtime.core.crop_template import ARCFACE_112
from rkface.runtime.core.faces import Faces
from rkface.runtime.core.manifest import Input, Output
from rkface.runtime.vision import align as alignment
from rkface.runtime.vision import detect, embed
from rkface.runtime.vision.detectors.scrfd import SCRFD
from rkface.runtime.vision.image import read_image

HERE = Path(__file__).parent
RECORD = json.loads((HERE / "insightface.json").read_text(encoding="utf-8"))
RUNS = [
    f"{run['model'].removesuffix('.onnx')}-{run['width']}x{run['height']}-{run['threshold']}"
    for run in RECORD["detections"]
]
# The larger detector looks at a quarter of the photos; the smaller one looks at all of them.
LARGER, PART = "scrfd_2.5g_kps.onnx", None if "RKFACE_SLOW" in os.environ else 16
PHOTOS = [sorted(run["faces"])[: PART if run["model"] == LARGER else None] for run in RECORD["detections"]]
PIXELS = 0.5
COSINE = 0.9999
MARGIN = 1e-3


@pytest.fixture(scope="module")
def recorder():
    """record_insightface.py as a module: it draws the images that InsightFace got."""
    spec = importlib.util.spec_from_file_location("record_insightface", HERE / "record_insightface.py")
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


@dataclass
class Compared:
    """The faces of one photo by both. Faces with a score within MARGIN of the threshold may be missing in one of
    them."""

    name: str
    threshold: float
    theirs: Faces
    ours: Faces

    def distance(self):
        """Distance in pixels between each of their faces and each of ours: the largest over box corners and
        landmarks."""
        theirs, ours = (np.hstack([faces.boxes, faces.landmarks.reshape(-1, 10)]) for faces in (self.theirs, self.ours))
        return np.abs(theirs[:, None] - ours).max(axis=-1, initial=0)


def said(photo):
    """The recorded faces of a photo."""
    boxes, scores = np.array(photo["boxes"], np.float32), np.array(photo["scores"], np.float32)
    return Faces(boxes.reshape(-1, 4), scores, np.array(photo["landmarks"], np.float32).reshape(-1, 5, 2))


@pytest.fixture(scope="module")
def compared(shared, recorder, tmp_path_factory):
    """For each recorded run, its photos with both results. Each photo is decoded once."""
    pytest.importorskip("onnx", reason="fixing the detector's input size needs onnx")
    folder = tmp_path_factory.mktemp("models")
    detectors, found = [], []
    for run in RECORD["detections"]:
        path, width, height = shared / "models" / run["model"], run["width"], run["height"]
        assert recorder.sha256(path) == run["sha256"], f"{path} is not the file that was recorded"
        input = Input("images", height, width, SCRFD.mean, SCRFD.std)
        backend = open_reference(recorder.resized(path, width, height, folder), input)
        shapes = [output.shape for output in backend.infer(np.zeros((1, height, width, 3), np.uint8))]
        outputs = [Output(str(index), shape) for index, shape in enumerate(shapes)]
        detectors.append(detect.Detector(backend, input, outputs))
        found.append([])
    for path in recorder.photos(shared):
        assert recorder.sha256(path) == RECORD["photos"][path.name], f"{path} is not the file that was recorded"
        image = read_image(path)
        for run, detector, photos, answers in zip(RECORD["detections"], detectors, PHOTOS, found, strict=True):
            if path.name in photos:
                ours, threshold = detector.detect(image, run["threshold"]), run["threshold"]
                answers.append(Compared(path.name, threshold, said(run["faces"][path.name]), ours))
    return found


@pytest.mark.parametrize("run", range(len(RUNS)), ids=RUNS)
def test_the_same_faces_are_found(compared, run):
    assert len(compared[run]) == len(PHOTOS[run]) > 4
    for photo in compared[run]:
        near = photo.distance() <= PIXELS
        sure = photo.theirs.scores > photo.threshold + MARGIN
        assert near[sure].any(axis=1).all(), f"{photo.name}: a face of InsightFace's is not found"
        sure = photo.ours.scores > photo.threshold + MARGIN
        assert near[:, sure].any(axis=0).all(), f"{photo.name}: a face that InsightFace does not find"
        for theirs, ours in np.argwhere(near):
            # The same network on the same pixels: much closer than with a wrong mean, scale or color order.
            assert abs(photo.ours.scores[ours] - photo.theirs.scores[theirs]) < MARGIN, photo.name
        assert (np.diff(photo.ours.scores) <= 0).all(), f"{photo.name}: not best first"


@pytest.mark.parametrize("run", range(len(RUNS)), ids=RUNS)
def test_faces_are_aligned_by_the_same_similarity_transform(run):
    corners = np.array([[0, 0, 1], [112, 0, 1], [0, 112, 1], [112, 112, 1]])
    for name, photo in RECORD["detections"][run]["faces"].items():
        for landmarks, matrix in zip(photo["landmarks"], photo["similarity"], strict=True):
            # Compare the positions of the crop's corners in the photo. Both matrices map from photo to crop.
            ours = corners @ cv2.invertAffineTransform(alignment.similarity(np.array(landmarks), alignment.TEMPLATE)).T
            theirs = corners @ cv2.invertAffineTransform(np.array(matrix)).T
            np.testing.assert_allclose(ours, theirs, atol=PIXELS, rtol=0, err_msg=name)


@pytest.fixture(scope="module")
def embedder(shared, recorder):
    recorded = RECORD["recognizer"]
    path = shared / "models" / recorded["model"]
    assert recorder.sha256(path) == recorded["sha256"], f"{path} is not the file that was recorded"
    input = Input("input", 112, 112, embed.MEAN, embed.STD)
    return embed.Embedder(open_reference(path, input), ARCFACE_112, len(recorded["crops"][0]))


def cosines(ours, theirs):
    theirs = np.array(theirs)
    return (ours * theirs).sum(axis=1) / np.linalg.norm(theirs, axis=1)


def test_crops_have_the_same_embedding(embedder, recorder):
    theirs = RECORD["recognizer"]["crops"]
    ours = embedder.embed([recorder.drawn(seed, 112, 112) for seed in range(recorder.CROPS)])
    assert cosines(ours, theirs).min() >= COSINE


def test_faces_in_scenes_have_the_same_crops_and_embeddings(embedder, recorder):
    scenes = [recorder.scene(seed) for seed in range(recorder.SCENES)]
    crops = [alignment.align(*scene) for scene in scenes]
    factors = [1 / np.hypot(*alignment.similarity(marks, alignment.TEMPLATE)[:, 0]) for _, marks in scenes]
    recorded = RECORD["recognizer"]["scenes"]
    same = [index for index, factor in enumerate(factors) if factor < 1.5]
    assert 2 < len(same) < len(scenes)
    for index, (crop, theirs) in enumerate(zip(crops, recorded, strict=True)):
        # rkface averages larger faces, InsightFace skips pixels: brightness may differ by 1 of 255, positions do not.
        step = 0.5 if index in same else 1.5
        np.testing.assert_allclose(recorder.blocks(crop), theirs["blocks"], atol=step, rtol=0)
    theirs = [recorded[index]["embedding"] for index in same]
    assert cosines(embedder.embed([crops[index] for index in same]), theirs).min() >= COSINE
