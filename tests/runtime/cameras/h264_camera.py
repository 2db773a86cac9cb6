"""An RTSP camera for tests: H.264 over RTP (RFC 6184) in the RTSP connection (RFC 2326), from clips of ffmpeg."""

import base64
import re
import shutil
import socketserver
import struct
import subprocess
import threading
from contextlib import contextmanager
from urllib.parse import unquote

FFMPEG = shutil.which("ffmpeg")
PICTURE, KEY_PICTURE = 1, 5  # types of NAL units
BURST = 40  # pictures that are sent at once, so that ffmpeg has analyzed the stream in no time
PACE = 0.02  # seconds between the pictures after that


def encode_clip(width, height, source="testsrc2=s={width}x{height}:r=25:d=2", key_interval=10):
    """The NAL units of a short clip; each picture is one of them."""
    command = [
        FFMPEG, "-v", "error", "-f", "lavfi", "-i", source.format(width=width, height=height), "-pix_fmt", "yuv420p",
        "-c:v", "libx264", "-preset", "ultrafast", "-tune", "zerolatency", "-threads", "1", "-g", str(key_interval),
        "-f", "h264", "-",
    ]  # fmt: skip
    stream = subprocess.run(command, check=True, capture_output=True).stdout
    return [unit for unit in re.split(rb"\x00*\x00\x00\x01", stream) if unit]


class Session(socketserver.StreamRequestHandler):
    """One connection: sends the camera's clips, one after the other, and the last one again and again."""

    def handle(self):
        while request := self.rfile.readline().decode().split():
            headers = {}
            while line := self.rfile.readline().strip():
                name, _, value = line.decode().partition(":")
                headers[name.lower()] = value.strip()
            body = "v=0\r\no=- 1 1 IN IP4 0.0.0.0\r\ns=-\r\nt=0 0\r\nm=video 0 RTP/AVP 96\r\na=rtpmap:96 H264/90000\r\n"
            login = "Basic " + base64.b64encode(unquote(self.server.login).encode()).decode()
            if request[0] == "DESCRIBE" and self.server.login and headers.get("authorization") != login:
                self.say(headers, "401 Unauthorized", 'WWW-Authenticate: Basic realm="camera"')
                continue
            more = {
                "DESCRIBE": ["Content-Type: application/sdp", f"Content-Length: {len(body)}"],
                "SETUP": ["Transport: RTP/AVP/TCP;unicast;interleaved=0-1", "Session: 1"],
            }.get(request[0], ["Session: 1"])
            self.say(headers, "200 OK", *more, body=body if request[0] == "DESCRIBE" else "")
            if request[0] == "PLAY":
                self.server.plays += 1
                self.play()
                return

    def say(self, headers, status, *lines, body=""):
        text = "\r\n".join([f"RTSP/1.0 {status}", f"CSeq: {headers.get('cseq', 0)}", *lines, "", body])
        self.wfile.write(text.encode())

    def play(self):
        pictures = sequence = 0
        clips = list(self.server.clips)
        while not self.server.stopped.is_set():
            for unit in clips[0]:
                is_picture = unit[0] & 31 in (PICTURE, KEY_PICTURE)
                if unit[0] & 31 == KEY_PICTURE and self.server.no_key_pictures:
                    continue
                marker = 96 | (is_picture << 7)
                packet = struct.pack(">BBHII", 0x80, marker, sequence & 0xFFFF, pictures * 3600, 7) + unit
                self.wfile.write(b"$\0" + struct.pack(">H", len(packet)) + packet)
                sequence += 1
                if is_picture:
                    pictures += 1
                    self.server.sent = pictures
                    if pictures > BURST:
                        self.server.stopped.wait(PACE)
                while self.server.silent.is_set() and pictures > BURST and not self.server.stopped.is_set():
                    self.server.stopped.wait(PACE)
            clips = clips[1:] or clips


class H264Camera(socketserver.ThreadingTCPServer):
    """``clips`` are those of ``encode_clip``. ``login``: user:password, "" if nobody must log in."""

    daemon_threads = True
    block_on_close = False
    allow_reuse_address = True

    def __init__(self, *clips, login=""):
        super().__init__(("127.0.0.1", 0), Session)
        self.clips, self.login = clips, login
        self.no_key_pictures = False
        self.silent, self.stopped = threading.Event(), threading.Event()
        self.plays = self.sent = 0

    @property
    def address(self):
        login = f"{self.login}@" if self.login else ""
        return f"rtsp://{login}127.0.0.1:{self.server_address[1]}/stream"

    def handle_error(self, request, client_address):
        """A client that leaves is no error."""


@contextmanager
def running(camera):
    with camera:
        thread = threading.Thread(target=camera.serve_forever, kwargs={"poll_interval": 0.01})
        thread.start()
        yield camera
        camera.stopped.set()
        camera.shutdown()
        thread.join()
