"""How the service fares: for the health page, and as numbers for Prometheus. No name, no embedding, no picture."""

from __future__ import annotations

import os
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path

from ..events import Delivery, SinkState
from ..gallery.gallery import Gallery
from ..inference.machine import Clocks, Machine
from ..inference.pipeline import Pipeline
from ..inference.scheduler import Scheduler
from .camera_worker import CameraWorker
from .console_protocol import CameraHealth, Health, SinkHealth
from .problems import Problems

BLACK = 75  # black frames in a row that make a covered lens: five seconds at 15 a second


@dataclass(frozen=True)
class Parts:
    """What health page and metrics read of a running service. ``started`` is in seconds since 1970."""

    started: float
    machine: Machine
    pipeline: Pipeline
    scheduler: Scheduler
    gallery: Gallery
    cameras: Mapping[str, CameraWorker]
    sinks: Sequence[Delivery]
    problems: Problems


@dataclass(frozen=True)
class Metric:
    """One line of Prometheus' text format; ``kind`` is "gauge" or "counter"."""

    name: str
    kind: str
    help: str
    value: float
    labels: Mapping[str, str] = field(default_factory=dict)


def read_health(parts: Parts, clocks: Clocks) -> Health:
    cameras = tuple(view.health() for view in parts.cameras.values())
    sinks = tuple(_sink(sink.state()) for sink in parts.sinks)
    gallery = parts.gallery.state()
    manifest = parts.pipeline.manifest
    problems = (*_of_cameras(parts, cameras), *_of_sinks(sinks), *_of_parts(parts))
    return Health(
        ok=not problems, problems=problems, started=parts.started, version=_version(),
        backend=parts.pipeline.backend, bundle=manifest.name, synthetic=manifest.synthetic,
        board=parts.machine.board, npu_load=clocks.load, celsius=clocks.celsius, memory=resident() / 2**20,
        queue=sum(view.pending for view in parts.cameras.values()), people=gallery.people, samples=gallery.samples,
        cameras=cameras, sinks=sinks,
    )  # fmt: skip


def _of_cameras(parts: Parts, cameras: tuple[CameraHealth, ...]) -> Iterator[str]:
    for camera in cameras:
        view = parts.cameras[camera.name]
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


def _of_parts(parts: Parts) -> Iterator[str]:
    for core in parts.scheduler.state():
        if not core.alive or core.problem:
            yield f"NPU core {core.core}{'' if core.alive else ' was given up'}: {core.problem or 'failed too often'}."
    liveness = parts.scheduler.liveness_state()
    if liveness and (liveness.problem or not liveness.alive):
        yield f"Faces are not judged{'' if liveness.alive else ' any more'}: {liveness.problem}."
    ignored = parts.gallery.state().ignored
    if ignored:
        yield f"{ignored} samples were made by another model and are not searched: rkface gallery reembed."
    yield from parts.problems


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


def metrics(parts: Parts, health: Health, failed_frames: int) -> str:
    """``health`` and what was counted, in Prometheus' text format 0.0.4."""
    lines: list[str] = []
    described = set()
    for metric in sorted(_rows(parts, health, failed_frames), key=lambda metric: metric.name):
        name = f"rkface_{metric.name}"
        if name not in described:
            described.add(name)
            lines += [f"# HELP {name} {metric.help}", f"# TYPE {name} {metric.kind}"]
        labels = ",".join(f'{key}="{_escaped(text)}"' for key, text in metric.labels.items())
        lines.append(f"{name}{{{labels}}} {metric.value:.10g}" if labels else f"{name} {metric.value:.10g}")
    return "\n".join(lines) + "\n"


def _escaped(text: str) -> str:
    return text.replace("\\", "\\\\").replace('"', '\\"').replace("\n", "\\n")


def _rows(parts: Parts, health: Health, failed_frames: int) -> Iterator[Metric]:
    up = set(health.problems) <= set(_of_sinks(health.sinks))  # which have gauges of their own
    yield Metric("up", "gauge", "1 while service and cameras work, wherever events go.", up)
    about = {"version": health.version, "backend": health.backend, "bundle": health.bundle}
    yield Metric("info", "gauge", "What runs.", 1, about)
    yield Metric("start_time_seconds", "gauge", "When it started, since 1970.", health.started)
    yield Metric("resident_memory_bytes", "gauge", "Memory of the process.", resident())
    yield Metric("queue_frames", "gauge", "Frames that wait for the NPU or are in it.", health.queue)
    yield Metric("failed_frames_total", "counter", "Frames that could not be looked at.", failed_frames)
    yield Metric("gallery_people", "gauge", "People in the gallery.", health.people)
    yield Metric("gallery_samples", "gauge", "Their samples.", health.samples)
    yield Metric("gallery_searches_total", "counter", "Embeddings that were searched for.", parts.gallery.searches)
    for zone, celsius in health.celsius.items():
        yield Metric("temperature_celsius", "gauge", "Of each thermal zone.", celsius, {"zone": zone})
    for core in parts.scheduler.state():
        where = {"core": str(core.core)}
        yield Metric("core_alive", "gauge", "0 once a core was given up.", core.alive, where)
        yield Metric("inferences_total", "counter", "Inferences that succeeded.", core.runs, where)
        yield Metric("inference_failures_total", "counter", "Inferences that failed.", core.failures, where)
    for camera in health.cameras:
        yield from _camera_rows(parts, camera)
    for sink in health.sinks:
        where = {"sink": sink.name}
        yield Metric("sink_connected", "gauge", "Whether the last try went well.", sink.connected, where)
        yield Metric("events_sent_total", "counter", "Events delivered.", sink.sent, where)
        yield Metric("events_waiting", "gauge", "Events not delivered yet.", sink.waiting, where)
        yield Metric("events_lost_total", "counter", "Events dropped or refused.", sink.lost, where)


def _camera_rows(parts: Parts, camera: CameraHealth) -> Iterator[Metric]:
    view, where = parts.cameras[camera.name], {"camera": camera.name}
    state = view.camera.state()
    yield Metric("camera_connected", "gauge", "Whether frames come.", camera.connected, where)
    yield Metric("camera_frames_total", "counter", "Frames that came.", state.frames, where)
    yield Metric("camera_unreadable_total", "counter", "Frames that could not be decoded.", state.unreadable, where)
    yield Metric("camera_looked_total", "counter", "Frames that were looked at.", view.looked, where)
    yield Metric("camera_skipped_total", "counter", "Frames that were not worth a look.", camera.skipped, where)
    yield Metric("camera_dropped_total", "counter", "Frames that newer ones replaced.", camera.dropped, where)
    yield Metric("camera_reconnects_total", "counter", "How often it was opened again.", camera.reconnects, where)
    yield Metric("camera_fps", "gauge", "Frames a second that are looked at.", camera.fps, where)
    yield Metric(
        "camera_latency_seconds", "gauge", "From capture until the faces are recognized.", camera.latency / 1e3, where
    )
    if view.watcher is not None:
        seen = view.watcher.state
        yield Metric("faces_total", "counter", "Faces in the frames.", seen.faces, where)
        yield Metric("embeddings_total", "counter", "Faces that were embedded.", seen.embeddings, where)
        yield Metric("unjudged_total", "counter", "Frames without a liveness result.", seen.unjudged, where)
        yield Metric("appearances_total", "counter", "Appearances that began.", seen.appearances, where)
