"""Say who is in a photo, and draw the answer on a copy of it.

    python examples/recognize_photo.py party.jpg --gallery gallery.sqlite --draw recognized.jpg

`rkface enroll` and examples/enroll_folder.py make the gallery.
Exit code: 0 if everybody in the photo is known, 1 if somebody is unknown or there is no face, 2 for wrong input.
"""

import argparse
import sys

from rkface import RkfaceError, draw_faces, identify, open_bundle, open_gallery, read_image, write_image


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("photo", help="JPEG, PNG, WebP or BMP")
    parser.add_argument("--gallery", default="gallery.sqlite", help="who is known (default: %(default)s)")
    parser.add_argument("--bundle", default="build/rk3588", help="what `make convert` wrote (default: %(default)s)")
    parser.add_argument("--draw", metavar="FILE", help="write the photo with boxes and names to this file")
    options = parser.parse_args()

    image = read_image(options.photo)  # applies the EXIF orientation; raises InputError for a damaged file
    with open_bundle(options.bundle) as pipeline, open_gallery(options.gallery, pipeline) as gallery:
        faces = pipeline.recognize(image)
        matches = identify(faces, gallery, pipeline.thresholds.match)

    labels = [f"{match.name} {match.cosine:.2f}" if match else "unknown" for match in matches]
    for label, box in zip(labels, faces.boxes.round().astype(int).tolist(), strict=True):
        print(f"{label} at {box}")  # x1, y1, x2, y2 in pixels
    if not labels:
        print("no face found")
    if options.draw:
        write_image(options.draw, draw_faces(image, faces, labels))
    return 0 if labels and all(matches) else 1


if __name__ == "__main__":
    try:
        sys.exit(main())
    except RkfaceError as error:
        print(f"recognize_photo: {error}", file=sys.stderr)
        sys.exit(error.exit_code)
