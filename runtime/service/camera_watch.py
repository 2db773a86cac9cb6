"""What turns the results of the cameras' frames into published appearances, made of what the service has open."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

from ..gallery.people import embedding_identity
from ..tracking.rules import RecognitionRules
from .alert_pictures import AlertPictures
from .camera_control import CameraControl
from .current_settings import CurrentSettings
from .problems import Problems
from .publisher import Publisher
from .resources import Resources
from .visit_control import VisitControl
from .watchers import Watchers


@dataclass(frozen=True)
class CameraWatch:
    """How the service watches its cameras.

    rules      returns the current rules of recognition
    identity   of the recognizer's embeddings
    watchers   tracks and recognizes people, camera by camera
    pictures   makes those of alerts
    publisher  of appearances
    visits     to all cameras
    control    switches the cameras
    """

    rules: Callable[[], RecognitionRules]
    identity: str
    watchers: Watchers
    pictures: AlertPictures
    publisher: Publisher
    visits: VisitControl
    control: CameraControl


def watch_cameras(resources: Resources, current: CurrentSettings, problems: Problems) -> CameraWatch:
    """Make what watches the cameras with the ``current`` settings."""
    workers, gallery, manifest = resources.workers, resources.gallery, resources.pipeline.manifest
    pipeline = resources.scheduler.pipeline()
    identity = embedding_identity(manifest)

    def rules() -> RecognitionRules:
        settings = current.settings
        return settings.liveness.rules(settings.recognition.rules(pipeline.thresholds), pipeline.liveness)

    watchers = Watchers(
        workers, pipeline, gallery, problems, rules=rules, settings=lambda camera: current.settings.camera[camera]
    )
    pictures = AlertPictures(
        resources.pictures, resources.log, watchers, watchers.shots, problems, frame_side=manifest.longest_side
    )
    publisher = Publisher(
        gallery, resources.log, resources.sinks, problems, pictures=pictures, rules=lambda: current.settings.rules
    )
    visits = VisitControl(
        workers,
        watchers,
        publisher,
        pictures,
        keep=lambda: current.settings.keep,
        crop=pipeline.crop,
        identity=identity,
    )
    control = CameraControl(workers, watchers, current, problems, requests=resources.switches, end_visits=visits.end)
    return CameraWatch(rules, identity, watchers, pictures, publisher, visits, control)
