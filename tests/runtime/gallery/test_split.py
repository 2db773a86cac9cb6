"""Samples are given to another person, and forgetting that person reaches them in older backups too."""

import pytest

from rkface.runtime.core.errors import InputError
from rkface.runtime.gallery.backup import back_up, encrypt_gallery, forget
from rkface.runtime.gallery.encryption import Key
from rkface.runtime.gallery.gallery import Gallery
from rkface.runtime.gallery.integrity import find_problems
from rkface.runtime.gallery.restore import restore
from rkface.runtime.gallery.split import move_samples

from .conftest import ONE, names, sample, traces


@pytest.fixture
def ada(gallery):
    """Ada with three samples; the third one shows Grace."""
    return gallery.add("Ada", [sample(1), sample(2), sample(3)])


def third(gallery, ada):
    return [gallery.samples(ada)[2].id]


@pytest.mark.parametrize("encrypted", [False, True])
def test_moved_samples_are_found_under_the_other_name(gallery, ada, path, tmp_path, encrypted):
    if encrypted:
        pytest.importorskip("cryptography")
        encrypt_gallery(gallery, Key(tmp_path / "key", bytes(range(32))))
    assert names(gallery, 3) == ["Ada"]
    grace = move_samples(gallery, ada, third(gallery, ada), "Grace")
    assert (grace.name, grace.samples, gallery.person("Ada").samples) == ("Grace", 1, 2)
    assert [names(gallery, seed) for seed in (1, 2, 3)] == [["Ada"], ["Ada"], ["Grace"]]
    assert find_problems(gallery) == []
    with Gallery(path, ONE, key=Key(tmp_path / "key", bytes(range(32))) if encrypted else None) as again:
        assert names(again, 3) == ["Grace"] and again.samples(grace)[0].source == "photo-3.jpg"


def test_samples_can_go_to_a_person_who_exists_and_back(gallery, ada):
    gallery.add("Grace", [sample(4)])
    numbers = third(gallery, ada)
    assert move_samples(gallery, ada, numbers, "Grace").samples == 2
    assert move_samples(gallery, gallery.person("Grace"), numbers, "Ada").samples == 3


@pytest.mark.parametrize(
    ("samples", "name", "said"),
    [
        ([1, 2, 3], "Grace", "all samples of 'Ada': rename"),
        ([], "Grace", "at least one"),
        ([99], "Grace", "no sample 99"),
        ([1], "Ada", "has these samples already"),
        ([1], "  ", "needs a name"),
    ],
)
def test_what_is_not_a_split_changes_nothing(gallery, ada, samples, name, said):
    with pytest.raises(InputError, match=said):
        move_samples(gallery, ada, samples, name)
    assert [(one.name, one.samples) for one in gallery.people()] == [("Ada", 3)]


@pytest.mark.parametrize("merged", [False, True])
def test_forgetting_who_got_a_sample_deletes_it_from_older_backups_too(gallery, ada, tmp_path, merged):
    backup = back_up(gallery)  # here, the sample is one of Ada's
    grace = move_samples(gallery, ada, third(gallery, ada), "Grace")
    if merged:
        gallery.merge(grace, gallery.add("Grace Hopper", []))
    assert forget(gallery, gallery.person("Grace Hopper" if merged else "Grace")) == []
    assert traces(tmp_path, [1, 2, 3]) == {1, 2}
    with Gallery(backup) as copy:
        assert copy.person("Ada").samples == 2 and find_problems(copy) == []


def test_a_restored_backup_from_before_the_split_has_no_sample_of_a_forgotten_person(gallery, ada, path, tmp_path):
    elsewhere = back_up(gallery, tmp_path / "disk.sqlite")
    content = elsewhere.read_bytes()
    forget(gallery, move_samples(gallery, ada, third(gallery, ada), "Grace"))
    elsewhere.write_bytes(content)  # the disk was not connected
    restore(path, elsewhere)
    gallery.refresh()
    assert [(one.name, one.samples) for one in gallery.people()] == [("Ada", 2)]


def test_a_restored_backup_undoes_the_split(gallery, ada, path):
    gallery.add("Grace", [sample(4)])
    backup = back_up(gallery)
    move_samples(gallery, ada, third(gallery, ada), "Grace")
    restore(path, backup)
    gallery.refresh()
    assert gallery.person("Ada").samples == 3
    forget(gallery, gallery.person("Grace"))
    with Gallery(backup) as copy:
        assert copy.person("Ada").samples == 3, "the sample is Ada's again"
