"""What the live view costs: a picture is encoded only for somebody who looks at it."""

import numpy as np

from rkface.runtime.inference.frames import Frame
from rkface.runtime.service.states import WatchedFrame
from rkface.runtime.web import live

from .conftest import eventually


def test_pictures_are_encoded_only_for_somebody_who_looks(client, service, monkeypatch):
    encoded, encode = [], live._encode_jpeg
    monkeypatch.setattr(live, "_encode_jpeg", lambda frame: encoded.append(frame) or encode(frame))
    worker = service.workers["door"]
    before = worker.processed
    eventually(lambda: worker.processed >= before + 5, "five more pictures")
    assert not encoded
    assert client.get("/v1/cameras/door/picture").status_code == 200
    assert len(encoded) == 1


def test_all_viewers_share_one_encoded_picture(monkeypatch):
    encoded = []
    monkeypatch.setattr(live, "_encode_jpeg", lambda image: encoded.append(image) or b"jpeg")
    cache = live.JpegCache()
    images = [np.zeros((8, 8, 3), np.uint8) for _ in range(2)]
    frames = [WatchedFrame(Frame(image, number, source="door"), ()) for number, image in enumerate(images)]
    for frame in (frames[0], frames[0], frames[1], frames[1]):
        assert cache.jpeg(frame) == b"jpeg"
    assert [id(image) for image in encoded] == [id(image) for image in images]
