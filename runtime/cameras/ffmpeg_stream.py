"""An RTSP camera whose video an ffmpeg decodes in hardware, in a process of its own; its pictures come by a pipe."""

from __future__ import annotations

import fcntl
import re
import shutil
import subprocess
import threading
import time
from collections.abc import Callable
from typing import IO, Any

import numpy as np
from numpy.typing import NDArray

from ..core.addresses import mask_secrets
from ..core.child_process import kill_process, start_process
from ..core.errors import WorkError
from ..core.ffmpeg import DECODERS
from ..vision.image import reduction
from .stream import ReducedPicture
from .y4m import VideoHeader, read_header, to_bgr

FIRST_SECONDS = 10.0  # until the first picture: some cameras send a key frame every 5 to 10 seconds
SILENT_SECONDS = 5.0  # without a picture, after which the camera counts as lost
POLL = 0.2  # seconds between checks whether the camera is still wanted
# Of the connection, for ffmpeg itself: it ends although nobody could kill it, such as after a power cut of the camera.
SOCKET_SECONDS = 15
PROTOCOLS = "pipe,tcp,udp,rtp,rtsp,tls,crypto"
BUFFERS = 3  # one is filled, one waits, one is used
PIPE_SIZE = 1 << 20  # bytes, the most that Linux gives without a privilege: fewer switches between the two processes
SIZE_LOGGED = re.compile(r"w:(\d+) h:(\d+) pixfmt")  # in ffmpeg's log, each time the size of decoded pictures changes


def list_input(address: str, analyze: float = 5.0) -> bytes:
    """Return ffmpeg's list of inputs (its concat demuxer) with ``address``, which it may ``analyze`` for so many
    seconds.

    It goes through stdin: every user of the machine can read a program's arguments, and the address may have a
    password.
    """
    quoted = address.replace("'", "'\\''")
    return (
        f"ffconcat version 1.0\nfile '{quoted}'\noption rtsp_flags prefer_tcp\n"
        f"option timeout {SOCKET_SECONDS * 1_000_000}\noption analyzeduration {analyze * 1e6:.0f}\n"
    ).encode()


def make_command(program: str, decoder: str = "") -> list[str]:
    """The command that reads the list of inputs from stdin. With ``decoder``, it writes raw video to stdout; without,
    it only says in its log what the camera sends.

    No frame is repeated or left out for the sake of an even rate (-fps_mode passthrough).
    """
    # When the thread that starts it ends, for whatever reason, Linux kills the program: it cannot outlive rkface.
    guard = ["setpriv", "--pdeathsig", "KILL"] if shutil.which("setpriv") else []
    command = [*guard, program, "-nostdin", "-hide_banner", "-nostats", "-loglevel", "level+verbose"]
    if decoder:
        command += ["-hwaccel", "rkmpp", "-c:v", decoder]
    command += ["-protocol_whitelist", PROTOCOLS, "-f", "concat", "-safe", "0", "-i", "pipe:0"]
    if decoder:
        command += ["-map", "0:v:0", "-fps_mode", "passthrough", "-pix_fmt", "yuv420p", "-f", "yuv4mpegpipe", "pipe:1"]
    return command


def find_codec(program: str, address: str) -> str:
    """Return ffmpeg's name of the codec that the camera sends, such as "h264" or "hevc"; "" if it does not answer."""
    process = start_process(
        make_command(program), stdin=subprocess.PIPE, stdout=subprocess.DEVNULL, stderr=subprocess.PIPE
    )
    try:
        _, log = process.communicate(list_input(address, analyze=0.1), FIRST_SECONDS)
    except subprocess.TimeoutExpired:
        return ""
    finally:
        kill_process(process)
    found = re.search(rb"Stream #0:\d+\S*: Video: (\w+)", log)
    return found[1].decode() if found else ""


class FfmpegStream:
    """The newest picture of an RTSP camera. Memory is bounded: a thread reads all pictures, so that neither ffmpeg nor
    the camera waits, and keeps the newest one.

    Pictures come as I420, half the bytes of BGR, and only those that are used are converted.
    """

    def __init__(self, program: str, address: str, codec: str, shown: str, wanted: Callable[[], bool]) -> None:
        """``shown``: the address without passwords. While no picture comes, ``wanted`` is called every ``POLL``
        seconds; False ends the stream. Raises WorkError if no first picture comes."""
        self.decoder = f"hardware ({DECODERS[codec]})"
        self.format, self.rate = codec.upper(), 0.0
        self._shown, self._wanted = shown, wanted
        self._changed = threading.Condition()
        self._process: subprocess.Popen[bytes] | None = None
        self._header: VideoHeader | None = None
        self._problem = ""  # why there are no more pictures
        self._free: list[NDArray[np.uint8]] = []
        self._waiting: tuple[NDArray[np.uint8], float] | None = None
        self._used: NDArray[np.uint8] | None = None
        self._closed = False
        command = make_command(program, DECODERS[codec])
        self._reader = threading.Thread(
            target=self._run, args=(command, list_input(address)), name="rkface-ffmpeg", daemon=True
        )
        self._reader.start()
        try:
            self._wait(FIRST_SECONDS, "no picture that can be decoded came")
        except BaseException:
            self.close()
            raise

    def grab(self) -> float:
        with self._changed:  # also between the wait and here: the log's thread may drop the picture
            self._wait(SILENT_SECONDS, "it stopped sending pictures")
            assert self._waiting is not None
            if self._used is not None:
                self._free.append(self._used)
            (self._used, moment), self._waiting = self._waiting, None
        return moment

    def decode(self) -> NDArray[np.uint8] | None:
        assert self._used is not None and self._header is not None
        return to_bgr(self._used, self._header)

    def decode_reduced(self, least: int) -> ReducedPicture | None:
        frame, header = self._used, self._header
        assert frame is not None and header is not None
        by = reduction(header.width, header.height, least)
        if by == 1:
            return None
        self._used = None  # it may be needed again, so it must not be filled with another picture
        size = header.width, header.height
        return ReducedPicture(to_bgr(frame, header, by), size, lambda: to_bgr(frame, header))

    def close(self) -> None:
        with self._changed:
            self._closed = True
            process = self._process
        if process is not None:
            kill_process(process)
        self._reader.join()

    def _wait(self, seconds: float, problem: str) -> None:
        """Wait for a picture. Raises WorkError with ``problem`` after so many ``seconds``."""
        end = time.monotonic() + seconds
        with self._changed:
            while self._waiting is None:
                if self._problem:
                    raise WorkError(f"{self._shown}: {self._problem}")
                if not self._wanted():
                    raise EOFError
                if time.monotonic() >= end:
                    raise WorkError(f"{self._shown}: {problem}, for {seconds:g} s: check the camera and the network")
                self._changed.wait(POLL)

    def _run(self, command: list[str], listed: bytes) -> None:
        """Start ffmpeg, and read its pictures until it ends. Linux kills ffmpeg when this thread ends."""
        problem = ""
        try:
            with self._changed:
                if self._closed:
                    return
                pipe = subprocess.PIPE
                self._process = process = start_process(command, stdin=pipe, stdout=pipe, stderr=pipe)
            with process.stdin as stdin, process.stdout as stdout, process.stderr as stderr:  # type: ignore[union-attr]
                log = threading.Thread(target=self._read_log, args=(stderr,), name="rkface-ffmpeg-log", daemon=True)
                log.start()
                try:
                    stdin.write(listed)
                    stdin.close()
                    self._read_pictures(stdout)
                finally:
                    kill_process(process)
                    log.join()
        except EOFError:
            problem = "it ended the connection"
        except (OSError, ValueError, WorkError) as error:
            problem = f"ffmpeg failed: {error}"
        with self._changed:
            self._problem = self._problem or problem
            self._changed.notify_all()

    def _read_pictures(self, stdout: IO[bytes]) -> None:
        fcntl.fcntl(stdout.fileno(), fcntl.F_SETPIPE_SZ, PIPE_SIZE)
        self._header = header = read_header(stdout.readline)
        self.rate = header.rate
        self._free = [np.empty(header.nbytes, np.uint8) for _ in range(BUFFERS)]
        while True:
            buffer = self._free.pop() if self._free else np.empty(header.nbytes, np.uint8)
            marker = stdout.readline(256)
            if not marker or stdout.readinto(buffer) < len(buffer):  # type: ignore[attr-defined]
                raise EOFError
            if not marker.startswith(b"FRAME"):
                raise ValueError("its raw video is broken")
            with self._changed:
                if self._waiting is not None:  # nobody took it in time
                    self._free.append(self._waiting[0])
                self._waiting = (buffer, time.monotonic())
                self._changed.notify_all()

    def _read_log(self, stderr: IO[bytes]) -> None:
        """Read what ffmpeg says, so that it never waits, and note why it ends and whether the size changes: it would
        go on with pictures that are stretched to the first size."""
        first: tuple[Any, ...] | None = None
        for line in iter(lambda: stderr.readline(4096), b""):
            text = line.decode("utf-8", "replace").strip()
            problem = ""
            if found := SIZE_LOGGED.search(text):
                if first and found.groups() != first:
                    problem = f"the size of its pictures changed from {'×'.join(first)} to {'×'.join(found.groups())}"
                first = found.groups()
            elif found := re.search(r"\[(?:error|fatal)\] pipe:0: (.+)", text):
                problem = _explain(found[1])
            if problem:
                with self._changed:
                    self._problem, self._waiting = problem, None
                    self._changed.notify_all()


def _explain(message: str) -> str:
    """What ffmpeg says about the connection, and what to do."""
    said = mask_secrets(message)
    if "401" in said or "403" in said:
        return f"{said}: check the user and the password"
    if "404" in said:
        return f"{said}: check the path of the address"
    return f"{said}: check the address, and that the camera is on"
