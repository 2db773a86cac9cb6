"""Liveness: the crop that the model sees, its probabilities, the manifest and the scheduler."""

import json
from dataclasses import replace

import numpy as np
import pytest

pytest.importorskip("onnxruntime")

from rkface.runtime.cli import selftest
from rkface.runtime.cli.run import run_settings
from rkface.runtime.core.bundle import read_bundle
from rkface.runtime.core.errors import BundleError, DeviceError
from rkface.runtime.core.manifest import LivenessSpec, contract
from rkface.runtime.inference.open_bundle import open_bundle, open_scheduler
from rkface.runtime.inference.scheduler import Scheduler
from rkface.runtime.vision.liveness import LivenessModel, crop_around, probabilities

from ..cli.test_selftest import run, write_golden
from ..conftest import darkened, make_bundle, scene, write_sums

PLACES = np.indices((80, 100)).transpose(1, 2, 0)  # rows and columns as pixel values
IMAGE = np.concatenate([PLACES, np.zeros((80, 100, 1), int)], axis=2).astype(np.uint8)


@pytest.mark.parametrize(
    ("box", "scale", "rows", "columns"),
    [
        ((40, 30, 60, 50), 2.0, (20, 60), (30, 70)),
        ((0, 0, 20, 20), 3.0, (0, 60), (0, 60)),  # shifted inside, of the same size
        ((80, 60, 100, 80), 2.0, (39, 79), (59, 99)),
        ((-10, 30, 10, 50), 2.0, (20, 60), (0, 40)),  # a detector's box may be half outside
        ((10, 10, 60, 60), 4.0, (0, 79), (0, 79)),  # as large as the image allows, with the proportions of the box
        ((40, 35, 60, 45), 2.0, (30, 50), (30, 70)),
    ],
)
def test_the_crop_is_the_box_scaled_about_its_center_inside_the_picture(box, scale, rows, columns):
    (top, bottom), (left, right) = rows, columns
    crop = crop_around(IMAGE, np.float32(box), scale, right - left + 1, bottom - top + 1)
    assert np.array_equal(crop, IMAGE[top : bottom + 1, left : right + 1])


def test_every_box_gives_a_crop():
    random = np.random.default_rng(3)
    for box in random.uniform(-300, 300, (300, 4)).astype(np.float32):
        assert crop_around(IMAGE, box, 4.0, 24, 16).shape == (16, 24, 3)


def test_probabilities_from_logits_and_from_probabilities():
    rows = np.float32([[1, 2, 3], [1000, 0, -1000], [np.nan, 0, 0]])
    softmax = np.exp([1, 2, 3]) / np.exp([1, 2, 3]).sum()
    assert probabilities(rows, 1, logits=True) == pytest.approx([softmax[1], 0, 0], abs=1e-6)
    assert probabilities(np.float32([[[[0.2]], [[0.8]]]]), 1, logits=False) == pytest.approx([0.8])


def test_a_live_face_is_told_from_a_picture(live_bundle):
    pictures = scene((0, 3), (1, 6)), darkened(scene((0, 3)))
    with open_bundle(live_bundle, "reference") as pipeline:
        live, dead = (
            pipeline.liveness.live_probabilities(
                [pipeline.liveness.crop(image, box) for box in pipeline.detect(image).boxes]
            )
            for image in pictures
        )
        assert (live.shape, live.dtype, dead.shape) == ((2,), np.float32, (1,))
        assert live.min() > 0.9 and dead.max() < 0.1 and pipeline.liveness.threshold == 0.5
        assert pipeline.liveness.live_probabilities([]).shape == (0,)


def test_the_model_gets_rgb(live_bundle):
    seen = []

    class Backend:
        def infer(self, images):
            seen.append(images)
            return [np.zeros((len(images), 3), np.float32)]

    judge = LivenessModel(Backend(), read_bundle(live_bundle).manifest.liveness)
    judge.live_probabilities([np.full((24, 24, 3), (1, 2, 3), np.uint8)])
    assert seen[0].shape == (1, 24, 24, 3) and (seen[0] == (3, 2, 1)).all()


def test_a_bundle_without_the_model_has_no_liveness_entry(bundle):
    raw = json.loads((bundle / "manifest.json").read_text())
    assert "liveness" not in raw and raw["schema"] == 2
    found = read_bundle(bundle).manifest
    assert found.liveness is None and found.roles == ("detector", "recognizer")
    with open_bundle(bundle, "reference") as pipeline:
        assert pipeline.liveness is None


def test_the_manifest_keeps_the_liveness_settings(live_bundle):
    found = read_bundle(live_bundle).manifest
    assert isinstance(found.liveness, LivenessSpec) and found.roles == ("detector", "recognizer", "liveness")
    assert (found.liveness.scale, found.liveness.live, found.liveness.logits) == (2.7, 1, True)
    assert found.to_json() == (live_bundle / "manifest.json").read_text()
    assert json.loads(contract("liveness", found.liveness.input, "f" * 64))["role"] == "liveness"


@pytest.mark.parametrize("change", [{"live": 3}, {"live": -1}, {"scale": 0}, {"threshold": None}])
def test_a_manifest_with_impossible_liveness_settings_is_refused(tmp_path, change):
    folder = make_bundle(tmp_path / "bundle", liveness=True)
    raw = json.loads((folder / "manifest.json").read_text())
    raw["liveness"] |= change
    (folder / "manifest.json").write_text(json.dumps(raw))
    write_sums(folder)
    with pytest.raises(BundleError, match="is missing or invalid"):
        read_bundle(folder)


def test_a_bundle_whose_liveness_model_is_missing_is_refused(tmp_path):
    folder = make_bundle(tmp_path / "bundle", liveness=True)
    (folder / "liveness.rknn").unlink()
    write_sums(folder)
    with pytest.raises(BundleError, match=r"names liveness\.rknn, but the file is missing"):
        read_bundle(folder)


def test_selftest_checks_all_three_models(tmp_path, capsys):
    folder = write_golden(make_bundle(tmp_path / "bundle", liveness=True))
    assert run(selftest.selftest, "--bundle", folder, "--runs", 1, "--json") == 0
    agreements = json.loads(capsys.readouterr().out)["agreements"]
    assert [one["role"] for one in agreements] == ["detector", "recognizer", "liveness"]


class Context:
    name = "fake"

    def __init__(self, role, fails):
        self.role, self.fails, self.closed = role, fails, False

    def infer(self, images):
        if self.role in self.fails:
            raise DeviceError("the NPU coughed")
        return [np.ones((len(images), 8), np.float32)]

    def close(self):
        self.closed = True


@pytest.fixture
def scheduled(live_bundle):
    """A scheduler of two cores over the live bundle's manifest, and the contexts it opened, by (role, core)."""
    opened, made = [], []

    def make(fails=()):
        def open_context(role, core):
            opened.append((role, core, Context(role, fails)))
            return opened[-1][2]

        made.append(Scheduler(read_bundle(live_bundle).manifest, open_context, 2, retries=(0.0,), liveness=True))
        return made[-1], opened

    yield make
    for one in made:
        one.close()
    assert all(context.closed for *_, context in opened)


def test_the_model_is_open_on_one_core_and_closed_with_the_others(scheduled):
    scheduler, opened = scheduled()
    assert [(role, core) for role, core, _ in opened] == [
        ("detector", 0),
        ("recognizer", 0),
        ("detector", 1),
        ("recognizer", 1),
        ("liveness", 0),
    ]
    judge = scheduler.pipeline().liveness
    assert judge.live_probabilities([np.zeros((24, 24, 3), np.uint8)] * 3).shape == (3,)
    assert scheduler.liveness_state().runs == 3 and sum(core.runs for core in scheduler.state()) == 0


def test_a_liveness_model_that_never_works_is_abandoned_and_the_cores_go_on(scheduled):
    scheduler, _ = scheduled(fails=("liveness",))
    pipeline, crop = scheduler.pipeline(), np.zeros((24, 24, 3), np.uint8)
    said = []
    while not said or "no core is left" not in said[-1]:
        with pytest.raises(DeviceError) as failed:
            pipeline.liveness.live_probabilities([crop])
        said.append(str(failed.value))
    assert said[0] == "the NPU coughed" and not scheduler.liveness_state().alive
    assert pipeline.embed([np.zeros((112, 112, 3), np.uint8)]).shape == (1, 8)
    assert all(core.alive and not core.failures for core in scheduler.state())


def test_liveness_is_opened_on_request_and_refused_without_a_model(bundle, live_bundle):
    with open_scheduler(live_bundle, "reference") as scheduler:
        assert scheduler.pipeline().liveness is None and scheduler.liveness_state() is None
    with open_scheduler(live_bundle, "reference", liveness=True) as scheduler:
        assert scheduler.pipeline().liveness is not None
    with pytest.raises(BundleError, match="has no liveness model: convert again with --liveness"):
        open_scheduler(bundle, "reference", liveness=True)


def test_the_command_line_turns_liveness_on(bundle):
    from argparse import ArgumentParser

    from rkface.runtime.cli.run import run as declare

    declare(parser := ArgumentParser())
    plain, asked = (parser.parse_args(["--bundle", str(bundle), *more]) for more in ([], ["--liveness"]))
    assert run_settings(plain).liveness.enabled is False
    assert run_settings(asked).liveness == replace(run_settings(plain).liveness, enabled=True)
