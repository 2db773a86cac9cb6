"""A camera service without cameras and models, for tests of access to the console."""

import queue
from contextlib import contextmanager

from rkface.runtime.service.states import Health

TOKEN = "0123456789abcdef" * 2  # for programs that read metrics
REMOTE = {"client": ("10.0.0.9", 5000), "base_url": "http://board.local"}  # options of a test client


class FakeService:
    """``changed`` are the settings that clients sent; ``events`` go to the listeners."""

    def __init__(self):
        self.changed, self.events = [], queue.Queue()

    def settings(self):
        return []

    def change_settings(self, values):
        self.changed.append(values)

    def metrics(self):
        return "rkface_up 1\n"

    def health(self):
        return Health(True, (), 0.0, "1", "reference", "tiny", True)

    @contextmanager
    def subscribe(self):
        yield self.events


def sign_in(client, password):
    """The response; on success, ``client`` sends the session's token from now on."""
    answer = client.post("/v1/session", json={"password": password})
    if answer.status_code == 200:
        client.headers["x-csrf-token"] = answer.json()["token"]
    return answer
