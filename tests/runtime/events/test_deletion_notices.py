"""Every receiver gets a notice about each forgotten person: at least once, before other events, after any outage."""

import json
import signal
import subprocess
import sys
import threading
from contextlib import ExitStack
from pathlib import Path

import pytest

from rkface.runtime.events import Backoff, Delivery, LinesFile, LinesStream, Outbox
from rkface.runtime.events.channel import ReceiverGoneError, RefusedError, UndeliveredError
from rkface.runtime.events.deletion_notices import as_event
from rkface.runtime.events.event import encode
from rkface.runtime.events.webhook import Webhook
from rkface.runtime.service.receiver_settings import Events
from rkface.runtime.service.receivers import open_sinks
from rkface.runtime.service.settings import Settings

from .mosquitto import Listener
from .test_delivery import AT_ONCE
from .test_erasure import GONE, GRACE, RecordingEndpoint, bodies, mqtt, who
from .test_webhook import SECRET, server, url  # noqa: F401
from .world import ADA, PATIENCE, event

SAID = json.loads(encode(as_event(ADA.person, GONE[ADA.person])))
EVENT = "rkface/board/event"


class EndpointWithoutNotices(RecordingEndpoint):
    """Fails on whatever is no appearance."""

    def __init__(self, error):
        super().__init__()
        self.error = error

    def deliver(self, record):
        if "match" not in json.loads(record.body):
            self.tries.add("forgotten")
            raise self.error
        super().deliver(record)


def told_by(channel, tmp_path, gone=GONE):
    """Run with no other events. Returns whether the receiver got all notices."""
    sink = Delivery("test", channel, Outbox(tmp_path), AT_ONCE, told_file=tmp_path / "told")
    sink.forget(gone)
    with sink:
        return sink.wait_until_told(PATIENCE)


def test_a_receiver_gets_each_notice_once_even_after_restarts(tmp_path):
    endpoint = RecordingEndpoint()
    assert told_by(endpoint, tmp_path)
    assert endpoint.told.entries == [SAID]
    assert (tmp_path / "told").stat().st_mode & 0o777 == 0o600
    assert told_by(endpoint, tmp_path) and endpoint.told.entries == [SAID], "it knows"
    assert told_by(endpoint, tmp_path, {**GONE, "p-2": 5.0, "p-3": 6.0})
    assert [one["person"] for one in endpoint.told.entries] == [ADA.person, "p-2", "p-3"]


def test_a_new_receiver_gets_all_notices(tmp_path):
    for name in ("first", "second", "second"):
        settings = Settings(
            gallery=tmp_path / "gallery.sqlite", events=Events(stdout=False, file=tmp_path / f"{name}.jsonl")
        )
        with ExitStack() as opened:
            (sink,) = open_sinks(settings, opened, GONE)
            assert sink.wait_until_told(PATIENCE)
    for name in ("first", "second"):
        assert [json.loads(line) for line in (tmp_path / f"{name}.jsonl").read_text().splitlines()] == [SAID]


def test_half_an_id_that_a_power_cut_left_is_sent_again_and_damages_no_other(tmp_path):
    endpoint, gone = RecordingEndpoint(), {"aaaa": 1.0, "bbbb": 2.0}
    assert told_by(endpoint, tmp_path, gone)
    note = tmp_path / "told"
    note.write_bytes(note.read_bytes()[:-2])
    for _ in range(2):
        assert told_by(endpoint, tmp_path, {**gone, "cccc": 3.0})
    assert [one["person"] for one in endpoint.told.entries] == ["aaaa", "bbbb", "bbbb", "cccc"]
    assert len({one["event"] for one in endpoint.told.entries}) == 3, "the repetition can be told"


def test_if_the_list_of_notices_cannot_be_written_the_next_run_sends_them_again(tmp_path, caplog):
    (tmp_path / "file").touch()
    endpoint = RecordingEndpoint()
    for _ in range(2):
        with Delivery("test", endpoint, None, AT_ONCE, told_file=tmp_path / "file/told") as sink:
            sink.forget(GONE)
            assert sink.wait_until_told(PATIENCE)
    assert endpoint.told.entries == [SAID] * 2
    assert "is asked again to delete the same people" in caplog.text and ADA.person not in caplog.text


def test_events_that_a_receiver_missed_follow_the_notice_and_do_not_name_the_person(tmp_path):
    outbox = Outbox(tmp_path)
    outbox.append(bodies(ADA, GRACE, ADA))
    endpoint = RecordingEndpoint(UndeliveredError("away"))
    endpoint.open.clear()
    with Delivery("test", endpoint, outbox, AT_ONCE, told_file=tmp_path / "told") as sink:
        endpoint.tries.wait_for(1)
        sink.forget(GONE)
        assert not sink.wait_until_told(0.0) and sink.state().queued == 4
        endpoint.open.set()
        assert sink.wait_until_told(PATIENCE)
        notice, *told = endpoint.told.wait_for(4)
    assert notice == SAID and who(told) == [None, GRACE.name, None]
    assert sink.state().queued == 0


def test_a_receiver_that_fails_on_notices_still_gets_appearances(tmp_path):
    deaf = EndpointWithoutNotices(UndeliveredError("answered 500"))
    with Delivery("test", deaf, Outbox(tmp_path), AT_ONCE, told_file=tmp_path / "told") as sink:
        sink.forget(GONE)
        deaf.tries.wait(lambda tries: tries.count("forgotten") > 1)  # tried again
        for number in range(5):
            sink.send(event(number, match=GRACE))
        assert [one["id"] for one in deaf.told.wait_for(5)] == [f"a-{number}" for number in range(5)]
        assert not sink.wait_until_told(0.0)
    assert told_by(endpoint := RecordingEndpoint(), tmp_path) and endpoint.told.entries == [SAID], "by the next run"


def test_nobody_waits_for_a_receiver_that_wants_no_more_events(tmp_path):
    with Delivery("test", EndpointWithoutNotices(ReceiverGoneError("answered 410")), Outbox(tmp_path), AT_ONCE) as sink:
        sink.forget(GONE)
        sink._sender.join(PATIENCE)
        assert not sink.wait_until_told(threading.TIMEOUT_MAX)


def test_notices_are_not_tried_more_often_than_other_events(tmp_path):
    deaf = EndpointWithoutNotices(UndeliveredError("answered 500"))
    with Delivery("test", deaf, Outbox(tmp_path), Backoff(first=PATIENCE, longest=PATIENCE)) as sink:
        sink.forget(GONE)
        for number in range(50):
            sink.send(event(number))
        deaf.told.wait_for(50)
    assert deaf.tries.entries.count("forgotten") == 1


def test_a_refused_notice_is_not_sent_again_and_does_not_count_as_told(tmp_path):
    deaf = EndpointWithoutNotices(RefusedError("answered 422"))
    assert not told_by(deaf, tmp_path)
    told_by(deaf, tmp_path)
    assert deaf.tries.entries == ["forgotten"]


FORGETTER = """
import sys
from pathlib import Path
from rkface.runtime.events import Delivery, LinesFile
folder = Path(sys.argv[1])
sink = Delivery("file", LinesFile(folder / "events.jsonl"), told_file=folder / "told")
sink.forget({f"p-{number}": float(number) for number in range(80)})
with sink:
    print("begun", flush=True)
    while not sink.wait_until_told(0.001):
        print("on it", flush=True)
print("done", flush=True)
"""


def test_kill_9_in_a_loop_loses_no_notice_and_repeats_at_most_one_per_kill(tmp_path):
    kills, said = 0, ""
    while "done" not in said:
        command = [sys.executable, "-c", FORGETTER, tmp_path]
        root = Path(__file__).resolve().parents[3]
        with subprocess.Popen(command, stdout=subprocess.PIPE, text=True, cwd=root) as process:
            said = "".join(process.stdout.readline() for _ in range(20))
            process.send_signal(signal.SIGKILL)
            said += process.stdout.read()
        kills += 1
    people = [json.loads(line)["person"] for line in (tmp_path / "events.jsonl").read_text().splitlines()]
    assert list(dict.fromkeys(people)) == [f"p-{number}" for number in range(80)]
    assert len(people) < 80 + kills


def test_notices_to_a_webhook_are_signed(server, tmp_path):  # noqa: F811
    with Delivery(
        "webhook", Webhook(url(server), SECRET), Outbox(tmp_path), AT_ONCE, told_file=tmp_path / "told"
    ) as sink:
        sink.send(event(1))
        server.posts.wait_for(1)
        server.answers.append((503, {}))
        sink.forget(GONE)
        assert sink.wait_until_told(PATIENCE)
        sink.send(event(2))
        posts = server.posts.wait_for(4)
    said = [json.loads(body) for _, _, body in posts]
    assert said[1] == said[2] == SAID and said[3]["match"] is None
    _, headers, _ = posts[2]
    assert headers["webhook-id"] == SAID["event"] and headers["webhook-signature"].startswith("v1,")


@pytest.mark.parametrize("channel", ["file", "stream"])
def test_notices_are_written_as_json_lines(channel, tmp_path):
    path = tmp_path / "events.jsonl"
    with path.open("ab") as stream:
        lines = LinesFile(path) if channel == "file" else LinesStream(stream)
        with Delivery(channel, lines, told_file=tmp_path / f"events-{channel}/told") as sink:
            sink.send(event(1))
            assert sink.flush(PATIENCE)
            sink.forget(GONE)
            assert sink.wait_until_told(PATIENCE)
    assert [json.loads(line)["schema"] for line in path.read_text().splitlines()] == [
        "rkface.appearance",
        "rkface.forgotten",
    ]
    assert (tmp_path / f"events-{channel}").stat().st_mode & 0o777 == 0o700


def test_mqtt_subscribers_get_a_notice_once_and_it_is_not_retained(broker, listener, protocol, tmp_path):
    with Delivery("mqtt", mqtt(broker, protocol), Outbox(tmp_path), AT_ONCE, told_file=tmp_path / "told") as sink:
        sink.send(event(1))
        listener.wait("rkface/board/door/appearance")
        topics = {topic for topic, *_ in listener.heard.entries}
        sink.forget(GONE)
        assert sink.wait_until_told(PATIENCE)
        listener.wait(EVENT)
        sink.send(event(2))
        listener.heard.wait(lambda _: len(listener.payloads("rkface/board/door/appearance")) == 2)
    assert [json.loads(payload) for payload in listener.payloads(EVENT)] == [SAID]
    heard = [topic for topic, *_ in listener.heard.entries]
    assert not any("Ada" in payload for _, payload, _ in listener.heard.entries[heard.index(EVENT) :])
    assert {*heard} == {*topics, EVENT}, "Home Assistant is told of nothing new"
    late = Listener(broker.port, "late")
    late.wait("rkface/board/availability")
    assert not late.payloads(EVENT)
    late.close()


def test_a_broker_that_was_down_gets_the_notice_from_the_next_run(broker, listener, protocol, tmp_path):
    with Delivery("mqtt", mqtt(broker, protocol), Outbox(tmp_path), AT_ONCE, told_file=tmp_path / "told") as sink:
        sink.send(event(1))
        listener.wait("rkface/board/door/appearance")
        broker.stop()
        sink.forget(GONE)
        sink.send(event(2))
        sink.send(event(3, match=GRACE))
        assert sink.flush(PATIENCE) and not sink.wait_until_told(0.1)
    broker.start()
    later = Delivery("mqtt", mqtt(broker, protocol), Outbox(tmp_path), AT_ONCE, told_file=tmp_path / "told")
    later.forget(GONE)
    with later:
        assert later.wait_until_told(PATIENCE)
        listener.heard.wait(lambda _: "a-3" in str(listener.payloads("rkface/board/door/appearance")))
    said = [json.loads(said) for topic, said, _ in listener.heard.entries if topic.endswith(("appearance", "event"))]
    first, notice, *rest = {one["event"]: one for one in said}.values()  # the listener may hear one twice
    assert first["match"] and notice == SAID and who(rest) == [None, GRACE.name]
