"""The console's requests about appearances: list them, show a face or the picture of an alert, delete some."""

from __future__ import annotations

from collections.abc import Sequence

from ..core.crop_template import CropTemplate
from ..enrollment.stored_crop import encode_crop
from ..events import PictureLinks, PictureStore
from ..gallery.gallery import Gallery
from .appearance_log import AppearanceLog
from .logged_stops import LoggedStops
from .watchers import Watchers


class AppearanceRequests:
    """The methods may be called from any thread. ``newest`` is that of ``log``.

    ``crop`` is the recognizer's. ``pictures`` and ``links``: as in ``Resources``."""

    def __init__(
        self,
        gallery: Gallery,
        log: AppearanceLog,
        watchers: Watchers,
        *,
        crop: CropTemplate,
        pictures: PictureStore | None,
        links: PictureLinks | None,
    ) -> None:
        self.newest = log.newest
        self._gallery, self._log, self._watchers, self._crop = gallery, log, watchers, crop
        self._pictures, self._links = pictures, links

    def stops(
        self,
        person: str | None = None,
        source: str | None = None,
        *,
        since: float | None = None,
        until: float | None = None,
    ) -> LoggedStops:
        """Return the appearances of known people for journeys; the filters are those of ``newest``."""
        return LoggedStops(self._log, self._gallery, person, source, since, until)

    def face(self, appearance: str) -> bytes | None:
        """Return the aligned face of the best shot as PNG. None if no picture is stored."""
        shots = self._watchers.shots(appearance)
        return encode_crop(shots[0].crop, self._crop) if shots else self._log.face(appearance)

    def delete(self, ids: Sequence[str]) -> int:
        """Delete these appearances from the log, with what it keeps of the faces, and the pictures of their alerts.
        Returns how many there were. One that lasts is logged again when it changes."""
        if self._pictures is not None:
            self._pictures.erase_appearances(ids)
        return self._log.delete(ids)

    def alert_picture(self, id: str, expires: int, signature: str) -> bytes | None:
        """Return the JPEG to which a link of an alert leads. None if the link is not ours or has expired, or if the
        picture was deleted."""
        if self._pictures is None or self._links is None or not self._links.is_valid(id, expires, signature):
            return None
        return self._pictures.jpeg(id)
