"""Delivery: order, repetition, broken receivers, full disks, and events that closing leaves behind."""

import errno
import json
import logging
import os
import signal
import subprocess
import sys
import threading

import pytest

from rkface.runtime.events import Backoff, Delivery, LinesFile, Outbox
from rkface.runtime.events.channel import ReceiverGoneError, RefusedError, UndeliveredError
from rkface.runtime.events.event import encode

from .world import PATIENCE, Log, event

AT_ONCE = Backoff(first=0.001, longest=0.002)


class Endpoint:
    """A channel that does as ``answers`` say, one a try, and then takes everything."""

    def __init__(self, *answers):
        self.answers = list(answers)
        self.tries = Log()
        self.taken = Log()
        self.open = threading.Event()
        self.open.set()

    def maintain(self, wake):
        return None

    def withdraw(self, people):
        self.forgotten = people
        return False

    def deliver(self, record):
        said = json.loads(record.body)
        number = said.get("frames", said.get("person"))
        self.tries.add(number)
        self.open.wait(PATIENCE)
        answer = self.answers.pop(0) if self.answers else None
        if answer is not None:
            raise answer
        self.taken.add(number)

    def close(self):
        pass


def send(sink, *numbers):
    for number in numbers:
        sink.send({**event(), "frames": number})


@pytest.fixture(params=["outbox", "memory"])
def outbox(request, tmp_path):
    return Outbox(tmp_path / "outbox") if request.param == "outbox" else None


def test_events_arrive_in_order_and_are_counted(outbox):
    endpoint = Endpoint()
    with Delivery("test", endpoint, outbox, AT_ONCE) as sink:
        assert sink.state().connected is None
        send(sink, *range(50))
        assert endpoint.taken.wait_for(50) == list(range(50))
    state = sink.state()
    assert (state.queued, state.sent, state.dropped, state.retries) == (0, 50, 0, 0)


def test_a_failed_event_is_tried_again_before_any_other(outbox):
    endpoint = Endpoint(UndeliveredError("not now"), OSError("nor now"), ValueError("a bug"))
    with Delivery("test", endpoint, outbox, AT_ONCE) as sink:
        send(sink, 1, 2)
        assert endpoint.taken.wait_for(2) == [1, 2]
        assert endpoint.tries.entries == [1, 1, 1, 1, 2]
    assert sink.state().retries == 3
    assert sink.state().error == "a bug"


def test_a_refused_event_is_skipped_and_counted(outbox):
    endpoint = Endpoint(RefusedError("never"))
    with Delivery("test", endpoint, outbox, AT_ONCE) as sink:
        send(sink, 1, 2)
        assert endpoint.taken.wait_for(1) == [2]
    assert sink.state().refused == 1
    assert endpoint.tries.entries == [1, 2]


def test_an_event_that_always_triggers_a_bug_does_not_hold_up_the_others(outbox):
    endpoint = Endpoint(*(KeyError("a bug") for _ in range(5)))
    with Delivery("test", endpoint, outbox, AT_ONCE) as sink:
        send(sink, 1, 2)
        assert endpoint.taken.wait_for(1) == [2]
    assert sink.state().refused == 1


def test_an_event_after_the_end_is_counted_as_dropped(outbox):
    with Delivery("test", Endpoint(), outbox, AT_ONCE) as sink:
        pass
    send(sink, 1)
    assert sink.state().dropped == 1


def test_a_receiver_that_is_gone_gets_nothing_until_the_next_start(tmp_path):
    endpoint = Endpoint(ReceiverGoneError("gone"))
    with Delivery("test", endpoint, Outbox(tmp_path), AT_ONCE) as sink:
        send(sink, 1)
        endpoint.tries.wait_for(1)
        send(sink, 2)
        assert sink.flush(PATIENCE)
    assert endpoint.tries.entries == [1]
    again = Endpoint()
    with Delivery("test", again, Outbox(tmp_path), AT_ONCE):
        assert again.taken.wait_for(2) == [1, 2]


def test_an_endpoint_that_never_answers_holds_up_neither_camera_nor_disk(tmp_path):
    endpoint = Endpoint()
    endpoint.open.clear()
    with Delivery("test", endpoint, Outbox(tmp_path), AT_ONCE) as sink:
        send(sink, *range(100))
        assert sink.flush(PATIENCE)  # on disk, though not one is delivered
        assert sink.state().queued == 100
        endpoint.open.set()
        assert endpoint.taken.wait_for(100) == list(range(100))


def test_without_an_outbox_the_oldest_events_are_dropped_when_memory_is_full(caplog):
    endpoint = Endpoint()
    endpoint.open.clear()
    with Delivery("test", endpoint, None, AT_ONCE, memory=5) as sink:
        send(sink, 0)
        endpoint.tries.wait_for(1)  # the one in progress is safe
        send(sink, *range(1, 21))
        assert sink.state().dropped == 15
        endpoint.open.set()
        assert endpoint.taken.wait_for(6) == [0, 16, 17, 18, 19, 20]
    # Counted always, said when it begins and when it has doubled.
    assert [record.args[1] for record in caplog.records if "dropped" in record.msg] == [1, 2, 4, 8]


def test_each_outage_that_loses_events_is_logged(caplog):
    """The second one loses fewer than the first: the log must say so even then."""
    endpoint = Endpoint()
    with Delivery("test", endpoint, None, AT_ONCE, memory=5) as sink:
        for first, last in ((0, 20), (100, 107)):
            endpoint.open.clear()
            send(sink, first)
            endpoint.tries.wait_for(len(endpoint.tries.entries) + 1 if first == 0 else 7)
            send(sink, *range(first + 1, last + 1))
            endpoint.open.set()
            endpoint.taken.wait_for(6 if first == 0 else 12)
        assert sink.state().dropped == 15 + 2
    assert [record.args[1] for record in caplog.records if "dropped" in record.msg] == [1, 2, 4, 8, 1, 2]


def test_events_that_closing_finds_undelivered_are_sent_after_the_next_start(tmp_path):
    broken = Endpoint(*(UndeliveredError("down") for _ in range(1000)))
    with Delivery("test", broken, Outbox(tmp_path), Backoff(first=PATIENCE, longest=PATIENCE)) as sink:
        send(sink, 1, 2, 3)
        broken.tries.wait_for(1)  # now it waits, half a minute: closing does not
    assert sink.state().queued == 3
    endpoint = Endpoint()
    with Delivery("test", endpoint, Outbox(tmp_path), AT_ONCE) as sink:
        send(sink, 4)
        assert endpoint.taken.wait_for(4) == [1, 2, 3, 4]


def test_without_an_outbox_events_that_closing_finds_undelivered_are_counted(caplog):
    broken = Endpoint(*(UndeliveredError("down") for _ in range(10)))
    with Delivery("test", broken, None, Backoff(first=PATIENCE, longest=PATIENCE)) as sink:
        send(sink, 1, 2, 3)
        broken.tries.wait_for(1)
    assert (sink.state().queued, sink.state().dropped) == (0, 3)
    assert "3 events lost" in caplog.text


def test_closing_delivers_as_many_events_as_possible(outbox):
    endpoint = Endpoint()
    with Delivery("test", endpoint, outbox, AT_ONCE) as sink:
        send(sink, *range(20))
    assert endpoint.taken.entries == list(range(20))


class FullDisk(Outbox):
    """A outbox whose disk is full until ``room``."""

    room = False

    def append(self, bodies):
        if not self.room:
            raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))
        super().append(bodies)


def test_a_full_disk_stops_no_event_while_the_receiver_answers(tmp_path, caplog):
    endpoint = Endpoint(UndeliveredError("not now"))
    with Delivery("test", endpoint, FullDisk(tmp_path), AT_ONCE) as sink:
        send(sink, *range(20))
        assert endpoint.taken.wait_for(20) == list(range(20))
        assert sink.state().dropped == 0
    assert "No space left" in caplog.text


def test_a_full_disk_and_a_dead_receiver_lose_the_oldest_events_and_report_it(tmp_path):
    endpoint = Endpoint()
    endpoint.open.clear()
    with Delivery("test", endpoint, FullDisk(tmp_path), AT_ONCE, memory=5) as sink:
        send(sink, 0)
        endpoint.tries.wait_for(1)
        send(sink, *range(1, 21))
        endpoint.answers = [UndeliveredError("dead")]
        endpoint.open.set()
        endpoint.taken.wait(lambda taken: 20 in taken)
    state = sink.state()
    assert state.sent + state.dropped == 21
    assert state.dropped > 0
    assert endpoint.taken.entries == sorted(endpoint.taken.entries)


def test_an_event_that_json_cannot_express_is_dropped_and_the_camera_goes_on(outbox, caplog):
    endpoint = Endpoint()
    with Delivery("test", endpoint, outbox, AT_ONCE) as sink:
        sink.send({"name": float("nan")})
        sink.send({"name": b"Ada"})
        send(sink, 1)
        assert endpoint.taken.wait_for(1) == [1]
    assert sink.state().dropped == 2
    assert "Ada" not in caplog.text


def test_logs_and_state_contain_no_names(tmp_path, caplog):
    caplog.set_level(logging.DEBUG)
    endpoint = Endpoint(UndeliveredError("not now"), RefusedError("never"))
    with Delivery("test", endpoint, Outbox(tmp_path), AT_ONCE) as sink:
        send(sink, 1, 2)
        endpoint.taken.wait_for(1)
    assert "not now" in caplog.text
    assert "Ada" not in caplog.text + repr(sink.state())


def test_pauses_grow_up_to_the_longest_and_are_random():
    backoff = Backoff(first=1, longest=60)
    for failures, most in ((1, 1), (2, 2), (5, 16), (7, 60), (1000, 60)):
        pauses = {backoff.seconds(failures) for _ in range(20)}
        assert most / 2 <= min(pauses) < max(pauses) <= most


def test_the_digest_of_an_event_depends_only_on_its_content():
    one = json.loads(encode(event(1)))
    assert one["event"] == json.loads(encode(dict(reversed(event(1).items()))))["event"]
    assert one["event"] != json.loads(encode(event(2)))["event"]
    assert {**one, "box": tuple(one["box"]), "zones": tuple(one["zones"])} == {**event(1), "event": one["event"]}


def test_a_name_that_is_not_valid_text_is_delivered():
    body = encode({"name": "Zoë \udcff\n"})
    assert "Zoë".encode() in body
    assert b"\n" not in body
    assert json.loads(body)["name"] == "Zoë \udcff\n"


SERVICE = """
import sys
from pathlib import Path
from rkface.runtime.events import Delivery, LinesFile, Outbox
folder = Path(sys.argv[1])
with Delivery("file", LinesFile(folder / "out", limit=1 << 30), Outbox(folder / "outbox")) as sink:
    number = int(sys.argv[2])
    while True:
        for _ in range(5):
            sink.send({"number": number})
            number += 1
        if sink.flush(10):
            print(number - 1, flush=True)
"""


def test_kill_9_in_a_loop_delivers_every_flushed_event_and_repeats_at_most_one_per_kill(tmp_path):
    flushed = set()
    for round_ in range(4):
        start = round_ * 1_000_000
        command = [sys.executable, "-c", SERVICE, tmp_path, str(start)]
        with subprocess.Popen(command, stdout=subprocess.PIPE, text=True) as service:
            lines = [service.stdout.readline() for _ in range(8 + 5 * round_)]
            service.send_signal(signal.SIGKILL)
            lines += service.stdout
        flushed |= set(range(start, int(lines[-1]) + 1))
    with Delivery("file", LinesFile(tmp_path / "out", limit=1 << 30), Outbox(tmp_path / "outbox")) as sink:
        sink.send({"number": -1})
    assert sink.state().queued == 0
    arrived = [json.loads(line)["number"] for line in (tmp_path / "out").read_text().splitlines() if line]
    assert arrived[-1] == -1
    assert flushed <= set(arrived)
    assert len(arrived) - len(set(arrived)) <= 4  # a kill repeats at most the one that was in progress
