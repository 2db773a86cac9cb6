"""Reports made by hand, with names of files that are not harmless."""

import numpy as np

from rkface.convert.cost import LayerCost, ModelCost
from rkface.convert.evaluate.detector_errors import (
    DetectorEvidence,
    SceneErrors,
    SizeErrors,
    ThresholdErrors,
)
from rkface.convert.evaluate.evaluation import EvaluationRequest
from rkface.convert.evaluate.labeled_faces import LabeledFaces, all_pairs
from rkface.convert.evaluate.output_errors import OutputError
from rkface.convert.evaluate.parity import DetectionParity, GroupParity, PairParity, Parity, compare_embeddings
from rkface.convert.pair_search import CostedRecipe, PairGrade, PairResult
from rkface.convert.recipe import NORMAL, TUNED, AccuracyBar
from rkface.convert.recipe_search import Grade, RecipeResult
from rkface.convert.report.conversion_report import ConversionReport
from rkface.convert.report.model_facts import FacePicture, ModelFacts, ReportImages
from rkface.runtime.core.crop_template import ARCFACE_112
from rkface.runtime.core.manifest import Input, Manifest, Model, Output, RecognizerSpec, Source, Thresholds

RANDOM = np.random.default_rng(5)
REQUEST = EvaluationRequest("test for rk3588", "0" * 64, False, 1e-2, 0.25)
HOSTILE = "<script>alert(1)</script>\"'&\udcff.onnx"  # the last character is a byte that is not UTF-8


def manifest(calibration=None):
    source = Source(HOSTILE, "0" * 64, 1000, "MIT")
    input = Input("x", 112, 112, (127.5,) * 3, (127.5,) * 3)
    model = Model("m.rknn", "reference/m.onnx", "int8", input, (Output("y", (1, 512)),), source)
    provenance = {
        "calibration": calibration,
        "match_threshold": {"by": "rkface evaluate", "accepted": {"same": {"low": 0.25}}, "interval": [0.5, 0.75]},
        "versions": {"onnx": "1.18.0"},
        "inputs": {"recognizer": {"mean": [1, 2.5], "order": HOSTILE, "doubt": ""}},
    }
    return Manifest(
        "test", False, "2026-01-01", "rk3588", "2.5.0", "0.1.0", model, RecognizerSpec(**vars(model), crop=ARCFACE_112),
        Thresholds(0.5, 0.4, 0.4321), provenance,
    )  # fmt: skip


def conversion_report(**changes):
    before = RANDOM.normal(size=(20, 64)).astype(np.float32)
    embedding = compare_embeddings(before, before + RANDOM.normal(size=(20, 64)).astype(np.float32) * 0.05)
    detection = DetectionParity(10, 20, 20, 19, 0, 1, 0.99, 0.9, 0.01, 0.02)
    scenes = SceneErrors(1, (ThresholdErrors(0.5, 20, 0, 0, 1, 0),), (SizeErrors(0, None, 20, 0, 0, 1, 0.99, 0.01),))
    output = OutputError("score", 8, 100, 0.0, 0.0, 0.0, 0.9, 0.9, 0.004)
    cost = ModelCost("rk3588", 1.5, 1000, 2000, (LayerCost("conv", "Conv", "w8a8", 1000, 2000, 1.0, 1.5, 1.5),))
    tried = RecipeResult(TUNED, 1.0, Grade(True, (1.0,), "close", 0.99), chosen=True, cost=cost)
    facts = [
        ModelFacts(role, 500, 10, 9, 0.0, {"build": 1.0}, 100.0, (f"{HOSTILE}: outliers",), (tried,))
        for role in ("detector", "recognizer")
    ]
    fields = {
        "manifest": manifest({"digest": "1" * 64, "faces": 30, "frames": 20}),
        "required": AccuracyBar(),
        "parity": Parity(
            detection,
            embedding,
            embedding,
            PairParity(190, 0.4321, 2),
            groups={"in-domain": GroupParity(embedding, embedding)},
            out_of_domain=compare_embeddings(before[:0], before[:0]),
        ),
        "detector_errors": DetectorEvidence((output,), scenes, scenes),
        "models": tuple(facts),
        "notes": (f"{HOSTILE} is odd",),
        "model_pairs": tuple(
            PairResult(CostedRecipe(TUNED, 2.0), CostedRecipe(one, 0.5), PairGrade(True, 0.99, 0.001, 1), chosen)
            for one, chosen in ((TUNED, False), (NORMAL, True))
        ),
    }
    return ConversionReport(**fields | changes)


def conversion_html(report):
    crop = np.zeros((112, 112, 3), np.uint8)
    faces = [FacePicture(crop, cosine, "in-domain") for cosine in sorted(report.parity.embedding.cosines)]
    return report.to_html(ReportImages(faces, [FacePicture(crop, 0.9, "blurred")], [crop], crop, None))


def labeled_faces(people=40, photos=3, name="{}/{}.jpg"):
    owner = np.repeat(np.arange(people), photos)
    first, second, _ = all_pairs(owner)
    crops = RANDOM.integers(0, 255, (len(owner), 16, 16, 3), np.uint8)
    names = tuple(name.format(person, at) for at, person in enumerate(owner.tolist()))
    return LabeledFaces(
        "people", crops, owner, first, second, owner[first] == owner[second], len(owner), names=names
    )  # fmt: skip


def scores(data):
    """Around 0.6 for one person and 0 for two, both ± 0.1."""
    return np.where(data.same, 0.6, 0).astype(np.float32) + RANDOM.normal(0, 0.1, len(data.same)).astype(np.float32)
