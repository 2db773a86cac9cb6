"""The INT8 simulator held to ONNX Runtime: the demo pack always, real weights and photos where they are.

``make parity`` runs this. One conversion a pack answers all questions. The real photos asked about here include those
that calibrated, because every labeled pair counts; the report of `rkface convert` judges on photos that did not.
"""

import shutil
from dataclasses import dataclass
from functools import partial
from pathlib import Path

import numpy as np
import pytest

pytest.importorskip("rknn.api", reason="rknn-toolkit2 is not installed")

from rkface.convert import prove
from rkface.convert.acquire import own_sources, pack_sources
from rkface.convert.attempt import attempts
from rkface.convert.catalog import find_pack
from rkface.convert.convert import prepare, to_finder
from rkface.convert.material import Material, Photos, evaluation_of, find, gather, render_photos
from rkface.convert.recipe import PLANS, Bar
from rkface.convert.targets import find_target
from rkface.convert.trial import Trial, judge, run_reference, run_trial
from rkface.runtime.core.bundle import ROLES
from rkface.runtime.vision.embed import unit

EARLIER = Path(__file__).resolve().parents[2] / "build/rk3588.work/cache"  # what `make convert` kept


@dataclass(frozen=True)
class Proof:
    name: str
    evaluation: object
    reference: object
    trial: Trial
    parity: prove.Parity


def prove_pack(sources, photos, work, everything=None, *, analyze):
    """Convert as `rkface convert` does, layer errors only with ``analyze``; then ask about ``everything`` (photos)
    instead of those held back."""
    target = find_target("rk3588")
    models = {role: prepare(sources.paths[role], role, work) for role in ROLES}
    finder = to_finder(models, sources)
    material = gather(photos, finder, work / "set")
    if everything is not None:
        material = Material(
            material.calibration, evaluation_of(everything, find(everything.calibration, finder), finder)
        )
    reference = run_reference(models, finder.detector, material.evaluation)
    plan = PLANS["auto"]
    attempt = partial(attempts(models, sources, work, work, analyze=analyze), target)
    trial = run_trial(attempt, models, finder.detector, material, reference, target=target, plan=plan, bar=Bar())
    parity = judge(material.evaluation, reference, trial, sources.match)
    return Proof(sources.name, material.evaluation, reference, trial, parity)


@pytest.fixture(scope="module")
def demo(tmp_path_factory):
    work = tmp_path_factory.mktemp("demo")
    if EARLIER.is_dir():  # the same conversion, by its content and the code's, is not made twice
        shutil.copytree(EARLIER, work / "cache")
    pack = pack_sources(find_pack("demo"), work, accepted=False)
    return prove_pack(pack, render_photos(work / "photos"), work, analyze=PLANS["auto"].analyze)


@pytest.fixture(scope="module")
def real(shared, tmp_path_factory):
    models, people = shared / "models", shared / "data/people"
    sources = own_sources(models / "scrfd_2.5g_kps.onnx", models / "mobilefacenet_128.onnx", "test only")
    everything = Photos(people, pairs=people / "master.csv")
    return prove_pack(sources, Photos(people), tmp_path_factory.mktemp("real"), everything, analyze=False)


@pytest.fixture(params=["demo", "real"])
def proof(request):
    return request.getfixturevalue(request.param)


def test_embeddings_of_the_same_crop(proof):
    parity = proof.parity.embedding
    assert parity.faces >= 60
    # What INT8 of the whole network costs; a wrong color order or normalization falls far below (0.2 to 0.7).
    assert parity.mean >= 0.99 and parity.minimum >= 0.98
    # The length may not be lost either, which a cosine does not see.
    assert 0.95 <= parity.norm_ratio <= 1.05


def test_faces_found(proof):
    parity = proof.parity.detection
    assert parity.faces >= 60
    assert parity.tight >= 0.98 * parity.faces and parity.extra <= 0.02 * parity.faces
    assert parity.landmark_error <= 0.02  # of the inter-ocular distance: a third of a pixel in the aligned crop is 1 %


def test_every_labeled_pair_is_decided_as_fp32_decides_it(proof):
    labeled = proof.evaluation.labeled
    first, second, _ = (np.array(column) for column in zip(*labeled, strict=True))
    fp32, int8 = (unit(embeddings) for embeddings in (proof.reference.embeddings, proof.trial.embeddings))
    threshold = proof.parity.pairs.reference.best_threshold
    before = np.sum(fp32[first] * fp32[second], axis=1)
    after = np.sum(int8[first] * int8[second], axis=1)
    changed = np.flatnonzero((before >= threshold) != (after >= threshold))
    if proof.name != "demo":
        assert len(labeled) == 300
        assert not changed.size
    # Thousands of rendered pairs: one may lie on the threshold itself, which any rounding tips over.
    assert len(changed) <= 0.002 * len(labeled)


def test_end_to_end_the_same_people_are_told_apart(proof):
    # Each face aligned at the landmarks that the quantized detector found, then embedded by the quantized recognizer.
    own, embeddings = proof.trial.own, unit(proof.trial.own_embeddings)
    assert len(own) >= 0.98 * len(proof.evaluation.faces)
    cosines = np.sum(embeddings * unit(proof.reference.embeddings[own]), axis=1)
    assert cosines.mean() >= 0.99
    if proof.name == "demo":
        # Not the minimum: where two anchors see a face equally well, rounding decides which of them places its
        # landmarks, and the demo detector's differ by more than a trained SCRFD's do.
        assert np.percentile(cosines, 5) >= 0.95
    else:
        assert cosines.min() >= 0.98
    place = {index: at for at, index in enumerate(own)}
    pairs = [(place[a], place[b], same) for a, b, same in proof.evaluation.labeled if a in place and b in place]
    first, second, same = (np.array(column) for column in zip(*pairs, strict=True))
    found = prove.verification(np.sum(embeddings[first] * embeddings[second], axis=1), same)
    assert found.best_accuracy >= proof.parity.pairs.reference.best_accuracy - 0.005
