"""A receiver of messages like ntfy (docs.ntfy.sh/publish): text in parameters of the address, the picture as body."""

import threading
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from urllib.parse import parse_qs, urlsplit

from .world import Log


class Handler(BaseHTTPRequestHandler):
    def do_POST(self):
        body = self.rfile.read(int(self.headers.get("Content-Length", 0)))
        status = self.server.answers.pop(0) if self.server.answers else 200
        url = urlsplit(self.path)
        parameters = {name: values[0] for name, values in parse_qs(url.query).items()}
        self.server.messages.add({"topic": url.path, "status": status, "body": body, **parameters})
        self.send_response(status)
        self.send_header("Content-Length", "2")
        self.end_headers()
        self.wfile.write(b"{}")

    do_PUT = do_POST

    def log_message(self, *_):
        pass


class NtfyServer(ThreadingHTTPServer):
    """``messages``: what arrived. ``answers``: statuses of the next answers; then 200."""

    def __init__(self):
        super().__init__(("127.0.0.1", 0), Handler)
        self.messages, self.answers = Log(), []
        threading.Thread(target=self.serve_forever, args=(0.01,), daemon=True).start()

    @property
    def url(self):
        return f"ntfy://user:tk_secret1@127.0.0.1:{self.server_port}/topic-secret2"

    def accepted(self):
        return [one for one in self.messages.entries if one["status"] == 200]

    def close(self):
        self.shutdown()
        self.server_close()
