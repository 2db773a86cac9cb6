"""People are found by a part of their name, in pages, in a gallery with thousands of people."""

import pytest

from rkface.runtime.gallery.people_search import find_people, fold_name, select_page


@pytest.mark.parametrize(
    ("name", "folded"),
    [("Łukasz Żal", "lukasz zal"), ("ADA", "ada"), ("José Peña", "jose pena"), ("Groß", "gross"), ("ﬁona", "fiona")],
)
def test_accents_and_case_do_not_matter(name, folded):
    assert fold_name(name) == folded


def pages(find, limit):
    """All names in pages of ``limit``."""
    shown, after = [], None
    while True:
        people, after = find(limit, after)
        assert len(people) <= limit
        shown += [person.name for person in people]
        if after is None:
            return shown


@pytest.mark.parametrize(
    ("text", "found"),
    [
        ("", ["Ada King", "Łukasz Król", "lukas Berg", "Zoë King"]),
        ("lukas", ["lukas Berg", "Łukasz Król"]),
        ("king", ["Ada King", "Zoë King"]),
        ("KING zoe", ["Zoë King"]),
        ("krol", ["Łukasz Król"]),
        ("%", []),
        ("kingzoe", []),
    ],
)
def test_every_word_must_occur_in_the_name(gallery, text, found):
    for name in ("Zoë King", "Ada King", "lukas Berg", "Łukasz Król"):
        gallery.add(name, [])
    for limit in (1, 3, 50):
        assert sorted(pages(lambda n, after: find_people(gallery, text, n, after), limit)) == sorted(found)


@pytest.mark.slow
def test_ten_thousand_people_come_in_pages_sorted_by_name(gallery):
    with gallery.transaction() as database:
        database.executemany(
            "INSERT INTO person VALUES (?, ?, '{}', ?, 0.0)",
            [(f"{n:032x}", f"Person {(n * 7919) % 10_000:05d}", float(n % 100)) for n in range(10_000)],
        )
    assert pages(lambda n, after: find_people(gallery, "person", n, after), 1000) == [
        f"Person {n:05d}" for n in range(10_000)
    ]
    found, more = find_people(gallery, "son 00042", 50)
    assert [person.name for person in found] == ["Person 00042"] and more is None
    seen, after = set(), None
    while page := select_page(gallery, 1000, after):
        seen |= {person.id for person in page}
        after = page[-1].created, page[-1].id
    assert len(seen) == 10_000, "people who were enrolled at the same moment too"
