"""The models that the options of ``rkface convert`` name. Imports nothing heavy before it runs."""

from __future__ import annotations

import sys
from argparse import Namespace
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING

from rkface.runtime.core.errors import InputError
from rkface.runtime.core.manifest import Role
from rkface.runtime.core.paths import cache_folder

if TYPE_CHECKING:
    from .acquire import ModelSources
    from .preprocessing import StatedPreprocessing


def find_sources(options: Namespace) -> ModelSources:
    """The models to convert: those of a pack, or the user's own. Raises InputError if the options contradict each
    other."""
    from .acquire import own_sources, pack_sources
    from .model_role import check_not_swapped
    from .packs.known_packs import find_pack
    from .packs.pack_files import check_license

    paths: dict[Role, Path | None] = {"detector": options.detector, "recognizer": options.recognizer}
    given = {role: path for role, path in paths.items() if path is not None}
    cache = options.cache or cache_folder()
    stated = _stated_preprocessing(options)  # what is wrong with the options is said before a download
    if options.recognizer_crop is not None and options.recognizer is None:
        raise InputError("--recognizer-crop describes the model of --recognizer: also give --recognizer")
    if options.pack or not given:
        pack = find_pack(options.pack or "demo")
        check_license(pack, accepted=options.accept_license)
        if not pack.synthetic:
            require_calibration(options)
        sources = pack_sources(pack, cache, accepted=options.accept_license, given=given)
    elif len(given) < len(paths):
        raise InputError(
            "to convert your own models, give both --detector and --recognizer. With --pack NAME, one is enough, if it "
            "is a file of that pack"
        )
    else:
        sources = own_sources(given["detector"], given["recognizer"], options.license or "not stated", cache)
        check_not_swapped(sources.paths)
    if stated is not None:
        sources = replace(sources, stated=stated)
    if options.recognizer_crop is not None:
        sources = replace(sources, crop=options.recognizer_crop)
    sources = _with_liveness(options, sources)
    if options.match_threshold is None:
        return sources
    return replace(sources, match=options.match_threshold, evidence="given with --match-threshold")


def _stated_preprocessing(options: Namespace) -> StatedPreprocessing | None:
    """What the user says about the input of the recognizer; None if nothing."""
    from .preprocessing import INSIDE, StatedPreprocessing

    mean, std, order = options.recognizer_mean, options.recognizer_std, options.recognizer_input
    if mean is None and std is None and order is None:
        return None
    if options.recognizer is None:
        raise InputError(
            "--recognizer-input, --recognizer-mean and --recognizer-std describe the model of --recognizer: also give "
            "--recognizer, or leave them out"
        )
    bgr = None if order is None else order == "bgr"
    if mean is None and std is None:
        return StatedPreprocessing(bgr)
    if mean == () or std == ():
        if mean or std:
            raise InputError("--recognizer-mean and --recognizer-std: write none for both, or numbers for both")
        return StatedPreprocessing(bgr, INSIDE)
    if mean is None or std is None:
        raise InputError(
            "--recognizer-mean and --recognizer-std belong together, as in --recognizer-mean 127.5 --recognizer-std "
            "128: also give the other one"
        )
    turn = -1 if bgr else 1
    (a, b, c), (x, y, z) = mean[::turn], std[::turn]
    return StatedPreprocessing(bgr, ((a, b, c), (x, y, z)))


def _with_liveness(options: Namespace, sources: ModelSources) -> ModelSources:
    from .acquire import with_liveness
    from .liveness_model import choose_profile, explain_profile

    fields = {
        "scale": options.live_scale,
        "live": options.live_class,
        "mean": options.live_mean,
        "std": options.live_std,
        "threshold": options.live_threshold,
        "bgr": options.live_color and options.live_color == "BGR",
    }
    given = {name: value for name, value in fields.items() if value is not None}
    if options.liveness is None:
        if given:
            raise InputError(
                "--live-… options describe the model of --liveness: also give --liveness, or leave them out"
            )
        return sources
    if min(given.get("std", (1,))) <= 0:
        raise InputError("--live-std: values are divided by it, so it must be greater than 0")
    profile = choose_profile(options.liveness, given)
    print(explain_profile(profile), file=sys.stderr)
    return with_liveness(sources, options.liveness, profile, options.license or "not stated")


def require_calibration(options: Namespace) -> None:
    """Raise InputError without --calibration, or without its folder, for real models."""
    if options.calibration is None:
        why = (
            "the FP16 models are compared with FP32 on faces like those that the camera will see"
            if options.no_quantize
            else "INT8 ranges are measured on faces like those that the camera will see, and rendered faces would ruin "
            "a real recognizer"
        )
        raise InputError(f"--calibration is needed: {why}. Give a folder with photos of many people (100 or more)")
    if not options.calibration.is_dir():
        raise InputError(f"--calibration {options.calibration}: there is no such folder of photos")
