"""rkface detect, embed, compare and verify as a person or a program uses them."""

import json
import os
import resource
import struct
import subprocess
import sys
import zlib
from hashlib import sha256

import cv2
import numpy as np
import pytest

from rkface.runtime.cli.main import main
from rkface.runtime.core.bundle import SUMS, files

LANDMARKS = np.array([[0.3, 0.35], [0.7, 0.35], [0.5, 0.55], [0.35, 0.75], [0.65, 0.75]])
# The headers of a JPEG that claim 20,000×20,000 gray pixels, without data.
HUGE = (
    b"\xff\xd8\xff\xc0\x00\x0b\x08" + struct.pack(">HH", 20_000, 20_000) + b"\x01\x01\x11\x00"
    b"\xff\xda\x00\x08\x01\x01\x00\x00\x3f\x00\x00\xff\xd9"
)


@pytest.fixture
def rkface(capsys):
    """Runs a command: exit code, stdout, stderr."""

    def run(*arguments):
        try:
            code = main([str(argument) for argument in arguments])
        except SystemExit as exit:  # argparse
            code = exit.code
        out, err = capsys.readouterr()
        return code, out, err

    return run


@pytest.fixture
def refused(rkface):
    """Runs a command that must fail: nothing on stdout, one line on stderr, which is returned."""

    def run(*arguments, code=2):
        got, out, err = rkface(*arguments)
        assert (got, out) == (code, ""), err
        assert err.startswith("rkface: ") and err.count("\n") == 1, err
        return err

    return run


def box(column, row):
    return [64 * column, 64 * row, 64 * column + 64, 64 * row + 64]


def lines(out):
    return [json.loads(line) for line in out.splitlines()]


def with_orientation(png, orientation):
    """``png`` with an eXIf chunk behind IHDR, as PNG (third edition) and TIFF 6.0 describe it."""
    body = b"eXIf" + b"MM\0*" + struct.pack(">IHHHIHHI", 8, 1, 0x112, 3, 1, orientation, 0, 0)
    chunk = struct.pack(">I", len(body) - 4) + body + struct.pack(">I", zlib.crc32(body))
    return png[:33] + chunk + png[33:]


# What is printed


def test_detect_prints_one_json_object_a_line_best_score_first(rkface, bundle, photo):
    two = photo("two.png", (1, 2, 0, 235), (7, 5, 1, 255))
    none = photo("none.png")
    code, out, err = rkface("detect", "--bundle", bundle, "--json", two, none)
    assert (code, err) == (0, "")
    first, second = lines(out)
    assert second == {"image": str(none), "width": 640, "height": 512, "faces": [], "backend": "reference"}
    assert list(first) == ["image", "width", "height", "faces", "backend"]
    assert [list(face) for face in first["faces"]] == [["box", "score", "landmarks"]] * 2
    assert [face["box"] for face in first["faces"]] == [box(7, 5), box(1, 2)]
    scores = [face["score"] for face in first["faces"]]
    assert 1 >= scores[0] > scores[1] >= 0.5
    np.testing.assert_allclose(first["faces"][1]["landmarks"], (LANDMARKS + np.array([1, 2])) * 64, atol=1e-3)


def test_threshold_is_the_bundles_unless_given(rkface, bundle, photo):
    path = photo("two.png", (1, 2, 0, 225), (7, 5, 1, 255))
    surest, doubtful = lines(rkface("detect", "--bundle", bundle, "--json", path)[1])[0]["faces"]
    between = (surest["score"] + doubtful["score"]) / 2
    _, out, _ = rkface("detect", "--bundle", bundle, "--json", "--threshold", between, path)
    assert lines(out)[0]["faces"] == [surest]


def test_coordinates_are_those_of_the_turned_photo(rkface, bundle, photo, tmp_path):
    upright = photo("upright.png", (1, 2), (7, 5))
    code, out, _ = rkface("detect", "--bundle", bundle, "--json", upright)
    expected = lines(out)[0]
    # Orientation 6: stored on its left side, to be shown turned 90° clockwise.
    stored = cv2.rotate(cv2.imread(str(upright)), cv2.ROTATE_90_COUNTERCLOCKWISE)
    turned = tmp_path / "turned.png"
    turned.write_bytes(with_orientation(cv2.imencode(".png", stored)[1].tobytes(), 6))
    code, out, _ = rkface("detect", "--bundle", bundle, "--json", turned)
    assert code == 0 and lines(out)[0] == {**expected, "image": str(turned)}


def test_embed_adds_unit_embeddings_that_distinguish_people(rkface, bundle, photo):
    path = photo("three.png", (1, 1, 0), (4, 1, 1), (7, 1, 0, 250))
    code, out, err = rkface("embed", "--bundle", bundle, "--json", path)
    faces = lines(out)[0]["faces"]
    assert (code, err) == (0, "")
    assert [list(face) for face in faces] == [["box", "score", "landmarks", "embedding"]] * 3
    by_column = {face["box"][0] // 64: np.array(face["embedding"]) for face in faces}
    for vector in by_column.values():
        assert vector.shape == (8,) and np.linalg.norm(vector) == pytest.approx(1, abs=1e-6)
    assert by_column[1] @ by_column[7] > 0.99
    assert by_column[1] @ by_column[4] < 0.2


def test_embed_without_a_face_fails_but_answers(rkface, bundle, photo):
    none, some = photo("none.png"), photo("some.png", (3, 3))
    code, out, err = rkface("embed", "--bundle", bundle, "--json", none, some)
    assert code == 1
    assert err == f"rkface: {none}: no face found, so there is nothing to embed\n2 photos, 1 failed\n"
    assert [len(said["faces"]) for said in lines(out)] == [0, 1]


def test_people_read_lines(rkface, bundle, photo):
    path, none = photo("two.png", (1, 2, 0, 235), (7, 5)), photo("none.png")
    _, out, _ = rkface("detect", "--bundle", bundle, path, none)
    head, first, second, last = out.splitlines()
    assert head == f"{path}: 2 faces in 640×512" and last == f"{none}: no face"
    assert first.startswith("  1: score 0.99") and first.endswith("64×64 px at (448, 320)")
    assert second.endswith("64×64 px at (64, 128)")
    _, out, _ = rkface("embed", "--bundle", bundle, photo("one.png", (0, 0)))
    assert "1 face in" in out and "embedding of 8 numbers" in out


def test_compare_takes_the_largest_faces_and_the_bundles_threshold(rkface, bundle, photo):
    ada, visitor, other = photo("ada.png", (1, 1, 0)), photo("visitor.png", (6, 4, 0)), photo("other.png", (6, 4, 1))
    code, out, err = rkface("compare", "--bundle", bundle, "--json", ada, visitor)
    said = json.loads(out)
    assert (code, err) == (0, "")
    assert list(said) == ["a", "b", "cosine", "threshold", "same"]
    assert (said["a"], said["b"], said["threshold"], said["same"]) == (str(ada), str(visitor), 0.6, True)
    assert said["cosine"] > 0.99
    code, out, _ = rkface("compare", "--bundle", bundle, ada, other)
    assert code == 0 and out.startswith("different: cosine ") and out.endswith("threshold 0.6000\n")
    assert rkface("compare", "--bundle", bundle, ada, visitor)[1].startswith("same: cosine ")


def test_compare_without_a_face_names_the_photo(refused, bundle, photo):
    none = photo("none.png")
    assert f"{none}: no face found" in refused("compare", "--bundle", bundle, photo("ada.png", (1, 1)), none)


def test_verify_says_what_is_in_the_bundle(rkface, bundle):
    code, out, err = rkface("verify", bundle, "--soc", "rk3588")
    assert (code, err) == (0, "")
    assert "tiny (synthetic) for rk3588" in out and "detector   int8, 320×256" in out


def test_verify_as_json(rkface, bundle):
    code, out, err = rkface("verify", bundle, "--json")
    said = json.loads(out)
    assert (code, err, said["target"], said["synthetic"]) == (0, "", "rk3588", True)
    assert [(model["role"], model["width"], model["height"]) for model in said["models"]] == [
        ("detector", 320, 256),
        ("recognizer", 112, 112),
    ]


@pytest.mark.parametrize("command", ["detect", "embed", "compare", "verify"])
def test_help_shows_examples(rkface, command):
    code, out, _ = rkface(command, "--help")
    assert code == 0 and "examples:" in out and f"rkface {command} " in out


def test_real_weights_find_and_tell_real_people(rkface, real_bundle, shared):
    people = shared / "data/people"
    code, out, _ = rkface("embed", "--bundle", real_bundle, "--json", people / "img1.jpg")
    [said] = lines(out)
    assert code == 0 and len(said["faces"]) == 1 and len(said["faces"][0]["embedding"]) == 128
    # master.csv: img1 and img2 are one person, img1 and img12 are two.
    for name, same in (("img2.jpg", True), ("img12.jpg", False)):
        _, out, _ = rkface("compare", "--bundle", real_bundle, "--json", people / "img1.jpg", people / name)
        assert json.loads(out)["same"] is same


# What is drawn


def is_drawn(path, column, row):
    """The outline of the face in the cell is painted in the color of boxes."""
    image = cv2.imread(str(path))
    line = image[row * 64 + 32, column * 64 - 2 : column * 64 + 3].astype(int)
    return image.shape == (512, 640, 3) and np.abs(line - (96, 220, 60)).max(axis=1).min() < 60


def test_one_photo_is_drawn_into_a_file_readable_as_the_umask_says(rkface, bundle, photo, tmp_path):
    path, target = photo("one.png", (3, 4)), tmp_path / "out.jpg"
    before = os.umask(0o022)
    try:
        assert rkface("detect", "--bundle", bundle, path, "--draw", target)[0] == 0
    finally:
        os.umask(before)
    assert is_drawn(target, 3, 4) and not is_drawn(path, 3, 4)
    assert target.stat().st_mode & 0o777 == 0o644


def test_several_photos_are_drawn_into_a_folder_and_none_replaces_another(rkface, bundle, photo, tmp_path):
    folder = tmp_path / "drawn"
    folder.mkdir()
    photos = [photo("a/ada.png", (3, 4)), photo("b/ada.png", (6, 2)), photo("ada-2.png", (1, 1))]
    assert rkface("detect", "--bundle", bundle, *photos, "--draw", folder)[0] == 0
    assert {path.name for path in folder.iterdir()} == {"ada.jpg", "ada-2.jpg", "ada-2-2.jpg"}
    assert is_drawn(folder / "ada.jpg", 3, 4) and is_drawn(folder / "ada-2.jpg", 6, 2)
    assert is_drawn(folder / "ada-2-2.jpg", 1, 1)


def test_compare_draws_both(rkface, bundle, photo, tmp_path):
    target = tmp_path / "pair.png"
    a, b = photo("a.png", (1, 1)), photo("b.png", (2, 2))
    assert rkface("compare", "--bundle", bundle, a, b, "--draw", target)[0] == 0
    assert cv2.imread(str(target)).shape == (480, 1200, 3)


def test_a_drawing_never_overwrites_a_photo(refused, bundle, photo, tmp_path):
    path = photo("ada.jpg", (3, 4))
    whole = path.read_bytes()
    assert "overwrite" in refused("detect", "--bundle", bundle, path, "--draw", path)
    assert "overwrite" in refused("detect", "--bundle", bundle, path, "--draw", tmp_path)
    detour = tmp_path / "." / "own" / ".." / "ada.jpg"
    (tmp_path / "own").mkdir()
    assert "overwrite" in refused("compare", "--bundle", bundle, path, path, "--draw", detour)
    assert path.read_bytes() == whole


@pytest.mark.parametrize(
    ("target", "says"),
    [("faces.txt", r".jpg or .png"), ("absent/faces.jpg", "no folder"), ("one.png/faces.jpg", "no folder")],
)
def test_an_impossible_place_for_a_drawing_is_refused_before_any_work(refused, bundle, photo, target, says):
    path = photo("one.png", (3, 4))
    tmp_path = path.parent
    before = sorted(tmp_path.rglob("*"))
    for command in (["detect", path], ["embed", path], ["compare", path, path]):
        assert says in refused(*command, "--bundle", bundle, "--draw", tmp_path / target)
    assert sorted(tmp_path.rglob("*")) == before


def test_several_photos_need_a_folder_to_be_drawn_into(refused, bundle, photo, tmp_path):
    a, b = photo("a.png", (1, 1)), photo("b.png", (2, 2))
    for target, says in (("out.jpg", "must be a folder"), ("a.png", "must be a folder"), ("absent/out", "no folder")):
        assert says in refused("detect", "--bundle", bundle, a, b, "--draw", tmp_path / target)


def test_the_folder_for_drawings_is_created(rkface, bundle, photo, tmp_path):
    photos = [photo("a.png", (3, 4)), photo("b.png", (6, 2))]
    assert rkface("detect", "--bundle", bundle, *photos, "--draw", tmp_path / "drawn")[0] == 0
    assert is_drawn(tmp_path / "drawn/a.jpg", 3, 4) and is_drawn(tmp_path / "drawn/b.jpg", 6, 2)


def test_a_disk_that_fills_up_leaves_nothing_half_drawn(bundle, photo, tmp_path):
    # A limit on file size stands in for the full disk: the write stops in the middle, for root too.
    path, folder = photo("one.png", (3, 4)), tmp_path / "drawn"
    folder.mkdir()
    (folder / "one.jpg").write_bytes(b"the last good one")
    done = subprocess.run(
        [sys.executable, "-m", "rkface.runtime.cli.main", "detect", "--bundle", bundle, path, "--draw", folder],
        capture_output=True,
        text=True,
        check=False,
        preexec_fn=lambda: resource.setrlimit(resource.RLIMIT_FSIZE, (2000, 2000)),
    )
    assert done.returncode == 1
    advice = "choose another place"
    assert done.stderr == f"rkface: {folder / 'one.jpg'}: cannot be written: File too large: {advice}\n"
    assert [(file.name, file.read_bytes()) for file in folder.iterdir()] == [("one.jpg", b"the last good one")]


@pytest.mark.skipif(os.geteuid() == 0, reason="root may write anywhere")
def test_a_read_only_folder_is_failed_work(rkface, bundle, photo, tmp_path):
    path, folder = photo("one.png", (3, 4)), tmp_path / "drawn"
    folder.mkdir(mode=0o555)
    code, _, err = rkface("detect", "--bundle", bundle, path, "--draw", folder)
    advice = "choose another place"
    assert (code, err) == (1, f"rkface: {folder / 'one.jpg'}: cannot be written: Permission denied: {advice}\n")


@pytest.mark.skipif(not os.path.exists("/dev/full"), reason="no /dev/full")  # noqa: PTH110
def test_output_into_a_full_disk_is_one_line(bundle, photo):
    path = photo("one.png", (3, 4))
    with open("/dev/full", "w") as full:  # noqa: PTH123
        done = subprocess.run(
            [sys.executable, "-m", "rkface.runtime.cli.main", "detect", "--bundle", bundle, "--json", path],
            stdout=full,
            stderr=subprocess.PIPE,
            text=True,
            check=False,
        )
    assert (done.returncode, done.stderr) == (1, "rkface: No space left on device: free some space\n")


# What is refused


@pytest.mark.parametrize(
    ("name", "content", "says"),
    [
        ("absent.jpg", None, "No such file"),
        ("empty.jpg", b"", "empty"),
        ("notes.jpg", b"just text, no photo", "not a JPEG, PNG, WebP or BMP"),
        ("cut.png", "half", "truncated"),
        ("huge.jpg", HUGE, "20000×20000"),
    ],
    ids=["missing", "empty", "text", "truncated", "huge"],
)
def test_a_bad_photo_is_refused_in_one_line(refused, bundle, photo, name, content, says):  # noqa: PLR0917
    good = photo("good.png", (3, 4))
    path = good.with_name(name)
    if content is not None:
        path.write_bytes(good.read_bytes()[:700] if content == "half" else content)
    for command in (["detect", path], ["embed", path], ["compare", good, path], ["compare", path, good]):
        message = refused(*command, "--bundle", bundle)
        assert says in message and str(path) in message


def test_a_bad_photo_does_not_stop_the_others(rkface, bundle, photo, tmp_path):
    a, b, absent = photo("a.png", (3, 4)), photo("b.png", (1, 1)), tmp_path / "absent.png"
    code, out, err = rkface("detect", "--bundle", bundle, "--json", a, absent, b)
    assert (code, err) == (1, f"rkface: {absent}: cannot be read: No such file or directory\n3 photos, 1 failed\n")
    assert [said["image"] for said in lines(out)] == [str(a), str(b)]


# Folders


@pytest.fixture
def album(photo, tmp_path):
    """A folder with two good photos in it and below, a damaged one, and files that are not photos of it."""
    photo("album/b.png", (3, 4))
    photo("album/2019/a.png", (6, 2), (1, 1))
    photo("album/.trash/hidden.png", (1, 1))
    (tmp_path / "album/notes.txt").write_text("not a photo")
    (tmp_path / "album/c.jpg").write_bytes(b"damaged")
    return tmp_path / "album"


@pytest.mark.parametrize("command", ["detect", "embed"])
def test_a_folder_stands_for_its_photos_sorted_and_a_damaged_one_is_named(rkface, bundle, album, command):
    code, out, err = rkface(command, "--bundle", bundle, "--json", album)
    assert [said["image"] for said in lines(out)] == [str(album / "2019/a.png"), str(album / "b.png")]
    assert code == 1 and err.startswith(f"rkface: {album / 'c.jpg'}: ") and err.endswith("\n3 photos, 1 failed\n")
    assert err.count("\n") == 2, "files that are not photos are not mentioned"


def test_the_photos_of_a_folder_are_drawn_into_a_folder(rkface, bundle, album, tmp_path):
    (album / "c.jpg").unlink()
    assert rkface("detect", "--bundle", bundle, album, "--draw", tmp_path / "drawn")[0] == 0
    assert is_drawn(tmp_path / "drawn/a.jpg", 6, 2) and is_drawn(tmp_path / "drawn/b.jpg", 3, 4)


def test_drawings_never_overwrite_a_photo_of_the_folder(refused, bundle, tmp_path):
    (tmp_path / "album").mkdir()
    (tmp_path / "album/ada.jpg").write_bytes(b"the only copy")
    assert "overwrite" in refused("detect", "--bundle", bundle, tmp_path / "album", "--draw", tmp_path / "album")
    assert (tmp_path / "album/ada.jpg").read_bytes() == b"the only copy"


def test_a_folder_without_photos_is_refused(refused, bundle, tmp_path):
    (tmp_path / "empty").mkdir()
    assert f"{tmp_path / 'empty'}: no photos" in refused("detect", "--bundle", bundle, tmp_path / "empty")


def test_compare_needs_two_photos_not_folders(refused, bundle, photo, tmp_path):
    assert "is a folder, not a file" in refused("compare", "--bundle", bundle, photo("ada.png", (1, 1)), tmp_path)


def spoil_byte(folder):
    path = folder / "reference/detector.onnx"
    data = bytearray(path.read_bytes())
    data[len(data) // 2] ^= 1
    path.write_bytes(data)


def spoil_schema(folder):
    manifest = json.loads((folder / "manifest.json").read_text())
    (folder / "manifest.json").write_text(json.dumps({**manifest, "schema": 3}))


def spoil_model(folder):
    """The checksums are right, but the file is not ONNX."""
    (folder / "reference/detector.onnx").write_bytes(b"no model")
    sums = (folder / SUMS).read_text().splitlines()
    kept = [line for line in sums if not line.endswith("detector.onnx")]
    (folder / SUMS).write_text("\n".join([*kept, f"{sha256(b'no model').hexdigest()}  reference/detector.onnx"]) + "\n")


@pytest.mark.parametrize(
    ("spoil", "says"),
    [
        (spoil_byte, "detector.onnx was changed or damaged"),
        (spoil_schema, "schema 3, this rkface reads 1 to 2"),
        (spoil_model, "ONNX Runtime cannot load this model"),
        (lambda folder: (folder / "manifest.json").unlink(), "is not a bundle"),
        (lambda folder: (folder / "detector.rknn").unlink(), "detector.rknn is missing"),
    ],
)
def test_a_spoiled_bundle_is_refused_by_every_command(refused, own_bundle, photo, spoil, says):
    path = photo("good.png", (3, 4))
    spoil(own_bundle)
    for command in (["detect", path], ["embed", path], ["compare", path, path]):
        assert says in refused(*command, "--bundle", own_bundle)
    if spoil is not spoil_model:  # verify compares bytes; it does not load them
        assert says in refused("verify", own_bundle)


def test_another_chip_is_refused(refused, bundle):
    assert "made for rk3588, this is rk3566" in refused("verify", bundle, "--soc", "rk3566")


def test_unknown_bundle_backend_and_provider(refused, bundle, photo, tmp_path):
    path = photo("good.png", (3, 4))
    assert "no such bundle" in refused("detect", "--bundle", tmp_path / "absent", path)
    assert "no backend 'tpu'" in refused("detect", "--bundle", bundle, "--backend", "tpu", path)
    assert "has no abacus" in refused("detect", "--bundle", bundle, "--provider", "abacus", path)


@pytest.mark.parametrize("threshold", ["1.5", "-0.1", "nan", "high"])
def test_thresholds_outside_0_to_1_are_refused(rkface, bundle, photo, threshold):
    code, out, err = rkface("detect", "--bundle", bundle, f"--threshold={threshold}", photo("good.png"))
    assert (code, out) == (2, "") and "must be a number from 0 to 1" in err


def test_a_file_name_with_invalid_utf8_can_be_read_back_from_the_json(bundle, photo, tmp_path):
    path = os.fsencode(tmp_path) + b"/f\xff\xc3\xbcr.png"
    photo("plain.png", (3, 4)).rename(os.fsdecode(path))
    done = subprocess.run(
        [sys.executable, "-m", "rkface.runtime.cli.main", "detect", "--bundle", str(bundle), "--json", path],
        capture_output=True,
        check=False,
        env={**os.environ, "PYTHONUTF8": "1"},
    )
    assert (done.returncode, done.stderr) == (0, b"")
    assert os.fsencode(json.loads(done.stdout.decode("utf-8"))["image"]) == path


@pytest.mark.parametrize("command", ["detect", "embed", "compare"])
def test_a_file_name_cannot_command_the_terminal(rkface, bundle, photo, tmp_path, command):
    folder = tmp_path / "hostile"
    folder.mkdir()
    good = photo("two.png", (1, 2, 0, 235), (7, 5, 1, 255)).rename(folder / "c\x1b]0;x\x07\u202e.png")
    (folder / "a\nb\x1b[31m.jpg").write_bytes(b"")
    _, out, err = rkface(command, "--bundle", bundle, *([good, good] if command == "compare" else [folder]))
    assert "c?]0;x??.png" in out + err
    assert command == "compare" or "b?[31m.jpg: the file is empty" in err
    assert not set("\x1b\x07\u202e") & set(out + err)


def test_commands_leave_the_bundle_as_it_was(rkface, own_bundle, photo):
    before = {name: (own_bundle / name).read_bytes() for name in files(own_bundle)}
    rkface("embed", "--bundle", own_bundle, photo("good.png", (3, 4)))
    assert {name: (own_bundle / name).read_bytes() for name in files(own_bundle)} == before
