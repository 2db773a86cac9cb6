"""Uploads: how many are in memory at a time, and what happens to slow ones and to those that find no place."""

import asyncio
import socket
import threading
from contextlib import ExitStack

import pytest
from fastapi import HTTPException

from rkface.runtime.enrollment.enroll import Verdict
from rkface.runtime.web import uploads
from rkface.runtime.web.access import MAX_PHOTO_BODY
from rkface.runtime.web.places import Places, Pool
from rkface.runtime.web.serve import serve

from .conftest import black, browser_like, eventually
from .fake_service import FakeService

PHOTO = "/v1/enrollments/photo?name=Ada"


class SlowService(FakeService):
    """Enrolls when ``go`` is set. ``most`` are the photos that it had at the same time."""

    def __init__(self):
        super().__init__()
        self.enrollment = self
        self.go, self.lock, self.now, self.most, self.enrolled = threading.Event(), threading.Lock(), 0, 0, 0

    def enroll_photo(self, name, image, source, *, face=None, force=False):
        with self.lock:
            self.now += 1
            self.most = max(self.most, self.now)
        assert self.go.wait(60)
        with self.lock:
            self.now -= 1
            self.enrolled += 1
        return Verdict("enrolled", name, source)


def start_upload(address, token, length, *, body=b"", expect=False):
    """A connection with the head of an upload of ``length`` bytes, and ``body``."""
    host, port = address.removeprefix("http://").split(":")
    client = socket.create_connection((host, int(port)), timeout=60)
    more = "expect: 100-continue\r\n" if expect else ""
    head = f"POST {PHOTO} HTTP/1.1\r\nhost: {host}\r\nx-csrf-token: {token}\r\ncontent-length: {length}\r\n{more}\r\n"
    client.sendall(head.encode() + body)
    return client


def read_answer(client):
    """Status and headers."""
    data = b""
    while b"\r\n\r\n" not in data and (part := client.recv(4096)):
        data += part
    status, _, headers = data.decode("latin-1").partition("\r\n")
    return int(status.split()[1]), headers.lower()


def test_few_photos_are_in_memory_and_others_are_refused_before_they_are_read(workloads):
    service, photo = SlowService(), black(64, 64)
    with serve(service, port=0) as address, browser_like(address) as client, ExitStack() as opened:
        token = client.headers["x-csrf-token"]
        held = [opened.enter_context(start_upload(address, token, len(photo), body=photo)) for _ in range(2)]
        eventually(lambda: service.now == 1, "the first is being enrolled")
        (workload,) = workloads
        waiting = [opened.enter_context(start_upload(address, token, MAX_PHOTO_BODY, expect=True)) for _ in range(8)]
        eventually(lambda: workload.uploads.waiting == 8, "the others wait")
        refused = opened.enter_context(start_upload(address, token, MAX_PHOTO_BODY, expect=True))
        status, headers = read_answer(refused)  # it has sent no byte of its photo
        assert status == 503 and "retry-after: 2" in headers
        assert client.get("/v1/health").json()["ok"], "meanwhile, everything else works"
        for one in waiting:
            one.setblocking(False)
            with pytest.raises(BlockingIOError):  # not even asked to send
                one.recv(1)
        service.go.set()
        assert [read_answer(one)[0] for one in held] == [200, 200]
    assert service.enrolled == 2 and service.most == 1


def test_a_client_that_sends_its_photo_anyway_hears_why_it_was_refused(workloads):
    """Also if it reads nothing before it has sent everything, more than all buffers on the way can hold."""
    service, photo = SlowService(), black(64, 64)
    with serve(service, port=0) as address, browser_like(address) as client, ExitStack() as opened:
        token = client.headers["x-csrf-token"]
        for _ in range(2):
            opened.enter_context(start_upload(address, token, len(photo), body=photo))
        eventually(lambda: service.now == 1, "the first is being enrolled")
        for _ in range(8):
            opened.enter_context(start_upload(address, token, len(photo)))
        eventually(lambda: workloads[0].uploads.waiting == 8, "the others wait")
        answer = client.post(PHOTO, content=bytes(MAX_PHOTO_BODY))
        assert answer.status_code == 503 and "try again" in answer.json()["detail"]
        assert client.get("/v1/session").status_code == 200, "on the same connection"
        service.go.set()


def test_a_slow_upload_gives_its_place_back(monkeypatch):
    monkeypatch.setattr(uploads, "STALLED", 0.2)
    service, photo = SlowService(), black(64, 64)
    service.go.set()
    with serve(service, port=0) as address, browser_like(address) as client, ExitStack() as opened:
        token = client.headers["x-csrf-token"]
        slow = [opened.enter_context(start_upload(address, token, len(photo), body=photo[:9])) for _ in range(10)]
        assert {read_answer(one)[0] for one in slow} <= {408, 503}
        assert client.post(PHOTO, content=photo).json()["status"] == "enrolled"


def test_an_upload_needs_a_minimal_rate(monkeypatch):
    """One byte at a time never stalls, and ends all the same."""
    monkeypatch.setattr(uploads, "GRACE", 0.0)

    class Request:
        def __init__(self):
            self.headers = {"content-length": "65536"}  # may take a second

        async def receive(self):
            await asyncio.sleep(0.01)
            return {"type": "http.request", "body": b"x", "more_body": True}

    with pytest.raises(HTTPException) as caught:
        asyncio.run(uploads.read_upload(Request()))
    assert caught.value.status_code == 408


def test_an_upload_that_ends_early_is_no_error_of_the_service(caplog):
    service, photo = SlowService(), black(64, 64)
    service.go.set()
    with serve(service, port=0) as address, browser_like(address) as client:
        for sent in (b"", photo[:20]):
            start_upload(address, client.headers["x-csrf-token"], len(photo), body=sent).close()
        assert client.post(PHOTO, content=photo).json()["status"] == "enrolled"
    assert not [record for record in caplog.records if record.levelname in ("WARNING", "ERROR")]


def test_the_least_urgent_is_refused_first():
    async def play():
        places, order, refused = Places(1, 2, "full"), [], []

        async def visit(name, urgency):
            try:
                async with places.place((urgency,)):
                    order.append(name)
                    await asyncio.sleep(0)
            except HTTPException as error:
                assert error.status_code == 503 and error.headers["retry-after"]
                refused.append(name)

        async with places.place():
            visits = [
                asyncio.create_task(visit(*one)) for one in (("guess", 9), ("typo", 2), ("owner", 1), ("late", 9))
            ]
            while len(refused) < 2:
                await asyncio.sleep(0)
            assert places.waiting == 2
        await asyncio.gather(*visits)
        assert order == ["owner", "typo"] and sorted(refused) == ["guess", "late"]
        async with places.place():
            assert places.waiting == 0

    asyncio.run(play())


def test_a_request_that_gives_up_waiting_takes_no_place():
    async def play():
        places = Places(1, 2, "full", patience=0.01)
        async with places.place():
            with pytest.raises(HTTPException):  # after its patience
                async with places.place():
                    raise AssertionError
            waiting = asyncio.create_task(places._enter(()))
            await asyncio.sleep(0)
            waiting.cancel()
            with pytest.raises(asyncio.CancelledError):
                await waiting
            assert places.waiting == 0
        for _ in range(3):
            async with places.place():
                pass

    asyncio.run(play())


def test_a_request_that_ends_while_another_comes_takes_no_place():
    async def play():
        places = Places(1, 1, "full")
        async with places.place():
            gone = asyncio.create_task(places._enter((9,)))
            await asyncio.sleep(0)
            gone.cancel()  # its task has not run yet when the next one comes
            next_one = asyncio.create_task(places._enter((1,)))
            await asyncio.sleep(0)
            assert places.waiting == 1
        await next_one
        places._leave()
        async with places.place():
            assert places.waiting == 0

    asyncio.run(play())


def test_a_pool_gives_its_thread_back_after_an_error():
    def fail():
        raise KeyError

    async def play():
        pool = Pool(1, 0, "full")
        for _ in range(3):
            with pytest.raises(KeyError):
                await pool.run(fail)
        return await pool.run(lambda: threading.current_thread().name)

    assert asyncio.run(play())
