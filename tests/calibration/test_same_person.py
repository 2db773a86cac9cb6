"""From which cosine on two faces are taken for one person, for recognizers whose scores differ."""

import shutil

import numpy as np
import pytest

from rkface.calibration.choose import connected_components
from rkface.calibration.collect import collect_faces, embed_faces
from rkface.calibration.facility_location import SAME_PERSON
from rkface.calibration.same_person import DENSE, MIN_FACES, find_same_person, measure_same_person, turned_places
from rkface.convert.label_files import read_pairs
from rkface.runtime.vision.bare_onnx import open_detector, open_recognizer
from rkface.runtime.vision.detect import Detector
from rkface.runtime.vision.embed import unit

SIZE = 128


def recognizer(people, photos, *, noise=0.7, common=0.0, shared=0.0, seed=0):
    """Unit embeddings of ``photos`` photos of each of ``people`` people, of the turned faces, and who is on each photo.

    ``noise`` makes photos of a person differ; ``common`` is the length of a constant in all embeddings; ``shared`` that
    of a few directions that many people have in common, so that chains of look-alikes connect them.
    """
    random = np.random.default_rng(seed)
    owner = np.repeat(np.arange(people), photos)
    constant = common * unit(random.normal(size=(1, SIZE)))
    looks = unit(random.normal(size=(people, SIZE))) + shared * unit(random.normal(size=(6, SIZE)))[owner_of(people)]
    faces = looks[owner] + noise * unit(random.normal(size=(len(owner), SIZE)))
    turned = unit(random.normal(size=(len(owner), SIZE)))[turned_places(len(owner))]
    return unit((faces + constant).astype(np.float32)), unit((turned + constant).astype(np.float32)), owner


def owner_of(people):
    return np.arange(people) % 6


def groups_at(faces, cosine):
    return np.array(connected_components(len(faces), np.argwhere(faces @ faces.T >= cosine).tolist()))


def agreement(faces, owner, cosine):
    """Of the pairs of one person, and of those of two people, the share within one group."""
    group = groups_at(faces, cosine)
    together, one = group[:, None] == group, owner[:, None] == owner
    rest = ~np.eye(len(owner), dtype=bool)
    return together[one & rest].mean(), together[~one].mean()


@pytest.mark.parametrize("common", [0.0, 1.0, 4.0])  # the cosine of different people: 0, 0.4, 0.9
@pytest.mark.parametrize(("people", "photos"), [(5, 4), (4, 40), (60, 2), (10, 10)])
def test_people_are_told_apart_whatever_their_embeddings_have_in_common(people, photos, common):
    faces, turned, owner = recognizer(people, photos, common=common)
    found = measure_same_person(faces, turned)
    assert not found.note
    same, different = agreement(faces, owner, found.cosine)
    assert same > 0.95 and different < 0.02
    if common == 4.0:
        assert agreement(faces, owner, SAME_PERSON)[1] == 1, "the known value takes all people for one"


def test_a_model_that_is_trained_by_angle_gets_the_known_value():
    faces, turned, _ = recognizer(40, 3)
    assert measure_same_person(faces, turned).cosine == pytest.approx(SAME_PERSON, abs=0.02)


def test_chains_of_similar_raise_the_cosine_until_groups_are_dense():
    faces, turned, owner = recognizer(60, 3, noise=0.6, shared=0.9)
    start = agreement(faces, owner, SAME_PERSON)
    assert start[1] > 0.1, "look-alikes are connected at the known value"
    found = measure_same_person(faces, turned).cosine
    same, different = agreement(faces, owner, found)
    assert found > SAME_PERSON + 0.05 and same > 0.9 and different < 0.02
    group = groups_at(faces, found)
    within = (group[:, None] == group) & ~np.eye(len(owner), dtype=bool)
    assert ((faces @ faces.T >= found) & within).sum() >= DENSE * within.sum()


@pytest.mark.parametrize("common", [0.0, 4.0])
def test_photos_of_one_person_stay_one_group(common):
    faces, turned, _ = recognizer(1, 30, common=common)
    assert len(set(groups_at(faces, measure_same_person(faces, turned).cosine))) == 1


def test_photos_of_different_people_are_different_groups():
    faces, turned, _ = recognizer(30, 1)
    assert len(set(groups_at(faces, measure_same_person(faces, turned).cosine))) >= 29


def test_with_few_faces_the_known_value_is_used_with_a_note():
    faces, turned, _ = recognizer(MIN_FACES - 1, 1)
    found = measure_same_person(faces, turned)
    assert found.cosine == SAME_PERSON and f"only {MIN_FACES - 1} faces" in found.note


def test_a_recognizer_that_knows_turned_faces_gets_the_known_value_with_a_note():
    faces, *_ = recognizer(20, 2)
    found = measure_same_person(faces, faces[turned_places(len(faces))])
    assert found.cosine == SAME_PERSON and "also knows faces that are upside down" in found.note


def test_the_lowest_cosine_with_dense_groups_is_that_of_the_definition():
    faces, turned, _ = recognizer(25, 4, noise=1.1, shared=1.0, seed=3)
    found = measure_same_person(faces, turned).cosine
    table = faces @ faces.T
    rest = ~np.eye(len(faces), dtype=bool)

    def dense(cosine):
        group = groups_at(faces, cosine)
        within = (group[:, None] == group) & rest
        return ((table >= cosine) & within).sum() >= DENSE * within.sum()

    assert dense(found)
    below = [cosine for cosine in np.unique(table[rest]) if SAME_PERSON + 0.02 < cosine < found]
    assert len(below) > 10 and not any(map(dense, below[::5]))


@pytest.mark.parametrize("model", ["mobilefacenet_128", "resnet29_dlib"])
def test_real_people_are_told_apart_by_trained_recognizers(shared, tmp_path, model):
    """At 0.35, dlib's network has 16 % of the pairs of two people in one group, because chains connect them."""
    photos = shared / "data/people"
    pairs = read_pairs(photos / "master.csv")
    for name in {name for left, right, _ in pairs for name in (left, right)}:
        shutil.copy(photos / name, tmp_path)
    embedder = open_recognizer(shared / f"models/{model}.onnx").embedder()
    detector = Detector(*open_detector(shared / "models/scrfd_500m_kps.onnx"))
    faces = collect_faces(tmp_path, detector, embedder.crop, one_look=True).candidates
    embeddings = embed_faces(faces, embedder)
    found = find_same_person(faces, embeddings, embedder)
    assert not found.note
    group = dict(zip([face.name for face in faces], groups_at(embeddings, found.cosine), strict=True))
    together = np.array(
        [(same, group[left] == group[right]) for left, right, same in pairs if {left, right} <= {*group}]
    )
    assert len(together) > 250
    assert together[together[:, 0], 1].mean() > 0.9 and together[~together[:, 0], 1].mean() < 0.06
