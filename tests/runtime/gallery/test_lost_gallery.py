"""A gallery that lost its content is refused, with the command that restores it, and never taken for a new one."""

import os
import random
import shlex
import shutil
import sqlite3
import struct
from contextlib import closing, suppress
from io import StringIO

import numpy as np
import pytest

from rkface.runtime.cli.main import main
from rkface.runtime.core.errors import InputError, RkfaceError
from rkface.runtime.enrollment.import_export import export_people
from rkface.runtime.gallery.backup import back_up, forget
from rkface.runtime.gallery.backup_files import list_backups
from rkface.runtime.gallery.gallery import Gallery
from rkface.runtime.gallery.integrity import find_problems
from rkface.runtime.gallery.people import embedding_identity
from rkface.runtime.gallery.restore import restore
from rkface.runtime.inference.open_bundle import open_bundle
from rkface.runtime.service.resources import open_gallery
from rkface.runtime.service.settings import Settings
from rkface.runtime.service.startup import lock_gallery

from .conftest import ONE, D, names, sample, vector


@pytest.fixture
def backup(path):
    """A closed gallery of five people, and its newest backup."""
    with Gallery(path, ONE, create=True) as gallery:
        for seed in range(5):
            gallery.add(f"person {seed}", [sample(seed)], {"seed": seed})
        back_up(gallery)
        return back_up(gallery)


def empty(path):
    path.write_bytes(b"")


def cut(path):
    path.write_bytes(path.read_bytes()[:5000])


def cut_to_a_byte(path):
    path.write_bytes(path.read_bytes()[:1])


def write_text(path):
    path.write_bytes(b"not a database " * 1000)


def write_zeros(path):
    path.write_bytes(bytes(path.stat().st_size))


def delete(path):
    path.unlink()


def delete_all_but_the_log(path):
    shutil.rmtree(path.with_name(f"{path.name}.backups"))
    path.rename(path.with_name(f"{path.name}-wal"))


def start_again(path):
    """As an older version did with an empty file."""
    path.unlink()
    with Gallery(new := path.with_name("new.sqlite"), create=True):
        pass
    new.rename(path)


def drop_tables(path):
    with closing(sqlite3.connect(path)) as database:
        database.executescript("DROP TABLE crop; DROP TABLE sample; VACUUM")


LOSSES = [empty, cut, cut_to_a_byte, write_text, write_zeros, delete, start_again, drop_tables]


@pytest.mark.parametrize("lose", LOSSES)
def test_a_lost_gallery_is_refused_by_every_command_until_it_is_restored(path, backup, lose, capsys):
    lose(path)
    before = path.read_bytes() if path.exists() else None
    command = f"rkface gallery restore --gallery {path} {backup}"
    with pytest.raises(RkfaceError) as caught:
        Gallery(path, ONE, create=True)
    assert command in str(caught.value)
    lines = path.with_name("people.jsonl")
    lines.write_text("{}\n")
    for words in (["list"], ["check"], ["backup"], ["export"], ["show", "person 1"], ["import", str(lines)]):
        assert main(["gallery", *words, "--gallery", str(path)]) in (1, 2)
        out, err = capsys.readouterr()
        assert command in err and "no damage" not in out, words
    assert (path.read_bytes() if path.exists() else None) == before, "nothing was changed"
    assert main(shlex.split(command)[1:]) == 0, capsys.readouterr().err
    with Gallery(path, ONE, create=True) as gallery:
        assert names(gallery, 3) == ["person 3"] and find_problems(gallery) == []


@pytest.mark.parametrize("lose", [empty, delete, start_again])
def test_the_service_does_not_start_with_a_lost_gallery(bundle, path, backup, lose):
    lose(path)
    with (
        open_bundle(bundle) as pipeline,
        lock_gallery(path),
        pytest.raises(RkfaceError, match="gallery restore"),
        open_gallery(Settings(gallery=path), pipeline),
    ):
        pass


def test_a_write_ahead_log_without_its_gallery_is_refused_and_kept(path, backup):
    delete_all_but_the_log(path)
    log = path.with_name(f"{path.name}-wal")
    content = log.read_bytes()
    for create in (True, False):
        with pytest.raises(RkfaceError, match=r"is missing, but .*-wal shows that there was a gallery"):
            Gallery(path, create=create)
    empty(path)
    with pytest.raises(RkfaceError, match="is empty"):  # SQLite would delete the log
        Gallery(path, create=True)
    assert log.read_bytes() == content


def test_an_old_write_ahead_log_is_not_read_into_a_restored_gallery(path, tmp_path):
    with Gallery(path, ONE, create=True) as gallery:
        gallery.add("Ada", [sample(1)])
        backup = back_up(gallery, tmp_path / "usb.sqlite")
        gallery.add("Grace", [sample(2)])
        log = path.with_name(f"{path.name}-wal")
        shutil.copy(log, saved := tmp_path / "log")
    path.unlink()
    shutil.copy(saved, log)
    restore(path, backup)
    with Gallery(path, ONE) as gallery:
        assert [person.name for person in gallery.people()] == ["Ada"] and find_problems(gallery) == []


def test_a_first_start_creates_a_gallery_completely(path, bundle):
    with open_bundle(bundle) as pipeline, lock_gallery(path), open_gallery(Settings(gallery=path), pipeline) as gallery:
        gallery.add("Ada", [sample(1)])
        assert path.stat().st_size and gallery.identity == embedding_identity(pipeline.manifest)
    assert [file.name for file in path.parent.iterdir() if file.name.startswith(f".{path.name}.")] == [
        f".{path.name}.lock"
    ]


def test_a_gallery_whose_people_were_all_forgotten_opens(path, backup):
    with Gallery(path, ONE) as gallery:
        for person in gallery.people():
            forget(gallery, person)
    with Gallery(path, create=True) as gallery:
        assert gallery.people() == [] and find_problems(gallery) == []


def test_a_damaged_backup_is_not_suggested(path, backup):
    cut(backup)
    empty(path)
    older = list_backups(path)[0]
    with pytest.raises(RkfaceError) as caught:
        Gallery(path)
    assert f"{older}`" in str(caught.value) and str(backup) not in str(caught.value)
    cut(older)
    with pytest.raises(RkfaceError, match=r"no backup in .* can be read"):
        Gallery(path)


@pytest.mark.parametrize(
    "statement",
    [
        "CREATE TRIGGER spy AFTER INSERT ON sample BEGIN DELETE FROM person; END",
        "CREATE VIEW look AS SELECT * FROM person",
        "CREATE TABLE more (x)",
        "CREATE INDEX more ON person (changed)",
        "ALTER TABLE person ADD COLUMN pet TEXT",
        "DROP INDEX sample_person",
        "PRAGMA user_version = -3",
        "PRAGMA user_version = 0",
    ],
)
def test_changed_tables_are_refused(path, backup, statement):
    with closing(sqlite3.connect(path)) as database:
        database.execute(statement)
        database.commit()
    with pytest.raises(RkfaceError, match=r"is damaged .*gallery restore"):
        Gallery(path, ONE, create=True)


VECTOR = vector(1).tobytes()
CHANGES = [
    ("UPDATE sample SET embedding = ?", VECTOR[:-4]),
    ("UPDATE sample SET embedding = ?", VECTOR[:-1]),
    ("UPDATE sample SET embedding = ? WHERE id = 2", VECTOR + VECTOR),
    ("UPDATE sample SET embedding = ? WHERE id = 2", b""),
    ("UPDATE sample SET embedding = ? WHERE id = 2", np.full(D, np.nan, "<f4").tobytes()),
    ("UPDATE sample SET embedding = ? WHERE id = 2", np.full(D, np.inf, "<f4").tobytes()),
    ("UPDATE sample SET embedding = ? WHERE id = 2", np.full(D, 3e38, "<f4").tobytes()),
    ("UPDATE sample SET embedding = ? WHERE id = 2", (2 * vector(1)).tobytes()),
    ("UPDATE sample SET person = ? WHERE id = 2", "nobody"),
    ("UPDATE sample SET created = ? WHERE id = 2", float("inf")),
    ("UPDATE sample SET source = cast(? AS TEXT) WHERE id = 2", b"\xff\xfe"),
    ("UPDATE person SET name = cast(? AS TEXT) WHERE name = 'person 1'", b"\xff\xfe"),
    ("UPDATE person SET metadata = ? WHERE name = 'person 1'", "{"),
    ("UPDATE person SET metadata = ? WHERE name = 'person 1'", "[]"),
    ("UPDATE person SET metadata = ? WHERE name = 'person 1'", "[" * 20_000),
    ("UPDATE person SET changed = ? WHERE name = 'person 1'", float("-inf")),
    ("UPDATE setting SET value = cast(? AS TEXT) WHERE name = 'identity'", b"\xff"),
]


@pytest.mark.parametrize(("statement", "value"), CHANGES)
def test_values_that_cannot_be_right_are_found_and_the_backup_is_named(path, backup, statement, value, capsys):
    with closing(sqlite3.connect(path)) as database:
        database.execute(statement, [value])
        database.commit()
    assert main(["gallery", "check", "--gallery", str(path)]) == 1
    assert "no damage" not in capsys.readouterr().out
    with pytest.raises(RkfaceError, match=r"is damaged .*gallery restore"), Gallery(path, ONE) as gallery:
        use_everything(gallery)
    with pytest.raises(RkfaceError, match="damaged"), Gallery(path, ONE) as gallery:
        back_up(gallery)
    restore(path, backup)
    with Gallery(path, ONE) as gallery:
        assert names(gallery, 3) == ["person 3"]


def use_everything(gallery):
    """Call every reader of the gallery."""
    gallery.search(vector(1)[None], 3)
    people = gallery.people()
    for person in people:
        gallery.samples(person)
    export_people(gallery, people, StringIO(), table=True, embeddings=True, crops=None)
    gallery.state()
    find_problems(gallery)
    if people:
        gallery.rename(people[0], "somebody else")
        gallery.merge(people[-1], people[0])
    gallery.add("new", [sample(77)])


def damage(content, dice):
    """``content`` with a few changed bytes, in the header, in the pages or in the values, or cut, or with a hole."""
    changed = bytearray(content)
    for _ in range(dice.choice((1, 1, 3, 20))):
        where = dice.randrange(100) if dice.random() < 0.3 else dice.randrange(len(changed))
        match dice.randrange(4):
            case 0:
                changed[where] ^= 1 << dice.randrange(8)
            case 1:
                changed[where] = dice.randrange(256)
            case 2:
                changed[where : where + 4] = struct.pack(">I", dice.choice((0, 1, 0xFFFFFFFF, 0x7FFFFFFF, 0x80000000)))
            case _:
                changed[where : where + 64] = dice.randbytes(64)
    if dice.random() < 0.1:
        del changed[dice.randrange(len(changed)) :]
    return bytes(changed)


@pytest.mark.slow
def test_randomly_damaged_galleries_end_in_errors_for_users(path, backup, tmp_path):
    """Every exception except RkfaceError fails this test. RKFACE_DAMAGED sets how many galleries are damaged."""
    content, dice = path.read_bytes(), random.Random(9)
    target, refused, count = tmp_path / "damaged" / "gallery.sqlite", 0, int(os.environ.get("RKFACE_DAMAGED", "150"))
    for _ in range(count):
        shutil.rmtree(target.parent, ignore_errors=True)
        target.parent.mkdir()
        target.write_bytes(damage(content, dice))
        try:
            with Gallery(target, ONE) as gallery:
                use_everything(gallery)
                back_up(gallery)
        except RkfaceError:
            refused += 1
        with suppress(RkfaceError):
            restore(tmp_path / "damaged" / "other.sqlite", target)
        try:
            restore(target, backup)
        except InputError as error:
            assert "newer rkface" in str(error)  # the only damage that cannot be noticed
    assert refused > count / 4
