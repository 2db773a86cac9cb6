"""What `rkface config check` says about the secrets that a configuration names."""

import json

import pytest

from rkface.runtime.cli.main import main

CONFIG = """
key = "gallery.key"
[camera.door]
source = "/dev/video0"
[web]
password_file = "password"
[events.webhook]
url = "https://example.org/hook"
secret = "env:HOOK_SECRET"
[events.mqtt]
host = "broker"
password = "file:{folder}/mqtt"
[notify.phone]
url = "file:phone"
"""
RIGHT = "whsec_MfKQ9r8GKYqrTwjUPD8ILPZIo2LaLaSw"


@pytest.fixture
def notes(tmp_path, capsys, monkeypatch):
    """The notes of the check about secrets, by their keys."""
    (tmp_path / "rkface.toml").write_text(CONFIG.format(folder=tmp_path))
    monkeypatch.setenv("HOOK_SECRET", RIGHT)
    for name in ("mqtt", "phone", "password"):
        (tmp_path / name).write_text("secret-of-a-service")
        (tmp_path / name).chmod(0o600)

    def check():
        assert main(["config", "check", "--json", str(tmp_path / "rkface.toml")]) == 0
        out, err = capsys.readouterr()
        assert "secret-of-a-service" not in out + err and RIGHT not in out + err
        found = [one.partition(": ") for one in json.loads(out)["notes"]]
        return {key: text for key, _, text in found if "." in key or key == "key"}

    return check


def test_missing_wrong_and_readable_secrets_are_said_plainly(notes, tmp_path, monkeypatch):
    pytest.importorskip("apprise")
    found = notes()
    assert found.keys() == {"key", "notify.phone.url"}
    assert "No such file" in found["key"] and "not one URL that Apprise can use" in found["notify.phone.url"]
    (tmp_path / "phone").write_text("ntfys://ntfy.example/secret-of-a-service")
    (tmp_path / "phone").chmod(0o644)
    (tmp_path / "password").unlink()
    (tmp_path / "mqtt").write_text("")
    monkeypatch.setenv("HOOK_SECRET", "secret-of-a-service")
    found = notes()
    assert found.keys() == {
        "key",
        "notify.phone.url",
        "web.password_file",
        "events.mqtt.password",
        "events.webhook.secret",
    }
    assert "other users may read or change the file (mode 0644): run `chmod 600" in found["notify.phone.url"]
    assert "but is empty" in found["events.mqtt.password"]
    assert "must be whsec_ and the base64" in found["events.webhook.secret"]
    monkeypatch.delenv("HOOK_SECRET")
    assert "the environment variable HOOK_SECRET is not set" in notes()["events.webhook.secret"]


@pytest.mark.parametrize(
    ("content", "note"),
    [
        ("[web]\nhost = '0.0.0.0'", "web.host: a password is needed to listen on other addresses than 127.0.0.1"),
        ("[web]\ncertificate = 'board.pem'", "web.certificate and web.key belong together"),
        ("[events.webhook]\nurl = 'http://h/'\nca = 'ca.pem'", "events.webhook.ca is not used"),
        ("[events.mqtt]\nhost = 'h'\nca = 'ca.pem'", "without tls = true, nothing is encrypted"),
    ],
)
def test_settings_without_the_effect_that_they_promise_are_noted(tmp_path, capsys, content, note):
    (tmp_path / "rkface.toml").write_text(content)
    assert main(["config", "check", str(tmp_path / "rkface.toml")]) == 0
    assert note in capsys.readouterr().out
    (tmp_path / "rkface.toml").write_text("[web]\nhost = '127.0.0.1'\n[events.mqtt]\nhost = 'h'")
    assert main(["config", "check", str(tmp_path / "rkface.toml")]) == 0
    assert "web." not in (out := capsys.readouterr().out) and "encrypted" not in out
