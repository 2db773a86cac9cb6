"""The file of users and tokens, if it is damaged, locked, replaced or deleted while a service uses it."""

import os
import sqlite3
import stat
import threading
from contextlib import closing

import pytest

from rkface.runtime.core.errors import RkfaceError
from rkface.runtime.web.accounts import Accounts

from .conftest import PASSWORD


@pytest.fixture
def accounts(tmp_path):
    with Accounts(tmp_path / "accounts") as accounts:
        yield accounts


def test_a_damaged_file_lets_nobody_in(tmp_path):
    path = tmp_path / "accounts"
    path.write_bytes(b"no database" * 1000)
    with pytest.raises(RkfaceError, match="move accounts away"):
        Accounts(path)


@pytest.mark.parametrize("how", ["deleted", "replaced"])
def test_a_file_that_was_deleted_or_replaced_lets_nobody_of_the_old_one_in(tmp_path, how):
    with Accounts(tmp_path / "accounts") as accounts:
        _, old = accounts.create_token("old", ["read"])
        accounts.set_user("ada", "admin", PASSWORD)
        (tmp_path / "accounts").rename(tmp_path / "kept")
        if how == "replaced":
            with Accounts(accounts.path) as other:
                _, new = other.create_token("new", ["read"])
            assert accounts.find_token(new).name == "new"
        assert accounts.find_token(old) is None and accounts.find_user("ada") is None
        accounts.note("ada", "sign in")
        with Accounts(accounts.path) as other:
            assert [one.who for one in other.notes()] == ["ada"]
        assert stat.S_IMODE(accounts.path.stat().st_mode) == 0o600


def test_requests_do_not_wait_for_a_program_that_has_the_file_locked(accounts, monkeypatch):
    """SQLite would wait for ``BUSY`` seconds: here longer than the test may take."""
    token, secret = accounts.create_token("door", ["read"])
    accounts.set_user("ada", "viewer", PASSWORD)
    with closing(sqlite3.connect(accounts.path, isolation_level=None)) as other:
        other.execute("BEGIN IMMEDIATE")
        monkeypatch.setattr("rkface.runtime.web.accounts_file.BUSY", 600.0)
        change = threading.Thread(target=lambda: accounts.revoke_token(token.id))
        change.start()
        assert accounts.find_token(secret).name == "door" and accounts.find_user("ada")
        assert change.is_alive()
        other.execute("ROLLBACK")
    change.join()
    assert accounts.find_token(secret) is None


def test_a_damaged_file_is_noticed_while_it_is_used_and_a_good_one_too(accounts):
    def move(name, new):
        for suffix in ("-wal", "-shm", ""):
            (accounts.path.parent / f"{name}{suffix}").rename(accounts.path.parent / f"{new}{suffix}")

    _, secret = accounts.create_token("door", ["read"])
    move("accounts", "good")
    accounts.path.write_bytes(b"no database" * 1000)
    for _ in range(2):
        with pytest.raises(RkfaceError, match="move accounts away"):
            accounts.find_token(secret)
    move("good", "accounts")
    assert accounts.find_token(secret).name == "door"


@pytest.mark.skipif(os.geteuid() != 0, reason="only root can give files away")
def test_a_file_that_root_creates_belongs_to_the_owner_of_the_folder(tmp_path):
    os.chown(tmp_path, 4711, 4712)
    with Accounts(tmp_path / "accounts") as accounts:
        accounts.note("command line", "set_user")
        for path in tmp_path.iterdir():
            assert (path.stat().st_uid, path.stat().st_gid) == (4711, 4712), path
