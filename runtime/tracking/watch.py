"""From a camera, or from the results of a scheduler, to appearances: the loops around a ``Watcher``."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from contextlib import closing
from logging import getLogger

from ..cameras.camera import Camera
from ..cameras.frame_gate import FrameGate, read_newest_frames
from ..gallery.gallery import Gallery
from ..inference.frames import Result
from ..inference.pipeline import Pipeline
from .appearance import Appearance
from .rules import RecognitionRules
from .watcher import Watcher

log = getLogger("rkface.watch")


def watch_camera(
    camera: Camera, pipeline: Pipeline, gallery: Gallery, rules: RecognitionRules | None = None
) -> Iterator[Appearance]:
    """Yield the appearances of the people in front of one camera, as each of them starts, changes and ends.

    A live camera never ends, and only its newest frame is processed. Of a recording, every frame is processed, and the
    iterator ends after the last one. People whom another process enrolls or deletes are noticed at once.

    For several cameras, use ``rkface run``, or a ``Scheduler`` with ``watch_results``.

    Args:
        camera: The camera; the caller closes it.
        pipeline: The models. If the bundle was opened with its liveness model, liveness is judged.
        gallery: The known people; it must contain embeddings of the pipeline's recognizer.
        rules: The default is the default rules with the bundle's thresholds.

    Raises:
        InputError: A file cannot be read.
        DeviceError: The NPU failed.
        WorkError: The gallery cannot be read.

    Example:
        ```python
        from rkface import open_bundle, open_camera, open_gallery, watch_camera

        with (
            open_bundle("build/rk3588") as pipeline,
            open_gallery("gallery.sqlite", pipeline) as gallery,
            open_camera("/dev/video0") as camera,
        ):
            for appearance in watch_camera(camera, pipeline, gallery):
                print(appearance.stage, appearance.match.name if appearance.match else "unknown")
        ```
    """
    rules = rules or RecognitionRules.of(pipeline.thresholds)
    watcher, near = Watcher(camera.name, pipeline, gallery.search, rules, liveness=pipeline.liveness), pipeline.near()
    with closing(read_newest_frames(camera, every=camera.recording)) as frames:
        for frame in frames:
            gallery.refresh()
            if frame is None:
                yield from watcher.tick()
            else:
                look = near if frame.near else pipeline
                yield from watcher.update(frame, look.detect(frame.image, rules.doubtful))
    yield from watcher.close()


def watch_results(
    results: Iterable[Result], watchers: Mapping[str, Watcher], gates: Mapping[str, FrameGate] | None = None
) -> Iterator[Appearance]:
    """Yield the appearances in the results of a scheduler.

    Each result goes to the watcher of its source, and the number of tracked faces to the gate of that source. A frame
    whose work failed is logged and skipped. The visits to the other sources end on time, too; but if no camera delivers
    frames at all, only a timer that calls ``tick`` can end them.
    """
    for result in results:
        frame = result.frame
        if result.faces is None:
            log.warning("%s: frame %d failed: %s", frame.source or "camera", frame.number, result.error)
        else:
            yield from watchers[frame.source].update(frame, result.faces)
            if gates and frame.source in gates:
                watcher = watchers[frame.source]
                gates[frame.source].set_tracked_faces(watcher.tracked_faces, watcher.new_faces)
        for source, watcher in watchers.items():
            if source != frame.source:
                yield from watcher.tick()
