"""Random histories of a hub and its boards, and what must hold in all of them: `make soak-hub` runs many."""

import argparse
import logging
import os
import random
import shutil
import sys
import tempfile
from dataclasses import dataclass, field
from pathlib import Path
from unittest.mock import patch

import numpy as np

from rkface.runtime.core.errors import RkfaceError
from rkface.runtime.core.steady_clock import SETTLED
from rkface.runtime.gallery import backup
from rkface.runtime.gallery.encryption import Key
from rkface.runtime.gallery.groups import set_groups
from rkface.runtime.gallery.lease import SAVE_EVERY
from rkface.runtime.hub import conflicts, people, pull
from rkface.runtime.hub.boards import revoke_board
from rkface.runtime.hub.connection import connect
from rkface.runtime.hub.embedded import start_embedded
from rkface.runtime.hub.migrations import migrate
from rkface.runtime.hub.sealed import SealedEmbeddings, encrypt_hub

from .world import MODEL, PEOPLE, Board, Hub, Interruption, add, open_hub, sample, spare_work

SITES = ("east", "west")
BOARDS = (("east-1", "east"), ("east-2", "east"), ("west-1", "west"))
DAY, YEAR = 86_400.0, 365 * 86_400.0
LEASE = 2 * DAY
DUMPED = ["person", "stay", "sample", "setting", "revision", "change", "tombstone", "receipt", "review",
          "review_sample", "merged"]  # fmt: skip
TWIN = 0.1  # share of enrolled people whose name somebody else has already


@dataclass
class History:
    """What happened. ``numbers``: id of a person → numbers of the samples. ``moved``: who may have lost a sample that a
    board had not sent when the person moved. ``removed``: numbers of samples that somebody removed. ``aliases``: names
    that somebody had. ``same``: id → ids of people with whom this one was merged anywhere. ``dump``: the last backup of
    the hub, by table. ``key``: of the hub, once it is encrypted. ``lost``: about whom a restored hub and the boards may
    know less than happened."""

    hub: Hub
    boards: list[Board]
    dice: random.Random
    names: dict[str, str] = field(default_factory=dict)
    numbers: dict[str, list[int]] = field(default_factory=dict)
    erased: set[str] = field(default_factory=set)
    moved: set[str] = field(default_factory=set)
    removed: set[int] = field(default_factory=set)
    aliases: dict[str, set[str]] = field(default_factory=dict)
    same: dict[str, set[str]] = field(default_factory=dict)
    dump: dict[str, str] = field(default_factory=dict)
    key: Key | None = None
    lost: set[str] = field(default_factory=set)
    steps: list[str] = field(default_factory=list)

    def new_name(self):
        if self.names and self.dice.random() < TWIN:
            return self.dice.choice(list(self.names.values()))
        return f"Person-{self.dice.randrange(10**12):012d}"

    def some_sites(self):
        return self.dice.sample(SITES, self.dice.randint(1, 2))

    def somebody(self):
        """The id of a person at the hub, or None."""
        known = people.list_people(self.hub.database)
        return self.dice.choice(known).id if known else None

    def all_numbers(self):
        return [number for numbers in self.numbers.values() for number in numbers]

    def note(self, person, name, number):
        self.names[person], self.numbers[person] = name, [number]
        self.aliases[person], self.same[person] = {name}, {person}
        return f"{person[:6]} {name}"


def run_history(address, seed, folder):
    """Run the history ``seed`` and check it. Raises AssertionError, with the seed."""
    dice, hub = random.Random(seed), open_hub(address)
    history = History(hub, [], dice)
    try:
        hub.database.execute("INSERT INTO rkface.site VALUES ('east'), ('west')")
        history.boards = [add(hub, name, site, folder, LEASE) for name, site in BOARDS]
        with patch.object(pull, "BATCH", dice.choice((1, 2, 500))):
            for _ in range(dice.randint(8, 30)):
                take_step(history)
                for board in history.boards:
                    check_names(history, board)
            reunite(history)
            check_end(history)
    except Exception as error:
        steps = "\n  ".join(history.steps)
        raise AssertionError(f"history {seed}: {error or type(error).__name__}; it was\n  {steps}") from error
    finally:
        for board in history.boards:
            board.stop()
        hub.database.close()


def take_step(history):
    action = history.dice.choices([*ACTIONS], [*ACTIONS.values()])[0]
    board = history.dice.choice(history.boards)
    history.steps.append(f"{action.__name__} {board.name}{'' if board.reachable else ' (away)'}")
    history.steps[-1] += f" {action(history, board) or ''}"


def enroll(history, board):
    name, number = history.new_name(), history.dice.randrange(10**9)
    if board.gallery.has_person(name):
        return "nobody"
    person = board.gallery.add(name, [sample(number)])
    return history.note(person.id, name, number)


def add_photo(history, board):
    if here := board.gallery.people():
        person, number = history.dice.choice(here), history.dice.randrange(10**9)
        history.numbers.setdefault(person.id, []).append(number)
        board.gallery.add(person.name, [sample(number)])
        return person.id[:6]
    return None


def rename(history, board):
    if here := board.gallery.people():
        person, name = history.dice.choice(here), history.new_name()
        if board.gallery.has_person(name):
            return "nobody"
        history.aliases[person.id].add(name)
        board.gallery.rename(person, name)
        return f"{person.id[:6]} to {name}"
    return None


def regroup(history, board):
    if here := board.gallery.people():
        person, names = history.dice.choice(here), history.dice.sample(("family", "staff", "night"), 2)
        set_groups(board.gallery, person, names)
        return f"{person.id[:6]} {names}"
    return None


def merge(history, board):
    here = board.gallery.people()
    if len(here) < 2:
        return None
    person, into = history.dice.sample(here, 2)
    together = history.same[person.id] | history.same[into.id]
    for id in together:
        history.same[id] = together
    board.gallery.merge(person, into)
    return f"{person.id[:6]} into {into.id[:6]}"


def remove_photo(history, board):
    if here := [one for one in board.gallery.people() if one.samples]:
        person = history.dice.choice(here)
        found = history.dice.choice(board.gallery.samples(person))
        history.removed.add(int(found.source.removesuffix(".jpg")))
        board.gallery.remove_samples(person, [found.id])
        return f"{found.source} of {person.id[:6]}"
    return None


def dump_hub(history, _):
    for table in DUMPED:
        ((history.dump[table],),) = history.hub.rows(
            f"SELECT coalesce(json_agg(one), '[]')::text FROM rkface.{table} one"
        )


def restore_hub(history, _):
    """As in another database: its epoch is another one. Whom the hub added or erased since, no board may know."""
    if not history.dump:
        return "nothing"
    database = history.hub.database
    with database.transaction():
        database.execute("SET LOCAL session_replication_role = replica")  # no triggers
        database.execute(f"TRUNCATE {', '.join(f'rkface.{table}' for table in DUMPED)} CASCADE")
        for table in DUMPED:
            rows = f"SELECT * FROM json_populate_recordset(NULL::rkface.{table}, %s)"
            database.execute(f"INSERT INTO rkface.{table} OVERRIDING SYSTEM VALUE {rows}", [history.dump[table]])
        database.execute("UPDATE rkface.board SET restored = NULL")
        database.execute("INSERT INTO rkface.setting VALUES ('epoch', gen_random_uuid()) "
                         "ON CONFLICT (name) DO UPDATE SET value = excluded.value")  # fmt: skip
    history.lost |= history.names.keys()
    known = set().union(*(backup.forgotten(one.gallery) for one in history.boards if not one.revoked))
    history.erased &= known
    return None


def add_at_hub(history, _):
    if history.key:
        return "nobody: the database has no key"
    name, number, sites = history.new_name(), history.dice.randrange(10**9), history.some_sites()
    if name in [one.name for one in people.list_people(history.hub.database)]:
        return "nobody"
    return history.note(people.add_person(history.hub.database, name, sites, [sample(number)], MODEL), name, number)


def decide(history, _):
    """What `rkface hub decide` does: both are one person, or one of them gets another name or is erased."""
    waiting = conflicts.list_conflicts(history.hub.database)
    if not waiting:
        return None
    one = history.dice.choice(waiting)
    what = history.dice.choice(("same", "name", "erase"))
    if what == "same" and one.other not in (None, one.person):
        together = history.same[one.person] | history.same[one.other]
        for id in together:
            history.same[id] = together
        conflicts.decide_same(history.hub.database, one)
    elif what == "name":
        name = f"Person-{history.dice.randrange(10**12):012d}"
        history.aliases[one.person].add(name)
        conflicts.decide_name(history.hub.database, one, name)
    elif what == "erase" and one.known is None:
        history.erased.add(one.person)
        conflicts.decide_erase(history.hub.database, one)
    else:
        return None
    return f"{one.person[:6]} {what}"


def encrypt(history, _):
    """An older backup of the hub is of no use any more: its embeddings can be read."""
    if history.key:
        return "again: nothing"
    history.key = Key(Path("hub.key"), bytes(32))
    encrypt_hub(history.hub.database, history.key)
    history.dump.clear()
    for board in history.boards:
        board.key = history.key
        board.disconnect()
    return None


def move(history, _):
    if person := history.somebody():
        sites = history.some_sites()
        history.moved.add(person)
        people.move_person(history.hub.database, person, sites)
        return f"{person[:6]} to {sites}"
    return None


def erase_at_hub(history, _):
    if person := history.somebody():
        history.erased.add(person)
        people.erase_person(history.hub.database, person)
        return person[:6]
    return None


def forget_at_door(history, board):
    here = board.gallery.people()
    if here and not board.revoked:
        person = history.dice.choice(here)
        history.erased.add(person.id)
        board.forget(person)
        return person.id[:6]
    return None


def part(_, board):
    board.reachable = False


def heal(_, board):
    board.reachable = True


def synchronize_one(_, board):
    if board.reachable:
        synchronize(board)


def restart(history, board):
    board.stop()
    wait(history, history.dice.choice((0, DAY)), running=[one for one in history.boards if one is not board])
    board.start()


def back_up(_, board):
    backup.back_up(board.gallery)


def see(history, board):
    for number in history.dice.sample(history.all_numbers(), min(3, len(history.all_numbers()))):
        board.see(number)


def deliver(_, board):
    if board.reachable:
        board.deliver()


def pass_time(history, _):
    wait(history, history.dice.choice((60, 3600, DAY)), running=history.boards)


def set_clock(history, board):
    board.error = history.dice.choice((0, -YEAR, YEAR, -50 * YEAR, 600))
    return f"{board.error:.0f} s"


def revoke(history, board):
    """Whom only this board has forgotten, and has not told the hub yet, stays: it cannot tell any more."""
    if not any(one.revoked for one in history.boards):
        told = {person for (person,) in history.hub.rows("SELECT person FROM rkface.tombstone")}
        others = {id for one in history.boards if one is not board for id in backup.forgotten(one.gallery)}
        history.erased -= backup.forgotten(board.gallery).keys() - told - others
        board.revoked = True
        revoke_board(history.hub.database, board.name)


def synchronize(board):
    try:
        board.sync()
    except RkfaceError:
        assert board.revoked, "a board that is not revoked cannot sync"
        return
    assert not board.revoked, "a revoked board has synced"


def interrupt(history, board):
    """Sync, and stop at a random place."""
    if not board.reachable:
        return None
    dice = history.dice
    owner, name = dice.choice(((pull, "apply_changes"), (pull, "confirm_erased"), (pull, "pull"), (backup, "finish")))
    real, after, reconnect = getattr(owner, name), *dice.choices((False, True), k=2)

    def stop(*arguments):
        if after:
            real(*arguments)
        if not reconnect:
            raise Interruption
        history.hub.database.execute("SELECT pg_terminate_backend(%s)", [board.own.info.backend_pid])
        return real(*arguments)

    failed = False
    with patch.object(owner, name, stop):
        try:
            board.sync()
        except (Interruption, RkfaceError):
            failed = True
    if failed and not board.revoked:  # the lease may have been renewed before
        board.synced, board.restarts = board.on, 0
    if failed and not reconnect:  # as after a power cut: what was in memory is gone
        board.stop()
        board.start()
    return f"{'after' if after else 'before'} {name}{', connection lost' if reconnect else ''}"


def wait(history, seconds, running):
    """Let time pass. Boards that run store their clocks as ``HubClient`` does."""
    steps = 20 if seconds > 60 else 1
    for _ in range(steps):
        history.hub.now += seconds / steps
        for board in running:
            board.on += seconds / steps
            board.gallery.lease.save_clock()


def check_names(history, board):
    """Nobody is named after the receipt, nor after the lease."""
    receipts = {person for (person,) in history.hub.rows(
        "SELECT person FROM rkface.receipt WHERE board = %s", board.name)}  # fmt: skip
    named = {match.person for matches in board.names(history.all_numbers()) for match in matches}
    assert not named & receipts, f"{board.name} names somebody about whom it said that nothing is left"
    ended = board.synced is None or board.on - board.synced > board.seconds + board.restarts * SAVE_EVERY
    assert not named or not ended, f"{board.name} names people although its lease has ended"


ACTIONS = {
    enroll: 5, add_photo: 3, add_at_hub: 3, move: 3, erase_at_hub: 2, forget_at_door: 2, part: 3, heal: 3,
    synchronize_one: 8, interrupt: 4, restart: 2, back_up: 1, see: 4, deliver: 2, pass_time: 3, set_clock: 2,
    revoke: 0.15, rename: 2, merge: 1, regroup: 2, remove_photo: 2, dump_hub: 0.3, restore_hub: 0.3, decide: 2,
    encrypt: 0.4,
}  # fmt: skip


def reunite(history):
    """Everybody is reachable, all clocks are right, and all boards have synced."""
    for board in history.boards:
        board.reachable, board.error = True, 0.0
    for _ in range(3):  # the first time, the hub hears of everything; the second time, all boards do
        for board in history.boards:
            synchronize(board)
            if not board.revoked:
                board.deliver()


def check_end(history):
    boards = [board for board in history.boards if not board.revoked]
    waiting = dict(history.hub.rows("SELECT person, board FROM rkface.review"))
    for board in boards:
        check_replica(history, board, {person for person, at in waiting.items() if at == board.name})
    check_nothing_is_lost(history)
    check_erased(history, boards)
    wait(history, LEASE + SETTLED, running=history.boards)
    for board in history.boards:
        check_names(history, board)


def hub_content(history, site):
    query = "SELECT id, name, groups FROM rkface.person JOIN rkface.stay ON person = id WHERE site = %s"
    found = {person: (name, set(), tuple(groups)) for person, name, groups in history.hub.rows(query, site)}
    for person, embedding, sealed in history.hub.rows("SELECT person, embedding::text, sealed FROM rkface.sample"):
        if person in found:
            found[person][1].add(read_embedding(history, embedding, sealed))
    return found


def stored_embeddings(history):
    columns = "SELECT embedding::text, sealed FROM rkface."
    rows = history.hub.rows(f"{columns}sample UNION {columns}review_sample")
    return {read_embedding(history, *row) for row in rows}


def read_embedding(history, embedding, sealed):
    if history.key:
        assert embedding is None, "an encrypted hub has an embedding that it can read"
        return SealedEmbeddings(history.key.value).read(MODEL, None, sealed).tobytes()
    return np.array(embedding.strip("[]").split(","), np.float32).tobytes()


def check_replica(history, board, waiting):
    own, wanted = board.content(), hub_content(history, board.site)
    assert own.keys() - wanted.keys() == waiting - wanted.keys(), (
        f"{board.name} has {len(own)} people, the hub {len(wanted)}, and {len(waiting)} wait for a decision"
    )
    for id, (name, embeddings, groups) in wanted.items():
        assert id in own, f"{board.name} lacks {id[:6]}"
        assert own[id][1] == embeddings, f"{board.name} has other photos of {id[:6]} than the hub"
        assert own[id][2] == groups, f"{board.name} has other groups of {id[:6]} than the hub"
        assert own[id][0] == name or id in waiting, f"{board.name} has another name of {id[:6]} than the hub"


def check_nothing_is_lost(history):
    """Who was enrolled anywhere is at the hub, or waits for a decision; so does each photo."""
    lost = any(board.revoked for board in history.boards)
    query = "SELECT id FROM rkface.person UNION SELECT person FROM rkface.review UNION SELECT person FROM rkface.merged"
    known = {id for (id,) in history.hub.rows(query)}
    stored = stored_embeddings(history)
    for person, numbers in history.numbers.items():
        if history.same[person] & history.erased or lost or person in history.lost:
            continue
        assert history.same[person] & known, f"{person[:6]} is lost"
        missing = {sample(number).embedding.tobytes() for number in numbers if number not in history.removed} - stored
        assert person in history.moved or not missing, f"{len(missing)} photos of {person[:6]} are lost"


def check_erased(history, boards):
    hub = history.hub
    revoked = {board.name for board in history.boards if board.revoked}
    for one in people.list_erased(hub.database):
        assert set(one.missing) <= revoked, f"{one.missing} have not confirmed that {one.person[:6]} is gone"
    everybody = {id for board in boards for id in board.content()}
    everybody |= {id for (id,) in hub.rows("SELECT id FROM rkface.person UNION SELECT person FROM rkface.review")}
    assert not everybody & history.erased, "an erased person is back"
    living = {name for id, names in history.aliases.items() if id not in history.erased for name in names}
    names = {name.encode() for id in history.erased for name in history.aliases[id] - living}
    embeddings = {sample(number).embedding.tobytes() for id in history.erased for number in history.numbers[id]}
    for board in boards:
        found = board.find_bytes(names | embeddings)
        assert not found, f"{board.name} still has bytes of an erased person in {sorted({file for file, _ in found})}"
    stored = stored_embeddings(history)
    assert not stored & embeddings, "the hub has an embedding of an erased person"
    ids = {id.encode() for id in history.erased}
    for table in PEOPLE:
        text = "".join(row for (row,) in hub.rows(f"SELECT t::text FROM rkface.{table} t")).encode()
        assert not [one for one in names | ids if one in text], f"the hub's table {table} names an erased person"


def run_histories(address, seeds, show=lambda number: None):
    memory = "/dev/shm" if os.access("/dev/shm", os.W_OK) else None  # nothing here is about power cuts
    for number, seed in enumerate(seeds, 1):
        folder = Path(tempfile.mkdtemp(prefix="rkface-history-", dir=memory))
        try:
            run_history(address, seed, folder)
        finally:
            shutil.rmtree(folder)
        show(number)


def main():
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--histories", type=int, default=2000)
    parser.add_argument("--seed", type=int, default=0, help="of the first one (default: %(default)s)")
    options = parser.parse_args()
    logging.getLogger("rkface").addHandler(logging.NullHandler())  # otherwise Python writes warnings to stderr
    folder = Path(tempfile.mkdtemp(prefix="rkface-hub-"))
    server, address = start_embedded(folder / "pg")
    spare_work(address)
    with connect(address) as database:
        migrate(database)

    def show(number):
        if number % 50 == 0 or number == options.histories:
            print(f"{number} histories", flush=True)

    try:
        run_histories(address, range(options.seed, options.seed + options.histories), show)
    finally:
        server.cleanup()
        shutil.rmtree(folder, ignore_errors=True)
    return 0


if __name__ == "__main__":
    sys.exit(main())
