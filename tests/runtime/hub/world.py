"""A hub and its boards in one process: a real PostgreSQL, real galleries and outboxes, and clocks that a test moves."""

from contextlib import ExitStack, closing, suppress
from dataclasses import dataclass, field
from functools import lru_cache
from pathlib import Path

import numpy as np
import psycopg

from rkface.runtime.core.errors import RkfaceError
from rkface.runtime.events.channel import UndeliveredError
from rkface.runtime.events.event import encode
from rkface.runtime.events.outbox import Outbox
from rkface.runtime.gallery import backup
from rkface.runtime.gallery.encryption import Key
from rkface.runtime.gallery.gallery import Gallery
from rkface.runtime.gallery.lease import Lease
from rkface.runtime.gallery.people import Sample
from rkface.runtime.hub import pull
from rkface.runtime.hub.boards import add_board
from rkface.runtime.hub.connection import connect
from rkface.runtime.hub.migrations import latest_version
from rkface.runtime.hub.push import HubEvents, must_push, push_people, send_heartbeat
from rkface.runtime.hub.sealed import open_embeddings

MODEL, NUMBERS = "1" * 32, 16
START = 1_800_000_000.0  # seconds since 1970
PEOPLE = [
    "person",
    "stay",
    "sample",
    "setting",
    "appearance",
    "event",
    "heartbeat",
    "review",
    "review_sample",
]  # tables with, or about, people
TABLES = [*PEOPLE, "site", "board", "change", "tombstone", "receipt", "silence", "merged"]


class Interruption(Exception):
    """The board lost its power, or the connection."""


@lru_cache(maxsize=1000)
def sample(number):
    """The sample with this number: an embedding that no other one has."""
    vector = np.random.default_rng(number).standard_normal(NUMBERS)
    return Sample((vector / np.linalg.norm(vector)).astype(np.float32), None, 0.75, f"{number}.jpg", identity=MODEL)


@dataclass
class Hub:
    """The hub of one history. ``now``: the right time, seconds since 1970."""

    address: str
    database: psycopg.Connection
    now: float = START

    def rows(self, query, *values):
        return self.database.execute(query, values).fetchall()

    def clear(self):
        delete_rows(self.database)
        for (role,) in self.rows("SELECT rolname FROM pg_roles WHERE rolname LIKE 'rkface_board__%%'"):
            with suppress(psycopg.Error):  # one of another hub
                self.database.execute(f"DROP ROLE {role}")


@dataclass
class Board:
    """A board.

    error     seconds that its wall clock is ahead
    on        seconds for which it ran, altogether
    synced    ``on`` at the last sync that ended; None before
    restarts  since then
    key       of the hub, once it is encrypted
    compare   whether the next sync compares everybody: the connection is a new one, or somebody waits for a decision
    own       its connection to the hub; None if it has to connect
    """

    hub: Hub
    name: str
    site: str
    seconds: float
    address: str
    folder: Path
    reachable: bool = True
    revoked: bool = False
    error: float = 0.0
    on: float = 0.0
    synced: float | None = None
    restarts: int = 0
    compare: bool = True
    key: Key | None = None
    own: psycopg.Connection | None = None
    opened: ExitStack = field(default_factory=ExitStack)

    def start(self):
        self.folder.mkdir(exist_ok=True)
        self.gallery = self.opened.enter_context(Gallery(self.folder / "gallery.sqlite", MODEL, create=True))
        backup.resume(self.gallery)
        self.outbox = self.opened.enter_context(closing(Outbox(self.folder / "events")))
        self.outbox.erase(backup.forgotten(self.gallery))
        self.gallery.lease = Lease(self.gallery, clock=lambda: self.on, wall=lambda: self.hub.now + self.error)
        self.gallery.lease.begin()
        self.restarts += 1
        self.compare = True

    def stop(self):
        self.disconnect()
        self.opened.close()

    def disconnect(self):
        if self.own is not None:
            self.own.close()
            self.own = None

    def sync(self):
        """What ``HubClient`` does while it is connected. Raises Interruption or RkfaceError."""
        if self.own is None:
            self.own, self.compare = connect(self.address), True
        try:
            self._sync(self.own)
        except (Interruption, RkfaceError):
            self.disconnect()
            raise

    def _sync(self, own):
        embeddings = open_embeddings(own, self.key)
        if self.compare or must_push(own, self.gallery):
            self.compare = True
            self.compare = bool(push_people(own, self.gallery, embeddings))
        pull.sync(own, self.gallery, after=self.erase_events, embeddings=embeddings)
        self.synced, self.restarts = self.on, 0
        send_heartbeat(own, self.gallery, {})

    def erase_events(self):
        self.outbox.erase(backup.forgotten(self.gallery))
        return ()

    def forget(self, person):
        backup.forget(self.gallery, person)
        self.erase_events()

    def see(self, number):
        """Somebody is in front of the camera: an event waits if the face has a name."""
        for match in self.names([number])[0]:
            event = {"schema": "rkface.appearance", "id": f"{self.name}-{self.on}-{number}", "started": self.hub.now}
            named = {"person": match.person, "name": match.name, "cosine": match.cosine}
            self.outbox.append([encode({**event, "match": named})])

    def deliver(self):
        """Send all events that wait."""
        if not self.outbox.peek():
            return
        events = HubEvents(self.address)
        try:
            events.maintain(lambda: None)
            while event := self.outbox.peek():
                events.deliver(event)
                self.outbox.advance(event)
        except UndeliveredError:
            pass
        finally:
            events.close()

    def names(self, numbers):
        """Whom the board names for these faces: a list for each."""
        if not numbers:
            return []
        found = self.gallery.search(np.stack([sample(number).embedding for number in numbers]))
        return [[one for one in matches if one.cosine > 0.99] for matches in found]

    def content(self):
        """The people: id → (name, embeddings, groups)."""
        return {
            one.id: (one.name, {found.embedding.tobytes() for found in self.gallery.samples(one)}, one.groups)
            for one in self.gallery.people()
        }

    def find_bytes(self, wanted):
        """Which of the byte strings are in any file of this board."""
        found = set()
        for path in self.folder.rglob("*"):
            if path.is_file():
                content = path.read_bytes()
                found |= {(path.name, one) for one in wanted if one in content}
        return found


def spare_work(address):
    """Make the server of the tests faster: no test is about power cuts of the hub, or about guessing passwords."""
    with connect(address) as server:
        for setting, value in (("fsync", "off"), ("full_page_writes", "off"), ("scram_iterations", "1")):
            server.execute(f"ALTER SYSTEM SET {setting} = {value}")
        server.execute("SELECT pg_reload_conf()")


def mark_changes(database):
    """From now on, each statement that changes a table, an index, a function or rights leaves a mark."""
    database.execute("CREATE TABLE changed ()")
    database.execute(
        "CREATE FUNCTION mark() RETURNS event_trigger LANGUAGE plpgsql SECURITY DEFINER AS "
        "'BEGIN INSERT INTO public.changed DEFAULT VALUES; END'"
    )
    database.execute("CREATE EVENT TRIGGER mark ON ddl_command_end EXECUTE FUNCTION mark()")


def is_changed(database):
    """Whether more than rows was changed since ``mark_changes``."""
    return database.execute("SELECT EXISTS (SELECT FROM changed)").fetchone()[0]


def delete_rows(database):
    """Make the rows what they were after ``migrate``. Nobody else may be connected, so their connections end."""
    database.execute("SELECT pg_terminate_backend(pid) FROM pg_stat_activity "
                     "WHERE datname = current_database() AND pid <> pg_backend_pid()")  # fmt: skip
    with database.transaction():
        database.execute("SET LOCAL session_replication_role = replica")  # no triggers
        for table in [*TABLES, "revision"]:
            database.execute(f"DELETE FROM rkface.{table}")
        database.execute("INSERT INTO rkface.revision VALUES (0)")
        database.execute("UPDATE rkface.version SET number = %s", [latest_version()])


def open_hub(address):
    """The hub in the database at ``address``, which has its tables, without anybody."""
    hub = Hub(address, connect(address))
    hub.clear()
    return hub


def add(hub, name, site, folder, seconds):
    """A new board, which runs."""
    user, password = add_board(hub.database, name, site, seconds)
    address = hub.address.replace("//postgres:@", f"//{user}:{password}@")
    board = Board(hub, name, site, seconds, address, folder / name)
    board.start()
    return board
