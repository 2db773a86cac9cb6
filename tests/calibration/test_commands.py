import hashlib
import json
import shutil

import cv2
import numpy as np
import pytest

from rkface.calibration.dataset import read_set
from rkface.runtime.cli.main import main
from rkface.runtime.core.bundle import SUMS, files
from rkface.runtime.core.manifest import Manifest, Model, Output, RecognizerSpec, Source, Thresholds
from rkface.runtime.vision.bare_onnx import open_detector, open_recognizer
from rkface.runtime.vision.photo_files import find_images

from ..parity.record_insightface import resized

MODEL, ARCFACE = "models/scrfd_500m_kps.onnx", "models/mobilefacenet_128.onnx"
LONGEST = 1024  # pixels of a photo's longer side


@pytest.fixture(scope="module")
def detector(shared, tmp_path_factory):
    """The real detector for 320×320 pixels: it finds the faces of these photos in a quarter of the time."""
    pytest.importorskip("onnx", reason="fixing the detector's input size needs onnx")
    return resized(shared / MODEL, 320, 320, tmp_path_factory.mktemp("models"))


@pytest.fixture(scope="module")
def photos(shared, tmp_path_factory):
    """24 real photos with a face, one of them twice, a photo without a face, and a damaged one; reduced, because
    decoding large ones takes long."""
    folder = tmp_path_factory.mktemp("gallery") / "photos"
    folder.mkdir()
    for path in find_images(shared / "data/people")[3:27]:
        image = cv2.imread(str(path))
        scale = min(1.0, LONGEST / max(image.shape))
        reduced = cv2.resize(image, None, fx=scale, fy=scale, interpolation=cv2.INTER_AREA)
        cv2.imwrite(str(folder / path.name), reduced)
    shutil.copy(folder / "img13.jpg", folder / "twin.jpg")
    cv2.imwrite(str(folder / "wall.png"), cv2.imread(str(folder / "img13.jpg"))[:60, :60])
    (folder / "broken.jpg").write_bytes((folder / "img13.jpg").read_bytes()[:5000])
    return folder


def calibrate(*arguments):
    return main(["calibrate", *map(str, arguments)])


def test_end_to_end_on_real_photos(detector, photos, tmp_path, capsys):
    out = tmp_path / "deep/set"
    assert calibrate(photos, "--out", out, "--detector", detector) == 0
    first = {path.name: path.read_bytes() for path in out.rglob("*") if path.is_file()}
    said, told = capsys.readouterr()
    made = read_set(out)
    assert (made.width, made.height) == (320, 320) and made.faces >= 24 and made.frames == 25
    for piece in (
        f"{made.faces} faces from 24 photos, 25 frames of 320×320",
        "1 × near-duplicate",
        "1 × unreadable",
        "1 × no face",
        str(out / "contact.png"),
        f"rkface convert --calibration {out}",
    ):
        assert piece in said
    assert "instead of 100" in told and "find faces" in told
    assert cv2.imread(str(out / "contact.png")).shape[1] > 1000 and str(out / "spread.png") in said
    assert cv2.imread(str(out / "spread.png")).shape[1] > 1000
    record = json.loads((out / "calibration.json").read_text())
    assert record["left_out"]["counts"]["near-duplicate"] == 1
    assert record["found_by"]["detector_sha256"] == hashlib.sha256(detector.read_bytes()).hexdigest()

    assert calibrate(photos, "--out", out, "--detector", detector, "--count", 20, "--json") == 0
    report = json.loads(capsys.readouterr().out)
    assert (report["faces"], report["frames"], report["left_out"]["unreadable"]) == (20, 20, 1)
    assert calibrate(photos, "--out", out, "--detector", detector, "--count", 20) == 0
    assert "4 × similar to selected faces" in capsys.readouterr().out and read_set(out).faces == 20
    assert calibrate(photos, "--out", out, "--detector", detector) == 0
    assert {path.name: path.read_bytes() for path in out.rglob("*") if path.is_file()} == first


def test_three_faces_are_refused(detector, photos, tmp_path, capsys):
    few = tmp_path / "few"
    few.mkdir()
    for path in sorted(photos.glob("img*"))[:3]:
        shutil.copy(path, few)
    assert calibrate(few, "--out", tmp_path / "set", "--detector", detector) == 2
    error = capsys.readouterr().err.splitlines()[-1]
    assert "3 usable faces in 3 photos" in error and "at least 20" in error and "add photos" in error
    assert sorted(path.name for path in tmp_path.iterdir()) == ["few"]


def test_a_detector_that_normalizes_by_itself_is_explained(detector, photos, tmp_path, capsys):
    onnx = pytest.importorskip("onnx")
    model = onnx.load(detector)
    (image,) = (one.name for one in model.graph.input)
    for node in model.graph.node:
        node.input[:] = ["normalized" if name == image else name for name in node.input]
    constants = {"mean": 127.5, "scale": 1 / 128}
    model.graph.initializer.extend(
        onnx.numpy_helper.from_array(np.float32([value]), name) for name, value in constants.items()
    )
    model.graph.node.insert(0, onnx.helper.make_node("Sub", [image, "mean"], ["centered"]))
    model.graph.node.insert(1, onnx.helper.make_node("Mul", ["centered", "scale"], ["normalized"]))
    onnx.save(model, own := tmp_path / "own.onnx")
    few = tmp_path / "few"
    few.mkdir()
    for path in sorted(photos.glob("img*"))[:3]:
        shutil.copy(path, few)
    assert calibrate(few, "--out", tmp_path / "set", "--detector", own) == 2
    assert "it normalizes by itself: run `rkface convert` with it" in capsys.readouterr().err
    assert calibrate(few, "--out", tmp_path / "set", "--detector", detector) == 2
    assert "normalizes" not in capsys.readouterr().err, "only if most photos have no face"


def test_out_and_photos_must_be_separate_folders(detector, photos, tmp_path, capsys):
    before = sorted(photos.rglob("*"))
    (tmp_path / "link").symlink_to(photos)
    for out, says in (
        (photos / "set", "is inside"),
        (photos, "is inside"),
        (tmp_path / "link/set", "is inside"),
        (photos.parent, "contains"),
    ):
        assert calibrate(photos, "--out", out, "--detector", detector) == 2
        assert says in capsys.readouterr().err
    assert sorted(photos.rglob("*")) == before


def test_wrong_use_is_one_clear_line(shared, photos, tmp_path, capsys):
    out = tmp_path / "set"
    for arguments, says in (
        (["--bundle", tmp_path / "none"], "give a face detector with --detector"),
        (["--detector", tmp_path / "none.onnx"], "none.onnx"),
        (["--detector", shared / "models/mobilefacenet_128.onnx"], "multiple of 32"),
        (["--detector", shared / MODEL, "--size", "320x320"], "fixed at 640×640"),
        (["--bundle", tmp_path, "--size", "320x320"], "--size only works with --detector"),
        (["--detector", shared / MODEL, "--provider", "abacus"], "abacus"),
        (["--detector", shared / MODEL, "--recognizer", tmp_path / "none.onnx"], "none.onnx"),
        (["--detector", shared / MODEL, "--recognizer", shared / MODEL], "is this a classifier or a detector?"),
        (["--detector", shared / MODEL, "--recognizer-crop", "1,1 9,1 5,5 1,9 9,9"], "also give --recognizer"),
        (
            ["--detector", shared / MODEL, "--recognizer", shared / ARCFACE, "--recognizer-crop", "dlib-150"],
            "its input is 112×112, but the crop dlib-150 is 150×150",
        ),
    ):
        assert calibrate(photos, "--out", out, *arguments) == 2
        error = capsys.readouterr().err.splitlines()
        assert says in error[-1] and not any("Traceback" in line for line in error)
    assert calibrate(tmp_path / "absent", "--out", out, "--detector", shared / MODEL) == 2
    assert "no such folder of photos" in capsys.readouterr().err
    for arguments in (["--count", "5"], ["--count", "many"], ["--size", "640"]):
        with pytest.raises(SystemExit) as caught:
            calibrate(photos, "--out", out, *arguments)
        assert caught.value.code == 2
    assert not out.exists()


def make_bundle(folder, detector, recognizer, synthetic):
    _, input, outputs = open_detector(detector)
    face = open_recognizer(recognizer)
    source = Source("x.onnx", "0" * 64, 1, "none")
    (folder / "reference").mkdir(parents=True)
    shutil.copy(detector, folder / "reference/detector.onnx")
    shutil.copy(recognizer, folder / "reference/recognizer.onnx")
    for role in ("detector", "recognizer"):
        (folder / f"{role}.rknn").write_bytes(b"RKNN")
    model = Model("detector.rknn", "reference/detector.onnx", "int8", input, outputs, source)
    manifest = Manifest(
        name="test",
        synthetic=synthetic,
        created="now",
        target="rk3588",
        toolkit="2.5.0",
        rkface="0.1.0",
        detector=model,
        thresholds=Thresholds(0.5, 0.4, 0.4),
        recognizer=RecognizerSpec(
            "recognizer.rknn",
            "reference/recognizer.onnx",
            "int8",
            face.input,
            (Output("o", (1, face.dimensions)),),
            source,
            face.crop,
        ),
    )
    (folder / "manifest.json").write_text(manifest.to_json())
    lines = [f"{hashlib.sha256((folder / name).read_bytes()).hexdigest()}  {name}\n" for name in files(folder)]
    (folder / SUMS).write_text("".join(lines))
    return folder


@pytest.mark.parametrize("synthetic", [True, False])
def test_a_bundles_detector_and_the_hint_for_a_synthetic_one(detector, shared, photos, tmp_path, capsys, synthetic):  # noqa: PLR0917
    bundle = make_bundle(tmp_path / "bundle", detector, shared / ARCFACE, synthetic)
    assert calibrate(photos, "--out", tmp_path / "set", "--bundle", bundle, "--threshold", "0.99") == 2
    error = capsys.readouterr().err.splitlines()[-1]
    assert "0 usable faces" in error and "left out most often: no face" in error
    assert ("only finds rendered faces" in error) is synthetic
    if not synthetic:
        assert calibrate(photos, "--out", tmp_path / "set", "--bundle", bundle, "--count", 20) == 0
        assert read_set(tmp_path / "set").faces == 20 and "tell people apart" in capsys.readouterr().err


def test_a_recognizer_keeps_one_person_from_filling_the_set(detector, shared, photos, tmp_path, capsys):
    crowd = tmp_path / "crowd"
    shutil.copytree(photos, crowd)
    image = cv2.imread(str(photos / "img13.jpg"))
    rows, columns = (np.linspace(-1, 1, side) for side in image.shape[:2])
    for angle in range(0, 360, 30):  # lit from all sides, half of them mirrored: different photos of one person
        x, y = np.cos(np.radians(angle)), np.sin(np.radians(angle))
        light = 1 + 0.9 * np.tanh(6 * (x * columns[None] + y * rows[:, None]))
        lit = np.clip(image * light[..., None], 0, 255).astype(np.uint8)
        cv2.imwrite(str(crowd / f"again{angle}.png"), lit[:, :: 1 if angle % 60 else -1])
    options = ("--detector", detector, "--count", 20)
    persons = []
    for more in ((), ("--recognizer", shared / ARCFACE)):
        assert calibrate(crowd, "--out", tmp_path / "set", *options, *more) == 0
        record = json.loads((tmp_path / "set/calibration.json").read_text())
        sources = [image["source"] for image in record["recognizer"]["images"]]
        persons.append(sum(name.startswith(("again", "img13", "twin")) for name in sources))
    assert persons[1] <= 2 < persons[0]
    assert "enough faces of this person" in capsys.readouterr().out
