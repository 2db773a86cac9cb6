"""An SMTP server on loopback (RFC 5321): as much of it as a client needs to send one mail."""

import socketserver
import threading
from email import message_from_bytes
from email.policy import default

from .world import Log


class MailHandler(socketserver.StreamRequestHandler):
    def handle(self):
        self.say("220 test ESMTP")
        for line in self.rfile:
            verb = line[:4].upper().strip()
            if verb == b"DATA":
                self.say("354 go on")
                body = b"".join(iter(self.rfile.readline, b".\r\n"))
                refused = self.server.refusals.pop(0) if self.server.refusals else ""
                if not refused:
                    self.server.mails.add(message_from_bytes(body, policy=default))
                self.say(refused or "250 accepted")
            elif verb == b"QUIT":
                self.say("221 bye")
                return
            else:
                self.say("250 test")

    def say(self, line):
        self.wfile.write(line.encode() + b"\r\n")


class MailServer(socketserver.ThreadingTCPServer):
    """``mails``: what arrived. ``refusals``: answers to the next mails, which are not kept."""

    allow_reuse_address, daemon_threads = True, True

    def __init__(self):
        super().__init__(("127.0.0.1", 0), MailHandler)
        self.mails, self.refusals = Log(), []
        threading.Thread(target=self.serve_forever, args=(0.01,), daemon=True).start()

    def close(self):
        self.shutdown()
        self.server_close()
