"""Many who guess passwords delay neither the page nor the owner, and lock nobody else out."""

import threading
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import httpx
import pytest
from starlette.testclient import TestClient

from rkface.runtime.core.errors import InputError, WorkError
from rkface.runtime.web.access import Access
from rkface.runtime.web.password import PasswordCheck, password_hasher, read_password, write_password
from rkface.runtime.web.places import Pool
from rkface.runtime.web.serve import create_app, serve
from rkface.runtime.web.session import FREE_ATTEMPTS

from .conftest import PASSWORD, browser_like, eventually
from .fake_service import FakeService, sign_in


class HeldCheck(PasswordCheck):
    """Compares with PASSWORD when ``go`` is set. ``compared`` are the passwords, in order."""

    def __init__(self):
        super().__init__("")
        self.go, self.compared, self.lock, self.now, self.most = threading.Event(), [], threading.Lock(), 0, 0

    def matches(self, password):
        with self.lock:
            self.now += 1
            self.most = max(self.most, self.now)
            self.compared.append(password)
        assert self.go.wait(60)
        with self.lock:
            self.now -= 1
        return password == PASSWORD


@pytest.fixture
def check():
    return HeldCheck()


@pytest.fixture
def app(check):
    return create_app(FakeService(), Access(check, secure=False))


@pytest.fixture
def held(monkeypatch, tmp_path, check):
    """The address of a console whose passwords are compared when ``check.go`` is set."""
    monkeypatch.setattr("rkface.runtime.web.entry.PasswordCheck", lambda _: check)
    write_password(tmp_path / "password", PASSWORD)
    with serve(FakeService(), port=0, password_file=tmp_path / "password") as address:
        yield address
        check.go.set()


def client_at(app, host):
    return TestClient(app, client=(host, 5000), base_url="http://board.local")


def sign_in_from(address, host, password):
    """The status for a client with the address ``host`` of this machine."""
    transport = httpx.HTTPTransport(local_address=host)
    with httpx.Client(base_url=address, transport=transport, timeout=60, trust_env=False) as client:
        return sign_in(client, password).status_code


def guess_from(app, host, times=FREE_ATTEMPTS + 1):
    client = client_at(app, host)
    return [sign_in(client, f"guess {number}").status_code for number in range(times)]


@pytest.mark.slow
def test_guesses_take_a_thread_and_a_short_queue_and_the_page_answers(workloads, held, check):
    workloads[0].guesses = Pool(1, 8, "busy")
    room = 9

    def guess(number):
        return sign_in_from(held, f"127.0.0.{number + 2}", f"guess {number}")

    with ThreadPoolExecutor(60) as guessers, browser_like(held) as client:
        guesses = [guessers.submit(guess, number) for number in range(60)]
        # Some are being compared, some wait, and the others were told to try again.
        eventually(lambda: sum(one.done() for one in guesses) == 60 - room, "the queue is full")
        assert {one.result() for one in guesses if one.done()} == {503}
        assert client.get("/").status_code == 200 and client.get("/v1/session").status_code == 200
        check.go.set()
        assert sorted(one.result() for one in guesses).count(403) == room
        assert sign_in(client, PASSWORD).status_code == 200
    assert check.most == 1


def test_the_owner_comes_before_those_who_were_wrong_more_often(workloads, held, check):
    def post(host, password):
        return sign_in_from(held, host, password)

    def waiting(number):
        eventually(lambda: workloads[0].guesses.waiting == number, f"{number} wait")

    check.go.set()
    for host in ("127.0.0.2", "127.0.0.3"):
        assert post(host, "first guess") == 403
    check.go.clear()
    check.compared.clear()
    workloads[0].guesses = Pool(1, 8, "busy")
    with ThreadPoolExecutor(8) as clients:
        running = [clients.submit(post, "127.0.0.2", "second guess")]
        eventually(lambda: check.compared, "it is being compared")
        running += [clients.submit(post, host, "more guesses") for host in ("127.0.0.2", "127.0.0.3")]
        waiting(2)
        running.append(clients.submit(post, "127.0.0.9", PASSWORD))
        waiting(3)
        check.go.set()
        assert [one.result() for one in running] == [403, 403, 403, 200]
    assert check.compared[:2] == ["second guess", PASSWORD]


@pytest.mark.parametrize(
    ("stranger", "owner"),
    [
        ("fe80::1%2", "fe80::1%3"),  # the same address on another link
        ("fe80::1%2", "fe80::2%2"),  # a neighbor on the same link
        ("2001:db8::1", "2001:db8:0:1::1"),
        ("10.0.0.1", "10.0.0.2"),
        ("::ffff:10.0.0.1", "::ffff:10.0.0.2"),
    ],
)
def test_a_stranger_does_not_lock_the_owner_out(app, check, stranger, owner):
    check.go.set()
    assert guess_from(app, stranger)[-1] == 429
    assert sign_in(client_at(app, owner), PASSWORD).status_code == 200


@pytest.mark.parametrize(
    ("first", "second"), [("10.0.0.1", "::ffff:10.0.0.1"), ("2001:db8::1", "2001:db8::2"), ("fe80::1%2", "fe80::1%2")]
)
def test_other_forms_and_neighbors_of_an_address_are_the_same_guesser(app, check, first, second):
    check.go.set()
    assert guess_from(app, first)[-1] == 429
    assert guess_from(app, second, 1) == [429]


def test_a_browser_that_signed_in_before_is_not_locked_out_by_others_at_its_address(app, check):
    """As behind a reverse proxy, where all clients have one address."""
    check.go.set()
    browser = client_at(app, "10.0.0.1")
    assert sign_in(browser, PASSWORD).status_code == 200
    browser.delete("/v1/session")
    assert guess_from(app, "10.0.0.1")[-1] == 429
    assert sign_in(client_at(app, "10.0.0.1"), PASSWORD).status_code == 429, "a browser that was never here"
    assert sign_in(browser, PASSWORD).status_code == 200
    browser.delete("/v1/session")
    guesses = [sign_in(browser, "a guess").status_code for _ in range(FREE_ATTEMPTS + 1)]
    assert guesses == [403] * FREE_ATTEMPTS + [429], "its own guesses count as well"


def test_a_password_that_cannot_be_compared_is_not_called_wrong(monkeypatch):
    def fail(*_):
        from argon2.exceptions import VerificationError

        raise VerificationError("Memory allocation error")

    check = PasswordCheck(password_hasher().hash(PASSWORD))
    monkeypatch.setattr("argon2.PasswordHasher.verify", fail)
    with pytest.raises(WorkError, match="Memory"):
        check.matches(PASSWORD)
    client = client_at(create_app(FakeService(), Access(check, secure=False)), "10.0.0.1")
    assert [sign_in(client, PASSWORD).status_code for _ in range(FREE_ATTEMPTS + 1)] == [503] * (FREE_ATTEMPTS + 1)


GOOD = "$argon2id$v=19$m=19456,t=2,p=1$c29tZXNhbHRzb21lc2FsdA$" + "A" * 43


@pytest.mark.parametrize("wrong", [
    "", "password", "$argon2id$", GOOD[:-30], GOOD.replace("m=19456", "m=4194304"), GOOD.replace("t=2", "t=4000000000"),
    GOOD.replace("argon2id", "argon2i"), f"{GOOD}\n{GOOD}", GOOD.replace("m=19456", "m=-1"), "\0" * 100, "x" * 10_000,
    GOOD.replace("p=1", "p=0"),
])  # fmt: skip
def test_a_damaged_password_file_is_an_error_at_the_start(tmp_path, wrong):
    path = tmp_path / "password"
    path.touch(mode=0o600)
    path.write_text(GOOD)
    assert read_password(path) == GOOD
    path.write_text(wrong)
    with pytest.raises(InputError, match="rkface web-password"):
        read_password(path)


def test_a_password_file_without_end_is_an_error():
    with pytest.raises(InputError, match="/dev/zero"):
        read_password(Path("/dev/zero"))
