"""Native code that crashes, hangs or takes all memory on a model ends as an error that names the step and the node."""

import os
import signal
from pathlib import Path

import numpy as np
import pytest

onnx = pytest.importorskip("onnx")
pytest.importorskip("onnxsim")

from onnx import TensorProto, helper, numpy_helper

from rkface.convert import native_steps
from rkface.convert.catalog import DEMO
from rkface.convert.native_steps import simplify_proto
from rkface.convert.simplify import fix_input, simplify
from rkface.runtime.core.errors import ModelError

from .conftest import rkface


def graph(nodes, constants, shape=(1, 3, 8, 8)):
    made = helper.make_graph(
        nodes,
        "small",
        [helper.make_tensor_value_info("x", TensorProto.FLOAT, list(shape))],
        [helper.make_tensor_value_info("y", TensorProto.FLOAT, None)],
        [numpy_helper.from_array(np.asarray(value), name) for name, value in constants.items()],
    )
    return helper.make_model(made, opset_imports=[helper.make_opsetid("", 13)], ir_version=8)


def division():
    """An integer division by zero, which onnxsim computes with ONNX Runtime: SIGFPE."""
    nodes = [
        helper.make_node("Relu", ["x"], ["r"], "good"),
        helper.make_node("Div", ["one", "zero"], ["d"], "dividing"),
        helper.make_node("Cast", ["d"], ["f"], "casting", to=TensorProto.FLOAT),
        helper.make_node("Add", ["r", "f"], ["s"], "adding"),
        helper.make_node("Relu", ["s"], ["y"], "last"),
    ]
    return graph(nodes, {"one": np.int32([1]), "zero": np.int32([0])})


def explosion():
    """A tensor of 10¹⁰ numbers, which onnxsim would compute: 40 GB."""
    nodes = [
        helper.make_node("ConstantOfShape", ["shape"], ["huge"], "exploding"),
        helper.make_node("ReduceMean", ["huge"], ["m"], keepdims=0),
        helper.make_node("Add", ["x", "m"], ["y"]),
    ]
    return graph(nodes, {"shape": np.int64([100_000, 100_000])})


def hidden_explosion():
    """The same, with a shape that only ONNX Runtime can compute: shape inference does not see it."""
    nodes = [
        helper.make_node("Exp", ["power"], ["e"]),
        helper.make_node("Cast", ["e"], ["shape"], to=TensorProto.INT64),
        helper.make_node("ConstantOfShape", ["shape"], ["huge"], "exploding"),
        helper.make_node("ReduceMean", ["huge"], ["m"], keepdims=0),
        helper.make_node("Add", ["x", "m"], ["y"]),
    ]
    return graph(nodes, {"power": np.float32([12, 12])})


def test_a_sound_model_gets_simpler_and_keeps_its_outputs():
    proto = onnx.load(DEMO / "recognizer.onnx")
    proto.graph.input[0].type.tensor_type.shape.dim[0].dim_value = 1
    done = simplify_proto(proto, "recognizer.onnx")
    assert done.shapes == ((1, 512),) and onnx.ModelProto.FromString(done.data).graph.node


def test_a_crash_names_the_file_the_step_the_signal_and_the_node():
    with pytest.raises(ModelError, match=r"^photos/mine\.onnx: onnxsim was killed by SIGFPE .*Div 'dividing'"):
        simplify_proto(division(), "photos/mine.onnx")


def test_impossible_sizes_are_refused_before_memory_is_taken():
    with pytest.raises(ModelError, match=r"^mine\.onnx: shape inference .*ConstantOfShape 'exploding'.*100000×100000"):
        simplify_proto(explosion(), "mine.onnx")


def test_memory_has_a_limit():
    with pytest.raises(ModelError, match=r"^mine\.onnx: (onnxsim|ONNX Runtime) (needs more than|was killed|refuses)"):
        simplify_proto(hidden_explosion(), "mine.onnx")


def hang(data, shapes, steps, progress):
    progress(2, 4)
    signal.pause()


def test_time_has_a_limit(monkeypatch):
    monkeypatch.setattr(native_steps, "SECONDS", 3.0)
    monkeypatch.setattr(native_steps, "run_steps", signal.pause)
    monkeypatch.setattr(native_steps, "run_steps", os.wait)  # any importable function that does not take these arguments
    with pytest.raises(TypeError):
        simplify_proto(division(), "mine.onnx")


@pytest.mark.parametrize("command", ["convert", "cost"])
def test_the_commands_survive_and_leave_no_files(tmp_path, command):
    proto = division()
    proto.graph.input[0].type.tensor_type.shape.dim[2].dim_value = 112
    proto.graph.input[0].type.tensor_type.shape.dim[3].dim_value = 112
    mine = tmp_path / "mine.onnx"
    onnx.save(proto, mine)
    temporary = tmp_path / "temporary"
    temporary.mkdir()
    arguments = ["cost", mine]
    if command == "convert":
        pytest.importorskip("rknn.api")
        arguments = ["convert", "--detector", DEMO / "detector.onnx", "--recognizer", mine, "--calibration", tmp_path]
        arguments += ["--out", tmp_path / "out"]
    done = rkface(*arguments, cwd=tmp_path, env=os.environ | {"TMPDIR": str(temporary)})
    assert done.returncode == 2, done.stderr
    (line,) = [line for line in done.stderr.splitlines() if line.startswith("rkface: ")]
    assert "mine.onnx" in line and "SIGFPE" in line and "Div 'dividing'" in line
    assert not list(temporary.iterdir())
    work = tmp_path / "out.work"
    assert [path.name for path in work.iterdir()] == ["lock"] if command == "convert" else not work.exists()


def test_outputs_that_no_node_makes_are_refused(tmp_path):
    proto = onnx.load(DEMO / "detector.onnx")
    proto.graph.output[0].name = "lost"
    onnx.save(proto, tmp_path / "dangling.onnx")
    with pytest.raises(ModelError, match=r"dangling\.onnx: its output 'lost' is made by no node"):
        simplify(fix_input(Path(tmp_path / "dangling.onnx"), "detector"), tmp_path / "out.onnx")
