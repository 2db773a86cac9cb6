import hashlib
import itertools
import re
import shutil

import cv2
import numpy as np
import pytest

from rkface.calibration.choose import (
    COPY,
    HASH_RADIUS,
    Choice,
    choose_faces,
    choose_frames,
    find_copies,
    hold_out,
    perceptual_hash,
    require_enough_faces,
)
from rkface.calibration.collect import Collection, Skipped, collect_faces
from rkface.calibration.facility_location import PERSON, UNCLEAR
from rkface.calibration.unlike import has_new_appearance
from rkface.runtime.core.crop_template import ARCFACE_112
from rkface.runtime.core.errors import InputError
from rkface.runtime.vision.bare_onnx import open_detector
from rkface.runtime.vision.detect import Detector
from rkface.runtime.vision.image import read_image
from rkface.runtime.vision.photo_files import find_images


def names(faces):
    return [face.name for face in faces]


@pytest.mark.parametrize("known", [True, False])
def test_the_choice_does_not_depend_on_the_order(make_face, known):
    faces = [make_face(seed, score=0.5 + seed % 7 / 20) for seed in range(60)]
    embeddings = np.random.default_rng(0).normal(size=(60, 8)).astype(np.float32)
    embeddings = embeddings / np.linalg.norm(embeddings, axis=1, keepdims=True) if known else None
    chosen = choose_faces(faces, 24, embeddings)
    assert len(chosen.faces) == 24
    for seed in range(5):
        order = np.random.default_rng(seed).permutation(60)
        again = choose_faces([faces[index] for index in order], 24, embeddings[order] if known else None)
        assert names(again.faces) == names(chosen.faces) and again.left_out == chosen.left_out


def test_every_face_is_chosen_or_left_out_for_one_reason(make_face):
    faces = [make_face(seed, score=0.2 if seed < 4 else 0.9) for seed in range(40)]
    copies = [make_face(seed, f"copy-{seed}.png", crop=faces[seed].crop, score=0.5) for seed in range(10, 15)]
    person = np.eye(40, dtype=np.float32)[[*range(20), *[39] * 20, *range(10, 15)]]
    choice = choose_faces([*faces, *copies], 15, person)
    assert sorted(names(choice.faces) + [skip.name for skip in choice.left_out]) == sorted(names([*faces, *copies]))
    count_reasons = {skip.name: skip.reason for skip in choice.left_out}
    assert {count_reasons[f"copy-{seed}.png"] for seed in range(10, 15)} == {COPY}
    assert {count_reasons[f"{seed:03}.png"] for seed in range(4)} == {UNCLEAR}
    assert sum(face.name >= "020.png" for face in choice.faces) == 2
    assert [reason for name, reason in sorted(count_reasons.items()) if "020.png" <= name < "040.png"] == [PERSON] * 18
    # A face that was left out because of its person names a selected face of the same person.
    details = [skip.detail for skip in choice.left_out if skip.reason == PERSON]
    assert all(re.fullmatch(r"most similar to the face from 0[23]\d\.png", detail) for detail in details)
    assert choose_faces([], 5) == Choice((), ())
    assert len(choose_faces([*faces, *copies], 99).faces) == 40, "all different ones, even the unclear"


def test_rare_poses_are_selected_and_bad_detections_are_not(make_face):
    spread = np.random.default_rng(1).normal(0, 4, 100)
    faces = [make_face(seed, yaw=float(spread[seed]) + (60 if seed >= 90 else 0)) for seed in range(100)]
    bad = [make_face(seed, score=0.2, yaw=-80.0, light=3.0) for seed in range(100, 106)]
    choice = choose_faces([*faces, *bad], 20)
    turned = [face for face in choice.faces if face.appearance.yaw > 40]
    # A tenth of the faces is turned, so 2 of 20 would be in proportion; and the set must not be full of profiles.
    assert 2 <= len(turned) <= 6 and any(face in choice.faces[:6] for face in turned)
    assert not {face.name for face in bad} & set(names(choice.faces))


def test_one_person_with_many_photos_leaves_room_for_others(make_face):
    random = np.random.default_rng(2)
    faces = [make_face(seed, yaw=float(random.uniform(-40, 40))) for seed in range(80)]
    who = np.array([0] * 50 + list(range(1, 31)))
    embeddings = np.eye(31, dtype=np.float32)[who]
    for count, expected in ((20, 2), (40, 10), (80, 50)):  # no more than needed to reach the count
        chosen = choose_faces(faces, count, embeddings).faces
        assert len(chosen) == count and sum(int(face.name[:3]) < 50 for face in chosen) <= expected
    alone = sum(int(face.name[:3]) < 50 for face in choose_faces(faces, 20).faces)
    assert alone > 5, "without embeddings nobody can know"


def test_a_copied_file_counts_once_but_every_face_of_a_photo_counts(make_face):
    pair = [make_face(1, "a.png", sha256="a"), make_face(2, "a.png", sha256="a")]
    copies = [make_face(3, "b.png", sha256="a", score=0.99), make_face(4, "b.png", sha256="a")]
    choice = choose_faces(pair + copies, 9)
    assert names(choice.faces) == ["a.png", "a.png"]
    assert [skip.reason for skip in choice.left_out] == [COPY, COPY]


@pytest.fixture(scope="module")
def collected(shared, tmp_path_factory):
    """12 real photos, and copies of four of them: shrunk, recompressed, and slightly cropped."""
    folder = tmp_path_factory.mktemp("photos")
    originals = [path for path in find_images(shared / "data/people") if path.name.startswith("img")][:12]
    for path in originals:
        shutil.copy(path, folder / f"{path.stem}.jpg")
    for path in originals[:4]:
        image = read_image(path)
        shutil.copy(path, folder / f"{path.stem}-copy.jpg")
        small = cv2.resize(image, None, fx=0.5, fy=0.5, interpolation=cv2.INTER_AREA)
        cv2.imwrite(str(folder / f"{path.stem}-small.png"), small)
        cv2.imwrite(str(folder / f"{path.stem}-poor.jpg"), image, [cv2.IMWRITE_JPEG_QUALITY, 40])
        cv2.imwrite(str(folder / f"{path.stem}-shift.jpg"), image[7:, 5:])
    backend, input, outputs = open_detector(shared / "models/scrfd_500m_kps.onnx")
    return [path.stem for path in originals], collect_faces(folder, Detector(backend, input, outputs), ARCFACE_112)


def test_near_duplicates_of_real_photos_are_removed_and_nothing_else(collected):
    originals, found = collected
    assert len(found.candidates) == 12 + 4 * 4
    choice = choose_faces(found.candidates, 100)
    assert sorted(face.photo.stem.split("-")[0] for face in choice.faces) == sorted(originals)
    assert len(choice.left_out) == 16 and {skip.reason for skip in choice.left_out} == {COPY}
    # The radius is in a wide gap between the distances of copies and those of different faces.
    hashes = {face.photo.stem: perceptual_hash(face.crop) for face in found.candidates}
    for a, b in itertools.combinations(sorted(hashes), 2):
        bits = int((hashes[a] != hashes[b]).sum())
        same = a.split("-")[0] == b.split("-")[0]
        assert bits <= HASH_RADIUS if same else bits > HASH_RADIUS + 5, f"{a} and {b} differ in {bits} bits"


def test_frames_are_photos_of_the_selected_faces_then_photos_without_faces(collected):
    _, found = collected
    chosen = choose_faces(found.candidates, 5).faces
    empty = found.folder / "street.jpg"
    found = Collection(found.folder, found.candidates, (*found.photos, empty), found.skipped)
    assert choose_frames(chosen, found, 100) == (*(face.photo for face in chosen), empty)
    assert choose_frames(chosen, found, 3) == tuple(face.photo for face in chosen[:3])


def test_too_few_faces_are_an_error_with_counts_reason_and_advice(tmp_path, make_face):
    photos = tuple(tmp_path / f"{seed}.png" for seed in range(8))
    skipped = (*(Skipped(f"{seed}.png", "face too small", "") for seed in range(3, 8)), Skipped("x", "unreadable", ""))
    found = Collection(tmp_path, tuple(make_face(seed) for seed in range(3)), photos, skipped)
    with pytest.raises(InputError) as caught:
        require_enough_faces(choose_faces(found.candidates, 100), found, "; or sing")
    message = str(caught.value)
    assert "3 usable faces in 9 photos" in message and "face too small, 5×" in message and "at least 20" in message
    assert "add photos" in message and message.endswith("; or sing")
    require_enough_faces(choose_faces([make_face(seed) for seed in range(20)], 100), found)


def people(random, make_face, count):
    """Photos of one to three of ``count`` people; a tenth are copies of an earlier file. The embeddings of a person are
    close to an axis of their own."""
    faces, who = [], []
    for photo in range(random.integers(count, 3 * count)):
        original = random.integers(photo + 1) if random.random() < 0.1 else photo
        for person in random.choice(count, random.choice([1, 1, 1, 2, 3]), replace=False):
            faces.append(make_face(1, f"{photo}.jpg", sha256=hashlib.sha256(b"%d" % original).hexdigest()))
            who.append(person)
    embeddings = np.eye(count + 8)[who] + random.normal(size=(len(who), count + 8)) * 0.01
    return faces, np.array(who), (embeddings / np.linalg.norm(embeddings, axis=1, keepdims=True)).astype(np.float32)


def linked(faces, who):
    """The definition of groups as the closure of a relation: faces of one photo or one person are in one group."""
    photo = np.array([face.sha256 for face in faces])
    together = (photo[:, None] == photo) | (who[:, None] == who)
    while True:
        wider = (together.astype(np.float32) @ together.astype(np.float32)) > 0
        if (wider == together).all():
            return together
        together = wider


@pytest.mark.parametrize("seed", range(25))
@pytest.mark.parametrize("share", [0.2, 0.4])
def test_no_photo_and_no_person_on_both_sides(make_face, seed, share):
    random = np.random.default_rng(seed)
    faces, who, embeddings = people(random, make_face, int(random.integers(5, 60)))
    together = linked(faces, who)
    largest = int(together.sum(axis=1).max())
    try:
        calibrate, evaluate = hold_out(faces, embeddings, share)
    except InputError:
        assert largest > 0.5 * len(faces), "refused although it could be split"
        return
    assert sorted([*calibrate, *evaluate]) == list(range(len(faces)))
    assert not together[np.ix_(calibrate, evaluate)].any()
    assert abs(len(evaluate) - share * len(faces)) <= largest / 2
    order = random.permutation(len(faces))
    again = hold_out([faces[index] for index in order], embeddings[order], share)
    assert sorted(order[again[1]]) == evaluate


def test_both_sides_have_the_right_size_and_the_same_quality(make_face):
    faces = [make_face(seed, score=0.5 + seed / 500) for seed in range(200)]
    calibrate, evaluate = hold_out(faces, np.eye(200, dtype=np.float32), 0.4)
    assert (len(calibrate), len(evaluate)) == (120, 80)
    scores = np.array([face.quality.score for face in faces])
    # 80 of 200 faces, selected by hash: means differ by more than 3 standard errors with one of 370 hash functions.
    error = scores.std() * np.sqrt(1 / 80 + 1 / 120)
    assert abs(scores[evaluate].mean() - scores[calibrate].mean()) < 3 * error


@pytest.mark.parametrize(("share", "expected"), [(0.2, 4), (0.275, 4), (0.325, 8), (0.4, 8), (0.6, 12)])
def test_groups_come_as_close_to_the_share_as_possible(make_face, share, expected):
    faces = [make_face(seed) for seed in range(20)]  # five people, four photos each
    _, evaluate = hold_out(faces, np.eye(5, dtype=np.float32)[np.arange(20) % 5], share)
    assert len(evaluate) == expected


def test_a_chain_of_most_faces_calibrates(make_face):
    """With a weak recognizer, chains connect many people; evaluating on them would leave too few to calibrate on."""
    faces = [make_face(seed) for seed in range(20)]
    who = np.array([0] * 14 + [1, 2, 3, 4, 5, 6])
    calibrate, evaluate = hold_out(faces, np.eye(7, dtype=np.float32)[who])
    assert set(range(14)) <= set(calibrate) and evaluate == list(range(14, 20))


def test_the_cosine_of_one_person_depends_on_the_recognizer(make_face):
    """Three people with a cosine of 0.5 are a chain at 0.35, and three people at 0.6."""
    faces = [make_face(seed) for seed in range(20)]
    alike = np.full((20, 20), 0.5) + np.eye(20) * 0.5
    embeddings = np.linalg.cholesky(alike).astype(np.float32)
    with pytest.raises(
        InputError, match=r"seem to show one person \(100% of their pairs have a cosine of 0.35 or more"
    ):
        hold_out(faces, embeddings)
    calibrate, evaluate = hold_out(faces, embeddings, same_person=0.6)
    assert (len(calibrate), len(evaluate)) == (12, 8)
    assert [one.reason for one in choose_faces(faces, 6, embeddings).left_out] == [PERSON] * 14
    assert PERSON not in {one.reason for one in choose_faces(faces, 6, embeddings, same_person=0.6).left_out}


def test_a_chain_of_all_faces_is_not_taken_for_one_person(make_face):
    """Each face is like the next one only: a cosine of 0.5 with two others, and of 0 with the rest."""
    ring = np.zeros((20, 20), np.float32)
    for face in range(20):
        ring[face, [face, (face + 1) % 20]] = np.sqrt(0.5)
    with pytest.raises(InputError, match="look-alikes connect them all in chains, although only 11%"):
        hold_out([make_face(seed) for seed in range(20)], ring)


def test_chains_and_copies_stay_together_and_a_single_group_is_refused(make_face):
    # Neighbors are 60° apart (cosine 0.5), the ends of the chain 120° (cosine -0.5).
    head_angles = np.deg2rad([0, 60, 120])
    chain = np.column_stack([np.cos(head_angles), np.sin(head_angles), np.zeros((3, 5))])
    others = np.eye(7, dtype=np.float32)[[2, 3, 4, 5, 6, 6]]
    embeddings = np.vstack([chain, others]).astype(np.float32)
    faces = [make_face(seed) for seed in range(9)]
    for share in (0.3, 0.5):
        sides = [set(side) for side in hold_out(faces, embeddings, share)]
        assert any({0, 1, 2} <= side for side in sides) and any({7, 8} <= side for side in sides)
    twice = [make_face(1, "a.png", sha256="a"), make_face(2, "b.png", sha256="a")]
    with pytest.raises(InputError, match="all 2 usable faces are in one photo or copies of it"):
        hold_out(twice, np.eye(2, dtype=np.float32))


def test_ten_faces_that_are_evaluated_have_a_new_appearance(make_face):
    """Twelve people with five photos each; two people are always turned to the side. In splits by the hash alone, two
    to four faces have a new appearance."""
    random = np.random.default_rng(4)
    for seed in range(4):
        faces = [
            make_face(index, sha256=f"{seed}-{index}", yaw=float(random.normal(70 if index // 5 in {3, 7} else 0, 6)))
            for index in range(60)
        ]
        embeddings = np.eye(12, dtype=np.float32)[np.arange(60) // 5]
        calibrate, evaluate = hold_out(faces, embeddings)
        new = has_new_appearance([faces[index] for index in evaluate], [faces[index] for index in calibrate])
        assert new.sum() >= 10 and (~new).sum() >= 10
        order = random.permutation(60)
        again = hold_out([faces[index] for index in order], embeddings[order])
        assert sorted(order[again[1]]) == evaluate, "the order of the faces decided"


def test_copies_of_known_faces_are_copies_even_if_they_are_better(make_face):
    known = [make_face(seed, f"known-{seed}.png", score=0.6) for seed in range(30)]
    same_file = make_face(40, "again.png", sha256=known[3].sha256)
    better = make_face(7, "better.png", score=0.99)
    new = [make_face(seed, f"new-{seed}.png") for seed in range(50, 60)]
    kept, copies = find_copies([same_file, better, *new], known)
    assert sorted(kept) == list(range(2, 12))
    assert [(copy.face.name, copy.original.name) for copy in sorted(copies, key=lambda copy: copy.face.name)] == [
        ("again.png", "known-3.png"), ("better.png", "known-7.png"),
    ]  # fmt: skip
