"""Maintenance of SQLite files: errors, damaged files, deleted bytes."""

import sqlite3
import stat
from contextlib import closing

import pytest

from rkface.runtime.core.errors import InputError, WorkError
from rkface.runtime.core.sqlite import (
    DamagedError,
    NotADatabaseError,
    configure,
    create_private_file,
    empty_write_ahead_log,
    find_damage,
    is_damage,
    move_damaged_file_away,
    open_sqlite,
    read_version,
    readable_errors,
    remove_deleted_bytes,
    transaction,
)

SECRET = b"an embedding"


@pytest.fixture
def path(tmp_path):
    return tmp_path / "file.sqlite"


@pytest.fixture
def database(path):
    create_private_file(path)
    with closing(open_sqlite(path, configure, timeout=0.05)) as opened:
        opened.execute("CREATE TABLE thing (content BLOB)")
        yield opened


def bytes_on_disk(path):
    return b"".join(file.read_bytes() for file in path.parent.glob(f"{path.name}*"))


def test_files_have_mode_0600(path, database):
    modes = {file.name: stat.S_IMODE(file.stat().st_mode) for file in path.parent.iterdir()}
    assert modes == {path.name + suffix: 0o600 for suffix in ("", "-wal", "-shm")}


def test_a_file_that_is_opened_again_keeps_its_mode_and_is_not_written(path):
    def prepare(database):
        configure(database, "auto_vacuum=INCREMENTAL", "synchronous=NORMAL")

    create_private_file(path)
    with closing(open_sqlite(path, prepare, timeout=0.05)) as database:
        database.execute("CREATE TABLE thing (content BLOB)")
    with closing(open_sqlite(path, prepare, timeout=0.05)) as database:
        assert database.execute("PRAGMA auto_vacuum").fetchone() == (2,)
        assert path.with_name(f"{path.name}-wal").stat().st_size == 0


def test_a_failed_transaction_writes_nothing(database):
    with pytest.raises(ZeroDivisionError), transaction(database):
        database.execute("INSERT INTO thing VALUES (x'01')")
        raise ZeroDivisionError
    assert database.execute("SELECT count(*) FROM thing").fetchone() == (0,)


def test_deleted_bytes_are_removed_unless_another_program_reads_them(path, database):
    database.execute("INSERT INTO thing VALUES (?)", [SECRET])
    with closing(sqlite3.connect(path, isolation_level=None)) as reader:
        reader.execute("BEGIN")
        reader.execute("SELECT * FROM thing").fetchall()
        database.execute("DELETE FROM thing")
        assert not remove_deleted_bytes(database) and SECRET in bytes_on_disk(path)
    assert remove_deleted_bytes(database) and SECRET not in bytes_on_disk(path)
    assert empty_write_ahead_log(database) and path.with_name(f"{path.name}-wal").stat().st_size == 0


def test_a_locked_database_is_reported(path, database):
    with (
        transaction(database),
        closing(open_sqlite(path, lambda _: None, timeout=0.05)) as other,
        pytest.raises(WorkError, match="another program is writing to it"),
        readable_errors(path),
        transaction(other),
    ):
        pass


def test_errors_for_damaged_files_suggest_a_repair(path, database):
    def suggest(damaged):
        return f"restore {damaged.name}.backup"

    for message, kind in (("file is not a database", NotADatabaseError), ("disk image is malformed", DamagedError)):
        with pytest.raises(kind, match=r"restore file\.sqlite\.backup"), readable_errors(path, suggest):
            raise sqlite3.DatabaseError(message)
    with pytest.raises(WorkError, match="something else"), readable_errors(path, suggest):
        raise sqlite3.OperationalError("something else")


def test_a_closed_database_and_missing_permissions_are_input_errors(path, database):
    database.close()
    with pytest.raises(InputError, match="is closed"), readable_errors(path):
        database.execute("SELECT 1")
    with pytest.raises(InputError, match="check its owner"), readable_errors(path):
        sqlite3.connect(path.parent / "no folder" / "file.sqlite")


def test_a_newer_version_is_refused(path, database):
    database.execute("PRAGMA user_version = 3")
    assert read_version(database, path, 3) == 3
    with pytest.raises(InputError, match="newer rkface"):
        read_version(database, path, 2)


def test_a_damaged_file_is_found_and_moved_away_with_its_write_ahead_log(path, database):
    database.execute("INSERT INTO thing VALUES (zeroblob(50000))")
    assert find_damage(database) is None
    database.close()
    content = bytearray(path.read_bytes())
    content[4096:] = bytes(len(content) - 4096)
    path.write_bytes(content)
    with closing(sqlite3.connect(path)) as damaged:
        assert find_damage(damaged) is not None
    path.with_name(f"{path.name}-wal").touch()
    aside = move_damaged_file_away(path)
    assert aside.read_bytes() == bytes(content) and aside.name.startswith("file.sqlite.damaged-")
    assert aside.with_name(f"{aside.name}-wal").exists()
    assert not list(path.parent.glob(f"{path.name}-*")) and not path.exists()


def test_a_file_that_is_not_a_database_is_damage_but_a_locked_one_is_not(path):
    path.write_bytes(b"text, not a database" * 100)
    with pytest.raises(sqlite3.DatabaseError) as caught:
        open_sqlite(path, configure, timeout=0.05)
    assert is_damage(caught.value) and not is_damage(sqlite3.OperationalError("database is locked"))
