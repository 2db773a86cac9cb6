"""The training of a full-size IResNet-50, with few channels: the same blocks, steps and files."""

import errno
import os
import signal
import subprocess
import sys
from pathlib import Path

import numpy as np
import onnx
import pytest

torch = pytest.importorskip("torch", reason="torch is not installed")

from rkface.convert.demo import models
from rkface.convert.demo.iresnet50 import export, training
from rkface.convert.demo.iresnet50.batches import Batches, mix
from rkface.convert.demo.iresnet50.grow import embed, grow
from rkface.convert.demo.iresnet50.judge import JudgedFaces, judge
from rkface.convert.demo.iresnet50.teachers import Teachers
from rkface.convert.demo.iresnet50.training import Interruption, Phase, Training, train
from rkface.convert.tuning.distill.checkpoint import Checkpoint
from rkface.runtime.core.errors import WorkError
from rkface.runtime.vision.embed import unit

WIDTHS = (4, 4, 8, 8)
SMALL, GROWN, FULL = (2, 2, 2, 2), (2, 2, 4, 2), models.IRESNET50[0]
PHASES = (Phase(SMALL, 16, 2, 1, 1e-3), Phase(GROWN, 16, 2, 1, 1e-3), Phase(GROWN, 32, 2, 100, 1e-3))


class CountingTeacher:
    """A teacher whose embeddings depend on the mean colors of a face."""

    def embed(self, crops, photos):
        colors = torch.from_numpy(crops.mean(axis=(1, 2))).float() - 120
        matrix = torch.randn(3, models.EMBEDDING, generator=torch.Generator().manual_seed(1))
        return torch.nn.functional.normalize(colors @ matrix)


@pytest.fixture(scope="module")
def batches():
    return Batches(1, None)


@pytest.fixture
def small(batches):
    return lambda: Training(1, CountingTeacher(), batches, PHASES, WIDTHS)


def flat(state):
    """All tensors and numbers of ``state``, by their path in it."""
    if isinstance(state, dict):
        return {f"{key}/{inner}": value for key, part in state.items() for inner, value in flat(part).items()}
    if isinstance(state, list | tuple):
        return flat(dict(enumerate(state)))
    return {"": state}


def assert_same_weights(first, second):
    first, second = flat(first.state()), flat(second.state())
    assert first.keys() == second.keys()
    for name, value in first.items():
        if name != "seconds/":
            same = torch.equal(value, second[name]) if isinstance(value, torch.Tensor) else value == second[name]
            assert same, name


@pytest.fixture(scope="module")
def whole(batches):
    """Four steps without an interruption."""
    done = Training(1, CountingTeacher(), batches, PHASES, WIDTHS)
    for _ in range(4):
        done.advance()
    return done


def test_a_training_that_was_interrupted_after_each_step_gives_the_same_weights(small, whole, tmp_path):
    # In the small network, before it grows, before the larger images, and among these.
    checkpoint = Checkpoint(tmp_path / "state.pt", "key")
    for done in range(4):
        current = small()
        if done:
            current.restore(checkpoint.load())
        assert current.total == done
        current.advance()
        checkpoint.save(current.state())
    assert (current.phase, current.total, current.faces) == (2, 4, 8)
    assert_same_weights(whole, current)


def test_ctrl_c_ends_the_training_after_a_whole_step_and_saves_it(small, tmp_path):
    current, checkpoint = small(), Checkpoint(tmp_path / "state.pt", "key")
    step = current.advance

    def interrupted_step():
        os.kill(os.getpid(), signal.SIGINT)
        step()

    current.advance = interrupted_step
    with Interruption() as interruption:
        train(current, checkpoint, 60.0, 60.0, interruption)
    assert interruption.wanted and current.total == 1
    assert checkpoint.load()["total"] == 1


def test_a_full_disk_keeps_the_old_checkpoint_and_does_not_end_the_training(small, tmp_path, monkeypatch, capsys):
    current, checkpoint = small(), Checkpoint(tmp_path / "state.pt", "key")
    current.advance()
    checkpoint.save(current.state())
    write, step = torch.save, current.advance

    def full(state, path):
        path.write_bytes(b"x")
        raise OSError(errno.ENOSPC, "No space left on device")

    def advance():
        step()
        if current.total == 3:
            interruption.wanted = True

    current.advance = advance
    monkeypatch.setattr(torch, "save", full)
    with Interruption() as interruption, pytest.raises(WorkError, match="is the disk full"):
        train(current, checkpoint, 60.0, 0.0, interruption)
    assert current.total == 3 and capsys.readouterr().err.count("not saved") == 2
    assert checkpoint.load()["total"] == 1
    assert [path.name for path in tmp_path.iterdir()] == ["state.pt"]
    monkeypatch.setattr(torch, "save", write)
    checkpoint.save(current.state())
    assert checkpoint.load()["total"] == 3


TRAINING = """
import sys
sys.path.insert(0, sys.argv[2])
from test_iresnet50 import *
current = Training(1, CountingTeacher(), Batches(1, None), PHASES, WIDTHS)
step = current.advance
def advance():
    print(current.total, flush=True)
    step()
current.advance = advance
with Interruption() as interruption:
    train(current, Checkpoint(Path(sys.argv[1]), "key"), 600.0, 0.0, interruption)
"""


@pytest.mark.skipif("RKFACE_SLOW" not in os.environ, reason="another process with torch: set RKFACE_SLOW")
def test_a_killed_training_loses_at_most_what_came_after_the_last_checkpoint(small, whole, tmp_path):
    path = tmp_path / "state.pt"
    command = [sys.executable, "-c", TRAINING, str(path), str(Path(__file__).parent)]
    with subprocess.Popen(command, stdout=subprocess.PIPE, text=True) as process:
        for line in process.stdout:
            if int(line) == 3:  # three steps are done, and each was saved
                process.kill()
                break
    current = small()
    current.restore(Checkpoint(path, "key").load())
    assert current.total in (3, 4)
    while current.total < 4:
        current.advance()
    assert_same_weights(whole, current)


def test_a_network_that_grew_answers_nearly_as_before():
    torch.manual_seed(1)
    old = training.initial(SMALL, WIDTHS)
    images = torch.randn(8, 3, 112, 112)
    for module in old.modules():  # the statistics of these images
        if isinstance(module, torch.nn.BatchNorm1d | torch.nn.BatchNorm2d):
            module.momentum = None
    with torch.no_grad():
        old.train()(images)
        before = old.eval()(images)
        same = grow(old, SMALL, SMALL, WIDTHS).eval()(images)
        after = grow(old, SMALL, FULL, WIDTHS).eval()(images)
    torch.testing.assert_close(same, before)
    # Thirteen short steps are not one long one. Weights are random here; blocks that are left out give 0.5.
    assert torch.nn.functional.cosine_similarity(before, after).min() > 0.8


def test_small_images_have_the_embedding_of_the_full_size():
    model = training.initial(SMALL, WIDTHS).eval()
    images = torch.rand(2, 3, 1, 1).expand(2, 3, 112, 112)
    with torch.no_grad():
        torch.testing.assert_close(embed(model, images), model(images))
        assert embed(model, images[..., :64, :64]).shape == (2, models.EMBEDDING)


def test_each_step_has_its_own_faces_and_always_the_same():
    photos = np.full((3, 112, 112, 3), 200, np.uint8)
    first, again = Batches(1, photos), Batches(1, photos)
    again.batch(4, 2)
    faces, from_photos = first.batch(5, 5)
    np.testing.assert_array_equal(faces, again.batch(5, 5)[0])
    assert (faces != first.batch(6, 5)[0]).any()
    assert from_photos.tolist() == [True, True, False, False, False]
    assert not Batches(1, None).batch(5, 2)[1].any()


def test_a_mixed_face_has_parts_of_both():
    dark, light = np.zeros((112, 112, 3), np.uint8), np.full((112, 112, 3), 200, np.uint8)
    for seed in range(5):
        mixed = mix(dark, light, np.random.default_rng(seed))
        assert mixed.min() < 30 and mixed.max() > 170


class ColorEmbedder:
    """A recognizer with ``dimensions`` numbers: the mean colors of a face, and zeros."""

    def __init__(self, dimensions):
        self.dimensions = dimensions

    def embed(self, crops):
        colors = np.stack([crop.mean(axis=(0, 1)) - 120 for crop in crops])
        return unit(np.pad(colors, ((0, 0), (0, self.dimensions - 3))).astype(np.float32))


def test_teachers_keep_the_cosines_of_the_recognizers():
    demo, photo = ColorEmbedder(512), ColorEmbedder(128)
    crops = np.random.default_rng(1).integers(0, 256, (4, 2, 2, 3)).astype(np.uint8)
    wanted = Teachers(demo, photo).embed(crops, np.array([True, False, True, False])).numpy()
    np.testing.assert_allclose(np.linalg.norm(wanted, axis=1), 1, atol=1e-5)
    for recognizer, chosen in ((photo, [0, 2]), (demo, [1, 3])):
        own = recognizer.embed(crops[chosen])
        np.testing.assert_allclose(wanted[chosen] @ wanted[chosen].T, own @ own.T, atol=1e-5)


def test_the_loss_is_zero_only_for_the_wanted_embeddings():
    wanted = torch.nn.functional.normalize(torch.randn(6, 512, generator=torch.Generator().manual_seed(1)))
    assert training.loss(3 * wanted, wanted).item() == pytest.approx(0, abs=1e-5)
    assert training.loss(wanted.flip(0), wanted).item() > 0.9


def test_the_exported_model_has_the_layers_of_w600k_r50(small, batches, tmp_path, monkeypatch):
    monkeypatch.setattr(export, "STATISTICS", (1, 2))
    current = small()
    current.advance()
    export.export_trained(current, batches, tmp_path / "model.onnx")
    kinds = models.node_counts(tmp_path / "model.onnx")
    kinds.pop("Identity", None)  # shared weights of the export, which onnxsim removes
    assert kinds == {"Conv": 53, "BatchNormalization": 26, "PRelu": 25, "Add": 24, "Flatten": 1, "Gemm": 1}
    graph = onnx.load(tmp_path / "model.onnx").graph
    assert graph.input[0].name == "input.1"
    assert [size.dim_value for size in graph.output[0].type.tensor_type.shape.dim] == [1, 512]
    faces = JudgedFaces(batches.batch(9, 3)[0], [(0, 1, True), (0, 2, False), (1, 2, False)])
    found = judge(tmp_path / "model.onnx", faces)
    assert (found.same_pairs, found.different_pairs) == (1, 2) and max(abs(found.same), abs(found.different)) <= 1


def test_benchmarks_get_the_trained_network_if_there_is_one(tmp_path, monkeypatch):
    made = []
    monkeypatch.setattr(export, "export_iresnet50", lambda path, seed: made.append(seed))
    assert not export.provide_iresnet50(tmp_path / "r50.onnx", 3, tmp_path)
    assert made == [3]
    (tmp_path / export.MODEL).write_bytes(b"trained")
    assert export.provide_iresnet50(tmp_path / "r50.onnx", 3, tmp_path)
    assert (tmp_path / "r50.onnx").read_bytes() == b"trained" and made == [3]
