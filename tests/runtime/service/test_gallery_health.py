"""Reviews of appearances: what is stored, measured and used, and what the gallery's health says."""

import json
import sqlite3
import time
from contextlib import closing
from types import SimpleNamespace

import numpy as np
import pytest

from rkface.runtime.cli.main import main
from rkface.runtime.gallery.backup import forget
from rkface.runtime.gallery.gallery import Gallery
from rkface.runtime.gallery.match import Match
from rkface.runtime.gallery.people import Sample
from rkface.runtime.gallery.reviews import list_reviews, set_threshold
from rkface.runtime.service import publisher
from rkface.runtime.service.appearance_log import AppearanceLog
from rkface.runtime.service.gallery_health import QualityCheck, read_gallery_health, review_appearance
from rkface.runtime.service.log_files import log_path
from rkface.runtime.service.problems import Problems
from rkface.runtime.service.score_drift import count_by_threshold, read_scores
from rkface.runtime.service.settings import Keep
from rkface.runtime.service.sighting import Sighting
from rkface.runtime.tracking.appearance import Appearance

MODEL, D = "0" * 32, 64
START = time.time() - 3600


def face(seed, noise=0.0):
    values = np.random.default_rng(seed).standard_normal(D) / D**0.5
    values += noise * np.random.default_rng(seed + 99).standard_normal(D) / D**0.5
    return (values / np.linalg.norm(values)).astype(np.float32)


@pytest.fixture
def gallery(tmp_path):
    with Gallery(tmp_path / "gallery.sqlite", MODEL, create=True) as gallery:
        for seed, name in enumerate(("Ada", "Grace")):
            gallery.add(name, [Sample(face(seed), None, 0.9, f"{name}.jpg")])
        yield gallery


@pytest.fixture
def log(gallery):
    with AppearanceLog(log_path(gallery.path)) as log:
        yield log


def see(log, id, person=None, cosine=0.6, *, vector=None, source="door"):
    match = Match(person.id, person.name, cosine) if person else None
    seen = Appearance(id, source, "end", match, 0.4, START, START, START + 9, (0, 0, 1, 1), 0.9, 0.8, 5)
    log.record(seen, Sighting(None, vector, MODEL))


def test_reviews_are_counted_for_each_camera_and_threshold(gallery, log):
    ada, grace = gallery.people()
    for id, person, cosine, source in (
        ("a", ada, 0.7, "door"),
        ("b", ada, 0.45, "door"),
        ("c", grace, 0.5, "door"),
        ("d", None, 0, "door"),
        ("e", None, 0, "door"),
        ("f", ada, 0.8, "attic"),
        ("unreviewed", ada, 0.8, "door"),
    ):
        see(log, id, person, cosine, source=source)
    for id, was in (("a", ada), ("b", None), ("c", ada), ("d", ada), ("e", None), ("f", ada)):
        review_appearance(gallery, log, id, was and was.id)
    attic, door = read_gallery_health(gallery, log, 0.4).reviews
    assert (attic.camera, attic.reviewed, attic.right, attic.appearances) == ("attic", 1, 1, 1)
    assert (door.reviewed, door.appearances) == (5, 6)
    assert (door.right, door.false_matches, door.missed_matches, door.rightly_unknown) == (1, 2, 2, 1)
    assert (door.highest_false, door.lowest_right) == (0.5, 0.7)


def test_reviewed_faces_are_recognized_again_with_the_gallery_of_today(gallery, log):
    ada, grace = gallery.people()
    see(log, "a", grace, 0.45, vector=face(0, 0.5))  # Ada, who was taken for Grace
    see(log, "b", ada, 0.5, vector=face(7))  # somebody else
    see(log, "c", None, vector=face(0, 5))  # Ada, in bad light
    for id, was in (("a", ada.id), ("b", None), ("c", ada.id)):
        assert review_appearance(gallery, log, id, was).embedding
    replay = read_gallery_health(gallery, log, 0.4).replay
    assert (replay.faces, replay.right) == (3, 2)
    gallery.add("Ada", [Sample(face(0, 5), None, 0.5, "door")])  # this face says nothing about others any more
    replay = read_gallery_health(gallery, log, 0.4).replay
    assert (replay.faces, replay.right) == (2, 2)


def test_a_person_who_was_named_afterwards_was_missed_by_the_camera(gallery, log):
    ada = gallery.person("Ada")
    see(log, "a", ada, 0.9)
    with closing(sqlite3.connect(log.path)) as database, database:
        database.execute("UPDATE appearance SET renamed = 'r'")
    assert review_appearance(gallery, log, "a", ada.id).outcome == "missed match"
    assert [score.cosine for score in read_scores(log)] == [None]


def test_what_is_not_in_the_log_or_the_gallery_cannot_be_reviewed(gallery, log):
    see(log, "a")
    with pytest.raises(KeyError):
        review_appearance(gallery, log, "b", None)
    ada, grace = gallery.people()
    see(log, "c", grace)
    gallery.merge(grace, ada)
    assert review_appearance(gallery, log, "c", ada.id).outcome == "right"  # the log still has the old id
    forget(gallery, ada)
    assert list_reviews(gallery) == []


def test_samples_are_compared_again_only_after_a_change(gallery, monkeypatch):
    check = QualityCheck(gallery)
    first = check(0.4)
    assert check(0.4) is first and check(0.5) is not first
    before = check(0.4)
    set_threshold(gallery, gallery.person("Ada"), 0.7)
    assert check(0.4) is not before
    before = check(0.4)
    with Gallery(gallery.path, MODEL) as other:
        other.add("Hedy", [Sample(face(5), None, 0.9, "h")])
    assert check(0.4) is not before and check(0.4).samples == 3


@pytest.fixture
def rkface(capsys, gallery):
    def run(*arguments):
        code = main(["gallery", *map(str, arguments), "--gallery", str(gallery.path)])
        out, err = capsys.readouterr()
        return code, out, err

    return run


def test_the_command_stores_lists_and_withdraws_reviews(gallery, log, rkface):
    ada = gallery.person("Ada")
    see(log, "a", gallery.person("Grace"), 0.45, vector=face(0, 0.5))
    see(log, "b", ada, 0.45, vector=face(7))
    assert rkface("review", "a", "--was", "Ada", "--add")[0] == 0
    assert gallery.person("Ada").samples == 2
    code, out, _ = rkface("review", "b", "--nobody", "--ignore", "--json")
    assert code == 0 and json.loads(out)["outcome"] == "false match"
    gallery.refresh()
    assert gallery.search(face(7)[None])[0] == []  # the face is on the ignore list
    code, out, _ = rkface("review", "--list")
    assert code == 0 and "wrong person: recognized Grace, was Ada" in out and "was nobody" in out
    code, out, _ = rkface("check", "--quality", "--threshold", "0.4", "--json")
    assert json.loads(out)["quality"]["reviews"][0]["false_matches"] == 2
    assert rkface("review", "a", "--undo")[0] == 0 and len(list_reviews(gallery)) == 1


def test_the_command_says_what_is_wrong(gallery, log, rkface):
    see(log, "a")
    for wrong, said in (
        (["x", "--nobody"], "no appearance x"),
        (["a", "--was", "Adda"], "did you mean Ada"),
        (["a", "--was", "Ada", "--add"], "keep.embeddings"),
        (["a", "--was", "Ada", "--ignore"], "--ignore"),
        (["a", "--undo"], "not reviewed"),
        (["a", "--list"], "--list"),
        (["--nobody"], "name one appearance"),
    ):
        code, _, err = rkface("review", *wrong)
        assert code == 2 and said in err, wrong
    assert list_reviews(gallery) == []


def test_a_service_deletes_reviews_after_the_time_that_it_ran(gallery, log, monkeypatch):
    see(log, "a")
    review_appearance(gallery, log, "a", None)
    now = [0.0]
    monkeypatch.setattr(publisher.time, "monotonic", lambda: now[0])
    nothing = SimpleNamespace(prune=lambda gallery: None)
    running = publisher.Publisher(gallery, log, [], Problems(), pictures=nothing, rules=dict)
    for now[0] in (3000.0, 50_000.0, 86_000.0):
        running.prune(Keep(reviews=1))
        assert len(list_reviews(gallery)) == 1
    now[0] = 91_000.0
    running.prune(Keep(reviews=1))
    assert list_reviews(gallery) == []


def test_damaged_entries_of_the_log_say_nothing(gallery, log):
    see(log, "a", gallery.person("Ada"))
    see(log, "b", gallery.person("Ada"))
    with closing(sqlite3.connect(log.path)) as database, database:
        database.execute("UPDATE appearance SET event = '{\"quality\": \"high\"}' WHERE id = 'a'")
    assert [score.cosine for score in read_scores(log)] == [0.6]
    with closing(sqlite3.connect(log.path)) as database, database:
        database.execute("UPDATE appearance SET event = 'x' WHERE id = 'a'")
    assert len(read_scores(log)) == 1 and count_by_threshold(log) == {("door", 0.4): 1}
