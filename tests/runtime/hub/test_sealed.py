"""A hub whose embeddings are encrypted: boards with the key work as before, and nobody else can read them."""

import pytest

pytest.importorskip("cryptography", reason="encryption needs rkface[crypto]")

from rkface.runtime.cli.main import main
from rkface.runtime.core.errors import InputError, WorkError
from rkface.runtime.gallery.encryption import make_key
from rkface.runtime.hub.boards import add_site
from rkface.runtime.hub.connection import connect
from rkface.runtime.hub.people import add_person
from rkface.runtime.hub.pull import sync
from rkface.runtime.hub.push import push_people
from rkface.runtime.hub.sealed import encrypt_hub, open_embeddings
from rkface.runtime.hub.search import open_search
from rkface.runtime.hub.search_index import build_index

from .conftest import ONE, sample


@pytest.fixture
def key(tmp_path):
    return make_key(tmp_path / "hub.key")


@pytest.fixture
def sealed(hub, key):
    """An encrypted hub with Ada at the site "east"."""
    add_site(hub, "east")
    add_person(hub, "Ada", ["east"], [sample(1), sample(2)], ONE)
    assert encrypt_hub(hub, key) == 2
    return hub


def stored_bytes(hub):
    """The files of the tables with embeddings, as the operating system reads them after a checkpoint."""
    hub.execute("CHECKPOINT")
    tables = ("sample", "review_sample")
    paths = [hub.execute("SELECT pg_relation_filepath(%s)", [f"rkface.{table}"]).fetchone()[0] for table in tables]
    return b"".join(hub.execute("SELECT pg_read_binary_file(%s)", [path]).fetchone()[0] for path in paths)


def follow(board, key):
    own, gallery = board
    embeddings = open_embeddings(own, key)
    waiting = push_people(own, gallery, embeddings)
    sync(own, gallery, embeddings=embeddings)
    return waiting


def vectors(gallery, name):
    return sorted(one.embedding.tobytes() for one in gallery.samples(gallery.person(name)))


def test_boards_with_the_key_get_and_enroll_people_whose_embeddings_the_hub_cannot_read(sealed, board, key):
    with board("one", "east") as one, board("two", "east") as two:
        follow(one, key)
        assert vectors(one[1], "Ada") == sorted(sample(number).embedding.tobytes() for number in (1, 2))
        one[1].add("Bob", [sample(3)])
        follow(one, key)
        follow(two, key)
        assert vectors(two[1], "Bob") == [sample(3).embedding.tobytes()]
    assert sealed.execute("SELECT count(*), count(embedding) FROM rkface.sample").fetchone() == (3, 0)
    found = stored_bytes(sealed)
    for number in (1, 2, 3):
        plain = sample(number).embedding
        assert plain.astype("<f4").tobytes()[:16] not in found and plain.astype(">f4").tobytes()[:16] not in found


def test_nothing_readable_stays_although_an_older_transaction_goes_on(hub, database, key):
    add_site(hub, "east")
    add_person(hub, "Ada", ["east"], [sample(1), sample(2)], ONE)
    with connect(database) as other, other.transaction():
        other.execute("SET TRANSACTION ISOLATION LEVEL REPEATABLE READ")
        other.execute("SELECT 1")  # from now on, this transaction could see the rows as they were
        assert encrypt_hub(hub, key) == 2
        found = stored_bytes(hub)
    assert all(sample(number).embedding.astype(">f4").tobytes()[:16] not in found for number in (1, 2))
    assert all(sample(number).embedding.astype("<f4").tobytes()[:16] not in found for number in (1, 2))


def test_a_sample_that_is_sent_twice_is_stored_once(sealed, board, key):
    with board("one", "east") as (own, gallery):
        embeddings = open_embeddings(own, key)
        push_people(own, gallery, embeddings)
        gallery.add("Bob", [sample(3)])
        for _ in range(2):  # the second time, as after a connection that broke before the answer
            own.execute("SELECT 1")
            push_people(own, gallery, embeddings)
            gallery.database.execute("DELETE FROM setting WHERE name = 'hub.unsent'")
            gallery.database.commit()
    assert sealed.execute("SELECT count(*) FROM rkface.sample").fetchone() == (3,)


def test_the_same_name_at_two_doors_waits_for_a_decision_encrypted_too(sealed, board, key):
    with board("one", "east") as (own, gallery):
        gallery.add("Ada", [sample(9)])
        assert len(push_people(own, gallery, open_embeddings(own, key))) == 1
    rows = sealed.execute("SELECT embedding IS NULL, sealed IS NOT NULL FROM rkface.review_sample").fetchall()
    assert rows == [(True, True)]


def test_a_board_without_the_key_or_with_another_one_gets_nothing_and_hears_why(sealed, board, key, tmp_path):
    with board("one", "east") as one:
        with pytest.raises(InputError, match=r"name the file of their key \(\[hub\] key\)"):
            follow(one, None)
        with pytest.raises(InputError, match="have another key"):
            follow(one, make_key(tmp_path / "other.key"))
        with pytest.raises(InputError, match="encrypted meanwhile"):
            sync(one[0], one[1])
        assert one[1].people() == []
        one[1].add("Bob", [sample(3)])
        with pytest.raises(WorkError, match="takes only encrypted embeddings"):
            push_people(*one)
    assert sealed.execute("SELECT count(*) FROM rkface.person").fetchone() == (1,)


def test_a_key_for_a_hub_that_is_not_encrypted_is_refused(hub, key):
    with pytest.raises(InputError, match="the hub is not encrypted"):
        open_embeddings(hub, key)


def test_an_altered_value_is_not_used_and_keeps_nobody_else_from_a_board(sealed, board, key, caplog):
    with board("one", "east") as one, board("two", "east") as two:
        bob = one[1].add("Bob", [sample(3)])
        push_people(*one, open_embeddings(one[0], key))
        sealed.execute("UPDATE rkface.sample SET sealed = set_byte(sealed, 20, get_byte(sealed, 20) # 1) "
                       "WHERE person <> %s", [bob.id])  # fmt: skip
        for each in (one, two):
            follow(each, key)
            samples = {person.name: person.samples for person in each[1].people()}
            assert samples == {"Ada": 0, "Bob": 1} and each[1].lease.left() > 0
        sealed.execute("INSERT INTO rkface.sample (person, identity, sealed, quality, source) "
                       "VALUES (%s, %s, 'junk', 1, '')", [bob.id, ONE])  # fmt: skip
        for each in (one, one):
            follow(each, key)
        assert len(one[1].samples(bob)) == 1 and one[1].lease.left() > 0
    assert "cannot be stored here" in caplog.text and "Ada" not in caplog.text


def test_an_encrypted_hub_says_that_it_cannot_search(sealed, database):
    with pytest.raises(InputError, match="encrypted, so it cannot search"):
        open_search(sealed, ONE)
    with connect(database) as watch, pytest.raises(InputError, match="cannot be indexed"):
        build_index(sealed, watch)


def test_encrypting_deletes_the_index_and_happens_once(hub, database, key):
    add_site(hub, "east")
    add_person(hub, "Ada", ["east"], [sample(1)], ONE)
    with connect(database) as watch:
        build_index(hub, watch)
    encrypt_hub(hub, key)
    rows = hub.execute("SELECT 1 FROM pg_class WHERE relname LIKE 'sample_nearest%'").fetchall()
    assert rows == []
    with pytest.raises(InputError, match="encrypted already"):
        encrypt_hub(hub, key)


def test_the_command_makes_a_key_and_says_what_to_do_with_it(hub, database, tmp_path, monkeypatch, capsys):
    monkeypatch.setenv("RKFACE_HUB", database)
    add_site(hub, "east")
    add_person(hub, "Ada", ["east"], [sample(1)], ONE)
    path = tmp_path / "new.key"
    assert main(["hub", "encrypt", "--key", str(path)]) == 0
    said = capsys.readouterr()
    assert "[hub] key" in said.out and "1 embedding" in said.err and path.stat().st_mode & 0o777 == 0o600
    other = tmp_path / "other.key"
    assert main(["hub", "encrypt", "--key", str(other)]) == 2
    assert "encrypted already" in capsys.readouterr().err and not other.exists()
