"""Enroll a folder of photos, then ask who in the gallery looks most like the person in another photo.

    python examples/enroll_folder.py staff/ --gallery gallery.sqlite --search visitor.jpg

Each subfolder is one person: staff/Ada/1.jpg, staff/Ada/2.jpg, staff/Bela/1.jpg. You can run it again: a photo that
adds nothing new is skipped. The gallery holds biometric data, so only its owner can read the file.
Exit code: 0 if no photo was refused, 1 if one was, 2 for wrong input.
"""

import argparse
import sys
from pathlib import Path

from rkface import InputError, RkfaceError, enroll_photo, open_bundle, open_gallery, read_image


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("folder", type=Path, help="one subfolder of photos for each person")
    parser.add_argument("--gallery", default="gallery.sqlite", help="created if missing (default: %(default)s)")
    parser.add_argument("--bundle", default="build/rk3588", help="what `make convert` wrote (default: %(default)s)")
    parser.add_argument("--search", metavar="PHOTO", help="a photo of the person to look for")
    options = parser.parse_args()

    photos = sorted(path for path in options.folder.glob("*/*") if path.is_file())
    if not photos:
        raise InputError(f"{options.folder}: no photos in its subfolders: put each person's photos in a folder NAME/")

    refused = 0
    with (
        open_bundle(options.bundle) as pipeline,
        open_gallery(options.gallery, pipeline, create=True) as gallery,
    ):
        for photo in photos:
            verdict = enroll_photo(gallery, pipeline, photo.parent.name, photo)
            refused += verdict.status == "refused"
            print(f"{photo}: {verdict.status}{': ' if verdict.reason else ''}{verdict.reason}")
        for person in gallery.people():
            print(f"{person.name}, samples: {person.samples}")

        if options.search:
            faces = pipeline.recognize(read_image(options.search))
            if not len(faces) or faces.embeddings is None:
                raise InputError(f"{options.search}: no face found: use a photo in which the face is larger")
            [nearest] = gallery.search(faces.embeddings[[faces.largest()]], k=3)
            for match in nearest:
                same = "same person" if match.cosine >= pipeline.thresholds.match else "another person"
                print(f"{options.search}: {match.name}, cosine {match.cosine:.3f}: {same}")
    return 1 if refused else 0


if __name__ == "__main__":
    try:
        sys.exit(main())
    except RkfaceError as error:
        print(f"enroll_folder: {error}", file=sys.stderr)
        sys.exit(error.exit_code)
