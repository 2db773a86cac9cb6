"""Which labeled pairs are used, and why the others are not."""

from pathlib import Path
from types import SimpleNamespace

import pytest

from rkface.calibration.collect import Collection, Skipped
from rkface.convert.labeled_pairs import COPY_CALIBRATES, SAME_PICTURE, label_pairs, label_people, reasons_left_out
from rkface.runtime.core.errors import InputError


def face(name, size=50):
    return SimpleNamespace(name=name, quality=SimpleNamespace(size=size))


def pairs_file(tmp_path, *rows):
    path = tmp_path / "pairs.csv"
    path.write_text("\n".join(["a,b,same", *rows]))
    return path


def test_pairs_are_counted_by_the_reason_for_which_they_are_left_out(tmp_path):
    every = [face(f"{name}.jpg") for name in "abcde"]
    found = Collection(tmp_path, tuple(every), (), (Skipped("blind.jpg", "no face", ""), Skipped("c.jpg", "small", "")))
    reasons = reasons_left_out(found, ["cal1.jpg", "cal2.jpg"], 3)
    rows = ["a.jpg,b.jpg,Yes", "a.jpg,c.jpg,No", "a.jpg,cal1.jpg,Yes", "cal1.jpg,cal2.jpg,No", "blind.jpg,cal1.jpg,No",
            "blind.jpg,a.jpg,No", "a.jpg,gone.jpg,No", "d.jpg,a.jpg,No"]  # fmt: skip
    labeled, notes = label_pairs(pairs_file(tmp_path, *rows), [*every[:3], face("b.jpg", 90)], reasons)
    assert labeled == ((0, 3, True), (0, 2, False)), "the largest face of each photo"
    (note,) = notes
    assert note.startswith("6 of 8 pairs of ")
    for part in (
        "3 because one of its photos calibrates",
        "1 because one of its photos has no usable face (no face)",
        "1 because one of its photos is not in the folder",
        "1 because there are more than --evaluate 3 faces",
        "`rkface evaluate --pairs`",
    ):
        assert part in note


def test_all_pairs_in_use_need_no_remark(tmp_path):
    file = pairs_file(tmp_path, "a.jpg,b.jpg,Yes", "a.jpg,c.jpg,No")
    assert label_pairs(file, [face(f"{name}.jpg") for name in "abc"], {})[1] == ()


def test_pairs_of_one_kind_are_refused_with_the_reasons(tmp_path):
    file = pairs_file(tmp_path, "a.jpg,b.jpg,Yes", "a.jpg,cal.jpg,No")
    reasons = reasons_left_out(Collection(tmp_path, (), (), ()), ["cal.jpg"], 100)
    with pytest.raises(
        InputError,
        match=r"1 of its 2 pairs .*no pair of two people.*\(1 because one of its photos calibrates\).* --evaluation",
    ):
        label_pairs(file, [face("a.jpg"), face("b.jpg")], reasons)


def test_photos_in_which_nobody_is_clearly_meant_are_left_out_with_the_reason(tmp_path):
    every = [face(f"{name}.jpg") for name in "abcd"]
    found = Collection(tmp_path, tuple(every), (), (), (Skipped("c.jpg", "several large faces", "2 faces"),))
    file = pairs_file(tmp_path, "a.jpg,b.jpg,Yes", "a.jpg,d.jpg,No", "a.jpg,c.jpg,No")
    labeled, (note,) = label_pairs(file, every, reasons_left_out(found, [], 100), {"c.jpg"})
    assert labeled == ((0, 1, True), (0, 3, False))
    assert "1 of 3 pairs" in note and "cannot be judged (several large faces)" in note


def test_a_file_with_labels_of_one_kind_is_refused_with_that_cause(tmp_path):
    file = pairs_file(tmp_path, "a.jpg,b.jpg,Yes", "a.jpg,cal.jpg,Yes")
    with pytest.raises(InputError, match=r"every pair in .*\(2\) is labeled as one person, but pairs of two people"):
        label_pairs(file, [face("a.jpg"), face("b.jpg")], {"cal.jpg": "one of its photos calibrates"})


def test_labels_that_contradict_each_other_are_refused(tmp_path):
    file = pairs_file(tmp_path, "a.jpg,b.jpg,Yes", "b.jpg,c.jpg,Yes", "a.jpg,c.jpg,No")
    with pytest.raises(InputError, match="other pairs say that they show one person: correct the wrong label"):
        label_pairs(file, [face(f"{name}.jpg") for name in "abc"], {})


def test_folders_of_people_give_all_pairs_of_the_largest_faces():
    faces = [face("ada/1.jpg", 20), face("ada/1.jpg", 50), face("ada/2.jpg"), face("bob/1.jpg"), face("bob/2.jpg"),
             face("wall.jpg")]  # fmt: skip
    labeled = label_people(Path("photos"), faces, {"bob/2.jpg"})
    assert labeled == ((1, 2, True), (1, 3, False), (2, 3, False))


@pytest.mark.parametrize(
    ("names", "says"),
    [
        (["ada/1.jpg", "ada/2.jpg", "wall.jpg"], "2 of its .* 1 people, so that there is no pair of two people"),
        (["ada/1.jpg", "bob/1.jpg"], "2 of its photos can be used .* 2 people, so that there is no pair of one person"),
        (["ada/1.jpg", "ada/2.jpg", "bob/unclear.jpg"], "2 of its .* 1 people, so that there is no pair of two people"),
        (["1.jpg", "2.jpg"], "0 of its .* 0 people, so that there is no pair of one person"),
    ],
)
def test_folders_without_pairs_of_both_kinds_are_refused(names, says):
    with pytest.raises(InputError, match=says):
        label_people(Path("photos"), [face(name) for name in names], {"bob/unclear.jpg"})


def test_a_copy_is_judged_by_the_face_that_was_kept_and_no_picture_counts_twice(tmp_path):
    kept = [face("a.jpg"), face("b.jpg"), face("c.jpg"), face("group.jpg", 20)]
    others = [
        (face("copy-of-a.jpg"), 0),
        (face("copy-of-calibration.jpg"), None),
        (face("group.jpg", 60), None),  # the face that the label means is a copy of one that calibrates
    ]
    reasons = {"copy-of-calibration.jpg": COPY_CALIBRATES, "group.jpg": COPY_CALIBRATES}
    rows = ["copy-of-a.jpg,b.jpg,Yes", "a.jpg,c.jpg,No", "a.jpg,b.jpg,Yes", "a.jpg,copy-of-a.jpg,Yes",
            "copy-of-calibration.jpg,a.jpg,No", "group.jpg,a.jpg,No"]  # fmt: skip
    labeled, (note,) = label_pairs(pairs_file(tmp_path, *rows), kept, reasons, (), others)
    assert labeled == ((0, 1, True), (0, 2, False))
    assert f"2 because {SAME_PICTURE}" in note and f"2 because {COPY_CALIBRATES}" in note
