"""`make bench-kills`: kill a process with `kill -9` while it changes a gallery, many times, and check what remains.

The process adds, imports, renames, merges, reviews and forgets people, makes backups and encrypts the gallery, in
random order. It reports each action before it starts and when it is acknowledged. After each kill, the gallery must
have the content of all acknowledged actions, perhaps with the one that was interrupted, and no damage; so must every
backup.

A killed process loses nothing that it gave to the kernel. What a power cut can lose depends on the disk.
"""

from __future__ import annotations

import argparse
import json
import os
import random
import shutil
import signal
import sys
import tempfile
import time
from base64 import b64encode
from pathlib import Path

import numpy as np

from rkface.runtime.enrollment.enroll import EnrollOptions
from rkface.runtime.enrollment.import_export import import_record, read_records
from rkface.runtime.gallery.backup import back_up, encrypt_gallery, forget, resume
from rkface.runtime.gallery.backup_files import is_good, list_backups
from rkface.runtime.gallery.bound_values import is_encrypted
from rkface.runtime.gallery.encryption import make_key, read_key
from rkface.runtime.gallery.gallery import Gallery
from rkface.runtime.gallery.integrity import find_problems
from rkface.runtime.gallery.people import Person, Sample
from rkface.runtime.gallery.reviews import Review, add_review, list_reviews

MODEL, NUMBERS, NAMES = "1" * 32, 64, [f"person {number}" for number in range(12)]
ACTIONS = {"add": 8, "import": 4, "rename": 3, "merge": 2, "review": 3, "forget": 2, "backup": 1, "encrypt": 0.5}
LONGEST = 0.25  # seconds until the kill
KILLS_PER_GALLERY = 25

State = dict[str, set[str]]  # of each person: the sources of the samples, and "review" with the id of an appearance


def sample(source: str) -> Sample:
    dice = np.random.default_rng(int(source))
    vector = dice.standard_normal(NUMBERS)
    return Sample((vector / np.linalg.norm(vector)).astype(np.float32), dice.bytes(9000), 0.9, source)


def change(state: State, action: list[str]) -> State:
    """The content of the gallery after ``action``."""
    after = {name: set(sources) for name, sources in state.items()}
    match action:
        case ["add" | "import", name, *sources]:
            after.setdefault(name, set()).update(sources)
        case ["rename", name, new]:
            after[new] = after.pop(name)
        case ["merge", name, into]:
            after[into] |= after.pop(name)
        case ["review", name, appearance]:
            after[name].add(f"review {appearance}")
        case ["forget", name]:
            del after[name]
    return after


def choose(state: State, encrypted: bool, dice: random.Random) -> list[str]:
    known, free = sorted(state), [name for name in NAMES if name not in state]
    new = [str(dice.randrange(10**9)) for _ in range(2)]
    action = ["add", dice.choice(NAMES), new[0]]
    match dice.choices([*ACTIONS], [*ACTIONS.values()])[0]:
        case "import":
            action = ["import", dice.choice(NAMES), *new]
        case "rename" if known and free:
            action = ["rename", dice.choice(known), dice.choice(free)]
        case "merge" if len(known) > 1:
            action = ["merge", *dice.sample(known, 2)]
        case "review" if known:
            action = ["review", dice.choice(known), new[0]]
        case "forget" if len(known) > 3:
            action = ["forget", dice.choice(known)]
        case "backup":
            action = ["backup"]
        case "encrypt" if known and not encrypted:
            action = ["encrypt"]
    return action


def act(gallery: Gallery, action: list[str]) -> None:
    match action:
        case ["add", name, source]:
            gallery.add(name, [sample(source)])
        case ["import", name, *sources]:
            file = gallery.path.with_name("people.jsonl")
            lines = [{"source": source, "quality": 0.9, "identity": MODEL} for source in sources]
            for line, source in zip(lines, sources, strict=True):
                line["embedding"] = b64encode(sample(source).embedding.tobytes()).decode()
            record = {"schema": "rkface.person", "version": 1, "name": name, "metadata": {}, "samples": lines}
            file.write_text(json.dumps(record))
            for found in read_records(file, file.parent):
                assert not isinstance(found, Exception), found
                import_record(gallery, found, None, EnrollOptions())
        case ["rename", name, new]:
            gallery.rename(gallery.person(name), new)
        case ["merge", name, into]:
            gallery.merge(gallery.person(name), gallery.person(into))
        case ["review", name, appearance]:
            id = gallery.person(name).id
            review = Review(appearance, "door", 1.0, id, id, 0.7, 0.4, 0.9)
            add_review(gallery, review, sample(appearance).embedding, MODEL)
        case ["forget", name]:
            forget(gallery, gallery.person(name))
        case ["backup"]:
            back_up(gallery)
        case ["encrypt"]:
            encrypt_gallery(gallery, read_key(gallery.path.with_name("key")))


def work(path: Path, state: State, seed: int, report: int) -> None:
    """Change the gallery until this process is killed. Writes each action to ``report`` first, and "ok" after it."""
    dice = random.Random(seed)
    with open_gallery(path) as gallery:
        resume(gallery)
        while True:
            action = choose(state, is_encrypted(gallery.database), dice)
            os.write(report, json.dumps(action).encode() + b"\n")
            act(gallery, action)
            os.write(report, b"ok\n")
            state = change(state, action)


def open_gallery(path: Path) -> Gallery:
    with Gallery(path, MODEL, create=True) as gallery:
        encrypted = is_encrypted(gallery.database)
    return Gallery(path, MODEL, key=read_key(path.with_name("key")) if encrypted else None)


def content(gallery: Gallery, person: Person) -> set[str]:
    reviews = (f"review {one.appearance}" for one in list_reviews(gallery, person.id))
    return {*(one.source for one in gallery.samples(person)), *reviews}


def kill_once(path: Path, state: State, dice: random.Random) -> tuple[State, int, str]:
    """Let a process work, kill it, and check the gallery. Returns its content, the number of acknowledged actions, and
    the kind of the interrupted action. Raises AssertionError."""
    reader, writer = os.pipe()
    child = os.fork()
    if not child:
        os.close(reader)
        try:
            work(path, state, dice.randrange(10**9), writer)
        except BaseException as error:
            os.write(writer, f"failed: {error!r}\n".encode())
        os._exit(1)
    os.close(writer)
    time.sleep(dice.uniform(0, LONGEST))
    os.kill(child, signal.SIGKILL)
    with os.fdopen(reader) as lines:
        reported = lines.read().splitlines()
    os.waitpid(child, 0)
    assert not any(line.startswith("failed") for line in reported), reported[-1]
    actions = [json.loads(line) for line in reported if line != "ok"]
    acknowledged = reported.count("ok")
    for action in actions[:acknowledged]:
        state = change(state, action)
    interrupted = actions[acknowledged] if len(actions) > acknowledged else []
    with open_gallery(path) as gallery:
        found = {person.name: content(gallery, person) for person in gallery.people()}
        assert found in (state, change(state, interrupted)), f"after {interrupted}: {state} became {found}"
        assert find_problems(gallery) == []
    assert all(map(is_good, list_backups(path))), "a backup is damaged"
    assert not any(action == ["encrypt"] for action in actions[:acknowledged]) or open_gallery(path).has_key
    return found, acknowledged, interrupted[0] if interrupted else "nothing"


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--kills", type=int, default=500, metavar="N", help="(default: %(default)s)")
    parser.add_argument("--seed", type=int, default=1, metavar="N", help="of the random actions (default: %(default)s)")
    options = parser.parse_args()
    dice, interrupted, acknowledged = random.Random(options.seed), dict.fromkeys([*ACTIONS, "nothing"], 0), 0
    state: State = {}
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "gallery" / "gallery.sqlite"
        for number in range(options.kills):
            if number % KILLS_PER_GALLERY == 0:
                shutil.rmtree(path.parent, ignore_errors=True)
                path.parent.mkdir()
                make_key(path.with_name("key"))
                state = {}
            state, done, kind = kill_once(path, state, dice)
            acknowledged += done
            interrupted[kind] += 1
    print(f"{options.kills} kills, {acknowledged:,} acknowledged actions, none lost, no damage")
    print("interrupted: " + ", ".join(f"{kind} {count}" for kind, count in interrupted.items() if count))
    return 0


if __name__ == "__main__":
    sys.exit(main())
