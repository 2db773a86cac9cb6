"""MQTT with a real Mosquitto: which events arrive after which failure, and what Home Assistant receives."""

import json
import logging
import signal
import socket
import subprocess
import sys
import threading
from dataclasses import replace

import pytest

from rkface.runtime.core.errors import InputError
from rkface.runtime.events import Backoff, Delivery, Outbox, SwitchRequests
from rkface.runtime.events.broker import Broker
from rkface.runtime.events.homeassistant import BoardReport, CameraReport, Discovery, Presence, Topics, topic_name
from rkface.runtime.events.mqtt import Mqtt
from rkface.runtime.gallery.match import Match

from .mosquitto import Listener
from .world import PATIENCE, event

AT_ONCE = Backoff(first=0.01, longest=0.02)
DOOR = "rkface/board/door"
AVAILABILITY = "rkface/board/availability"
EVA = Match("p-2", "Eva", 0.66)


def mqtt(broker, protocol="5", **more):
    return Mqtt(Broker("127.0.0.1", broker.port, protocol=protocol), "board", ["door"], timeout=PATIENCE, **more)


def ids(listener, topic=f"{DOOR}/appearance"):
    return [json.loads(payload)["id"] for payload in listener.payloads(topic)]


def test_events_arrive_and_the_board_is_online_until_it_leaves(broker, listener, protocol, tmp_path):
    with Delivery("mqtt", mqtt(broker, protocol), Outbox(tmp_path / "outbox"), AT_ONCE) as sink:
        listener.wait(AVAILABILITY, "online")  # without any event
        for number in range(20):
            sink.send(event(number))
        listener.heard.wait(lambda _: len(ids(listener)) == 20)
        assert sink.state().connected
    listener.wait(AVAILABILITY, "offline")
    assert ids(listener) == [f"a-{number}" for number in range(20)]
    assert listener.payloads(f"{DOOR}/presence")[-1] == "OFF"  # though their ends were never seen
    late = Listener(broker.port, "late")
    late.wait(AVAILABILITY)
    assert (AVAILABILITY, "offline", True) in late.heard.entries  # retained
    assert not late.payloads(f"{DOOR}/appearance")  # not retained
    late.close()


def test_a_broker_that_starts_late_gets_all_events(broker, protocol, tmp_path):
    down = threading.Event()

    class Watched(Backoff):
        def seconds(self, failures):
            down.set()
            return 0.01

    with Delivery("mqtt", mqtt(broker, protocol), Outbox(tmp_path / "outbox"), Watched()) as sink:
        for number in range(5):
            sink.send(event(number))
        assert down.wait(PATIENCE)
        assert sink.state().connected is False
        broker.start()
        sink.send(event(5))
        listener = Listener(broker.port)
        listener.wait(f"{DOOR}/presence")
        sink.send(event(6))
        listener.heard.wait(lambda _: "a-6" in ids(listener))
    assert sink.state().sent == 7  # each acknowledged; those before the listener came are heard by nobody
    listener.close()


def test_nothing_is_lost_or_reordered_while_the_broker_restarts(broker, listener, protocol, tmp_path):
    with Delivery("mqtt", mqtt(broker, protocol), Outbox(tmp_path / "outbox"), AT_ONCE) as sink:
        for round_ in range(3):
            for number in range(20):
                sink.send(event(round_ * 20 + number))
            broker.stop()
            broker.start()
        listener.heard.wait(lambda _: "a-59" in ids(listener))
        late = Listener(broker.port, "late")
        late.wait(AVAILABILITY, "online")
        late.close()
    heard = ids(listener)
    assert list(dict.fromkeys(heard)) == [f"a-{number}" for number in range(60)]
    # At least once: a restart may cut off the acknowledgement of the one that was in progress, ours and the listener's.
    assert len(heard) <= 60 + 2 * 3


def test_an_idle_board_is_online_again_after_the_broker_restarts(broker, protocol, tmp_path):
    broker.start()
    with Delivery("mqtt", mqtt(broker, protocol), Outbox(tmp_path / "outbox"), AT_ONCE):
        for round_ in range(2):
            listener = Listener(broker.port, f"listener {round_}")
            listener.wait(AVAILABILITY, "online")
            listener.close()
            broker.stop()
            broker.start()


def test_a_broker_that_lost_its_messages_gets_them_again(broker, listener, tmp_path):
    with Delivery("mqtt", mqtt(broker), Outbox(tmp_path / "outbox"), AT_ONCE) as sink:
        sink.send(event(1))
        listener.wait(f"{DOOR}/appearance")
        broker.stop()
        (broker.folder / "mosquitto.db").unlink()
        broker.start()
        late = Listener(broker.port, "late")
        late.wait(f"{DOOR}/presence", "ON")
        late.wait("homeassistant/sensor/rkface_board_door_person/config")
        late.wait(f"{DOOR}/person")
        late.close()
        assert len(ids(listener)) == 1


def test_another_kind_of_event_has_its_own_topic(broker, listener, tmp_path):
    with Delivery("mqtt", mqtt(broker), Outbox(tmp_path / "outbox"), AT_ONCE) as sink:
        sink.send({"schema": "rkface.test"})
        listener.wait("rkface/board/event")


def test_a_broker_that_hangs_is_disconnected_and_connected_again(broker, listener, tmp_path):
    channel = Mqtt(Broker("127.0.0.1", broker.port), "board", timeout=0.3)
    with Delivery("mqtt", channel, Outbox(tmp_path / "outbox"), AT_ONCE) as sink:
        sink.send(event(0))
        listener.heard.wait(lambda _: ids(listener))
        broker.freeze()
        failed = threading.Event()
        sink._backoff = type("Watched", (Backoff,), {"seconds": lambda *_: failed.set() or 0.01})()
        for number in range(1, 5):
            sink.send(event(number))
        assert failed.wait(PATIENCE)
        assert "within 0.3 s" in sink.state().error
        broker.thaw()
        listener.heard.wait(lambda _: "a-4" in ids(listener))
    assert list(dict.fromkeys(ids(listener))) == [f"a-{number}" for number in range(5)]


def test_a_server_that_is_not_a_broker_is_reported(tmp_path):
    with socket.create_server(("127.0.0.1", 0)) as deaf:
        channel = Mqtt(Broker("127.0.0.1", deaf.getsockname()[1]), "board", timeout=0.1)
        failed = threading.Event()
        watched = type("Watched", (Backoff,), {"seconds": lambda *_: failed.set() or PATIENCE})()
        with Delivery("mqtt", channel, Outbox(tmp_path), watched) as sink:
            assert failed.wait(PATIENCE)
            error = sink.state().error
    assert error == "mqtt://127.0.0.1: no answer within 0.1 s"


SERVICE = """
import sys
from pathlib import Path
from rkface.runtime.events import Delivery, Outbox
from rkface.runtime.events.broker import Broker
from rkface.runtime.events.mqtt import Mqtt
channel = Mqtt(Broker("127.0.0.1", int(sys.argv[1])), "board", ["door"])
first = int(sys.argv[3])
with Delivery("mqtt", channel, Outbox(Path(sys.argv[2]))) as sink:
    for number in range(first, first + 30):
        event = {"schema": "rkface.appearance", "id": f"a-{number}", "source": "door", "stage": "start"}
        sink.send({**event, "match": None, "started": 0})
    if sink.flush(30):
        print("flushed", flush=True)
    sys.stdin.read()
"""


def test_kill_9_is_seen_as_offline_and_loses_nothing(broker, listener, tmp_path):
    for first in (0, 30):
        command = [sys.executable, "-c", SERVICE, str(broker.port), tmp_path / "outbox", str(first)]
        with subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True) as service:
            assert service.stdout.readline() == "flushed\n"
            listener.heard.wait(lambda _, first=first: f"a-{first}" in ids(listener))
            service.send_signal(signal.SIGKILL)
        listener.heard.wait(lambda _, lives=first // 30 + 1: listener.payloads(AVAILABILITY).count("offline") == lives)
    with Delivery("mqtt", mqtt(broker), Outbox(tmp_path / "outbox"), AT_ONCE):
        listener.heard.wait(lambda _: "a-59" in ids(listener))
    heard = ids(listener)
    assert list(dict.fromkeys(heard)) == [f"a-{number}" for number in range(60)]
    assert len(heard) <= 62  # a kill repeats at most the one that was in progress
    assert listener.payloads(f"{DOOR}/presence")[-1] == "OFF"  # nobody of a life that is over is still there


def test_the_person_seen_last_and_presence_are_published(broker, listener, tmp_path):
    with Delivery("mqtt", mqtt(broker), Outbox(tmp_path / "outbox"), AT_ONCE) as sink:
        for happening in (
            event(1),
            event(2, match=None),
            event(2, stage="update", match=EVA),
            event(1, stage="end"),
            event(2, stage="end", match=EVA),
        ):
            sink.send(happening)
        listener.heard.wait(lambda _: len(ids(listener)) == 5)
        people = [json.loads(payload)["name"] for payload in listener.payloads(f"{DOOR}/person")]
        assert people == ["Ada", "stranger", "Eva"]  # that Ada left, and after her Eva, makes neither the last to come
        assert listener.payloads(f"{DOOR}/presence") == ["OFF", "ON", "OFF"]
    late = Listener(broker.port, "late")
    late.wait(f"{DOOR}/person")
    assert json.loads(late.payloads(f"{DOOR}/person")[0])["cosine"] == EVA.cosine  # retained
    late.close()


def test_home_assistant_finds_every_camera(broker, listener, tmp_path):
    with Delivery("mqtt", mqtt(broker), Outbox(tmp_path / "outbox"), AT_ONCE) as sink:
        sink.send(event(1, source="Garage / links"))  # nobody had told of it
        camera = f"rkface/board/{topic_name('Garage / links')}"
        listener.wait(f"{camera}/appearance")
        late = Listener(broker.port, "late")  # as Home Assistant is after a restart of its own
        heard = late.heard.wait(lambda all_: sum(topic.startswith("homeassistant/") for topic, _, _ in all_) == 15)
        found = {topic: json.loads(payload) for topic, payload, _ in heard if topic.startswith("homeassistant/")}
        late.close()
    main = [topic for topic, config in found.items() if "entity_category" not in config]
    assert sorted(topic.split("/")[1] for topic in main) == [
        "binary_sensor",
        "binary_sensor",
        "event",
        "event",
        "sensor",
        "sensor",
    ]
    assert {config.get("entity_category", "diagnostic") for config in found.values()} == {"diagnostic"}
    assert len({config["unique_id"] for config in found.values()}) == 15
    assert len({config["device"]["identifiers"][0] for config in found.values()}) == 3, "the board and two cameras"
    topics = {topic for topic, _, _ in listener.heard.entries}
    for topic, config in found.items():
        assert topic.count("/") == 3
        assert config["availability_topic"] in topics
        assert config["state_topic"] in topics or config["state_topic"].endswith(("/door/person", "/state", "/alert"))


def test_home_assistant_gets_nothing_if_discovery_is_off(broker, listener, tmp_path):
    with Delivery("mqtt", mqtt(broker, discovery_root=""), Outbox(tmp_path / "outbox"), AT_ONCE) as sink:
        sink.send(event(1))
        listener.wait(f"{DOOR}/appearance")
    assert not [topic for topic, _, _ in listener.heard.entries if not topic.startswith("rkface/")]


def retained(broker, name="late"):
    """Everything that the broker retains, by topic."""
    late = Listener(broker.port, name)
    probe = f"probe/{name}"
    late.client.publish(probe, "x", qos=1, retain=True)  # retained messages come before it
    late.wait(probe)
    late.client.publish(probe, "", qos=1, retain=True)
    late.close()
    return {topic: payload for topic, payload, kept in late.heard.entries if kept and payload and topic != probe}


def stored(broker, folder, sources, device="board", **more):
    return Mqtt(
        Broker("127.0.0.1", broker.port), device, sources, timeout=PATIENCE, retained_file=folder / "retained", **more
    )


REPORT = BoardReport(("The disk is full.",), 2, 3, {"door": CameraReport(True, 14.96), "yard": CameraReport(False, 0)})


@pytest.mark.parametrize("ended", ["closed", "killed"])
def test_messages_of_renamed_and_removed_cameras_are_withdrawn(broker, listener, tmp_path, ended):
    first = Delivery("mqtt", stored(broker, tmp_path, ["door", "yard"], report=lambda: REPORT), None, AT_ONCE)
    with first:
        for number, source in enumerate(("door", "yard", "surprise")):
            first.send(event(number, source=source))
            listener.wait(f"rkface/board/{source}/appearance")
        if ended == "killed":
            first._channel._connection._client.disconnect()
            first._channel.close = lambda: None
    before = retained(broker, "before")
    assert {topic.split("/")[2] for topic in before if topic.endswith("/person")} == {"door", "yard", "surprise"}
    with Delivery("mqtt", stored(broker, tmp_path, ["front door", "door"], report=lambda: None), None, AT_ONCE) as sink:
        sink.send(event(7))
        listener.heard.wait(lambda _: "a-7" in ids(listener))
        after = retained(broker, "after")
    assert not [topic for topic in after if "yard" in topic or "surprise" in topic]
    assert [topic for topic in after if topic_name("front door") in topic] and f"{DOOR}/person" in after
    assert (tmp_path / "retained").stat().st_mode & 0o777 == 0o600


@pytest.mark.parametrize("changed", [{"device": "attic"}, {"prefix": "faces"}, {"discovery_root": "ha"}])
def test_messages_under_earlier_names_of_the_board_are_withdrawn(broker, listener, tmp_path, changed):
    with Delivery("mqtt", stored(broker, tmp_path, ["door"], report=lambda: REPORT), None, AT_ONCE) as sink:
        sink.send(event(1))
        listener.wait(f"{DOOR}/appearance")
    with Delivery("mqtt", stored(broker, tmp_path, ["door"], report=lambda: REPORT, **changed), None, AT_ONCE) as sink:
        sink.send(event(2))
        listener.heard.wait(lambda all_: any("a-2" in payload for _, payload, _ in all_))
        after = retained(broker)
    if "discovery_root" in changed:
        assert not [topic for topic in after if topic.startswith("homeassistant/")]
    else:
        assert not [topic for topic in after if topic.startswith("rkface/board/")]


def test_ghosts_of_a_version_that_stored_no_topics_are_found_by_their_last_person(broker, listener, tmp_path):
    with Delivery("mqtt", mqtt(broker), None, AT_ONCE) as sink:
        sink.send(event(1, source="old yard"))
        listener.wait(f"rkface/board/{topic_name('old yard')}/appearance")
    with Delivery("mqtt", stored(broker, tmp_path, ["door"]), None, AT_ONCE):
        ghost = f"homeassistant/sensor/rkface_board_{topic_name('old yard')}_person/config"
        listener.heard.wait(lambda all_: any(topic == ghost and not payload for topic, payload, _ in all_))
        listener.wait(f"rkface/board/{topic_name('old yard')}/person", "")
        assert not [topic for topic in retained(broker) if "old_yard" in topic]


def test_waiting_events_of_a_removed_camera_are_sent_but_bring_it_not_back(broker, tmp_path):
    outbox = Outbox(tmp_path / "outbox")
    outbox.append([json.dumps(event(1, source="yard")).encode()])
    outbox.close()
    broker.start()
    listener = Listener(broker.port)
    with Delivery("mqtt", stored(broker, tmp_path, ["door"]), Outbox(tmp_path / "outbox"), AT_ONCE):
        listener.wait("rkface/board/yard/appearance")
        assert not [topic for topic in retained(broker) if "yard" in topic]
    listener.close()


def test_the_state_of_the_board_and_its_cameras_is_published(broker, listener, tmp_path):
    with Delivery("mqtt", stored(broker, tmp_path, ["door"], report=lambda: REPORT), None, AT_ONCE):
        listener.wait("rkface/board/yard/state", '{"connected":"OFF","looks":0}')
        listener.wait(f"{DOOR}/state", '{"connected":"ON","looks":15.0}')
        listener.wait("rkface/board/state", '{"problem":"ON","problems":["The disk is full."],"frames":2,"events":3}')


SWITCH = f"{DOOR}/switch"


class House:
    """What the service does with requests to switch cameras: it switches them, and says so."""

    def __init__(self):
        self.on, self.asked = {"door": True, "front door": True}, []
        self.requests = SwitchRequests()
        self.requests.add, self._add = self.add, self.requests.add

    def add(self, camera, on):
        self._add(camera, on)
        self.asked.append((camera, on))
        self.on |= self.requests.take()
        self.requests.note_switched()

    def report(self):
        return BoardReport((), 0, 0, {name: CameraReport(on, 5.0, on) for name, on in self.on.items()})

    def open(self, broker, protocol="5"):
        where = Broker("127.0.0.1", broker.port, protocol=protocol)
        return Mqtt(where, "board", list(self.on), timeout=PATIENCE, report=self.report, switches=self.requests)


def test_a_camera_is_switched_over_mqtt_and_says_so(broker, listener, protocol, tmp_path):
    house = House()
    with Delivery("mqtt", house.open(broker, protocol), Outbox(tmp_path / "outbox"), AT_ONCE):
        listener.wait(SWITCH, "ON")
        listener.client.publish(f"{SWITCH}/set", "OFF", qos=1)
        listener.wait(SWITCH, "OFF")
        listener.wait(f"{DOOR}/state", '{"connected":null,"looks":5.0}')  # Home Assistant: unknown, not a problem
        other = f"rkface/board/{topic_name('front door')}/switch"
        listener.client.publish(f"{other}/set", "OFF", qos=1)
        listener.wait(other, "OFF")
        listener.client.publish(f"{SWITCH}/set", "ON", qos=1)
        listener.heard.wait(lambda _: listener.payloads(SWITCH)[-1] == "ON")
        broker.stop()
        house.on["front door"] = True
        broker.start()
        listener.heard.wait(lambda _: listener.payloads(other)[-1] == "ON")  # after it has subscribed
        listener.client.publish(f"{SWITCH}/set", "OFF", qos=1)
        listener.heard.wait(lambda _: listener.payloads(SWITCH)[-1] == "OFF")
        assert retained(broker)[SWITCH] == "OFF"
    assert house.asked == [("door", False), ("front door", False), ("door", True), ("door", False)]


@pytest.mark.parametrize("payload", ["", "off", "OFF ", "true", "0", "\0", "OFF" * 10_000, "\u202eNO"])
def test_what_is_not_a_command_is_ignored(broker, listener, tmp_path, caplog, payload):
    house = House()
    with Delivery("mqtt", house.open(broker), Outbox(tmp_path / "outbox"), AT_ONCE):
        listener.wait(SWITCH, "ON")
        for topic in (f"{SWITCH}/set", "rkface/board/cellar/switch/set", "rkface/board//switch/set"):
            for _ in range(3):
                listener.client.publish(topic, payload, qos=1)
        listener.client.publish("rkface/board/cellar/switch/set", "OFF", qos=1)
        listener.client.publish(f"{SWITCH}/set", "OFF", qos=1)
        listener.wait(SWITCH, "OFF")
    assert house.asked == [("door", False)] and caplog.text.count("neither ON nor OFF") == 1


def test_a_retained_command_does_not_switch_a_camera_again_and_again(broker, listener, tmp_path, caplog):
    listener.client.publish(f"{SWITCH}/set", "OFF", qos=1, retain=True)
    listener.wait(f"{SWITCH}/set", "OFF")
    house = House()
    with Delivery("mqtt", house.open(broker), Outbox(tmp_path / "outbox"), AT_ONCE):
        other = f"rkface/board/{topic_name('front door')}/switch"
        listener.wait(other, "ON")
        listener.client.publish(f"{other}/set", "OFF", qos=1)
        listener.wait(other, "OFF")
    assert house.asked == [("front door", False)] and "a retained command for camera door was ignored" in caplog.text


def test_home_assistant_finds_the_switch_of_a_camera(broker, listener, tmp_path):
    with Delivery("mqtt", House().open(broker), Outbox(tmp_path / "outbox"), AT_ONCE):
        listener.wait(SWITCH, "ON")
        config = json.loads(retained(broker)["homeassistant/switch/rkface_board_door_switch/config"])
    # home-assistant.io/integrations/switch.mqtt: payload_on, payload_off and the states are ON and OFF by default.
    assert (config["command_topic"], config["state_topic"]) == (f"{SWITCH}/set", SWITCH)
    assert config["unique_id"] == "rkface_board_door_switch" and config["device"]["name"] == "board door"
    assert "retain" not in config and config["availability_topic"] == AVAILABILITY


def test_a_broker_that_allows_no_commands_gets_the_events(make_broker, protocol, tmp_path, caplog):
    (tmp_path / "acl").write_text("topic write #\n")
    broker = make_broker(f"allow_anonymous true\nacl_file {tmp_path}/acl").start()
    house = House()
    with Delivery("mqtt", house.open(broker, protocol), Outbox(tmp_path / "outbox"), AT_ONCE) as sink:
        for number in range(4):
            sink.send(event(number))
            house.requests.note_switched()  # each time, it tries to connect and to subscribe
        assert sink.flush(PATIENCE)
    assert sink.state().sent == 4 and caplog.text.count("cameras cannot be switched over MQTT") <= 1


@pytest.mark.parametrize(
    "content", [b"", b"[", b"{}", b"[1, null]", b'["a/+/b", "#", "", "x\\u0000", "\\ud800"]', b"\xff"]
)
def test_a_damaged_list_of_topics_is_ignored(broker, listener, tmp_path, content):
    (tmp_path / "retained").write_bytes(content)
    with Delivery("mqtt", stored(broker, tmp_path, ["door"]), None, AT_ONCE):
        listener.wait(AVAILABILITY, "online")
    assert f"{DOOR}/presence" in json.loads((tmp_path / "retained").read_bytes())


def failure(channel, tmp_path, tries=1):
    """What the last of ``tries`` says went wrong."""
    failed = threading.Event()

    def seconds(_, failures):
        if failures < tries:
            return 0.001
        failed.set()
        return PATIENCE

    watched = type("Watched", (Backoff,), {"seconds": seconds})()
    with Delivery("mqtt", channel, Outbox(tmp_path / "failing"), watched) as sink:
        sink.send(event(1))
        assert failed.wait(PATIENCE)
        state = sink.state()
    assert state.refused == state.dropped == 0
    return state.error


def test_password_login(make_broker, tmp_path, protocol, caplog):
    caplog.set_level(logging.DEBUG)
    (tmp_path / "users").touch(mode=0o600)
    secured = make_broker(f"allow_anonymous false\npassword_file {tmp_path}/users")
    assert secured.run("usr/bin/mosquitto_passwd", "-b", tmp_path / "users", "camera", "hush").wait() == 0
    secured.start()
    wrong = Broker("127.0.0.1", secured.port, user="camera", password="secret", protocol=protocol)
    said = failure(Mqtt(wrong, "board"), tmp_path)
    assert "authori" in said.lower()
    assert "secret" not in said + caplog.text + repr(wrong)
    right = Broker("127.0.0.1", secured.port, user="camera", password="hush", protocol=protocol)
    listener = Listener(secured.port, setup=lambda client: client.username_pw_set("camera", "hush"))
    with Delivery("mqtt", Mqtt(right, "board"), Outbox(tmp_path / "outbox"), AT_ONCE) as sink:
        sink.send(event(1))
        listener.wait(f"{DOOR}/appearance")
    listener.close()


def test_a_forbidden_topic_is_reported_with_mqtt_5(make_broker, tmp_path):
    (tmp_path / "acl").write_text("topic read #\ntopic write rkface/board/door/#\n")
    broker = make_broker(f"allow_anonymous true\nacl_file {tmp_path}/acl").start()
    assert "refused rkface/board/availability with reason code 0x87" in failure(mqtt(broker), tmp_path, tries=3)


def test_tls_is_verified(make_broker, tmp_path, certificate):
    tls = f"allow_anonymous true\ncertfile {certificate}/ca\nkeyfile {certificate}/key"
    broker = make_broker(tls).start()
    assert "certificate verify failed" in failure(Mqtt(Broker("127.0.0.1", broker.port, tls=True), "board"), tmp_path)
    other = Mqtt(Broker("localhost", broker.port, tls=True, ca=certificate / "ca"), "board")
    assert "mismatch" in failure(other, tmp_path)
    channel = Mqtt(Broker("127.0.0.1", broker.port, tls=True, ca=certificate / "ca"), "board")
    listener = Listener(broker.port, setup=lambda client: client.tls_set(certificate / "ca"))
    with Delivery("mqtt", channel, Outbox(tmp_path / "outbox"), AT_ONCE) as sink:
        sink.send(event(1))
        listener.wait(f"{DOOR}/appearance")
    listener.close()


def test_unusable_settings_are_wrong_input(tmp_path, monkeypatch, certificate):
    (tmp_path / "ca").write_text("hello")
    mine = Broker("localhost", tls=True, certificate=certificate / "ca", key=certificate / "key")
    for broker, named in (
        (replace(mine, ca=tmp_path / "ca"), f"{tmp_path}/ca: not a file of certificates in PEM format"),
        (replace(mine, key=tmp_path / "ca"), f"{certificate}/ca and {tmp_path}/ca: not a certificate and its key"),
    ):
        with pytest.raises(InputError, match=f"^{named}"):
            Mqtt(broker, "board")
    monkeypatch.setitem(sys.modules, "paho.mqtt.client", None)
    with pytest.raises(InputError, match=r"rkface\[mqtt\]"):
        Mqtt(Broker("localhost"), "board")


TOPICS = Topics("rkface", "board")


def test_presence_does_not_depend_on_how_often_an_event_comes():
    state, said = Presence(), []
    for stage in ("start", "start", "update", "end", "end"):
        state, messages = state.after(event(1, stage=stage), False, TOPICS)
        said += [message.payload for message in messages if message.topic.endswith("presence")]
    assert said == [b"ON", b"OFF"]
    assert not state.visible["door"]


def test_an_event_of_an_earlier_run_names_the_person_but_nobody_is_present():
    state, messages = Presence().after(event(1), True, TOPICS)
    assert [message.topic for message in messages] == ["rkface/board/door/person"]
    assert not state.visible["door"]


@pytest.mark.parametrize("name", ["door", "Front_Door-2"])
def test_plain_names_stay(name):
    assert topic_name(name) == name


def test_names_with_characters_that_topics_do_not_allow_stay_different():
    names = ["a/b", "a+b", "a#b", "a b", "a_b", "Tür", "T/r", "///", "门", "/", "\udcff"]
    names_in_topics = [topic_name(name) for name in names]
    assert len(set(names_in_topics)) == len(names)
    assert all(made and not set(made) & set("/+# ") and made.isascii() for made in names_in_topics)


def test_discovery_is_what_home_assistant_documents():
    console, support = "https://board.example:8080/", "https://rkface.example/help"
    announced = Discovery(TOPICS, "homeassistant", "1.0", console, support)
    sensor, binary, *diagnosis = announced.camera("door")
    for message in (sensor, binary, *diagnosis, *announced.board()):
        config = json.loads(message.payload)
        assert config["device"]["configuration_url"] == console and config["origin"]["support_url"] == support
    plain = json.loads(Discovery(TOPICS, "homeassistant", "1.0").camera("door")[0].payload)
    assert "configuration_url" not in plain["device"] and "support_url" not in plain["origin"]
    assert sensor.topic == "homeassistant/sensor/rkface_board_door_person/config"
    assert binary.topic == "homeassistant/binary_sensor/rkface_board_door_presence/config"
    assert sensor.retain
    assert binary.retain
    config = json.loads(binary.payload)
    assert config["state_topic"] == "rkface/board/door/presence"  # of which ON and OFF are the default payloads
    assert config["availability_topic"] == AVAILABILITY  # of which online and offline are
