"""A real MQTT broker on loopback: Debian's Mosquitto, unpacked, not installed; and somebody who listens to it."""

import os
import signal
import socket
import subprocess
import threading
from contextlib import suppress

from paho.mqtt.client import Client
from paho.mqtt.enums import CallbackAPIVersion

from rkface.boards.twin.ingredients import UnavailableError

from ...ports import free_port
from .world import PATIENCE, Log

PACKAGES = ("mosquitto", "libmosquitto1", "libcjson1", "libdlt2", "libwebsockets17", "libev4", "libuv1", "libwrap0")

CONFIG = """
listener {port} 127.0.0.1
persistence true
persistence_location {folder}/
log_dest stderr
log_type information
log_type error
connection_messages false
{user}
{more}
"""

CONNECT = b"\x10\x10\x00\x04MQTT\x04\x02\x00\x3c\x00\x04test"


class Mosquitto:
    """Stopped and started again it has the same port and remembers what it kept for whom."""

    def __init__(self, files, folder, more="allow_anonymous true"):
        self.files, self.folder = files, folder
        self.port = free_port()
        user = "user root" if os.getuid() == 0 else ""
        (folder / "conf").write_text(CONFIG.format(port=self.port, folder=folder, user=user, more=more))
        self.process = None

    def run(self, program, *arguments):
        libraries = next(self.files.glob("usr/lib/*-linux-gnu"))
        return subprocess.Popen(
            [self.files / program, *arguments],
            env={**os.environ, "LD_LIBRARY_PATH": str(libraries)},
            stdin=subprocess.DEVNULL,
            stderr=subprocess.PIPE,
            text=True,
        )

    def start(self):
        self.process = self.run("usr/sbin/mosquitto", "-c", self.folder / "conf")
        said = []
        for line in self.process.stderr:
            said.append(line)
            if "running" in line:
                # What it says from now on nobody needs, but it must not wait for a reader.
                threading.Thread(target=self.process.stderr.read, daemon=True).start()
                # A signal between that line and its loop would be forgotten.
                with suppress(ConnectionError), socket.create_connection(("127.0.0.1", self.port)) as probe:
                    probe.sendall(CONNECT)
                    probe.recv(1)
                return self
        raise UnavailableError(f"mosquitto does not run here: {''.join(said)[-300:]}")

    def freeze(self):
        self.process.send_signal(signal.SIGSTOP)

    def thaw(self):
        self.process.send_signal(signal.SIGCONT)

    def stop(self):
        if self.process and self.process.poll() is None:
            self.thaw()
            self.process.terminate()
        if self.process:
            self.process.wait(PATIENCE)


class Listener:
    """Hears all there is, QoS 1, and misses nothing while the broker restarts. ``heard``: topic, payload, retained."""

    def __init__(self, port, name="listener", setup=lambda client: None):
        self.heard, self._ready = Log(), threading.Event()
        self.client = Client(CallbackAPIVersion.VERSION2, client_id=name, clean_session=False)
        self.client.reconnect_delay_set(0.02, 0.02)
        self.client.on_connect = lambda client, *_: client.subscribe("#", qos=1)
        self.client.on_subscribe = lambda *_: self._ready.set()
        self.client.on_message = lambda _client, _data, message: self.heard.add(
            (message.topic, message.payload.decode(errors="surrogateescape"), message.retain)
        )
        setup(self.client)
        self.client.connect("127.0.0.1", port)
        self.client.loop_start()
        assert self._ready.wait(PATIENCE)

    def payloads(self, topic):
        return [payload for where, payload, _ in self.heard.entries if where == topic]

    def wait(self, topic, payload=None):
        """Until something, or ``payload``, was said on ``topic``."""
        self.heard.wait(lambda all_: any(t == topic and payload in (None, p) for t, p, _ in all_))

    def close(self):
        self.client.disconnect()
        self.client.loop_stop()
