"""An encrypted gallery cannot be read without its key, and behaves like an unencrypted one with the key."""

import base64
import sqlite3
import stat
from contextlib import ExitStack, closing

import numpy as np
import pytest

from rkface.runtime.cli.main import main
from rkface.runtime.core.errors import InputError, WorkError
from rkface.runtime.gallery.backup import back_up, encrypt_gallery, forget
from rkface.runtime.gallery.encryption import make_key, read_key
from rkface.runtime.gallery.gallery import Gallery
from rkface.runtime.gallery.integrity import find_problems
from rkface.runtime.gallery.people import embedding_identity
from rkface.runtime.gallery.restore import restore
from rkface.runtime.inference.open_bundle import open_bundle
from rkface.runtime.service.appearance_log import AppearanceLog
from rkface.runtime.service.log_files import OLD_FILE, log_path
from rkface.runtime.service.resources import open_gallery
from rkface.runtime.service.settings import Settings
from rkface.runtime.service.sighting import PNG, Sighting
from rkface.runtime.vision.embed import unit

from ..service.test_appearance_log import seen
from .conftest import ONE, crop_of, names, sample, traces, vector

pytest.importorskip("cryptography", reason="encryption at rest is the extra [crypto]")
PEOPLE = {"Ada": (1, 2), "Grace": (3,)}


@pytest.fixture
def key(tmp_path):
    return make_key(tmp_path / "key")


def fill(gallery):
    for name, seeds in PEOPLE.items():
        gallery.add(name, [sample(seed) for seed in seeds])


def test_encryption_leaves_no_unencrypted_byte_and_the_same_results(path, key, tmp_path):
    with Gallery(path, ONE, create=True) as gallery:
        fill(gallery)
        back_up(gallery)
        back_up(gallery, tmp_path / "elsewhere.sqlite")
        before = gallery.search(vector(1)[None], 2)
        assert traces(tmp_path, [1, 2, 3]) == {1, 2, 3}, "the test cannot find them"
        assert encrypt_gallery(gallery, key) == []
        assert traces(tmp_path, [1, 2, 3]) == set()
        assert gallery.search(vector(1)[None], 2) == before
        gallery.add("Ada", [sample(4)])
        assert traces(tmp_path, [4]) == set()
    with Gallery(path, ONE, key=key) as gallery:
        assert names(gallery, 4) == ["Ada"] and find_problems(gallery) == []
        first = gallery.samples(gallery.person("Ada"))[0]
        assert first.crop == crop_of(1)
        np.testing.assert_allclose(first.embedding, vector(1), atol=1e-7)
        with pytest.raises(InputError, match="already"):
            encrypt_gallery(gallery, key)


def test_encrypting_a_copy_made_by_hand_does_not_change_backups_of_the_original(path, key, tmp_path):
    with Gallery(path, ONE, create=True) as gallery:
        fill(gallery)
        made, outside = back_up(gallery), back_up(gallery, tmp_path / "elsewhere.sqlite")
    (copy := tmp_path / "copy.sqlite").write_bytes(path.read_bytes())
    with Gallery(copy) as other:
        assert {left.path for left in encrypt_gallery(other, key)} == {made, outside}
    for backup in (made, outside):
        restore(path, backup)
        with Gallery(path, ONE) as gallery:  # without the key
            assert names(gallery, 1) == ["Ada"]


@pytest.mark.parametrize("precision", ["float32", "int8"])
def test_an_encrypted_gallery_gives_the_same_results(path, key, precision):
    with Gallery(path, ONE, create=True, precision=precision) as gallery:
        fill(gallery)
        encrypt_gallery(gallery, key)
        assert [names(gallery, seed) for seed in (1, 2, 3)] == [["Ada"], ["Ada"], ["Grace"]]


def test_a_running_program_forgets_a_person_after_another_program_encrypted_the_gallery(path, key, tmp_path):
    with Gallery(path, ONE, create=True) as running, Gallery(path, ONE) as other:
        fill(running)
        running.refresh()
        encrypt_gallery(other, key)
        backup = back_up(other)
        assert forget(running, running.person("Ada")) == []
        with Gallery(backup) as kept:
            assert [person.name for person in kept.people()] == ["Grace"]
        assert find_problems(running) == [] and traces(tmp_path, [1, 2]) == set()
        with pytest.raises(InputError, match="encrypted: use --key"):  # the index in memory is no longer used
            running.search(vector(1)[None])
        running.use_key(key)
        assert names(running, 3) == ["Grace"]


def test_without_the_key_people_can_be_forgotten_but_not_recognized(path, key, tmp_path):
    with Gallery(path, ONE, create=True) as gallery:
        fill(gallery)
        encrypt_gallery(gallery, key)
    with Gallery(path, ONE) as locked:
        with pytest.raises(InputError, match="encrypted: use --key"):
            locked.search(vector(1)[None])
        with pytest.raises(InputError, match="encrypted"):
            locked.add("Hedy", [sample(5)])
        assert [person.name for person in locked.people()] == ["Ada", "Grace"]  # and not a part of Hedy
        back_up(locked)
        assert forget(locked, locked.person("Ada")) == []
    with Gallery(path, ONE, key=key) as gallery:
        assert names(gallery, 1, 5) == ["Grace"]
    with pytest.raises(InputError, match="another key"), Gallery(path, key=make_key(tmp_path / "other")) as gallery:
        gallery.search(vector(1)[None])


def test_a_process_that_runs_during_encryption_writes_nothing_unencrypted(path, key, tmp_path):
    with Gallery(path, ONE, create=True) as running:
        fill(running)
        assert names(running, 1) == ["Ada"]
        with Gallery(path) as other:
            encrypt_gallery(other, key)
        with pytest.raises(InputError, match="encrypted"):
            running.add("Hedy", [sample(5)])
        with pytest.raises(InputError, match="encrypted"):
            running.refresh()
        running.use_key(key)
        running.add("Hedy", [sample(5)])
        assert names(running, 5) == ["Hedy"] and traces(tmp_path, [1, 2, 3, 5]) == set()


def test_an_altered_value_is_detected(path, key):
    with Gallery(path, ONE, create=True) as gallery:
        fill(gallery)
        encrypt_gallery(gallery, key)
        with gallery.transaction() as database:
            database.execute("UPDATE sample SET embedding = zeroblob(length(embedding))")
        with pytest.raises(WorkError, match="altered"):
            gallery.samples(gallery.person("Ada"))


def test_an_unencrypted_backup_is_encrypted_when_it_is_restored(path, key, tmp_path):
    with Gallery(path, ONE, create=True) as gallery:
        fill(gallery)
        old = back_up(gallery, tmp_path / "old.sqlite").rename(tmp_path / "drawer.sqlite")
        (left,) = encrypt_gallery(gallery, key)
        assert left.path == tmp_path / "old.sqlite"
        gallery.add("Hedy", [sample(5)])
    with pytest.raises(InputError, match="encrypted"):
        restore(path, old)
    restore(path, old, key)
    old.unlink()
    assert traces(tmp_path, [1, 2, 3]) == set()
    with Gallery(path, ONE, key=key) as gallery:
        assert [person.name for person in gallery.people()] == ["Ada", "Grace"] and names(gallery, 3) == ["Grace"]


def test_a_key_file_has_mode_0600_and_is_never_overwritten(key, tmp_path):
    assert stat.S_IMODE(key.path.stat().st_mode) == 0o600 and read_key(key.path) == key
    assert make_key(tmp_path / "second").value != key.value
    with pytest.raises(InputError, match="cannot be written"):
        make_key(key.path)


def test_a_new_key_is_on_the_disk_before_it_is_used_and_invalid_keys_are_refused(tmp_path, synced):
    made = make_key(tmp_path / "key")
    written, folder = synced
    assert written.name.startswith(".key.") and folder == tmp_path == made.path.parent
    for wrong in ("", "no base64", base64.b64encode(b"short").decode()):
        (tmp_path / "wrong").write_text(wrong)
        with pytest.raises(InputError, match="not a gallery key"):
            read_key(tmp_path / "wrong")


def test_a_key_for_an_unencrypted_gallery_is_refused(path, key):
    with Gallery(path, ONE, create=True) as gallery:
        fill(gallery)
    with pytest.raises(InputError, match="gallery encrypt"), Gallery(path, ONE, key=key) as gallery:
        gallery.search(vector(1)[None])


def test_the_encrypt_command(path, tmp_path, capsys, monkeypatch):
    with Gallery(path, ONE, create=True) as gallery:
        fill(gallery)

    def run(*arguments):
        return main(["gallery", *map(str, arguments), "--gallery", str(path)]), *capsys.readouterr()

    assert run("encrypt")[0] == 2
    assert run("encrypt", "--key", tmp_path / "key")[0] == 0
    assert "Ada" in run("list")[1]  # names are not encrypted
    code, _, err = run("show", "Ada")
    assert code == 2 and "encrypted" in err
    assert "Ada" in run("list", "--key", tmp_path / "key")[1]
    make_key(tmp_path / "other")
    for action in ("list", "backup", "check"):
        code, out, err = run(action, "--key", tmp_path / "other")
        assert (code, out) == (2, "") and "is encrypted with another key" in err
    monkeypatch.setenv("RKFACE_GALLERY_KEY", str(tmp_path / "key"))
    assert "Ada" in run("show", "Ada")[1]
    assert run("encrypt")[0] == 2


FACE = PNG + np.random.default_rng(7).bytes(20_000)  # of an unknown person
VECTOR = unit(np.random.default_rng(8).normal(size=128).astype(np.float32))  # its embedding


@pytest.fixture(params=["name of today", "name of earlier versions"])
def log(path, request):
    """An unencrypted appearance log with faces, next to an unencrypted gallery."""
    with Gallery(path, ONE, create=True) as gallery:
        fill(gallery)
    file = log_path(path) if request.param == "name of today" else path.with_name(OLD_FILE)
    with AppearanceLog(file) as log:
        for id in "abc":
            log.record(seen(id), Sighting(FACE, VECTOR, "model"))
    return file


def is_readable(log):
    files = b"".join(path.read_bytes() for path in log.parent.glob(f"{log.name}*"))
    return any(FACE[place : place + 16] in files for place in range(0, len(FACE), 500)) or VECTOR.tobytes() in files


def test_faces_in_the_appearance_log_are_encrypted_with_the_gallery(path, log, tmp_path, capsys):
    assert is_readable(log), "the test cannot find them"
    command = ["gallery", "encrypt", "--key", str(tmp_path / "key"), "--gallery", str(path)]
    running = AppearanceLog(log)  # the service has the log open
    running.newest()
    assert main(command) == 0, capsys.readouterr().err
    assert not is_readable(log)
    running.close()
    with Gallery(path, key=read_key(tmp_path / "key")) as gallery, AppearanceLog(log, lambda: gallery.cipher) as opened:
        assert [opened.face(id) for id in "abc"] == [FACE] * 3
        opened.encrypt()  # a second time: nothing changes
        assert opened.face("a") == FACE
        assert np.array_equal(opened.embeddings("model").vectors, [VECTOR] * 3)


def test_interrupted_encryption_of_the_appearance_log_is_finished_later(path, log, key, capsys, monkeypatch):
    with Gallery(path) as gallery:
        encrypt_gallery(gallery, key)  # then the power failed
    command = ["gallery", "check", "--key", str(key.path), "--gallery", str(path)]
    monkeypatch.setattr("rkface.runtime.service.appearance_tables.BUSY", 0.05)
    with closing(sqlite3.connect(log, isolation_level=None)) as reader:
        reader.execute("BEGIN")
        reader.execute("SELECT count(*) FROM appearance").fetchall()
        assert main(command) == 1
        assert "another program is reading this file" in capsys.readouterr().err
        assert is_readable(log)
    assert main(command) == 0
    assert not is_readable(log)


def test_the_service_reads_its_key_from_the_environment(bundle, path, key, monkeypatch):
    with open_bundle(bundle) as pipeline:
        with Gallery(path, embedding_identity(pipeline.manifest), create=True) as gallery:
            fill(gallery)
            encrypt_gallery(gallery, key)
        settings = Settings(gallery=path)
        with ExitStack() as opening, pytest.raises(InputError, match="RKFACE_GALLERY_KEY"):  # at the start
            opening.enter_context(open_gallery(settings, pipeline))
        monkeypatch.setenv("RKFACE_GALLERY_KEY", str(key.path))
        with open_gallery(settings, pipeline) as gallery:
            assert names(gallery, 3) == ["Grace"]
