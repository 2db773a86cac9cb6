"""Strangers: appearances without a name are grouped, enrolled, ignored and named afterwards."""

import json
import time
from dataclasses import asdict

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from rkface.runtime.cli.main import main
from rkface.runtime.cli.strangers import seen_since
from rkface.runtime.events import PictureStore
from rkface.runtime.gallery.backup import back_up
from rkface.runtime.gallery.cluster import EMPTY, cluster
from rkface.runtime.gallery.companions import Companion, companion_path
from rkface.runtime.gallery.gallery import Gallery
from rkface.runtime.gallery.ignored import list_ignored
from rkface.runtime.gallery.people import Sample
from rkface.runtime.gallery.reviews import list_reviews
from rkface.runtime.service import erasure
from rkface.runtime.service.appearance_log import AppearanceLog
from rkface.runtime.service.gallery_health import read_gallery_health, review_appearance
from rkface.runtime.service.log_files import log_path
from rkface.runtime.service.renaming import list_renamings
from rkface.runtime.service.sighting import Sighting
from rkface.runtime.service.strangers import StrangerFinder, choose_samples
from rkface.runtime.vision.embed import unit

from .test_appearance_log import NOW, seen

MODEL = "1" * 32
D = 128
FACES = unit(np.random.default_rng(0).normal(size=(20, D)).astype(np.float32))  # of people: far from each other
JPEG = b"\xff\xd8\xff a picture"
MATCH = 0.4  # the threshold of the appearances


def view(person, number):
    """One of many embeddings of a person: their cosine is about 0.64."""
    noise = unit(np.random.default_rng([person, number]).normal(size=D).astype(np.float32))
    return unit(0.8 * FACES[person] + 0.6 * noise)


@pytest.fixture
def site(tmp_path, monkeypatch):
    """A gallery with Ada (face 0), and a log: the postman (1) seven times, a neighbor (2) twice, somebody (3) once."""
    monkeypatch.chdir(tmp_path)
    path = tmp_path / "gallery.sqlite"
    with Gallery(path, MODEL, create=True) as gallery:
        gallery.add("Ada", [Sample(view(0, 100), None, 0.9, "test")])
    with AppearanceLog(log_path(path)) as log:
        for number in range(7):
            picture = b"\x89PNG\r\n\x1a\npicture" if number % 2 else None
            log.record(seen(f"post{number}", started=NOW + number), Sighting(picture, view(1, number), MODEL))
        for number in range(2):
            log.record(seen(f"near{number}", started=NOW + 50 + number), Sighting(None, view(2, number), MODEL))
        log.record(seen("once", started=NOW + 99), Sighting(None, view(3, 0), MODEL))
    return path


@pytest.fixture
def rkface(site, capsys):
    def run(*arguments):
        code = main(["strangers", *map(str, arguments), "--gallery", str(site)])
        out, err = capsys.readouterr()
        return code, out, err

    return run


def listed(rkface, *more):
    return [json.loads(line) for line in rkface("list", "--json", *more)[1].splitlines()]


def logged(site):
    with AppearanceLog(log_path(site)) as log:
        return {one.id: one.match and one.match.name for one in log.newest()}


def test_strangers_are_grouped_over_visits_and_listed_last_seen_first(rkface):
    once, near, post = listed(rkface)
    assert (once["times"], near["times"], post["times"]) == (1, 2, 7)
    assert post["started"] == NOW and post["last"] == NOW + 6 and post["cameras"] == ["door"]
    assert post["appearances"][0] == "post6" and post["pictures"] == 3 and post["face"] in ("post1", "post3", "post5")
    assert once["face"] is None and [one["times"] for one in listed(rkface, "--least", 2)] == [2, 7]
    assert "seen 7 times since" in rkface("list")[1]


def test_a_stranger_is_enrolled_past_appearances_are_named_and_that_is_undone(rkface, site):
    before = logged(site)
    code, out, _ = rkface("enroll", "post", "Pat", "--rename")
    assert code == 0 and "enrolled as Pat" in out and "7 past appearances named Pat" in out
    assert [name for id, name in logged(site).items() if id.startswith("post")] == ["Pat"] * 7
    assert [one["times"] for one in listed(rkface)] == [1, 2]
    (renaming,) = [json.loads(line) for line in rkface("renamings", "--json")[1].splitlines()]
    assert (renaming["name"], renaming["appearances"]) == ("Pat", 7)
    assert rkface("undo", renaming["id"][:6])[0] == 0 and logged(site) == before
    with AppearanceLog(log_path(site)) as log:
        assert log.face("post1") == b"\x89PNG\r\n\x1a\npicture"
    assert rkface("rename", "Pat")[0] == 0 and logged(site)["post0"] == "Pat"


def test_the_start_of_an_id_that_two_strangers_have_is_refused(rkface, site):
    """Else the wrong one of them is enrolled, or ignored for good."""
    with AppearanceLog(log_path(site)) as log:
        log.record(seen("postal", started=NOW + 200), Sighting(None, view(4, 0), MODEL))
        log.record(seen("post", started=NOW + 300), Sighting(None, view(5, 0), MODEL))
    before = listed(rkface)
    for action in (["ignore", "pos"], ["enroll", "pos", "Pat"]):
        code, out, err = rkface(*action)
        assert (code, out) == (2, "") and "the appearances of 3 strangers start with 'pos': write more" in err
    assert listed(rkface) == before
    assert rkface("ignore", "post")[0] == 0, "that is a whole id"
    assert [one["appearances"][0] for one in listed(rkface)] == ["postal", "once", "near1", "post6"]


def test_a_stranger_who_was_enrolled_is_shown_with_the_name_until_the_past_is_named(rkface):
    rkface("enroll", "post3", "Pat")
    found = next(one for one in listed(rkface) if one["times"] == 7)
    assert found["person"]["name"] == "Pat" and "now recognized as Pat" in rkface("list")[1]


def test_enrollment_has_the_checks_of_any_other_enrollment(rkface, site):
    with AppearanceLog(log_path(site)) as log:
        log.record(seen("ada", started=NOW + 200), Sighting(b"\x89PNG\r\n\x1a\nx", view(0, 1), MODEL))
    code, out, _ = rkface("enroll", "ada", "Eve")
    assert code == 1 and "already enrolled as 'Ada'" in out
    assert rkface("enroll", "ada", "Eve", "--force")[0] == 0


def test_an_ignored_stranger_is_nobody_and_returns_when_the_entry_is_removed(rkface, site):
    code, out, _ = rkface("ignore", "post", "--note", "the postman")
    assert code == 0 and "embeddings kept" in out
    assert [one["times"] for one in listed(rkface)] == [1, 2]
    with Gallery(site, MODEL) as gallery:
        (entry,) = list_ignored(gallery)
        assert entry.note == "the postman" and entry.face and gallery.search(view(1, 50)[None]) == [[]]
        back_up(gallery)
    assert "the postman" in rkface("ignored")[1]
    code, out, _ = rkface("enroll", "near", "Nora")
    assert code == 1 and "no picture of this stranger" in out
    assert rkface("restore", entry.id[:6], "--json")[:2] == (0, '{"copies": []}\n')
    assert [one["times"] for one in listed(rkface)] == [1, 2, 7]


def test_somebody_who_is_recognized_cannot_be_ignored_as_a_stranger(rkface, site):
    """A camera may have taken Ada for nobody, in bad light. Ignoring that would hide her."""
    with AppearanceLog(log_path(site)) as log:
        log.record(seen("ada", started=NOW + 200), Sighting(None, view(0, 1), MODEL))
    code, _, err = rkface("ignore", "ada")
    assert code == 2 and "recognized as 'Ada'" in err and "it was nobody who is enrolled" in err
    with Gallery(site, MODEL) as gallery:
        assert not list_ignored(gallery) and gallery.search(view(0, 1)[None])[0][0].name == "Ada"


def test_the_health_of_the_gallery_names_people_who_may_be_ignored(rkface, site):
    rkface("ignore", "post")
    with Gallery(site, MODEL) as gallery:
        assert read_gallery_health(gallery, None, MATCH).problems == ()
        gallery.add("Pat", [Sample(view(1, 60), None, 0.9, "test")])
        (problem,) = read_gallery_health(gallery, None, MATCH).problems
        assert problem.startswith("Pat looks like a face on the ignore list") and "strangers restore" in problem


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        (("enroll", "zz", "Pat"), "not in the log any more"),
        (("enroll", "", "Pat"), "not in the log any more"),
        (("ignore", "nobody"), "not in the log any more"),
        (("ignore", "post", "--note", "x" * 300), "at most 200"),
        (("restore", "zz"), "the ignore list has no entry"),
        (("undo", "zz"), "no renaming 'zz'"),
        (("rename", "Nobody"), "nobody is called"),
    ],
)
def test_wrong_input_is_explained(rkface, arguments, said):
    code, _, err = rkface(*arguments)
    assert code == 2 and said in err


def test_without_embeddings_the_list_says_which_setting_keeps_them(rkface, site):
    with AppearanceLog(log_path(site)) as log, log.writing() as database:
        database.execute("DELETE FROM embedding")
    code, out, err = rkface("list")
    assert (code, out) == (0, "") and "embeddings in [keep]" in err
    log_path(site).unlink()
    code, _, err = rkface("list")
    assert code == 2 and "there is no appearance log" in err


def test_forgetting_erases_the_past_as_a_stranger_and_renamed_appearances(rkface, site):
    rkface("enroll", "post", "Pat")
    with Gallery(site, MODEL) as gallery:
        report = erasure.forget_by_command(gallery, [gallery.person("Pat")])
    assert report.left == [] and sorted(logged(site)) == ["near0", "near1", "once"]
    secret = view(1, 3).tobytes()[:64]
    assert not any(secret in file.read_bytes() for file in site.parent.rglob("*") if file.is_file())


def test_forgetting_erases_pictures_of_alerts_and_reviews_about_the_person_as_a_stranger(rkface, site):
    """No row says whom they show: only the embeddings do."""
    with (
        Gallery(site, MODEL) as gallery,
        AppearanceLog(log_path(site)) as log,
        PictureStore(companion_path(site, Companion.ALERT_PICTURES)) as pictures,
    ):
        shown, other = pictures.add(JPEG, "post0", None), pictures.add(JPEG, "near0", None)
        for appearance in ("post3", "near1"):
            review_appearance(gallery, log, appearance, None)
        ada = gallery.person("Ada").id
        review_appearance(gallery, log, "post4", ada)  # a user says that this is somebody else
        gallery.add("Pat", [Sample(view(1, 60), None, 0.9, "test")])
        report = erasure.forget_by_command(gallery, [gallery.person("Pat")])
        assert not pictures.has(shown) and pictures.has(other)
        assert {one.appearance: one.person for one in list_reviews(gallery)} == {"near1": None, "post4": ada}
    assert "backups from before keep embeddings of reviews" in str(report.left)
    secret = view(1, 3).tobytes()[:64]
    assert not any(secret in file.read_bytes() for file in site.parent.rglob("*") if file.is_file())


def test_forgetting_names_an_entry_of_the_ignore_list_that_looks_like_the_person(rkface, site):
    rkface("ignore", "post")
    rkface("enroll", "post", "Pat")
    with Gallery(site, MODEL) as gallery:
        gallery.add("Pat", [Sample(view(1, 60), None, 0.9, "test")])
        report = erasure.forget_by_command(gallery, [gallery.person("Pat")])
    assert "the ignore list has a face like this person" in str(report.left)


def test_renamed_appearances_follow_a_merge(rkface, site):
    rkface("enroll", "post", "Pat", "--rename")
    with Gallery(site, MODEL) as gallery, AppearanceLog(log_path(site)) as log:
        gallery.merge(gallery.person("Pat"), gallery.person("Ada"))
        erasure.erase_from_log(gallery, log, erasure.FOREVER)
        (renaming,) = list_renamings(log)
        assert renaming.person == gallery.person("Ada").id and renaming.appearances == 7
    assert rkface("undo", renaming.id)[0] == 0 and logged(site)["post0"] is None


def test_a_finder_that_was_used_before_finds_what_a_new_one_finds(site):
    with Gallery(site, MODEL) as gallery, AppearanceLog(log_path(site)) as log:
        used = StrangerFinder(log, gallery, MODEL)
        used.find(MATCH)
        for number in range(7, 12):
            log.record(seen(f"post{number}", started=NOW + number), Sighting(None, view(1, number), MODEL))
        log.record(seen("once", started=NOW + 99), Sighting(None, view(2, 9), MODEL))  # another face
        log.delete(["post0", "near0"])
        assert list(map(asdict, used.find(MATCH))) == list(map(asdict, StrangerFinder(log, gallery, MODEL).find(MATCH)))
        used.forget()
        assert used._graph is EMPTY and len(used.find(MATCH)) == 2


@settings(max_examples=40, deadline=None)
@given(people=st.lists(st.integers(0, 19), max_size=60), cut=st.integers(0, 60))
def test_clusters_are_the_people_in_any_order_and_at_once_or_in_steps(people, cut):
    ids = tuple(map(str, range(len(people))))
    vectors = np.array([view(one, number) for number, one in enumerate(people)], np.float32).reshape(len(people), D)
    whole = cluster(EMPTY.updated(ids, vectors, MATCH), MATCH)
    steps = EMPTY.updated(ids[:cut], vectors[:cut], MATCH).updated(ids, vectors, MATCH)
    assert np.array_equal(cluster(steps, MATCH), whole)
    first = [people.index(one) for one in people]
    assert whole.tolist() == first


def test_chosen_samples_are_the_best_one_and_different_ones():
    same = [Sample(view(1, 0), None, 0.9 - number / 100, "") for number in range(5)]
    other = Sample(view(2, 0), None, 0.1, "")
    chosen = choose_samples([*same, other], 2)
    assert chosen[0] is same[0] and chosen[1] is other and choose_samples([], 3) == []


@pytest.mark.parametrize(
    ("ago", "said"), [(3600.0, "today"), (86400.0, "since Thursday"), (9 * 86400.0, "since 2027-01-06")]
)
def test_since_when_a_stranger_was_seen_is_a_weekday_or_a_date(monkeypatch, ago, said):
    monkeypatch.setenv("TZ", "UTC")
    time.tzset()
    assert said in seen_since(7, NOW - ago, NOW) and "seen once" in seen_since(1, NOW - ago, NOW)
