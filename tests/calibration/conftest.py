"""Random faces from a seed. They belong to nobody; their textures differ as much as those of different people."""

import dataclasses
import hashlib
from pathlib import Path

import cv2
import numpy as np
import pytest

from rkface.calibration.appearance_stats import measure_appearance
from rkface.calibration.collect import CandidateFace
from rkface.calibration.write_set import Provenance, write_set
from rkface.runtime.core.crop_template import ARCFACE_112
from rkface.runtime.core.faces import Faces
from rkface.runtime.vision.align import TEMPLATE
from rkface.runtime.vision.detectors.scrfd import SCRFD
from rkface.runtime.vision.quality import Quality

EYES = 35.2  # px between the eyes in a 112×112 crop


def texture(seed, side=112):
    random = np.random.default_rng(seed)
    coarse = cv2.resize(random.integers(40, 210, (12, 12, 3)).astype(np.float32), (side, side))
    return np.clip(coarse + random.normal(0, 15, (side, side, 3)), 6, 249).astype(np.uint8)


def faces_at(landmarks, score=0.9):
    box = np.concatenate([landmarks.min(axis=0), landmarks.max(axis=0)])
    return Faces(box[None].astype(np.float32), np.float32([score]), landmarks[None].astype(np.float32))


class Finder:
    """A fake detector: the first pixel of a photo, if it is gray, says how many pixels apart the eyes of its only face
    are. In a photo that is turned, another pixel is the first."""

    nms_iou, threshold, family = 0.4, 0.5, SCRFD

    def detect(self, image, threshold):
        eyes = int(image[0, 0, 0]) if len(set(image[0, 0].tolist())) == 1 else 0
        faces = faces_at(TEMPLATE * (eyes / EYES) + 3 if eyes else TEMPLATE)
        return faces if eyes else faces[:0]

    def detect_with_margin(self, image, threshold):
        return self.detect(image, threshold)


@pytest.fixture(scope="session")
def finder():
    return Finder()


@pytest.fixture
def shoot():
    """Write a PNG photo whose face has ``eyes`` pixels between the eyes; 0 is a photo without a face."""

    def write(path, seed=0, eyes=50, blur=0.0, gain=1.0):
        image = texture(seed, 200)
        if blur:
            image = cv2.GaussianBlur(image, (0, 0), blur)
        image = (image * gain).astype(np.uint8)
        image[0, 0] = eyes
        path.parent.mkdir(parents=True, exist_ok=True)
        cv2.imwrite(str(path), image)
        return path

    return write


@pytest.fixture(scope="session")
def make_face():
    def make(seed, name=None, score=0.9, crop=None, sha256=None, **look):
        name = name or f"{seed:03}.png"
        quality = Quality(size=50, sharpness=1, exposure=1, pose=1, detection=score)
        digest = sha256 or hashlib.sha256(name.encode()).hexdigest()
        crop = texture(seed) if crop is None else crop
        landmarks = TEMPLATE + seed
        seen = dataclasses.replace(measure_appearance(crop, landmarks), **look)
        return CandidateFace(Path(name), name, digest, faces_at(landmarks), crop, quality, seen)

    return make


@pytest.fixture
def written(tmp_path, make_face, shoot):
    """A set of 20 faces and 3 frames at ``tmp_path/set``, and a function that writes it again."""
    faces = [make_face(seed) for seed in range(20)]
    frames = [shoot(tmp_path / f"photos/{seed}.png", seed) for seed in range(3)]

    def write(out=tmp_path / "set", faces=faces, frames=frames):
        return write_set(
            out, faces, frames, 96, 64, provenance=Provenance(tmp_path / "photos", "0" * 64, 0.5, ARCFACE_112)
        )

    return write(), write
