"""``rkface enroll``: add people to the gallery from photos or a camera. Imports nothing heavy before it runs."""

from __future__ import annotations

from argparse import ArgumentParser, Namespace
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import ExitStack
from functools import partial
from itertools import chain, count
from pathlib import Path
from typing import TYPE_CHECKING

from ..core.arguments import key_value, positive_integer, positive_number
from ..core.errors import InputError
from ..core.messages import show_message
from .gallery_options import (
    add_enroll_rules,
    add_gallery,
    enroll_rules,
    open_gallery,
    print_verdicts,
)
from .options import add_backend, add_bundle, add_camera_position, add_json

if TYPE_CHECKING:
    from ..enrollment.enroll import Verdict
    from ..enrollment.measured_photo import MeasuredPhoto
    from ..enrollment.photo_folders import PersonPhoto
    from ..gallery.gallery import Gallery
    from ..inference.pipeline import Pipeline


def enroll(parser: ArgumentParser) -> None:
    """Add people to the gallery, from photos, a folder of photos, or a camera.

    Each photo is checked and reported. A photo is refused if it shows no face, if the face is too small or blurred, if
    it looks like a person who is enrolled under another name, or if it is unlike the person's other photos (--force
    enrolls it anyway in the last two cases). A photo that is reported as enrolled is on the disk. A photo that lies on
    its side is turned. A folder given as PHOTO stands for all photos in it.

    Of several faces in a photo, the one is used that matches the person's other photos. If it is not clear which one
    that is, the photo is refused and the faces are listed: --face N chooses one, and --draw shows their numbers. Faces
    in the background, less than a quarter as wide as the largest, do not count.

    With --folder, each subfolder is a person. Photos directly in the folder are named after their person: ada.jpg,
    ada-2.jpg, jean-luc-01.jpg. If a subfolder has folders with photos, --nested says what it is: a group of people, or
    one person. Pictures that are not read, such as .tiff, count as refused. Hidden files and those of systems, such as
    @eaDir and __MACOSX, are ignored.

    An interrupted run goes on with --resume: photos that it has enrolled are skipped. Photos that were refused are
    examined again, because the gallery keeps nothing of them.

    With --camera, the person in front of it is guided through three pictures: straight, turned a little to the left,
    and turned a little to the right. If they look like another person in the gallery, or unlike their own samples, the
    command asks on a terminal; elsewhere --same or --force decides. The gallery does not change before that.

    With --json, each photo is one object on a line: {"status", "person", "source", "reason", "notes", "quality",
    "near", "own", "turned", "faces", "id"}; status is enrolled, known or refused. own is the cosine with the person's
    other samples; faces are those to choose from; id is the person's, null if refused.

    Exit code: 1 if a photo was refused.

    examples:
      rkface enroll --bundle build/rk3588 --gallery gallery.sqlite "Ada Lovelace" ada.jpg ada-side.jpg
      rkface enroll --bundle build/rk3588 --gallery gallery.sqlite --folder staff/
      rkface enroll --bundle build/rk3588 --gallery gallery.sqlite "Ada Lovelace" party.jpg --face 2
      rkface enroll --bundle build/rk3588 --gallery gallery.sqlite "Ada Lovelace" --camera /dev/video0
    """
    parser.add_argument("name", nargs="?", metavar="NAME", help="name of the person, new or already in the gallery")
    parser.add_argument(
        "photos", nargs="*", type=Path, metavar="PHOTO", help="a JPEG, PNG, WebP, BMP or HEIC file, or a folder of them"
    )
    parser.add_argument("--folder", type=Path, metavar="DIR", help="photos of several people")
    parser.add_argument(
        "--nested",
        choices=("group", "person"),
        help="what a subfolder of --folder is that has folders with photos: a group of people, or one person",
    )
    parser.add_argument(
        "--resume",
        action="store_true",
        help="skip photos that an interrupted run has enrolled: files with the same path that were not changed since",
    )
    parser.add_argument(
        "--face", type=positive_integer, metavar="N", help="the face to enroll of one photo with several, by its number"
    )
    parser.add_argument(
        "--draw",
        type=Path,
        metavar="OUT",
        help="draw the faces of photos that are refused because they show several, with their numbers: a .jpg or .png "
        "file, or for several photos a folder",
    )
    parser.add_argument("--camera", metavar="SPEC", help="a camera as for `rkface run`; the terminal shows what to do")
    add_camera_position(parser)
    parser.add_argument(
        "--timeout",
        type=positive_number,
        metavar="SECONDS",
        help="how long --camera waits for good pictures (default: 60); a recording is always read to its end",
    )
    parser.add_argument(
        "--same",
        action="store_true",
        help="with --camera: if the person is enrolled under another name, add the pictures to that name",
    )
    parser.add_argument(
        "--set", action="append", type=key_value, default=[], metavar="KEY=VALUE", help="metadata of the person"
    )
    add_gallery(parser)
    add_bundle(parser)
    add_backend(parser)
    add_enroll_rules(parser)
    add_json(parser, "one object a line for each photo")
    parser.set_defaults(run=_enroll)


def _enroll(options: Namespace) -> int:
    _check_use(options)
    if options.camera:
        from .enroll_camera import enroll_camera

        return print_verdicts([enroll_camera(options)], as_json=options.json)

    from ..enrollment.enroll import measure_read
    from ..inference.open_bundle import open_bundle
    from ..vision.read_ahead import ReadAhead
    from .photos import inference_threads, photo_progress

    photos = _find_photos(options)
    drawings = _plan_drawings(options, photos)
    with ExitStack() as opened:
        pipeline = opened.enter_context(
            open_bundle(options.bundle, options.backend, threads=inference_threads(len(photos)))
        )
        gallery = opened.enter_context(open_gallery(options, pipeline, create=True))
        gallery.check_identity()
        if options.resume:
            photos = _without_enrolled(gallery, photos)
        people = _by_person(photos)
        in_order = [photo.path for group in people for photo in group if not photo.problem]
        reader = opened.enter_context(ReadAhead(in_order, partial(measure_read, pipeline, enroll_rules(options))))
        measure = _counted(reader.take, opened.enter_context(photo_progress(len(in_order))))
        verdicts = chain.from_iterable(
            _enroll_person(gallery, pipeline, group, options, drawings, measure=measure) for group in people
        )
        code = print_verdicts(verdicts, as_json=options.json)
    _print_unread(photos)
    return code


def _without_enrolled(gallery: Gallery, photos: Sequence[PersonPhoto]) -> list[PersonPhoto]:
    """``photos`` without those that an interrupted run has enrolled. Says how many these are."""
    from ..enrollment.enrolled_before import find_enrolled
    from .photos import print_skipped

    enrolled = find_enrolled(gallery, photos)
    rest = [photo for photo in photos if photo.path not in enrolled]
    print_skipped(len(photos) - len(rest), len(photos), "they are enrolled already")
    return rest


def _counted(
    measure: Callable[[Path], MeasuredPhoto], advance: Callable[[int], None]
) -> Callable[[Path], MeasuredPhoto]:
    """``measure``, but with its calls counted by ``advance``. All photos of a person are measured before the first of
    them gets its verdict, so verdicts would not show how far the command is."""
    done = count()

    def measure_next(path: Path) -> MeasuredPhoto:
        advance(next(done))
        return measure(path)

    return measure_next


def _by_person(photos: Sequence[PersonPhoto]) -> list[list[PersonPhoto]]:
    """The photos of each person, in the order of the people's first photos."""
    people: dict[str, list[PersonPhoto]] = {}
    for photo in photos:
        people.setdefault(photo.person, []).append(photo)
    return list(people.values())


def _enroll_person(
    gallery: Gallery,
    pipeline: Pipeline,
    photos: Sequence[PersonPhoto],
    options: Namespace,
    drawings: Mapping[Path, Path],
    *,
    measure: Callable[[Path], MeasuredPhoto],
) -> Iterator[Verdict]:
    """The verdicts on the ``photos`` of one person, in their order."""
    from ..enrollment.enroll import enroll_photos

    readable = [photo.path for photo in photos if not photo.problem]
    rules, metadata = enroll_rules(options), dict(options.set)
    name = photos[0].person
    verdicts = enroll_photos(gallery, pipeline, name, readable, rules=rules, metadata=metadata, measure=measure)
    for photo in photos:
        verdict = _refuse(photo) if photo.problem else next(verdicts)
        if verdict.faces and photo.path in drawings:
            _draw_choice(drawings[photo.path], photo.path, verdict)
        yield verdict


def _draw_choice(drawing: Path, photo: Path, verdict: Verdict) -> None:
    """Draw the faces of ``photo`` with their numbers. A photo that has vanished meanwhile does not stop the others."""
    from ..vision.draw import draw_boxes, write_image
    from ..vision.image import read_image
    from ..vision.photo import turn_image
    from .photos import create_folder

    if not drawing.parent.exists():
        create_folder(drawing.parent)
    try:
        image = read_image(photo)
    except InputError as error:
        show_message(f"not drawn: {error}")
        return
    boxes = {str(face.number): face.box for face in verdict.faces}
    write_image(drawing, draw_boxes(turn_image(image, verdict.turned), boxes))


def _plan_drawings(options: Namespace, photos: Sequence[PersonPhoto]) -> dict[Path, Path]:
    """Where the drawing of each photo goes; empty without --draw. InputError if --draw cannot be used, or if --face
    could mean several photos."""
    from .photos import drawing_paths

    if options.face and len(photos) != 1:
        raise InputError(f"--face chooses a face of one photo, and these are {len(photos)} photos: give one")
    if not options.draw:
        return {}
    paths = [photo.path for photo in photos]
    folder = len(paths) > 1 or options.folder is not None
    return dict(zip(paths, drawing_paths(options.draw, paths, folder=folder), strict=True))


def _check_use(options: Namespace) -> None:
    """InputError for options that do not fit together."""
    if options.camera:
        if not options.name or options.photos or options.folder or options.nested:
            raise InputError("--camera takes pictures of one person: give NAME, but neither photos nor --folder")
        if options.face or options.draw or options.resume:
            raise InputError("--face, --draw and --resume are for photos, not for --camera")
        if options.same and options.force:
            raise InputError(
                "--same adds the pictures to the person who looks alike, --force to a new person: use one of them"
            )
        return
    if options.same or options.timeout:
        raise InputError("--same and --timeout only work with --camera")
    if options.rotate or options.near:
        raise InputError("--rotate and --near only work with --camera; photos are turned if they need it")
    if options.nested and not options.folder:
        raise InputError("--nested only works with --folder")
    if options.folder and (options.name or options.photos):
        raise InputError("--folder takes the names from the files: give --folder alone, or NAME and photos")
    if not options.folder and not options.photos:
        raise InputError(
            "no photos: give NAME and photos, NAME and --camera, or --folder DIR; `rkface enroll --help` has examples"
        )


def _find_photos(options: Namespace) -> list[PersonPhoto]:
    from ..enrollment.photo_folders import PersonPhoto, find_photos
    from .photos import expand_folders

    if options.folder:
        return find_photos(options.folder, options.nested or "ask")
    return [PersonPhoto(options.name, photo) for photo in expand_folders(options.photos)]


def _refuse(photo: PersonPhoto) -> Verdict:
    """The verdict on a picture that is not read."""
    from ..core.text import in_a_line
    from ..enrollment.enroll import Verdict

    return Verdict("refused", in_a_line(photo.person), in_a_line(str(photo.path)), photo.problem)


def _print_unread(photos: Sequence[PersonPhoto]) -> None:
    from ..vision.photo_files import LeftOut, count_left_out

    if sentence := count_left_out([LeftOut(photo.path, photo.problem) for photo in photos if photo.problem]):
        show_message(sentence)
