"""Classic mistakes in a program that uses a gallery get an error that says what to do."""

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from rkface.runtime.cli.main import main
from rkface.runtime.core.errors import InputError
from rkface.runtime.gallery.gallery import Gallery
from rkface.runtime.gallery.people import embedding_identity

from .conftest import D, sample, vector


@pytest.mark.parametrize(("k", "found"), [(0, "0"), (-1, "-1"), (1.5, "a float"), ("3", "a str"), (None, "None")])
def test_k_is_a_count(gallery, k, found):
    with pytest.raises(InputError, match=rf"k, the number of people, must be .*1 or greater, not {found}"):
        gallery.search(vector(1)[None], k)


@pytest.mark.parametrize(
    ("samples", "message"),
    [
        ([vector(1)], "each sample must be a Sample, not a ndarray: write Sample"),
        (sample(1), r"samples must be a list, not a Sample: write \[sample\]"),
        (None, "samples must be a list, not None"),
        ([replace(sample(1), embedding=[1.0])], "must be a NumPy array, not a list"),
        ([replace(sample(1), embedding=np.ones(D, int))], "must be float32, not int64"),
        ([replace(sample(1), crop=np.zeros((112, 112, 3), np.uint8))], "must be the bytes of a PNG file"),
        ([replace(sample(1), quality=None)], "the quality of a sample must be a number from 0 to 1, not None"),
        ([replace(sample(1), source=Path("a.jpg"))], "the source of a sample must be a string, not a PosixPath"),
    ],
)
def test_what_is_not_a_sample_is_refused(gallery, samples, message):
    with pytest.raises(InputError, match=message):
        gallery.add("Ada", samples)
    assert gallery.people() == []


def test_a_name_is_not_taken_for_a_person(gallery):
    ada = gallery.add("Ada", [])
    for use in (
        lambda: gallery.samples("Ada"),
        lambda: gallery.rename("Ada", "Eve"),
        lambda: gallery.merge("Ada", ada),
        lambda: gallery.remove_samples("Ada", [1]),
    ):
        with pytest.raises(InputError, match=r"must be a Person, not a str: find one with gallery.person\(name\)"):
            use()
    for name in (None, 3):
        with pytest.raises(InputError, match="must be a string"):
            gallery.add(name, [])
        with pytest.raises(InputError, match="must be a string"):
            gallery.person(name)


@pytest.mark.parametrize("metadata", ["room 3", {"room": object()}])
def test_metadata_is_a_dictionary_of_json_values(gallery, metadata):
    with pytest.raises(InputError, match="metadata"):
        gallery.add("Ada", [], metadata)


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"identity": 3}, r"identity must be a string, not an int: pass embedding_identity\(pipeline.manifest\)"),
        ({"key": "secret"}, "key must be a Key, not a str"),
        ({"precision": "int4"}, "there is no precision 'int4': choose one of float32, int8, auto"),
    ],
)
def test_options_of_the_wrong_type_are_refused(tmp_path, options, message):
    with pytest.raises(InputError, match=message):
        Gallery(tmp_path / "g.sqlite", create=True, **options)


def test_what_is_not_a_manifest_has_no_identity():
    with pytest.raises(InputError, match=r"takes a bundle's manifest, not None: pass pipeline.manifest"):
        embedding_identity(None)


def test_an_empty_file_is_not_a_gallery_and_does_not_become_one(tmp_path):
    empty = tmp_path / "empty.jpg"
    empty.touch()
    with pytest.raises(InputError, match=r"empty.jpg is empty, so it is not a gallery"):
        Gallery(empty)
    assert not empty.stat().st_size


def test_a_folder_is_not_a_gallery(tmp_path):
    for folder in (tmp_path, ".", "/"):  # the last two have no name, beside which other files could be
        with pytest.raises(InputError, match="is not a file: name a file for the gallery"):
            Gallery(folder)


@pytest.mark.parametrize("command", [["gallery", "list"], ["access", "log"], ["strangers", "list"]])
@pytest.mark.parametrize("folder", [".", "/"])
def test_a_folder_instead_of_a_gallery_is_an_error_of_every_command(capsys, command, folder):
    assert main([*command, "--gallery", folder]) == 2
    assert capsys.readouterr().err.startswith(f"rkface: {folder} is not a file: name a file for the gallery")
