import threading
from types import SimpleNamespace

import cv2
import numpy as np
import pytest

from rkface.runtime.core.errors import InputError, ModelError
from rkface.runtime.core.manifest import Input, Output
from rkface.runtime.vision.detect import Detector, suppress
from rkface.runtime.vision.detectors import find_layout
from rkface.runtime.vision.letterbox import Canvas, letterbox


def outputs_for(width, height):
    """SCRFD's nine outputs in InsightFace's order, as shapes."""
    counts = [(width // stride) * (height // stride) * 2 for stride in (8, 16, 32)]
    return [Output(f"{channels}-{count}", (count, channels)) for channels in (1, 4, 10) for count in counts]


def one_face(outputs, count, index, said):
    """Arrays for ``outputs`` in which one anchor of the level with ``count`` anchors has a face."""
    arrays = [np.zeros(output.shape, np.float32) for output in outputs]
    for array in arrays:
        if len(array) == count:
            array[index] = said[array.shape[1]]
    return arrays


@pytest.mark.parametrize("size", [(640, 640), (640, 384), (320, 256)])
@pytest.mark.parametrize("shuffle", [0, 1, 2])
def test_the_order_of_the_outputs_does_not_matter(size, shuffle):
    width, height = size
    outputs = outputs_for(width, height)
    order = np.random.default_rng(shuffle).permutation(9) if shuffle else np.arange(9)
    outputs = [outputs[index] for index in order]
    points = np.arange(10, dtype=np.float32) / 10
    columns, rows = width // 16, height // 16
    second_anchor = (3 * columns + 5) * 2 + 1
    arrays = one_face(outputs, columns * rows * 2, second_anchor, {1: 0.9, 4: [1, 2, 3, 4], 10: points})
    faces = find_layout(outputs, width, height).decode(arrays, 0.5)
    # The anchor of cell (5, 3) at stride 16 is at (80, 48); distances and offsets are in strides (SCRFD, section 3).
    assert len(faces) == 1
    np.testing.assert_allclose(faces.boxes, [[80 - 16, 48 - 32, 80 + 48, 48 + 64]])
    np.testing.assert_allclose(faces.landmarks[0], [80, 48] + points.reshape(5, 2) * 16, rtol=1e-6)


def test_a_leading_batch_dimension_makes_no_difference():
    outputs = [Output(output.name, (1, *output.shape)) for output in outputs_for(320, 320)]
    assert [level.stride for level in find_layout(outputs, 320, 320).levels] == [8, 16, 32]


def test_a_detector_without_keypoints_is_refused():
    outputs = [output for output in outputs_for(320, 320) if output.shape[1] != 10]
    with pytest.raises(ModelError, match="with landmarks"):
        find_layout(outputs, 320, 320)


def test_an_input_size_that_32_does_not_divide_is_refused():
    with pytest.raises(ModelError, match="multiple of 32"):
        find_layout(outputs_for(320, 320), 320, 200)


def test_the_letterbox_keeps_the_aspect_ratio_at_the_top_left():
    image = np.full((1080, 1920, 3), 200, np.uint8)
    fitted = letterbox(image, 640, 640)
    assert fitted.image.shape == (640, 640, 3)
    assert fitted.scale == pytest.approx(1 / 3)
    assert (fitted.image[:360] == 200).all() and not fitted.image[360:].any()
    tall = letterbox(image.transpose(1, 0, 2), 640, 384)
    assert (tall.image[:, :216] == 200).all() and not tall.image[:, 216:].any()


@pytest.mark.parametrize("shape", [(1080, 1920), (2160, 3840), (720, 1280), (1800, 3200), (1344, 4480), (1081, 1920)])
def test_the_letterbox_equals_opencvs_bilinear_interpolation_bit_for_bit(shape):
    """Sizes divided by 3, 5 and 7 read one pixel, where bilinear interpolation weighs four."""
    image = np.random.default_rng(0).integers(0, 256, (*shape, 3), np.uint8)
    fitted = letterbox(image, 640, 640).image
    rows = int(640 * shape[0] / shape[1])
    assert (fitted[:rows] == cv2.resize(image, (640, rows))).all() and not fitted[rows:].any()


def test_the_reused_canvas_shows_nothing_of_a_frame_with_another_aspect_ratio():
    seen = []
    backend = SimpleNamespace(name="seen", infer=lambda images: seen.append(images[0].copy()) or outputs)
    outputs = [np.zeros(output.shape, np.float32) for output in outputs_for(320, 320)]
    looking = Detector(backend, Input("input", 320, 320, (0.0,) * 3, (1.0,) * 3), outputs_for(320, 320))
    random = np.random.default_rng(0)
    for shape in ((200, 300, 3), (300, 100, 3), (90, 640, 3), (320, 320, 3), (60, 50, 3)):
        image = random.integers(1, 256, shape, np.uint8)
        looking.detect(image)
        assert (seen[-1] == letterbox(image, 320, 320).image[..., ::-1]).all()


def test_two_threads_can_detect_at_the_same_time():
    together = threading.Barrier(2)
    seen = {}

    def infer(images):
        together.wait(10)  # both frames are letterboxed before the first inference
        seen[threading.get_ident()] = images[0].mean()
        return [np.zeros(output.shape, np.float32) for output in outputs_for(320, 320)]

    backend = SimpleNamespace(name="seen", infer=infer)
    looking = Detector(backend, Input("input", 320, 320, (0.0,) * 3, (1.0,) * 3), outputs_for(320, 320))
    images = [np.full((320, 320, 3), value, np.uint8) for value in (50, 200)]
    threads = [threading.Thread(target=looking.detect, args=(image,)) for image in images]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert sorted(seen.values()) == [50, 200]


@pytest.mark.parametrize("by", [2, 3, 5, 7])
@pytest.mark.parametrize(
    "change",
    [
        lambda image: image,
        lambda image: np.hstack([image, image])[:, : image.shape[1]],
        lambda image: image[::-1],
        lambda image: image[:, ::-1],
        lambda image: image[..., ::-1],
        np.asfortranarray,
    ],
)
def test_pixels_are_those_of_bilinear_interpolation_however_the_frame_lies_in_memory(by, change):
    frame = change(np.random.default_rng(by).integers(0, 256, (by * 36, by * 64, 3), np.uint8))
    picture, scale = Canvas(64, 40).letterbox(frame)
    expected = cv2.resize(np.ascontiguousarray(frame), (64, 36))[..., ::-1]
    np.testing.assert_array_equal(picture[:36], expected)
    assert scale == 1 / by and not picture[36:].any()


@pytest.mark.parametrize("shape", [(36, 64), (40, 30), (108, 192), (216, 384), (77, 91), (20, 90), (400, 20), (1, 1)])
@pytest.mark.parametrize("change", [lambda image: image, lambda image: image[:, ::-1], np.asfortranarray])
def test_a_backend_that_takes_pictures_sees_the_pixels_of_the_letterbox(shape, change):
    """It gets them without black, so that they are neither copied nor swapped."""
    seen = []
    outputs = [np.zeros(output.shape, np.float32) for output in outputs_for(320, 320)]
    backend = SimpleNamespace(name="seen", infer_picture=lambda picture: seen.append(picture.copy()) or outputs)
    backend.infer = lambda images: pytest.fail("the frame was copied")
    looking = Detector(backend, Input("input", 320, 320, (0.0,) * 3, (1.0,) * 3), outputs_for(320, 320))
    frame = change(np.random.default_rng(0).integers(1, 256, (5 * shape[0], 5 * shape[1], 3), np.uint8))
    looking.detect(frame)
    rows, columns = seen[0].shape[:2]
    expected = letterbox(frame, 320, 320).image
    np.testing.assert_array_equal(seen[0][..., :3], expected[:rows, :columns])
    assert not expected[rows:].any() and not expected[:, columns:].any()


def test_the_letterbox_of_a_very_narrow_image_has_at_least_one_pixel():
    assert letterbox(np.full((2, 4000, 3), 255, np.uint8), 320, 320).image.any()


def naive_suppress(boxes, iou):
    """Non-maximum suppression as defined: a box against all that are kept."""
    kept = []
    for index, (x1, y1, x2, y2) in enumerate(boxes):
        a1, b1, a2, b2 = boxes[np.array(kept, int)].T
        wide, high = np.minimum(x2, a2) - np.maximum(x1, a1) + 1, np.minimum(y2, b2) - np.maximum(y1, b1) + 1
        shared = np.maximum(0, wide) * np.maximum(0, high)
        if not (shared / ((x2 - x1 + 1) * (y2 - y1 + 1) + (a2 - a1 + 1) * (b2 - b1 + 1) - shared) > iou).any():
            kept.append(index)
    return kept


def test_suppression_equals_its_definition_for_crowds():
    random = np.random.default_rng(4)
    for count, iou, largest in (
        *((0, 0.4, 80), (1, 0.4, 80), (2, 0.4, 80), (200, 0.4, 80)),
        *((64, 0.4, 900), (64, 0.1, 900), (65, 0.4, 900), (65, 0.4, 80)),  # twice as many: with and without a grid
        *((300, 0.4, 900), (300, 0.1, 80), (300, 0.9, 20), (200, 1.0, 80)),
    ):
        corners = random.uniform(-50, 900, (count, 2))
        # INT8 and FP16 can turn the sides of a small box around.
        boxes = np.hstack([corners, corners + random.uniform(-9, largest, (count, 2))]).astype(np.float32)
        boxes = np.concatenate([boxes, boxes + random.normal(0, 2, boxes.shape).astype(np.float32)])
        assert suppress(boxes.tolist(), iou) == naive_suppress(boxes.astype(float), iou)


@pytest.mark.parametrize("batch", [(2,), (1, 4)])
def test_a_detector_with_a_larger_batch_is_refused(batch):
    outputs = [Output(output.name, (*batch, *output.shape)) for output in outputs_for(320, 320)]
    with pytest.raises(ModelError, match=r"1 output of shape (3200|200)×1, but it has none"):
        find_layout(outputs, 320, 320)


def test_outputs_of_the_same_shape_are_refused_and_unknown_outputs_are_ignored():
    outputs = outputs_for(320, 320)
    with pytest.raises(ModelError, match="1 output of shape 800×4, but it has 2"):
        find_layout([*outputs, Output("again", (1, 800, 4))], 320, 320)
    extra = [Output("a", (7,)), Output("b", (7,)), Output("c", ()), Output("d", (5, 5)), Output("e", (5, 5))]
    assert len(find_layout([*extra, *outputs], 320, 320).levels) == 3


@pytest.mark.parametrize(
    "image",
    [
        np.zeros((40, 60), np.uint8),
        np.zeros((40, 60, 4), np.uint8),
        np.zeros((40, 60, 3), np.float32),
        np.zeros((0, 60, 3), np.uint8),
    ],
    ids=["gray", "alpha", "float", "empty"],
)
def test_only_uint8_bgr_is_an_image(image):
    with pytest.raises(InputError, match="H×W×3 uint8 array in BGR order"):
        letterbox(image, 320, 320)


def detector(width, height):
    return Detector(None, Input("input", height, width, (0.0,) * 3, (1.0,) * 3), outputs_for(width, height))


def test_anchors_are_computed_once(monkeypatch):
    ours = detector(320, 256)
    monkeypatch.setattr(
        "rkface.runtime.vision.detect.find_layout", lambda *_: pytest.fail("anchors were computed again")
    )
    arrays = [np.zeros(output.shape, np.float32) for output in outputs_for(320, 256)]
    assert len(ours.faces(arrays, 1.0)) == 0


def test_suppression_counts_pixels_of_the_image():
    # Sides count inclusive pixels (+1): these overlap by 0.42 in the input, by 0.39 in a photo four times
    # as wide.
    outputs = outputs_for(320, 320)
    arrays = one_face(outputs, 3200, 0, {1: 0.9, 4: [0, 0, 1, 1], 10: np.arange(10)})
    second = one_face(outputs, 3200, 1, {1: 0.8, 4: [-0.455, 0, 1.455, 1], 10: np.arange(10)})
    arrays = [one + other for one, other in zip(arrays, second, strict=True)]
    assert len(detector(320, 320).faces(arrays, scale=1.0)) == 1
    assert len(detector(320, 320).faces(arrays, scale=0.25)) == 2


def test_a_face_whose_landmarks_coincide_is_dropped():
    outputs = outputs_for(320, 320)
    said = {1: 0.9, 4: [1, 1, 1, 1], 10: np.full(10, 0.5)}
    assert len(detector(320, 320).faces(one_face(outputs, 800, 40, said), 1.0)) == 0
    said[10] = np.array([0.5] * 8 + [0.5, 0.6])
    assert len(detector(320, 320).faces(one_face(outputs, 800, 40, said), 1.0)) == 1


def test_a_face_with_infinite_coordinates_is_dropped_and_the_others_stay():
    outputs = outputs_for(320, 320)
    arrays = one_face(outputs, 3200, 1000, {1: 0.9, 4: 2.0, 10: np.arange(10) / 10})
    for array in arrays:
        if len(array) == 800:
            array[100] = {1: 0.95, 4: np.inf, 10: 0.5}[array.shape[1]]
    faces = detector(320, 320).faces(arrays, 1.0)
    assert len(faces) == 1 and faces.scores[0] == np.float32(0.9)
