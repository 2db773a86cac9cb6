"""What can be wrong with a hub, and what a user is told: never a traceback, and never a secret."""

from pathlib import Path

import psycopg
import pytest

from rkface.runtime.cli.main import main
from rkface.runtime.core.errors import InputError, WorkError
from rkface.runtime.core.steady_clock import SETTLED
from rkface.runtime.gallery.gallery import Gallery
from rkface.runtime.gallery.lease import Lease
from rkface.runtime.hub.boards import add_board
from rkface.runtime.hub.connection import connect, explain
from rkface.runtime.hub.embedded import start_embedded
from rkface.runtime.hub.migrations import check_version, find_migrations, latest_version, migrate
from rkface.runtime.hub.people import add_person
from rkface.runtime.hub.pull import sync
from rkface.runtime.hub.push import push_people

from .conftest import ONE, sample

YEAR = 365 * 86_400.0


@pytest.fixture
def passwords(hub, database):
    """The server asks boards for passwords, which the embedded one does not do by itself."""
    ((file,),) = hub.execute("SHOW hba_file").fetchall()
    before = Path(file).read_text()
    Path(file).write_text(f"local {hub.info.dbname} +rkface_board scram-sha-256\n{before}")
    hub.execute("SELECT pg_reload_conf()")
    yield
    Path(file).write_text(before)
    hub.execute("SELECT pg_reload_conf()")


def test_a_wrong_password_is_named_and_not_shown(hub, database, passwords):
    user, password = add_board(hub, "door-1", "east", 3600)
    connect(database.replace("//postgres:@", f"//{user}:{password}@")).close()
    with pytest.raises(WorkError, match="user or the password is wrong") as raised:
        connect(database.replace("//postgres:@", f"//{user}:s3cretword@"))
    assert "s3cretword" not in str(raised.value)


def test_a_database_that_does_not_exist_is_named(database):
    with pytest.raises(WorkError, match="create it first"):
        connect(database.replace("?host", "x?host"))


@pytest.mark.parametrize(
    ("said", "remedy"),
    [
        ("SSL error: certificate verify failed", "sslrootcert=FILE"),
        ("server does not support SSL, but SSL was required", "ssl = on"),
        ("FATAL:  the database system is starting up", "try again"),
    ],
)
def test_what_a_server_says_comes_with_a_remedy(said, remedy):
    assert remedy in str(explain(psycopg.OperationalError(f"connection failed: {said}")))


def test_a_server_without_pgvector_is_told_where_to_get_it(database):
    with connect(database) as connection:
        # A view in place of PostgreSQL's own list of extensions.
        connection.execute("CREATE SCHEMA bare")
        connection.execute("CREATE VIEW bare.pg_available_extensions AS SELECT 'plpgsql'::name AS name")
        connection.execute("SET search_path = bare, pg_catalog, public")
        with pytest.raises(WorkError, match="no pgvector: install it there"):
            migrate(connection)
        assert connection.execute("SELECT 1 FROM pg_namespace WHERE nspname = 'rkface'").fetchone() is None


@pytest.mark.parametrize(("version", "message"), [(latest_version() + 1, "update rkface here"), (0, "rkface hub init")])
def test_tables_of_another_version_are_refused_with_the_remedy(hub, database, version, message, capsys):
    hub.execute("UPDATE rkface.version SET number = %s", [version])
    with pytest.raises(InputError, match=message):
        check_version(hub)
    assert main(["hub", "boards", "--hub", database]) == 2
    assert message in capsys.readouterr().err


def test_each_migration_has_the_next_number():
    assert [int(name[:3]) for name in find_migrations()] == [*range(1, latest_version() + 1)]


def test_migrating_again_keeps_people_and_rights(hub, board):
    with board("door-1", "east") as (own, _):
        add_person(hub, "Ada", ["east"], [sample(1)], ONE)
        migrate(hub)
        assert own.execute("SELECT name FROM rkface.person").fetchall() == [("Ada",)]


def test_another_database_is_refused(database, capsys):
    assert main(["hub", "boards", "--hub", database]) == 2
    assert "this database is not a hub" in capsys.readouterr().err


def test_a_hub_that_cannot_be_reached_gives_one_line(tmp_path, capsys):
    assert main(["hub", "boards", "--hub", f"postgresql://u:s3cretword@/x?host={tmp_path}"]) == 1
    assert "s3cretword" not in capsys.readouterr().err


def test_a_connection_that_breaks_before_the_version_is_read_gives_one_line(hub, database):
    with connect(database) as own:
        hub.execute("SELECT pg_terminate_backend(%s)", [own.info.backend_pid])
        with pytest.raises(WorkError, match="hub"):
            check_version(own)


@pytest.mark.parametrize("statement", ["SELECT rkface.enroll", "SELECT person, kind", "SELECT id, name"])
def test_a_hub_that_restarts_in_a_transaction_loses_nothing(hub, board, database, monkeypatch, statement):
    with board("door-1", "east") as (own, gallery):
        add_person(hub, "Bob", ["east"], [sample(2)], ONE)
        gallery.add("Ada", [sample(1)])
        execute = psycopg.Connection.execute

        def restart(connection, query, *arguments):
            if connection is own and query.startswith(statement):
                execute(hub, "SELECT pg_terminate_backend(%s)", [own.info.backend_pid])
            return execute(connection, query, *arguments)

        lease = gallery.lease
        with monkeypatch.context() as patch:
            patch.setattr(psycopg.Connection, "execute", restart)
            with pytest.raises(WorkError, match="hub"):
                push_people(own, gallery)
                sync(own, gallery)
        assert lease.left() == 0
        with connect(f"{own.info.dsn} password=") as again:
            push_people(again, gallery)
            sync(again, gallery)
        assert [person.name for person in gallery.people()] == ["Ada", "Bob"]
        assert hub.execute("SELECT count(*) FROM rkface.person").fetchone() == (2,)


def test_a_board_of_another_hub_on_the_server_keeps_its_password(hub, server, database):
    add_board(hub, "door-1", "east", 3600)
    before = hub.execute("SELECT rolpassword FROM pg_authid WHERE rolname = 'rkface_board_door_1'").fetchone()
    hub.execute("CREATE DATABASE second_hub")
    try:
        with connect(server.replace("/postgres?", "/second_hub?")) as second:
            migrate(second)
            with pytest.raises(InputError, match="another hub on this server"):
                add_board(second, "door-1", "east", 3600)
    finally:
        hub.execute("DROP DATABASE second_hub WITH (FORCE)")
    assert hub.execute("SELECT rolpassword FROM pg_authid WHERE rolname = 'rkface_board_door_1'").fetchone() == before


@pytest.mark.parametrize("error", [-YEAR, YEAR, -50 * YEAR])
def test_a_clock_that_is_a_year_off_does_not_lengthen_the_lease(hub, board, error):
    with board("door-1", "east", lease=3600.0) as (own, gallery):
        ada = add_person(hub, "Ada", ["east"], [sample(1)], ONE)
        on, wrong = [0.0], [0.0]
        lease = gallery.lease = Lease(gallery, clock=lambda: on[0], wall=lambda: 1.8e9 + on[0] + wrong[0])
        sync(own, gallery)
        wrong[0] = error
        on[0] = 1.0
        assert lease.may_name(ada)
        on[0] = 3601.0
        assert not lease.may_name(ada)
        sync(own, gallery)
        assert lease.may_name(ada)
        wrong[0] = 0.0  # the clock is right again
        on[0] += 1.0
        assert lease.may_name(ada)
        on[0] += 3601.0
        assert not lease.may_name(ada)


def test_time_for_which_a_board_was_off_counts_when_its_clock_is_right(hub, board, tmp_path):
    with board("door-1", "east", lease=7200.0) as (own, gallery):
        ada = add_person(hub, "Ada", ["east"], [sample(1)], ONE)
        on, now = [0.0], [1.8e9]
        lease = gallery.lease = Lease(gallery, clock=lambda: on[0], wall=lambda: now[0])
        for _ in range(3):
            lease.left()
            on[0] += SETTLED
            now[0] += SETTLED
        sync(own, gallery)
        now[0] += 7300.0
        on[0] = 0.0
        again = Lease(gallery, clock=lambda: on[0], wall=lambda: now[0])
        again.left()
        on[0] += SETTLED + 1
        now[0] += SETTLED + 1
        assert not again.may_name(ada)


def test_add_board_prints_an_address_that_works(hub, database, capsys):
    assert main(["hub", "add-board", "door-1", "--site", "east", "--hub", database]) == 0
    with connect(capsys.readouterr().out.strip()) as own:
        assert own.execute("SELECT rkface.my_board()").fetchone() == ("door-1",)


def test_an_embedded_hub_needs_no_other_address(folder, tmp_path, capsys, monkeypatch):
    monkeypatch.chdir(folder)
    assert main(["hub", "init", "--embedded", "hub"]) == 0
    monkeypatch.setenv("RKFACE_HUB", "embedded:hub")
    assert main(["hub", "add-board", "door-1", "--site", "east"]) == 0
    address = capsys.readouterr().out.splitlines()[-1]
    assert address == f"embedded:rkface_board_door_1@{folder / 'hub'}"
    with connect(address) as own, Gallery(tmp_path / "gallery.sqlite", ONE, create=True) as gallery:
        gallery.add("Ada", [sample(1)])
        push_people(own, gallery)
        sync(own, gallery)
    assert main(["hub", "people"]) == 0
    assert "Ada" in capsys.readouterr().out
    start_embedded(folder / "hub")[0].cleanup()
