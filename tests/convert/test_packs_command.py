"""`rkface packs`: what it says about the packs and the cache, and how little it loads."""

import json
import subprocess
import sys

import pytest

from rkface.convert.packs.known_packs import YUNET
from rkface.convert.packs.pack import DEMO
from rkface.runtime.cli.main import main
from rkface.runtime.core.errors import InputError


def test_the_table_has_a_line_for_each_pack(tmp_path, capsys):
    assert main(["packs", "--cache", str(tmp_path)]) == 0
    lines = capsys.readouterr().out.splitlines()
    assert [line.split()[0] for line in lines[1:7]] == [
        "demo",
        "open",
        "open-sface",
        "buffalo_l",
        "buffalo_m",
        "buffalo_sc",
    ]
    assert "MIT + CC0-1.0" in lines[2] and " yes " in lines[2] and "empty" in lines[2] and "LFW 99.38 %" in lines[2]
    assert "non-commercial research" in lines[4] and " no " in lines[4] and "288.6 MB" in lines[4]


def test_a_named_pack_shows_its_licenses_and_where_to_put_its_files(tmp_path, capsys):
    assert main(["packs", "open", "--cache", str(tmp_path)]) == 0
    text = " ".join(capsys.readouterr().out.split())
    for part in (
        "commercial use allowed",
        YUNET.license.url,
        YUNET.sha256,
        "photos that the author collected",
        *YUNET.download.urls,
        "pip download --no-deps --no-binary :all: face-recognition-models==0.3.0",
        "legal advice",
    ):
        assert part in text
    assert f"or face_recognition_models-0.3.0.tar.gz into {tmp_path}" in text and "buffalo" not in text


def test_a_file_in_the_cache_is_verified(tmp_path, capsys, shared):
    def detector():
        assert main(["packs", "open", "--json", "--cache", str(tmp_path)]) == 0
        (pack,) = json.loads(capsys.readouterr().out)["packs"]
        return pack["models"]["detector"]

    before = detector()
    assert (before["state"], before["verified"]) == ("empty", False)
    (tmp_path / "open").mkdir()
    file = tmp_path / "open" / YUNET.file
    assert before["path"] == str(file)
    file.write_bytes(b"half")
    assert (detector()["state"], detector()["verified"]) == ("another file is there", False)
    file.write_bytes((shared / "models/yunet_s_640_640.onnx").read_bytes())
    assert (detector()["state"], detector()["verified"]) == ("verified", True)


@pytest.mark.parametrize(
    ("arguments", "says"),
    [
        (["--pack", "open"], "--calibration is needed"),
        (["--pack", "buffalo_l"], "accept it with --accept-license"),
        (["--pack", "opn"], "did you mean open?"),
        (["--pack", "open", "--calibration", "missing"], "missing: there is no such folder of photos"),
        (["--pack", "open", "--recognizer-crop", "dlib-150"], "also give --recognizer"),
        (["--pack", "open", "--recognizer-input", "bgr"], "also give --recognizer"),
        (["--pack", "open", "--detector", str(DEMO / "detector.onnx")], "is not a detector of the pack open"),
        (["--detector", str(DEMO / "detector.onnx")], "give both --detector and --recognizer"),
    ],
)
def test_convert_refuses_wrong_use_of_packs_before_it_downloads(arguments, says, tmp_path, capsys):
    photos = [] if "is needed" in says or "--calibration" in arguments else ["--calibration", str(tmp_path)]
    assert main(["convert", *arguments, *photos, "--cache", str(tmp_path / "cache")]) == InputError.exit_code
    assert says in capsys.readouterr().err and not (tmp_path / "cache").exists()


def test_unknown_packs_are_errors(capsys):
    assert main(["packs", "opn"]) == InputError.exit_code
    assert "did you mean open?" in capsys.readouterr().err


@pytest.mark.parametrize("module", ["numpy", "cv2", "onnx", "onnxruntime"])
def test_nothing_heavy_is_loaded(module, tmp_path):
    code = (
        "import sys; from rkface.runtime.cli.main import main; "
        f"main(['packs', '--cache', {str(tmp_path)!r}]); sys.exit({module!r} in sys.modules)"
    )
    assert subprocess.run([sys.executable, "-c", code], capture_output=True, check=False).returncode == 0
