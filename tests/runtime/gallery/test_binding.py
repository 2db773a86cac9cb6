"""Encrypted values belong to one place: person, sample, model and column. Other places refuse them."""

import base64
import shutil
import sqlite3
from contextlib import closing

import numpy as np
import pytest

from rkface.runtime.cli.main import main
from rkface.runtime.core.crop_template import ARCFACE_112
from rkface.runtime.core.errors import InputError, WorkError
from rkface.runtime.enrollment.import_export import reembed_gallery
from rkface.runtime.gallery import schema
from rkface.runtime.gallery.backup import back_up, encrypt_gallery, finish, forget
from rkface.runtime.gallery.backup_files import is_good
from rkface.runtime.gallery.encryption import Cipher, make_key
from rkface.runtime.gallery.gallery import Gallery
from rkface.runtime.gallery.integrity import find_problems
from rkface.runtime.gallery.restore import restore
from rkface.runtime.gallery.rows import replace_embeddings

from .conftest import ONE, crop_of, names, sample, vector

pytest.importorskip("cryptography", reason="encryption at rest is the extra [crypto]")
EXCHANGES = {
    "embeddings of two people": [
        "CREATE TEMP TABLE old AS SELECT id, embedding FROM sample",
        "UPDATE sample SET embedding = (SELECT embedding FROM old WHERE old.id = 4 - sample.id) WHERE id IN (1, 3)",
    ],
    "embeddings of one person": [
        "CREATE TEMP TABLE old AS SELECT id, embedding FROM sample",
        "UPDATE sample SET embedding = (SELECT embedding FROM old WHERE old.id = 3 - sample.id) WHERE id IN (1, 2)",
    ],
    "the people of two samples": [
        "CREATE TEMP TABLE old AS SELECT id, person FROM sample",
        "UPDATE sample SET person = (SELECT person FROM old WHERE old.id = 4 - sample.id) WHERE id IN (1, 3)",
    ],
    "a sample given to another person": ["UPDATE sample SET person = (SELECT person FROM sample WHERE id = 3)"],
    "the names of two people": [
        "UPDATE person SET name = 'other' WHERE name = 'Ada'",
        "UPDATE person SET name = 'Ada' WHERE name = 'Grace'",
        "UPDATE person SET name = 'Grace' WHERE name = 'other'",
    ],
    "a copied embedding": ["UPDATE sample SET embedding = (SELECT embedding FROM sample WHERE id = 3) WHERE id = 1"],
    "crops of two people": [
        "CREATE TEMP TABLE old AS SELECT * FROM crop",
        "UPDATE crop SET image = (SELECT image FROM old WHERE old.sample = 4 - crop.sample) WHERE sample IN (1, 3)",
    ],
    "a crop as embedding": ["UPDATE sample SET embedding = (SELECT image FROM crop WHERE sample = 1) WHERE id = 1"],
    "an embedding as crop": ["UPDATE crop SET image = (SELECT embedding FROM sample WHERE id = 1) WHERE sample = 1"],
    "the number of a sample": ["UPDATE crop SET sample = 9 WHERE sample = 1", "UPDATE sample SET id = 9 WHERE id = 1"],
    "the model": ["UPDATE sample SET identity = 'f' || substr(identity, 2)", "UPDATE setting SET value = 'f' || "
                  "substr(value, 2) WHERE name = 'identity'"],
    "an empty value": ["UPDATE sample SET embedding = x'' WHERE id = 1"],
    "the mark of an old gallery": ["INSERT INTO setting VALUES ('unbound', '1')"],
}  # fmt: skip


@pytest.fixture
def key(tmp_path):
    return make_key(tmp_path / "key")


@pytest.fixture
def encrypted(path, key):
    """The path of an encrypted gallery: Ada has the samples 1 and 2, Grace has 3."""
    with Gallery(path, ONE, create=True) as gallery:
        gallery.add("Ada", [sample(1), sample(2)])
        gallery.add("Grace", [sample(3)])
        encrypt_gallery(gallery, key)
    return path


@pytest.fixture
def old(path, key):
    """The path of an encrypted gallery as schema version 1 had it: without places."""
    cipher = Cipher(key.value)
    with closing(sqlite3.connect(path)) as database:
        for statement in schema.MIGRATIONS[0]:
            database.execute(statement)
        for number, (person, name) in enumerate((("a" * 32, "Ada"), ("a" * 32, "Ada"), ("b" * 32, "Grace")), 1):
            database.execute("INSERT OR IGNORE INTO person VALUES (?, ?, '{}', 1, 1)", [person, name])
            embedding, crop = cipher.encrypt(vector(number).tobytes()), cipher.encrypt(crop_of(number))
            row = [number, person, ONE, embedding, f"photo-{number}.jpg"]
            database.execute("INSERT INTO sample VALUES (?, ?, ?, ?, 0.8, ?, 1)", row)
            database.execute("INSERT INTO crop VALUES (?, ?)", [number, crop])
        settings = [("identity", ONE), ("sealed", base64.b64encode(cipher.encrypt(b"rkface gallery")).decode())]
        database.executemany("INSERT INTO setting VALUES (?, ?)", settings)
        database.execute("PRAGMA user_version = 1")
        database.execute(f"PRAGMA application_id = {schema.APPLICATION}")
        database.commit()
    return path


def test_a_backup_of_an_older_version_still_counts_as_good(old):
    assert is_good(old)


def change(path, *statements):
    with closing(sqlite3.connect(path)) as database:
        for statement in statements:
            database.execute(statement)
        database.commit()


def read_everything(gallery):
    gallery.search(vector(1)[None])
    for person in gallery.people():
        gallery.samples(person)


@pytest.mark.parametrize("exchange", EXCHANGES)
def test_exchanged_values_are_refused_and_named(encrypted, key, exchange, capsys):
    change(encrypted, *EXCHANGES[exchange])
    with Gallery(encrypted, key=key) as gallery:
        with pytest.raises(WorkError, match=r"was tampered with: .* sample \d of the person [0-9a-f]{32}") as caught:
            read_everything(gallery)
        assert "gallery remove --gallery" in str(caught.value)
        assert len(gallery.people()) == 2, "people can still be listed"
    assert main(["gallery", "check", "--gallery", str(encrypted), "--key", str(key.path)]) == 1
    out, err = capsys.readouterr()
    assert "tampered" in err and "no damage" not in out


def test_the_command_in_the_error_makes_the_gallery_usable_again(encrypted, key, capsys):
    change(encrypted, *EXCHANGES["a copied embedding"])
    assert main(["gallery", "show", "Ada", "--gallery", str(encrypted), "--key", str(key.path)]) == 1
    command = capsys.readouterr().err.split("`")[-2].split()
    assert main(command[1:]) == 0
    with Gallery(encrypted, key=key) as gallery:
        assert [names(gallery, seed) for seed in (2, 3)] == [["Ada"], ["Grace"]] and find_problems(gallery) == []


def test_an_embedding_from_before_the_model_was_changed_is_refused(encrypted, key):
    with closing(sqlite3.connect(encrypted)) as database:
        ((before,),) = database.execute("SELECT embedding FROM sample WHERE id = 1").fetchall()
    with Gallery(encrypted, "2" * 32, key=key) as gallery:
        replace_embeddings(gallery, {number: vector(number) for number in (1, 2, 3)}, "2" * 32)
        assert [names(gallery, seed) for seed in (2, 3)] == [["Ada"], ["Grace"]]
        with gallery.transaction() as database:
            database.execute("UPDATE sample SET embedding = ? WHERE id = 1", [before])
    with Gallery(encrypted, "2" * 32, key=key) as gallery, pytest.raises(WorkError, match="tampered"):
        gallery.search(vector(1)[None])


def test_rename_merge_and_add_bind_values_to_their_new_places(encrypted, key):
    with Gallery(encrypted, key=key) as gallery:
        gallery.rename(gallery.person("Ada"), "Ada King")
        gallery.merge(gallery.person("Grace"), gallery.person("Ada King"))
        gallery.add("Ada King", [sample(4)])
        assert find_problems(gallery) == []
    with Gallery(encrypted, key=key) as gallery:
        assert [names(gallery, seed) for seed in (1, 2, 3, 4)] == [["Ada King"]] * 4
        samples = gallery.samples(gallery.person("Ada King"))
        assert [one.crop for one in samples] == [crop_of(seed) for seed in (1, 2, 3, 4)]
    with Gallery(encrypted) as locked:
        with pytest.raises(InputError, match="is encrypted: use --key"):
            locked.rename(locked.person("Ada King"), "Ada")
        assert [person.name for person in locked.people()] == ["Ada King"]


def test_a_running_program_sees_people_whom_another_one_renames(encrypted, key):
    with Gallery(encrypted, key=key) as running, Gallery(encrypted, key=key) as other:
        ada = running.person("Ada")
        other.rename(other.person("Ada"), "Ada King")
        assert len(running.samples(ada)) == 2, "the person has an old name, the values are bound to the new one"
        assert running.refresh() and names(running, 1) == ["Ada King"]


def test_new_embeddings_are_bound_to_the_new_model(encrypted, key, monkeypatch):
    monkeypatch.setattr(
        "rkface.runtime.enrollment.import_export.decode_crop", lambda crop, _: np.frombuffer(crop, "u1")
    )
    with Gallery(encrypted, "2" * 32, key=key) as gallery:
        result = reembed_gallery(
            gallery, lambda crops: np.stack([vector(10 + len(crop)) for crop in crops]), ARCFACE_112, "2" * 32
        )
        assert (result.done, result.left, find_problems(gallery)) == (3, 0, [])


def test_an_old_gallery_and_its_backups_are_bound_when_they_are_opened_with_the_key(old, key, tmp_path):
    backups = old.with_name(f"{old.name}.backups")
    backups.mkdir()
    shutil.copy(old, backup := backups / "2026-11-28T10-00-00-000Z.sqlite")
    with Gallery(old) as locked:  # migrates, but cannot bind
        assert [person.name for person in locked.people()] == ["Ada", "Grace"] and find_problems(locked) == []
    with Gallery(old, key=key) as gallery:
        assert [names(gallery, seed) for seed in (1, 2, 3)] == [["Ada"], ["Ada"], ["Grace"]]
        assert gallery.samples(gallery.person("Grace"))[0].crop == crop_of(3) and find_problems(gallery) == []
        assert finish(gallery) == []
    for file in (old, backup):
        change(file, *EXCHANGES["embeddings of two people"])
        with Gallery(file, key=key) as gallery, pytest.raises(WorkError, match="tampered"):
            gallery.search(vector(1)[None])


def test_an_old_backup_can_be_restored_while_a_program_runs(old, key, tmp_path):
    shutil.copy(old, backup := tmp_path / "usb.sqlite")
    with Gallery(old, key=key) as running:
        running.add("Hedy", [sample(5)])
        assert names(running, 5) == ["Hedy"]
        restore(old, backup, key)
        assert running.refresh() and names(running, 3) == ["Grace"] and names(running, 5, 3) != ["Hedy"]
        assert find_problems(running) == []


def test_an_interrupted_migration_changes_nothing_and_is_repeated(old, key, monkeypatch):
    encrypt, calls = Cipher.encrypt, []

    def fail_at_the_last(self, data, place=b""):
        calls.append(place)
        if len(calls) == 6:
            raise OSError("the power fails")
        return encrypt(self, data, place)

    monkeypatch.setattr(Cipher, "encrypt", fail_at_the_last)
    with pytest.raises(OSError, match="power"):
        Gallery(old, key=key)
    monkeypatch.undo()
    with Gallery(old, key=key) as gallery:
        assert names(gallery, 3) == ["Grace"] and find_problems(gallery) == []


def test_people_can_be_forgotten_in_an_old_gallery_without_the_key(old, key):
    with Gallery(old) as gallery:
        backup = back_up(gallery)
        assert forget(gallery, gallery.person("Ada")) == []
    for file in (old, backup):
        with Gallery(file, key=key) as gallery:
            assert names(gallery, 3, 5) == ["Grace"]
