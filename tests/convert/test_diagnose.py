"""A deliberately broken recognizer is refused with the cause."""

from dataclasses import replace

import numpy as np
import pytest

from rkface.convert.demo import measure
from rkface.convert.demo.identity import EVALUATE
from rkface.convert.demo.render import render_crop
from rkface.convert.diagnose import diagnose
from rkface.convert.packs.pack import DEMO
from rkface.convert.toolkit.quantize import QuantizeJob, quantize
from rkface.runtime.backends.reference import open_reference, open_session

from .conftest import calibration

MODEL, INPUT = DEMO / measure.RECOGNIZER, measure.RECOGNIZER_INPUT


@pytest.fixture(scope="module")
def crops():
    return np.stack([render_crop(93_000, EVALUATE[index])[..., ::-1] for index in range(16)])


def answers(crops, input=INPUT):
    return open_reference(MODEL, input).infer(np.ascontiguousarray(crops))[0]


def test_swapped_colors_are_found(crops, tmp_path):
    assert "BGR" in diagnose(MODEL, INPUT, crops, answers(crops[..., ::-1]), calibration(tmp_path, crops))


def test_double_normalization_is_found(crops):
    # Like a runtime that feeds (x − 127.5) / 127.5 to a model that normalizes again.
    once = (crops.astype(np.float32) - 127.5) / 127.5
    twice = (once - 127.5) / 127.5
    session = open_session(MODEL, ["cpu"], 1)
    outputs = [
        session.run(None, {INPUT.name: np.ascontiguousarray(one.transpose(2, 0, 1)[None])})[0][0] for one in twice
    ]
    assert "twice" in diagnose(MODEL, INPUT, crops, np.stack(outputs), None)


def test_missing_normalization_is_found(crops):
    assert "not normalized" in diagnose(
        MODEL, INPUT, crops, answers(crops, replace(INPUT, mean=(0,) * 3, std=(1,) * 3)), None
    )


def test_a_correct_model_has_no_cause(crops, tmp_path):
    noisy = answers(crops)
    noisy += np.random.default_rng(1).normal(0, noisy.std(), noisy.shape).astype(np.float32)
    assert diagnose(MODEL, INPUT, crops, noisy, calibration(tmp_path, crops)) is None


def test_calibration_on_noise_is_found_with_the_real_toolkit(crops, tmp_path, toolkit):
    noise = np.random.default_rng(2).integers(100, 156, (20, 112, 112, 3), np.uint8)
    dataset = calibration(tmp_path, noise)
    np.save(tmp_path / "crops.npy", crops)
    job = QuantizeJob(MODEL, tmp_path / "out.rknn", "rk3588", INPUT, "{}", dataset, evaluate=tmp_path / "crops.npy")
    (outputs,) = quantize(job, tmp_path / "toolkit.log").outputs
    assert "not faces of different people" in diagnose(MODEL, INPUT, crops, outputs, dataset)
