"""Erasing a person from waiting events and from retained messages of a broker; everything else stays unchanged."""

import errno
import json
import os
import random
import signal
import socketserver
import subprocess
import sys
import threading
from contextlib import contextmanager
from pathlib import Path

import pytest

from rkface.runtime.alerts.alert import Alert
from rkface.runtime.events import Backoff, Delivery, Limits, Outbox
from rkface.runtime.events.broker import Broker
from rkface.runtime.events.channel import UndeliveredError
from rkface.runtime.events.event import anonymize, encode
from rkface.runtime.events.homeassistant import without_people
from rkface.runtime.events.mqtt import Mqtt
from rkface.runtime.events.mqtt_connection import PAUSES, SUBSCRIBE_ATTEMPTS
from rkface.runtime.gallery.match import Match

from .mosquitto import Listener
from .test_delivery import AT_ONCE, Endpoint, FullDisk
from .test_old_spool import line, write_spool
from .test_outbox import full_disk
from .world import ADA, PATIENCE, Log, appearance, event

GRACE = Match("p-2", "Grace Höpper\n", 0.66)
DOOR, YARD = "rkface/board/door/person", "rkface/board/yard/person"
GONE = {ADA.person: 1_780_000_100.0}


def bodies(*matches):
    return [encode(event(number, match=match)) for number, match in enumerate(matches)]


def drain(outbox):
    told = []
    while record := outbox.peek():
        told.append(json.loads(record.body))
        outbox.advance(record)
    return told


def forget_ada(outbox):
    outbox.erase(GONE)


def on_disk(folder):
    return b"".join(path.read_bytes() for path in folder.iterdir())


def who(events):
    return [event["match"] and event["match"]["name"] for event in events]


def test_a_waiting_alert_about_a_forgotten_person_names_nobody_and_loses_the_picture():
    ada, grace = (
        Alert("night", ("mqtt",), appearance(1, match=match)).as_event({"png": "face"}) for match in (ADA, GRACE)
    )
    assert anonymize(encode(grace), GONE) == encode(grace)
    told = json.loads(anonymize(encode(ada), GONE))
    assert told["appearance"] == json.loads(encode(event(1, match=None)))
    assert (told["rule"], told["id"], told["picture"]) == ("night", ada["id"], None)
    assert told["event"] != json.loads(encode(ada))["event"] and b"Ada" not in encode(told)


def test_an_event_that_names_a_forgotten_person_becomes_one_of_an_unknown_person():
    (body,) = bodies(ADA)
    assert anonymize(body, ()) is body and anonymize(body, {"p-2"}) == body
    said = json.loads(anonymize(body, GONE))
    assert {**said, "box": tuple(said["box"]), "zones": tuple(said["zones"])} == {
        **event(0, match=None),
        "event": said["event"],
    }
    assert anonymize(body, GONE) == encode(event(0, match=None)), "with the digest of what it says now"
    other = encode({"schema": "rkface.test", "person": ADA.person})
    assert anonymize(other, GONE) == other


def test_an_outbox_continues_where_it_was_after_an_erasure(tmp_path):
    outbox = Outbox(tmp_path)
    outbox.append(bodies(ADA, GRACE, ADA, None, GRACE))
    outbox.advance(outbox.peek())  # delivered, and its bytes are still in the write-ahead log
    assert b"Ada" in on_disk(tmp_path), "the test would not find her"
    forget_ada(outbox)
    assert b"Ada" not in on_disk(tmp_path) and ADA.person.encode() not in on_disk(tmp_path)
    assert {path.stat().st_mode & 0o777 for path in tmp_path.iterdir()} == {0o600}
    assert outbox.queued == 4
    outbox.append(bodies(GRACE))
    outbox.close()
    again = Outbox(tmp_path)
    forget_ada(again)
    assert who(drain(again)) == [GRACE.name, None, None, GRACE.name, GRACE.name]
    assert again.dropped == 0


def test_no_file_contains_a_byte_of_the_person_however_the_events_were_stored_and_deleted(tmp_path):
    """Deleting and inserting makes SQLite move rows between pages, which may leave copies there."""
    outbox, chance = Outbox(tmp_path), random.Random(1)
    for number in range(60):
        matches = [chance.choice((ADA, GRACE, None)) for _ in range(chance.randrange(1, 40))]
        outbox.append(bodies(*matches))
        for _ in range(chance.randrange(30)):
            if event := outbox.peek():
                outbox.advance(event)
        if number % 20 == 10:
            outbox.sweep()
        if number % 30 == 25:
            outbox.close()
            outbox = Outbox(tmp_path)
    queued = outbox.queued
    assert queued > 100 and b"Ada" in on_disk(tmp_path)
    forget_ada(outbox)
    assert b"Ada" not in on_disk(tmp_path) and ADA.person.encode() not in on_disk(tmp_path)
    assert outbox.queued == queued and len(drain(outbox)) == queued


def test_an_erasure_keeps_the_age_of_events(tmp_path):
    clock = [0.0]
    outbox = Outbox(tmp_path, Limits(seconds=800), clock=lambda: clock[0])
    outbox.append(bodies(ADA))
    clock[0] = 700
    forget_ada(outbox)
    clock[0] = 900
    outbox.expire()
    assert outbox.dropped == 1


def test_a_damaged_event_that_may_name_the_person_is_deleted(tmp_path):
    outbox = Outbox(tmp_path)
    outbox.append(bodies(GRACE, ADA))
    outbox.close()
    path = tmp_path / "outbox.sqlite"
    content = path.read_bytes()
    path.write_bytes(content.replace(b'"person":"p-1"', b'"person":"p-9"'))
    again = Outbox(tmp_path)
    assert b"Ada" in on_disk(tmp_path), "the test would not find her"
    forget_ada(again)
    assert b"Ada" not in on_disk(tmp_path)
    assert who(drain(again)) == [GRACE.name] and again.dropped == 1


def test_events_from_an_old_spool_are_anonymized_too(tmp_path):
    ada, grace, again = bodies(ADA, GRACE, ADA)
    write_spool(tmp_path, {1: line(ada, padding=30) + line(grace), 2: line(again)})
    outbox = Outbox(tmp_path)
    forget_ada(outbox)
    assert b"Ada" not in on_disk(tmp_path)
    assert who(drain(outbox)) == [None, GRACE.name, None]


def test_an_erasure_that_a_full_disk_interrupts_anywhere_loses_no_event_and_can_be_repeated(tmp_path):
    refused = 0
    for size in range(0, 80_000, 4120):
        folder = tmp_path / str(size)
        outbox = Outbox(folder)
        outbox.append(bodies(ADA, GRACE) * 10)
        with full_disk(size):
            try:
                forget_ada(outbox)
            except OSError:
                refused += 1
        outbox.close()
        again = Outbox(folder)
        assert again.queued == 20
        forget_ada(again)
        assert b"Ada" not in on_disk(folder)
        assert who(drain(again)) == [None, GRACE.name] * 10
    assert 0 < refused < 20


FORGETTER = """
import sys
from contextlib import contextmanager
from pathlib import Path
from rkface.runtime.events import Outbox
from tests.runtime.events.test_erasure import ADA, GRACE, bodies, forget_ada
outbox = Outbox(Path(sys.argv[1]))
print("open", flush=True)
while True:
    outbox.append(bodies(ADA, GRACE))
    print("acknowledged", flush=True)
    forget_ada(outbox)
"""


@pytest.mark.slow
def test_kill_9_during_erasures_loses_no_event_of_other_people(tmp_path):
    acknowledged = 0
    for _ in range(6):
        command = [sys.executable, "-c", FORGETTER, tmp_path]
        root = Path(__file__).resolve().parents[3]
        with subprocess.Popen(command, stdout=subprocess.PIPE, text=True, cwd=root) as process:
            lines = [process.stdout.readline() for _ in range(random.randrange(5, 30))]
            process.send_signal(signal.SIGKILL)
            lines += process.stdout
        assert lines[0] == "open\n"
        acknowledged += lines.count("acknowledged\n")
    outbox = Outbox(tmp_path)
    forget_ada(outbox)
    assert b"Ada" not in on_disk(tmp_path)
    assert acknowledged <= who(drain(outbox)).count(GRACE.name) <= acknowledged + 6


@pytest.fixture(params=["outbox", "memory"])
def outbox(request, tmp_path):
    return Outbox(tmp_path / "outbox") if request.param == "outbox" else None


class RecordingEndpoint(Endpoint):
    """An endpoint that keeps what it took."""

    def __init__(self, *answers):
        super().__init__(*answers)
        self.told = Log()

    def deliver(self, record):
        super().deliver(record)
        self.told.add(json.loads(record.body))


def test_waiting_events_are_delivered_without_the_person_and_otherwise_unchanged(outbox, tmp_path):
    endpoint = RecordingEndpoint(UndeliveredError("not now"))
    endpoint.open.clear()
    with Delivery("test", endpoint, outbox, AT_ONCE) as sink:
        for number, match in enumerate((ADA, GRACE, ADA, None)):
            sink.send(event(number, match=match))
        endpoint.tries.wait_for(1)  # the first is under way, with her name: it fails, and is told again without
        sink.forget(GONE)
        sink.send(event(4))  # who forgot was faster than who saw her
        if outbox:
            assert sink.flush(PATIENCE)
        endpoint.open.set()
        notice, *told = endpoint.told.wait_for(6)
        assert sink.wait_until_erased(PATIENCE)
        if outbox:
            assert b"Ada" not in on_disk(tmp_path / "outbox")
    assert notice["schema"] == "rkface.forgotten", "before all that waits"
    assert who(told) == [None, GRACE.name, None, None, None]
    assert [one["frames"] for one in told] == [7] * 5 and [one["id"] for one in told] == [f"a-{n}" for n in range(5)]
    assert sink.state().dropped == sink.state().refused == 0
    assert endpoint.forgotten == GONE


class SlowReceiver:
    """A channel that takes an event only when it is ``released``."""

    def __init__(self):
        self.begun, self.released = threading.Event(), threading.Event()

    def maintain(self, wake):
        return True

    def withdraw(self, people):
        return False

    def deliver(self, event):
        self.begun.set()
        assert self.released.wait(PATIENCE)

    def close(self):
        pass


def test_an_event_that_is_on_its_way_with_the_name_is_not_erased_yet():
    receiver = SlowReceiver()
    with Delivery("slow", receiver) as sink:
        sink.send(event())
        assert receiver.begun.wait(PATIENCE)
        sink.forget(GONE)
        assert not sink.wait_until_erased(0.01)
        receiver.released.set()
        assert sink.wait_until_erased(PATIENCE)


def test_an_outbox_is_cleaned_while_its_receiver_is_away(tmp_path):
    away = Endpoint(*(UndeliveredError("away") for _ in range(1000)))
    with Delivery("test", away, Outbox(tmp_path), Backoff(first=PATIENCE, longest=PATIENCE)) as sink:
        sink.send(event(0))
        sink.send(event(1, match=GRACE))
        away.tries.wait_for(1)
        assert sink.flush(PATIENCE) and b"Ada" in on_disk(tmp_path)
        sink.forget(GONE)
        assert sink.wait_until_erased(PATIENCE / 2)  # not only when it is tried again, half a minute later
        assert b"Ada" not in on_disk(tmp_path)
        sink.send(event(2))
        sink.flush(PATIENCE)
    assert b"Ada" not in on_disk(tmp_path)
    assert who(drain(Outbox(tmp_path))) == [None, GRACE.name, None]


def test_events_that_an_earlier_run_left_are_anonymized(tmp_path):
    outbox = Outbox(tmp_path)
    outbox.append(bodies(ADA, GRACE))
    outbox.close()
    endpoint, sink = RecordingEndpoint(), None
    sink = Delivery("test", endpoint, Outbox(tmp_path), AT_ONCE)
    sink.forget(GONE)  # while no service ran
    with sink:
        notice, *told = endpoint.told.wait_for(3)
        assert notice["person"] == ADA.person and who(told) == [None, GRACE.name]
        assert sink.wait_until_erased(PATIENCE)


def test_an_erasure_on_a_full_disk_is_repeated_until_there_is_room(tmp_path, monkeypatch, caplog):
    monkeypatch.setattr("rkface.runtime.events.pending.DISK_EVERY", 0.01)

    class Full(FullDisk):
        tries = Log()

        def erase(self, people):
            self.tries.add(self.room)
            if not self.room:
                raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))
            super().erase(people)

    before = Outbox(tmp_path)
    before.append(bodies(ADA))
    before.close()
    endpoint = Endpoint(*(UndeliveredError("away") for _ in range(1000)))
    outbox = Full(tmp_path)
    with Delivery("test", endpoint, outbox, Backoff(first=PATIENCE, longest=PATIENCE)) as sink:
        endpoint.tries.wait_for(1)
        sink.forget(GONE)
        outbox.tries.wait_for(2)
        assert not sink.wait_until_erased(0.0) and "No space left" in sink.state().error
        outbox.room = True
        outbox.tries.wait(lambda tries: tries[-1])
        sink.flush(PATIENCE)
    assert b"Ada" not in on_disk(tmp_path)


def test_events_that_are_stored_only_at_the_end_are_anonymized(tmp_path):
    endpoint, outbox = Endpoint(UndeliveredError("away")), FullDisk(tmp_path)
    with Delivery("test", endpoint, outbox, Backoff(first=PATIENCE, longest=PATIENCE)) as sink:
        sink.send(event(0))
        sink.send(event(1, match=GRACE))
        endpoint.tries.wait_for(1)  # out of memory: the disk takes nothing
        sink.forget(GONE)
        outbox.room = True
    assert who(drain(Outbox(tmp_path))) == [None, GRACE.name]


def mqtt(broker, protocol="5", sources=("door", "yard"), **more):
    return Mqtt(Broker("127.0.0.1", broker.port, protocol=protocol), "board", sources, timeout=PATIENCE, **more)


def keeps(broker, name, people):
    """Whether the broker sends a new subscriber these names of people seen last, by topic."""
    listener = Listener(broker.port, name)

    def said(heard):
        return {
            topic: json.loads(payload)["name"]
            for topic, payload, retained in heard
            if retained and topic.endswith("/person")
        }

    listener.heard.wait(lambda heard: len(said(heard)) >= len(people))
    listener.close()
    return said(listener.heard.entries) == people


def test_the_broker_retains_no_message_about_a_forgotten_person(broker, listener, protocol, tmp_path):
    with Delivery("mqtt", mqtt(broker, protocol), Outbox(tmp_path / "outbox"), AT_ONCE) as sink:
        sink.send(event(1))
        sink.send(event(1, stage="end"))  # she left: no later event of hers would overwrite it
        sink.send(event(2, match=GRACE, source="yard"))
        listener.wait("rkface/board/yard/appearance")
        assert keeps(broker, "before", {DOOR: "Ada", YARD: GRACE.name})
        sink.forget(GONE)
        assert sink.wait_until_erased(PATIENCE)
        assert keeps(broker, "after", {DOOR: "stranger", YARD: GRACE.name})
        said = json.loads(listener.payloads(DOOR)[-1])
        assert said["person"] is said["cosine"] is None
        broker.stop()
        (broker.folder / "mosquitto.db").unlink()
        broker.start()  # it forgot all, and is told again
        late = Listener(broker.port, "late")
        late.wait(YARD)
        late.wait(DOOR)
        assert {json.loads(payload)["name"] for payload in late.payloads(DOOR)} == {"stranger"}
        late.close()


def test_retained_messages_are_overwritten_once_the_broker_is_back(broker, listener, protocol, tmp_path):
    with Delivery("mqtt", mqtt(broker, protocol), Outbox(tmp_path / "outbox"), AT_ONCE) as sink:
        sink.send(event(1))
        listener.wait("rkface/board/door/appearance")
        broker.stop()
        sink.forget(GONE)
        assert not sink.wait_until_erased(0.1)
        broker.start()
        assert sink.wait_until_erased(PATIENCE)
        assert keeps(broker, "after", {DOOR: "stranger"})


def test_retained_messages_of_earlier_runs_and_removed_cameras_are_overwritten(broker, listener, protocol, tmp_path):
    with Delivery("mqtt", mqtt(broker, protocol), Outbox(tmp_path / "outbox"), AT_ONCE) as sink:
        sink.send(event(1))
        sink.send(event(2, source="yard"))
        sink.send(event(3, source="gate", match=GRACE))
        listener.wait("rkface/board/gate/appearance")
    channel = mqtt(broker, protocol, ["door"])
    later = Delivery("mqtt", channel, Outbox(tmp_path / "outbox"), AT_ONCE)
    later.forget(GONE)
    with later:
        assert later.wait_until_erased(PATIENCE)
        for topic in (DOOR, YARD):
            listener.heard.wait(lambda _, topic=topic: json.loads(listener.payloads(topic)[-1])["name"] == "stranger")
        assert keeps(broker, "after", {DOOR: "stranger", YARD: "stranger", "rkface/board/gate/person": GRACE.name})


def start_broker_without_reading(make_broker, tmp_path, protocol):
    """A broker that lets the user "camera" only write: a listener that reads everything, and the broker for Mqtt."""
    (tmp_path / "acl").write_text("user camera\ntopic write rkface/#\ntopic write homeassistant/#\nuser all\ntopic #\n")
    (tmp_path / "users").touch(mode=0o600)
    broker = make_broker(f"allow_anonymous false\npassword_file {tmp_path}/users\nacl_file {tmp_path}/acl")
    for user in ("camera", "all"):
        assert broker.run("usr/bin/mosquitto_passwd", "-b", tmp_path / "users", user, "hush").wait() == 0
    broker.start()
    listener = Listener(broker.port, setup=lambda client: client.username_pw_set("all", "hush"))
    as_camera = Broker("127.0.0.1", broker.port, user="camera", password="hush", protocol=protocol)
    return listener, as_camera


def test_a_broker_that_allows_no_subscription_still_gets_events(make_broker, tmp_path, protocol):
    listener, as_camera = start_broker_without_reading(make_broker, tmp_path, protocol)
    channel = Mqtt(as_camera, "board", ["door"], timeout=PATIENCE)
    with Delivery("mqtt", channel, Outbox(tmp_path / "outbox"), AT_ONCE) as sink:
        sink.send(event(1))
        listener.wait("rkface/board/door/appearance")
        sink.forget(GONE)
        assert sink.wait_until_erased(PATIENCE)  # it knows what it said itself
        listener.heard.wait(lambda _: "stranger" in listener.payloads(DOOR)[-1])
        sink.send(event(2, match=GRACE))
        listener.heard.wait(lambda _: "Grace" in listener.payloads(DOOR)[-1])
    listener.close()


def test_where_the_broker_lets_us_read_nothing_earlier_messages_about_people_are_replaced(make_broker, tmp_path):
    """Mosquitto with 3.1.1 accepts the subscription, and sends nothing."""
    listener, as_camera = start_broker_without_reading(make_broker, tmp_path, "3.1.1")

    def channel():
        return Mqtt(as_camera, "board", ["door"], timeout=PATIENCE, retained_file=tmp_path / "retained")

    with Delivery("mqtt", channel(), None, AT_ONCE) as sink:
        sink.send(event(1))
        listener.wait("rkface/board/door/appearance")
    later = Delivery("mqtt", channel(), None, AT_ONCE)
    later.forget(GONE)
    with later:
        assert later.wait_until_erased(PATIENCE)
        listener.heard.wait(lambda _: "stranger" in listener.payloads(DOOR)[-1])
    listener.close()


class RestrictedBroker(socketserver.BaseRequestHandler):
    """A broker (MQTT 3.1.1) that takes all and lets nobody listen: it refuses, or ends the connection over it, as many
    times as ``refuses`` says."""

    def handle(self):
        while header := self.request.recv(1):
            packet = self.take()
            if header[0] >> 4 == 1:  # CONNECT
                self.request.sendall(b"\x20\x02\x00\x00")
            elif header[0] >> 4 == 3:  # PUBLISH, QoS 1
                end = 2 + int.from_bytes(packet[:2], "big")
                self.server.heard.add((packet[2:end].decode(), packet[end + 2 :].decode()))
                self.request.sendall(b"\x40\x02" + packet[end : end + 2])
            elif header[0] >> 4 == 8:  # SUBSCRIBE
                self.server.asked.add(packet)
                granted = len(self.server.asked.entries) > self.server.refuses
                if self.server.ends and not granted:
                    return
                self.request.sendall(b"\x90\x03" + packet[:2] + (b"\x01" if granted else b"\x80"))

    def take(self):
        length = shift = 0
        while (byte := self.request.recv(1)[0]) & 0x80:
            length, shift = length | (byte & 0x7F) << shift, shift + 7
        length |= byte << shift
        packet = b""
        while len(packet) < length:
            packet += self.request.recv(length - len(packet))
        return packet


@contextmanager
def restricted_broker(*, ends, refuses=1000):
    with socketserver.ThreadingTCPServer(("127.0.0.1", 0), RestrictedBroker) as server:
        server.daemon_threads, server.ends, server.refuses = True, ends, refuses
        server.heard, server.asked = Log(), Log()
        threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.01}, daemon=True).start()
        server.broker = Broker("127.0.0.1", server.server_address[1], protocol="3.1.1")
        yield server
        server.shutdown()


@pytest.mark.parametrize("ends", [False, True])
def test_a_broker_that_refuses_subscriptions_is_asked_three_times_and_gets_all_events(ends, tmp_path, caplog):
    with restricted_broker(ends=ends) as server:
        with Delivery("mqtt", Mqtt(server.broker, "board", ["door"]), Outbox(tmp_path), AT_ONCE) as sink:
            sink.forget({GRACE.person: 1.0})
            for number in range(5):
                sink.send(event(number))
            server.heard.wait(lambda heard: sum(topic.endswith("/appearance") for topic, _ in heard) == 5)
            sink.forget(GONE)
            server.heard.wait(lambda heard: any(topic == DOOR and '"stranger"' in said for topic, said in heard))
            assert sink.wait_until_erased(PATIENCE) and sink.state().refused == 0
        assert len(server.asked.entries) == SUBSCRIBE_ATTEMPTS
    assert "does not let us read rkface/board/+/person" in caplog.text


@pytest.mark.parametrize("ends", [False, True])
def test_a_broker_that_refused_subscriptions_is_asked_again_later_and_the_log_says_it_once(
    ends, tmp_path, caplog, monkeypatch
):
    caplog.set_level("INFO", "rkface.events")
    monkeypatch.setattr("rkface.runtime.events.mqtt_connection.PAUSES", Backoff(0.0, 0.0))
    refuses = 2 * SUBSCRIBE_ATTEMPTS
    with restricted_broker(ends=ends, refuses=refuses) as server:
        with Delivery("mqtt", Mqtt(server.broker, "board", ["door"]), Outbox(tmp_path), AT_ONCE) as sink:
            sink.forget({GRACE.person: 1.0})
            for number in range(refuses + 3):  # at each event, the connection is looked at
                sink.send(event(number))
                server.heard.wait(lambda heard, count=number + 1: sum("/appearance" in to for to, _ in heard) == count)
        assert len(server.asked.entries) == refuses + 1
    assert caplog.text.count("does not let us read rkface/board/+/person") == 1
    assert caplog.text.count("lets us read rkface/board/+/person again") == 1


@pytest.mark.parametrize(("failures", "least", "most"), [(1, 30, 60), (2, 60, 120), (7, 1800, 3600), (99, 1800, 3600)])
def test_the_pauses_between_refused_subscriptions_grow(failures, least, most):
    assert least <= PAUSES.seconds(failures) <= most


@pytest.mark.parametrize(
    "payload", [b"", b"ON", b"[1]", b"{}", b'{"person": ["p-1"]}', b'{"person": "p-2"}', b"\xff", b"[" * 20_000]
)
def test_payloads_that_name_no_forgotten_person_stay_unchanged(payload):
    assert without_people(payload, GONE) == payload
