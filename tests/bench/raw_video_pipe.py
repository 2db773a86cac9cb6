"""CPU time of a 1080p picture that comes from ffmpeg by a pipe, in three pixel formats: docs/camera.md.

    python tests/bench/raw_video_pipe.py

The program ffmpeg decodes H.264 on the processor, with one thread. Printed are CPU milliseconds per picture: of ffmpeg,
without the decoding itself; of reading the pipe; and of the conversion to BGR.
"""

from __future__ import annotations

import fcntl
import resource
import subprocess
import tempfile
import time
from pathlib import Path

import cv2
import numpy as np
from program import create_parser, format_table

from rkface.runtime.cameras.ffmpeg_stream import PIPE_SIZE

WIDTH, HEIGHT = 1920, 1080
FORMATS = {"yuv420p": cv2.COLOR_YUV2BGR_I420, "nv12": cv2.COLOR_YUV2BGR_NV12, "bgr24": None}
SOURCE = f"-f lavfi -i testsrc2=s={WIDTH}x{HEIGHT}:r=15"
CLIP = f"ffmpeg -v error {SOURCE} -c:v libx264 -preset ultrafast -pix_fmt yuv420p -g 30"


def child_seconds() -> float:
    used = resource.getrusage(resource.RUSAGE_CHILDREN)
    return used.ru_utime + used.ru_stime


def measure(clip: Path, form: str, decoding: float) -> tuple[float, float, float]:
    """Seconds per picture: of ffmpeg without ``decoding``, of reading, of converting."""
    code = FORMATS[form]
    buffer = np.empty(WIDTH * HEIGHT * 3 // (2 if code is not None else 1), np.uint8)
    command = ["ffmpeg", "-v", "error", "-threads", "1", "-i", str(clip), "-pix_fmt", form, "-f", "rawvideo", "-"]
    before, reading, converting, pictures = child_seconds(), 0.0, 0.0, 0
    with subprocess.Popen(command, stdout=subprocess.PIPE) as process:
        assert process.stdout
        fcntl.fcntl(process.stdout.fileno(), fcntl.F_SETPIPE_SZ, PIPE_SIZE)
        while True:
            start = time.thread_time()
            count = process.stdout.readinto(buffer)  # type: ignore[attr-defined]
            reading += time.thread_time() - start
            if count < len(buffer):
                break
            start = time.thread_time()
            if code is None:
                buffer.reshape(HEIGHT, WIDTH, 3).copy()
            else:
                cv2.cvtColor(buffer.reshape(HEIGHT * 3 // 2, WIDTH), code)
            converting += time.thread_time() - start
            pictures += 1
    return (child_seconds() - before) / pictures - decoding, reading / pictures, converting / pictures


def main() -> int:
    parser = create_parser(__doc__)
    parser.add_argument("--seconds", type=float, default=6.0, help="length of the video (default: %(default)g)")
    parser.add_argument("--runs", type=int, default=3, help="the median of so many runs counts (default: %(default)s)")
    options = parser.parse_args()
    cv2.setNumThreads(1)
    with tempfile.TemporaryDirectory() as folder:
        clip = Path(folder, "clip.mp4")
        subprocess.run([*CLIP.split(), "-t", str(options.seconds), str(clip)], check=True)
        runs = []
        for _ in range(options.runs):
            before = child_seconds()
            decode = ["ffmpeg", "-v", "error", "-threads", "1", "-i", str(clip), "-f", "null", "-"]
            subprocess.run(decode, check=True)
            decoding = (child_seconds() - before) / (options.seconds * 15)
            runs.append([measure(clip, form, decoding) for form in FORMATS])
    milliseconds = np.median(np.array(runs), axis=0) * 1e3
    rows = [
        [form, *(f"{one:.1f}" for one in (*parts, parts.sum()))]
        for form, parts in zip(FORMATS, milliseconds, strict=True)
    ]
    print("\n".join(format_table(["format", "ffmpeg", "read", "convert", "all"], rows)))
    return 0


if __name__ == "__main__":
    raise SystemExit(main())
