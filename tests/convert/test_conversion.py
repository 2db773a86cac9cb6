"""`rkface convert` from the command line: its results, its errors, and what remains after an interruption."""

import fcntl
import hashlib
import json
import os
import re
import resource
import shlex
import shutil
import signal
import subprocess
from contextlib import closing
from pathlib import Path
from types import SimpleNamespace

import cv2
import numpy as np
import pytest

from rkface.calibration.dataset import LIST, digest_of
from rkface.convert.targets import TARGETS
from rkface.runtime.cli.main import main
from rkface.runtime.core.bundle import read_bundle
from rkface.runtime.core.manifest import ROLES
from rkface.runtime.inference.open_bundle import open_bundle, open_model

from .conftest import ONE_SHAPE, OWN, RKFACE, copy_photos, heed_ctrl_c, rkface
from .report.parsed_page import ParsedPage

DETECTORS = ["detector", "detector-416x256", "detector-256x416", "detector-416x320", "detector-320x416"]

# Between the stages in which Ctrl-C is always tested, the first and the last before the toolkit.
MORE_STAGES = ("calibration set", "FP32 reference") if os.environ.get("RKFACE_SLOW") else ()


def names_in(folder):
    return sorted(path.name for path in folder.iterdir())


def test_every_platform_of_the_toolkit_gets_a_bundle(small_conversion):
    names, folder = small_conversion.names, small_conversion.bundles
    every = [target.name for target in TARGETS.values() if target.int8]
    assert len(every) == 10 and set(names) <= set(every) and len(names) == (10 if "RKFACE_SLOW" in os.environ else 4)
    bundles = json.loads(small_conversion.stdout)["bundles"]
    assert [(one["target"], one["models"][1]["recipe"]) for one in bundles] == [(name, "tuned") for name in names]
    assert names_in(folder) == sorted([*names, "rk3588.work"])
    for name in names:
        manifest = read_bundle(folder / name).manifest
        assert manifest.target == name
        # Weights and ranges are the same: only the way a chip's operators are fused may change the simulator's outputs.
        assert manifest.provenance["parity"]["embedding"]["mean"] > 0.995
    assert small_conversion.stderr.count("tune for INT8") == 2, "each model is tuned once, for all targets"


def test_the_bundle_is_complete_and_describes_itself(converted):
    bundle = read_bundle(converted.bundle, soc="rk3588")
    manifest = bundle.manifest
    assert (
        manifest.synthetic
        and manifest.name == "demo"
        and manifest.provenance["recipes"]["recognizer"]["dtype"] == "w8a8"
    )
    for role in ROLES:
        model = bundle.model(role)
        binary = bundle.path(role).read_bytes()
        assert b'"normalization":"inside"' in binary[:4096] and model.source.sha256.encode() in binary[:4096]
        # Time is spent on landmarks that stay close on other photos.
        precision = "int8+fp16" if role == "detector" else "int8"
        assert len(binary) < model.source.bytes and model.precision == precision
    assert names_in(converted.bundle.parent) == ["bundle", "bundle.work"]
    logs = ["logs"] if (converted.work / "logs").is_dir() else []  # of the toolkit, if it had to run
    assert names_in(converted.work) == ["cache", "calibration", "lock", *logs, "photos"]


def test_golden_vectors_equal_the_outputs_of_the_reference_backend(converted):
    golden, bundle = np.load(converted.bundle / "golden.npz"), read_bundle(converted.bundle)
    assert list(bundle.manifest.models) == [*DETECTORS, "recognizer"]
    for name, model in bundle.manifest.models.items():
        with closing(open_model(bundle, name, "reference")) as backend:
            answers = backend.infer(golden[f"{name}/inputs"])
            for output, answer in zip(model.outputs, answers, strict=True):
                reference, simulator = (golden[f"{name}/{side}/{output.name}"] for side in ("reference", "simulator"))
                # The same library on the same machine: at most rounding differs.
                np.testing.assert_allclose(answer, reference, atol=1e-4)
                assert simulator.shape == reference.shape and not np.array_equal(simulator, reference)


def test_the_detector_of_every_shape_finds_the_faces_of_fp32(converted):
    """The rendered photos are 4:3; one is cut to 16:9, and another to a square, which the main shape fits."""
    figures = json.loads((converted.bundle / "report.json").read_text(encoding="utf-8"))
    shapes = figures["shapes"]
    assert [(one["width"], one["height"]) for one in shapes] == [(416, 256), (256, 416), (416, 320), (320, 416)]
    main = next(one["cost"]["milliseconds"] for one in figures["models"][0]["recipes"] if one["chosen"])
    for one in shapes:
        found = one["detection"]
        assert found["matched"] >= 0.98 * found["faces"] and found["faces"] >= 20 and found["landmark_error"] < 0.02
        share = one["width"] * one["height"] / 416**2
        assert one["milliseconds"] < (share + 0.08) * main, "a smaller shape takes less time"
    html = (converted.bundle / "report.html").read_text(encoding="utf-8")
    assert "416×256" in html and "256×416" in html and re.search(r"  416×256 .*faces matched", converted.stdout)
    photo = cv2.imread(str(next((converted.work / "photos/evaluation").glob("*.jpg"))))
    wide = photo[60:420]  # 640×360
    with open_bundle(converted.bundle, "reference") as pipeline:
        boxes, expected = pipeline.detect(wide).boxes, pipeline.detect(photo).boxes
        fitting = [pipeline._detector._fitting(*one.shape[1::-1]) for one in (photo, wide, photo[:, :480])]
        assert fitting == ["detector-416x320", "detector-416x256", "detector"]
    assert any(np.abs(box + np.float32([0, 60, 0, 60]) - expected[0]).max() < 8 for box in boxes)


def test_the_summary_and_the_next_command_are_correct(converted, tmp_path):
    assert re.search(r"detector +\d.*int8\S* .*faces matched", converted.stdout)
    assert re.search(r"recognizer +\d.*int8 .*cosine", converted.stdout)
    for group in ("in-domain faces", "unlike faces", "augmented faces", "end to end"):
        assert re.search(rf"  {group}: mean 0\.99\d\d, min 0\.\d+ \(\d+\)", converted.stdout), group
    assert "synthetic" in converted.stdout
    photos = converted.work / "photos/evaluation"
    next_step = shlex.split(re.search(r"next: .* detect (.*)$", converted.stdout, re.M)[1])
    done = rkface("detect", *next_step, cwd=converted.bundle.parents[1])
    assert done.returncode == 0 and (converted.bundle.parents[1] / "faces.jpg").is_file()
    same = [photos / f"person-0000-0{shot}.jpg" for shot in (0, 1)]
    for second, verdict in ((same[1], True), (photos / "person-0001-00.jpg", False)):
        answer = rkface("compare", "--bundle", converted.bundle, "--json", same[0], second)
        assert json.loads(answer.stdout)["same"] is verdict


def test_the_report_is_one_file_with_the_figures(converted):
    html = (converted.bundle / "report.html").read_text(encoding="utf-8")
    page = ParsedPage(html)
    assert {address[:5] for address in page.addresses if not address.startswith("#")} == {"data:"}, "all is in the file"
    assert page.sections == page.contents and page.verdict[0] == "good"
    assert not [cell for cell in page.cells if "{" in cell or "0e+00" in cell]
    figures = json.loads((converted.bundle / "report.json").read_text(encoding="utf-8"))
    for value in (figures["parity"]["embedding"]["mean"], figures["parity"]["end_to_end"]["minimum"]):
        assert f"{value:.4f}" in html
    assert html.count("data:image/jpeg") >= 40 and "<svg" in html and "Synthetic" in html
    for role in ROLES:
        assert figures["manifest"][role]["source"]["sha256"] in html
    assert len(figures["parity"]["embedding"]["cosines"]) == figures["parity"]["embedding"]["faces"] >= 100


def test_no_name_of_a_photo_is_printed(converted):
    shown = converted.stderr + converted.stdout.split("next:")[0]
    assert "person-" not in shown


def test_fp16_is_more_accurate_and_larger(converted, tmp_path, rkface_here):
    photos = copy_photos(converted.work / "photos/evaluation", tmp_path / "photos")
    done = rkface_here(
        "convert", *OWN, *ONE_SHAPE, "--no-quantize", "--calibration", photos, "--evaluate", "20", "--out",
        tmp_path / "half",
    )  # fmt: skip
    assert done.returncode == 0, done.stderr
    assert not re.search("int8|calibrat|quantiz", done.stdout, re.IGNORECASE), "nothing is calibrated"
    assert f"rkface evaluate --bundle {tmp_path}/half --people DIR" in done.stdout, "the threshold is a default"
    half, whole = read_bundle(tmp_path / "half"), read_bundle(converted.bundle)
    assert not half.manifest.threshold_measured and whole.manifest.threshold_measured
    assert half.manifest.provenance["inputs"]["recognizer"]["channels"] == "RGB"
    assert half.manifest.recognizer.precision == "fp16" and half.manifest.provenance["calibration"] is None
    # FP16 has 11 bits, so it is much closer than INT8 with 0.99.
    assert half.manifest.provenance["parity"]["embedding"]["minimum"] > 0.999
    assert half.path("recognizer").stat().st_size > whole.path("recognizer").stat().st_size


@pytest.mark.parametrize("stage", ["detector: simplify", *MORE_STAGES, "detector: tune"])
def test_ctrl_c_leaves_the_previous_bundle_and_nothing_else(converted, tmp_path, tmp_path_factory, stage):
    shutil.copytree(converted.bundle, tmp_path / "bundle")
    photos = [copy_photos(converted.work / "photos" / kind, tmp_path_factory.mktemp(kind) / "photos", count)
              for kind, count in (("calibration", 20), ("evaluation", 20))]  # fmt: skip
    command = [*RKFACE, "convert", *OWN, *ONE_SHAPE, "--calibration", photos[0], "--evaluation", photos[1]]
    command += ["--out", tmp_path / "bundle", "--evaluate", "20"]
    with subprocess.Popen(
        command,
        stderr=subprocess.PIPE,
        stdout=subprocess.DEVNULL,
        text=True,
        preexec_fn=heed_ctrl_c,  # noqa: PLW1509
    ) as process:
        for line in process.stderr:
            if line.strip().startswith(stage):
                process.send_signal(signal.SIGINT)
                break
        said = process.stderr.read()
    assert process.returncode == 130 and said.strip().splitlines()[-1].startswith("rkface: interrupted")
    assert "Traceback" not in said
    assert read_bundle(tmp_path / "bundle").manifest == read_bundle(converted.bundle).manifest
    assert names_in(tmp_path) == ["bundle", "bundle.work"]
    running = subprocess.run(["pgrep", "-f", str(tmp_path)], capture_output=True, check=False)
    assert not running.stdout, "the process of the toolkit has ended"


def refused(capsys, *arguments, code=2):
    assert main(["convert", *map(str, arguments)]) == code
    error = capsys.readouterr().err
    lines = [line for line in error.splitlines() if line.startswith("rkface: ")]
    assert len(lines) == 1 and "Traceback" not in error
    return lines[0]


@pytest.mark.parametrize(
    ("arguments", "says"),
    [
        (["--target", "rk3558"], "did you mean rk3588"),
        (["--target", "rk2118"], "aborts when it compiles"),
        (["--pack", "buffalo_l"], "non-commercial research"),
        (["--pack", "buffalo"], "rkface knows demo, open, open-sface, buffalo_l"),
        (OWN, r"--calibration is needed.*would ruin"),
        (OWN[:2], "both --detector and --recognizer"),
        ([*OWN, "--pack", "open", "--calibration", "."], "leave --pack out"),
        (["--detector", "absent.onnx", *OWN[2:], "--calibration", "."], "no such model file"),
        (["--recipe", "hybrid3", "--target", "rk3588,rv1106"], "rv1106 has no floating point"),
        (["--size", "640x350"], "--size 640x350: both sides must be multiples of 32"),
        (["--pairs", "pairs.csv"], "need --calibration"),
        (["--work", "out/inside", "--out", "out"], "is inside the bundle"),
    ],
)
def test_wrong_options_are_refused(capsys, tmp_path, monkeypatch, arguments, says):
    monkeypatch.chdir(tmp_path)
    assert re.search(says, refused(capsys, *arguments, "--cache", tmp_path / "cache"))
    assert not list(tmp_path.iterdir()), "nothing is left"


def test_swapped_models_are_refused(capsys, tmp_path, shared):
    photos = ["--calibration", shared / "data/people", "--out", tmp_path / "out"]
    arc, det = shared / "models/mobilefacenet_128.onnx", shared / "models/scrfd_500m_kps.onnx"
    said = refused(capsys, "--detector", arc, "--recognizer", det, *photos)
    assert "these two are swapped" in said and str(arc) in said and str(det) in said
    said = refused(capsys, "--detector", det, "--recognizer", det, *photos)
    assert f"--recognizer {det} is a detector" in said and "give a face recognizer" in said
    (tmp_path / "text.onnx").write_text("no model")
    assert "not an ONNX model" in refused(capsys, "--detector", det, "--recognizer", tmp_path / "text.onnx", *photos)
    assert not (tmp_path / "out").exists()


def test_a_detector_that_finds_nothing_is_named_as_the_cause(capsys, tmp_path, toolkit):
    walls = tmp_path / "walls"
    walls.mkdir()
    for number in range(10):
        cv2.imwrite(str(walls / f"{number}.png"), np.full((96, 128, 3), 20 * number, np.uint8))
    said = refused(capsys, *OWN, "--calibration", walls, "--out", tmp_path / "out")
    assert "finds no face" in said and "any of its 10 photos" in said and "the detector is the cause" in said


def test_three_faces_are_too_few_to_calibrate(capsys, tmp_path, converted):
    few = tmp_path / "few"
    few.mkdir()
    for shot in range(3):
        shutil.copy(converted.work / f"photos/evaluation/person-000{shot}-00.jpg", few)
    cv2.imwrite(str(few / "wall.png"), np.full((480, 640, 3), 200, np.uint8))
    (few / "broken.jpg").write_bytes(b"\xff\xd8\xff")
    said = refused(capsys, *OWN, "--calibration", few, "--out", tmp_path / "out")
    assert re.search(r"\d usable faces? in 5 photos .*a calibration set needs at least 20", said)
    assert names_in(few) == ["broken.jpg", *(f"person-000{shot}-00.jpg" for shot in range(3)), "wall.png"]
    assert not (tmp_path / "out").exists()


def test_a_folder_that_is_not_a_bundle_is_never_replaced(capsys, tmp_path):
    (tmp_path / "holiday").mkdir()
    (tmp_path / "holiday/beach.jpg").touch()
    assert "is not a bundle" in refused(capsys, "--out", tmp_path / "holiday")
    assert names_in(tmp_path) == ["holiday"] and names_in(tmp_path / "holiday") == ["beach.jpg"]


def test_an_unwritable_folder_or_a_full_disk_is_an_error(capsys, tmp_path, monkeypatch):
    assert "choose another" in refused(capsys, "--out", Path("/proc/rkface/out"), code=1)
    monkeypatch.setattr(shutil, "disk_usage", lambda path: shutil._ntuple_diskusage(10**9, 10**9, 10**6))
    assert "free some space" in refused(capsys, "--out", tmp_path / "out", code=1)
    assert not (tmp_path / "out").exists()


def test_a_disk_that_becomes_full_during_the_conversion(converted, tmp_path):
    def small_files():
        resource.setrlimit(resource.RLIMIT_FSIZE, (500_000, 500_000))

    photos = converted.work / "photos/calibration"
    done = rkface("convert", *OWN, *ONE_SHAPE, "--calibration", photos, "--out", tmp_path / "out",
                  preexec_fn=small_files)  # fmt: skip
    assert done.returncode == 1 and "Traceback" not in done.stderr
    assert done.stderr.splitlines()[-1].startswith("rkface: ") and not (tmp_path / "out").exists()


def test_a_model_below_the_accuracy_bar_is_not_written_unless_accepted(small_conversion, tmp_path, rkface_here):
    command = ["convert", *OWN, *ONE_SHAPE, *small_conversion.photos, "--recipe", "hybrid3",
               "--min-cosine", "0.9999,0.999", "--out", tmp_path / "out"]  # fmt: skip
    done = rkface_here(*command)
    assert done.returncode == 1 and not (tmp_path / "out").exists()
    assert re.search(r"mean cosine 0\.99\d+ \(required: 0\.9999\)", done.stderr.splitlines()[-1])
    done = rkface_here(*command, "--accept")
    assert done.returncode == 0, done.stderr
    assert len(re.findall("from an earlier run", done.stderr)) == 2, "neither model is converted twice"
    manifest = read_bundle(tmp_path / "out").manifest
    assert manifest.recognizer.precision == "int8+fp16" and "required: 0.9999" in manifest.provenance["accepted"]
    assert manifest.provenance["recipes"]["detector"]["trail"] == 3


def test_two_conversions_cannot_use_the_same_work_folder(capsys, tmp_path):
    (tmp_path / "out.work").mkdir()
    with (tmp_path / "out.work/lock").open("w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        assert "another conversion is running" in refused(capsys, "--out", tmp_path / "out")


def test_a_calibration_on_noise_is_refused_with_the_likely_cause(small_conversion, tmp_path, rkface_here):
    shutil.copytree(small_conversion.work / "calibration", ruined := tmp_path / "set")
    shutil.copytree(small_conversion.work / "cache", tmp_path / "bundle.work/cache")  # the detector, as it is
    record = json.loads((ruined / "calibration.json").read_text())
    kept = record["recognizer"]["images"] = record["recognizer"]["images"][:30]  # enough to ruin the ranges
    (ruined / "recognizer" / LIST).write_text("".join(f"{Path(image['file']).name}\n" for image in kept))
    random = np.random.default_rng(5)
    images = [*record["recognizer"]["images"], *record["detector"]["images"]]
    for image in record["recognizer"]["images"]:
        # Gray with a little noise, as behind a lens cap: the ranges cover a few gray levels, and every face is cut off.
        noise = random.integers(120, 136, (112, 112, 3), np.uint8)
        cv2.imwrite(str(ruined / image["file"]), noise)
        image["sha256"] = hashlib.sha256((ruined / image["file"]).read_bytes()).hexdigest()
    record["digest"] = digest_of([SimpleNamespace(**image) for image in images])
    (ruined / "calibration.json").write_text(json.dumps(record))
    out = tmp_path / "bundle"
    done = rkface_here("convert", *OWN, *ONE_SHAPE, *small_conversion.photos, "--calibration", ruined,
                       "--recipe", "fast", "--out", out)  # fmt: skip
    assert done.returncode == 1 and not out.exists()
    assert "Likely cause: the calibration images are not faces" in done.stderr, done.stderr
    assert (tmp_path / "bundle.work/report.html").is_file()
