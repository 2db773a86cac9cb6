"""The reference backend, and the pipeline on it."""

from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import cv2
import numpy as np
import pytest

from rkface.runtime.backends.reference import ReferenceBackend, normalize, open_reference, open_session
from rkface.runtime.core.errors import DeviceError, InputError, ModelError
from rkface.runtime.core.manifest import Input
from rkface.runtime.inference.open_bundle import open_bundle

onnx = pytest.importorskip("onnx", reason="the tiny models are made with onnx")
onnxruntime = pytest.importorskip("onnxruntime")
from onnx import TensorProto, helper

INPUT = Input("x", 4, 6, (10.0, 20.0, 30.0), (1.0, 2.0, 4.0))


def identity(path, batch, operator="Identity"):
    shape = [batch, 3, INPUT.height, INPUT.width]
    graph = helper.make_graph(
        [helper.make_node(operator, ["x"], ["y"])],
        "identity",
        [helper.make_tensor_value_info("x", TensorProto.FLOAT, shape)],
        [helper.make_tensor_value_info("y", TensorProto.FLOAT, shape)],
    )
    onnx.save(helper.make_model(graph, opset_imports=[helper.make_opsetid("", 13)], ir_version=8), path)
    return path


@pytest.mark.parametrize("batch", [1, "n"])
def test_the_model_sees_normalized_planes_in_rgb_order(tmp_path, batch):
    images = np.random.default_rng(0).integers(0, 255, (3, 4, 6, 3), np.uint8)
    [seen] = open_reference(identity(tmp_path / "m.onnx", batch), INPUT).infer(images)
    expected = (images.astype(float) - [10, 20, 30]) / [1, 2, 4]
    np.testing.assert_allclose(seen, expected.transpose(0, 3, 1, 2), rtol=1e-6)


def test_waiting_threads_leave_the_processor_to_others(tmp_path):
    options = open_session(identity(tmp_path / "m.onnx", 1), ["cpu"], 2).get_session_options()
    assert options.get_session_config_entry("session.intra_op.allow_spinning") == "0"
    assert options.intra_op_num_threads == 2


@pytest.mark.parametrize("batch", [1, "n"])
@pytest.mark.parametrize("bgr", [False, True])
def test_a_picture_is_seen_on_black_and_nothing_of_the_one_before(tmp_path, batch, bgr):
    backend = ReferenceBackend(open_session(identity(tmp_path / "m.onnx", batch), ["cpu"], 1), INPUT, bgr=bgr)
    random = np.random.default_rng(0)
    for rows, columns, channels in ((4, 6, 3), (2, 6, 3), (2, 6, 4), (4, 3, 3), (1, 1, 4), (4, 6, 4), (3, 5, 3)):
        picture = random.integers(1, 255, (rows, columns, channels), np.uint8)
        image = np.zeros((1, 4, 6, 3), np.uint8)
        image[0, :rows, :columns] = picture[..., 2::-1]
        [seen] = backend.infer_picture(picture)
        expected = ((image.astype(float) - [10, 20, 30]) / [1, 2, 4])[..., :: -1 if bgr else 1]
        np.testing.assert_allclose(seen, expected.transpose(0, 3, 1, 2), rtol=1e-6, err_msg=f"{rows}×{columns}")
        np.testing.assert_array_equal(seen, backend.infer(image)[0])  # in the same tensor
        both = np.concatenate([image, image[:, ::-1]])
        np.testing.assert_array_equal(backend.infer_bgr(both[..., ::-1])[0], backend.infer(both)[0])
        np.testing.assert_array_equal(backend.infer(both)[0][:1], seen)
        np.testing.assert_array_equal(seen, backend.infer_picture(picture)[0])


@pytest.mark.parametrize("shape", [(5, 6, 3), (4, 7, 3), (4, 6, 1), (4, 6), (0, 6, 3), (1, 4, 6, 3)])
def test_a_picture_that_does_not_fit_is_refused(tmp_path, shape):
    backend = open_reference(identity(tmp_path / "m.onnx", 1), INPUT)
    for picture in (np.zeros(shape, np.uint8), np.zeros((4, 6, 3), np.float32)):
        with pytest.raises(ValueError, match="at most 4×6×3 uint8 BGR"):
            backend.infer_picture(picture)


@pytest.mark.parametrize(
    "images",
    [
        np.zeros((4, 6, 3), np.uint8),
        np.zeros((1, 3, 4, 6), np.uint8),
        np.zeros((1, 6, 4, 3), np.uint8),
        np.zeros((1, 4, 6, 3), np.float32),
    ],
    ids=["no batch", "planes", "sides swapped", "floats"],
)
def test_only_uint8_nhwc_rgb_is_accepted(tmp_path, images):
    backend = open_reference(identity(tmp_path / "m.onnx", 1), INPUT)
    with pytest.raises(ValueError, match=r"takes N×4×6×3 uint8 RGB"):
        backend.infer(images)


def test_a_model_with_a_fixed_batch_of_several_is_refused(tmp_path):
    with pytest.raises(ModelError, match="2 images at once: export it with batch 1"):
        open_reference(identity(tmp_path / "m.onnx", 2), INPUT)


def test_a_provider_that_does_not_start_is_an_error(tmp_path, monkeypatch):
    # Like onnxruntime-gpu without the libraries of CUDA: the provider is available, but the session does not use it.
    path, real = identity(tmp_path / "m.onnx", 1), onnxruntime.InferenceSession
    monkeypatch.setattr(onnxruntime, "get_available_providers", lambda: ["CUDAExecutionProvider"])

    def fallen_back(model, sess_options, providers):
        return real(model, sess_options, providers=["CPUExecutionProvider"])

    monkeypatch.setattr(onnxruntime, "InferenceSession", fallen_back)
    with pytest.raises(InputError, match="cannot start CUDAExecutionProvider"):
        open_reference(path, INPUT, ("cuda",))


def test_recognize_equals_detect_align_and_embed(bundle, photo):
    image = cv2.imread(str(photo("two.png", (1, 2, 0, 235), (7, 5, 1, 255))))
    with open_bundle(bundle, backend="reference") as pipeline:
        faces = pipeline.recognize(image)
        assert pipeline.detect(image).embeddings is None
        crops = [pipeline.align(image, landmarks) for landmarks in faces.landmarks]
        np.testing.assert_array_equal(pipeline.embed(crops), faces.embeddings)
        np.testing.assert_array_equal(pipeline.embed(crops[1:])[0], faces.embeddings[1])
        assert pipeline.embed([]).shape == (0, 8)
        nobody = pipeline.recognize(np.full((50, 50, 3), 255, np.uint8))
    assert len(nobody) == 0 and nobody.embeddings.shape == (0, 8)
    assert {array.dtype for array in (faces.boxes, faces.scores, faces.landmarks, faces.embeddings)} == {
        np.dtype(np.float32)
    }


def threads_of_runs(backend, monkeypatch, images):
    """What the model sees of ``images``, and how many threads each run of it had."""
    threads, run = [], type(backend)._run

    def watched(self, session, tensors):
        threads.extend([session.get_session_options().intra_op_num_threads] * len(tensors))
        return run(self, session, tensors)

    with monkeypatch.context() as patch:
        patch.setattr(type(backend), "_run", watched)
        [seen] = backend.infer(images)
    return seen, sorted(threads)


@pytest.mark.parametrize(
    ("threads", "faces", "expected"),
    [(1, 5, [1] * 5), (2, 1, [2]), (2, 2, [1, 1]), (2, 5, [1, 1, 1, 1, 2]), (3, 2, [3, 3]), (3, 4, [1, 1, 1, 3])],
)
def test_faces_that_fill_all_threads_run_at_once_on_one_thread_each(tmp_path, monkeypatch, threads, faces, expected):
    images = np.random.default_rng(faces).integers(0, 255, (faces, 4, 6, 3), np.uint8)
    backend = open_reference(identity(tmp_path / "m.onnx", 1), INPUT, threads=threads)
    seen, used = threads_of_runs(backend, monkeypatch, images)
    assert used == expected
    np.testing.assert_array_equal(seen, normalize(images, INPUT))
    backend.close()
    with pytest.raises(DeviceError, match="closed"):
        backend.infer(images)


@pytest.mark.parametrize(
    "change", [Path.unlink, lambda path: path.write_bytes(b"damaged"), lambda path: identity(path, 1, "Neg")]
)
def test_a_model_that_was_replaced_answers_none_of_the_faces(tmp_path, monkeypatch, change):
    images = np.random.default_rng(0).integers(0, 255, (4, 4, 6, 3), np.uint8)
    backend = open_reference(path := identity(tmp_path / "m.onnx", 1), INPUT, threads=2)
    change(path)
    seen, used = threads_of_runs(backend, monkeypatch, images)
    assert used == [2] * 4
    np.testing.assert_array_equal(seen, normalize(images, INPUT))


def test_threads_that_share_a_model_get_their_own_faces_until_it_is_closed(tmp_path):
    backend = open_reference(identity(tmp_path / "m.onnx", 1), INPUT, threads=2)

    def ask(number):
        images, answers = np.full((5, 4, 6, 3), number, np.uint8), 0
        while answers < 200:
            try:
                [seen] = backend.infer(images)
            except DeviceError:
                break
            np.testing.assert_array_equal(seen, normalize(images, INPUT))
            answers += 1
            if answers == 100 and number == 0:
                backend.close()
        return answers

    with ThreadPoolExecutor(4) as pool:
        answers = list(pool.map(ask, range(4)))
    assert answers[0] == 100 and max(answers) <= 200
