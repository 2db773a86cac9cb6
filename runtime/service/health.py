"""The state of the service, for the health page and for Prometheus. It contains no name, embedding or picture."""

from __future__ import annotations

import os
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import TYPE_CHECKING

from ..core.installed import package_version
from ..core.metrics import Metric, write_metrics_text
from ..events import Delivery, SinkState
from ..gallery.gallery import Gallery
from ..inference.machine import Clocks, Machine
from ..inference.pipeline import Pipeline
from ..inference.scheduler import Scheduler
from ..tracking.watcher import Watcher
from .camera_worker import CameraWorker
from .problems import Problems
from .receivers import HUB_SINK
from .settings import DAY
from .states import CameraHealth, Health, SinkHealth

if TYPE_CHECKING:
    from ..events.homeassistant import BoardReport
    from ..hub.client import HubClient, HubState


@dataclass(frozen=True)
class Parts:
    """The parts of a running service whose state health and metrics report. ``started``: seconds since 1970."""

    started: float
    machine: Machine
    pipeline: Pipeline
    scheduler: Scheduler
    gallery: Gallery
    workers: Mapping[str, CameraWorker]
    watchers: Mapping[str, Watcher]
    sinks: Sequence[Delivery]
    problems: Problems
    hub: HubClient | None = None


def read_health(parts: Parts, clocks: Clocks) -> Health:
    """Return the current state of the service."""
    cameras = tuple(worker.health() for worker in parts.workers.values())
    sinks = tuple(_sink(sink.state()) for sink in parts.sinks)
    gallery = parts.gallery.state()
    manifest = parts.pipeline.manifest
    broken = filter(None, (worker.problem() for worker in parts.workers.values()))
    problems = (*broken, *_sink_problems(sinks), *_other_problems(parts, gallery.ignored))
    return Health(
        ok=not problems, problems=problems, started=parts.started, version=_version(),
        backend=parts.pipeline.backend, bundle=manifest.name, synthetic=manifest.synthetic,
        board=parts.machine.board, binding=_binding() if parts.pipeline.backend == "npu" else "",
        npu_load=clocks.load, celsius=clocks.celsius, memory=read_resident_bytes() / 2**20,
        queue=sum(worker.pending for worker in parts.workers.values()), people=gallery.people, samples=gallery.samples,
        cameras=cameras, sinks=sinks,
    )  # fmt: skip


def report_board(health: Health) -> BoardReport:
    """Return what Home Assistant shows of ``health``."""
    from ..events.homeassistant import BoardReport, CameraReport

    cameras = {camera.name: CameraReport(camera.connected, camera.fps, camera.on) for camera in health.cameras}
    return BoardReport(health.problems, health.queue, sum(sink.waiting for sink in health.sinks), cameras)


def describe_board(health: Health, running: float) -> dict[str, object]:
    """Return what the hub shows of ``health``. ``running`` (seconds), ``lost`` (events) and ``blind`` (cameras) tell it
    when nobody looked."""
    return {
        "release": health.version, "queue": sum(sink.waiting for sink in health.sinks), "celsius": health.celsius,
        "ok": health.ok, "running": round(running, 1),
        "lost": sum(sink.lost for sink in health.sinks if sink.name == HUB_SINK),
        "blind": [camera.name for camera in health.cameras if not (camera.connected and camera.on)],
    }  # fmt: skip


def _sink_problems(sinks: tuple[SinkHealth, ...]) -> Iterator[str]:
    for sink in sinks:
        if not sink.connected and sink.error:
            yield f"Events cannot be delivered to {sink.name}, {sink.waiting} are waiting: {sink.error}."


def _other_problems(parts: Parts, ignored: int) -> Iterator[str]:
    for core in parts.scheduler.state():
        if not core.alive:
            problem = core.problem or "it failed too often"
            yield f"NPU core {core.core} is not used, restart the service to try it again: {problem}."
        elif core.problem:
            yield f"NPU core {core.core} fails: {core.problem}."
    liveness = parts.scheduler.liveness_state()
    if liveness and not liveness.alive:
        yield f"Liveness is not judged any more, restart the service to try again: {liveness.problem}."
    elif liveness and liveness.problem:
        yield f"Liveness is not judged: {liveness.problem}."
    if parts.hub is not None:
        yield from _hub_problems(parts.hub.state())
    if ignored:
        yield f"{ignored} samples come from another model and are ignored: run `rkface gallery reembed`."
    yield from parts.problems


def _hub_problems(state: HubState) -> Iterator[str]:
    if not state.left:
        yield f"Nobody is named: this board has not heard of its hub for too long: {state.error or 'no answer yet'}."
    elif not state.connected and state.error:
        yield f"The hub cannot be reached; people are named for {state.left / DAY:.1f} more days: {state.error}."
    if state.review:
        yield f"{state.review} people who were enrolled here have names that the hub knows: `rkface hub conflicts`."
    if state.unerased:
        yield f"People whom the hub erased are not gone from this board yet: {'; '.join(state.unerased)}."


def _sink(state: SinkState) -> SinkHealth:
    return SinkHealth(
        state.name,
        state.connected is not False,
        state.sent,
        state.queued,
        state.dropped + state.refused,
        state.error or None,
    )


def read_resident_bytes() -> int:
    """Return the resident memory of this process in bytes; 0 if /proc is not mounted."""
    try:
        return int(Path("/proc/self/statm").read_text().split()[1]) * os.sysconf("SC_PAGE_SIZE")
    except (OSError, IndexError):
        return 0


@cache
def _version() -> str:
    return package_version(("rkface",)) or ""


@cache
def _binding() -> str:
    from ..backends.bindings import find_binding

    return str(find_binding())


def write_metrics(parts: Parts, health: Health, failed_frames: int) -> str:
    """Return ``health`` and the counts of ``parts`` in Prometheus' text format 0.0.4."""
    return write_metrics_text(_metrics(parts, health, failed_frames))


def _metrics(parts: Parts, health: Health, failed_frames: int) -> Iterator[Metric]:
    up = set(health.problems) <= set(_sink_problems(health.sinks))  # sinks have their own gauges
    yield Metric("up", "gauge", "1 while the service and all cameras work; receivers of events do not count.", up)
    about = {"version": health.version, "backend": health.backend, "bundle": health.bundle}
    yield Metric("info", "gauge", "Version, backend and bundle.", 1, about)
    yield Metric("start_time_seconds", "gauge", "When the service started, in seconds since 1970.", health.started)
    yield Metric("resident_memory_bytes", "gauge", "Resident memory of the process.", read_resident_bytes())
    yield Metric("queue_frames", "gauge", "Frames that wait for the NPU or are in it.", health.queue)
    yield Metric("failed_frames_total", "counter", "Frames that could not be processed.", failed_frames)
    yield Metric("gallery_people", "gauge", "People in the gallery.", health.people)
    yield Metric("gallery_samples", "gauge", "Samples in the gallery.", health.samples)
    yield Metric(
        "gallery_searches_total", "counter", "Embeddings that were searched in the gallery.", parts.gallery.searches
    )
    for zone, celsius in health.celsius.items():
        yield Metric("temperature_celsius", "gauge", "Temperature of each thermal zone.", celsius, {"zone": zone})
    for core in parts.scheduler.state():
        where = {"core": str(core.core)}
        yield Metric(
            "core_alive", "gauge", "0 when a core is not used: it did not open, or failed too often.", core.alive, where
        )
        yield Metric("inferences_total", "counter", "Inferences that succeeded.", core.runs, where)
        yield Metric("inference_failures_total", "counter", "Inferences that failed.", core.failures, where)
    for camera in health.cameras:
        yield from _camera_metrics(parts, camera)
    for sink in health.sinks:
        where = {"sink": sink.name}
        yield Metric("sink_connected", "gauge", "1 if the last attempt to deliver succeeded.", sink.connected, where)
        yield Metric("events_sent_total", "counter", "Events that were delivered.", sink.sent, where)
        yield Metric("events_waiting", "gauge", "Events that were not delivered yet.", sink.waiting, where)
        yield Metric(
            "events_lost_total", "counter", "Events that were dropped, or refused by the receiver.", sink.lost, where
        )


def _camera_metrics(parts: Parts, camera: CameraHealth) -> Iterator[Metric]:
    worker, where = parts.workers[camera.name], {"camera": camera.name}
    state, seen = worker.camera.state(), parts.watchers[camera.name].state
    yield Metric("camera_on", "gauge", "0 while the camera is switched off.", camera.on, where)
    yield Metric("camera_connected", "gauge", "1 while frames arrive.", camera.connected, where)
    yield Metric("camera_frames_total", "counter", "Frames that the camera delivered.", state.frames, where)
    yield Metric("camera_unreadable_total", "counter", "Frames that could not be decoded.", state.unreadable, where)
    yield Metric("camera_looked_total", "counter", "Frames that were processed.", worker.processed, where)
    yield Metric(
        "camera_skipped_total",
        "counter",
        "Frames that were not processed, because enough were, or because nothing moved.",
        camera.skipped,
        where,
    )
    yield Metric("camera_dropped_total", "counter", "Frames that were replaced by newer ones.", camera.dropped, where)
    yield Metric("camera_reconnects_total", "counter", "Attempts to open the camera again.", camera.reconnects, where)
    yield Metric("camera_fps", "gauge", "Frames per second that are processed.", camera.fps, where)
    yield Metric(
        "camera_latency_seconds",
        "gauge",
        "Median time from capture until the people are recognized.",
        camera.latency / 1e3,
        where,
    )
    yield Metric("faces_total", "counter", "Faces in the processed frames.", seen.faces, where)
    yield Metric("faces_ignored_total", "counter", "Faces in masks, or too small.", seen.ignored, where)
    yield Metric("embeddings_total", "counter", "Faces that were embedded.", seen.embeddings, where)
    yield Metric("unjudged_total", "counter", "Frames whose liveness could not be judged.", seen.unjudged, where)
    yield Metric("appearances_total", "counter", "Appearances that started.", seen.appearances, where)
