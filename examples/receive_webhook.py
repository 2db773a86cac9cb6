"""Receive rkface's events by webhook, verify each signature, and print who came. Standard library only.

    echo "whsec_$(head -c 32 /dev/urandom | base64)" > secret; chmod 600 secret
    python examples/receive_webhook.py --secret secret --port 8099

The board needs these lines in rkface.toml, with the same secret:

    [events.webhook]
    url = "http://ADDRESS-OF-THIS-MACHINE:8099/"
    secret = "file:/etc/rkface/webhook-secret"

Over http, everybody on the network can read the names: put a TLS proxy in front, and use https.
docs/events.md describes the headers and the events.
"""

import argparse
import base64
import hashlib
import hmac
import json
import sys
import time
from collections.abc import Mapping
from contextlib import suppress
from email.message import Message
from http.server import BaseHTTPRequestHandler, HTTPServer
from pathlib import Path
from typing import Any, ClassVar

TOLERANCE = 300  # seconds between the clocks of sender and receiver
LARGEST = 65536  # bytes of one event; rkface's are below 2 kB


def verify(key: bytes, headers: Mapping[str, str] | Message, body: bytes) -> bool:
    """Whether the owner of ``key`` sent ``body``, within the last five minutes (Standard Webhooks 1.0.0)."""
    identity, sent = headers.get("webhook-id", ""), headers.get("webhook-timestamp", "")
    digest = hmac.new(key, f"{identity}.{sent}.".encode() + body, hashlib.sha256).digest()
    expected = b"v1," + base64.b64encode(digest)
    signed = any(hmac.compare_digest(expected, one.encode()) for one in headers.get("webhook-signature", "").split())
    return signed and abs(time.time() - int(sent)) < TOLERANCE  # int() only after the signature was checked


class Receiver(BaseHTTPRequestHandler):
    timeout = 10  # seconds that a sender may stay silent
    key: ClassVar[bytes]
    seen: ClassVar[dict[str, float]] = {}  # id of an event → when it came

    def do_POST(self) -> None:
        length = self.headers.get("Content-Length", "")
        if not length.isdecimal() or int(length) > LARGEST:
            self.answer(413)
            return
        body = self.rfile.read(int(length))
        if not verify(self.key, self.headers, body):  # before anything is parsed
            self.answer(401)
            return
        self.answer(204)  # first answer, then work: rkface waits for the answer before it sends the next event
        # An event comes twice if our answer was lost, or if somebody replays it. The second time, nothing is done.
        # Old ids need not be kept: verify() refuses their timestamps.
        now, identity = time.time(), self.headers["webhook-id"]
        for old in [one for one, moment in self.seen.items() if moment < now - 2 * TOLERANCE]:
            del self.seen[old]
        if identity not in self.seen:
            self.seen[identity] = now
            self.handle_event(json.loads(body))

    def handle_event(self, event: dict[str, Any]) -> None:
        if event["schema"] == "rkface.appearance":  # put your own work here
            name = event["match"]["name"] if event["match"] else "somebody unknown"
            print(f"{event['source']}: {event['stage']}: {name}", flush=True)
        elif event["schema"] == "rkface.forgotten":
            print(f"delete all that you hold about person {event['person']}", flush=True)

    def answer(self, status: int) -> None:
        self.send_response(status)
        self.send_header("Content-Length", "0")
        self.end_headers()


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--secret", type=Path, required=True, metavar="FILE", help="holds whsec_ and base64")
    parser.add_argument("--host", default="127.0.0.1", help="address to listen on (default: %(default)s)")
    parser.add_argument("--port", type=int, default=8099, help="0 takes any free port (default: %(default)s)")
    options = parser.parse_args()
    try:
        Receiver.key = base64.b64decode(options.secret.read_text().strip().removeprefix("whsec_"), validate=True)
        if len(Receiver.key) < 24:  # with an empty key, everybody could sign
            raise ValueError(f"{options.secret}: the secret must be whsec_ and the base64 of 24 bytes or more")
        server = HTTPServer((options.host, options.port), Receiver)
    except (OSError, ValueError) as error:
        print(f"receive_webhook: {error}", file=sys.stderr)
        return 2
    print(f"listening on http://{options.host}:{server.server_port}/", flush=True)
    with server, suppress(KeyboardInterrupt):
        server.serve_forever()
    return 0


if __name__ == "__main__":
    sys.exit(main())
