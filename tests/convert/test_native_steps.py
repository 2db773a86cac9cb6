"""Native code that crashes, hangs or takes all memory on a model ends as an error that names the step and the node."""

import importlib
import os
import sys
from pathlib import Path

import numpy as np
import pytest

onnx = pytest.importorskip("onnx")
pytest.importorskip("onnxsim")

from onnx import TensorProto, helper, numpy_helper

from rkface.convert import native_steps
from rkface.convert.native_steps import simplify_proto
from rkface.convert.packs.pack import DEMO
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


def breaking(shape=(1, 3, 8, 8)):
    """A model whose node "breaking" ends the process that reads it, as the fixture ``breaks`` makes it."""
    names = ("good", "breaking", "casting", "last")
    tensors = ("x", "a", "b", "c", "y")
    nodes = [
        helper.make_node("Relu", [read], [made], name)
        for name, read, made in zip(names, tensors, tensors[1:], strict=False)
    ]
    return graph(nodes, {}, shape)


STEPS = """
import os, signal, time
import onnx
from rkface.convert.native_steps import STEPS, run_steps as run

def run_steps(data, shapes, steps, progress):
    for step in steps:
        progress(STEPS.index(step), len(STEPS))
        if step == "onnxsim" and any(node.name == "breaking" for node in onnx.ModelProto.FromString(data).graph.node):
            {how}
    return run(data, shapes, steps, progress)
"""


@pytest.fixture
def breaks(tmp_path, monkeypatch):
    """Let the process for native code break as ``how`` says when it simplifies the node "breaking"."""

    def arrange(how):
        (tmp_path / "rkface_steps_of_a_test.py").write_text(STEPS.format(how=how))
        monkeypatch.syspath_prepend(tmp_path)
        module = importlib.import_module("rkface_steps_of_a_test")
        monkeypatch.setattr(native_steps, "run_steps", module.run_steps)

    yield arrange
    sys.modules.pop("rkface_steps_of_a_test", None)


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


@pytest.mark.parametrize("name", ["SIGSEGV", "SIGFPE", "SIGABRT", "SIGKILL"])
def test_a_crash_names_the_file_the_step_the_signal_and_the_node(breaks, name):
    breaks(f"os.kill(os.getpid(), signal.{name})")
    with pytest.raises(ModelError, match=rf"^photos/mine\.onnx: onnxsim was killed by {name} .*node Relu 'breaking'"):
        simplify_proto(breaking(), "photos/mine.onnx")


def test_a_process_that_takes_too_long_is_stopped(breaks, monkeypatch):
    breaks("time.sleep(600)")
    monkeypatch.setattr(native_steps, "SECONDS", 5.0)
    with pytest.raises(ModelError, match=r"^mine\.onnx: (shape inference|onnxsim) took longer than 5 s"):
        simplify_proto(breaking(), "mine.onnx")


def test_impossible_sizes_are_refused_before_memory_is_taken():
    with pytest.raises(ModelError, match=r"^mine\.onnx: shape inference .*ConstantOfShape 'exploding'.*100000×100000"):
        simplify_proto(explosion(), "mine.onnx")


def test_memory_has_a_limit():
    with pytest.raises(ModelError, match=r"^mine\.onnx: (onnxsim|ONNX Runtime) (needs more than|was killed|refuses)"):
        simplify_proto(hidden_explosion(), "mine.onnx")


def test_an_impossible_kernel_is_an_error():
    """Shape inference of onnx 1.18 crashes on it."""
    nodes = [
        helper.make_node("Concat", ["one", "one"], ["kernel"], axis=0),
        helper.make_node("ConvTranspose", ["x", "kernel"], ["y"], "transposed"),
    ]
    says = r"^mine\.onnx: shape inference (was killed by SIGSEGV .*ConvTranspose 'transposed'|refuses it)"
    with pytest.raises(ModelError, match=says):
        simplify_proto(graph(nodes, {"one": np.float32([1])}), "mine.onnx")


def test_outputs_without_a_shape_get_one():
    proto = breaking()
    assert not proto.graph.output[0].type.tensor_type.HasField("shape")
    assert simplify_proto(proto, "mine.onnx").shapes == ((1, 3, 8, 8),)


@pytest.mark.parametrize("command", ["convert", "cost"])
def test_the_commands_survive_and_leave_no_files(tmp_path, request, command):
    nodes = [
        helper.make_node("Concat", ["one", "one"], ["kernel"], axis=0),
        helper.make_node("ConvTranspose", ["x", "kernel"], ["y"], "transposed"),
    ]
    mine, temporary = tmp_path / "mine.onnx", tmp_path / "temporary"
    onnx.save(graph(nodes, {"one": np.float32([1])}, (1, 3, 112, 112)), mine)
    temporary.mkdir()
    arguments = ["cost", mine]
    if command == "convert":
        request.getfixturevalue("toolkit")
        arguments = ["convert", "--detector", DEMO / "detector.onnx", "--recognizer", mine, "--calibration", tmp_path]
        arguments += ["--out", tmp_path / "out"]
        (tmp_path / "out.work" / "models-of-a-killed-conversion").mkdir(parents=True)
    done = rkface(*arguments, cwd=tmp_path, env=os.environ | {"TMPDIR": str(temporary)})
    assert done.returncode == 2, done.stderr
    (line,) = [line for line in done.stderr.splitlines() if line.startswith("rkface: ")]
    assert "mine.onnx: shape inference" in line
    assert not list(temporary.iterdir())
    work = tmp_path / "out.work"
    assert [path.name for path in work.iterdir()] == ["lock"] if command == "convert" else not work.exists()


def test_outputs_that_no_node_makes_are_refused(tmp_path):
    proto = onnx.load(DEMO / "detector.onnx")
    proto.graph.output[0].name = "lost"
    onnx.save(proto, tmp_path / "dangling.onnx")
    with pytest.raises(ModelError, match=r"dangling\.onnx: its output 'lost' is made by no node"):
        simplify(fix_input(Path(tmp_path / "dangling.onnx"), "detector"), tmp_path / "out.onnx")
