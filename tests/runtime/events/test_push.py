"""Alerts as messages by Apprise, to real servers on loopback: like ntfy, JSON over HTTP, and SMTP."""

import base64
import json
import logging
from io import StringIO

import pytest

from rkface.runtime.core.errors import InputError
from rkface.runtime.events import Backoff, Delivery, Outbox, PictureStore
from rkface.runtime.events.channel import UndeliveredError
from rkface.runtime.events.event import OutgoingEvent, encode
from rkface.runtime.events.push import Push
from rkface.runtime.service.logging_setup import start_logs

from .mail_server import MailServer
from .world import PATIENCE, alert, event, reference

pytest.importorskip("apprise")

AT_ONCE = Backoff(first=0.001, longest=0.002)
JPEG = b"\xff\xd8\xff\xe0" + bytes(range(256)) * 4
SECRETS = ("tk_secret1", "topic-secret2", "secret")


@pytest.fixture
def mail(apprise_at_once):
    server = MailServer()
    yield server
    server.close()


@pytest.fixture
def pictures(tmp_path):
    with PictureStore(tmp_path / "g.alert-pictures") as store:
        yield store


def outgoing(*arguments, **more):
    return OutgoingEvent(encode(alert(*arguments, **more)))


def test_a_message_says_who_where_when_and_why_and_shows_the_picture(ntfy, pictures):
    push = Push(ntfy.url, pictures)
    push.deliver(outgoing(0, reference(pictures.add(JPEG, "a-0", "p-1"))))
    (message,) = ntfy.messages.entries
    assert message["topic"] == "/topic-secret2"
    assert message["title"] == "Ada: door" and message["message"].endswith("rule night")
    assert message["body"] == JPEG


def test_without_a_picture_it_is_text(ntfy, pictures):
    push = Push(ntfy.url, pictures)
    push.deliver(outgoing(0, None, match=None))
    push.deliver(outgoing(0, reference("0" * 32)))  # it has expired, or its person is forgotten
    first, second = ntfy.messages.entries
    assert "Stranger: door" in str(first) and "Ada: door" in str(second)
    assert b"\xff\xd8" not in first["body"] + second["body"]


def test_only_alerts_are_messages(ntfy):
    Push(ntfy.url).deliver(OutgoingEvent(encode(event(1))))
    assert ntfy.messages.entries == []


def test_a_service_that_refuses_the_picture_gets_the_text(ntfy, pictures, tmp_path):
    ntfy.answers += [413] * 3
    push = Push(ntfy.url, pictures)
    with Delivery("notify.phone", push, Outbox(tmp_path / "outbox"), AT_ONCE, only_alerts=True) as sink:
        for number in range(2):
            sink.send(alert(number, reference(pictures.add(JPEG, f"a-{number}", "p-1"))))
        ntfy.messages.wait(lambda _: len(ntfy.accepted()) == 2)
    first, second = ntfy.accepted()
    assert JPEG not in first["body"] and "Ada: door" in str(first), "after three attempts"
    assert second["body"] == JPEG, "the next alert is tried with its picture again"


def test_it_comes_by_mail(mail, pictures):
    url = f"mailto://127.0.0.1:{mail.server_address[1]}/?from=board@example.org&to=ada@example.org&mode=insecure"
    mail.refusals.append("451 try again later")
    push = Push(url, pictures)
    sent = outgoing(0, reference(pictures.add(JPEG, "a-0", "p-1")))
    with pytest.raises(UndeliveredError):
        push.deliver(sent)
    push.deliver(sent)
    (received,) = mail.mails.wait_for(1)
    assert received["subject"] == "Ada: door"
    (attached,) = received.iter_attachments()
    assert attached.get_content() == JPEG and attached.get_filename() == "picture.jpg"


def test_it_comes_as_json(ntfy, pictures):
    push = Push(ntfy.url.replace("ntfy://", "json://"), pictures)
    push.deliver(outgoing(0, reference(pictures.add(JPEG, "a-0", "p-1"))))
    content = json.loads(ntfy.messages.entries[0]["body"])
    assert content["title"] == "Ada: door"
    assert base64.b64decode(content["attachments"][0]["base64"]) == JPEG


def test_messages_wait_in_order_until_the_service_is_back(ntfy, tmp_path):
    ntfy.answers += [503, 429, 500]
    with Delivery("notify.phone", Push(ntfy.url), Outbox(tmp_path / "outbox"), AT_ONCE, only_alerts=True) as sink:
        for number in range(3):
            sink.send(alert(number, rule=f"rule {number}"))
        ntfy.messages.wait(lambda _: len(ntfy.accepted()) == 3)
    assert [f"rule {number}" in str(one) for number, one in enumerate(ntfy.accepted())] == [True] * 3
    assert sink.state().sent == 3 and sink.state().retries == 3


@pytest.fixture
def logged():
    """All that gets to a log: that of the service, and the log of a program that uses rkface and logs everything."""
    stream, root = StringIO(), logging.getLogger()
    level, handler = root.level, logging.StreamHandler(stream)
    service = start_logs("text", stream)
    root.addHandler(handler)
    root.setLevel(logging.DEBUG)
    yield stream
    root.setLevel(level)
    root.removeHandler(handler)
    logging.getLogger("rkface").removeHandler(service)
    logging.getLogger("rkface").propagate = True


def test_no_log_and_no_error_has_a_secret(ntfy, tmp_path, logged, capfd):
    ntfy.answers += [401, 403]
    unreachable = "ntfy://user:tk_secret1@127.0.0.1:9/topic-secret2"
    with Delivery("notify.phone", Push(ntfy.url), Outbox(tmp_path / "outbox"), AT_ONCE, only_alerts=True) as sink:
        sink.send(alert(0))
        ntfy.messages.wait(lambda _: ntfy.accepted())
    state = sink.state()
    with pytest.raises(UndeliveredError) as failed:
        Push(unreachable).deliver(outgoing(0))
    assert state.error == "ntfy: answered 403"
    assert str(failed.value) == "ntfy: the message could not be sent"
    written = logged.getvalue() + str(failed.value) + "".join(capfd.readouterr())
    assert "answered 401" in written
    assert [secret for secret in SECRETS if secret in written] == []


@pytest.mark.parametrize(
    "url",
    ["nonsense", "", "foo://secret", "ntfy//topic-secret2", "://", "tgram://1234567secret:", "mailto://", "a" * 9999],
)
def test_a_url_that_apprise_does_not_know_is_an_error_without_it(url):
    with pytest.raises(InputError, match="not one URL that Apprise can use") as error:
        Push(url)
    assert "secret" not in str(error.value) and len(str(error.value)) < 400


def test_a_person_who_is_forgotten_vanishes_from_messages_that_wait(ntfy, pictures, tmp_path):
    outbox = tmp_path / "outbox"
    sink = Delivery("notify.phone", Push(ntfy.url, pictures), Outbox(outbox), AT_ONCE, only_alerts=True)
    with sink:
        ntfy.answers += [500] * 10_000
        sink.send(alert(0, reference(pictures.add(JPEG, "a-0", "p-1"))))
        ntfy.messages.wait(lambda entries: "Ada" in str(entries))
        pictures.erase({"p-1"})
        sink.forget({"p-1": 1.0})
        assert sink.wait_until_erased(PATIENCE) and sink.wait_until_told(PATIENCE), "nobody is told to delete"
        ntfy.answers.clear()
        ntfy.messages.wait(lambda _: ntfy.accepted())
    assert "Stranger: door" in str(ntfy.accepted()[0]) and "Ada" not in str(ntfy.accepted()[0])
    assert JPEG not in [one["body"] for one in ntfy.accepted()]
    assert not any(b"Ada" in path.read_bytes() for path in outbox.iterdir())
