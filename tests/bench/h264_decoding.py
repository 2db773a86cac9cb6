"""CPU time of decoding 1080p H.264 in software, and what ways to decode less of it would save and lose: docs/camera.md.

    make bench-cameras
    python tests/bench/h264_decoding.py --seconds 8     a shorter video

The program ffmpeg decodes the video of camera_cpu.py on one thread, and each way decodes it, too. Figures are CPU time
of ffmpeg per picture of the camera, without what it needs to start (measured with a video of one picture). Pictures are
those that come out. The difference to the full decoding is the lowest PSNR of a picture, where it has the same ones.
"""

from __future__ import annotations

import re
import resource
import subprocess
import tempfile
from collections.abc import Sequence
from pathlib import Path

from camera_cpu import RATE, write_h264
from program import create_parser, format_table

from rkface.runtime.core.progress import stage

WAYS: dict[str, Sequence[str]] = {
    "all of it": (),
    "two threads": ("-threads", "2"),
    "no loop filter": ("-skip_loop_filter", "all"),
    "no pictures that others do not need": ("-skip_frame", "noref"),
    "key pictures only": ("-skip_frame", "nokey"),
}
SUBSTREAM = "640×360 instead (a second stream)"


def decode(video: Path, options: Sequence[str]) -> tuple[float, int]:
    """Milliseconds of CPU time that ffmpeg takes, and the number of pictures that come out."""
    before = resource.getrusage(resource.RUSAGE_CHILDREN)
    done = subprocess.run(
        ["ffmpeg", "-v", "error", "-threads", "1", *options, "-i", video, "-progress", "-", "-f", "null", "-"],
        check=True, capture_output=True, text=True, stdin=subprocess.DEVNULL,
    )  # fmt: skip
    after = resource.getrusage(resource.RUSAGE_CHILDREN)
    spent = after.ru_utime + after.ru_stime - before.ru_utime - before.ru_stime
    return spent * 1e3, int(re.findall(r"^frame=\s*(\d+)", done.stdout, re.MULTILINE)[-1])


def measure_loss(video: Path, options: Sequence[str]) -> str:
    """The lowest PSNR of a picture that is decoded with ``options``, in dB."""
    done = subprocess.run(
        ["ffmpeg", "-hide_banner", *options, "-i", video, "-i", video, "-lavfi", "psnr", "-f", "null", "-"],
        check=True, capture_output=True, text=True, stdin=subprocess.DEVNULL,
    )  # fmt: skip
    return re.findall(r"PSNR.* min:(\S+)", done.stderr)[-1] + " dB"


def shrink(video: Path, target: Path) -> None:
    subprocess.run(
        ["ffmpeg", "-v", "error", "-i", video, "-vf", "scale=640:360", "-c:v", "libx264", "-preset", "veryfast",
         "-tune", "zerolatency", "-b:v", "500k", "-g", "30", "-pix_fmt", "yuv420p", target],
        check=True, stdin=subprocess.DEVNULL,
    )  # fmt: skip


def main() -> int:
    parser = create_parser(__doc__)
    parser.add_argument("--seconds", type=float, default=20.0, help="length of the video (default: %(default)g)")
    parser.add_argument("--repeat", type=int, default=3, help="runs of each way; the least counts (%(default)s)")
    options = parser.parse_args()
    frames = round(options.seconds * RATE)
    with tempfile.TemporaryDirectory() as folder:
        one, video, small = (Path(folder, f"{name}.mp4") for name in ("one", "camera", "small"))
        with stage("encoding"):
            write_h264(one, 1)
            write_h264(video, frames)
            shrink(video, small)
        ways = {name: (video, how) for name, how in WAYS.items()} | {SUBSTREAM: (small, ())}
        with stage("decoding"):
            start = min(decode(one, ())[0] for _ in range(options.repeat))
            costs = {name: min(decode(*way) for _ in range(options.repeat)) for name, way in ways.items()}
            lost = {name: measure_loss(video, WAYS[name]) for name in ("no loop filter",)}
    whole = costs["all of it"][0] - start
    rows = [
        [name, f"{(spent - start) / frames:.2f}", f"{(spent - start) / whole:.0%}", f"{pictures} of {frames}",
         lost.get(name, "")]
        for name, (spent, pictures) in costs.items()
    ]  # fmt: skip
    print("\n".join(format_table(["decoded", "CPU ms a picture", "of all", "pictures", "lowest PSNR"], rows)))
    return 0


if __name__ == "__main__":
    raise SystemExit(main())
