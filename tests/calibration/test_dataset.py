import dataclasses
import errno
import json
import shutil
from pathlib import Path

import cv2
import numpy as np
import pytest

from rkface.calibration import write_set
from rkface.calibration.contact_sheet import CAPTION, GAP, TITLE
from rkface.calibration.dataset import check_output_folder, read_set
from rkface.runtime.core.errors import InputError, WorkError
from rkface.runtime.vision.image import read_image
from rkface.runtime.vision.letterbox import letterbox


def content(folder):
    return {path.relative_to(folder).as_posix(): path.read_bytes() for path in folder.rglob("*") if path.is_file()}


def test_the_same_input_gives_the_same_bytes(written, tmp_path):
    made, write = written
    again = write(tmp_path / "elsewhere/again")
    assert content(made.folder) == content(again.folder) and made.digest == again.digest
    assert (made.faces, made.frames, made.width, made.height) == (20, 3, 96, 64)
    assert not any(str(tmp_path).encode() in data for data in content(made.folder).values()), "no machine's paths"


def test_images_are_the_crops_and_the_letterboxed_frames(written, tmp_path, make_face):
    made, _ = written
    crops = made.recognizer.read_text().split()
    assert len(crops) == 20
    for seed, name in enumerate(crops):
        np.testing.assert_array_equal(cv2.imread(str(made.recognizer.parent / name)), make_face(seed).crop)
    for seed, name in enumerate(made.detector.read_text().split()):
        frame = letterbox(read_image(tmp_path / f"photos/{seed}.png"), 96, 64).image
        np.testing.assert_array_equal(cv2.imread(str(made.detector.parent / name)), frame)


def test_the_record_has_the_source_of_each_image(written, tmp_path, make_face):
    made, _ = written
    raw = json.loads((made.folder / "calibration.json").read_text())
    first = raw["recognizer"]["images"][0]
    assert first["source"] == "000.png" and first["source_sha256"] == make_face(0).sha256
    assert first["quality"]["score"] == pytest.approx(make_face(0).quality.score, abs=1e-4)
    assert [image["source"] for image in raw["detector"]["images"]] == ["0.png", "1.png", "2.png"]
    assert make_face(5).sha256 in made.sources and len(made.sources) == 23
    assert made.folder.stat().st_mode & 0o777 == 0o700


def test_photos_whose_names_are_not_valid_utf8_are_in_the_record(written, make_face, tmp_path):
    _, write = written
    faces = [dataclasses.replace(make_face(seed), name=f"\udcff{seed}.png") for seed in range(20)]
    made = write(tmp_path / "odd", faces=faces)
    raw = json.loads((made.folder / "calibration.json").read_text(encoding="utf-8"))
    assert made.faces == 20 and raw["recognizer"]["images"][3]["source"] == "?3.png"


def test_another_order_gives_another_digest(written, make_face, tmp_path):
    made, write = written
    swapped = [make_face(seed) for seed in (1, 0, *range(2, 20))]
    assert write(tmp_path / "swapped", faces=swapped).digest != made.digest


def test_contact_sheet_shows_every_face(written, make_face):
    made, _ = written
    sheet = cv2.imread(str(made.folder / "contact.png"))
    for seed in range(20):
        x, y = GAP + seed % 12 * (112 + GAP), TITLE + seed // 12 * (112 + CAPTION + GAP)
        np.testing.assert_array_equal(sheet[y : y + 112, x : x + 112], make_face(seed).crop)


def test_every_changed_byte_is_detected(written):
    made, _ = written
    for name in ("recognizer/0007.png", "detector/0001.png", "recognizer/dataset.txt", "detector/dataset.txt"):
        path = made.folder / name
        whole = path.read_bytes()
        for place in (0, len(whole) // 2, len(whole) - 2):
            path.write_bytes(whole[:place] + bytes([whole[place] ^ 1]) + whole[place + 1 :])
            with pytest.raises(InputError, match="`rkface calibrate` again"):
                read_set(made.folder)
        path.unlink()
        with pytest.raises(InputError, match=r"missing.*`rkface calibrate` again"):
            read_set(made.folder)
        path.write_bytes(whole)
    assert read_set(made.folder) == made


def reorder(raw):
    images = raw["recognizer"]["images"]
    images[0], images[1] = images[1], images[0]


@pytest.mark.parametrize(
    ("change", "says"),
    [
        (lambda raw: raw.update(schema=9), "schema 9, this rkface reads 1"),
        (lambda raw: raw.update(kind="shopping list"), "is not a calibration set"),
        (lambda raw: raw.update(digest="0" * 64), "does not match its own digest"),
        (lambda raw: raw.pop("detector"), "missing or wrong entry"),
        (lambda raw: raw["detector"].update(images=[]), "does not list"),
        (lambda raw: raw["recognizer"]["images"][0].update(file="../x/0000.png"), "outside the set"),
        (reorder, "does not list"),
    ],
)
def test_a_wrong_record_is_refused(written, change, says):
    made, _ = written
    path = made.folder / "calibration.json"
    raw = json.loads(path.read_text())
    change(raw)
    path.write_text(json.dumps(raw))
    with pytest.raises(InputError, match=says):
        read_set(made.folder)


def test_a_folder_without_a_record_and_a_record_that_is_not_json_are_refused(tmp_path, written):
    made, _ = written
    for folder in (tmp_path, tmp_path / "absent"):
        with pytest.raises(InputError, match=r"is not a calibration set: it has no calibration\.json"):
            read_set(folder)
    (made.folder / "calibration.json").write_text("{")
    with pytest.raises(InputError, match="cannot be read as JSON"):
        read_set(made.folder)


def test_an_older_set_is_replaced_even_if_it_is_damaged(written):
    made, write = written
    (made.folder / "recognizer/0003.png").unlink()
    (made.folder / "detector/0009.png").write_bytes(b"left over")
    assert write() == made
    assert len(list(made.folder.rglob("*.png"))) == 20 + 3 + 2
    assert [path.name for path in made.folder.parent.iterdir() if path.name.startswith(".")] == []


def test_a_folder_that_is_not_a_set_is_never_changed(tmp_path, written):
    made, write = written
    foreign = tmp_path / "thesis"
    foreign.mkdir()
    (foreign / "chapter.txt").write_text("years of work")
    with pytest.raises(InputError, match=r"is not a calibration set \(it contains chapter.txt\)"):
        write(foreign)
    (made.folder / "notes.txt").write_text("mine")
    with pytest.raises(InputError, match=r"contains notes\.txt"):
        write()
    with pytest.raises(InputError, match="is a file"):
        write(foreign / "chapter.txt")
    odd = tmp_path / "odd"
    shutil.copytree(made.folder / "recognizer", odd / "recognizer")
    with pytest.raises(InputError, match=r"has no calibration\.json"):
        write(odd)
    assert (foreign / "chapter.txt").read_text() == "years of work" and (made.folder / "notes.txt").exists()
    assert len(list((odd / "recognizer").iterdir())) == 21


def test_a_path_that_cannot_become_a_folder_is_refused(tmp_path):
    (tmp_path / "file").touch()
    with pytest.raises(WorkError, match="choose another"):
        check_output_folder(tmp_path / "file/set")


def vanish(tmp_path, monkeypatch):
    (tmp_path / "photos/2.png").unlink()
    return InputError


def interrupt(tmp_path, monkeypatch):
    def stop(faces, title):
        raise KeyboardInterrupt

    monkeypatch.setattr(write_set, "contact_sheet", stop)
    return KeyboardInterrupt


def fill_disk(tmp_path, monkeypatch):
    write = Path.write_bytes

    def full(path, data):
        if path.name == "0011.png":
            write(path, data[:100])
            raise OSError(errno.ENOSPC, "No space left on device")
        return write(path, data)

    monkeypatch.setattr(Path, "write_bytes", full)
    return WorkError


def swap_fails(tmp_path, monkeypatch):
    rename = Path.rename

    def refuse(path, target):
        if ".new-" in path.name:
            raise OSError(errno.EIO, "Input/output error")
        return rename(path, target)

    monkeypatch.setattr(Path, "rename", refuse)
    # As on a file system that does not support it.
    monkeypatch.setattr("rkface.calibration.atomic_folder._exchange", lambda one, other: False)
    return WorkError


@pytest.mark.parametrize("failure", [vanish, interrupt, fill_disk, swap_fails])
def test_a_failure_leaves_the_previous_set_unchanged(written, tmp_path, monkeypatch, make_face, failure):
    made, write = written
    before = content(made.folder)
    expected = failure(tmp_path, monkeypatch)
    with pytest.raises(expected):
        write(faces=[make_face(seed) for seed in range(30, 55)])
    assert content(made.folder) == before and read_set(made.folder) == made
    with pytest.raises(expected):
        write(tmp_path / "new")
    assert sorted(path.name for path in tmp_path.iterdir()) == ["photos", "set"], "no temporary files are left"


def test_too_few_faces_and_no_frame_are_refused(written, make_face, tmp_path):
    _, write = written
    with pytest.raises(InputError, match="at least 20 faces, but there are only 19"):
        write(tmp_path / "few", faces=[make_face(seed) for seed in range(19)])
    with pytest.raises(InputError, match="at least one photo"):
        write(tmp_path / "few", frames=[])
    assert not (tmp_path / "few").exists()
