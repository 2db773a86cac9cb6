"""Native code reads models in processes of their own, which take a third of a second of CPU to start, and models are
tuned in such processes, which takes seconds. In the tests, the same function is called once with the same models and
images, and its answer is given again, in all processes of `make test`. It runs in a fork of a process that has loaded
the libraries; if that gives no answer, in a process of its own."""

import hashlib
import io
import pickle
import resource
import shutil
import sys
import tempfile
from contextlib import suppress
from importlib import import_module
from multiprocessing import get_context
from pathlib import Path

from rkface.runtime.core import subprocess_call
from rkface.runtime.core.subprocess_call import ProcessLimits

CALLERS = (
    "rkface.convert.native_steps", "rkface.convert.run_recipe", "rkface.convert.same_outputs",
    "rkface.runtime.vision.bare_onnx",
)  # fmt: skip
FORKS = get_context("forkserver")
FORKS.set_forkserver_preload([*CALLERS, "onnxruntime", "onnxsim", "rkface.convert.tuning.tune"])
TRY_SECONDS = 60  # calls with less time, or as much, are those of tests of failures
forked_seconds = []  # of the CPU, of each call that a fork has answered: cpu_seconds.py adds them
LARGEST = 10_000_000  # bytes of an answer that is kept
ANSWER = "answer"  # its file, beside those that the function wrote


class Key(pickle.Pickler):
    """Writes the content of files instead of their paths, and only the names of files that do not exist yet."""

    def persistent_id(self, one):
        from rkface.calibration.dataset import LIST

        if not isinstance(one, Path):
            return None
        if not one.is_file():
            return one.name
        listed = [one.parent / line for line in one.read_text().split()] if one.name == LIST else []
        return [hashlib.sha256(path.read_bytes()).hexdigest() for path in (one, *listed)]


class Writer(pickle.Pickler):
    """Writes the names of files in ``folder`` instead of their paths."""

    def __init__(self, file, folder):
        super().__init__(file)
        self.folder = folder

    def persistent_id(self, one):
        return one.name if isinstance(one, Path) and one.parent == self.folder else None


class Reader(pickle.Unpickler):
    """Reads what Writer wrote, with paths in another ``folder``."""

    def __init__(self, file, folder):
        super().__init__(file)
        self.folder = folder

    def persistent_load(self, name):
        return self.folder / name


def remember(call, kept):
    """``call_in_subprocess`` as ``call``, with the answers of earlier calls, which are in the folder ``kept``. Errors
    come from a process each time.

    A path among the arguments that does not exist is that of a file which the function writes. It, and files beside it
    whose names begin like it, are a part of the answer.
    """

    def remembered(function, *arguments, **options):
        given = {name: value for name, value in options.items() if name != "progress"}
        written = [one for one in arguments if isinstance(one, Path) and not one.exists()]
        folder = written[0].parent if written else None
        key = io.BytesIO()
        Key(key).dump((function.__module__, function.__qualname__, arguments, given))
        entry = kept / hashlib.sha256(key.getvalue()).hexdigest()
        if entry.exists():
            return read_answer(entry, folder)
        try:
            answer = call_in_fork(function, arguments, options)
        except Exception:  # also if it dies: a process of its own says what is wrong
            answer = call(function, *arguments, **options)
        store_answer(answer, entry, folder, [file for path in written for file in folder.glob(f"{path.stem}*")])
        return answer

    return remembered


def call_in_fork(function, arguments, options):
    """``call_in_subprocess`` in a fork of a process that has loaded the libraries. Raises an error if there is no
    answer."""
    given = dict(options)
    progress, limits = given.pop("progress", None), given.pop("limits", ProcessLimits())
    if limits.seconds is not None and limits.seconds <= TRY_SECONDS:
        raise TimeoutError("a failure is likely, which would take as long again")
    ours, theirs = FORKS.Pipe()
    process = FORKS.Process(target=send_answer, args=(theirs, function, arguments, given, limits), daemon=True)
    process.start()
    theirs.close()
    try:
        while ours.poll(limits.seconds):
            kind, value = ours.recv()
            if kind == "answer":
                answer, seconds = value
                forked_seconds.append(seconds)
                return answer
            if progress is not None:
                progress(*value)
        raise TimeoutError(function.__name__)
    finally:
        process.kill()
        process.join()
        ours.close()


def send_answer(channel, function, arguments, options, limits):
    """What the fork does."""
    subprocess_call._apply(limits)
    answer = function(*arguments, **options, progress=lambda *done: channel.send(("progress", done)))
    channel.send(("answer", (answer, sum(resource.getrusage(resource.RUSAGE_SELF)[:2]))))


def store_answer(answer, entry, folder, files):
    """Store ``answer`` and ``files`` of ``folder`` as ``entry``, if they are small."""
    new = Path(tempfile.mkdtemp(dir=entry.parent))
    for file in files:
        shutil.copyfile(file, new / file.name)
    with (new / ANSWER).open("wb") as file:
        Writer(file, folder).dump(answer)
    if sum(file.stat().st_size for file in new.iterdir()) <= LARGEST:
        with suppress(OSError):  # another process was faster
            new.rename(entry)
    shutil.rmtree(new, ignore_errors=True)


def read_answer(entry, folder):
    """What ``entry`` has; its files are copied to ``folder``."""
    for file in entry.iterdir():
        if file.name != ANSWER:
            shutil.copyfile(file, folder / file.name)
    with (entry / ANSWER).open("rb") as file:
        return Reader(file, folder).load()


def patch_callers(patch, kept):
    """Let the modules that call use ``remember`` with the folder ``kept``. ``patch`` is a MonkeyPatch.

    Modules are not loaded for this, except those of the conversion if its tests run.
    """
    kept.mkdir(parents=True, exist_ok=True)
    for name in CALLERS:
        if name in sys.modules or (name.startswith("rkface.convert") and "onnx" in sys.modules):
            module = import_module(name)
            patch.setattr(module, "call_in_subprocess", remember(module.call_in_subprocess, kept))
