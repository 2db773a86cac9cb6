"""INT8 in the simulator against FP32 in ONNX Runtime: always for the demo pack, and for real weights and photos if
present: SCRFD with MobileFaceNet, and the pack open.

``make parity`` runs this. Each pack is converted once for all tests. The real photos include those of the calibration
set, because every labeled pair counts; `rkface convert` evaluates only on photos that calibration never saw.
"""

import os
import shutil
from dataclasses import dataclass, replace

import numpy as np
import pytest

pytest.importorskip("onnx")

from rkface.convert import datasets
from rkface.convert.acquire import own_sources, pack_sources
from rkface.convert.compare_models import (
    ConversionContext,
    QuantizedResults,
    measure_parity,
    run_reference,
)
from rkface.convert.conversion import prepare_conversion
from rkface.convert.datasets import Datasets, render_demo_photos
from rkface.convert.evaluate.parity import Parity
from rkface.convert.evaluate.verification import verify_pairs
from rkface.convert.evaluation_set import build_evaluation_set
from rkface.convert.face_finder import PhotoOptions, find_faces
from rkface.convert.packs.known_packs import find_pack
from rkface.convert.prepared_model import build_face_finder
from rkface.convert.recipe import PLANS, AccuracyBar
from rkface.convert.run_recipe import RecipeRunner
from rkface.convert.search_models import quantize_models
from rkface.convert.settings import ConversionSettings
from rkface.convert.targets import find_target
from rkface.runtime.backends.reference import open_reference
from rkface.runtime.vision.embed import unit

from .record_insightface import resized

# All recipes of `auto` take minutes with real weights; these are the ones that it usually ends with.
PLAN = PLANS["auto" if "RKFACE_SLOW" in os.environ else "coarse3"]
pytestmark = pytest.mark.usefixtures("toolkit")


@dataclass(frozen=True)
class Limits:
    """What INT8 may cost.

    mean        cosine to FP32, the mean, end to end
    low         the same, the percentile ``percentile`` (0: the lowest)
    changed     share of the labeled pairs that are decided differently, at the threshold that is best for FP32
    """

    mean: float = 0.99
    low: float = 0.98
    percentile: float = 0
    changed: float = 0


LIMITS = {
    # Not the lowest cosine: if two anchors detect a face equally well, rounding decides which of them gives the
    # landmarks, and the anchors of the demo detector differ more than those of a trained SCRFD. Among thousands of
    # rendered pairs, one may be so close to the threshold that any rounding changes the decision.
    "demo": Limits(low=0.95, percentile=5, changed=0.002),
    "real": Limits(),
    # Measured: 0.9912, 0.967 and one pair. YuNet's landmarks differ more (1.6 % instead of 0.9 % of the distance
    # between the eyes), and the best threshold lies between two pairs that are 0.012 apart.
    "open": Limits(mean=0.985, low=0.95, percentile=5, changed=1 / 300),
}


@dataclass(frozen=True)
class Comparison:
    name: str
    context: ConversionContext
    quantized: QuantizedResults
    parity: Parity

    @property
    def evaluation(self):
        return self.context.datasets.evaluation


def with_photos(context, photos, found):
    """``context`` with FP32's results on all of ``photos``, in which ``found`` was found, and not only on those that
    were held back."""
    models = {
        role: replace(model, backend=open_reference(model.simplified.path, model.input))
        for role, model in context.models.items()
    }
    finder = build_face_finder(models, context.sources)
    datasets = Datasets(context.datasets.calibration, build_evaluation_set(photos, found, finder))
    reference = run_reference(models, finder.detector, datasets.evaluation)
    return ConversionContext(context.sources, models, finder.detector, datasets, reference)


def compare_pack(name, sources, photos, work, everything=None, *, plan, analyze):
    """Convert as `rkface convert` does, and compare INT8 with FP32.

    ``everything`` are photos to evaluate on, instead of those that were held back. ``analyze`` also measures the error
    of each layer.
    """
    target = find_target("rk3588")
    found = {}

    def find_once(folder, *arguments, **options):
        found[folder] = find_faces(folder, *arguments, **options)
        return found[folder]

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(datasets, "find_faces", find_once)  # keeps what it finds
        context = prepare_conversion(sources, photos, ConversionSettings((), work), work)
    if everything is not None:
        context = with_photos(context, everything, found[everything.calibration])
    runner = RecipeRunner(context.models, sources, work, work, analyze=analyze)
    quantized = quantize_models(context, runner.for_target(target), target=target, plan=plan, bar=AccuracyBar())
    return Comparison(name, context, quantized, measure_parity(context, quantized))


@pytest.fixture(scope="module")
def demo(tmp_path_factory, converted):
    work = tmp_path_factory.mktemp("demo")
    for name in ("cache", "photos"):  # do not repeat the same conversion
        shutil.copytree(converted.work / name, work / name)
    pack = pack_sources(find_pack("demo"), work, accepted=False)
    return compare_pack("demo", pack, render_demo_photos(work / "photos"), work, plan=PLANS["auto"], analyze=True)


@pytest.fixture(scope="module")
def real(shared, tmp_path_factory):
    work = tmp_path_factory.mktemp("real")
    detector, recognizer = (shared / "models" / name for name in ("scrfd_2.5g_kps.onnx", "mobilefacenet_128.onnx"))
    if "RKFACE_SLOW" not in os.environ:  # the same network; the simulator takes long for each pixel
        detector = resized(detector, 320, 320, work)
    return compare_on_people("real", own_sources(detector, recognizer, "test only"), shared / "data/people", work)


# Not with the name of the pack: `open` is a function of Python.
@pytest.fixture(scope="module")
def open_pack(shared, open_models, tmp_path_factory):
    work = tmp_path_factory.mktemp("open")
    sources = pack_sources(find_pack("open"), work, accepted=False, given=open_models)
    return compare_on_people("open", sources, shared / "data/people", work)


def compare_on_people(name, sources, people, work):
    """On all photos of the folder ``people``, with its labeled pairs. They are upright: one look at each is enough."""
    photos = PhotoOptions(people, one_look=True)
    everything = replace(photos, pairs=people / "master.csv")
    return compare_pack(name, sources, photos, work, everything, plan=PLAN, analyze=False)


@pytest.fixture(params=["demo", "real", "open_pack"])
def comparison(request):
    return request.getfixturevalue(request.param)


def test_embeddings_of_the_same_crop(comparison):
    parity = comparison.parity.embedding
    assert parity.faces >= 60
    # What INT8 for all layers costs; with a wrong color order or normalization, the cosine is far lower (0.2 to 0.7).
    assert parity.mean >= 0.99 and parity.minimum >= 0.98
    # The length must be right, too; a cosine does not depend on it.
    assert 0.95 <= parity.norm_ratio <= 1.05


def test_faces_found(comparison):
    parity = comparison.parity.detection
    assert parity.faces >= 60
    assert parity.tight >= 0.98 * parity.faces and parity.extra <= 0.02 * parity.faces
    # share of the inter-ocular distance: 1 % is a third of a pixel in a crop of 112 pixels
    assert parity.landmark_error <= 0.02


def test_every_labeled_pair_is_decided_as_by_fp32(comparison):
    labeled = comparison.evaluation.labeled
    first, second, _ = (np.array(column) for column in zip(*labeled, strict=True))
    fp32, int8 = (
        unit(embeddings) for embeddings in (comparison.context.reference.embeddings, comparison.quantized.embeddings)
    )
    threshold = comparison.parity.pairs.reference.best_threshold
    before = np.sum(fp32[first] * fp32[second], axis=1)
    after = np.sum(int8[first] * int8[second], axis=1)
    changed = np.flatnonzero((before >= threshold) != (after >= threshold))
    assert len(changed) <= LIMITS[comparison.name].changed * len(labeled)
    if comparison.name != "demo":
        assert len(labeled) == 300
        assert comparison.parity.pairs.changed == 0  # at the threshold of the pack


def test_end_to_end_embeddings_and_verification_stay_close_to_fp32(comparison):
    # Each face is aligned at the landmarks that the quantized detector found, then embedded by the quantized
    # recognizer.
    own, embeddings = comparison.quantized.own, unit(comparison.quantized.own_embeddings)
    assert len(own) >= 0.98 * len(comparison.evaluation.faces)
    cosines = np.sum(embeddings * unit(comparison.context.reference.embeddings[own]), axis=1)
    limits = LIMITS[comparison.name]
    assert cosines.mean() >= limits.mean and np.percentile(cosines, limits.percentile) >= limits.low
    place = {index: at for at, index in enumerate(own)}
    pairs = [(place[a], place[b], same) for a, b, same in comparison.evaluation.labeled if a in place and b in place]
    first, second, same = (np.array(column) for column in zip(*pairs, strict=True))
    cosines = np.sum(embeddings[first] * embeddings[second], axis=1)
    found = verify_pairs(cosines, same)
    assert found.best_accuracy >= comparison.parity.pairs.reference.best_accuracy - 0.005
    fp32 = unit(comparison.context.reference.embeddings[own])
    assert auc(cosines, same) >= auc(np.sum(fp32[first] * fp32[second], axis=1), same) - 0.001


def auc(cosines, same):
    """The share of (pair of one person, pair of two people) in which the first has the higher cosine."""
    return np.searchsorted(np.sort(cosines[~same]), cosines[same]).mean() / np.sum(~same)
