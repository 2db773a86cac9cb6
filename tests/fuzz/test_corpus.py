"""Whatever bytes a reader gets, it returns a value or raises one of our errors, within its limits of time and memory.

`make fuzz` searches for inputs that break this. What it found is in tests/fuzz/corpus, and is read again here.
"""

import json
import re
import subprocess
import sys
from pathlib import Path

import pytest

REPLAY = Path(__file__).with_name("replay.py")
# Reading the names does not import the targets: they are loaded in a process for each file.
FILES = [
    re.findall(r'\bTarget\(\s*"([\w-]+)"', path.read_text())
    for path in sorted(Path(__file__).parent.glob("targets_*.py"))
]
NAMES = sorted(name for names in FILES for name in names)


@pytest.fixture(scope="module")
def outcome():
    """``outcome(name)``: the exit status and the report of a target. All of its file are read at once."""
    known = {}

    def read(name):
        if name not in known:
            names = next(names for names in FILES if name in names)
            done = subprocess.run([sys.executable, str(REPLAY), "--each", *names], capture_output=True, check=False)
            assert done.returncode == 0, done.stderr.decode()
            known.update(json.loads(done.stdout))
        return known[name]

    return read


@pytest.mark.parametrize("name", NAMES)
def test_a_reader_survives_all_inputs(outcome, name):
    status, report = outcome(name)
    assert status == 0, report or f"exit status {status}"


def test_every_target_is_found_by_its_name():
    sys.path.insert(0, str(REPLAY.parent))
    from fuzz_target import load_targets

    assert sorted(load_targets()) == NAMES


def test_a_reader_that_breaks_is_reported(tmp_path):
    sys.path.insert(0, str(REPLAY.parent))
    from fuzz_target import FindingError, Target, check

    from rkface.runtime.core.errors import InputError

    def read(data):
        if data == b"ours":
            raise InputError("a clear message")
        if data == b"long":
            raise InputError("x" * 20_000)
        if data == b"slow":
            return sum(range(10_000_000))
        return data.decode()

    target = Target("example", read, lambda: [], seconds=0.01)
    check(target, b"ours")
    for data in (b"long", b"slow"):
        with pytest.raises(FindingError):
            check(target, data)
    with pytest.raises(UnicodeDecodeError):
        check(target, b"\xff")


LARGE = """
from fuzz_target import FindingError, Target, check
try:
    check(Target("example", lambda data: bytearray(300 << 20), lambda: []), b"")
except FindingError as error:
    print(error)
"""


def test_a_reader_that_takes_too_much_memory_is_reported():
    # In a process of its own: the peak that counts is that of the whole life of a process.
    done = subprocess.run([sys.executable, "-c", LARGE], check=True, capture_output=True, text=True, cwd=REPLAY.parent)
    assert re.fullmatch(r"30\d MB more memory, 200 MB allowed\n", done.stdout)
