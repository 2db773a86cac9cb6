"""Brokers for tests."""

import pytest

from .mosquitto import PACKAGES, Listener, Mosquitto


@pytest.fixture(scope="module")
def files(debian):
    return debian("mosquitto", PACKAGES)


@pytest.fixture
def make_broker(files, tmp_path):
    """A broker with settings of its own; stopped when the test is over."""
    made = []

    def make(more="allow_anonymous true"):
        folder = tmp_path / f"broker-{len(made)}"
        folder.mkdir()
        made.append(Mosquitto(files, folder, more))
        return made[-1]

    yield make
    for broker in made:
        broker.stop()


@pytest.fixture
def broker(make_broker):
    return make_broker()


@pytest.fixture
def listener(broker):
    broker.start()
    listener = Listener(broker.port)
    yield listener
    listener.close()


@pytest.fixture(params=["3.1.1", "5"])
def protocol(request):
    return request.param
