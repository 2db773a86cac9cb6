"""A board's connection to the hub: a thread that keeps the gallery equal to it, as long as the service runs."""

from __future__ import annotations

import logging
import math
import threading
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from types import TracebackType
from typing import TYPE_CHECKING, Any

from ..core.errors import RkfaceError
from ..events.backoff import Backoff
from ..gallery.encryption import Key
from ..gallery.gallery import Gallery
from ..gallery.people import Person
from ..gallery.replication import is_told
from .connection import connect, hub_errors, import_psycopg
from .migrations import check_version
from .pull import sync
from .push import must_push, push_people, send_heartbeat
from .sealed import PlainEmbeddings, open_embeddings

if TYPE_CHECKING:
    from .connection import Hub

HEARTBEAT = 60.0  # seconds; also how often the hub is asked although it said nothing
LOCAL = 1.0  # seconds between two looks whether the gallery was changed here; costs no query at the hub
LOOK = 5.0  # seconds between two looks at the health of the board
# Pauses before another sync while this board still has something of an erased person: of a disk that was full or of
# a file that was in use for a moment, nothing is left some seconds later.
UNERASED = Backoff(first=2.0, longest=HEARTBEAT)

log = logging.getLogger("rkface.hub")


@dataclass(frozen=True)
class HubState:
    """What health and the console say about the hub.

    connected  whether the last attempt succeeded
    error      the last problem, also when later attempts succeeded; without secrets
    left       seconds until this board names nobody; 0: it names nobody
    revision   the last change that it has
    review     how many people who were enrolled here wait for a decision at the hub
    unerased   sentences: what this board still has of people whom the hub erased
    """

    connected: bool = False
    error: str = ""
    left: float = 0.0
    revision: int = 0
    review: int = 0
    unerased: tuple[str, ...] = ()


class HubClient:
    """Syncs ``gallery`` with the hub at ``address`` from ``with`` to the end of the block, in a thread of its own.

    ``before_erasing`` is called with each person whom the hub has erased, while the gallery still has the samples, and
    ``on_erased`` when they are gone from it (see ``sync``). ``describe`` returns what the heartbeat tells.
    ``key``: of an encrypted hub. Raises InputError without the package psycopg.
    """

    def __init__(
        self,
        address: str,
        gallery: Gallery,
        *,
        before_erasing: Callable[[Person], None],
        on_erased: Callable[[], Sequence[str]],
        describe: Callable[[], Mapping[str, Any]],
        key: Key | None = None,
    ) -> None:
        # Not in the thread: malloc gives each thread memory of its own, and what a thread loads does not fill the gaps
        # that starting the service has left.
        import_psycopg()
        self._address, self._gallery = address, gallery
        self._before_erasing, self._on_erased, self._describe = before_erasing, on_erased, describe
        self._key = key
        self._backoff = Backoff()
        self._failures = 0  # attempts in a row without a sync
        self._state = HubState()
        self._stopping = threading.Event()
        self._thread = threading.Thread(target=self._run, name="hub", daemon=True)

    def __enter__(self) -> HubClient:
        self._thread.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._stopping.set()
        self._thread.join(timeout=5.0)

    def state(self) -> HubState:
        """The state now."""
        return replace(self._state, left=self._gallery.lease.left(), revision=self._gallery.lease.revision)

    def _run(self) -> None:
        while not self._stopping.is_set():
            try:
                with connect(self._address) as hub:
                    check_version(hub)
                    embeddings = open_embeddings(hub, self._key)
                    with hub_errors():
                        hub.execute("LISTEN rkface")
                    self._follow(hub, embeddings)
            except RkfaceError as error:
                self._note_failure(error)
            except Exception as error:  # a bug must not end the thread: the lease would end, and with it all names
                log.error("the hub: unexpected error", exc_info=error)
                self._note_failure(error)
            self._stopping.wait(self._backoff.seconds(self._failures))

    def _note_failure(self, error: Exception) -> None:
        if not self._failures:
            log.warning("%s; trying again", error)
        self._failures += 1
        self._state = replace(self._state, connected=False, error=str(error) or type(error).__name__)

    def _follow(self, hub: Hub, embeddings: PlainEmbeddings) -> None:
        """Sync now, and again whenever the hub or somebody here changes people, until the connection breaks."""
        first, writes = True, self._gallery.writes()
        due = looked = -math.inf
        tries = 0  # syncs in a row after which something of an erased person was left
        said: object = None
        while not self._stopping.is_set():
            is_due = time.monotonic() >= due or (not first and self._is_told(hub))
            if self._gallery.writes() != writes:
                writes = self._gallery.writes()
                is_due |= not is_told(self._gallery)
            if time.monotonic() - looked >= LOOK:  # a board that has started, or has a problem, says so
                looked = time.monotonic()
                is_due |= self._describe().get("ok") != said
            if is_due:
                said = self._sync(hub, embeddings, compare=first).get("ok")
                tries = tries + 1 if self._state.unerased else 0
                first, due = False, time.monotonic() + (UNERASED.seconds(tries) if tries else HEARTBEAT)
                if self._failures:
                    log.info("the hub: connected again")
                    self._failures = 0

    def _sync(self, hub: Hub, embeddings: PlainEmbeddings, *, compare: bool) -> Mapping[str, Any]:
        """Tell the hub what was changed here, get what was changed there, and send a heartbeat, which is returned.
        ``compare``: compare everybody with the hub."""
        if compare or self._state.review or must_push(hub, self._gallery):
            review = len(push_people(hub, self._gallery, embeddings))
            self._state = replace(self._state, review=review)
        unerased = sync(hub, self._gallery, before=self._before_erasing, after=self._on_erased, embeddings=embeddings)
        state = self._describe()
        send_heartbeat(hub, self._gallery, state)
        self._state = replace(self._state, connected=True, unerased=tuple(unerased))
        return state

    def _is_told(self, hub: Hub) -> bool:
        """Wait up to ``LOCAL`` seconds. Returns whether the hub said that something changed."""
        with hub_errors():
            return bool(list(hub.notifies(timeout=LOCAL, stop_after=1)))
