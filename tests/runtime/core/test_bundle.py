import dataclasses
import hashlib
import json

import pytest

from rkface.runtime.core.bundle import SUMS, files, read_bundle
from rkface.runtime.core.crop_template import ARCFACE_112
from rkface.runtime.core.errors import BundleError
from rkface.runtime.core.manifest import (
    Input,
    LibraryNeeds,
    Manifest,
    Model,
    Output,
    RecognizerSpec,
    Source,
    Thresholds,
    contract,
    shape_name,
)

DETECTOR = Input("input.1", 320, 320, (127.5,) * 3, (128.0,) * 3)
RECOGNIZER = Input("input.1", 112, 112, (127.5,) * 3, (127.5,) * 3)


def model(role, input):
    source = Source(f"{role}.onnx", "0" * 64, 10, "Apache-2.0")
    return Model(f"{role}.rknn", f"reference/{role}.onnx", "int8", input, (Output("out", (1, 512)),), source)


MANIFEST = Manifest(
    name="test",
    synthetic=True,
    created="2026-01-01T00:00:00Z",
    target="rk3588",
    toolkit="2.5.0",
    rkface="0.1.0",
    detector=model("detector", DETECTOR),
    recognizer=RecognizerSpec(**vars(model("recognizer", RECOGNIZER)), crop=ARCFACE_112),
    thresholds=Thresholds(0.5, 0.4, 0.4),
)


def write_sums(folder):
    lines = [f"{hashlib.sha256((folder / name).read_bytes()).hexdigest()}  {name}" for name in files(folder)]
    (folder / SUMS).write_text("\n".join(lines) + "\n")


@pytest.fixture
def folder(tmp_path):
    (tmp_path / "manifest.json").write_text(MANIFEST.to_json())
    (tmp_path / "reference").mkdir()
    for role in ("detector", "recognizer"):
        (tmp_path / f"{role}.rknn").write_bytes(b"RKNN" + role.encode())
        (tmp_path / f"reference/{role}.onnx").write_bytes(role.encode())
    write_sums(tmp_path)
    return tmp_path


def test_a_written_bundle_can_be_read(folder):
    assert read_bundle(folder).manifest == MANIFEST
    assert read_bundle(folder, soc="rk3588").manifest.target == "rk3588"


def test_every_changed_byte_is_refused(folder):
    for name in files(folder):
        path = folder / name
        whole = path.read_bytes()
        path.write_bytes(whole[:-2] + bytes([whole[-2] ^ 1]) + whole[-1:])
        with pytest.raises(BundleError, match=r"changed or damaged|garbles|cannot be read"):
            read_bundle(folder)
        path.write_bytes(whole)
    read_bundle(folder)


def test_missing_and_foreign_files_are_refused_and_the_reference_is_optional(folder):
    (folder / "extra.bin").write_bytes(b"?")
    with pytest.raises(BundleError, match=r"extra\.bin is not part of the bundle"):
        read_bundle(folder)
    (folder / "extra.bin").unlink()
    (folder / "reference/detector.onnx").unlink()
    bundle = read_bundle(folder)  # a board does not need reference/
    with pytest.raises(BundleError, match="no reference/ folder"):
        bundle.reference("detector")
    (folder / "detector.rknn").unlink()
    with pytest.raises(BundleError, match=r"detector\.rknn is missing"):
        read_bundle(folder)


def test_another_chip_another_schema_and_other_folders_are_refused(folder, tmp_path_factory):
    with pytest.raises(BundleError, match=r"made for rk3588, this is rk3576.*--target rk3576"):
        read_bundle(folder, soc="rk3576")
    (folder / "manifest.json").write_text(dataclasses.replace(MANIFEST, schema=99).to_json())
    with pytest.raises(BundleError, match="schema 99, this rkface reads 1 to 2"):
        read_bundle(folder)
    with pytest.raises(BundleError, match="not a bundle"):
        read_bundle(tmp_path_factory.mktemp("empty"))
    with pytest.raises(BundleError, match="no such bundle"):
        read_bundle(folder / "absent")


def with_shapes(*inputs):
    """``MANIFEST`` with the detector in other shapes, each (width, height)."""
    shapes = tuple(
        model(shape_name(width, height), dataclasses.replace(DETECTOR, width=width, height=height))
        for width, height in inputs
    )
    return dataclasses.replace(MANIFEST, shapes=shapes)


def test_other_shapes_of_the_detector_are_read_and_verified(folder):
    manifest = with_shapes((320, 192), (192, 320))
    assert list(manifest.models) == ["detector", "detector-320x192", "detector-192x320", "recognizer"]
    (folder / "manifest.json").write_text(manifest.to_json())
    for name in ("detector-320x192", "detector-192x320"):
        (folder / f"{name}.rknn").write_bytes(b"RKNN" + name.encode())
    write_sums(folder)
    bundle = read_bundle(folder)
    assert bundle.manifest == manifest and bundle.path("detector-192x320").name == "detector-192x320.rknn"
    (folder / "detector-192x320.rknn").unlink()
    write_sums(folder)
    with pytest.raises(BundleError, match=r"names detector-192x320\.rknn, but the file is missing"):
        read_bundle(folder)


def test_a_manifest_without_other_shapes_is_as_it_was(folder):
    assert "detector_shapes" not in json.loads(MANIFEST.to_json())
    raw = json.loads(with_shapes((320, 192)).to_json())
    assert raw.pop("detector_shapes") and raw == json.loads(MANIFEST.to_json()), "older versions read the rest"


@pytest.mark.parametrize("sizes", [[(320, 320)], [(320, 192), (320, 192)]])
def test_two_shapes_of_the_same_size_are_refused(folder, sizes):
    (folder / "manifest.json").write_text(with_shapes(*sizes).to_json())
    write_sums(folder)
    with pytest.raises(BundleError, match="two shapes of the detector have the same size"):
        read_bundle(folder)


@pytest.mark.parametrize("name", ["../detector.rknn", "/etc/passwd", ""])
def test_a_manifest_cannot_point_outside_its_bundle(folder, name):
    raw = json.loads(MANIFEST.to_json())
    raw["detector"]["file"] = name
    (folder / "manifest.json").write_text(json.dumps(raw))
    write_sums(folder)
    with pytest.raises(BundleError, match="is outside the bundle"):
        read_bundle(folder)


def test_the_input_contract_fits_into_the_custom_string():
    text = contract("recognizer", RECOGNIZER, "f" * 64)
    assert len(text.encode()) < 1024  # RKNN_QUERY_CUSTOM_STRING's buffer
    said = json.loads(text)
    assert (said["dtype"], said["layout"], said["colour"], said["normalization"]) == ("uint8", "NHWC", "RGB", "inside")


def test_a_file_without_read_permission_is_named(folder, monkeypatch):
    def denied(path):
        raise PermissionError(13, "Permission denied", str(path))

    monkeypatch.setattr("rkface.runtime.core.bundle.sha256", denied)  # root, as in CI, can read everything
    with pytest.raises(BundleError, match=r"\.\w+: cannot be read: Permission denied"):
        read_bundle(folder)


def test_a_bundle_says_which_librknnrt_it_needs_also_if_it_is_older_than_this_entry(folder):
    assert read_bundle(folder).manifest.librknnrt == LibraryNeeds(6, "1.6.0")
    raw = json.loads(MANIFEST.to_json())
    raw["librknnrt"] = {"format": 7, "oldest": "3.0.0"}
    (folder / "manifest.json").write_text(json.dumps(raw))
    write_sums(folder)
    assert read_bundle(folder).manifest.librknnrt == LibraryNeeds(7, "3.0.0")
    del raw["librknnrt"]
    (folder / "manifest.json").write_text(json.dumps(raw))
    write_sums(folder)
    assert read_bundle(folder).manifest.librknnrt == LibraryNeeds(6, "1.6.0")
    raw["librknnrt"] = {"format": 6, "oldest": "new"}
    (folder / "manifest.json").write_text(json.dumps(raw))
    write_sums(folder)
    with pytest.raises(BundleError, match="oldest is 'new'"):
        read_bundle(folder)


def test_a_model_without_outputs_is_refused(folder):
    raw = json.loads(MANIFEST.to_json())
    raw["recognizer"]["outputs"] = []
    (folder / "manifest.json").write_text(json.dumps(raw))
    write_sums(folder)
    with pytest.raises(BundleError, match="has no outputs"):
        read_bundle(folder)
