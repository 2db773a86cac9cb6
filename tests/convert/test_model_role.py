"""A detector in the place of a recognizer, and the other way round, are recognized."""

import pytest

pytest.importorskip("onnx")

from rkface.convert.model_role import check_not_swapped
from rkface.convert.packs.pack import DEMO
from rkface.runtime.cli.main import main
from rkface.runtime.core.errors import InputError

DETECTOR, RECOGNIZER = DEMO / "detector.onnx", DEMO / "recognizer.onnx"


def test_swapped_models_are_named_as_swapped(capsys, tmp_path):
    arguments = ["--detector", str(RECOGNIZER), "--recognizer", str(DETECTOR), "--calibration", str(tmp_path)]
    assert main(["convert", *arguments]) == 2
    said = capsys.readouterr().err
    assert "these two are swapped" in said and str(RECOGNIZER) in said and str(DETECTOR) in said
    assert "Exchange --detector and --recognizer" in said


@pytest.mark.parametrize(
    ("detector", "recognizer", "says"),
    [
        (
            RECOGNIZER,
            RECOGNIZER,
            r"is a recognizer \(.*512 numbers\): give a face detector with landmarks with --detector",
        ),
        (DETECTOR, DETECTOR, r"is a detector \(it has 9 outputs\): give a face recognizer with --recognizer"),
    ],
)
def test_the_same_kind_twice_is_refused(detector, recognizer, says):
    with pytest.raises(InputError, match=says):
        check_not_swapped({"detector": detector, "recognizer": recognizer})


def test_the_right_places_are_accepted():
    check_not_swapped({"detector": DETECTOR, "recognizer": RECOGNIZER})
