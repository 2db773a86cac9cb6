"""``rkface convert``. Imports nothing heavy before it runs."""

from __future__ import annotations

import signal
import sys
from argparse import ArgumentParser, Namespace
from contextlib import suppress
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Any, cast

from rkface.runtime.cli.options import print_json
from rkface.runtime.core.errors import InputError
from rkface.runtime.core.manifest import MANIFEST

from .convert_options import (
    CAMERA,
    add_conversion_options,
    add_liveness_options,
    add_model_options,
    add_photo_options,
)
from .convert_summary import print_summary, to_dict
from .named_models import find_sources, require_calibration
from .recipe import PLANS, UNQUANTIZED, AccuracyBar

if TYPE_CHECKING:
    from .acquire import ModelSources
    from .face_finder import PhotoOptions
    from .settings import CenterRequest, OutputBundle


def convert(parser: ArgumentParser) -> None:
    """Convert a detector and a recognizer to an INT8 RKNN bundle, and compare it with FP32 in ONNX Runtime.

    Without options, the demo pack is converted: small models trained on rendered faces. This shows the whole process
    without a download. The other packs are downloaded once (`rkface packs` lists them): open has models for real faces
    that may be used commercially; for InsightFace's packs, you have to accept their license (non-commercial research).
    On a machine without a network, give the files of a pack with --detector and --recognizer, or put them into the
    cache. You can also give your own models: a detector with landmarks, and a recognizer with one embedding as its
    output, whose input is a known crop or is described by --recognizer-crop.

    Real models are calibrated on your photos: --calibration takes a folder of photos of many people, with the light and
    the distance of your camera. The photos of some people are held back, and the result is evaluated on them. Or give
    other photos with --evaluation, and say which of them show the same person with --pairs.

    The bundle is written only if the quantized models are close enough to FP32: by the cosine of embeddings
    (--min-cosine), or by your own figure on labeled photos (--max-drop). Read its report.html before you trust it.

    examples:
      rkface convert
      rkface convert --pack open --calibration photos/
      rkface convert --pack buffalo_l --accept-license --calibration photos/ --target rk3588
      rkface convert --detector det.onnx --recognizer arc.onnx --calibration photos/ --target rk3576 --size 640x384
      rkface convert --pack buffalo_m --accept-license --calibration photos/ --min-face 60 --camera 1920x1080
      rkface convert --pack open --calibration photos/ --people staff/ --max-drop tar@1e-3=0.5
      rkface convert --pack demo --target rk3588,rk3566 --out bundles --json
    """
    add_model_options(parser)
    add_liveness_options(parser)
    add_photo_options(parser)
    add_conversion_options(parser)
    parser.add_argument("--json", action="store_true", help="print a summary of each bundle as JSON")
    parser.set_defaults(run=_convert)


def _convert(options: Namespace) -> int:
    from .conversion import convert
    from .settings import ConversionSettings

    with suppress(ValueError):  # not in the main thread
        signal.signal(signal.SIGTERM, signal.default_int_handler)  # `kill` leaves no files, like Ctrl-C
    bar = _accuracy_bar(options)
    outputs = _outputs(options)
    work = options.work or outputs[0].folder.with_name(f"{outputs[0].folder.name}.work")
    for output in outputs:
        if work.resolve().is_relative_to(output.folder.resolve()):
            raise InputError(
                f"--work {work} is inside the bundle {output.folder}, which is replaced as a whole: choose a folder "
                "outside it"
            )
    sources = find_sources(options)
    detector_size = _detector_size(options, sources)
    photos = _photos(options, sources)
    plan = UNQUANTIZED if options.no_quantize else options.recipe or PLANS["auto"]
    center = _center(options.center)
    settings = ConversionSettings(
        outputs, work, plan, bar, detector_size, options.accept, center, options.debug_outputs
    )
    if not options.json:
        convert(sources, photos, settings, print_summary)
        return 0
    written: list[dict[str, Any]] = []
    try:
        convert(
            sources,
            photos,
            settings,
            lambda report, output, work: written.append(to_dict(report, output, debug=options.debug_outputs)),
        )
    finally:
        if written:  # also those before a failure
            print_json({"bundles": written}, indent=2)
    return 0


def _accuracy_bar(options: Namespace) -> AccuracyBar:
    """What --min-cosine or --max-drop require."""
    if options.max_drop and options.min_cosine is not None:
        raise InputError(
            "--max-drop and --min-cosine both decide whether a recipe is accurate enough: leave one out. With "
            "--max-drop, cosines are reported only"
        )
    return replace(options.min_cosine or AccuracyBar(), max_drop=options.max_drop)


def _center(text: str | None) -> CenterRequest:
    """What --center says."""
    from .settings import CenterRequest

    if text in ("new", "none"):
        return CenterRequest("new" if text == "new" else "none")
    return CenterRequest(given=None if text is None else Path(text))


def _outputs(options: Namespace) -> tuple[OutputBundle, ...]:
    """The bundle to make for each target."""
    from .settings import OutputBundle
    from .targets import find_target

    if options.no_quantize and options.recipe is not None:
        raise InputError("--recipe says how to quantize, and --no-quantize says not to: leave one out")
    found = (find_target(name.strip(), quantized=not options.no_quantize) for name in options.target.split(","))
    targets = list(dict.fromkeys(found))
    folder = options.out or Path("build")
    if len(targets) > 1 and (folder / MANIFEST).is_file():
        raise InputError(
            f"{folder} is a bundle; with several targets, --out is the folder that contains the bundles: choose another"
        )
    if options.out and len(targets) == 1:
        return (OutputBundle(targets[0], options.out),)
    return tuple(OutputBundle(target, folder / target.name) for target in targets)


def _detector_size(options: Namespace, sources: ModelSources) -> tuple[int, int] | None:
    """(width, height) of the detector's input, from --size or from --min-face; None keeps the model's own."""
    from rkface.runtime.vision.detectors import SIZE_STEP

    from .input_size import choose_input_size, explain_input_size
    from .simplify import read_family

    if options.min_face is None:
        if options.camera is not None:
            raise InputError(
                "--camera is the frame in which --min-face is measured: also give --min-face, or use --size"
            )
        given: tuple[int, int] | None = options.size
        if given and any(side % SIZE_STEP for side in given):
            raise InputError(
                f"--size {given[0]}x{given[1]}: both sides must be multiples of {SIZE_STEP}, as in 640x384"
            )
        return given
    if options.size is not None:
        raise InputError("--size and --min-face both choose the size of the detector's input: leave one out")
    if sources.synthetic:
        raise InputError("--min-face is measured for trained detectors, not for the demo pack's: leave it out")
    camera = options.camera or CAMERA
    chosen = choose_input_size(read_family(sources.paths["detector"]), options.min_face, camera)
    print(explain_input_size(options.min_face, camera, chosen), file=sys.stderr)
    return chosen


def _photos(options: Namespace, sources: ModelSources) -> PhotoOptions | None:
    """The user's photos; None if the demo pack renders its own."""
    from .face_finder import PhotoOptions

    if options.calibration is not None:
        _check_labels(options)
        return PhotoOptions(
            options.calibration,
            _evaluation_folder(options),
            options.pairs,
            options.count,
            options.evaluate,
            one_look=sources.synthetic,  # the demo detector is not sure which way up some photos are
            people=options.people is not None,
        )
    if not sources.synthetic:
        require_calibration(options)
    if options.evaluation or options.pairs or options.people:
        raise InputError(
            "--evaluation, --pairs and --people need --calibration; the demo pack renders its own photos, with labels"
        )
    return None


def _evaluation_folder(options: Namespace) -> Path | None:
    """The folder of the photos to evaluate on; None if some of the calibration photos are held back."""
    if options.people is None:
        return cast("Path | None", options.evaluation)
    return None if options.people.samefile(options.calibration) else cast("Path", options.people)


def _check_labels(options: Namespace) -> None:
    """Raise InputError, before any work, if the labels are not usable, or are missing for --max-drop."""
    from rkface.runtime.vision.photo_files import list_photos

    from .evaluate.max_drop import require_enough_pairs
    from .label_files import read_pairs
    from .people_folders import people_in_folders

    if options.people is not None and options.pairs is not None:
        raise InputError("--people and --pairs both say who is on the photos: leave one out")
    if options.people is not None and options.evaluation is not None:
        raise InputError("--people and --evaluation both name the photos to evaluate on: leave one out")
    if options.people is not None:
        people_in_folders(options.people, list_photos(options.people).photos)
    if options.evaluation is not None:
        list_photos(options.evaluation)
    pairs = read_pairs(options.pairs) if options.pairs is not None else []
    if options.max_drop and not (options.people or options.pairs):
        raise InputError(
            "--max-drop compares figures on labeled photos: also give --people, a folder with a subfolder for each "
            "person, or --pairs"
        )
    if options.max_drop and pairs:
        same = [one for *_, one in pairs]
        where, more = f"{options.pairs} has", "label more pairs"
        require_enough_pairs(options.max_drop, sum(same), len(same) - sum(same), where, more)
