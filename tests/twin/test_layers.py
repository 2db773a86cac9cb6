"""`rkface selftest --layers` finds the layer at which the stand-in library goes wrong. cases.py tests the command."""

import json
import os
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest

from rkface.boards.twin.answers import write_answers
from rkface.runtime.backends import Quantized, bindings, npu
from rkface.runtime.cli.layers_report import format_layers, next_steps
from rkface.runtime.core.bundle import read_bundle
from rkface.runtime.core.debug_build import LAYERS, default_folder, read_debug_build
from rkface.runtime.core.errors import BundleError
from rkface.runtime.core.manifest import ROLES
from rkface.runtime.inference.layer_checks import FARTHEST, check_layers, measure_difference

from .debug_builds import FLOATS, INNER, sign

NAMES = [name for name, *_ in INNER]


@pytest.fixture
def debug(board, monkeypatch):
    """The debug build of ``board.bundle``. The library takes this machine for a chip with one core, as we do here."""
    monkeypatch.setattr(npu, "read_soc", lambda: "rk3566")
    build = read_debug_build(default_folder(board.bundle.folder), board.bundle)
    write_answers(build.bundle, Path(os.environ["RKFACE_TWIN_ANSWERS"]))
    return build


def check(debug):
    """The results of detector and recognizer."""
    return check_layers(debug, [0])


@pytest.mark.parametrize("name", NAMES)
def test_a_fault_at_a_layer_names_this_layer_and_nothing_before_it(board, debug, name):
    behind = NAMES[NAMES.index(name) :]
    board.break_calls(f"wrong={'+'.join([*behind, 'embedding'])}")
    detector, recognizer = check(debug)
    assert (recognizer.first.tensor, recognizer.wrong) == (name, (*behind, "embedding"))
    assert (detector.first.tensor, detector.wrong) == (name, tuple(behind))  # it has tensors of the same names
    said = "\n".join(format_layers([recognizer]))
    number = next(number for one, number, _ in INNER if one == name)
    assert f"first wrong: {name} (Conv+Add, 1×4×6×6), layer {number} of 20" in said
    assert f"data before it: right; so it is one of: Conv+PRelu {name}_1, Conv+Add {name}" in said


def test_a_healthy_board_has_no_wrong_layer(board, debug):
    for found in check(debug):
        assert (found.first, found.wrong, found.difference.distance, found.difference.steps) == (None, (), 0, 0)
        assert found.difference.cosine == pytest.approx(1)


def test_a_fault_only_in_the_final_outputs_names_the_output(board, debug):
    board.break_calls("wrong=embedding")
    detector, recognizer = check(debug)
    assert detector.first is None and recognizer.wrong == ("embedding",)
    assert recognizer.first.tensor == "embedding" and recognizer.first.reads == ("neck",)


def test_a_few_steps_of_rounding_are_no_fault_and_one_more_is(board, debug):
    names = "+".join([name for name in NAMES if name not in FLOATS] + ["embedding"])
    board.break_calls(f"wrong={names},steps=4")
    for found in check(debug):
        assert (found.first, found.difference.steps) == (None, 4) and 2.5 < found.difference.distance < FARTHEST
    board.break_calls(f"wrong={names},steps=6")
    assert [found.first.tensor for found in check(debug)] == ["stem", "stem"]


def test_a_model_that_does_not_run_is_said_and_the_other_one_is_checked(board, debug):
    board.break_calls("run=-2@3")  # each model has two inputs, so the third run of a context is never reached
    assert [found.error for found in check(debug)] == ["", ""]
    board.break_calls("run=-2@2")
    assert all("TIMEOUT" in found.error and found.first is None for found in check(debug))


def difference(ours, simulator, fp32):
    """int8 values of the NPU, or floats, compared with int8 values of the simulator; a step is 0.1."""
    raw = Quantized(ours, 0, 0.1) if ours.dtype == np.int8 else ours
    return measure_difference(raw, Quantized(simulator, 0, 0.1).dequantize(), fp32)


def test_what_is_too_far_depends_on_how_far_the_simulator_is_from_fp32():
    rng = np.random.default_rng(1)
    fp32 = rng.normal(0, 4, (16, 12, 12))
    for error in (0.03, 0.5, 1.0):  # of INT8, in the values' units: 0.3, 5 and 10 steps
        ours, simulator = (as_int8(fp32 + rng.normal(0, error, fp32.shape)) for _ in range(2))
        found = difference(ours, simulator, fp32)
        assert not found.wrong and found.distance < 2, (error, found)  # another INT8 model of the same accuracy
        spoiled = simulator.copy()
        spoiled[3] = -spoiled[3]  # one channel of 16
        assert difference(spoiled, simulator, fp32).wrong, error
    assert difference(np.full(fp32.shape, np.nan, np.float32), simulator, fp32).wrong


def as_int8(values):
    return np.clip(np.rint(values / 0.1), -128, 127).astype(np.int8)


def test_few_wrong_values_of_a_mostly_empty_tensor_are_noticed():
    simulator = np.zeros((12_800, 1), np.int8)  # scores of a detector, with two faces
    simulator[:20] = 100
    ours = simulator.copy()
    ours[:10] = 0
    fp32 = simulator * 0.1
    assert difference(ours, simulator, fp32).distance < FARTHEST and difference(ours, simulator, fp32).wrong
    nearly = simulator + (np.arange(12_800) % 7 == 0)[:, None].astype(np.int8)
    assert not difference(nearly, simulator, fp32).wrong
    nobody = np.zeros_like(simulator)
    noise = nobody.copy()
    noise[5] = 1  # its cosine is 0
    assert not difference(noise, nobody, nobody * 0.1).wrong


def test_a_bundle_without_debug_build_says_how_to_make_one(board, tmp_path):
    with pytest.raises(BundleError, match=r"no debug build .* `rkface convert` again with --debug-outputs, then copy"):
        read_debug_build(tmp_path / "none.debug", board.bundle)


def test_the_debug_build_of_another_bundle_is_refused(debug, bundles):
    with pytest.raises(BundleError, match="debug build of another bundle: its detector is not that of"):
        read_debug_build(debug.folder, read_bundle(bundles[1]))


@pytest.mark.parametrize(
    ("change", "says"),
    [
        (lambda raw: raw["models"].pop("recognizer"), "cannot be read"),
        (lambda raw: raw["models"]["detector"]["outputs"].reverse(), "does not begin with the model's own outputs"),
        (lambda raw: raw["models"]["detector"].update(file="../detector.rknn"), "not the name of a file"),
        (lambda raw: raw.update(schema=9), "another version of rkface"),
        (lambda raw: raw.update(models=None), "cannot be read"),
    ],
)
def test_a_damaged_debug_build_is_refused(debug, tmp_path, change, says):
    copy = tmp_path / "copy"
    copy.mkdir()
    for path in debug.folder.iterdir():
        (copy / path.name).write_bytes(path.read_bytes())
    raw = json.loads((copy / LAYERS).read_text())
    change(raw)
    (copy / LAYERS).write_text(json.dumps(raw))
    with pytest.raises(BundleError, match="changed or damaged"):
        read_debug_build(copy, read_bundle(debug_bundle(debug)))
    sign(copy)
    with pytest.raises(BundleError, match=says):
        read_debug_build(copy, read_bundle(debug_bundle(debug)))


def debug_bundle(debug):
    return debug.folder.with_name(debug.folder.name.removesuffix(".debug"))


def test_advice_fits_what_was_found(board, debug):
    board.break_calls("wrong=neck+embedding")
    everywhere = check(debug)
    advice = " ".join(next_steps(everywhere, 1, ["wrong"]))
    assert "--recipe hybrid3" in advice and "selftest" in advice and "doctor --report" in advice
    board.break_calls("wrong=block1+half+block2+neck+embedding")
    assert "--no-quantize" in " ".join(next_steps(check(debug), 1, ["wrong"]))
    assert "only core 0 computes it wrongly" in " ".join(next_steps(everywhere, 3, ["wrong"]))
    assert "only its debug build is not" in next_steps(everywhere, 1, [])[0]
    board.break_calls("")
    healthy = check(debug)
    assert next_steps(healthy, 1, []) == next_steps([], 0, ["no core opens"]) == []
    assert "compiled together" in next_steps(healthy, 1, ["wrong"])[0]


@pytest.mark.skipif("RKFACE_SLOW" not in os.environ, reason="converts the demo pack, minutes: RKFACE_SLOW=1")
def test_a_fault_at_a_layer_of_a_converted_model_is_named(library, monkeypatch, tmp_path):
    pytest.importorskip("rknn.api", reason="rknn-toolkit2 is not installed")
    command = [sys.executable, "-m", "rkface.runtime.cli.main", "convert", "--recipe", "fast", "--size", "416x416"]
    done = {}
    for options in ((), ("--debug-outputs",)):
        subprocess.run([*command, "--out", tmp_path / "bundle", *options], check=True, capture_output=True)
        done[options] = {role: (tmp_path / f"bundle/{role}.rknn").read_bytes() for role in ROLES}
    assert done[()] == done[("--debug-outputs",)], "the bundle's models are the same"
    bundle = read_bundle(tmp_path / "bundle")
    build = read_debug_build(default_folder(bundle.folder), bundle)
    assert [model.cosine for model in build.models.values()] == [1, 1], "so are their results in the simulator"
    write_answers(build.bundle, tmp_path / "answers")
    for name, value in (("ANSWERS", str(tmp_path / "answers")), ("FAULTS", "")):
        monkeypatch.setenv(f"RKFACE_TWIN_{name}", value)
    monkeypatch.setenv("RKFACE_NPU_BINDING", "direct")
    monkeypatch.setattr(bindings, "LIBRARIES", (str(library),))
    monkeypatch.setattr(npu, "read_soc", lambda: "rk3566")
    assert [found.first for found in check(build)] == [None, None]
    for role, found in enumerate(build.models.values()):
        names = [one.tensor for one in sorted(found.outputs, key=lambda one: one.number)]
        for at in (0, len(names) // 2, len(names) - 1):
            monkeypatch.setenv("RKFACE_TWIN_FAULTS", f"wrong={'+'.join(names[at:])}")
            assert check(build)[role].first.tensor == names[at]
