"""What a webhook, a broker and Home Assistant get of an alert and its picture."""

import base64
import json
import sqlite3
from itertools import count
from pathlib import Path

import fastjsonschema
import pytest

from rkface.runtime.events import Backoff, Delivery, LinesFile, Outbox, PictureLinks, PictureStore
from rkface.runtime.events.broker import Broker
from rkface.runtime.events.channel import RefusedError, UndeliveredError
from rkface.runtime.events.event import OutgoingEvent, encode
from rkface.runtime.events.homeassistant import Discovery, Topics
from rkface.runtime.events.mqtt import Mqtt
from rkface.runtime.events.webhook import Webhook, sign
from rkface.runtime.gallery.match import Match

from .homeassistant_schema import ENTITIES
from .mosquitto import Listener
from .test_webhook import SECRET, start, url
from .world import PATIENCE, alert, event, reference

AT_ONCE = Backoff(first=0.001, longest=0.002)
JPEG = b"\xff\xd8\xff\xe0" + bytes(range(256)) * 4
DOOR = "rkface/board/door"
COUNT = count()
TEXT = JPEG.decode(errors="surrogateescape")  # as the listener writes what is not text


@pytest.fixture
def server():
    server = start()
    yield server
    server.shutdown()
    server.server_close()


@pytest.fixture
def pictures(tmp_path):
    with PictureStore(tmp_path / "g.alert-pictures") as store:
        yield store


@pytest.fixture
def shown(pictures):
    """An alert with a picture that is stored."""
    return alert(0, reference(pictures.add(JPEG, "a-0", "p-1")))


def posted(server):
    return [json.loads(body) for _, _, body in server.posts.entries]


def test_a_webhook_gets_the_picture_inline_and_signed(server, pictures, shown):
    Webhook(url(server), SECRET, pictures=pictures).deliver(OutgoingEvent(encode(shown)))
    [(_, headers, body)] = server.posts.entries
    sent = (headers["webhook-id"], headers["webhook-timestamp"], body)
    assert headers["webhook-signature"] == sign(base64.b64decode(SECRET.removeprefix("whsec_")), *sent)
    picture = json.loads(body)["picture"]
    assert base64.b64decode(picture.pop("data")) == JPEG
    assert picture == shown["picture"]


def test_a_webhook_gets_a_link_that_is_valid(server, pictures, shown):
    links = PictureLinks(pictures.link_key(), "http://board:8080/", 3600.0)
    Webhook(url(server), SECRET, pictures=pictures, links=links).deliver(OutgoingEvent(encode(shown)))
    picture = posted(server)[0]["picture"]
    assert picture["url"].startswith(f"http://board:8080/v1/alert-pictures/{shown['picture']['id']}?")
    assert "data" not in picture and picture["expires"] > 1_780_000_000


def test_a_picture_that_is_gone_is_null_and_other_events_are_unchanged(server, pictures, shown):
    webhook = Webhook(url(server), SECRET, pictures=pictures)
    pictures.erase({"p-1"})
    for one in (shown, alert(1), event(2)):
        webhook.deliver(OutgoingEvent(encode(one)))
    gone, without, appearance = posted(server)
    assert gone["picture"] is None and gone["appearance"]["match"]["name"] == "Ada" and without["picture"] is None
    assert encode(event(2)) == server.posts.entries[2][2] and "picture" not in appearance


def test_an_alert_is_sent_without_a_picture_that_is_damaged(server, pictures, shown):
    with sqlite3.connect(pictures.path) as database:
        database.execute("PRAGMA wal_checkpoint(TRUNCATE)")
        database.execute("DROP TABLE picture")
    Webhook(url(server), SECRET, pictures=pictures).deliver(OutgoingEvent(encode(shown)))
    assert posted(server)[0]["picture"] is None


def test_a_picture_that_cannot_be_read_now_is_sent_later(server, pictures, shown):
    pictures.close()
    with pytest.raises(UndeliveredError):
        Webhook(url(server), SECRET, pictures=pictures).deliver(OutgoingEvent(encode(shown)))
    assert server.posts.entries == []


def test_a_picture_that_is_too_large_for_the_server_is_left_out(server, pictures, shown):
    server.answers.append((413, {}))
    Webhook(url(server), SECRET, pictures=pictures).deliver(OutgoingEvent(encode(shown)))
    with_picture, without = posted(server)
    assert with_picture["picture"]["data"] and without == {**with_picture, "picture": None}
    server.answers.append((413, {}))
    with pytest.raises(RefusedError):
        Webhook(url(server), SECRET, pictures=pictures).deliver(OutgoingEvent(encode(alert(1))))


def test_no_picture_is_on_disk_in_events_that_wait_or_in_files(pictures, shown, tmp_path):
    lines = tmp_path / "events.jsonl"
    with Delivery("file", LinesFile(lines), Outbox(tmp_path / "outbox"), AT_ONCE) as sink:
        sink.send({**shown, "picture": None})  # lines never get one: their `picture` is "none"
    assert json.loads(lines.read_text())["picture"] is None and sink.picture == "none"


def mqtt(broker, protocol, pictures, **more):
    address = Broker("127.0.0.1", broker.port, protocol=protocol)
    return Mqtt(address, "board", ["door"], timeout=PATIENCE, pictures=pictures, **more)


@pytest.fixture
def sink(broker, listener, protocol, pictures, tmp_path):
    channel = mqtt(broker, protocol, pictures, retained_file=tmp_path / "retained")
    with Delivery("mqtt", channel, Outbox(tmp_path / "outbox"), AT_ONCE) as sink:
        yield sink


def retained(broker, topic):
    """What a subscriber that comes later gets on ``topic``."""
    late = Listener(broker.port, f"late-{next(COUNT)}")
    late.client.publish("end", qos=1)  # a broker sends what it retains when somebody subscribes, so before this
    late.wait("end")
    late.close()
    return late.payloads(topic)


def test_a_broker_gets_the_alert_and_the_snapshot(broker, listener, sink, shown):
    sink.send(shown)
    listener.wait(f"{DOOR}/alert")
    (payload,) = listener.payloads(f"{DOOR}/alert")
    assert json.loads(payload)["picture"] == {**shown["picture"], "topic": f"{DOOR}/snapshot"}
    assert json.loads(payload)["appearance"]["match"]["name"] == "Ada"
    assert listener.payloads(f"{DOOR}/snapshot") == [TEXT] == retained(broker, f"{DOOR}/snapshot")
    assert retained(broker, f"{DOOR}/alert") == []


def test_forgetting_the_person_withdraws_the_snapshot(broker, listener, sink, shown, pictures):
    sink.send(shown)
    listener.wait(f"{DOOR}/alert")
    pictures.erase({"p-1"})
    sink.forget({"p-1": 1.0})
    assert sink.wait_until_erased(PATIENCE)
    assert retained(broker, f"{DOOR}/snapshot") == []


def test_forgetting_a_stranger_who_was_recognized_later_withdraws_it_too(broker, listener, sink, pictures):
    sink.send(alert(0, reference(pictures.add(JPEG, "a-0", None)), match=None))
    listener.wait(f"{DOOR}/alert")
    pictures.note_person("a-0", "p-1")
    pictures.erase({"p-1"})
    sink.forget({"p-1": 1.0})
    assert sink.wait_until_erased(PATIENCE)
    assert retained(broker, f"{DOOR}/snapshot") == []


def test_a_snapshot_of_somebody_else_stays(broker, listener, sink, shown, pictures):
    sink.send(shown)
    listener.wait(f"{DOOR}/alert")
    pictures.erase({"p-2"})
    sink.forget({"p-2": 1.0})
    assert sink.wait_until_erased(PATIENCE)
    assert retained(broker, f"{DOOR}/snapshot") == [TEXT]


def test_a_broker_that_takes_no_large_messages_gets_the_alert_without_its_picture(make_broker, pictures, tmp_path):
    broker = make_broker("allow_anonymous true\nmessage_size_limit 4000").start()
    listener = Listener(broker.port)
    large = alert(0, reference(pictures.add(JPEG * 10, "a-0", "p-1")))
    with Delivery("mqtt", mqtt(broker, "5", pictures), Outbox(tmp_path / "outbox"), AT_ONCE) as sink:
        sink.send(large)
        sink.send(alert(1))
        listener.heard.wait(lambda _: len(listener.payloads(f"{DOOR}/alert")) == 2)
    assert json.loads(listener.payloads(f"{DOOR}/alert")[0])["picture"] is None
    listener.close()


def test_the_end_of_the_service_withdraws_the_snapshot(broker, listener, sink, shown):
    sink.send(shown)
    listener.wait(f"{DOOR}/alert")
    sink.close()
    assert retained(broker, f"{DOOR}/snapshot") == []


def test_what_a_killed_service_left_is_withdrawn_at_the_next_start(broker, listener, pictures, shown, tmp_path):
    killed = mqtt(broker, "3.1.1", pictures, retained_file=tmp_path / "retained")
    killed.maintain(lambda: None)
    killed.deliver(OutgoingEvent(encode(shown)))
    killed._connection.drop()
    assert retained(broker, f"{DOOR}/snapshot") == [TEXT]
    again = mqtt(broker, "3.1.1", None, retained_file=tmp_path / "retained")
    again.maintain(lambda: None)
    assert retained(broker, f"{DOOR}/snapshot") == []
    again.close()


def test_with_mqtt_5_the_broker_itself_deletes_an_old_snapshot(broker, listener, pictures, shown):
    from paho.mqtt.client import Client, MQTTv5
    from paho.mqtt.enums import CallbackAPIVersion

    expiry = []
    five = Client(CallbackAPIVersion.VERSION2, "five", protocol=MQTTv5)
    five.on_connect = lambda client, *_: client.subscribe(f"{DOOR}/snapshot", qos=1)
    five.on_message = lambda _client, _data, message: expiry.append(message.properties.MessageExpiryInterval)
    five.connect("127.0.0.1", broker.port)
    channel = mqtt(broker, "5", pictures)
    channel.maintain(lambda: None)
    channel.deliver(OutgoingEvent(encode(shown)))
    while not expiry:
        five.loop(1.0)
    assert 86_000 < expiry[0] <= 86_400
    channel.close()


ABOUT = {"console": "http://board:8080/", "switches": True, "snapshots": True}
CONSOLE = Discovery(Topics("rkface", "board"), "homeassistant", "1.0", **ABOUT)


@pytest.mark.parametrize("message", [*CONSOLE.camera("Garage / links"), *CONSOLE.board()], ids=lambda one: one.topic)
def test_every_entity_is_as_home_assistant_documents_it(message):
    root, component, node, last = message.topic.split("/")
    assert (root, last) == ("homeassistant", "config") and message.retain and node.isascii()
    fastjsonschema.compile(ENTITIES[component])(json.loads(message.payload))


def test_the_documented_schema_refuses_wrong_entities():
    configs = {one.topic.split("/")[1]: json.loads(one.payload) for one in CONSOLE.camera("door")}
    image, happens = configs["image"], configs["event"]
    for kind, wrong in (
        ("image", {**image, "state_topic": "a/b"}),
        ("image", {**image, "url_topic": "a/b"}),
        ("image", {name: value for name, value in image.items() if name != "image_topic"}),
        ("event", {name: value for name, value in happens.items() if name != "event_types"}),
        ("event", {**happens, "device_class": "person"}),
    ):
        with pytest.raises(fastjsonschema.JsonSchemaValueException):
            fastjsonschema.compile(ENTITIES[kind])(wrong)


@pytest.mark.parametrize("match", [None, Match("p-1", 'Ada "the first" {{ 1 }}\\', 0.71)], ids=["stranger", "person"])
def test_home_assistant_reads_an_event_from_an_alert(match):
    """Its template, rendered as Home Assistant does; its documented payload has an `event_type` of `event_types`."""
    jinja2 = pytest.importorskip("jinja2")
    [config] = [json.loads(one.payload) for one in CONSOLE.camera("door") if "/event/" in one.topic]
    environment = jinja2.Environment(autoescape=False)
    environment.filters["to_json"] = json.dumps
    payload = json.loads(encode(alert(0, match=match)))
    happened = json.loads(environment.from_string(config["value_template"]).render(value_json=payload))
    assert happened["event_type"] in config["event_types"]
    assert happened["event_type"] == ("person" if match else "stranger")
    assert happened["name"] == (match.name if match else None) and happened["rule"] == "night"


def test_without_pictures_no_image_is_announced():
    plain = Discovery(Topics("rkface", "board"), "homeassistant", "1.0")
    assert "image" not in [one.topic.split("/")[1] for one in plain.camera("door")]


def test_the_docs_name_the_topics():
    docs = (Path(__file__).resolve().parents[3] / "docs/events.md").read_text(encoding="utf-8")
    assert "<camera>/alert`" in docs and "<camera>/snapshot`" in docs
