"""The whole way of an alert: a person before a camera, a rule, and a picture at a phone, a webhook and the console."""

import json
import urllib.error
import urllib.request
from dataclasses import replace

import cv2
import numpy as np
import pytest

from rkface.runtime.alerts.rule import Rule
from rkface.runtime.cameras.camera import Camera
from rkface.runtime.core.errors import InputError
from rkface.runtime.gallery.backup import encrypt_gallery
from rkface.runtime.gallery.encryption import make_key
from rkface.runtime.gallery.gallery import Gallery
from rkface.runtime.gallery.people import Sample, embedding_identity
from rkface.runtime.inference.open_bundle import open_bundle
from rkface.runtime.service.camera_worker import CameraWorker
from rkface.runtime.service.receiver_settings import AlertPictureSettings, Events, NotifySettings, WebhookSettings
from rkface.runtime.service.service import Service
from rkface.runtime.service.settings import CameraSettings, Settings

from ...ports import free_port
from ..conftest import scene
from ..events.test_webhook import start
from .test_service import Script

pytest.importorskip("apprise")
serving = pytest.importorskip("rkface.runtime.web.serve")

ADA, STRANGER = (0, 2), (1, 6)  # who, and the column of the scene
SIDE = 64  # pixels of a face of the scene


@pytest.fixture
def hook():
    server = start()
    yield server
    server.shutdown()
    server.server_close()


@pytest.fixture
def gallery(tmp_path, bundle):
    path = tmp_path / "state/gallery.sqlite"
    with open_bundle(bundle, "reference") as models:
        picture = scene(ADA)
        crop = models.align(picture, models.detect(picture).landmarks[0])
        with Gallery(path, embedding_identity(models.manifest), create=True) as gallery:
            gallery.add("Ada Lovelace", [Sample(models.embed([crop])[0], None, 0.9, "test")])
    return path


@pytest.fixture
def settings(bundle, gallery, ntfy, hook, monkeypatch):
    monkeypatch.setenv("PHONE_URL", ntfy.url)
    port = free_port()
    return Settings(
        bundle=bundle,
        backend="reference",
        gallery=gallery,
        camera={"door": CameraSettings("scripted")},
        events=Events(
            stdout=False,
            webhook=WebhookSettings(f"http://127.0.0.1:{hook.server_port}/", picture="face", picture_as="url"),
        ),
        notify={"phone": NotifySettings("env:PHONE_URL", picture="frame")},
        rules={"visitors": Rule(who=("known",), receivers=("notify.phone", "webhook"))},
        alert_pictures=AlertPictureSettings(address=f"http://127.0.0.1:{port}"),
    )


def run(settings):
    worker = CameraWorker(Camera("door", lambda _: Script([scene(ADA, STRANGER)]), name="door", retries=(0.01,)))
    return Service(settings, open_camera_worker=lambda *_: worker)


def texture(jpeg, column):
    """How much the pixels of the face in ``column`` differ from those around them: faces of scenes have a texture, and
    what is blurred has smooth gradients."""
    image = cv2.imdecode(np.frombuffer(jpeg, np.uint8), 1)
    scale = image.shape[1] / 640
    left, top, side = (round(value * scale) for value in (column * SIDE, 3 * SIDE, SIDE))
    face = image[top + 3 : top + side - 3, left + 3 : left + side - 3, 2].astype(np.float32)
    return float((face - cv2.blur(face, (5, 5))).std())


def fetch(url):
    with urllib.request.urlopen(url, timeout=10) as answer:
        return answer.headers["content-type"], answer.read()


@pytest.mark.slow
def test_a_person_at_the_door_is_a_picture_on_the_phone_until_forgotten(settings, gallery, ntfy, hook):
    port = int(settings.alert_pictures.address.rpartition(":")[2])
    with run(settings) as service, serving.serve(service, port=port):
        (message,) = ntfy.messages.wait_for(1)
        assert message["title"] == "Ada Lovelace: door" and message["message"].endswith("rule visitors")
        assert texture(message["body"], ADA[1]) > 3 * texture(message["body"], STRANGER[1]), "others are blurred"

        hook.posts.wait(lambda posts: any(b"rkface.alert" in body for _, _, body in posts))
        [alert] = [json.loads(body) for _, _, body in hook.posts.entries if b"rkface.alert" in body]
        assert alert["rule"] == "visitors" and alert["appearance"]["match"]["name"] == "Ada Lovelace"
        kind, face = fetch(alert["picture"]["url"])
        assert kind == "image/jpeg" and face[:3] == b"\xff\xd8\xff" and alert["picture"]["kind"] == "face"

        (ada,) = service.gallery.people()
        report = service.erasure.forget(ada.id)
        assert any("notify.phone sent before may name or show the person" in line for line in report.left)
        with pytest.raises(urllib.error.HTTPError) as gone:
            fetch(alert["picture"]["url"])
        assert gone.value.code == 404
    files = [path for path in gallery.parent.rglob("*") if path.is_file()]
    assert any(path.name.endswith(".alert-pictures") for path in files)
    assert not [path for path in files if b"\xff\xd8\xff" in path.read_bytes()], "no picture is left on the disk"


def test_deleting_an_appearance_deletes_the_pictures_of_its_alerts(settings, ntfy):
    with run(settings) as service:
        ntfy.messages.wait_for(1)
        assert service._resources.pictures.count() == 2
        (ada,) = service.gallery.people()
        service.appearances.delete([one.id for one in service.appearances.newest(person=ada.id)])
        assert service._resources.pictures.count() == 0


def test_pictures_of_an_encrypted_gallery_are_encrypted_while_they_wait(settings, gallery, ntfy, tmp_path):
    pytest.importorskip("cryptography")
    with Gallery(gallery) as opened:
        encrypt_gallery(opened, make_key(tmp_path / "key"))
    with run(replace(settings, key=tmp_path / "key")) as service:
        (message,) = ntfy.messages.wait_for(1)
        assert texture(message["body"], ADA[1]) > 3 * texture(message["body"], STRANGER[1])
        assert service._resources.pictures.count() == 2, "one for each receiver"
        files = [path for path in gallery.parent.rglob("*") if path.is_file()]
        assert not [path for path in files if b"\xff\xd8\xff" in path.read_bytes()]


def test_switching_pictures_off_deletes_those_of_earlier_runs(settings, gallery, ntfy):
    with run(settings):
        ntfy.messages.wait_for(1)
    pictures = gallery.with_name(f"{gallery.name}.alert-pictures")
    assert pictures.exists()
    off = replace(
        settings,
        events=replace(settings.events, webhook=replace(settings.events.webhook, picture="none")),
        notify={"phone": NotifySettings("env:PHONE_URL")},
    )
    with run(off):
        assert not list(gallery.parent.glob("*.alert-pictures*"))


def test_a_receiver_without_its_url_is_named_before_models_load(settings, monkeypatch):
    monkeypatch.delenv("PHONE_URL")
    with (
        pytest.raises(InputError, match=r"notify\.phone\.url: .*PHONE_URL is not set"),
        run(settings),
    ):
        pass
    monkeypatch.setenv("PHONE_URL", "no-scheme/very-secret")
    with pytest.raises(InputError, match=r"notify\.phone\.url.*not one URL") as error, run(settings):
        pass
    assert "very-secret" not in str(error.value)
