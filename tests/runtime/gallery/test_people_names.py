"""Which names people may have, and which names are equal."""

import sqlite3
import unicodedata

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from rkface.runtime.core.errors import InputError
from rkface.runtime.core.text import find_hidden, in_a_line, in_lines
from rkface.runtime.gallery.gallery import Gallery
from rkface.runtime.gallery.people import MOST_NAME, Sample, clean_name, look_alike


@pytest.fixture
def gallery(tmp_path):
    with Gallery(tmp_path / "gallery.sqlite", "model", create=True) as opened:
        yield opened


def sample(number):
    return Sample(np.eye(8, dtype=np.float32)[number], None, 1.0, "photo")


@pytest.mark.parametrize(
    ("given", "stored"),
    [
        ("Zoe\u0308", "Zo\u00eb"),
        ("  Ada   Lovelace\u00a0", "Ada Lovelace"),
        ("山田\u3000太郎", "山田 太郎"),
        ("علی\u200cرضا", "علی\u200cرضا"),  # Persian needs the joiner
        ("क\u094d\u200dष", "क\u094d\u200dष"),
        ("\U00031350", "\U00031350"),  # an ideograph that Python 3.10 does not know
        ("葛\U000e0100", "葛\U000e0100"),
        ("Ada ❤\ufe0f", "Ada ❤\ufe0f"),
        ("O'Neil-Jr. (2)", "O'Neil-Jr. (2)"),
    ],
)
def test_names_of_people_are_stored_in_one_form(given, stored):
    assert clean_name(given) == stored


@pytest.mark.parametrize(
    "name",
    [
        "", " ", "\u00a0\u3000", "Ada\u202e", "\u2066Ada\u2069", "A\u200bda", "\ufeffAda", "A\u200dda", "Ada\u200e",
        "Ada\u00ad", "\ue000", "\U000f0000", "\u0378", "\uffff", "\ud800", "Ada\udc80", "\u3164", "\u2800", "A\u034fda",
        "A\ufe0f", "\U000e0041", "Ada\0", "Ada\n", "Ada\x1b[2J", "Ada\x9b", "Ada\u2028", "x" * (MOST_NAME + 1),
    ],
)  # fmt: skip
def test_names_with_characters_that_cannot_be_seen_are_refused(name, gallery):
    with pytest.raises(InputError) as error:
        gallery.add(name, [])
    assert find_hidden(str(error.value)) is None and len(str(error.value)) < 300
    assert gallery.people() == []


@settings(deadline=None, derandomize=True)
@given(st.text(st.characters()))
def test_whatever_a_name_is_it_is_cleaned_once_or_refused_clearly(name):
    try:
        cleaned = clean_name(name)
    except InputError as error:
        assert find_hidden(str(error)) is None
        return
    assert clean_name(cleaned) == cleaned == unicodedata.normalize("NFC", cleaned) == in_a_line(cleaned)


@settings(deadline=None, derandomize=True)
@given(st.text(st.characters()))
def test_text_in_a_line_has_nothing_that_a_terminal_executes(text):
    assert find_hidden(in_a_line(text)) is None
    assert in_lines(text).count("\n") == text.count("\n")


def test_composed_and_decomposed_names_are_one_person(gallery):
    gallery.add("Jos\u00e9", [sample(0)])
    person = gallery.add("Jose\u0301 ", [sample(1)])
    assert person.samples == 2 and gallery.person("Jose\u0301") == gallery.person(person.id) == person
    assert gallery.has_sample("Jose\u0301", sample(1))
    other = gallery.add("Other", [])
    with pytest.raises(InputError, match="another person is called"):
        gallery.rename(other, "Jose\u0301")


def test_names_of_older_galleries_are_found_and_can_be_renamed(gallery):
    for number, name in enumerate(("Jose\u0301", "Ada  Lovelace", "Eve\u202e")):
        gallery.add(f"person {number}", [sample(number)])
        with sqlite3.connect(gallery.path) as database:
            database.execute("UPDATE person SET name = ? WHERE name = ?", [name, f"person {number}"])
    assert gallery.add("Jos\u00e9", [sample(3)]).samples == 2
    assert gallery.add("Ada Lovelace", [sample(4)]).samples == 2
    gallery.add("Eve\u202e", [sample(5)])
    gallery.rename(gallery.person("Eve\u202e"), "Eve")
    gallery.rename(gallery.person("Jos\u00e9"), "Jos\u00e9")
    assert {person.name for person in gallery.people()} == {"Jos\u00e9", "Ada  Lovelace", "Eve"}


@pytest.mark.parametrize("key", ["\ud800", "x" * 10_000, "\0", "\u202e"])
def test_a_person_is_not_found_by_any_text(gallery, key):
    gallery.add("Ada", [sample(0)])
    with pytest.raises(InputError):
        gallery.person(key)


def test_names_that_differ_only_in_case_look_alike():
    assert look_alike("ada", ["Bob", "Ada"]) == "Ada"
    assert look_alike("Straße", ["STRASSE"]) == "STRASSE"
    assert look_alike("Ada", ["Ada", "Bob"]) is None
