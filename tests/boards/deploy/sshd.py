"""Debian's ssh server on loopback: unpacked, not installed, with its own keys, users and PATH."""

import os
import pwd
import shutil
import socket
import subprocess
import sys
import time
from dataclasses import dataclass
from pathlib import Path

from rkface.boards.twin.ingredients import UnavailableError, command

from ...ports import free_port

PACKAGES = ("openssh-server", "libwrap0", "libnss-wrapper", "rsync", "libpopt0", "libxxhash0")

# In a script: wait for a condition, for half a minute at most, so that a failing test ends.
WAIT = "for i in $(seq 300); do {} && break; sleep 0.1; done"

# A proxy for ssh that cuts the connection after a number of bytes to the board.
CUTTER = """
import os, socket, sys, threading
peer, left = socket.create_connection(("127.0.0.1", int(sys.argv[1]))), int(sys.argv[2])
def back():
    while data := peer.recv(65536):
        os.write(1, data)
    os._exit(0)
threading.Thread(target=back, daemon=True).start()
while left > 0 and (data := os.read(0, 65536)):
    peer.sendall(data[:left])
    left -= len(data)
os._exit(1)
"""

# ssh's own choice of a key exchange, which is safe from quantum computers, takes half of the time of a connection.
CONFIG = """
Include {folder}/more
Host cut
  ProxyCommand {python} {folder}/cutter.py {port} 1000000
Host closed
  Port 1
Host stranger
  UserKnownHostsFile {folder}/nobody
Host keyless
  User nobody-of-this-name
Host *
  HostName 127.0.0.1
  Port {port}
  HostKeyAlias board
  IdentityFile {folder}/key
  IdentitiesOnly yes
  UserKnownHostsFile {folder}/known
  GlobalKnownHostsFile /dev/null
  KexAlgorithms curve25519-sha256
  LogLevel ERROR
"""

SERVER = """
Port {port}
ListenAddress 127.0.0.1
HostKey {folder}/hostkey
AuthorizedKeysFile {folder}/key.pub
StrictModes no
UsePAM no
PasswordAuthentication no
PermitRootLogin yes
PidFile none
AcceptEnv BOARD
SetEnv PATH={folder}/bin:/usr/bin:/bin
"""


@dataclass
class Server:
    """``folder/bin`` is first on the board's PATH; ``folder/here`` must be first on the PATH of the deploying user."""

    folder: Path
    process: subprocess.Popen

    @property
    def bin(self):
        return self.folder / "bin"

    def script(self, name, text, place="bin"):
        path = self.folder / place / name
        path.write_text(f"#!/bin/sh\n{text}\n")
        path.chmod(0o755)

    def alias(self, name, other):
        """From now on, ``ssh name`` connects to another server."""
        port = (other.folder / "sshd_config").read_text().split()[1]
        more = [f"Host {name}", f"Port {port}", f"IdentityFile {other.folder}/key", f"HostKeyAlias {name}"]
        (self.folder / "more").write_text("\n  ".join(more) + "\n")
        with (self.folder / "known").open("a") as known:
            known.write(f"{name} {(other.folder / 'hostkey.pub').read_text()}")

    def sessions(self):
        """The processes of all open connections."""
        return list(map(int, Path(f"/proc/{self.process.pid}/task/{self.process.pid}/children").read_text().split()))

    def close(self):
        self.process.terminate()
        self.process.wait()


def start(files, folder):
    """Start a server on a free port; the home folder of the current user there is ``folder/home``."""
    for name in ("bin", "here", "home"):
        (folder / name).mkdir()
    for name in ("hostkey", "key"):
        command(["ssh-keygen", "-q", "-t", "ed25519", "-N", "", "-f", str(folder / name)])
    (folder / "known").write_text(f"board {(folder / 'hostkey.pub').read_text()}")
    (folder / "cutter.py").write_text(CUTTER)
    (folder / "more").touch()
    port = free_port()
    (folder / "config").write_text(CONFIG.format(port=port, folder=folder, python=sys.executable))
    (folder / "sshd_config").write_text(SERVER.format(port=port, folder=folder))
    me = pwd.getpwuid(os.getuid())
    (folder / "passwd").write_text(
        f"{me.pw_name}:x:{me.pw_uid}:{me.pw_gid}::{folder}/home:/bin/sh\nsshd:x:74:65534::/run/sshd:/usr/sbin/nologin\n"
    )
    (folder / "group").write_text(Path("/etc/group").read_text())
    if os.getuid() == 0:
        Path("/run/sshd").mkdir(exist_ok=True)  # Debian's sshd needs it as its chroot when root runs it
    libraries = next(files.glob("usr/lib/*-linux-gnu"))
    process = subprocess.Popen(
        [files / "usr/sbin/sshd", "-D", "-e", "-f", folder / "sshd_config"],
        env={
            **os.environ,
            "LD_LIBRARY_PATH": str(libraries),
            "LD_PRELOAD": str(libraries / "libnss_wrapper.so"),
            "NSS_WRAPPER_PASSWD": str(folder / "passwd"),
            "NSS_WRAPPER_GROUP": str(folder / "group"),
        },
        stderr=(folder / "log").open("wb"),
        stdin=subprocess.DEVNULL,
    )
    server = Server(folder, process)
    ssh = shutil.which("ssh")
    server.script("ssh", f'exec {ssh} -F {folder}/config "$@"', "here")
    python = Path(sys.base_prefix) / "bin" / f"python{sys.version_info[0]}.{sys.version_info[1]}"
    server.script("python3", f'exec {python} "$@"')
    (folder / "rsync").write_text(f'#!/bin/sh\nLD_LIBRARY_PATH={libraries} exec {files}/usr/bin/rsync "$@"\n')
    (folder / "rsync").chmod(0o755)
    for place in ("bin", "here"):
        (folder / place / "rsync").symlink_to(folder / "rsync")
    for _ in range(100):
        if process.poll() is not None:
            raise UnavailableError(f"sshd cannot run here: {(folder / 'log').read_text()[-300:]}")
        try:
            socket.create_connection(("127.0.0.1", port)).close()
            return server
        except OSError:
            time.sleep(0.05)
    raise UnavailableError("sshd does not accept connections")
