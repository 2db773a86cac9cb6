"""What the user says about the input of a recognizer."""

from argparse import ArgumentParser
from dataclasses import replace

import pytest

pytest.importorskip("onnx")

from rkface.convert.convert_command import convert
from rkface.convert.named_models import _stated_preprocessing
from rkface.convert.packs.pack import DEMO
from rkface.convert.preprocessing import INSIDE, StatedPreprocessing, describe_normalization
from rkface.runtime.cli.main import main
from rkface.runtime.core.errors import InputError
from rkface.runtime.core.manifest_reader import parse_manifest
from rkface.runtime.gallery.people import embedding_identity

OWN = ["--detector", str(DEMO / "detector.onnx"), "--recognizer", str(DEMO / "recognizer.onnx")]


def stated(*options):
    parser = ArgumentParser()
    convert(parser)
    return _stated_preprocessing(parser.parse_args([*OWN, *options]))


def test_the_options_state_order_and_normalization():
    assert stated() is None
    assert stated("--recognizer-input", "bgr") == StatedPreprocessing(True)
    assert (
        stated("--recognizer-mean", "none") == stated("--recognizer-std", "none") == StatedPreprocessing(None, INSIDE)
    )
    one = stated("--recognizer-mean", "127.5", "--recognizer-std", "128")
    assert one.normalization == ((127.5,) * 3, (128.0,) * 3)
    own_order = stated("--recognizer-input", "bgr", "--recognizer-mean", "1,2,3", "--recognizer-std", "4,5,6")
    assert own_order.normalization == ((3, 2, 1), (6, 5, 4)), "given in the model's order, kept in RGB order"


@pytest.mark.parametrize(
    ("options", "says"),
    [
        (["--recognizer-mean", "127.5"], "also give the other one"),
        (["--recognizer-mean", "none", "--recognizer-std", "1"], "write none for both, or numbers for both"),
    ],
)
def test_half_a_statement_is_refused(options, says):
    with pytest.raises(InputError, match=says):
        stated(*options)


@pytest.mark.parametrize(
    "options", [["--recognizer-std", "0"], ["--recognizer-mean", "a"], ["--recognizer-input", "grb"]]
)
def test_values_that_cannot_be_are_refused(options, capsys):
    with pytest.raises(SystemExit):
        stated(*options)
    assert options[0] in capsys.readouterr().err


def test_the_options_need_a_recognizer(capsys):
    assert main(["convert", "--recognizer-input", "bgr"]) == 2
    assert "also give --recognizer" in capsys.readouterr().err


def test_normalizations_are_described():
    assert describe_normalization((127.5,) * 3, (128.0,) * 3) == "(x − 127.5) / 128"
    assert describe_normalization(*INSIDE) == "values of 0..255, which it normalizes itself"


def test_embeddings_of_the_other_order_are_not_compared(converted):
    manifest = parse_manifest(converted.bundle)
    model = manifest.recognizer
    turned = replace(manifest, recognizer=replace(model, input=replace(model.input, source_order="BGR")))
    assert embedding_identity(turned) != embedding_identity(manifest)
