"""A real RTSP stream, from a server in this file: JPEG over RTP (RFC 2435) in the RTSP connection (RFC 2326)."""

import socketserver
import struct
import threading
from contextlib import contextmanager

import cv2
import numpy as np
import pytest

from rkface.runtime.cameras.open_camera import open_camera

PAYLOAD = 1200  # bytes of a picture in one packet
FRAMES = 40  # FFmpeg reads about 20 before it delivers the first one


def picture(gray, width, height):
    return np.full((height, width, 3), gray, np.uint8)


def packets(image, sequence, timestamp):
    """One picture as RTP packets, with its quantization tables (Q = 255) and the standard Huffman tables."""
    height, width = image.shape[:2]
    data = cv2.imencode(".jpg", image)[1].tobytes()
    tables, at = b"", 2
    while data[at + 1] != 0xDA:
        length = int.from_bytes(data[at + 2 : at + 4], "big")
        if data[at + 1] == 0xDB:
            segment = data[at + 4 : at + 2 + length]
            tables += b"".join(segment[start + 1 : start + 65] for start in range(0, len(segment), 65))
        at += 2 + length
    scan = data[at + 2 + int.from_bytes(data[at + 2 : at + 4], "big") : -2]
    assert len(tables) == 128
    for start in range(0, len(scan), PAYLOAD):
        last = start + PAYLOAD >= len(scan)
        header = struct.pack(">BBHII", 0x80, 26 | last << 7, sequence & 0xFFFF, timestamp, 7)
        header += struct.pack(">IBBBB", start, 1, 255, width // 8, height // 8)  # type 1: 4:2:0, as OpenCV writes it
        if start == 0:
            header += struct.pack(">BBH", 0, 0, len(tables)) + tables
        yield header + scan[start : start + PAYLOAD]
        sequence += 1


class Session(socketserver.StreamRequestHandler):
    """One connection: sends the server's next picture ``FRAMES`` times, then closes."""

    def handle(self):
        while request := self.rfile.readline().split():
            method, headers = request[0], {}
            while line := self.rfile.readline().strip():
                name, _, value = line.decode().partition(":")
                headers[name.lower()] = value.strip()
            self.server.asked.append((request[1].decode(), headers))
            if method == b"DESCRIBE" and not self.server.plays:
                self.say(headers, "404 Not Found")
                return
            body = "v=0\r\no=- 1 1 IN IP4 0.0.0.0\r\ns=-\r\nt=0 0\r\nm=video 0 RTP/AVP 26\r\na=control:track\r\n"
            self.say(
                headers,
                "200 OK",
                *{
                    b"OPTIONS": ["Public: OPTIONS, DESCRIBE, SETUP, PLAY, TEARDOWN"],
                    b"DESCRIBE": ["Content-Type: application/sdp", f"Content-Length: {len(body)}"],
                    b"SETUP": ["Transport: RTP/AVP/TCP;unicast;interleaved=0-1", "Session: 1"],
                }.get(method, ["Session: 1"]),
                body=body if method == b"DESCRIBE" else "",
            )
            if method == b"PLAY":
                self.play(self.server.plays.pop(0))
                return

    def say(self, headers, status, *lines, body=""):
        text = "\r\n".join([f"RTSP/1.0 {status}", f"CSeq: {headers.get('cseq', 0)}", *lines, "", body])
        self.wfile.write(text.encode())

    def play(self, image):
        sequence = 0
        for number in range(FRAMES):
            for packet in packets(image, sequence, number * 6000):  # 15 a second, at 90 kHz
                self.wfile.write(b"$\0" + struct.pack(">H", len(packet)) + packet)
                sequence += 1


class Server(socketserver.ThreadingTCPServer):
    daemon_threads = True
    allow_reuse_address = True

    def __init__(self, *plays):
        super().__init__(("127.0.0.1", 0), Session)
        self.plays, self.asked = list(plays), []


@contextmanager
def patience(camera):
    """Close the camera after a minute, so that a test without frames fails instead of hanging."""
    timer = threading.Timer(60, camera.close)
    timer.start()
    yield
    timer.cancel()


@pytest.fixture
def server():
    with Server(picture(60, 64, 48), picture(180, 96, 64)) as running:
        thread = threading.Thread(target=running.serve_forever, kwargs={"poll_interval": 0.01})
        thread.start()
        yield running
        running.shutdown()
        thread.join()


def test_an_rtsp_camera_may_return_from_a_reboot_with_another_resolution(server):
    address = f"rtsp://127.0.0.1:{server.server_address[1]}/stream"
    seen = {}
    with open_camera(address, name="gate", retries=(0.0,)) as camera, patience(camera):
        while len(seen) < 2:
            frame = camera.read()
            size = (frame.image.shape[1], frame.image.shape[0])
            seen.setdefault(size, float(frame.image.mean()))
        state = camera.state()
    assert seen == {(64, 48): pytest.approx(60, abs=3), (96, 64): pytest.approx(180, abs=3)}
    assert state.reconnects >= 1 and state.connected and state.size == (96, 64)
    transports = [headers["transport"] for _, headers in server.asked if "transport" in headers]
    assert transports and all("TCP" in transport for transport in transports)  # with UDP, a busy network loses packets


def test_the_error_of_an_rtsp_camera_that_refuses_has_no_password(server, caplog):
    server.plays.clear()
    address = f"rtsp://ada:secret@127.0.0.1:{server.server_address[1]}/stream"
    camera = open_camera(address, retries=(60.0,))
    reader = threading.Thread(target=camera.read)
    reader.start()
    while not camera.state().error:
        pass
    camera.close()
    reader.join()
    assert "does not answer, refuses" in camera.state().error
    assert "secret" not in str(camera.state()) + caplog.text and "ada" not in caplog.text
