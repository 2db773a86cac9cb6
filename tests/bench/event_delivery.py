"""What an event costs the camera, the disk and the network: medians on this machine, see docs/events.md.

    python tests/bench/event_delivery.py        delivery, and then the outbox
    python tests/bench/event_storage.py         the outbox alone

Sends 500 events at once to a webhook and to a Mosquitto broker, both on this machine. It unpacks Mosquitto from a
package of Debian; if that is not available, MQTT is not measured. Columns: milliseconds per event on the camera's
thread ("send()"), then until all are stored ("on disk"), and then until all are delivered.
"""

import statistics
import sys
import tempfile
import threading
import time
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

ROOT = Path(__file__).resolve().parents[2]
sys.path.insert(0, str(ROOT / "tests/runtime"))

from event_storage import measure_storage
from events.mosquitto import PACKAGES, Mosquitto
from events.world import event
from program import create_parser

from rkface.boards.twin.ingredients import UnavailableError, unpack_packages
from rkface.runtime.events import Delivery, Outbox
from rkface.runtime.events.broker import Broker
from rkface.runtime.events.mqtt import Mqtt
from rkface.runtime.events.webhook import Webhook

EVENTS = 500
ROUNDS = 5


class Receiver(BaseHTTPRequestHandler):
    """Accepts every event."""

    def do_POST(self):
        self.rfile.read(int(self.headers["Content-Length"]))
        self.send_response(204)
        self.end_headers()

    def log_message(self, *_):
        pass


def make_appearances():
    for number in range(EVENTS):
        yield event(number, stage="end" if number % 2 else "start", identity=f"a-{number // 2}")


def measure_delivery(name, channel, folder):
    """Milliseconds per event: on the camera's thread, then until all are on disk, then until all are delivered."""
    sink = Delivery(name, channel, Outbox(folder / name))
    start = time.perf_counter()
    for appearance in make_appearances():
        sink.send(appearance)
    sent = time.perf_counter()
    delivered, remaining = threading.Event(), EVENTS
    deliver = channel.deliver

    def deliver_and_count(event):
        nonlocal remaining
        deliver(event)
        remaining -= 1
        if not remaining:
            delivered.set()

    channel.deliver = deliver_and_count
    with sink:
        sink.flush(600)
        stored = time.perf_counter()
        delivered.wait(600)
        end = time.perf_counter()
    return [1e3 * seconds / EVENTS for seconds in (sent - start, stored - sent, end - sent)]


def main():
    create_parser(__doc__).parse_args()
    with tempfile.TemporaryDirectory() as temporary:
        root = Path(temporary)
        server = ThreadingHTTPServer(("127.0.0.1", 0), Receiver)
        threading.Thread(target=server.serve_forever, daemon=True).start()
        makers = {"webhook": lambda: Webhook(f"http://127.0.0.1:{server.server_port}/", "whsec_" + "A" * 32)}
        broker = None
        try:
            (root / "broker").mkdir()
            broker = Mosquitto(unpack_packages(ROOT / "build/mosquitto/files", PACKAGES), root / "broker").start()
            port = broker.port
            makers["mqtt"] = lambda: Mqtt(Broker("127.0.0.1", port), "board", ["door"])
        except UnavailableError as error:
            print(f"MQTT is not measured: {error}", file=sys.stderr)
        head = f"{'ms per event':12} {'send()':>8} {'on disk':>8} {'delivered':>10}"
        print(f"{head}   ({EVENTS} at once, {ROUNDS} rounds)")
        for name, make in makers.items():
            rounds = [measure_delivery(f"{name}-{number}", make(), root) for number in range(ROUNDS)]
            sent, stored, delivered = (statistics.median(column) for column in zip(*rounds, strict=True))
            print(f"{name:12} {sent:8.3f} {stored:8.3f} {delivered:10.2f}")
        measure_storage(root / "storage")
        if broker:
            broker.stop()
        server.shutdown()


if __name__ == "__main__":
    main()
