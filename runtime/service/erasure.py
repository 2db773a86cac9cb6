"""Forgetting beyond the gallery and its backups: in the log of appearances, in events that wait, at who was told.

What there is to do follows from the ids that a gallery remembers of those who were forgotten, so that it can be done
again after whatever cut it off: by a service when it notices and whenever it starts, by ``rkface gallery forget`` and
``rkface gallery check``.
"""

from __future__ import annotations

import math
import time
from collections.abc import Iterator, Sequence
from contextlib import closing
from dataclasses import dataclass
from pathlib import Path

from ..core.errors import InputError, RkfaceError
from ..events import Outbox, OutboxInUseError, Sink, find_outboxes
from ..gallery.backup import Left, forgotten
from ..gallery.gallery import Gallery
from .appearance_log import FILE as LOG
from .appearance_log import AppearanceLog
from .settings import Events, Keep

FOREVER = Keep(appearances=math.inf, unknown_faces=math.inf)
PATIENCE = 3.0  # seconds that whoever forgets waits for brokers
TOLD = {
    "stdout": "lines that were written to stdout before, such as into the systemd journal",
    "file": "lines that were written before to {file} and its older parts",
    "webhook": "what the webhook was sent before",
    "mqtt": "what subscribers of the broker heard before",
}


@dataclass(frozen=True)
class Forgotten:
    """What was ``done``, and what is ``left``: where the person may still be, out of reach, for now or for ever. A
    sentence for each."""

    done: list[str]
    left: list[str]


def prune(log: AppearanceLog, gallery: Gallery, keep: Keep) -> None:
    """Delete from ``log`` what is too old, and whoever is no longer in ``gallery``."""
    people = [person.id for person in gallery.people()]
    log.prune(keep, people, dict(gallery.read("SELECT id, person FROM former WHERE person IS NOT NULL")))


def encrypt(gallery: Gallery) -> None:
    """Encrypt the pictures in the log beside ``gallery``, where that is encrypted; see ``AppearanceLog.encrypt``."""
    path = gallery.path.with_name(LOG)
    if path.exists():
        with AppearanceLog(path, lambda: gallery.cipher) as log:
            log.encrypt()


def clean(gallery: Gallery) -> Iterator[tuple[Path, str | None]]:
    """Take who is forgotten out of events that wait beside ``gallery``: each spool with what stood in the way, "" for
    nothing, None for a service that has it open and sees to it itself."""
    gone = forgotten(gallery)
    for folder in find_outboxes(gallery.path.parent):
        problem: str | None = ""
        try:
            with closing(Outbox(folder)) as outbox:
                outbox.erase(gone)
        except OutboxInUseError:
            problem = None
        except InputError as error:
            problem = str(error)
        except OSError as error:
            problem = f"{folder}: its events cannot be rewritten: {error.strerror}"
        yield folder, problem


def by_service(gallery: Gallery, copies: Sequence[Left], sinks: Sequence[Sink], events: Events) -> Forgotten:
    """What a service says that has forgotten somebody; it waits for brokers, but not for long. Spools that no sink uses
    any more are seen to here."""
    done = ["samples, pictures and appearances are deleted, here and in every backup within reach"]
    left = [f"{copy.path}: {copy.reason}" for copy in copies] + [problem for _, problem in clean(gallery) if problem]
    until, gone = time.monotonic() + PATIENCE, forgotten(gallery)
    for sink in sinks:
        sink.forget(gone)  # another thread may have noticed, and not said so yet
        named = not sink.wait_until_erased(max(0.0, until - time.monotonic()))
        told = sink.wait_until_told(max(0.0, until - time.monotonic()))
        state = sink.state()
        problem = state.error or "no answer"
        if named:
            left.append(f"{state.name}: what it keeps is withdrawn once it can be reached ({problem})")
        else:
            done.append(
                f"{state.name}: nobody is named any more by what waits to be sent"
                f"{' or by what the broker keeps' * (state.name == 'mqtt')}"
            )
        if told:
            done.append(f"{state.name}: told to delete what it holds of them")
        else:
            left.append(f"{state.name}: does not know yet that it is to delete what it holds of them ({problem})")
        left.append(f"{TOLD.get(state.name, 'what it was sent before').format(file=events.file)} may name them")
    return Forgotten(done, left)


def by_command(gallery: Gallery) -> Forgotten:
    """Do, and say, what a command can do to the files that a service keeps beside ``gallery``, running or not."""
    done, left, path = [], [], gallery.path.with_name(LOG)
    if path.exists():
        try:
            with AppearanceLog(path) as log:
                prune(log, gallery, FOREVER)
            done.append(f"{path} names nobody who is forgotten")
            done.append(
                "who receives events is told to delete what they say of them: by the service that runs, within "
                "seconds, or by the next `rkface run`"
            )
        except RkfaceError as error:
            left.append(str(error))
    for folder, problem in clean(gallery):
        if problem is None:
            done.append(f"{folder}: the service that runs takes them out, and back from its broker, within seconds")
        elif problem:
            left.append(problem)
        else:
            done.append(f"{folder}: no event that waits names them")
            if folder.name == "events-mqtt":
                done.append("what the broker keeps of them is withdrawn when `rkface run` starts next")
    return Forgotten(done, left)
