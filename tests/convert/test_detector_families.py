"""Detectors of the families YuNet and RetinaFace: opened without a bundle, and prepared for conversion."""

import cv2
import numpy as np
import pytest

onnx = pytest.importorskip("onnx")

from onnx import TensorProto, helper, numpy_helper

from rkface.convert.native_steps import simplify_proto
from rkface.convert.same_outputs import check_same_outputs
from rkface.convert.simplify import fix_input, simplify
from rkface.runtime.backends.reference import open_reference
from rkface.runtime.core.errors import ModelError
from rkface.runtime.vision.bare_onnx import open_detector
from rkface.runtime.vision.detect import Detector
from rkface.runtime.vision.detectors.retinaface import RETINAFACE
from rkface.runtime.vision.detectors.yunet import YUNET
from rkface.runtime.vision.image import read_image
from rkface.runtime.vision.letterbox import letterbox

SIDE = 64
POINTS = [0.2, 0.2, 0.8, 0.2, 0.5, 0.5, 0.3, 0.8, 0.7, 0.8]
# The heads of a stride: name, anchors of a cell, numbers of an anchor.
HEADS = {
    YUNET: [("cls", 1, 1), ("obj", 1, 1), ("bbox", 1, 4), ("kps", 1, 10)],
    RETINAFACE: [("loc", 2, 4), ("conf", 2, 2), ("landm", 2, 10)],
}
BGR_MEAN = {YUNET: (0, 0, 0), RETINAFACE: (104, 117, 123)}
both = pytest.mark.parametrize("family", HEADS, ids=lambda family: family.name)


def detector_file(path, family, *, logits=False, channels_first=False):
    """A tiny network with the outputs of ``family``. A red cell of stride 8 is a face on its first anchor; nothing else
    is. All offsets are 0, and the landmarks ``POINTS``. It takes BGR."""
    nodes, constants, parts = [], [], {}
    for stride in (8, 16, 32):
        pool = {"kernel_shape": [stride] * 2, "strides": [stride] * 2}
        nodes.append(helper.make_node("AveragePool", ["image"], [f"p{stride}"], **pool))
        for name, anchors, numbers in HEADS[family]:
            tag = f"{name}_{stride}"
            weights, bias = np.zeros((anchors * numbers, 3, 1, 1), np.float32), np.zeros(anchors * numbers, np.float32)
            if numbers == 10:
                bias[:] = POINTS * anchors
            if numbers <= 2:
                bias[numbers - 1 :: numbers] = -99
                if stride == 8:  # −12 + (red − green − blue) / 10
                    weights[numbers - 1, :, 0, 0] = -0.1, -0.1, 0.1
                    bias[numbers - 1] = weights[numbers - 1, :, 0, 0] @ BGR_MEAN[family] - 12
            constants += [numpy_helper.from_array(weights, f"w {tag}"), numpy_helper.from_array(bias, f"b {tag}")]
            shape = np.array([1, -1, numbers], np.int64)
            constants.append(numpy_helper.from_array(shape, f"s {tag}"))
            nodes.append(helper.make_node("Conv", [f"p{stride}", f"w {tag}", f"b {tag}"], [f"c {tag}"]))
            nodes.append(helper.make_node("Transpose", [f"c {tag}"], [f"t {tag}"], perm=[0, 2, 3, 1]))
            nodes.append(helper.make_node("Reshape", [f"t {tag}", f"s {tag}"], [f"r {tag}"]))
            parts.setdefault(name, []).append(f"c {tag}" if channels_first else f"r {tag}")
    outputs = []
    for name, _, numbers in HEADS[family]:
        last = {f"{name}_{stride}": part for stride, part in zip((8, 16, 32), parts[name], strict=True)}
        if family is RETINAFACE:
            nodes.append(helper.make_node("Concat", parts[name], [f"all {name}"], axis=1))
            last = {name: f"all {name}"}
        operator = family.probability if numbers <= 2 and not logits else "Identity"
        options = {"axis": -1} if operator == "Softmax" else {}
        nodes += [helper.make_node(operator, [part], [output], **options) for output, part in last.items()]
        outputs += [helper.make_tensor_value_info(output, TensorProto.FLOAT, None) for output in last]
    image = helper.make_tensor_value_info("image", TensorProto.FLOAT, [1, 3, SIDE, SIDE])
    graph = helper.make_graph(nodes, "tiny", [image], outputs, constants)
    onnx.save(helper.make_model(graph, opset_imports=[helper.make_opsetid("", 13)], ir_version=8), path)
    return path


def photo(channel=2):
    """Gray, with the cell of stride 8 in column 5 and row 2 in one color (BGR)."""
    image = np.full((SIDE, SIDE, 3), 90, np.uint8)
    image[16:24, 40:48] = 0
    image[16:24, 40:48, channel] = 255
    return image


def check_face(family, faces):
    """The face of ``photo``, by hand."""
    assert len(faces) == 1 and faces.scores[0] > 0.99
    if family is YUNET:  # about the cell's corner, as large as a cell
        box, points = (40 - 4, 16 - 4, 40 + 4, 16 + 4), np.reshape(POINTS, (5, 2)) * 8 + (40, 16)
    else:  # about the cell's middle, as large as the first prior, 16 px; a tenth of it is the unit of the landmarks
        box, points = (44 - 8, 20 - 8, 44 + 8, 20 + 8), np.reshape(POINTS, (5, 2)) * 1.6 + (44, 20)
    np.testing.assert_allclose(faces.boxes[0], box, atol=1e-3)
    np.testing.assert_allclose(faces.landmarks[0], points, atol=1e-3)


@both
def test_a_bare_file_gets_the_preprocessing_of_its_family(tmp_path, family):
    backend, input, outputs = open_detector(detector_file(tmp_path / "d.onnx", family))
    detector = Detector(backend, input, outputs)
    assert detector.family is family and input.source_order == "BGR" and detector.nms_iou == family.nms_iou
    check_face(family, detector.detect(photo()))
    assert not len(detector.detect(photo(channel=0)))  # blue


@both
@pytest.mark.parametrize("logits", [False, True])
def test_a_prepared_model_takes_rgb_and_finds_the_same_face(tmp_path, family, logits):
    model = fix_input(detector_file(tmp_path / "d.onnx", family, logits=logits), "detector")
    assert model.preprocessing.bgr and model.preprocessing.mean == family.mean
    done = simplify(model, tmp_path / "done.onnx")
    said = " ".join(done.changes)
    assert (f"are logits, so a {family.probability} was added to each" in said) is logits
    images = np.random.default_rng(0).integers(0, 256, (2, SIDE, SIDE, 3), np.uint8)
    assert check_same_outputs(model, done, images) < 1e-5
    detector = Detector(open_reference(done.path, done.input), done.input, done.outputs)
    check_face(family, detector.detect(photo()))
    # It is marked, so that nobody turns its channels again.
    check_face(family, Detector(*open_detector(done.path)).detect(photo()))
    assert not fix_input(done.path, "detector").preprocessing.bgr


@both
def test_a_bare_file_with_logits_is_refused(tmp_path, family):
    path = detector_file(tmp_path / "d.onnx", family, logits=True)
    with pytest.raises(ModelError, match=rf"d\.onnx: .*not probabilities.*with a {family.probability} behind them"):
        open_detector(path)


def test_outputs_with_channels_first_are_refused_with_the_expected_shape(tmp_path):
    path = detector_file(tmp_path / "d.onnx", YUNET, channels_first=True)
    for prepare in (open_detector, lambda path: simplify(fix_input(path, "detector"), tmp_path / "o.onnx")):
        with pytest.raises(ModelError, match=r"d\.onnx: not a face detector.*1×10×8×8.*each as anchors × numbers"):
            prepare(path)


@pytest.mark.parametrize("name", ["yunet_n_dynamic", "yunet_s_640_640"])
def test_yunet_finds_what_opencv_finds(shared, tmp_path, name):
    path = shared / f"models/{name}.onnx"
    model = fix_input(path, "detector")
    # OpenCV does not read the file with open sizes: it gets the same model with fixed ones.
    (tmp_path / "fixed.onnx").write_bytes(simplify_proto(model.proto, name).data)
    opencv = cv2.FaceDetectorYN.create(str(tmp_path / "fixed.onnx"), "", (640, 640), YUNET.threshold, YUNET.nms_iou)
    bare = Detector(*open_detector(path, threads=2))
    done = simplify(model, tmp_path / "done.onnx")
    prepared = Detector(open_reference(done.path, done.input, threads=2), done.input, done.outputs)
    count = 0
    for photo in sorted((shared / "data/people").glob("*.jpg"))[::4]:
        image = letterbox(read_image(photo), 640, 640).image
        theirs = opencv.detect(image)[1]
        for detector in (bare, prepared):
            ours = detector.detect(image)
            assert len(ours) == (0 if theirs is None else len(theirs))
            for one, box, points in zip(range(len(ours)), ours.boxes, ours.landmarks, strict=True):
                nearest = theirs[np.abs(theirs[:, :2] - box[:2]).sum(axis=1).argmin()]
                np.testing.assert_allclose(box, [*nearest[:2], *(nearest[:2] + nearest[2:4])], atol=0.5)
                np.testing.assert_allclose(points.ravel(), nearest[4:14], atol=0.5)
                assert ours.scores[one] == pytest.approx(nearest[14], abs=0.01)
        count += len(ours)
    assert count >= 15
