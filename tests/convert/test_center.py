"""A constant is taken off the embeddings of recognizers that need it, and an older bundle's constant is kept."""

import os
from dataclasses import replace
from types import SimpleNamespace

import numpy as np
import pytest

onnx = pytest.importorskip("onnx")
pytest.importorskip("onnxsim")

from onnx import numpy_helper

from rkface.calibration.center import measure_center
from rkface.convert.acquire import ModelSources
from rkface.convert.bundle_writer import write_bundle
from rkface.convert.center import MIN_PEOPLE, check_center, settle_center
from rkface.convert.face_separation import in_another_light
from rkface.convert.packs.pack import DEMO
from rkface.convert.prepared_model import prepare_model
from rkface.convert.same_outputs import check_same_outputs
from rkface.convert.settings import CenterRequest
from rkface.runtime.core.bundle import read_bundle, sha256
from rkface.runtime.core.crop_template import CUSTOM, TEMPLATES, CropTemplate
from rkface.runtime.core.errors import BundleError, InputError
from rkface.runtime.core.manifest import Manifest, RecognizerSpec, Source, Thresholds
from rkface.runtime.gallery.people import embedding_identity
from rkface.runtime.vision.embed import unit

from .conftest import rkface

PEOPLE = 24


@pytest.fixture(scope="module")
def faces():
    """Two rendered faces of each of 24 people, made symmetric: trained recognizers know a face in its mirror image, and
    the small demo network hardly does."""
    from rkface.convert.demo.render import CALIBRATE, render_crop

    halves = [render_crop(shot, person)[:, :56] for person in CALIBRATE[:PEOPLE] for shot in range(2)]
    return [SimpleNamespace(crop=np.concatenate([half, half[:, ::-1]], axis=1)) for half in halves]


@pytest.fixture(scope="module")
def path(tmp_path_factory):
    """The demo recognizer with a constant added to its embedding, as in models that are trained by distance."""
    path = tmp_path_factory.mktemp("constant") / "constant.onnx"
    model = onnx.load(DEMO / "recognizer.onnx")
    output = model.graph.output[0]
    size = output.type.tensor_type.shape.dim[-1].dim_value
    for node in model.graph.node:
        node.output[:] = ["inner" if name == output.name else name for name in node.output]
    constant = np.random.default_rng(1).normal(0, 1, (1, size)).astype(np.float32)
    constant *= 3 * embedding_length() / np.linalg.norm(constant)
    model.graph.initializer.append(numpy_helper.from_array(constant, "constant"))
    model.graph.node.append(onnx.helper.make_node("Add", ["inner", "constant"], [output.name]))
    onnx.save(model, path)
    return path


def embedding_length():
    session = pytest.importorskip("onnxruntime").InferenceSession(DEMO / "recognizer.onnx")
    image = np.random.default_rng(0).normal(0, 0.5, (1, 3, 112, 112)).astype(np.float32)
    return float(np.linalg.norm(session.run(None, {session.get_inputs()[0].name: image})[0]))


def embed(model, faces):
    return np.concatenate([model.backend.infer(face.crop[None, ..., ::-1].copy())[0] for face in faces])


def relit(faces):
    """The mirror images in another light."""
    crops = in_another_light(np.stack([face.crop[:, ::-1, ::-1] for face in faces]))
    return [SimpleNamespace(crop=crop[..., ::-1]) for crop in crops]


def different_people(embeddings):
    """The mean cosine between faces of different people."""
    units, people = unit(embeddings), np.arange(len(embeddings)) // 2
    return float((units @ units.T)[people[:, None] != people].mean())


AUTO = CenterRequest()


def settled(path, scratch, faces, request=AUTO, **known):
    model = prepare_model(path, "recognizer", scratch)
    return settle_center(model, faces, request, sha256(path), **known)


def sources_of(path):
    return ModelSources("", {"recognizer": path}, {"recognizer": ""})


def manifest_of(model, path):
    """A manifest with the recognizer ``model``, made from the file at ``path``."""
    source = Source(path.name, sha256(path), path.stat().st_size, "none")
    simplified = model.simplified
    spec = RecognizerSpec(
        "recognizer.rknn", "reference/recognizer.onnx", "int8", model.input, simplified.outputs, source,
        crop=model.fixed.known_crop(), center=model.fixed.center,
    )  # fmt: skip
    return Manifest(
        "a bundle", False, "", "rk3588", "", "", replace(spec, file="detector.rknn"), spec, Thresholds(0.5, 0.4, 0.4),
        {"center": model.center.to_dict()} if model.center else {},
    )  # fmt: skip


def bundle(folder, manifest, scratch):
    empty = scratch / "empty"
    empty.write_bytes(b"")
    write_bundle(folder, manifest, {"detector.rknn": empty, "recognizer.rknn": empty})
    return folder


def test_different_people_are_near_zero_afterwards(path, faces, tmp_path):
    before = prepare_model(path, "recognizer", tmp_path)
    raw = embed(before, faces)
    assert different_people(raw) > 0.6
    model = settle_center(before, faces, CenterRequest(), sha256(path))
    center = np.array(model.fixed.center)
    embeddings = embed(model, faces)
    assert abs(different_people(embeddings)) < 0.1
    assert model.center.bundle is None and model.center.faces == len(faces)
    assert PEOPLE <= model.center.people <= len(faces) and model.center.cosine > 0.6
    # The model subtracts it by itself, without another node, and nothing else changed.
    assert len(onnx.load(model.simplified.path).graph.node) == model.simplified.nodes[1]
    expected, found = (unit(one.astype(np.float32)) for one in (raw - center, embeddings))
    np.testing.assert_allclose(found @ found.T, expected @ expected.T, atol=1e-5)
    crops = np.stack([face.crop[..., ::-1] for face in faces[:2]])
    assert check_same_outputs(model.fixed, model.simplified, crops) < 1e-4


def test_the_same_photos_give_the_same_constant(path, faces, tmp_path):
    first, second = (settled(path, tmp_path, faces) for _ in range(2))
    assert first.fixed.center == second.fixed.center
    assert first.simplified.path.read_bytes() == second.simplified.path.read_bytes()


def test_a_model_that_needs_none_stays_bit_for_bit(faces, tmp_path):
    model = prepare_model(DEMO / "recognizer.onnx", "recognizer", tmp_path)
    before = model.simplified.path.read_bytes()
    assert settle_center(model, faces, CenterRequest(), "") is model
    assert model.simplified.path.read_bytes() == before
    assert model.fixed.center == () and model.center is None


def test_photos_of_one_person_are_no_constant(tmp_path):
    """All their cosines are high with a recognizer that needs no constant, too."""
    from rkface.convert.demo.render import CALIBRATE, render_crop

    halves = [render_crop(shot, CALIBRATE[0])[:, :56] for shot in range(40)]
    faces = [SimpleNamespace(crop=np.concatenate([half, half[:, ::-1]], axis=1)) for half in halves]
    model = prepare_model(DEMO / "recognizer.onnx", "recognizer", tmp_path)
    raw = embed(model, faces)
    found = measure_center(raw, embed(model, relit(faces)))
    assert found.needed and found.people > MIN_PEOPLE, "these photos do not test it"
    assert settle_center(model, faces, CenterRequest(), "") is model


@pytest.mark.parametrize(("request_", "needed"), [(CenterRequest("none"), None), (CenterRequest("new"), False)])
def test_it_can_be_turned_off(path, faces, tmp_path, request_, needed):
    model = settled(path, tmp_path, faces, request_, needed=needed)
    assert model.fixed.center == () and different_people(embed(model, faces)) > 0.6


def test_photos_of_few_people_are_refused_for_a_model_that_needs_a_constant(path, faces, tmp_path):
    few = faces[:8] * 4
    for needed in (True, None):
        with pytest.raises(
            InputError, match=r"constant\.onnx .* at most [2-8] people, and at least 10 .*--center BUNDLE"
        ):
            settled(path, tmp_path, few, needed=needed)
    assert settled(path, tmp_path, few, CenterRequest("new"), needed=True).fixed.center
    with pytest.raises(InputError, match=r"only 9 usable faces, and at least 10 .*--center BUNDLE$"):
        settled(path, tmp_path, faces[:9], needed=True)
    assert settled(path, tmp_path, faces[:9]).fixed.center == (), "nothing is measured on so few faces"


def test_the_constant_of_the_replaced_bundle_is_kept(path, faces, tmp_path):
    older = settled(path, tmp_path, faces[:30])
    folder = bundle(tmp_path / "out", manifest_of(older, path), tmp_path)
    kept = settled(path, tmp_path, faces, replaced=[folder])
    assert kept.fixed.center == older.fixed.center
    assert kept.center.faces == 30 and kept.center.bundle == folder
    assert "galleries made with it stay valid" in kept.center.notes[0]
    assert embedding_identity(manifest_of(kept, path)) == embedding_identity(manifest_of(older, path))


def test_a_new_constant_is_announced_and_refuses_old_galleries(path, faces, tmp_path):
    older = settled(path, tmp_path, faces[:30])
    folder = bundle(tmp_path / "out", manifest_of(older, path), tmp_path)
    new = settled(path, tmp_path, faces, CenterRequest("new"), replaced=[folder])
    assert new.fixed.center != older.fixed.center
    assert any("cannot be used with this bundle" in note and str(folder) in note for note in new.center.notes)
    assert embedding_identity(manifest_of(new, path)) != embedding_identity(manifest_of(older, path))


def test_a_first_constant_is_announced_too(path, faces, tmp_path):
    older = prepare_model(path, "recognizer", tmp_path)
    folder = bundle(tmp_path / "out", manifest_of(older, path), tmp_path)
    notes = settled(path, tmp_path, faces, replaced=[folder]).center.notes
    assert any(f"{folder}, which had no constant" in note and "--center none" in note for note in notes)


@pytest.mark.parametrize("other", ["model", "crop", "input"])
def test_the_constant_of_another_recognizer_is_not_kept(path, faces, tmp_path, other):
    older = manifest_of(settled(path, tmp_path, faces[:30]), path)
    spec = older.recognizer
    changed = {
        "model": replace(spec, source=replace(spec.source, sha256="0" * 64)),
        "crop": replace(spec, crop=CropTemplate(CUSTOM, 112, 112, TEMPLATES["arcface-128"].points)),
        "input": replace(spec, input=replace(spec.input, mean=(0.0, 0.0, 0.0))),
    }[other]
    folder = bundle(tmp_path / "out", replace(older, recognizer=changed), tmp_path)
    model = settled(path, tmp_path, faces, replaced=[folder])
    assert model.center.bundle is None and model.center.faces == len(faces)
    given = CenterRequest(given=folder)
    with pytest.raises(InputError, match=r"--center .*out"):
        check_center(given, sources_of(path))
        settled(path, tmp_path, faces, given)


def test_the_constant_of_a_given_bundle_is_used(path, faces, tmp_path):
    older = settled(path, tmp_path, faces[:30])
    given = CenterRequest(given=bundle(tmp_path / "elsewhere", manifest_of(older, path), tmp_path))
    check_center(given, sources_of(path))
    assert settled(path, tmp_path, faces, given).fixed.center == older.fixed.center


def test_a_given_bundle_that_has_none_is_refused(faces, tmp_path):
    demo = DEMO / "recognizer.onnx"
    model = prepare_model(demo, "recognizer", tmp_path)
    given = CenterRequest(given=bundle(tmp_path / "plain", manifest_of(model, demo), tmp_path))
    with pytest.raises(InputError, match=r"no constant was taken off .*--center none"):
        check_center(given, sources_of(demo))
    with pytest.raises(BundleError, match="no such bundle folder"):
        check_center(CenterRequest(given=tmp_path / "missing"), sources_of(demo))
    with pytest.raises(InputError, match=r"--center new: .* need no constant"):
        check_center(CenterRequest("new"), replace(sources_of(demo), center=False))


def test_bundles_with_different_constants_are_not_both_kept(path, faces, tmp_path):
    folders = [
        bundle(tmp_path / name, manifest_of(settled(path, tmp_path, part), path), tmp_path)
        for name, part in (("rk3588", faces[:30]), ("rk3566", faces[10:]))
    ]
    with pytest.raises(InputError, match=r"have different constants.*--center BUNDLE"):
        settled(path, tmp_path, faces, replaced=folders)
    assert settled(path, tmp_path, faces, replaced=folders[:1]).center.bundle == folders[0]


def test_a_missing_bundle_ends_the_command_before_any_work(tmp_path):
    done = rkface("convert", "--size", "416x416", "--center", "missing", "--out", "out", cwd=tmp_path)
    assert done.returncode == 2 and "missing: no such bundle folder" in done.stderr
    assert not any(tmp_path.iterdir())


@pytest.mark.skipif("RKFACE_SLOW" not in os.environ, reason="converts three times; set RKFACE_SLOW")
def test_conversions_keep_the_constant(converted, path, tmp_path):
    photos = [
        "--calibration",
        converted.work / "photos/calibration",
        "--evaluation",
        converted.work / "photos/evaluation",
    ]
    models = ["--detector", DEMO / "detector.onnx", "--recognizer", path, "--recognizer-input", "rgb"]
    command = ["convert", "--size", "416x416", *models, *photos, "--recipe", "normal", "--accept", "--out", "out"]
    centers = []
    for options in (["--center", "new", "--count", "60"], [], ["--center", "new"], ["--center", "none"]):
        done = rkface(*command, *options, cwd=tmp_path)
        assert done.returncode == 0, done.stderr
        found = read_bundle(tmp_path / "out").manifest
        centers.append(found.recognizer.center)
        assert ("center" in found.provenance) == bool(found.recognizer.center)
        assert ("galleries made with it stay valid" in done.stdout) == (not options)
    assert centers[0] and centers[0] == centers[1] and centers[3] == ()
