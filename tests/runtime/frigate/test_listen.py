"""The whole command, from a real broker and a fake Frigate to the sub label; also with a broker that restarts."""

import subprocess
import sys
import threading

import cv2
import numpy as np
import pytest

from rkface.runtime.cli.main import main
from rkface.runtime.events.broker import Broker
from rkface.runtime.events.mqtt_connection import BrokerConnection
from rkface.runtime.frigate.api import FrigateApi
from rkface.runtime.frigate.event_namer import EventNamer
from rkface.runtime.frigate.listen import listen
from rkface.runtime.gallery.gallery import Gallery
from rkface.runtime.gallery.match import Match
from rkface.runtime.gallery.people import Sample, embedding_identity
from rkface.runtime.inference.open_bundle import open_bundle

from ..conftest import scene
from ..events.conftest import broker, files, make_broker  # noqa: F401
from .conftest import EVENT, message

ADA = Match("1" * 32, "Ada", 0.6)


@pytest.fixture
def publish(broker):  # noqa: F811
    def send(payload, topic="frigate/events"):
        from paho.mqtt.publish import single

        single(topic, payload, qos=1, hostname="127.0.0.1", port=broker.port)

    return send


def repeat_until_named(frigate, publish, payload, count):
    """Publish until the name is there: messages from before the subscription are lost, as with Frigate."""
    for _ in range(100):
        publish(payload)
        with frigate.changed:
            if frigate.changed.wait_for(lambda: len(frigate.names) >= count, 0.3):
                return
    raise AssertionError("Frigate got no name")


def test_listening_goes_on_after_a_restart_of_the_broker_and_bad_messages_are_ignored(frigate, broker, publish):  # noqa: F811
    frigate.snapshots[EVENT, "snapshot"] = frigate.snapshots["1.5-other", "snapshot"] = cv2.imencode(
        ".png", np.zeros((8, 8, 3), np.uint8)
    )[1].tobytes()
    broker.start()
    namer, stopping = EventNamer(FrigateApi(frigate.url), lambda image: ADA), threading.Event()
    threads = [
        threading.Thread(target=namer.work),
        threading.Thread(target=listen, args=(Broker("127.0.0.1", broker.port), "frigate", namer, stopping)),
    ]
    for thread in threads:
        thread.start()
    try:
        publish(b"not JSON")
        repeat_until_named(frigate, publish, message(), 1)
        broker.stop()
        broker.start()
        repeat_until_named(frigate, publish, message(id="1.5-other"), 2)
    finally:
        stopping.set()
        namer.stop()
        for thread in threads:
            thread.join(20)
    assert [name for _, name, _ in frigate.names] == ["Ada", "Ada"]


@pytest.mark.slow
def test_the_command_names_a_person_of_the_gallery(frigate, broker, publish, bundle, tmp_path):  # noqa: F811
    path = tmp_path / "gallery.sqlite"
    with open_bundle(bundle, "reference") as models:
        crop = models.align(scene((0, 3)), models.detect(scene((0, 3))).landmarks[0])
        with Gallery(path, embedding_identity(models.manifest), create=True) as gallery:
            gallery.add("Ada Lovelace", [Sample(models.embed([crop])[0], None, 0.9, "test")])
    frigate.snapshots[EVENT, "snapshot"] = cv2.imencode(".png", scene((0, 3)))[1].tobytes()
    broker.start()
    command = [sys.executable, "-m", "rkface.runtime.cli.main", "frigate", "--url", frigate.url,
               "--broker", "127.0.0.1", "--broker-port", str(broker.port),
               "--bundle", str(bundle), "--backend", "reference", "--gallery", str(path)]  # fmt: skip
    with subprocess.Popen(command, stderr=subprocess.PIPE, text=True) as running:
        try:
            repeat_until_named(frigate, publish, message(), 1)
        finally:
            running.terminate()
            log = running.communicate(timeout=30)[1]
    assert running.returncode == 0
    assert "Ada" not in log
    assert frigate.names[0][1] == "Ada Lovelace"
    assert frigate.names[0][2] > 0.9


@pytest.mark.parametrize(
    ("options", "said"),
    [
        (["--broker", "mqtt://broker"], "--broker: 'mqtt://broker' is not a host name or an IP address"),
        (["--broker", ""], "--broker: '' is not a host name"),
        (["--broker", "broker", "--prefix", "frigate/#"], "--prefix: the start of topics must be visible text without"),
        (["--broker", "broker", "--broker-ca", "ca.pem"], "--broker-ca needs --broker-tls"),
    ],
)
def test_options_that_no_broker_can_have_are_refused(capsys, options, said):
    assert main(["frigate", "--url", "http://frigate:5000", *options]) == 2
    assert capsys.readouterr().err.startswith(f"rkface: {said}")


def test_a_broker_that_does_not_let_us_read_is_a_problem_and_not_silence(broker, monkeypatch, caplog):  # noqa: F811
    """Mosquitto accepts each subscription, EMQX and HiveMQ do not."""
    caplog.set_level("INFO", "rkface")
    monkeypatch.setattr(BrokerConnection, "_subscribe", lambda *_: False)
    broker.start()

    class Stop(threading.Event):
        def wait(self, timeout=None):  # the pause after the first attempt
            self.set()
            return True

    namer = EventNamer(FrigateApi("http://127.0.0.1:9"), lambda _: ADA)
    listen(Broker("127.0.0.1", broker.port), "frigate", namer, Stop())
    assert [record.getMessage() for record in caplog.records] == [
        "mqtt://127.0.0.1 does not let us read frigate/events: nobody can be identified; trying again"
    ]
