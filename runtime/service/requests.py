"""What answers the requests of the console and of programs."""

from __future__ import annotations

from dataclasses import dataclass

from .appearance_requests import AppearanceRequests
from .camera_watch import CameraWatch
from .current_settings import CurrentSettings
from .enrollment_requests import EnrollmentRequests
from .known_people import KnownPeople
from .photo_requests import PhotoRequests
from .resources import Resources
from .review_requests import ReviewRequests
from .rule_requests import RuleRequests
from .service_erasure import ServiceErasure
from .stranger_requests import StrangerRequests


@dataclass(frozen=True, eq=False)
class Requests:
    """See ``CameraService`` in console_protocol.py."""

    appearances: AppearanceRequests
    photos: PhotoRequests
    rules: RuleRequests
    enrollment: EnrollmentRequests
    reviews: ReviewRequests
    strangers: StrangerRequests
    erasure: ServiceErasure


def take_requests(resources: Resources, watch: CameraWatch, current: CurrentSettings, people: KnownPeople) -> Requests:
    """Make what answers requests, of the parts of a service."""
    gallery, logged, watchers, pipeline = resources.gallery, resources.log, watch.watchers, resources.pipeline

    def threshold() -> float:
        return watch.rules().match

    def note_new_faces() -> None:
        """People were enrolled, or faces put on the ignore list or removed from it."""
        people.add_new()
        watchers.search_again()

    enrollment = EnrollmentRequests(
        gallery,
        pipeline,
        logged,
        workers=resources.workers,
        watchers=watchers,
        people=people,
        threshold=threshold,
    )
    lock = enrollment.lock
    strangers = StrangerRequests(
        gallery, logged, watch.identity, threshold=threshold, lock=lock, changed=note_new_faces
    )
    return Requests(
        AppearanceRequests(
            gallery, logged, watchers, crop=pipeline.crop, pictures=resources.pictures, links=resources.links
        ),
        PhotoRequests(resources.scheduler.pipeline(), gallery, threshold),  # does not wait for an enrollment
        RuleRequests(current, gallery, logged),
        enrollment,
        ReviewRequests(gallery, logged, threshold=threshold, lock=lock, changed=note_new_faces),
        strangers,
        ServiceErasure(resources, watch, current, people=people, enrollment=enrollment, strangers=strangers.finder),
    )
