"""Search over all people of a hub: exact, with the index, and by site, on a real PostgreSQL with pgvector."""

import numpy as np
import pytest

from rkface.runtime.core.errors import InputError
from rkface.runtime.gallery.people import Sample
from rkface.runtime.hub import search
from rkface.runtime.hub.boards import add_site
from rkface.runtime.hub.connection import connect
from rkface.runtime.hub.people import add_person, erase_person, insert_samples
from rkface.runtime.hub.search import open_search
from rkface.runtime.hub.search_index import PREFIX, build_index

from .conftest import ONE, D

SITES = ("north", "south", "west")


def search_hub(hub, probe, identity, sites=(), **options):
    return open_search(hub, identity, sites).find(probe, **options)


def unit(values):
    return (values / np.linalg.norm(values, axis=-1, keepdims=True)).astype(np.float32)


VECTORS = unit(np.random.default_rng(5).standard_normal((240, D)))
PROBES = unit(VECTORS[::20] + np.random.default_rng(6).standard_normal((12, D)) * 0.1)


def person_of(number):
    return f"{number // 2:032x}"  # two samples each


def fill(hub):
    """120 people with two samples each, at the three sites in turn."""
    for site in SITES:
        add_site(hub, site)
    with hub.transaction():
        hub.execute("SET LOCAL session_replication_role = replica")  # no triggers: no board has to hear of it
        hub.execute("INSERT INTO rkface.setting VALUES ('identity', %s)", [ONE])
        numbers = range(0, len(VECTORS), 2)
        people = [(person_of(one), f"P{one // 2}", SITES[one // 2 % 3]) for one in numbers]
        hub.cursor().executemany("INSERT INTO rkface.person (id, name) VALUES (%s, %s)", [one[:2] for one in people])
        hub.cursor().executemany("INSERT INTO rkface.stay (person, site) VALUES (%s, %s)", [one[::2] for one in people])
        for number in numbers:
            samples = [Sample(vector, None, 0.5, "photo.jpg", identity=ONE) for vector in VECTORS[number : number + 2]]
            insert_samples(hub, person_of(number), samples, ONE)


def expected(probe, count, site=None):
    """People and cosines, most similar first, computed with numpy."""
    cosines = (VECTORS.astype(np.float64) @ probe).reshape(-1, 2).max(axis=1)
    numbers = [one for one in np.argsort(-cosines) if site is None or SITES[one % 3] == site]
    return [(f"{one:032x}", cosines[one]) for one in numbers[:count]]


def check(found, probe, site=None):
    wanted = expected(probe, len(found.matches), site)
    assert [one.person for one in found.matches] == [person for person, _ in wanted]
    assert np.allclose([one.cosine for one in found.matches], [cosine for _, cosine in wanted], atol=2e-6)


@pytest.fixture
def full(hub):
    fill(hub)
    return hub


@pytest.fixture
def indexed(full, database):
    with connect(database) as watch:
        build_index(full, watch)
    return full


def test_the_most_similar_people_are_found_with_their_names_and_sites(full):
    for probe in PROBES:
        found = search_hub(full, probe, ONE, people=4)
        assert found.method == "exact" and not found.lacks_index
        check(found, probe)
        assert {one.name for one in found.matches} == {f"P{int(one.person, 16)}" for one in found.matches}
        assert all(one.sites == (SITES[int(one.person, 16) % 3],) for one in found.matches)


def test_only_people_who_are_known_at_the_sites_are_searched(full):
    for probe in PROBES[:4]:
        check(search_hub(full, probe, ONE, people=3, sites=["west"]), probe, "west")
    with pytest.raises(InputError, match="no site 'east'"):
        search_hub(full, PROBES[0], ONE, sites=["east"])


def test_the_index_finds_whom_the_exact_search_finds(indexed):
    for probe in PROBES:
        found = search_hub(indexed, probe, ONE, people=4, method="index")
        assert found.method == "index"
        check(found, probe)
        at = search_hub(indexed, probe, ONE, people=2, sites=["west"], method="index")
        assert at.method == "index"
        check(at, probe, "west")


def test_the_index_is_used_above_the_bound_only(indexed, monkeypatch):
    indexed.execute("ANALYZE rkface.sample")
    assert search_hub(indexed, PROBES[0], ONE).method == "exact"
    monkeypatch.setattr(search, "EXACT_SAMPLES", 100)
    assert search_hub(indexed, PROBES[0], ONE).method == "index"
    assert search_hub(indexed, PROBES[0], ONE, sites=["west"]).method == "exact"  # 80 samples
    assert search_hub(indexed, PROBES[0], ONE, sites=["west", "south"]).method == "index"


def test_without_an_index_a_search_of_many_is_exact_and_says_so(full, monkeypatch):
    monkeypatch.setattr(search, "EXACT_SAMPLES", 100)
    found = search_hub(full, PROBES[0], ONE)
    assert (found.method, found.lacks_index) == ("exact", True)


def test_a_pgvector_that_cannot_go_on_until_enough_pass_a_filter_searches_sites_exactly(indexed, monkeypatch):
    monkeypatch.setattr(search, "vector_version", lambda hub: (0, 7))
    found = search_hub(indexed, PROBES[0], ONE, people=2, sites=["west"], method="index")
    assert (found.method, found.lacks_index) == ("exact", True)
    check(found, PROBES[0], "west")
    assert search_hub(indexed, PROBES[0], ONE, method="index").method == "index"


def test_more_people_than_the_index_gives_are_found_exactly(indexed):
    found = search_hub(indexed, PROBES[0], ONE, people=120, method="index")
    assert len(found.matches) == 120
    check(found, PROBES[0])


def test_somebody_with_very_many_samples_hides_nobody(full, database):
    probe = PROBES[0]
    near = unit(probe + np.random.default_rng(7).standard_normal((90, D)) * 0.01)
    with full.transaction():
        many = [Sample(vector, None, 0.5, "photo.jpg", identity=ONE) for vector in near]
        add_person(full, "Many", ["north"], many, ONE, id="f" * 32)
    with connect(database) as watch:
        build_index(full, watch)
    found = search_hub(full, probe, ONE, people=3, method="index")
    assert [one.person for one in found.matches] == ["f" * 32, *(person for person, _ in expected(probe, 2))]


def test_an_answer_of_the_index_that_recognizes_nobody_is_checked_with_all_samples(indexed):
    best = expected(PROBES[0], 1)[0][1]
    for certain, method in ((best - 0.01, "index"), (best + 0.01, "exact")):
        found = search_hub(indexed, PROBES[0], ONE, people=3, method="index", certain=certain)
        assert (found.method, found.lacks_index) == (method, False)
        check(found, PROBES[0])


def test_who_was_erased_is_not_found_with_the_index_either(indexed):
    person, _ = expected(PROBES[0], 1)[0]
    erase_person(indexed, person)
    for method in ("exact", "index"):
        found = search_hub(indexed, PROBES[0], ONE, people=3, method=method)
        assert person not in {one.person for one in found.matches}


def test_a_stay_that_has_ended_is_not_a_site_where_the_person_is_known(full):
    person, _ = expected(PROBES[0], 1)[0]
    full.execute("UPDATE rkface.stay SET valid_until = now() - interval '1 day' WHERE person = %s", [person])
    first = search_hub(full, PROBES[0], ONE).matches[0]
    assert (first.person, first.sites) == (person, ())
    at = search_hub(full, PROBES[0], ONE, people=100, sites=[*SITES])
    assert person not in {one.person for one in at.matches}


def test_an_embedding_of_another_model_is_refused(full):
    with pytest.raises(InputError, match="another model"):
        search_hub(full, PROBES[0], "2" * 32)


def test_embeddings_of_zeros_and_of_other_models_are_nobodys(full, database):
    with full.transaction():
        insert_samples(full, person_of(0), [Sample(np.zeros(D, np.float32), None, 0.5, "", identity=ONE)], ONE)
        strange = Sample(np.ones(7, np.float32), None, 0.5, "", identity="2" * 32)
        insert_samples(full, person_of(0), [strange], ONE)
    check(search_hub(full, PROBES[3], ONE, people=3), PROBES[3])
    with connect(database) as watch:
        build_index(full, watch)
    check(search_hub(full, PROBES[3], ONE, people=3, method="index"), PROBES[3])


def test_an_empty_hub_finds_nobody_and_cannot_be_indexed(hub):
    assert search_hub(hub, PROBES[0], ONE).matches == ()
    with pytest.raises(InputError, match="no embeddings"):
        build_index(hub, hub)


def test_an_index_that_was_interrupted_is_not_used_and_is_built_again(full, database):
    name = f"rkface.{PREFIX}{ONE}"
    with connect(database) as watch:
        build_index(full, watch)
        full.execute("UPDATE pg_index SET indisvalid = false WHERE indexrelid = to_regclass(%s)", [name])
        found = search_hub(full, PROBES[0], ONE, method="index")
        assert (found.method, found.lacks_index) == ("exact", True)
        assert build_index(full, watch).bytes > 0
    assert search_hub(full, PROBES[0], ONE, method="index").method == "index"
