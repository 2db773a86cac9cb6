"""The test cases that run on the twin, in one process, which takes seconds to start.

Usage: cases.py BOARD_PREFIX BUNDLE…. Prints a JSON object: case → null or the traceback. Cases run in their order.
RKFACE_NPU_BINDING names the binding; cases about rknn-toolkit-lite2 itself are left out with the direct one, which also
runs where that package is not installed.
"""

import contextlib
import ctypes
import io
import itertools
import json
import os
import sys
import traceback
from dataclasses import replace
from pathlib import Path

import numpy as np

from rkface.runtime.backends import Quantized
from rkface.runtime.backends.bindings import DIRECT, LITE, captured_log, find_binding
from rkface.runtime.backends.npu import open_npu
from rkface.runtime.backends.shared_weights import SharedWeights
from rkface.runtime.cli.main import main
from rkface.runtime.core.bundle import read_bundle
from rkface.runtime.core.errors import BundleError, DeviceError, InputError, ModelError
from rkface.runtime.core.manifest import ROLES, Input, Output
from rkface.runtime.inference.frames import Frame
from rkface.runtime.inference.golden import read_golden
from rkface.runtime.inference.open_bundle import open_bundle, open_scheduler
from rkface.runtime.inference.pipeline import Pipeline
from rkface.runtime.vision.detect import Detector
from rkface.runtime.vision.embed import unit

PREFIX = Path(sys.argv[1])
LIBRARY = PREFIX / "usr/lib/librknnrt.so"
FOLDERS = [Path(one) for one in sys.argv[2:]]
FOLDER, OPEN = FOLDERS[:2]  # made up: SCRFD with ArcFace's crop; YuNet with dlib's, and a constant taken off
BUNDLE = read_bundle(FOLDER, "rk3588")
MODEL = BUNDLE.model("recognizer")
PATH = BUNDLE.path("recognizer")
IMAGES = read_golden(BUNDLE, "recognizer").inputs
# Without the variable: rknn-toolkit-lite2 where it has a wheel.
CHOSEN = os.environ["RKFACE_NPU_BINDING"] or (LITE if sys.version_info < (3, 13) else DIRECT)


def read_yaml_once():
    """rknn-toolkit-lite2 reads YAML files of its own each time a model is opened: under emulation, most of a case."""
    from ruamel.yaml import YAML

    load, known = YAML.load, {}

    def load_once(self, stream):
        text = stream if isinstance(stream, (str, bytes)) else stream.read()
        if text not in known:
            known[text] = load(self, text)
        return known[text]

    YAML.load = load_once


def only_with_lite(case):
    case.binding = LITE
    return case


@contextlib.contextmanager
def faults(text):
    os.environ["RKFACE_TWIN_FAULTS"] = text
    try:
        yield
    finally:
        os.environ["RKFACE_TWIN_FAULTS"] = ""


@contextlib.contextmanager
def replaced(path, content=None):
    """Remove the file, or replace its content, for the time of a block."""
    kept = path.with_suffix(".kept")
    path.rename(kept)
    try:
        if content is not None:
            path.write_bytes(content)
        yield
    finally:
        kept.replace(path)


def open_model(**options):
    return open_npu(PATH, MODEL, **options)


def expect_error(kind, call, *words):
    """Check that ``call`` raises an error of ``kind`` whose message has all ``words``; returns the message."""
    try:
        call()
    except kind as error:
        assert type(error) is kind, f"{type(error).__name__}: {error}"
        assert all(word in str(error) for word in words), f"{words} not all in: {error}"
        return str(error)
    raise AssertionError(f"no {kind.__name__}")


def counter(name):
    """A counter of the stand-in library: contexts, weights, most_weights."""
    return ctypes.c_int.in_dll(ctypes.CDLL("/usr/lib/librknnrt.so"), f"rkface_twin_{name}")


def contexts():
    return counter("contexts").value


# These two are first, because the library stays loaded once it was loaded.
def case_a_library_that_is_not_an_elf_file_is_refused():
    with replaced(LIBRARY, b"<!DOCTYPE html><html>404</html>" * 9):
        expect_error(DeviceError, open_model, "/usr/lib/librknnrt.so", "invalid ELF header", "copy it again")


def case_a_missing_library_is_reported():
    with replaced(LIBRARY):
        expect_error(DeviceError, open_model, "not installed", "toolkit 2.5.0", "/usr/lib/librknnrt.so", "doctor")


def case_golden_outputs_come_back_bit_for_bit():
    for folder in FOLDERS:
        bundle = read_bundle(folder, "rk3588")
        for role in ROLES:
            model, golden = bundle.model(role), read_golden(bundle, role)
            backend = open_npu(bundle.path(role), model, core=2)
            outputs = backend.infer(golden.inputs)
            backend.close()
            for output, ours, simulator in zip(model.outputs, outputs, golden.simulator, strict=True):
                assert ours.dtype == np.float32 and ours.shape[1:] == output.shape[-(ours.ndim - 1) :], output
                np.testing.assert_array_equal(ours, simulator.reshape(ours.shape), err_msg=output.name)


def case_the_environment_chooses_the_binding_or_else_the_python():
    assert find_binding().name == CHOSEN, find_binding()


@only_with_lite
def case_outputs_equal_those_of_the_bindings_inference():
    from rknnlite.api import RKNNLite

    for bundle, role in itertools.product(map(read_bundle, FOLDERS), ROLES):
        model, golden = bundle.model(role), read_golden(bundle, role)
        lite = RKNNLite()
        with captured_log():
            assert lite.load_rknn(str(bundle.path(role))) == 0 and lite.init_runtime() == 0
        theirs = lite.inference(inputs=[golden.inputs[:1]], data_format=["nhwc"])
        backend = open_npu(bundle.path(role), model)
        ours = backend.infer(golden.inputs[:1])
        for one, other in zip(ours, theirs, strict=True):
            np.testing.assert_array_equal(one.ravel(), other.ravel())
        backend.close()
        lite.release()


def case_int8_outputs_stay_int8_and_float_ones_float():
    for folder, floats in ((FOLDER, {"kps32"}), (OPEN, {"obj_32", "kps_32"})):
        bundle = read_bundle(folder)
        model, golden = bundle.model("detector"), read_golden(bundle, "detector")
        backend = open_npu(bundle.path("detector"), model)
        outputs = backend.infer_quantized(golden.inputs[0])
        backend.close()
        kinds = {output.name: type(array) for output, array in zip(model.outputs, outputs, strict=True)}
        assert {name for name, kind in kinds.items() if kind is not Quantized} == floats, kinds


def case_faces_are_the_same_from_int8_and_from_floats():
    for folder in FOLDERS:
        bundle = read_bundle(folder)
        model, golden = bundle.model("detector"), read_golden(bundle, "detector")
        backend = open_npu(bundle.path("detector"), model)
        detector = Detector(backend, model.input, model.outputs)
        # 128/255 is a quantization step of the scores: int8 and floats must agree whether it passes.
        for image in golden.inputs:
            quantized, floats = backend.infer_quantized(image), [array[0] for array in backend.infer(image[None])]
            for threshold in (0.4, 0.5, 128 / 255, float(np.float32(128) * np.float32(1 / 255)), 0.9, 1.0):
                quick, plain = (detector.faces(outputs, 0.7, threshold) for outputs in (quantized, floats))
                for name in ("boxes", "scores", "landmarks"):
                    np.testing.assert_array_equal(getattr(quick, name), getattr(plain, name), err_msg=str(folder))
        assert len(detector.faces(backend.infer_quantized(golden.inputs[0]), 0.7, 0.5)) > 0, folder
        backend.close()


def case_a_pipeline_uses_the_npu_by_default():
    with open_bundle(FOLDER) as pipeline:
        assert pipeline.backend == "npu"
        # The image has the detector's size, so the pipeline only converts it to RGB.
        image = read_golden(BUNDLE, "detector").inputs[0, ..., ::-1]
        assert len(pipeline.detect(np.ascontiguousarray(image))) > 3


def case_a_recognizer_for_another_crop_has_its_size_and_contract():
    bundle = read_bundle(OPEN)
    spec, golden = bundle.manifest.recognizer, read_golden(bundle, "recognizer")
    path = bundle.path("recognizer")
    assert (spec.crop.name, spec.crop.width, spec.crop.height, len(spec.center)) == ("dlib-150", 150, 150, 128)
    assert len(bundle.manifest.detector.outputs) == 12
    with open_bundle(OPEN) as pipeline:
        found = pipeline.embed([np.ascontiguousarray(image[..., ::-1]) for image in golden.inputs])
    np.testing.assert_allclose(found, unit(golden.simulator[0]), atol=1e-6, rtol=0)
    padded = replace(spec.crop, points=tuple((x + 1, y) for x, y in spec.crop.points))
    expect_error(ModelError, lambda: open_npu(path, replace(spec, crop=padded)), "made for crop dlib-150/")
    expect_error(ModelError, lambda: open_npu(path, replace(spec, center=spec.center[::-1])), "made for center")
    expect_error(ModelError, lambda: open_npu(path, replace(spec, center=())), "made for center", "none")


def case_wrong_images_never_reach_the_npu():
    backend = open_model()
    for image in (IMAGES[:1].astype(np.float32), IMAGES[:1, :100], IMAGES[:1].transpose(0, 3, 1, 2)):
        expect_error(ValueError, lambda image=image: backend.infer(image), "uint8 RGB")
    backend.close()
    expect_error(DeviceError, lambda: backend.infer(IMAGES[:1]), "closed")


def case_each_error_of_the_library_names_its_fix():
    for code, words in {
        -1: ("FAIL", "dmesg"),
        -3: ("DEVICE_UNAVAILABLE", "driver"),
        -4: ("MALLOC_FAIL", "CMA"),
        -6: ("MODEL_INVALID", "older than the toolkit"),
        -10: ("DEVICE_UNMATCH", "update both"),
        -12: ("OPTIMIZATION_LEVEL", "convert again"),
        -13: ("TARGET_PLATFORM_UNMATCH", "--target"),
        -14: ("KEY_INVALID", "does not encrypt models"),
        -15: ("DECRYPT_FAILED", "does not encrypt models"),
        -16: ("SOC_BIND_FAILED", "convert again"),
    }.items():
        with faults(f"init={code}"):
            expect_error(DeviceError, open_model, str(PATH), f"({code})", *words)
    with faults("mask=-5"):
        expect_error(DeviceError, lambda: open_model(core=1), "core", "update driver")


def case_a_failed_run_is_an_error_and_the_model_can_be_opened_again():
    for fault, words in {
        "run=-2@3": ("rknn_run", "TIMEOUT", "reboot"),
        "hang=1@3": ("rknn_run", "FAIL (-1)", "did not answer in time", "reboot"),
        "run=-3@3": ("DEVICE_UNAVAILABLE",),
        "outputs=-9@3": ("rknn_outputs_get", "OUTPUT_INVALID"),
    }.items():
        with faults(fault):
            backend = open_model()
            first = backend.infer(IMAGES[:1])
            backend.infer(IMAGES[:1])
            expect_error(DeviceError, lambda backend=backend: backend.infer(IMAGES[:1]), *words)
            backend.close()
            again = open_model()
            np.testing.assert_array_equal(again.infer(IMAGES[:1])[0], first[0])
            again.close()


@only_with_lite
def case_the_bindings_inference_hides_a_failed_run():
    from rknnlite.api import RKNNLite

    # The reason why librknn.py makes the calls itself. If this case fails, the binding has changed: read it again.
    lite = RKNNLite()
    with captured_log():
        assert lite.load_rknn(str(PATH)) == 0 and lite.init_runtime() == 0
    with faults("run=-2"), captured_log() as said:
        assert lite.inference(inputs=[IMAGES[:1]], data_format=["nhwc"]) is not None
    lite.release()
    assert "".join(said) == ""


def case_a_library_that_is_older_or_newer_than_the_toolkit_loads_the_same_file_format():
    for version in ("2.3.2", "2.10.0"):
        with faults(f"version={version}"):
            open_model().close()


def case_a_manifest_that_does_not_describe_the_model_is_refused():
    input = MODEL.input
    twice = replace(MODEL, input=Input(input.name, 112, 112, (0.0, 0.0, 0.0), (1.0, 1.0, 1.0)))
    expect_error(ModelError, lambda: open_npu(PATH, twice), "made for mean [127.5, 127.5, 127.5]", "[0.0")
    taller = replace(MODEL, input=Input(input.name, 128, 112, input.mean, input.std))
    other_crop = replace(MODEL, crop=replace(MODEL.crop, width=113))
    centered = replace(MODEL, center=(0.5,) * 512)
    shorter = replace(MODEL, outputs=(Output("embedding", (1, 128)),))
    expect_error(ModelError, lambda: open_npu(PATH, taller), "height 112", "128")
    expect_error(ModelError, lambda: open_npu(PATH, other_crop), "made for crop arcface-112")
    expect_error(ModelError, lambda: open_npu(PATH, centered), "made for center none")
    expect_error(ModelError, lambda: open_npu(PATH, shorter), "512", "1×128")
    foreign = PREFIX / "foreign.rknn"
    foreign.write_bytes(b"RKNN" + bytes(999))
    expect_error(ModelError, lambda: open_npu(foreign, MODEL), "convert it with rkface")


def case_other_chips():
    tree = PREFIX / "proc/device-tree/compatible"
    with replaced(tree, b"radxa,rock-3a\0rockchip,rk3568\0"):
        for core in (None, 0):
            open_model(core=core).close()  # the chip has one core, so the library would refuse a core mask
        expect_error(InputError, lambda: open_model(core=1), "rk3568", "no NPU core 1")
        expect_error(BundleError, lambda: open_bundle(FOLDER), "made for rk3588, this is rk3568", "--target rk3568")
    with replaced(tree, b"radxa,rock-4d\0rockchip,rk3576\0"):
        open_model(core=1).close()
        expect_error(InputError, lambda: open_model(core=2), "rk3576", "0 to 1")


def case_three_cores_share_one_copy_of_the_weights():
    expected = [open_and_run(weights=None, core=core) for core in range(3)]
    counter("most_weights").value = 0
    weights = SharedWeights()
    backends = [open_model(core=core, weights=weights) for core in range(3)]
    assert (contexts(), counter("weights").value) == (3, 1)
    for backend, alone in zip(backends, expected, strict=True):
        np.testing.assert_array_equal(backend.infer(IMAGES)[0], alone)
    # The context that loaded the weights is closed first: the others still use them.
    backends[0].close()
    for backend, alone in zip(backends[1:], expected[1:], strict=True):
        np.testing.assert_array_equal(backend.infer(IMAGES)[0], alone)
        backend.close()
    assert (contexts(), counter("weights").value, counter("most_weights").value) == (0, 0, 1)


def open_and_run(**options):
    backend = open_model(**options)
    outputs = backend.infer(IMAGES)[0]
    backend.close()
    return outputs


def case_a_library_that_does_not_share_weights_gives_each_core_its_own():
    weights = SharedWeights()
    with faults("dup=-1"):
        backends = [open_model(core=core, weights=weights) for core in range(3)]
    assert (contexts(), counter("weights").value) == (3, 3)
    for backend in backends:
        backend.infer(IMAGES[:1])
        backend.close()
    assert (contexts(), counter("weights").value) == (0, 0)


def case_a_core_that_refuses_is_an_error_also_with_shared_weights():
    weights = SharedWeights()
    first = open_model(core=0, weights=weights)
    with faults("mask=-1"):
        expect_error(DeviceError, lambda: open_model(core=1, weights=weights), "refuses the requested core")
    assert contexts() == 1
    first.close()
    assert contexts() == 0


def case_a_context_that_cannot_be_closed_hides_no_other_error():
    weights = SharedWeights()
    with faults("destroy=-7,run=-3"):
        first, second = (open_model(core=core, weights=weights) for core in range(2))
        for backend in (first, second):
            expect_error(DeviceError, lambda backend=backend: backend.infer(IMAGES[:1]), "DEVICE_UNAVAILABLE")
            backend.close()
    assert (contexts(), counter("weights").value) == (0, 0)


def case_after_a_failed_run_the_weights_are_loaded_again():
    weights = SharedWeights()
    with faults("run=-1@2"):
        broken, healthy = (open_model(core=core, weights=weights) for core in range(2))
        broken.infer(IMAGES[:1])
        expect_error(DeviceError, lambda: broken.infer(IMAGES[:1]), "rknn_run failed, FAIL (-1)", "in time")
        broken.close()
        again = open_model(core=0, weights=weights)
        third = open_model(core=2, weights=weights)
        # The library keeps the context that loaded the weights of ``healthy``.
        assert (contexts(), counter("weights").value) == (4, 2)
        for backend in (healthy, again, third):
            backend.infer(IMAGES[:1])
            backend.close()
    assert (contexts(), counter("weights").value) == (0, 0)


def case_a_broken_npu_never_falls_back_to_onnx_runtime():
    with faults("init=-3"):
        expect_error(DeviceError, lambda: open_bundle(FOLDER), "DEVICE_UNAVAILABLE")


def case_every_context_was_closed():
    before = contexts()
    with faults("mask=-5"):
        expect_error(DeviceError, lambda: open_model(core=0), "core")
    shorter = replace(MODEL, outputs=(Output("embedding", (1, 128)),))
    expect_error(ModelError, lambda: open_npu(PATH, shorter), "512")
    # The recognizer's model cannot be open_model, so the detector's must be closed again.
    with replaced(PATH, b"RKNN" + bytes(999)):
        expect_error(BundleError, lambda: open_bundle(FOLDER), "changed or damaged")
    assert (before, contexts()) == (0, 0)


def case_many_frames_leave_no_garbage():
    import gc

    backend = open_model()
    backend.infer(IMAGES)
    gc.collect()
    gc.disable()
    try:
        for _ in range(100):
            backend.infer(IMAGES[:1])
        left = gc.collect()
    finally:
        gc.enable()
        backend.close()
    # A few objects may be Python's own; the binding's inference leaves hundreds (12 kB for every run).
    assert left < 50, left


def _command(*arguments):
    out, err = io.StringIO(), io.StringIO()
    with contextlib.redirect_stdout(out), contextlib.redirect_stderr(err):
        code = main(arguments)
    return code, out.getvalue(), err.getvalue()


def case_selftest_passes_on_a_healthy_board():
    counter("most_weights").value = 0
    for folder in FOLDERS:
        code, out, _ = _command("selftest", "--bundle", str(folder), "--runs", "3", "--json")
        result = json.loads(out)
        assert (code, result["verdict"], result["problems"]) == (0, "ok", []), out
        models = list(read_bundle(folder).manifest.models)  # the converted one has the detector in several shapes
        assert [one["role"] for one in result["agreements"]] == models
        assert all(one["simulator"] > 0.9999 for one in result["agreements"]), out
        places = ["core 0", "core 1", "core 2", "3 cores together"]
        assert [row["where"] for row in result["latencies"]] == places * len(models)
        assert [row["runs"] for row in result["latencies"]] == [3, 3, 3, 9] * len(models)
        assert result["machine"]["board"] == "Radxa ROCK 5B (twin)" and result["machine"]["soc"] == "rk3588"
        assert result["librknnrt"].startswith("2.5.0")
        assert result["binding"].startswith(CHOSEN)
        assert counter("most_weights").value == 1  # the cores share weights, as in the service


def case_doctor_and_version_know_the_board_and_its_bundles():
    code, out, err = _command("version", "--json")
    assert code == 0, err
    assert json.loads(out)["librknnrt"].startswith("2.5.0"), out
    for folder in FOLDERS:
        _, out, err = _command("doctor", "--bundle", str(folder), "--json")
        checks = {check["name"]: check for check in json.loads(out)["lines"]}
        assert checks["bundle"]["verdict"] == "ok", (folder, checks, err)


def case_the_scheduler_distributes_frames_over_three_cores():
    pictures = [image[..., ::-1].copy() for image in read_golden(BUNDLE, "detector").inputs] * 6
    with open_bundle(FOLDER, "npu") as pipeline:
        expected = [pipeline.detect(picture) for picture in pictures]
    with open_scheduler(FOLDER, "npu", work=Pipeline.detect) as scheduler:
        results = list(scheduler.run(map(Frame, pictures)))
        assert contexts() == 6 and len(scheduler.state()) == 3  # two models on each core
        assert counter("weights").value == 2  # each in memory once
    assert contexts() == 0
    for result, plain in zip(results, expected, strict=True):
        assert result.error is None, result.error
        np.testing.assert_array_equal(result.faces.boxes, plain.boxes)


def case_the_scheduler_reopens_a_context_that_timed_out():
    pictures = [image[..., ::-1].copy() for image in read_golden(BUNDLE, "detector").inputs] * 4
    with faults("run=-2@5"), open_scheduler(FOLDER, "npu", cores=1, work=Pipeline.detect) as scheduler:
        results = list(scheduler.run(map(Frame, pictures)))
        assert contexts() == 2
    assert [index for index, result in enumerate(results) if result.error] == [4, 9]  # the fifth run of each context
    assert "TIMEOUT" in str(results[4].error), results[4].error
    assert contexts() == 0


def case_selftest_detects_an_npu_that_computes_wrongly():
    with faults("wrong=1"):
        code, out, _ = _command("selftest", "--bundle", str(FOLDER), "--runs", "1")
    assert code == 1 and "computes something else than its simulator" in out and out.endswith("NOT healthy\n"), out


def _layers(fault, *options):
    with faults(fault):
        code, out, err = _command("selftest", "--bundle", str(FOLDER), "--runs", "1", "--layers", *options)
    return code, out, err


def case_selftest_finds_every_layer_right_on_a_healthy_board():
    code, out, _ = _layers("", "--json")
    found = json.loads(out)
    assert (code, found["verdict"], found["next"]) == (0, "ok", []), found
    assert [(one["role"], one["core"], one["first"]) for one in found["layers"]] == [
        (role, core, None) for role in ROLES for core in range(3)
    ]


def case_selftest_names_the_first_wrong_layer_of_each_core():
    wrong = "block2+neck+embedding"
    code, out, _ = _layers(f"wrong={wrong},oncore=1", "--json")
    found = json.loads(out)
    firsts = {(one["role"], one["core"]): one["first"] and one["first"]["tensor"] for one in found["layers"]}
    assert code == 1 and firsts == {
        (role, core): "block2" if core == 1 else None for role in ROLES for core in range(3)
    }
    assert "only core 1 computes it wrongly" in " ".join(found["next"]) and "cores = 1" in " ".join(found["next"])
    code, out, _ = _layers(f"wrong={wrong}")
    assert code == 1 and out.count("first wrong: block2 (Conv+Add, 1×4×6×6), layer 8 of 20") == 6, out
    assert "rkface selftest --layers" in out  # where the shipped model's failure is reported
    assert "next  recognizer: update librknnrt" in out and "--no-quantize" in out and out.endswith("NOT healthy\n")


def case_selftest_layers_needs_the_debug_build_of_the_bundle():
    code, _, err = _command("selftest", "--bundle", str(OPEN), "--layers")
    assert code == 2 and "open.debug: there is no debug build" in err and "--debug-outputs" in err, err
    code, _, err = _command("selftest", "--bundle", str(OPEN), "--layers", f"{FOLDER}.debug")
    assert code == 2 and "debug build of another bundle" in err, err
    code, _, err = _command("selftest", "--bundle", str(FOLDER), "--layers", "--backend", "reference")
    assert code == 2 and "run it on a board" in err, err


def case_selftest_reports_an_npu_that_fails():
    with faults("run=-2@4"):
        code, out, _ = _command("selftest", "--bundle", str(FOLDER), "--runs", "9", "--json")
    result = json.loads(out)
    assert (code, result["verdict"]) == (1, "fail")
    assert [("TIMEOUT" in problem) for problem in result["problems"]] == [True, True]
    assert len(result["agreements"]) == 2  # earlier results are kept


def case_selftest_checks_each_core_apart_and_a_core_that_fails_is_left_out():
    with faults("core1=-3"):
        code, out, _ = _command("selftest", "--bundle", str(FOLDER), "--runs", "1", "--json")
        with open_scheduler(FOLDER, "npu", work=Pipeline.detect) as scheduler:
            [result] = scheduler.run([Frame(read_golden(BUNDLE, "detector").inputs[0][..., ::-1].copy())])
            assert [core.alive for core in scheduler.state()] == [True, False, True] and result.error is None
    found = json.loads(out)
    assert (code, found["verdict"], found["problems"]) == (0, "ok", [])
    assert len(found["warnings"]) == 1 and "NPU core 1 cannot be used" in found["warnings"][0], found["warnings"]
    assert [row["where"] for row in found["latencies"]] == ["core 0", "core 2", "2 cores together"] * 2
    assert contexts() == 0


def case_selftest_fails_if_no_core_opens_and_says_why_once():
    with faults("mask=-13"):
        code, out, _ = _command("selftest", "--bundle", str(FOLDER), "--runs", "1", "--json")
    found = json.loads(out)
    assert (code, found["verdict"], found["warnings"]) == (1, "fail", []) and len(found["problems"]) == 1, found


def case_selftest_fails_if_cores_work_apart_but_not_together():
    with faults("together=-1,slow=20"):
        code, out, _ = _command("selftest", "--bundle", str(FOLDER), "--runs", "3", "--json")
    found = json.loads(out)
    assert code == 1 and len(found["agreements"]) == 2, found
    assert "work apart, but not at the same time" in found["problems"][0], found["problems"]


def case_an_older_library_is_a_warning_of_the_selftest():
    with faults("version=2.3.2"):
        code, out, _ = _command("selftest", "--bundle", str(FOLDER), "--runs", "1", "--json")
    found = json.loads(out)
    assert code == 0 and "librknnrt 2.3.2 is older than toolkit 2.5.0" in found["warnings"][0], found


def case_bench_writes_its_tables():
    out = PREFIX / "table"
    code, printed, err = _command("bench", "--bundle", str(FOLDER), "--runs", "2", "--out", str(out))
    assert code == 0, err
    table = out.with_suffix(".md").read_text()
    assert table in printed and "Radxa ROCK 5B (twin) (rk3588)" in table and "| detection | whole" in table
    assert "embedding" not in out.with_suffix(".json").read_text().replace('"output": "embedding"', "")
    with faults("wrong=1"):
        code, printed, err = _command("bench", "--bundle", str(FOLDER), "--runs", "1", "--out", str(PREFIX / "no"))
    assert code == 1 and "not healthy" in err and not (PREFIX / "no.md").exists()


def run(case):
    try:
        case()
    except BaseException:
        return traceback.format_exc()
    return None


if __name__ == "__main__":
    if CHOSEN == LITE:
        read_yaml_once()
    cases = {name: case for name, case in globals().items() if name.startswith("case_")}
    cases = {name: case for name, case in cases.items() if getattr(case, "binding", CHOSEN) == CHOSEN}
    print(json.dumps({name: run(case) for name, case in cases.items()}))
