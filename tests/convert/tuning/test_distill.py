"""Distillation: learning lowers the error, survives interruptions, and never makes a model worse."""

import stat
from dataclasses import replace

import cv2
import numpy as np
import onnx
import pytest
from onnx import TensorProto, helper, numpy_helper

from rkface.convert.run_distilled import quantize_distilled
from rkface.convert.toolkit.quantize import QuantizedModel, QuantizeJob
from rkface.convert.tuning.distill import student, train
from rkface.convert.tuning.distill.augment import augment
from rkface.convert.tuning.distill.distill import distill
from rkface.convert.tuning.distill.job import DistilledModel, DistillJob, DistillStart
from rkface.convert.tuning.distill.train import EVALUATE_EVERY, hold_out
from rkface.runtime.core.errors import WorkError
from rkface.runtime.core.manifest import Input

from ..conftest import calibration

SIDE = 16
INPUT = Input("x", SIDE, SIDE, (127.5,) * 3, (127.5,) * 3)
STEPS = 3 * EVALUATE_EVERY


def pictures(count, seed=0):
    """Smooth random pictures, N×H×W×3."""
    coarse = np.random.default_rng(seed).integers(0, 256, (count, 5, 5, 3)).astype(np.uint8)
    return [cv2.resize(one, (SIDE, SIDE), interpolation=cv2.INTER_CUBIC) for one in coarse]


def network(path, last="Gemm"):
    """A small residual network, whose channels differ a lot in size: hard for one range a tensor."""
    random = np.random.default_rng(1)
    spread = np.geomspace(0.03, 1, 12).astype(np.float32)
    weights = {
        "w1": random.normal(0, 0.3, (12, 3, 3, 3)) * spread[:, None, None, None],
        "b1": random.normal(0, 0.1, 12) * spread,
        "w2": random.normal(0, 0.3, (12, 12, 3, 3)) / spread[:, None, None],
        "b2": np.zeros(12),
        "w3": random.normal(0, 0.1, (10, 12 * 64)),
        "b3": np.zeros(10),
    }
    nodes = [
        helper.make_node("Conv", ["x", "w1", "b1"], ["c1"], pads=[1] * 4, strides=[2, 2]),
        helper.make_node("Relu", ["c1"], ["r1"]),
        helper.make_node("Conv", ["r1", "w2", "b2"], ["c2"], pads=[1] * 4),
        helper.make_node("Add", ["c2", "r1"], ["sum"]),
        helper.make_node("Flatten", ["sum"], ["flat"]),
        helper.make_node(last, ["flat", "w3", "b3"], ["y"], transB=1)
        if last == "Gemm"
        else helper.make_node(last, ["flat"], ["y"]),
    ]
    graph = helper.make_graph(
        nodes,
        "test",
        [helper.make_tensor_value_info("x", TensorProto.FLOAT, [1, 3, SIDE, SIDE])],
        [helper.make_tensor_value_info("y", TensorProto.FLOAT, None)],
        [numpy_helper.from_array(np.asarray(value, np.float32), name) for name, value in weights.items()],
    )
    onnx.save(helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)], ir_version=8), path)
    return path


@pytest.fixture(scope="module")
def job(tmp_path_factory):
    folder = tmp_path_factory.mktemp("distill")
    start = DistillStart(network(folder / "tuned.onnx"), {}, {"r1": 1.15})
    return DistillJob(
        (start,),
        INPUT,
        calibration(folder / "set", pictures(24)),
        folder / "distilled.onnx",
        folder / "checkpoints",
        "key",
        steps=STEPS,
    )


@pytest.fixture(scope="module")
def distilled(job):
    return distill(job)


def written(model):
    """The weights in the file of a DistilledModel, by name."""
    return {one.name: numpy_helper.to_array(one) for one in onnx.load(str(model.path)).graph.initializer}


def test_learning_lowers_the_error_on_faces_that_it_does_not_learn_from(distilled):
    assert distilled.steps == STEPS and distilled.best_step > 0
    assert distilled.after < 0.9 * distilled.before
    assert len(distilled.held_out) == len(distilled.expected) == 3 * 24 // 4


def test_the_result_has_learned_weights_and_ranges_and_keeps_its_operators(job, distilled):
    before, after = onnx.load(str(job.starts[0].model)), onnx.load(str(distilled.path))
    assert [node.op_type for node in after.graph.node] == [node.op_type for node in before.graph.node]
    changed = {one.name: numpy_helper.to_array(one) for one in before.graph.initializer}
    assert all(not np.array_equal(changed[name], value) for name, value in written(distilled).items())
    assert set(distilled.ranges) == {"c1", "r1", "c2", "sum", "flat", "y"}
    assert distilled.ranges["c1"] == distilled.ranges["r1"] and distilled.ranges["sum"] == distilled.ranges["flat"]
    assert all(low <= 0 < high for low, high in distilled.ranges.values())


def test_an_interrupted_run_continues_and_gives_the_same(job, distilled, tmp_path):
    again = replace(job, checkpoints=tmp_path / "checkpoints", target=tmp_path / "again.onnx")

    def interrupt(done, total):
        if done == EVALUATE_EVERY + 3:
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        distill(again, interrupt)
    (saved,) = again.checkpoints.iterdir()
    assert stat.S_IMODE(saved.stat().st_mode) == 0o600
    seen = []
    continued = distill(again, lambda done, total: seen.append((done, total)))
    assert seen[-1] == (STEPS - EVALUATE_EVERY,) * 2  # what was saved is not repeated
    assert continued.ranges == distilled.ranges and continued.after == distilled.after
    expected = written(distilled)
    assert all(np.array_equal(value, expected[name]) for name, value in written(continued).items())
    # Of other inputs, or damaged, it does not count.
    assert distill(replace(again, key="other", steps=0)).steps == 0
    saved.write_bytes(saved.read_bytes()[:100])
    assert distill(replace(again, steps=0)).steps == 0


def test_a_finished_run_is_not_repeated(job, distilled):
    def repeat(done, total):
        raise AssertionError("it learned again")

    assert distill(job, repeat).after == distilled.after


def test_weights_that_follow_noise_are_set_back_and_learn_more_slowly(job, tmp_path, monkeypatch):
    monkeypatch.setattr(student, "WEIGHT_RATE", 0.5)
    again = replace(job, checkpoints=tmp_path / "checkpoints", target=tmp_path / "again.onnx", steps=2 * EVALUATE_EVERY)
    found = distill(again)
    assert found.best_step == 2 * EVALUATE_EVERY and found.after < 0.95 * found.before, "the first half does only harm"


@pytest.mark.parametrize(("limit", "rate"), [({"steps": 0}, student.WEIGHT_RATE), ({"steps": EVALUATE_EVERY}, 1e4)])
def test_without_updates_and_with_updates_that_do_harm_the_model_is_what_it_began_with(
    job, tmp_path, monkeypatch, limit, rate
):
    monkeypatch.setattr(student, "WEIGHT_RATE", rate)
    done = distill(replace(job, **limit, checkpoints=tmp_path, target=tmp_path / "same.onnx"))
    assert done.steps == limit["steps"] and done.best_step == 0 and done.after == done.before
    expected = {one.name: numpy_helper.to_array(one) for one in onnx.load(str(job.starts[0].model)).graph.initializer}
    assert all(np.array_equal(value, expected[name]) for name, value in written(done).items())


def test_the_last_updates_before_the_time_is_over_count(job, tmp_path, monkeypatch):
    clock = iter(range(0, 10_000, 10))  # seconds: ten for each update
    monkeypatch.setattr(train.time, "monotonic", lambda: float(next(clock)))
    monkeypatch.setattr(train, "EVALUATE_EVERY", 1000)  # only at the end
    short = replace(job, seconds=300, checkpoints=tmp_path, target=tmp_path / "short.onnx")
    done = distill(short)
    assert done.steps == 30 == done.best_step and done.after < done.before
    assert distill(short).steps == 30  # the limit is for all runs together


def test_it_begins_with_the_best_start(job, tmp_path):
    bad = replace(job.starts[0], factors=dict.fromkeys(("r1", "sum", "y"), 0.1))
    done = distill(
        replace(job, starts=(bad, job.starts[0], bad), steps=0, checkpoints=tmp_path, target=tmp_path / "t.onnx")
    )
    assert done.start == 1


def test_a_model_with_another_operator_is_refused(job, tmp_path):
    start = DistillStart(network(tmp_path / "m.onnx", last="Erf"), {}, {})
    with pytest.raises(WorkError, match="the operator Erf is not supported"):
        distill(replace(job, starts=(start,), checkpoints=tmp_path))


def test_faces_to_stop_on_show_other_people():
    random = np.random.default_rng(3)
    people = random.normal(size=(10, 32))
    embeddings = np.repeat(people, 4, axis=0) + random.normal(0, 0.1, (40, 32))
    faces = np.arange(40, dtype=np.uint8).reshape(40, 1, 1, 1)
    learn, stop = hold_out(faces, embeddings.astype(np.float32))
    assert len(stop) == 10 and len(learn) == 30
    assert len(set((learn // 4).flat) & set((stop // 4).flat)) <= 1  # of ten people


def test_augmented_faces_keep_their_size_and_follow_from_the_draws():
    (face,) = pictures(1)
    versions = [augment(face, np.random.default_rng(seed)) for seed in range(40)]
    assert all(one.shape == face.shape and one.dtype == np.uint8 for one in versions)
    assert len({one.tobytes() for one in versions}) == 40
    assert np.array_equal(versions[7], augment(face, np.random.default_rng(7)))


@pytest.mark.parametrize(("helped", "used"), [(True, "distilled.onnx"), (False, "tuned.onnx")])
def test_the_simulator_decides_whether_the_distilled_model_is_used(tmp_path, helped, used):
    faces = np.zeros((2, SIDE, SIDE, 3), np.uint8)
    np.save(tmp_path / "images.npy", faces)
    expected = np.eye(4, dtype=np.float32)[:2]
    worse = expected + 0.3

    def quantize(job):
        count = len(np.load(job.evaluate))
        good = (job.onnx.name == "distilled.onnx") == helped
        outputs = np.concatenate([np.ones((count - 2, 4), np.float32), expected if good else worse])
        return QuantizedModel(job.onnx, (outputs,), {}, 0.0, "", ())

    begun = QuantizeJob(
        tmp_path / "tuned.onnx", tmp_path / "m.rknn", "rk3588", INPUT, "{}", evaluate=tmp_path / "images.npy"
    )
    done = quantize_distilled(
        DistilledModel(tmp_path / "distilled.onnx", {}, 0, 0.1, 0.01, 9, 9, faces, expected),
        begun,
        tmp_path / "calibrated",
        quantize,
    )
    assert done.rknn.name == used and len(done.outputs[0]) == 2
    assert bool(done.warnings) != helped
