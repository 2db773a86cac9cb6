"""The short ways of the front door refuse what they cannot use, and say what to pass instead."""

import numpy as np
import pytest

from rkface import (
    Gallery,
    InputError,
    Sample,
    embedding_identity,
    enroll_photo,
    identify,
    open_bundle,
    open_gallery,
    read_image,
)

pytest.importorskip("onnxruntime")


@pytest.fixture(scope="module")
def pipeline(bundle):
    with open_bundle(bundle, "reference") as opened:
        yield opened


@pytest.fixture
def gallery(tmp_path, pipeline):
    with open_gallery(tmp_path / "gallery.sqlite", pipeline, create=True) as opened:
        yield opened


@pytest.fixture
def faces(pipeline, photo):
    return pipeline.recognize(read_image(photo("one.png", (1, 1))))


@pytest.mark.parametrize("wrong", [None, "build/rk3588", 3])
def test_the_wrong_object_is_refused_with_the_way_to_get_the_right_one(gallery, pipeline, faces, photo, wrong):
    with pytest.raises(InputError, match=r"a Gallery is needed here, not .*: open one with open_gallery"):
        identify(faces, wrong, 0.4)
    with pytest.raises(InputError, match=r"not .*: pass what pipeline.recognize\(image\) returned"):
        identify(wrong, gallery, 0.4)
    with pytest.raises(InputError, match="a Gallery is needed here"):
        enroll_photo(wrong, pipeline, "Ada", photo("one.png", (1, 1)))
    with pytest.raises(InputError, match=r"a Pipeline is needed here, not .*: open a bundle with open_bundle"):
        enroll_photo(gallery, wrong, "Ada", photo("one.png", (1, 1)))


def test_a_name_and_a_photo_have_to_be_strings(gallery, pipeline, photo):
    with pytest.raises(InputError, match="a person's name must be a string, not None"):
        enroll_photo(gallery, pipeline, None, photo("one.png", (1, 1)))
    with pytest.raises(InputError, match="a photo's path must be a string or a Path, not a ndarray"):
        enroll_photo(gallery, pipeline, "Ada", np.zeros((8, 8, 3), np.uint8))


@pytest.mark.parametrize("wrong", ["build/rk3588", 3])
def test_a_gallery_is_opened_with_a_pipeline(tmp_path, wrong):
    with pytest.raises(InputError, match="a Pipeline is needed here"):
        open_gallery(tmp_path / "gallery.sqlite", wrong, create=True)
    with pytest.raises(InputError, match="a gallery's path must be a string or a Path, not None"):
        open_gallery(None)


@pytest.mark.parametrize("threshold", [None, "0.4", 40, float("nan")])
def test_a_match_threshold_is_a_cosine(gallery, faces, threshold):
    with pytest.raises(InputError, match="the match threshold must be a number from -1 to 1"):
        identify(faces, gallery, threshold)


def test_faces_without_embeddings_are_refused(gallery, pipeline, photo):
    with pytest.raises(InputError, match=r"use pipeline.recognize"):
        identify(pipeline.detect(read_image(photo("one.png", (1, 1)))), gallery, 0.4)


def test_nobody_is_enrolled_in_a_gallery_of_another_model(tmp_path, pipeline, faces, photo):
    path = tmp_path / "other.sqlite"
    with Gallery(path, "1" * 32, create=True) as other:
        other.add("Ada", [Sample(faces.embeddings[0], crop=None, quality=1.0, source="ada.jpg")])
    assert embedding_identity(pipeline.manifest) != "1" * 32
    with pytest.raises(InputError, match="contains embeddings of another model"):
        open_gallery(path, pipeline)
    with Gallery(path) as other, pytest.raises(InputError, match="contains embeddings of another model"):
        enroll_photo(other, pipeline, "Bob", photo("one.png", (1, 1)))
    with open_gallery(path) as other:
        assert [person.name for person in other.people()] == ["Ada"]
