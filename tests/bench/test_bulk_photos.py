"""rkface's side of `make bench-bulk`."""

import sys
from pathlib import Path

import cv2
import numpy as np

sys.path.insert(0, str(Path(__file__).parent))  # the benchmarks are scripts

from bulk_photos import OURS, Job, run_ours
from scenes import DEMO

from rkface.convert.demo.render import BYSTANDERS, render_scene


def test_each_photo_of_a_job_has_an_answer_and_all_crops_are_kept(tmp_path):
    photos = []
    for number in range(2):
        photos.append(str(tmp_path / f"{number}.png"))
        cv2.imwrite(photos[-1], render_scene(number, [BYSTANDERS[number]], 320, 320, sizes=(120.0, 200.0)).image)
    crops = tmp_path / "crops.npy"
    answer = run_ours(
        Job(OURS, [str(DEMO / "detector.onnx")], str(DEMO / "recognizer.onnx"), 2, photos * 2, str(crops))
    )
    assert [len(one["boxes"]) for one in answer["faces"]] == [1] * 4
    assert answer["faces"][:2] == answer["faces"][2:]
    assert len(np.load(crops)) == 4 and answer["seconds"] > 0
