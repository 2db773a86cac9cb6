"""Test messages to receivers of alerts: on the command line, to real receivers on loopback."""

import base64
import json
import os
import stat
from urllib.parse import parse_qs, urlsplit

import cv2
import numpy as np
import pytest

from rkface.runtime.cli.main import main
from rkface.runtime.events import PictureLinks, PictureStore

from .test_webhook import start

CONFIG = """
gallery = "gallery.sqlite"
device = "board"
[events]
stdout = true
file = "events.jsonl"
[events.webhook]
url = "{hook}"
{webhook}
[notify.phone]
url = "file:phone"
{notify}
"""
BASE = {"webhook": "", "notify": ""}


def size(jpeg):
    height, width, _ = cv2.imdecode(np.frombuffer(jpeg, np.uint8), cv2.IMREAD_COLOR).shape
    return width, height


@pytest.fixture
def hook():
    server = start()
    yield server
    server.left.set()
    server.shutdown()
    server.server_close()


@pytest.fixture
def send(tmp_path, hook, ntfy, capsys, monkeypatch):
    """``rkface alerts test`` with these arguments: exit code, stdout and stderr."""
    pytest.importorskip("apprise")
    monkeypatch.chdir(tmp_path)
    (tmp_path / "phone").write_text(ntfy.url)
    (tmp_path / "phone").chmod(0o600)

    def run(*arguments, more="", **lines):
        hooked = CONFIG.format(hook=f"http://127.0.0.1:{hook.server_port}/", **(BASE | lines))
        (tmp_path / "rkface.toml").write_text(hooked + more)
        return main(["alerts", "test", *arguments, "--config", "rkface.toml"]), *capsys.readouterr()

    return run


def test_each_receiver_gets_a_message_about_nobody(send, tmp_path, hook, ntfy):
    code, out, _ = send()
    assert code == 0
    assert out.splitlines() == [f"{name}: has the test message" for name in ("file", "webhook", "notify.phone")]
    (received,) = ntfy.messages.entries
    message = json.loads(received["body"])
    assert (message["title"], message["message"]) == ("rkface: test message", "Alerts from board can reach you.")
    ((_, _, posted),) = hook.posts.entries
    (line,) = (tmp_path / "events.jsonl").read_text().splitlines()
    for event, name in ((json.loads(posted), "webhook"), (json.loads(line), "file")):
        assert (event["schema"], event["receiver"], event["device"]) == ("rkface.test", name, "board")
        assert event["picture"] is None
    assert not list(tmp_path.glob("*.alert-pictures*")), "nobody gets pictures"
    assert stat.S_IMODE((tmp_path / "events.jsonl").stat().st_mode) == 0o600


def test_the_reason_is_said_if_a_message_does_not_arrive(send, hook, ntfy):
    hook.answers.append((503, {}))
    ntfy.answers.append(403)
    code, out, err = send("webhook", "notify.phone", "file")
    assert code == 1 and out == "file: has the test message\n"
    assert "webhook did not get the test message: http://127.0.0.1" in err and "answered 503" in err
    assert "notify.phone did not get the test message: ntfy: answered 403" in err
    assert "topic-secret2" not in err and len(hook.posts.entries) == 1, "it is not repeated, and no secret is shown"


def test_wrong_names_and_secrets_are_said_plainly(send, tmp_path):
    code, _, err = send("phone")
    assert code == 2 and "no receiver 'phone' that can be tested: there are file, webhook, notify.phone" in err
    code, _, err = send("stdout")
    assert code == 2 and "no receiver 'stdout'" in err
    (tmp_path / "phone").chmod(0o644)
    code, out, _ = send("notify.phone", "--json")
    result = json.loads(out)
    assert code == 2 and not result["delivered"] and "other users may read" in result["problem"]


def test_a_broker_gets_it_and_retains_nothing(send, broker, listener):
    code, _, err = send("mqtt", more=f'[events.mqtt]\nhost = "127.0.0.1"\nport = {broker.port}\n')
    assert code == 0, err
    listener.wait("rkface/board/event")
    ((topic, payload, retained),) = listener.heard.entries
    assert (topic, json.loads(payload)["schema"], retained) == ("rkface/board/event", "rkface.test", False)


def test_receivers_of_pictures_get_a_drawn_one(send, tmp_path, hook, ntfy):
    """Before, whether a receiver takes pictures showed with the first alert only."""
    code, _, err = send(webhook='picture = "face"', notify='picture = "frame"')
    assert code == 0, err
    ((_, _, posted),) = hook.posts.entries
    picture = json.loads(posted)["picture"]
    assert (picture["kind"], picture["type"]) == ("face", "image/jpeg")
    assert size(base64.b64decode(picture["data"])) == (picture["width"], picture["height"]) == (320, 320)
    assert size(ntfy.accepted()[-1]["body"]) == (1280, 720)


def test_a_link_to_the_drawn_picture_is_valid_at_the_console(send, tmp_path, hook):

    code, _, err = send(
        "webhook",
        webhook='picture = "face"\npicture_as = "url"',
        more='[alert_pictures]\naddress = "https://faces.example/"\n',
    )
    assert code == 0, err
    url = urlsplit(json.loads(hook.posts.entries[0][2])["picture"]["url"])
    assert url.netloc == "faces.example"
    (expires,), (signature,) = (parse_qs(url.query)[name] for name in ("expires", "signature"))
    with PictureStore(tmp_path / "gallery.sqlite.alert-pictures") as store:  # as a service opens it
        id = url.path.rpartition("/")[2]
        links = PictureLinks(store.link_key(), "https://faces.example/", store.limits.seconds)
        assert links.is_valid(id, int(expires), signature) and size(store.jpeg(id)) == (320, 320)


@pytest.mark.skipif(os.geteuid() != 0, reason="only root can give files away")
def test_the_service_can_use_the_pictures_after_root_has_sent_a_test(send, tmp_path):
    os.chown(tmp_path, 4711, 4712)
    assert send("webhook", webhook='picture = "face"')[0] == 0
    assert (tmp_path / "gallery.sqlite.alert-pictures").stat().st_uid == 4711


def test_a_broker_gets_the_drawn_picture_before_the_event_and_retains_nothing(send, broker, listener):
    code, _, err = send("mqtt", more=f'[events.mqtt]\nhost = "127.0.0.1"\nport = {broker.port}\npicture = "face"\n')
    assert code == 0, err
    listener.wait("rkface/board/event")
    (topic, image, kept), (_, event, _) = listener.heard.entries
    assert (topic, size(image.encode(errors="surrogateescape")), kept) == ("rkface/board/snapshot", (320, 320), False)
    assert json.loads(event)["picture"]["topic"] == topic
