"""Groups of people: with their people they are merged, backed up, exported and forgotten."""

import io

import pytest

from rkface.runtime.core.errors import InputError
from rkface.runtime.enrollment.enroll import EnrollOptions
from rkface.runtime.enrollment.import_export import export_people, import_record, read_records
from rkface.runtime.gallery.backup import back_up, forget
from rkface.runtime.gallery.gallery import Gallery
from rkface.runtime.gallery.groups import add_to_group, list_groups, remove_from_group, rename_group, set_groups
from rkface.runtime.gallery.integrity import find_problems
from rkface.runtime.gallery.restore import restore

from .conftest import ONE, sample


@pytest.fixture
def people(gallery):
    """Ada and Grace, who are a family, and Ada has a key."""
    found = [gallery.add(name, [sample(number)]) for number, name in enumerate(("Ada", "Grace"))]
    add_to_group(gallery, " family ", found)
    add_to_group(gallery, "key", [gallery.person("Ada")])
    return gallery.people()


def test_groups_have_members_and_exist_as_long_as_they_have_some(gallery, people):
    ada, grace = people
    assert (ada.groups, grace.groups) == (("family", "key"), ("family",))
    assert list_groups(gallery) == {"family": tuple(sorted([ada.id, grace.id])), "key": (ada.id,)}
    remove_from_group(gallery, "key", [ada])
    assert list(list_groups(gallery)) == ["family"]
    with pytest.raises(InputError, match="does not belong to the group 'key'"):
        remove_from_group(gallery, "key", [gallery.person("Ada")])
    rename_group(gallery, "family", "home")
    rename_group(gallery, "home", "home")
    assert gallery.person("Ada").groups == ("home",) and find_problems(gallery) == []
    with pytest.raises(InputError, match="there is no group 'family'"):
        rename_group(gallery, "family", "home")


@pytest.mark.parametrize("name", ["", "  ", "a\nb", "\u202eb", "x" * 201])
def test_a_name_that_cannot_be_shown_is_refused(gallery, people, name):
    with pytest.raises(InputError):
        set_groups(gallery, people[0], ["good", name])
    assert gallery.person("Ada").groups == ("family", "key")


def test_two_groups_of_one_name_become_one_and_so_do_those_of_merged_people(gallery, people):
    ada, grace = people
    rename_group(gallery, "key", "family")
    assert list(list_groups(gallery)) == ["family"]
    set_groups(gallery, ada, ["key", "office"])
    gallery.merge(ada, into=grace)
    assert gallery.person("Grace").groups == ("family", "key", "office")


def test_backups_restore_groups_and_forget_people(gallery, people, path, tmp_path):
    backup = back_up(gallery)
    forget(gallery, people[0])
    assert list_groups(gallery) == {"family": (people[1].id,)}
    assert b"key" not in backup.read_bytes() and b"family" in backup.read_bytes()
    remove_from_group(gallery, "family", [gallery.person("Grace")])
    restore(path, backup)
    with Gallery(path) as restored:
        assert list_groups(restored) == {"family": (people[1].id,)}


@pytest.mark.parametrize("table", [False, True])
def test_an_export_has_groups_and_an_import_adds_them(gallery, people, tmp_path, table):
    set_groups(gallery, people[1], ['Grüße, "quoted"', "family"])
    out = io.StringIO()
    export_people(gallery, gallery.people(), out, table=table, embeddings=True, crops=None)
    source = tmp_path / f"people.{'csv' if table else 'jsonl'}"
    source.write_text(out.getvalue(), encoding="utf-8")
    with Gallery(tmp_path / "other.sqlite", ONE, create=True) as other:
        set_groups(other, other.add("Ada", []), ["here"])
        for record in read_records(source, tmp_path):
            import_record(other, record, None, EnrollOptions())
        assert {one.name: one.groups for one in other.people()} == {
            "Ada": ("family", "here", "key"), "Grace": ("Grüße, \"quoted\"", "family"),
        }  # fmt: skip


@pytest.mark.parametrize("groups", ['"family"', "[1]", '["a\\nb"]', '["' + '","'.join(map(str, range(101))) + '"]'])
def test_wrong_groups_of_an_import_are_refused_with_their_line(tmp_path, groups):
    source = tmp_path / "people.jsonl"
    source.write_text(f'{{"schema":"rkface.person","version":1,"name":"Ada","samples":[],"groups":{groups}}}\n')
    (error,) = read_records(source, tmp_path)
    assert isinstance(error, InputError) and "line 1" in str(error)
