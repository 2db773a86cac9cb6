"""What `POST /v1/identify` costs beyond the pipeline that it calls: medians on this machine, see docs/web.md.

    make bench-api
    python tests/bench/photo_api.py --bundle build/rk3588 --rounds 50

A service without cameras answers one photo of a rendered person, with 1000 random people in the gallery. Each round
sends it in every form of body over a kept connection, and also calls the same service directly: decoding, detection,
embedding and search. "added" is the median of the differences of the rounds, in milliseconds. Then several clients send
photos at the same time.
"""

from __future__ import annotations

import base64
import json
import statistics
import tempfile
import threading
import time
from collections.abc import Callable
from http.client import HTTPConnection
from pathlib import Path

import cv2
import numpy as np
from program import create_parser, format_table, write_results

from rkface.convert.demo.camera import DemoCamera
from rkface.runtime.core.progress import stage
from rkface.runtime.gallery.people import Sample
from rkface.runtime.service.receiver_settings import Events
from rkface.runtime.service.service import Service
from rkface.runtime.service.settings import Settings
from rkface.runtime.vision.image import decode_image
from rkface.runtime.web.serve import serve

PEOPLE = 1000
CLIENTS = 4
GOAL = 3.0  # milliseconds that a request may take beyond the pipeline


def main() -> int:
    parser = create_parser(__doc__, "build/photo-api")
    parser.add_argument("--bundle", type=Path, default=Path("build/rk3588"), metavar="DIR")
    parser.add_argument("--rounds", type=int, default=60, metavar="N")
    options = parser.parse_args()
    camera = DemoCamera(1280, 720, people=1, seed=21)
    (image,) = camera.portraits(next(iter(camera.cast)), 1)
    photo = cv2.imencode(".jpg", image)[1].tobytes()
    with tempfile.TemporaryDirectory() as folder:
        gallery = Path(folder) / "gallery.sqlite"
        with Service(Settings(bundle=options.bundle, gallery=gallery, events=Events(stdout=False))) as service:
            fill(service)
            with serve(service, port=0) as address:
                client = Client(address)
                with stage("requests"):
                    times = measure(service, client, photo, options.rounds)
                with stage("several clients"):
                    rate = measure_rate(address, photo, options.rounds)
    rows = [(name, *(f"{value:.2f}" for value in values)) for name, values in times.items()]
    height, width = image.shape[:2]
    markdown = "\n".join(
        [
            f"photo: {width}×{height}, {len(photo) // 1000} kB; {options.rounds} rounds\n",
            *format_table(("call", "ms", "added ms"), rows),
            f"\n{CLIENTS} clients at the same time: {rate:.1f} photos per second; "
            f"one caller of the pipeline: {1000 / times['pipeline'][0]:.1f}",
        ]
    )
    write_results(options.out, markdown, {"ms": times, "rate": rate})
    return int(max(added for _, added in times.values()) > GOAL)


def fill(service: Service) -> None:
    """Enroll random people."""
    random = np.random.default_rng(0)
    dimensions = service.pipeline.manifest.recognizer.outputs[0].shape[-1]
    for number in range(PEOPLE):
        vector = random.standard_normal(dimensions).astype(np.float32)
        service.gallery.add(f"person {number}", [Sample(vector / np.linalg.norm(vector), None, 1.0, "random")])


class Client:
    """A kept connection that sends photos, with Python's own HTTP client: others take a millisecond for themselves."""

    def __init__(self, address: str) -> None:
        self._connection = HTTPConnection(address.removeprefix("http://"))
        self._token = json.loads(self._request("GET", "/v1/session", b"", {}))["token"]

    def identify(self, body: bytes, kind: str) -> None:
        self._request("POST", "/v1/identify", body, {"content-type": kind, "x-csrf-token": self._token})

    def _request(self, method: str, path: str, body: bytes, headers: dict[str, str]) -> bytes:
        self._connection.request(method, path, body, headers)
        answer = self._connection.getresponse()
        content = answer.read()
        assert answer.status == 200, content
        return content


def measure(service: Service, client: Client, photo: bytes, rounds: int) -> dict[str, tuple[float, float]]:
    """For each kind of call: median milliseconds, and the median of what it takes beyond the pipeline."""
    encoded = json.dumps({"photo": base64.b64encode(photo).decode()}).encode()
    head = b'--part\r\ncontent-disposition: form-data; name="photo"; filename="a.jpg"\r\n\r\n'
    calls: dict[str, Callable[[], object]] = {
        "pipeline": lambda: service.photos.identify(decode_image(photo, "photo")),
        "body": lambda: client.identify(photo, "image/jpeg"),
        "form": lambda: client.identify(head + photo + b"\r\n--part--\r\n", "multipart/form-data; boundary=part"),
        "base64": lambda: client.identify(encoded, "application/json"),
    }
    times: dict[str, list[float]] = {name: [] for name in calls}
    for number in range(rounds + 3):
        for name, call in calls.items():
            start = time.perf_counter()
            call()
            if number >= 3:  # the first rounds load what all later ones use
                times[name].append(1000 * (time.perf_counter() - start))
    direct = times["pipeline"]
    return {
        name: (statistics.median(values), statistics.median(np.subtract(values, direct).tolist()))
        for name, values in times.items()
    }


def measure_rate(address: str, photo: bytes, rounds: int) -> float:
    """Photos per second with several clients."""

    def send() -> None:
        client = Client(address)
        for _ in range(rounds):
            client.identify(photo, "image/jpeg")

    threads = [threading.Thread(target=send) for _ in range(CLIENTS)]
    start = time.perf_counter()
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    return CLIENTS * rounds / (time.perf_counter() - start)


if __name__ == "__main__":
    raise SystemExit(main())
