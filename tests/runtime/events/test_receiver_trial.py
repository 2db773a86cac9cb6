"""Test messages to receivers of alerts: on the command line, to real receivers on loopback."""

import json
import stat

import pytest

from rkface.runtime.cli.main import main

from .test_webhook import start

CONFIG = """
gallery = "gallery.sqlite"
device = "board"
[events]
stdout = true
file = "events.jsonl"
[events.webhook]
url = "{hook}"
[notify.phone]
url = "file:phone"
"""


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

    def run(*arguments, more=""):
        hooked = CONFIG.format(hook=f"http://127.0.0.1:{hook.server_port}/")
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
