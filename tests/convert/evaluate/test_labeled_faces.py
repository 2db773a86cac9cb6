"""The pairs of labeled photos, and inputs that are refused."""

import pickle
import shutil

import cv2
import numpy as np
import pytest

from rkface.convert.demo.render import EVALUATE, write_photos
from rkface.convert.evaluate import labeled_faces
from rkface.convert.evaluate.face_pairs import face_embeddings, pair_cosines, recognizer_inputs
from rkface.convert.evaluate.labeled_faces import (
    all_pairs,
    from_bin,
    from_pairs,
    from_people,
)
from rkface.convert.evaluate.labeled_photos import LabeledFaceFinder
from rkface.convert.packs.pack import DEMO
from rkface.runtime.backends.reference import open_reference
from rkface.runtime.core.crop_template import ARCFACE_112, TEMPLATES
from rkface.runtime.core.errors import InputError
from rkface.runtime.core.manifest import Input
from rkface.runtime.vision.align import align
from rkface.runtime.vision.bare_onnx import open_detector
from rkface.runtime.vision.detect import Detector
from rkface.runtime.vision.embed import MEAN, STD
from rkface.runtime.vision.image import read_image
from rkface.runtime.vision.photo import turn_image


@pytest.fixture(scope="module")
def finder():
    backend, input, outputs = open_detector(DEMO / "detector.onnx")
    return LabeledFaceFinder(Detector(backend, input, outputs), 0.5, ARCFACE_112, one_look=True)  # rendered upright


@pytest.fixture(scope="module")
def rendered(tmp_path_factory):
    """Four rendered people, two photos each: person-0000-00.jpg and so on."""
    folder = tmp_path_factory.mktemp("rendered")
    write_photos(folder, EVALUATE[:4], 2, seed=0)
    return folder


@pytest.fixture
def people(rendered, tmp_path):
    """The same photos in a folder for each person, which a test may change."""
    folder = tmp_path / "people"
    for photo in rendered.glob("*.jpg"):
        target = folder / photo.name[:11] / photo.name
        target.parent.mkdir(parents=True, exist_ok=True)
        shutil.copy(photo, target)
    return folder


def wall(path, gray=190):
    cv2.imwrite(str(path), np.full((320, 320, 3), gray, np.uint8))


def test_folders_of_people_give_all_pairs(people, finder):
    found = from_people(people, finder)
    assert (found.photos, len(found.crops), found.faceless, found.unreadable) == (8, 8, 0, 0)
    assert len(found.first) == 28 and found.same.sum() == 4 and len(found.digests) == 8
    assert not found.mirrored and not found.ordered


def test_photos_without_a_face_are_counted(people, finder):
    wall(people / "person-0000/wall.png")
    (people / "person-0001/broken.jpg").write_bytes(b"\xff\xd8\xff")
    wall(people / "outside.png")
    found = from_people(people, finder)
    assert (found.photos, len(found.crops), found.faceless, found.unreadable) == (10, 8, 1, 1)
    assert any("1 photos are not in a person" in note for note in found.notes)


def test_real_photos_are_turned_close_ups_are_found_and_unclear_ones_are_counted(shared, tmp_path):
    photos = shared / "data/people"
    detector = Detector(*open_detector(shared / "models/scrfd_500m_kps.onnx"))
    first, second = (read_image(photos / name) for name in ("img1.jpg", "img16.jpg"))
    for person, image in (("a", first), ("b", second)):
        (tmp_path / person).mkdir()
        cv2.imwrite(str(tmp_path / person / "0.png"), image)
    for turn in (90, 180, 270):
        cv2.imwrite(str(tmp_path / f"a/{turn}.png"), turn_image(first, turn))
    faces = detector.detect(second)
    x1, y1, x2, y2 = np.maximum(faces.boxes[faces.largest()], 0).astype(int)
    cv2.imwrite(str(tmp_path / "b/close.png"), second[y1:y2, x1:x2])
    shutil.copy(photos / "couple.jpg", tmp_path / "b")
    found = from_people(tmp_path, LabeledFaceFinder(detector, 0.5, ARCFACE_112))
    assert (found.photos, len(found.crops), found.unclear, found.faceless) == (7, 6, 1, 0)
    assert found.people.tolist() == [0, 0, 0, 0, 1, 1]
    for note in ("turned the right way up: 3", "second look, close up: 1", "not clear who is meant (crop them): 1"):
        assert any(one.endswith(note) for one in found.notes)
    for crop in found.crops[1:4]:
        assert abs(crop.astype(int) - found.crops[0]).mean() < 10, "the same face, upright"
    for image, crop in ((first, found.crops[0]), (second, found.crops[4])):
        faces = detector.detect(image, 0.5)
        np.testing.assert_array_equal(crop, align(image, faces.landmarks[faces.largest()])[..., ::-1])


def test_a_photo_with_two_faces_of_nearly_one_size_is_left_out_and_counted(people, finder):
    plain = from_people(people, finder)
    other = cv2.imread(str(people / "person-0001/person-0001-01.jpg"))
    cv2.imwrite(str(people / "person-0001/both.png"), np.hstack([other, other[:, ::-1]]))
    found = from_people(people, finder)
    assert (found.photos, len(found.crops), found.unclear, found.faceless) == (9, 8, 1, 0)
    assert any("not clear who is meant (crop them): 1" in note for note in found.notes)
    np.testing.assert_array_equal(plain.crops, found.crops)


def test_copies_of_a_photo_count_as_one(people, finder):
    plain = from_people(people, finder)
    shutil.copy(people / "person-0000/person-0000-01.jpg", people / "person-0000/again.jpg")
    found = from_people(people, finder)
    assert (found.photos, len(found.first), found.same.sum()) == (8, 28, 4)
    assert found.notes[0] == "1 photos are copies of others, and count as one with them"
    assert sorted(map(bytes, found.crops)) == sorted(map(bytes, plain.crops))
    shutil.copy(people / "person-0000/person-0000-01.jpg", people / "person-0002/wrong.jpg")
    with pytest.raises(InputError, match=r"again\.jpg and person-0002/wrong\.jpg are the same photo .* of two people"):
        from_people(people, finder)


def only(folder, *kept):
    for photo in list(folder.rglob("*.jpg")):
        if not photo.name.startswith(kept):
            photo.unlink()


@pytest.mark.parametrize(
    ("kept", "says"),
    [
        ((), "photos of 0 people, but at least two are needed"),
        (("person-0002",), "photos of 1 people"),
        (
            ("person-0000-00", "person-0001-00", "person-0002-00"),
            r"no pair of one person .a usable face was found in all of its 3 photos.* at least two of each",
        ),
    ],
)
def test_too_few_people_or_photos_are_refused(people, finder, kept, says):
    only(people, *kept or ("-",))
    with pytest.raises(InputError, match=says):
        from_people(people, finder)


def test_photos_without_any_face_are_refused(tmp_path, finder):
    for person in ("a", "b"):
        (tmp_path / person).mkdir()
        wall(tmp_path / person / "1.png", 90 + ord(person))
        wall(tmp_path / person / "2.png", ord(person))
    with pytest.raises(InputError, match="4 of 4 photos show no face"):
        from_people(tmp_path, finder)
    with pytest.raises(InputError, match="4 of 4 photos show no face"):
        from_pairs(table(tmp_path, "a/1.png,b/1.png,No", "a/2.png,b/2.png,Yes"), tmp_path, finder)
    with pytest.raises(InputError, match="no such folder"):
        from_people(tmp_path / "absent", finder)


def test_a_group_of_people_is_not_one_person(tmp_path, finder):
    for place in ("Ada/1.png", "Engineering/one/1.png", "Engineering/other/1.png"):
        (tmp_path / place).parent.mkdir(parents=True)
        wall(tmp_path / place)
    with pytest.raises(InputError, match="Engineering has folders with photos"):
        from_people(tmp_path, finder)


def table(folder, *rows):
    path = folder / "pairs.csv"
    path.write_text("a,b,same\n" + "".join(f"{row}\n" for row in rows))
    return path


def name(person, shot):
    return f"person-{person:04}-{shot:02}.jpg"


def test_pairs_of_a_csv_file_and_the_people_in_them(rendered, tmp_path, finder):
    pairs = table(
        tmp_path,
        f"{name(0, 0)},{name(0, 1)},Yes",
        f"{name(0, 1)},{name(1, 0)},No",
        f"{name(1, 0)},{name(1, 1)},yes",
        f"{name(2, 0)},{name(1, 1)},no",
    )
    found = from_pairs(pairs, rendered, finder)
    assert found.same.tolist() == [True, False, True, False] and found.photos == 5
    assert len(set(found.people.tolist())) == 3, "people 0 and 1 in two photos each, person 2 in one"
    assert all((found.people[found.first] == found.people[found.second]) == found.same)


@pytest.mark.parametrize(
    ("rows", "says"),
    [
        ([f"{name(0, 0)},absent.jpg,No", f"{name(0, 0)},{name(0, 1)},Yes"], "1 of its 3 photos are not in .*absent"),
        ([f"{name(0, 0)},{name(0, 1)},Yes"], "every pair in .* .1. is labeled as one person, but pairs of two people"),
        ([f"{name(0, 0)},{name(1, 1)},No"], "every pair in .* is labeled as two people, but pairs of one person are"),
        ([], "pairs.csv has no pairs: write lines"),
        ([f"{name(0, 0)},{name(0, 1)},perhaps"], "line 2: expected"),
        (
            [f"{name(0, 0)},{name(1, 1)},Yes", f"{name(1, 1)},{name(0, 1)},Yes", f"{name(0, 0)},{name(0, 1)},No"],
            "as two people, but other pairs say that they show one",
        ),
    ],
)
def test_wrong_or_contradicting_csv_files_are_refused(rendered, tmp_path, finder, rows, says):
    with pytest.raises(InputError, match=says):
        from_pairs(table(tmp_path, *rows), rendered, finder)


def test_a_pair_counts_once_and_a_photo_is_no_pair_with_itself(rendered, tmp_path, finder):
    shutil.copytree(rendered, tmp_path / "photos")
    folder, copy = tmp_path / "photos", "copy.jpg"
    shutil.copy(folder / name(0, 0), folder / copy)
    same, different = f"{name(0, 0)},{name(0, 1)},Yes", f"{name(0, 0)},{name(1, 0)},No"
    again = (
        f"{name(0, 1)},{name(0, 0)},Yes",
        f"./{name(0, 0)},{name(0, 1)},Yes",
        f"{name(0, 0)},{name(0, 0)},Yes",
        f"{name(0, 0)},{copy},Yes",
        f"{copy},{name(1, 0)},No",
    )
    once = from_pairs(table(tmp_path, same, different), folder, finder)
    found = from_pairs(table(tmp_path, same, different, *again), folder, finder)
    assert (
        (len(found.same), found.same.sum(), found.photos) == (len(once.same), once.same.sum(), once.photos) == (2, 1, 3)
    )
    assert found.notes[0] == "5 of 7 pairs were left out: they show the same photos as another pair, or one photo twice"
    for wrong in (f"{copy},{name(0, 1)},No", f"{copy},{name(0, 0)},No"):
        with pytest.raises(InputError, match="labeled as two people"):
            from_pairs(table(tmp_path, same, different, wrong), folder, finder)


def test_pairs_without_a_face_are_left_out_and_counted(rendered, tmp_path, finder):
    for photo in rendered.glob("*.jpg"):
        shutil.copy(photo, tmp_path)
    wall(tmp_path / "wall.png")
    rows = [f"{name(0, 0)},{name(0, 1)},Yes", f"{name(0, 0)},{name(1, 0)},No", f"wall.png,{name(1, 0)},No"]
    found = from_pairs(table(tmp_path, *rows), tmp_path, finder)
    assert found.faceless == 1 and len(found.first) == 2
    assert found.notes[0] == "1 of 3 pairs were left out: one of their photos shows no face that is found"
    rows.append(f"pairs.csv,{name(1, 0)},No")
    found = from_pairs(table(tmp_path, *rows), tmp_path, finder)
    assert found.unreadable == 1
    assert found.notes[0].endswith("left out: one of their photos is unreadable or shows no face that is found")


def bin_of(people, finder, path, same):
    """Write a verification file with the aligned faces of the photos."""
    crops = from_people(people, finder).crops
    coded = [cv2.imencode(".png", crop[..., ::-1])[1].tobytes() for crop in crops]
    path.write_bytes(pickle.dumps((coded, same)))
    return crops


def test_embeddings_of_a_verification_file_are_sums_with_the_mirror_image(people, finder, tmp_path):
    same = [True, True, True, True, False, False]
    crops = bin_of(people, finder, path := tmp_path / "small.bin", same[:4])
    coded, _ = pickle.loads(path.read_bytes())
    path.write_bytes(pickle.dumps(([*coded, coded[0], coded[2], coded[4], coded[7]], same)))
    found = from_bin(path, ARCFACE_112)
    np.testing.assert_array_equal(found.crops, crops)  # the repeated ones are kept once
    assert found.same.tolist() == same and found.ordered and found.mirrored
    backend = open_reference(DEMO / "recognizer.onnx", Input("input.1", 112, 112, MEAN, STD))

    def embed(images):
        return np.concatenate([backend.infer(np.ascontiguousarray(one[None]))[0] for one in images])

    cosines = pair_cosines(face_embeddings(embed(recognizer_inputs(found)), found), found)
    for pair, (left, right) in enumerate([(0, 1), (2, 3), (4, 5), (6, 7), (0, 2), (4, 7)]):
        summed = [embed([crops[one]])[0] + embed([crops[one][:, ::-1]])[0] for one in (left, right)]
        expected = summed[0] @ summed[1] / np.linalg.norm(summed[0]) / np.linalg.norm(summed[1])
        assert cosines[pair] == pytest.approx(expected, abs=1e-5)  # float32
    assert cosines[:4].min() > cosines[4:].max()


def test_verification_files_for_another_crop_or_with_one_kind_of_pairs_are_refused(people, finder, tmp_path):
    bin_of(people, finder, path := tmp_path / "small.bin", [True] * 4)
    with pytest.raises(InputError, match=r"^every pair in .*small.bin .4. is labeled as one person, but pairs of two "):
        from_bin(path, ARCFACE_112)
    with pytest.raises(InputError, match=r"aligned to ArcFace's 112×112 template.*takes the crop dlib-150.*--people"):
        from_bin(path, TEMPLATES["dlib-150"])
    path.write_bytes(pickle.dumps(([b"no image", b"neither"] * 2, [True, False])))
    with pytest.raises(InputError, match="one of its images: not a JPEG"):
        from_bin(path, ARCFACE_112)


def test_pairs_of_many_faces_are_drawn_in_the_same_way_each_time(monkeypatch):
    people = np.repeat(np.arange(60), 10)
    first, second, complete = all_pairs(people)
    assert complete and len(first) == 600 * 599 // 2 and len(set(zip(first, second, strict=True))) == len(first)
    for most, below in ((1000, 4096), (1000, 100)):  # drawn from all pairs, and without making them
        monkeypatch.setattr(labeled_faces, "MAX_PAIRS", most)
        monkeypatch.setattr(labeled_faces, "ALL_BELOW", below)
        first, second, complete = all_pairs(people)
        same = people[first] == people[second]
        assert not complete and same.sum() == 1000 and (~same).sum() == 1000
        assert (first < second).all() and len(set(zip(first, second, strict=True))) == 2000
        assert len(set(people[first[~same]].tolist())) > 50, "pairs of everybody are drawn"
        np.testing.assert_array_equal(first, all_pairs(people)[0])
