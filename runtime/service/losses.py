"""What a service lost: a run whose recordings have ended fails if something is missing in its output."""

from __future__ import annotations

from collections.abc import Iterable, Iterator

from ..core.text import counted
from ..events import Sink
from .camera_watch import CameraWatch
from .camera_worker import CameraWorker


def find_losses(sinks: Iterable[Sink], workers: Iterable[CameraWorker], watch: CameraWatch) -> Iterator[str]:
    """Yield what was lost since the start, in words. Call it when the sinks are closed. Events that wait in an outbox
    are not lost."""
    for worker in workers:
        if unreadable := worker.camera.state().unreadable:
            yield f"{counted(unreadable, 'picture')} of camera {worker.name} could not be decoded"
    if failed := watch.visits.failed_frames:
        yield f"{counted(failed, 'frame')} could not be processed"
    for sink in sinks:
        state = sink.state()
        if lost := state.dropped + state.refused:
            yield f"{counted(lost, 'event')} did not reach {state.name}{f' ({state.error})' if state.error else ''}"
    if unlogged := watch.publisher.unlogged:
        yield f"{counted(unlogged, 'change')} could not be written into the appearance log"
