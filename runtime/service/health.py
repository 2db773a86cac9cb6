"""How the service fares: for the health page, and as numbers for Prometheus. No name, no embedding, no picture."""

from __future__ import annotations

import os
from collections.abc import Iterator, Mapping
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from typing import TYPE_CHECKING

from ..inference.machine import Clocks
from .console_protocol import CameraHealth, Health, SinkHealth

if TYPE_CHECKING:
    from ..events import SinkState
    from .service import Service

BLACK = 75  # black frames in a row that make a covered lens: five seconds at 15 a second

Labels = Mapping[str, str]
Row = tuple[str, str, str, Labels, float]  # name, kind, help, labels, value


def read_health(service: Service, clocks: Clocks) -> Health:
    cameras = tuple(view.health() for view in service.views.values())
    sinks = tuple(_sink(sink.state()) for sink in service.sinks)
    gallery = service.gallery.state()
    manifest = service.pipeline.manifest
    problems = (*_of_cameras(service, cameras), *_of_sinks(sinks), *_of_parts(service))
    return Health(
        ok=not problems, problems=problems, started=service.started, version=_version(),
        backend=service.pipeline.backend, bundle=manifest.name, synthetic=manifest.synthetic,
        board=service.machine.board, npu_load=clocks.load, celsius=clocks.celsius, memory=resident() / 2**20,
        queue=sum(view.pending for view in service.views.values()), people=gallery.people, samples=gallery.samples,
        cameras=cameras, sinks=sinks,
    )  # fmt: skip


def _of_cameras(service: Service, cameras: tuple[CameraHealth, ...]) -> Iterator[str]:
    for camera in cameras:
        view = service.views[camera.name]
        if view.ended:
            yield f"Camera {camera.name} has ended."
        elif not camera.connected:
            yield f"Camera {camera.name} gives no pictures: {view.camera.state().error or 'not yet'}."
        elif view.camera.state().black >= BLACK:
            yield f"Camera {camera.name} is black: is the lens covered?"


def _of_sinks(sinks: tuple[SinkHealth, ...]) -> Iterator[str]:
    for sink in sinks:
        if not sink.connected and sink.error:
            yield f"Events to {sink.name} wait: {sink.error}."


def _of_parts(service: Service) -> Iterator[str]:
    for core in service.scheduler.state():
        if not core.alive or core.trouble:
            yield f"NPU core {core.core}{'' if core.alive else ' was given up'}: {core.trouble or 'failed too often'}."
    judging = service.scheduler.judging()
    if judging and (judging.trouble or not judging.alive):
        yield f"Faces are not judged{'' if judging.alive else ' any more'}: {judging.trouble}."
    ignored = service.gallery.state().ignored
    if ignored:
        yield f"{ignored} samples were made by another model and are not searched: rkface gallery reembed."
    yield from service.troubles


def _sink(state: SinkState) -> SinkHealth:
    return SinkHealth(
        state.name, state.connected is not False, state.sent, state.queued, state.dropped + state.refused, state.error
    )


def resident() -> int:
    """Bytes of memory that this process holds; 0 where /proc is not mounted."""
    try:
        return int(Path("/proc/self/statm").read_text().split()[1]) * os.sysconf("SC_PAGE_SIZE")
    except (OSError, IndexError):
        return 0


def _version() -> str:
    try:
        return version("rkface")
    except PackageNotFoundError:
        return ""


def metrics(service: Service, health: Health) -> str:
    """``health`` and what was counted, in Prometheus' text format 0.0.4."""
    lines: list[str] = []
    described = set()
    for name, kind, explained, labels, value in sorted(_rows(service, health), key=lambda row: row[0]):
        if name not in described:
            described.add(name)
            lines += [f"# HELP rkface_{name} {explained}", f"# TYPE rkface_{name} {kind}"]
        inside = ",".join(f'{key}="{_escaped(text)}"' for key, text in labels.items())
        lines.append(f"rkface_{name}{{{inside}}} {value:.10g}" if inside else f"rkface_{name} {value:.10g}")
    return "\n".join(lines) + "\n"


def _escaped(text: str) -> str:
    return text.replace("\\", "\\\\").replace('"', '\\"').replace("\n", "\\n")


def _rows(service: Service, health: Health) -> Iterator[Row]:
    up = set(health.problems) <= set(_of_sinks(health.sinks))  # which have gauges of their own
    yield "up", "gauge", "1 while service and cameras work, wherever events go.", {}, up
    about = {"version": health.version, "backend": health.backend, "bundle": health.bundle}
    yield "info", "gauge", "What runs.", about, 1
    yield "start_time_seconds", "gauge", "When it started, since 1970.", {}, health.started
    yield "resident_memory_bytes", "gauge", "Memory of the process.", {}, resident()
    yield "queue_frames", "gauge", "Frames that wait for the NPU or are in it.", {}, health.queue
    yield "failed_frames_total", "counter", "Frames that could not be looked at.", {}, service.failed_frames
    yield "gallery_people", "gauge", "People in the gallery.", {}, health.people
    yield "gallery_samples", "gauge", "Their samples.", {}, health.samples
    yield "gallery_searches_total", "counter", "Embeddings that were searched for.", {}, service.gallery.searches
    for zone, celsius in health.celsius.items():
        yield "temperature_celsius", "gauge", "Of each thermal zone.", {"zone": zone}, celsius
    for core in service.scheduler.state():
        where = {"core": str(core.core)}
        yield "core_alive", "gauge", "0 once a core was given up.", where, core.alive
        yield "inferences_total", "counter", "Inferences that succeeded.", where, core.runs
        yield "inference_failures_total", "counter", "Inferences that failed.", where, core.failures
    for camera in health.cameras:
        yield from _camera_rows(service, camera)
    for sink in health.sinks:
        where = {"sink": sink.name}
        yield "sink_connected", "gauge", "Whether the last try went well.", where, sink.connected
        yield "events_sent_total", "counter", "Events delivered.", where, sink.sent
        yield "events_waiting", "gauge", "Events not delivered yet.", where, sink.waiting
        yield "events_lost_total", "counter", "Events dropped or refused.", where, sink.lost


def _camera_rows(service: Service, camera: CameraHealth) -> Iterator[Row]:
    view, where = service.views[camera.name], {"camera": camera.name}
    state = view.camera.state()
    yield "camera_connected", "gauge", "Whether frames come.", where, camera.connected
    yield "camera_frames_total", "counter", "Frames that came.", where, state.frames
    yield "camera_unreadable_total", "counter", "Frames that could not be decoded.", where, state.unreadable
    yield "camera_looked_total", "counter", "Frames that were looked at.", where, view.looked
    yield "camera_skipped_total", "counter", "Frames that were not worth a look.", where, camera.skipped
    yield "camera_dropped_total", "counter", "Frames that newer ones replaced.", where, camera.dropped
    yield "camera_reconnects_total", "counter", "How often it was opened again.", where, camera.reconnects
    yield "camera_fps", "gauge", "Frames a second that are looked at.", where, camera.fps
    yield "camera_latency_seconds", "gauge", "From capture until it is known who is there.", where, camera.latency / 1e3
    if view.watcher is not None:
        seen = view.watcher.state
        yield "faces_total", "counter", "Faces in the frames.", where, seen.faces
        yield "embeddings_total", "counter", "Faces that were embedded.", where, seen.embeddings
        yield "unjudged_total", "counter", "Frames whose faces' liveness could not be judged.", where, seen.unjudged
        yield "appearances_total", "counter", "Appearances that began.", where, seen.appearances
