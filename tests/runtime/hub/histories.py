"""Random histories of a hub and its boards, and what must hold in all of them. ``python -m tests.runtime.hub.histories``
runs many."""

import argparse
import random
import shutil
import sys
import tempfile
from dataclasses import dataclass, field
from pathlib import Path
from unittest.mock import patch

from rkface.runtime.core.errors import RkfaceError
from rkface.runtime.core.steady_clock import SETTLED
from rkface.runtime.gallery import backup
from rkface.runtime.hub import people, pull
from rkface.runtime.hub.boards import revoke_board
from rkface.runtime.hub.embedded import start_embedded
from rkface.runtime.hub.lease import SAVE_EVERY

from .world import MODEL, Board, Hub, Interruption, add, open_hub, sample

SITES = ("east", "west")
BOARDS = (("east-1", "east"), ("east-2", "east"), ("west-1", "west"))
DAY, YEAR = 86_400.0, 365 * 86_400.0
LEASE = 2 * DAY
ACTIONS = {
    "enroll": 5, "photo": 3, "add": 3, "move": 3, "erase": 2, "forget": 2, "partition": 3, "heal": 3, "sync": 8,
    "interrupt": 4, "restart": 2, "backup": 1, "see": 4, "deliver": 2, "wait": 3, "jump": 2, "revoke": 0.15,
}  # fmt: skip
TWIN = 0.1  # share of enrolled people whose name somebody else has already


@dataclass
class History:
    """What happened. ``numbers``: id of a person → numbers of the samples. ``moved``: who may have lost a sample that a
    board had not sent when the person moved."""

    hub: Hub
    boards: list[Board]
    dice: random.Random
    names: dict[str, str] = field(default_factory=dict)
    numbers: dict[str, list[int]] = field(default_factory=dict)
    erased: set[str] = field(default_factory=set)
    moved: set[str] = field(default_factory=set)
    steps: list[str] = field(default_factory=list)

    def new_name(self):
        if self.names and self.dice.random() < TWIN:
            return self.dice.choice(list(self.names.values()))
        return f"Person-{self.dice.randrange(10**12):012d}"

    def new_number(self, person):
        number = self.dice.randrange(10**9)
        self.numbers.setdefault(person, []).append(number)
        return number


def run_history(address, seed, folder, length=25):
    """Run the history ``seed`` and check it. Raises AssertionError, with the seed."""
    dice, hub = random.Random(seed), open_hub(address)
    history = History(hub, [], dice)
    try:
        hub.database.execute("INSERT INTO rkface.site VALUES ('east'), ('west')")
        history.boards = [add(hub, name, site, folder, LEASE) for name, site in BOARDS]
        with patch.object(pull, "BATCH", dice.choice((1, 2, 500))):
            for _ in range(length):
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
    dice, hub = history.dice, history.hub
    action = dice.choices([*ACTIONS], [*ACTIONS.values()])[0]
    board = dice.choice(history.boards)
    here = board.gallery.people()
    known = people.list_people(hub.database)
    history.steps.append(f"{action} {board.name}{'' if board.reachable else ' (away)'}")
    match action:
        case "enroll":
            name = history.new_name()
            if not board.gallery.has_person(name):
                number = dice.randrange(10**9)
                person = board.gallery.add(name, [sample(number)])
                history.names[person.id] = name
                history.numbers[person.id] = [number]
                history.steps[-1] += f" {person.id[:6]} {name}"
        case "photo" if here:
            person = dice.choice(here)
            board.gallery.add(person.name, [sample(history.new_number(person.id))])
            history.steps[-1] += f" {person.id[:6]}"
        case "add":
            name, number = history.new_name(), dice.randrange(10**9)
            if name not in [one.name for one in known]:
                sites = dice.sample(SITES, dice.randint(1, 2))
                id = people.add_person(hub.database, name, sites, [sample(number)], MODEL)
                history.names[id], history.numbers[id] = name, [number]
                history.steps[-1] += f" {id[:6]} {name} {sites}"
        case "move" if known:
            person, sites = dice.choice(known), dice.sample(SITES, dice.randint(1, 2))
            history.moved |= {person.id}
            people.move_person(hub.database, person.id, sites)
            history.steps[-1] += f" {person.id[:6]} {sites}"
        case "erase" if known:
            person = dice.choice(known)
            history.erased |= {person.id}
            people.erase_person(hub.database, person.id)
            history.steps[-1] += f" {person.id[:6]}"
        case "forget" if here and not board.revoked:
            person = dice.choice(here)
            history.erased |= {person.id}
            board.forget(person)
            history.steps[-1] += f" {person.id[:6]}"
        case "partition":
            board.reachable = False
        case "heal":
            board.reachable = True
        case "sync" if board.reachable:
            synchronize(board)
        case "interrupt" if board.reachable:
            history.steps[-1] += f" {interrupt(history, board)}"
        case "restart":
            board.stop()
            wait(history, dice.choice((0, DAY)), running=[one for one in history.boards if one is not board])
            board.start()
        case "backup":
            backup.back_up(board.gallery)
        case "see":
            for number in dice.sample([*sum(history.numbers.values(), [])], min(3, len(history.numbers))):
                board.see(number)
        case "deliver" if board.reachable:
            board.deliver()
        case "wait":
            wait(history, dice.choice((60, 3600, DAY)), running=history.boards)
        case "jump":
            board.error = dice.choice((0, -YEAR, YEAR, -50 * YEAR, 600))
            history.steps[-1] += f" {board.error:.0f} s"
        case "revoke" if not any(one.revoked for one in history.boards):
            board.revoked = True
            revoke_board(hub.database, board.name)


def synchronize(board):
    try:
        board.sync()
    except RkfaceError:
        assert board.revoked, "a board that is not revoked cannot sync"
        return
    assert not board.revoked, "a revoked board has synced"


def interrupt(history, board):
    """Sync, and stop at a random place. Returns where."""
    places = ["apply_changes", "confirm_erased", "backup.finish", "pull"]
    place, after, break_connection = history.dice.choice(places), *history.dice.choices((False, True), k=2)
    owner, name = (backup, "finish") if place == "backup.finish" else (pull, place)
    real = getattr(owner, name)

    def stop(*arguments):
        if after:
            real(*arguments)
        if break_connection:
            history.hub.database.execute(
                "SELECT pg_terminate_backend(pid) FROM pg_stat_activity WHERE usename LIKE 'rkface_board__%'"
            )
            return real(*arguments)
        raise Interruption

    with patch.object(owner, name, stop):
        try:
            board.sync()
        except (Interruption, RkfaceError):
            if not board.revoked:  # the lease may have been renewed before
                board.synced, board.restarts = board.on, 0
            if not break_connection:  # as after a power cut: what was in memory is gone
                board.stop()
                board.start()
    return f"{'after' if after else 'before'} {place}{', connection lost' if break_connection else ''}"


def wait(history, seconds, running):
    """Let time pass. Boards that run store their clocks as ``HubClient`` does."""
    steps = 20 if seconds > 60 else 1
    for _ in range(steps):
        history.hub.now += seconds / steps
        for board in running:
            board.on += seconds / steps
            board.lease.save_clock()


def check_names(history, board):
    """Nobody is named after the receipt, nor after the lease."""
    receipts = {person for (person,) in history.hub.rows(
        "SELECT person FROM rkface.receipt WHERE board = %s", board.name)}  # fmt: skip
    named = {match.person for numbers in history.numbers.values() for number in numbers for match in board.names(number)}
    assert not named & receipts, f"{board.name} names somebody about whom it said that nothing is left"
    ended = board.synced is None or board.on - board.synced > board.seconds + board.restarts * SAVE_EVERY
    assert not named or not ended, f"{board.name} names people although its lease has ended"


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
    check_nothing_is_lost(history, boards)
    check_erased(history, boards)
    wait(history, LEASE + SETTLED, running=history.boards)
    for board in history.boards:
        check_names(history, board)


def hub_content(history, site):
    found = {person: (name, set()) for person, name in history.hub.rows(
        "SELECT id, name FROM rkface.person WHERE id IN (SELECT person FROM rkface.stay WHERE site = %s)", site)}  # fmt: skip
    for person, embedding in history.hub.rows("SELECT person, embedding::text FROM rkface.sample"):
        if person in found:
            found[person][1].add(as_bytes(embedding))
    return found


def as_bytes(embedding):
    import numpy as np

    return np.array(embedding.strip("[]").split(","), np.float32).tobytes()


def check_replica(history, board, waiting):
    own, wanted = board.content(), hub_content(history, board.site)
    assert own.keys() - wanted.keys() == waiting, (
        f"{board.name} has {len(own)} people, the hub {len(wanted)}, and {len(waiting)} wait for a decision"
    )
    assert {id: own.get(id) for id in wanted} == wanted, f"{board.name} differs from the hub"


def check_nothing_is_lost(history, boards):
    """Who was enrolled anywhere is at the hub, or waits for a decision; so does each photo."""
    lost = {board.name for board in history.boards if board.revoked}
    known = {id for (id,) in history.hub.rows("SELECT id FROM rkface.person UNION SELECT person FROM rkface.review")}
    stored = {as_bytes(text) for (text,) in history.hub.rows(
        "SELECT embedding::text FROM rkface.sample UNION ALL SELECT embedding::text FROM rkface.review_sample")}  # fmt: skip
    for person, numbers in history.numbers.items():
        if person in history.erased or lost:
            continue
        assert person in known, f"{person[:6]} is lost"
        missing = {sample(number).embedding.tobytes() for number in numbers} - stored
        assert person in history.moved or not missing, f"{len(missing)} photos of {person[:6]} are lost"


def check_erased(history, boards):
    hub = history.hub
    revoked = {board.name for board in history.boards if board.revoked}
    for one in people.list_erased(hub.database):
        assert set(one.missing) <= revoked, f"{one.missing} have not confirmed that {one.person[:6]} is gone"
    everybody = {id for board in boards for id in board.content()}
    everybody |= {id for (id,) in hub.rows("SELECT id FROM rkface.person UNION SELECT person FROM rkface.review")}
    assert not everybody & history.erased, "an erased person is back"
    living = {name for id, name in history.names.items() if id not in history.erased}
    names = {history.names[id].encode() for id in history.erased if history.names[id] not in living}
    embeddings = {sample(number).embedding.tobytes() for id in history.erased for number in history.numbers[id]}
    for board in boards:
        found = board.find_bytes(names | embeddings)
        assert not found, f"{board.name} still has bytes of an erased person in {sorted({file for file, _ in found})}"
    stored = {as_bytes(text) for (text,) in hub.rows(
        "SELECT embedding::text FROM rkface.sample UNION ALL SELECT embedding::text FROM rkface.review_sample")}  # fmt: skip
    assert not stored & embeddings, "the hub has an embedding of an erased person"
    ids = {id.encode() for id in history.erased}
    for table in ("person", "stay", "sample", "event", "heartbeat", "review", "review_sample", "setting"):
        text = "".join(row for (row,) in hub.rows(f"SELECT t::text FROM rkface.{table} t")).encode()
        assert not [one for one in names | ids if one in text], f"the hub's table {table} names an erased person"


def run_histories(address, seeds, show=lambda number: None):
    for number, seed in enumerate(seeds, 1):
        folder = Path(tempfile.mkdtemp(prefix="rkface-history-"))
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
    folder = Path(tempfile.mkdtemp(prefix="rkface-hub-"))
    server, address = start_embedded(folder / "pg")

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
