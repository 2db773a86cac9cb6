"""What a fuzz target is, which ones exist, and the check that every input must pass."""

from __future__ import annotations

import atexit
import hashlib
import importlib.util
import os
import random
import resource
import shutil
import sys
import tempfile
import traceback
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass
from pathlib import Path

from rkface.runtime.core.errors import RkfaceError

FOLDER = Path(__file__).parent
CORPUS = FOLDER / "corpus"
FINDINGS = FOLDER.parents[1] / "build" / "fuzz" / "findings"
MEGABYTE = 1 << 20
# Values at which readers go wrong: limits of integers, lengths of zero, signs, half of a surrogate pair, brackets.
PIECES = (
    b"\0", b"\xff", b"\x7f", b"\x80", b"\0\0\0\0", b"\xff\xff\xff\xff", b"\x7f\xff\xff\xff", b"\xff\xff\xff\x7f",
    b"-1", b"1e999", b"NaN", b"9" * 400, b"\\ud800", b"\xed\xa0\x80", b"[" * 3000, b"{\"a\":" * 3000, b"../", b"\n",
    b"\r\n", b"\"", b"'", b"\x1b[2J", "\u202e".encode(), "\ufeff".encode(), b"null", b"true", b"{}", b"[]",
)  # fmt: skip


@dataclass(frozen=True)
class Target:
    """A reader of bytes from outside.

    name    its name in `make fuzz`, and the name of its folder in tests/fuzz/corpus
    read    reads ``data``, and returns anything or raises RkfaceError; every other exception is a finding
    seeds   small valid inputs, made by our own code
    seconds, megabytes  CPU time and additional memory that one input may take
    mutations           how many changed inputs the tests try
    """

    name: str
    read: Callable[[bytes], object]
    seeds: Callable[[], Iterable[bytes]]
    seconds: float = 1.0
    megabytes: int = 200
    mutations: int = 300


class FindingError(Exception):
    """An input takes too long or too much memory."""


def temporary_folder() -> Path:
    """An empty folder for a file of targets, deleted when the process ends."""
    folder = Path(tempfile.mkdtemp(prefix="rkface-fuzz-"))
    atexit.register(shutil.rmtree, folder, ignore_errors=True)
    return folder


def load_targets(only: str = "") -> dict[str, Target]:
    """All targets of tests/fuzz/targets_*.py by name; ``only``: from files that contain this name."""
    targets: dict[str, Target] = {}
    for path in sorted(FOLDER.glob("targets_*.py")):
        if only and f'"{only}"' not in path.read_text(encoding="utf-8"):
            continue
        spec = importlib.util.spec_from_file_location(path.stem, path)
        assert spec is not None and spec.loader is not None
        module = sys.modules[path.stem] = importlib.util.module_from_spec(spec)
        spec.loader.exec_module(module)
        found = {target.name: target for target in module.TARGETS}
        assert not found.keys() & targets.keys(), f"two targets have one name: {found.keys() & targets.keys()}"
        targets |= found
    return targets


def from_file(folder: Path, name: str, read: Callable[[Path], object]) -> Callable[[bytes], object]:
    """A reader of bytes from a reader of a file, which is written to ``folder`` as ``name``."""

    def write_and_read(data: bytes) -> object:
        path = folder / name
        path.write_bytes(data)
        return read(path)

    return write_and_read


def check(target: Target, data: bytes, slower: float = 1.0) -> None:
    """Read ``data``. Raises FindingError if a limit is exceeded, and whatever the reader raises except RkfaceError.

    ``slower``: factor by which the program runs slower than usual, because it is instrumented.
    """
    start, memory = _cpu_seconds(), _peak_megabytes()
    try:
        target.read(data)
    except RkfaceError as error:
        if len(str(error)) > 10_000:
            raise FindingError(f"the error message has {len(str(error)):,} characters") from None
    took, more = _cpu_seconds() - start, _peak_megabytes() - memory
    if took > target.seconds * slower:
        raise FindingError(f"{took:.1f} s of CPU time, {target.seconds:g} s allowed")
    if more > target.megabytes:
        raise FindingError(f"{more:.0f} MB more memory, {target.megabytes} MB allowed")


def describe(error: BaseException) -> str:
    """The exception and the innermost line of our code, in one line: findings with the same text are the same."""
    frames = traceback.extract_tb(error.__traceback__)
    place = f"{Path(frames[-1].filename).name}:{frames[-1].lineno}" if frames else "?"
    return f"{type(error).__name__} at {place}: {str(error)[:200]}"


def known_inputs(target: Target) -> Iterator[tuple[str, bytes]]:
    """The seeds and the corpus, each with a name."""
    for number, seed in enumerate(target.seeds()):
        yield f"seed {number}", seed
    for path in sorted((CORPUS / target.name).glob("*")):
        yield path.name, path.read_bytes()


def mutated(target: Target) -> Iterator[tuple[str, bytes]]:
    """``target.mutations`` changed inputs, the same each time."""
    inputs = [data for _, data in known_inputs(target)] or [b""]
    dice = random.Random(target.name)
    for number in range(target.mutations):
        data = bytearray(dice.choice(inputs))
        for _ in range(dice.choice((1, 1, 2, 3, 8))):
            _change(data, dice, inputs)
        yield f"mutation {number}", bytes(data)


def _change(data: bytearray, dice: random.Random, inputs: list[bytes]) -> None:
    at = dice.randrange(len(data) + 1)
    match dice.randrange(6):
        case 0 if data:
            data[at % len(data)] ^= 1 << dice.randrange(8)
        case 1:
            data[at : at + dice.choice((1, 2, 4, 30))] = b""
        case 2:
            data[at:at] = dice.choice(PIECES)
        case 3:
            piece = dice.choice(PIECES)
            data[at : at + len(piece)] = piece
        case 4:
            other = dice.choice(inputs)
            start = dice.randrange(len(other) + 1)
            data[at:at] = other[start : start + dice.choice((4, 16, 64))]
        case _:
            del data[at:]


def _cpu_seconds() -> float:
    usages = (resource.getrusage(who) for who in (resource.RUSAGE_SELF, resource.RUSAGE_CHILDREN))
    return sum(usage.ru_utime + usage.ru_stime for usage in usages)


def _peak_megabytes() -> float:
    # Not ru_maxrss: a new process starts with that of its parent, so a large parent would hide what this one takes.
    status = Path("/proc/self/status").read_text(encoding="ascii")
    return int(status.partition("VmHWM:")[2].split()[0]) * 1024 / MEGABYTE


def save_finding(target: Target, data: bytes) -> Path:
    """Write an input that must not get lost below build/fuzz/findings, named by its digest."""
    path = FINDINGS / target.name / hashlib.sha256(data).hexdigest()[:16]
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes(data)
    return path


def silence_output() -> int:
    """Send stdout and stderr of this process, also of native code, to /dev/null; return a copy of the old stdout."""
    report = os.dup(1)
    null = os.open(os.devnull, os.O_WRONLY)
    os.dup2(null, 1)
    os.dup2(null, 2)
    return report
