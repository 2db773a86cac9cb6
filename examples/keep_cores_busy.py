"""Find and embed the faces in every frame of a video, with all cores of the NPU at work.

    python examples/keep_cores_busy.py video.mp4

The scheduler works on several frames at once and returns the results in the order of the video. On a machine without an
NPU it has one core, ONNX Runtime.
Exit code: 0, 1 if a frame or the NPU failed, 2 for wrong input.
"""

import argparse
import sys
import time

from rkface import RkfaceError, open_camera, open_scheduler


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("video", help="a video file, or a folder with its frames")
    parser.add_argument("--bundle", default="build/rk3588", help="what `make convert` wrote (default: %(default)s)")
    parser.add_argument("--cores", type=int, help="how many cores of the NPU (default: all)")
    options = parser.parse_args()

    frames = found = failed = 0
    began = time.monotonic()
    with open_camera(options.video) as video, open_scheduler(options.bundle, cores=options.cores) as scheduler:
        # run() reads the video a few frames ahead of the results: memory stays small, however long the video is.
        for result in scheduler.run(iter(video.read, None)):
            frames += 1
            if result.faces is None:
                failed += 1
                print(f"frame {result.frame.number}: failed: {result.error}", file=sys.stderr)
                continue
            found += len(result.faces)
            print(f"frame {result.frame.number}: {len(result.faces)} faces")  # result.faces.embeddings is N×D
        for core in scheduler.state():
            print(f"core {core.core}: {core.runs} inferences, {core.failures} failures")
    seconds = time.monotonic() - began
    print(f"{found} faces in {frames} frames, {frames / seconds:.1f} frames per second")
    return 1 if failed else 0


if __name__ == "__main__":
    try:
        sys.exit(main())
    except RkfaceError as error:
        print(f"keep_cores_busy: {error}", file=sys.stderr)
        sys.exit(error.exit_code)
