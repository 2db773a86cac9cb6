"""Classic mistakes in a user's program get an error that says what to do, not an AttributeError or a wrong result."""

import re

import cv2
import numpy as np
import pytest

from rkface.runtime.core.bundle import read_bundle
from rkface.runtime.core.errors import DeviceError, InputError
from rkface.runtime.inference.frames import Frame
from rkface.runtime.inference.open_bundle import open_bundle, open_scheduler
from rkface.runtime.inference.pipeline import Pipeline
from rkface.runtime.vision.draw import draw_faces, write_image
from rkface.runtime.vision.image import read_image

pytest.importorskip("onnxruntime")

IMAGE = np.full((512, 640, 3), 255, np.uint8)
CROP = np.zeros((112, 112, 3), np.uint8)
LANDMARKS = np.float32([[38, 52], [74, 52], [56, 72], [42, 92], [71, 92]])

WRONG_IMAGES = {
    "None": (None, "cv2.imread returns None when it cannot read a file; use rkface.read_image, which says why"),
    "path": ("photo.jpg", "this is the path 'photo.jpg': read it with rkface.read_image"),
    "list": ([[0, 0, 0]], "this is a list: convert it with np.asarray"),
    "gray": (IMAGE[..., 0], "this one is gray (512×640): convert it with cv2.cvtColor(image, cv2.COLOR_GRAY2BGR)"),
    "gray, 1 channel": (IMAGE[..., :1], "this one is gray (512×640×1)"),
    "alpha": (np.dstack([IMAGE, IMAGE[..., 0]]), "this one has 4 channels (512×640×4): convert it"),
    "float": (IMAGE / 255, "this one is float64: do not normalize images, rkface does that"),
    "float of 0 to 255": (IMAGE.astype(np.float32), "this one is float32"),
    "16 bits": (IMAGE.astype(np.uint16), "this one is uint16: scale its values to 0 to 255"),
    "empty": (IMAGE[600:], "this one is empty (0×640×3): if you cut it out of a photo, check the coordinates"),
    "batch": (IMAGE[None], "an array of 1 images (1×512×640×3): pass one image at a time"),
    "channels first": (IMAGE.transpose(2, 0, 1), "channels first (3×512×640): convert it with image.transpose"),
    "number": (np.uint8(3) + np.zeros((), np.uint8), "this is a uint8"),
}  # fmt: skip
wrong_images = pytest.mark.parametrize(("image", "message"), WRONG_IMAGES.values(), ids=WRONG_IMAGES)


def align(pipeline, image):
    return pipeline.align(image, LANDMARKS)


def refused(message):
    return pytest.raises(InputError, match=re.escape(message))


@pytest.fixture(scope="module")
def pipeline(bundle):
    with open_bundle(bundle, "reference") as opened:
        yield opened


@pytest.fixture(scope="module")
def scheduler(bundle):
    with open_scheduler(bundle, "reference") as opened:
        yield opened


@wrong_images
@pytest.mark.parametrize("method", [Pipeline.detect, Pipeline.recognize, align])
def test_a_wrong_image_is_named_with_the_way_to_convert_it(pipeline, method, image, message):
    with refused(message):
        method(pipeline, image)


@wrong_images
def test_the_scheduler_refuses_a_wrong_image_of_a_camera(scheduler, image, message):
    with refused(message):
        scheduler.submit(Frame(image))


def test_a_wrong_image_in_a_file_costs_only_its_own_frame(scheduler):
    results = list(scheduler.run([Frame(IMAGE), Frame(None), Frame(IMAGE)]))
    assert [type(result.error) for result in results] == [type(None), InputError, type(None)]


def test_images_are_not_frames(scheduler):
    with refused("the scheduler takes Frame objects, not ndarray: write Frame(image)"):
        scheduler.submit(IMAGE)
    with refused("the scheduler takes Frame objects"):
        list(scheduler.run([IMAGE]))


def test_an_image_converted_as_advised_is_accepted(pipeline):
    alpha, gray = WRONG_IMAGES["alpha"][0], WRONG_IMAGES["gray"][0]
    for image in (
        cv2.cvtColor(alpha, cv2.COLOR_BGRA2BGR),
        cv2.cvtColor(gray, cv2.COLOR_GRAY2BGR),
        (WRONG_IMAGES["float"][0] * 255).astype(np.uint8),
        WRONG_IMAGES["channels first"][0].transpose(1, 2, 0),
    ):
        assert len(pipeline.detect(image)) == 0


def test_align_takes_the_landmarks_of_one_face(pipeline, photo):
    image = read_image(photo("two.png", (1, 1), (5, 5)))
    faces = pipeline.detect(image)
    assert len(faces) == 2
    with refused("not a Faces object: pass the landmarks of one face, such as faces.landmarks[0]"):
        pipeline.align(image, faces)
    with refused("these are the landmarks of 2 faces: pass the landmarks of one face"):
        pipeline.align(image, faces.landmarks)
    with refused("must be a 5×2 array, not 4: pass"):
        pipeline.align(image, faces.boxes[0])
    with refused("must be a 5×2 array of numbers, not None"):
        pipeline.align(image, None)
    with refused("must be a 5×2 array of numbers, not a list"):
        pipeline.align(image, LANDMARKS.tolist())
    assert pipeline.align(image, faces.landmarks[0]).shape == (112, 112, 3)


def test_landmarks_in_one_spot_are_refused(pipeline):
    with refused("the five landmarks coincide"):
        pipeline.align(IMAGE, np.ones((5, 2), np.float32))


@pytest.mark.parametrize("value", [np.nan, np.inf])
def test_landmarks_that_are_not_finite_are_refused(pipeline, value):
    with refused("a landmark is NaN or infinite"):
        pipeline.align(IMAGE, LANDMARKS * value)


@pytest.mark.parametrize(
    ("threshold", "found"),
    [(-0.1, "-0.1"), (50, "50"), (float("nan"), "nan"), ("0.5", "a str"), ([0.5], "a list"), (True, "a bool")],
)
def test_a_detection_threshold_is_a_number_from_0_to_1(pipeline, threshold, found):
    for use in (pipeline.detect, pipeline.recognize):
        with refused(f"a detection threshold must be a number from 0 to 1, not {found}"):
            use(IMAGE, threshold)
    assert len(pipeline.detect(IMAGE, np.float32(0.5))) == 0


@pytest.mark.parametrize("providers", ["cpu", None, ()])
def test_providers_are_a_list_of_names(bundle, providers):
    with refused(f'providers must be a list of names, such as ["cpu"], not {providers!r}'):
        open_bundle(bundle, "reference", providers=providers)


@pytest.mark.parametrize(("threads", "found"), [(0, "0"), ("2", "a str"), (1.5, "a float")])
def test_the_number_of_threads_and_of_cores_is_a_count(bundle, threads, found):
    with refused("the number of threads must be") as caught:
        open_bundle(bundle, "reference", threads=threads)
    assert str(caught.value).endswith(f"1 or greater, not {found}")
    with refused("the number of cores must be") as caught:
        open_scheduler(bundle, "reference", cores=threads)
    assert str(caught.value).endswith(f"1 or greater, not {found}")


def test_a_file_of_a_bundle_is_not_taken_for_its_folder(bundle):
    with refused("manifest.json is a file: name the bundle's folder"):
        open_bundle(bundle / "manifest.json")


def test_the_work_of_a_scheduler_is_a_function(bundle):
    with refused("work must be a function, not a str: pass Pipeline.recognize"):
        open_scheduler(bundle, "reference", work="detect")


@pytest.mark.parametrize("frames", [None, Frame(IMAGE), cv2.VideoCapture()])
def test_run_takes_an_iterator_of_frames(scheduler, frames):
    with refused("pass a list or an iterator of Frame objects, such as iter(camera.read, None)"):
        list(scheduler.run(frames))


def test_drawing_takes_faces_and_a_text_for_each(pipeline):
    with refused("draw_faces takes the faces of one image, not None"):
        draw_faces(IMAGE, None)
    with refused("labels must be a list with one string for each face"):
        draw_faces(IMAGE, pipeline.detect(IMAGE), [1])


def test_a_path_with_a_nul_character_is_refused():
    with refused("a photo's path contains a NUL character: 'a\\x00b'"):
        read_image("a\0b")


def test_embed_takes_a_list_of_aligned_crops(pipeline):
    faces = pipeline.detect(IMAGE)
    with refused("not one array: write embed([crop])"):
        pipeline.embed(CROP)
    with refused("not a Faces object: align each face first: [pipeline.align(image, points) for points in"):
        pipeline.embed(faces)
    with refused("embed takes a list of 112×112×3 uint8 crops, not None"):
        pipeline.embed(None)
    with refused("not a generator"):
        pipeline.embed(crop for crop in [CROP])
    with refused("the recognizer takes 112×112×3 uint8 crops, and crop 1 is 512×640×3 uint8: align each face first"):
        pipeline.embed([CROP, IMAGE])
    with refused("crop 0 is 112×112×3 float32"):
        pipeline.embed([CROP.astype(np.float32)])
    with refused("crop 0 is None"):
        pipeline.embed([None])
    assert pipeline.embed(np.stack([CROP] * 2)).shape == pipeline.embed((CROP, CROP)).shape == (2, 8)


def test_faces_are_not_indexed_by_a_number(pipeline, photo):
    faces = pipeline.detect(read_image(photo("one.png", (1, 1))))
    with refused("faces.boxes[0], or faces[0:1]"):
        faces[0]
    with refused("faces.boxes[0]"):
        list(faces)
    assert len(faces[0:1]) == 1


def test_the_largest_of_no_faces_is_refused(pipeline):
    with refused("there is no face in this image: check len(faces) first"):
        pipeline.detect(IMAGE).largest()


def test_a_closed_pipeline_says_that_it_is_closed(live_bundle):
    with open_bundle(live_bundle, "reference") as pipeline:
        crop = pipeline.liveness.crop(IMAGE, np.float32([10, 10, 90, 90]))
    for call in (lambda: pipeline.detect(IMAGE), lambda: pipeline.recognize(IMAGE), lambda: pipeline.embed([CROP])):
        with refused("this pipeline is closed: open the bundle again"):
            call()
    with pytest.raises(DeviceError, match="this model is closed: open it again"):
        pipeline.liveness.live_probabilities([crop])
    pipeline.close()


def test_a_closed_scheduler_says_that_it_is_closed(bundle):
    with open_scheduler(bundle, "reference") as scheduler:
        pipeline = scheduler.pipeline()
    with refused("this scheduler is closed: open it again with open_scheduler"):
        list(scheduler.run([Frame(IMAGE)]))
    with refused("this scheduler is closed"):
        scheduler.pipeline()
    with pytest.raises(DeviceError, match="the NPU cores are closed: open the scheduler again"):
        pipeline.detect(IMAGE)
    assert not scheduler.submit(Frame(IMAGE))
    assert list(scheduler.results()) == []


def test_a_path_may_be_a_string(bundle, photo, tmp_path):
    image = read_image(str(photo("one.png", (1, 1))))
    assert read_bundle(str(bundle)).folder == bundle
    with open_bundle(str(bundle), "reference") as pipeline:
        faces = pipeline.recognize(image)
    with open_scheduler(str(bundle), "reference") as scheduler:
        [result] = scheduler.run([Frame(image)])
    assert len(faces) == len(result.faces) == 1
    write_image(str(tmp_path / "drawn.png"), draw_faces(image, faces))
    assert read_image(tmp_path / "drawn.png").shape == image.shape


def test_what_is_not_a_path_is_refused(bundle):
    with refused("a photo's path must be a string or a Path, not a ndarray"):
        read_image(IMAGE)
    with refused("a bundle's folder must be a string or a Path, not None"):
        open_bundle(None)


@wrong_images
def test_a_wrong_image_is_neither_drawn_on_nor_written(pipeline, tmp_path, image, message):
    with refused(message):
        draw_faces(image, pipeline.detect(IMAGE))


def test_nothing_is_written_without_an_image(tmp_path):
    with refused("cv2.imread returns None"):
        write_image(tmp_path / "drawn.png", None)
    assert list(tmp_path.iterdir()) == []
