"""Watch one camera and print who comes and goes, until Ctrl-C or the end of the recording.

    python examples/watch_camera.py /dev/video0 --gallery gallery.sqlite

The camera is a V4L2 device, an rtsp:// or http:// address, a video file, or a folder of photos. A lost camera is opened
again. `rkface run` does the same as a service, for several cameras, with events and a web console.
Exit code: 0, or 2 for wrong input.
"""

import argparse
import sys
import time

from rkface import RkfaceError, open_bundle, open_camera, open_gallery, watch_camera

SAYS = {"start": "came", "update": "now", "end": "left"}


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("camera", help="/dev/video0, rtsp://…, a video file or a folder of photos")
    parser.add_argument("--gallery", default="gallery.sqlite", help="who is known (default: %(default)s)")
    parser.add_argument("--bundle", default="build/rk3588", help="what `make convert` wrote (default: %(default)s)")
    options = parser.parse_args()

    with (
        open_bundle(options.bundle) as pipeline,
        open_gallery(options.gallery, pipeline) as gallery,
        open_camera(options.camera) as camera,
    ):
        # One appearance is one visit of one person. It starts once, may be updated, and ends once.
        for appearance in watch_camera(camera, pipeline, gallery):
            match = appearance.match
            who = f"{match.name} (cosine {match.cosine:.2f})" if match else "somebody unknown"
            moment = appearance.ended if appearance.stage == "end" else appearance.started
            clock = time.strftime("%H:%M:%S", time.localtime(moment))
            print(f"{clock} {SAYS[appearance.stage]}: {who}", flush=True)
    return 0


if __name__ == "__main__":
    try:
        sys.exit(main())
    except KeyboardInterrupt:
        sys.exit(0)
    except RkfaceError as error:
        print(f"watch_camera: {error}", file=sys.stderr)
        sys.exit(error.exit_code)
