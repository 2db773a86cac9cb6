"""A recognizer's crop: the templates are those of their sources, and what cannot be a face's crop is refused."""

import dataclasses
import json
import math

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from rkface.runtime.core.crop_template import ARCFACE_112, TEMPLATES, CropTemplate
from rkface.runtime.core.errors import BundleError, InputError
from rkface.runtime.core.manifest import (
    Input,
    Manifest,
    Model,
    Output,
    RecognizerSpec,
    Source,
    Thresholds,
    contract,
)
from rkface.runtime.core.manifest_reader import parse_manifest
from rkface.runtime.gallery.people import embedding_identity

DLIB = TEMPLATES["dlib-150"]


def model(role, width, height, dimensions=512):
    input = Input("input", height, width, (127.5,) * 3, (127.5,) * 3)
    source = Source(f"{role}.onnx", "ab" * 32, 1, "MIT")
    return Model(f"{role}.rknn", f"reference/{role}.onnx", "int8", input, (Output("out", (1, dimensions)),), source)


def manifest(crop=ARCFACE_112, center=(), dimensions=512):
    recognizer = RecognizerSpec(
        **vars(model("recognizer", crop.width, crop.height, dimensions)), crop=crop, center=center
    )
    detector = model("detector", 640, 640)
    return Manifest(
        "n", True, "2026-01-01", "rk3588", "2.5.0", "0.1.0", detector, recognizer, Thresholds(0.5, 0.4, 0.4)
    )


def read(folder, raw):
    (folder / "manifest.json").write_text(raw if isinstance(raw, str) else json.dumps(raw))
    return parse_manifest(folder)


def test_the_templates_are_those_of_their_sources():
    arcface = np.array(ARCFACE_112.points)
    narrow, wide = (np.array(TEMPLATES[name].points) for name in ("arcface-112x96", "arcface-128"))
    np.testing.assert_allclose(narrow, arcface - [8, 0], atol=1e-9)
    np.testing.assert_allclose(wide - [8, 0], arcface, atol=1e-9)
    np.testing.assert_allclose(narrow[2], [48.0252, 71.7366])  # InsightFace's published 112×96 template
    left, right, nose, mouth_left, mouth_right = np.array(DLIB.points)
    # dlib's other average face, of five points, has the corners of the eyes, in a square of side 1 as well: the middle
    # of the corners is half a pixel below the mean of an eye's six points, because the upper lid is the more curved.
    corners = np.array([[0.1205750620789, 0.2137274526848], [0.3340850613712, 0.2290642403242],
                        [0.6460604764104, 0.2289674387677], [0.8595674595992, 0.2134981538014]])  # fmt: skip
    middles = (corners.reshape(2, 2, 2).mean(axis=1) + 0.25) / 1.5 * 149
    np.testing.assert_allclose([left, right], middles, atol=0.6)
    np.testing.assert_allclose(nose, [73.5193, 76.0521])
    assert mouth_left[1] == mouth_right[1] == 102.3365


@pytest.mark.parametrize("crop", TEMPLATES.values(), ids=TEMPLATES)
def test_a_manifest_with_any_crop_and_a_center_is_read_as_written(tmp_path, crop):
    for center in ((), tuple(np.random.default_rng(0).normal(size=512).tolist())):
        written = manifest(crop, center)
        assert read(tmp_path, written.to_json()) == written


def test_the_identity_of_the_first_crop_stays_what_it_was_and_every_other_differs():
    known = "8053daf2e599bab4dd7073dcd0243277"  # of the same manifest before crops could be stated
    assert embedding_identity(manifest()) == known
    assert embedding_identity(manifest(dataclasses.replace(ARCFACE_112, name="custom"))) == known
    moved = dataclasses.replace(ARCFACE_112, name="custom", points=((38.3, 51.7), *ARCFACE_112.points[1:]))
    others = [manifest(crop) for crop in (*list(TEMPLATES.values())[1:], moved)]
    others += [manifest(center=(0.25,) * 512), manifest(center=(0.25,) * 511 + (0.26,))]
    assert len({known, *map(embedding_identity, others)}) == 1 + len(others)


def test_a_manifest_of_schema_1_has_the_first_crop_and_no_center(tmp_path):
    raw = json.loads(manifest().to_json())
    raw["schema"] = 1
    del raw["recognizer"]["crop"], raw["recognizer"]["center"]
    assert read(tmp_path, raw) == manifest()
    raw["recognizer"]["input"]["width"] = 96
    with pytest.raises(BundleError, match="the crop is 112×112, the recognizer's input 96×112"):
        read(tmp_path, raw)


WRONG = {
    "no crop": (lambda spec: spec.pop("crop"), "'crop'"),
    "no center": (lambda spec: spec.pop("center"), "'center'"),
    "a size that is not the input's": (lambda spec: spec["crop"].update(name="x", width=96), "the crop is 96×112"),
    "a size of 0": (lambda spec: spec["crop"].update(width=0), "width is 0"),
    "a huge size": (lambda spec: spec["crop"].update(width=5000), "5000×112 pixels: each side must be 32 to 1024"),
    "four points": (lambda spec: spec["crop"]["points"].pop(), "not enough values"),
    "a point of three numbers": (lambda spec: spec["crop"]["points"][0].append(1), "too many values"),
    "NaN": (lambda spec: spec["crop"]["points"].__setitem__(0, [math.nan, 1]), "a point of the crop is nan"),
    "a text": (lambda spec: spec["crop"]["points"].__setitem__(0, ["1", 1]), "a point of the crop is '1'"),
    "a point outside": (lambda spec: spec["crop"]["points"].__setitem__(2, [113, 60]), "113,60 lies outside the crop"),
    "one point five times": (lambda spec: spec["crop"].update(points=[[50, 50]] * 5), "not those of an upright face"),
    "eyes exchanged": (
        lambda spec: spec["crop"].update(points=[spec["crop"]["points"][i] for i in (1, 0, 2, 3, 4)]),
        "not those of an upright face: give left eye, right eye",
    ),
    "other points under a known name": (
        lambda spec: spec["crop"]["points"].__setitem__(2, [56, 72]),
        "arcface-112 has other points",
    ),
    "a center of another length": (lambda spec: spec.update(center=[0.1] * 511), "511 numbers, the embedding 512"),
    "a center that is not a list": (lambda spec: spec.update(center=0.1), "center is 0.1"),
    "a center with infinity": (lambda spec: spec.update(center=[math.inf] * 512), "center is inf"),
}


@pytest.mark.parametrize("case", WRONG)
def test_a_crop_or_center_that_cannot_be_is_refused(tmp_path, case):
    change, reason = WRONG[case]
    raw = json.loads(manifest().to_json())
    change(raw["recognizer"])
    with pytest.raises(BundleError, match=r"an entry is missing or invalid|cannot be read as JSON") as caught:
        read(tmp_path, raw)
    assert reason in str(caught.value) or "JSON" in str(caught.value), caught.value


@given(st.integers(-5, 2000), st.integers(-5, 2000), st.lists(st.tuples(*[st.floats()] * 2), min_size=5, max_size=5))
def test_whatever_is_accepted_is_the_crop_of_an_upright_face(width, height, points):
    try:
        crop = CropTemplate("custom", width, height, tuple(points))
    except InputError:
        return
    array = np.array(crop.points)
    assert np.isfinite(array).all() and (array >= 0).all() and (array <= [width, height]).all()
    assert array[0, 0] < array[1, 0] and array[3, 0] < array[4, 0] and array[:2, 1].max() < array[3:, 1].min()


def test_the_contract_in_a_model_names_its_crop_and_center_and_stays_short():
    input = Input("input", 150, 150, (122.782, 117.001, 104.298), (58.395, 57.12, 57.375))
    text = contract("recognizer", input, "f" * 64, DLIB, (-0.1234567890123456,) * 512)
    assert len(text.encode()) < 1024  # RKNN_QUERY_CUSTOM_STRING's buffer
    said = [contract("recognizer", input, "f" * 64, *one) for one in ((DLIB,), (ARCFACE_112,), (DLIB, (0.1,)))]
    assert len({text, *said}) == 4 and '"crop":"dlib-150/' in text
    assert "crop" not in contract("detector", input, "f" * 64)
